"""Intervals, tests and outcomes against SciPy, brute force, hand-worked examples and published formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mri_aug.results import inference
from mri_aug.results.inference import Interval


@pytest.mark.parametrize("n", [10, 11, 20, 101])
def test_median_interval_is_the_widest_pair_of_values_that_the_binomial_needs(n):
    values = np.sort(np.random.default_rng(n).lognormal(size=n))
    low, high, method = inference.median_interval(values)
    # the k-th smallest and the k-th largest hold the median unless fewer than k values lie on one side of it
    k = max(k for k in range(1, n // 2 + 1) if 2 * stats.binom.cdf(k - 1, n, 0.5) <= 0.05)
    assert (low, high, method) == (values[k - 1], values[n - k], "order statistics")


def test_median_interval_covers_at_least_as_often_as_it_says():
    samples = np.random.default_rng(0).exponential(size=(400, 20))
    ends = np.array([inference.median_interval(sample)[:2] for sample in samples])
    assert ((ends[:, 0] <= np.log(2)) & (np.log(2) <= ends[:, 1])).mean() >= 0.95


def test_mean_interval_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=25)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert inference.mean_interval(values)[:2] == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("make", [inference.median_interval, inference.mean_interval])
def test_fewer_than_ten_have_a_range_and_no_verdict(make):
    interval = make([3.0, 1.0, 2.0, *[1.5] * 6])
    assert interval == (1, 3, "range")
    assert inference.outcome(interval, lower_is_better=True, margin=9) == "no verdict"
    for few in ([], [1.0]):
        low, high, method = make(few)
        assert np.isnan([low, high]).all() and method == "none"
    assert make(np.arange(10.0)).method != "range"


def study(*, n_repeats=20, counts=(20, 12, 8), of_people=0.2, of_networks=0.1, seed=0):
    """Return values (people, simulations), labels and the simulations' repeats."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(len(counts)), counts)
    n, values = len(labels), np.full((sum(counts), 5 * n_repeats), np.nan)
    person = of_people * rng.normal(size=n) + 0.1 * labels
    for repeat in range(n_repeats):
        fold = rng.permutation(n) % 5
        networks = of_networks * rng.normal(size=5)
        values[np.arange(n), 5 * repeat + fold] = person + networks[fold] + 0.2 * rng.normal(size=n)
    return values, labels, np.repeat(np.arange(n_repeats), 5)


def by_crossed_resampling(values, labels, repeats, *, people=True, trainings=True, n_resamples=4000):
    """Return the standard deviation of the mean over resamples of people within class and of repeats."""
    rng = np.random.default_rng(1)
    table = np.stack([np.nanmax(values[:, repeats == repeat], axis=1) for repeat in np.unique(repeats)], axis=1)
    means = []
    for _ in range(n_resamples):
        rows = [rng.choice(np.flatnonzero(labels == k), (labels == k).sum()) for k in np.unique(labels)]
        rows = np.concatenate(rows) if people else np.arange(len(labels))
        columns = rng.integers(0, table.shape[1], table.shape[1]) if trainings else np.arange(table.shape[1])
        means.append(table[np.ix_(rows, columns)].mean())
    return np.std(means)


@pytest.mark.parametrize("variances", [(0.3, 0.02), (0.0, 0.3), (0.2, 0.1)])
def test_people_and_trainings_add_the_variances_of_resampling_each(variances):
    given = study(of_people=variances[0], of_networks=variances[1])
    mean, (low, high, method) = inference.crossed_interval(*given)
    assert mean == pytest.approx(np.nanmean(given[0])) == pytest.approx((low + high) / 2)
    assert method == "people and trainings"
    alone = [by_crossed_resampling(*given, people=way, trainings=not way) for way in (True, False)]
    expected = np.hypot(*alone)
    # the quantile is Student's: wider than the normal one; small samples' variances are divided by n - 1
    assert 0.97 * 1.96 * expected < (high - low) / 2 < 1.2 * 2.1 * expected
    crossed = by_crossed_resampling(*given)
    assert (high - low) / 2 > 0.95 * 1.96 * crossed


def test_a_complete_table_of_people_has_the_textbook_variance():
    rng, labels = np.random.default_rng(3), np.repeat([0, 1], [30, 10])
    person = rng.normal(size=40)
    values = np.tile(person[:, None], 12) + 1e-9 * rng.normal(size=(40, 12))
    _, (low, high, _) = inference.crossed_interval(values, labels, np.arange(12))
    variance = sum(n**2 * person[labels == k].var(ddof=1) / n for k, n in ((0, 30), (1, 10))) / 40**2
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 38) * np.sqrt(variance), rel=1e-4)


def test_where_repeats_vary_most_they_are_what_is_counted():
    shift = np.random.default_rng(4).normal(size=6)
    values = np.tile(np.repeat(shift, 5), (40, 1)) + 1e-9 * np.random.default_rng(5).normal(size=(40, 30))
    _, (low, high, _) = inference.crossed_interval(values, np.repeat([0, 1], 20), np.repeat(range(6), 5))
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 5) * shift.std(ddof=1) / np.sqrt(6), rel=1e-4)


