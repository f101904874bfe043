"""Intervals and tests against SciPy, hand-worked examples and simulated coverage."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from mri_aug.results import inference


@pytest.mark.parametrize("n", [3, 4, 5, 20, 101])
def test_median_interval_agrees_with_scipy(n):
    values = np.random.default_rng(n).lognormal(size=n)
    ours = inference.median_interval(values, n_resamples=50_000)
    theirs = stats.bootstrap((values,), np.median, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    assert ours.method == "BCa"
    tolerance = 0.02 * np.ptp(values)
    assert ours[:2] == pytest.approx(tuple(theirs.confidence_interval), abs=tolerance)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0, 8.0]])
def test_bootstrap_medians_have_the_exact_distribution(values):
    every_resample = np.median(list(product(values, repeat=len(values))), axis=1)
    drawn = inference.bootstrap_medians(np.array(values), n_resamples=200_000, rng=np.random.default_rng(0))
    for value in np.unique(every_resample):
        assert (drawn == value).mean() == pytest.approx((every_resample == value).mean(), abs=0.005)
    assert set(drawn) == set(every_resample)


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_median_interval_covers_as_often_as_it_says(draw):
    rng = np.random.default_rng(0)
    truth = {"normal": 0.0, "exponential": np.log(2)}[draw]
    hits = 0
    for seed in range(400):
        low, high, _ = inference.median_interval(getattr(rng, draw)(size=20), n_resamples=999, seed=seed)
        hits += low <= truth <= high
    assert 0.91 <= hits / 400 <= 0.985


def test_same_seed_same_interval_other_seed_another():
    values = np.random.default_rng(0).normal(size=30)
    first = inference.median_interval(values, n_resamples=200, seed=5)
    assert first == inference.median_interval(values, n_resamples=200, seed=5)
    assert first != inference.median_interval(values, n_resamples=200, seed=6)


def test_degenerate_samples_fall_back_and_say_so(recwarn):
    assert inference.median_interval([2.0] * 7) == (2.0, 2.0, "percentile")
    low, high, method = inference.median_interval([1.0, 1.0, 1.0, 1.0, 2.0])
    assert method == "percentile" and 1 <= low <= high <= 2
    for few in ([], [1.0], [1.0, 2.0]):
        low, high, method = inference.median_interval(few)
        assert np.isnan([low, high]).all() and method == "none"
    assert not recwarn.list


def test_share_interval_agrees_with_scipy_and_survives_unanimity():
    for k, n in ((0, 5), (5, 5), (13, 20)):
        theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert inference.share_interval(k / n, n)[:2] == pytest.approx((theirs.low, theirs.high))
    assert inference.share_interval(1, 5).low == pytest.approx(0.566, abs=1e-3)


def test_paired_p_value_is_exact_for_few_pairs():
    differences = np.array([0.3, 0.1, 0.4, 0.2, -0.05])
    ranks = stats.rankdata(np.abs(differences))
    sums = np.array([np.dot(signs, ranks) for signs in product([-1, 1], repeat=5)])
    expected = (np.abs(sums) >= abs(np.dot(np.sign(differences), ranks))).mean()
    assert inference.paired_p_value(differences) == pytest.approx(expected)
    assert inference.paired_p_value([0.0, 0.0, 0.0]) == 1
    assert np.isnan(inference.paired_p_value([]))


def test_holm_by_hand():
    # sorted: 0.005 x 4 = 0.02; 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, raised to 0.06
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert inference.holm([0.02, np.nan, 0.03]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert inference.holm([]).size == 0


def test_subject_weights_keep_the_classes():
    strata = np.array([0, 0, 0, 1, 1, 2])
    weights = inference.subject_weights(strata, n_resamples=2000, rng=np.random.default_rng(0))
    for stratum, count in ((0, 3), (1, 2), (2, 1)):
        assert (weights[:, strata == stratum].sum(axis=1) == count).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.06)


@pytest.mark.parametrize("row", [[3.0, 1.0, 7.0], [3.0, 1.0, 7.0, 4.0], [3.0, 1.0, np.nan, 4.0], [np.nan, 1.0], [5.0]])
def test_resampled_medians_have_the_law_of_all_possible_draws(row):
    n_resamples = 40_000
    medians = inference.resampled_medians(np.tile(row, (n_resamples, 1)), rng=np.random.default_rng(0))
    draws = np.array(list(product(row, repeat=len(row))))
    expected = [np.nan if np.isnan(draw).all() else np.nanmedian(draw) for draw in draws]
    for value in np.unique([*expected, *medians]):
        share = np.mean(np.isnan(expected)) if np.isnan(value) else np.mean(np.equal(expected, value))
        found = np.mean(np.isnan(medians)) if np.isnan(value) else np.mean(medians == value)
        assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n_resamples))


@pytest.mark.filterwarnings("error")  # a page of the book may show none
def test_resamples_pass_over_what_is_unknown():
    unknown, values = np.full((4, 3), np.nan), np.array([[2.0, 2.0, 2.0], [np.nan, 5.0, np.nan]])
    medians = inference.resampled_medians(np.vstack([unknown, values.repeat(50, axis=0)]), rng=np.random.default_rng(0))
    assert np.isnan(medians[:4]).all() and (medians[4:54] == 2).all()
    assert set(medians[54:][~np.isnan(medians[54:])]) == {5.0} and np.isnan(medians[54:]).any()
    low, high, _ = inference.percentile_interval(medians, confidence_level=0.95)
    assert (low, high) == (2, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inference.median_interval([1, 2, np.inf]), "finite"),
        (lambda: inference.median_interval([1, 2, 3], confidence_level=95), "between 0 and 1"),
        (lambda: inference.median_interval([1, 2, 3], n_resamples=0), "n_resamples"),
        (lambda: inference.share_interval(1.2, 5), r"\[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