def test_the_order_of_people_and_simulations_changes_nothing():
    values, labels, repeats = study()
    rows, columns = np.random.default_rng(0).permutation(40), np.random.default_rng(1).permutation(100)
    first = inference.crossed_interval(values, labels, repeats)
    second = inference.crossed_interval(values[rows][:, columns], labels[rows], repeats[columns])
    assert np.allclose([first[0], *first[1][:2]], [second[0], *second[1][:2]])


def test_few_simulations_have_the_range_of_their_means():
    values, labels, repeats = study(n_repeats=1)
    mean, interval = inference.crossed_interval(values, labels, repeats)
    means = np.nanmean(values, axis=0)
    assert interval == (pytest.approx(means.min()), pytest.approx(means.max()), "range")
    assert mean == pytest.approx(np.nanmean(values))
    assert inference.crossed_interval(values[:, :1], labels, repeats[:1])[1].method == "none"
    assert np.isnan(inference.crossed_interval(np.full((3, 12), np.nan), labels[:3], np.arange(12))[0])


def test_no_difference_at_all_is_known_exactly():
    mean, interval = inference.crossed_interval(np.zeros((20, 12)), np.repeat([0, 1], 10), np.arange(12))
    assert (mean, *interval[:2]) == (0, 0, 0)
    assert inference.outcome(interval, lower_is_better=True, margin=0.05) == "equivalent"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((9, 8, 7, 2), (9, 8, 9)), ((2, 9, 9), (11, 9)), ((3, 3), (6,)), ((2,), (2,)), ((9, 2, 2), (9 + 4,))],
)
def test_small_classes_join_their_neighbour(counts, expected):
    strata = inference.merged_classes(np.repeat(np.arange(len(counts)), counts))
    assert tuple(np.unique(strata, return_counts=True)[1]) == expected


def test_corrected_p_value_is_the_formula():
    values = np.random.default_rng(0).normal(0.5, 1, size=20)
    t = values.mean() / np.sqrt((1 / 20 + 0.25) * values.var(ddof=1))
    assert inference.corrected_p_value(values) == pytest.approx(2 * stats.t.sf(t, 19))
    assert inference.corrected_p_value(np.zeros(10)) == 1 and inference.corrected_p_value(np.ones(10)) == 0
    assert np.isnan(inference.corrected_p_value(values[:9]))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.04, -0.01, "better, equivalent"),
        (-0.09, -0.01, "better"),
        (0.01, 0.09, "worse"),
        (0.01, 0.049, "worse, equivalent"),
        (-0.02, 0.03, "equivalent"),
        (-0.02, 0.05, "undecided"),
        (-0.2, 0.3, "undecided"),
        (0.0, 0.01, "equivalent"),
    ],
)
def test_outcomes(low, high, expected):
    interval = Interval(low, high, "t")
    assert inference.outcome(interval, lower_is_better=True, margin=0.05) == expected
    turned = inference.outcome(Interval(-high, -low, "t"), lower_is_better=False, margin=0.05)
    assert turned == expected
    assert "equivalent" not in inference.outcome(interval, lower_is_better=True, margin=None)


def test_two_one_sided_tests_agree_with_the_interval():
    margin, rng = 0.2, np.random.default_rng(0)
    for _ in range(50):
        values = rng.normal(0.1, 0.3, size=30)
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        found = inference.outcome(inference.mean_interval(values), lower_is_better=True, margin=margin)
        assert ("equivalent" in found) == (max(below, above) < 0.025)


def test_share_interval_agrees_with_scipy_and_survives_unanimity():
    for k, n in ((0, 5), (5, 5), (13, 20)):
        theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert inference.share_interval(k / n, n)[:2] == pytest.approx((theirs.low, theirs.high))
    assert inference.share_interval(1, 5).low == pytest.approx(0.566, abs=1e-3)


def test_holm_by_hand():
    # sorted: 0.005 x 4 = 0.02; 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, raised to 0.06
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm([0.6, 0.7]) == pytest.approx([1, 1])
    # a contrast that is still missing counts: 0.02 x 3, 0.03 x 2
    assert inference.holm([0.02, np.nan, 0.03]) == pytest.approx([0.06, np.nan, 0.06], nan_ok=True)
    assert inference.holm([]).size == 0


def test_what_can_be_detected_is_detected_four_times_in_five():
    rng, n = np.random.default_rng(0), 200
    difference = inference.detectable_difference(0.3, n)
    samples = rng.normal(difference, 0.3, size=(4000, n))
    assert (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_accuracy_that_can_be_detected():
    assert inference.detectable_accuracy(0.2, 40) == pytest.approx(0.2, abs=0.008)
    difference = inference.detectable_accuracy(0.2, 200)
    assert difference == pytest.approx(0.09, abs=0.004)
    gained = (0.2 + difference) / 2
    drawn = np.random.default_rng(0).multinomial(200, [gained, 0.2 - gained, 0.8], size=4000)
    z = (drawn[:, 0] - drawn[:, 1]) / np.sqrt(np.maximum(drawn[:, 0] + drawn[:, 1], 1))  # McNemar's statistic
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.05)
    assert np.isnan(inference.detectable_accuracy(0.01, 10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inference.median_interval([1, 2, np.inf]), "finite"),
        (lambda: inference.share_interval(1.2, 5), r"\[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
