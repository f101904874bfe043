"""Summaries, paired comparisons and intervals over people."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mri_aug.results import comparison
from mri_aug.results.metrics import by_subject, encode_by_subject, evaluate
from mri_aug.results.rows import decode_by_subject
from mri_aug.results.sentences import sentence, verdict
from mri_aug.results.subject_interval import subject_interval

METRIC = "test_cross_entropy"


@pytest.fixture
def rows():
    """20 simulations of 3 conditions: much shared luck, a clear gain, a clear loss."""
    rng = np.random.default_rng(0)
    luck = rng.normal(scale=0.2, size=20)
    shifts = {"baseline": 0.0, "helps": -0.05, "harms": 0.08}
    return pd.DataFrame(
        {"simulation": r, "condition": name, METRIC: 1 + luck[r] + shift + 0.01 * rng.normal()}
        for name, shift in shifts.items()
        for r in range(20)
    )


def study_with_people(*, accuracy=0.7, n_simulations=12, shift=0.0, condition="a", seed=0):
    """Simulations that test the same 30 people, each easy or hard throughout, with 8 slices that go together."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(30) % 2, 8)
    people = np.repeat(np.arange(30), 8)
    skill = np.random.default_rng(99).normal(size=30)[people]
    records = []
    for simulation in range(n_simulations):
        logit = np.log(accuracy / (1 - accuracy)) + 2 * skill + 0.3 * rng.normal(size=240) + shift
        right = 1 / (1 + np.exp(-logit))
        probabilities = np.where(labels[:, None] == np.arange(2), right[:, None], 1 - right[:, None])
        scores = evaluate(probabilities, labels, people)
        record = {"simulation": simulation, "condition": condition, "test_accuracy": scores["accuracy"]}
        encoded = encode_by_subject(by_subject(probabilities, labels, people))
        records.append(record | {"test_subject_accuracy": scores["subject_accuracy"], "by_subject": encoded})
    return pd.DataFrame(records)


def test_summary_holds_median_and_interval(rows):
    table = comparison.summarise(rows, METRIC).set_index("condition")
    assert list(table.index) == ["baseline", "helps", "harms"]
    for name, group in rows.groupby("condition"):
        row = table.loc[name]
        assert row["median"] == np.median(group[METRIC])
        assert row["low"] < row["median"] < row["high"]
        assert (row["n"], row["n_missing"], row["method"]) == (20, 0, "BCa")


def test_missing_values_are_counted_and_few_have_no_interval(rows):
    rows.loc[rows["simulation"] > 1, METRIC] = np.nan
    table = comparison.summarise(rows, METRIC)
    assert (table["n"] == 2).all() and (table["n_missing"] == 18).all()
    assert table[["low", "high"]].isna().all(axis=None)


def test_comparison_is_paired(rows):
    table = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition")
    helps = table.loc["helps"]
    wide = rows.pivot(index="simulation", columns="condition", values=METRIC)
    difference = wide["helps"] - wide["baseline"]
    assert helps["difference"] == pytest.approx(difference.median())
    assert helps["percent"] == pytest.approx((100 * difference / wide["baseline"]).median())
    assert helps["probability"] == (difference < 0).mean()
    # the luck that the arms share is far larger than the gain: unpaired medians could not tell
    summary = comparison.summarise(rows, METRIC).set_index("condition")
    assert summary.loc["helps", "high"] > summary.loc["baseline", "low"]
    assert helps["high"] < 0
    assert table.apply(verdict, axis=1).to_dict() == {"helps": "better", "harms": "worse"}


def test_order_of_rows_changes_nothing(rows):
    shuffled = rows.sample(frac=1, random_state=1)
    key = ["condition"]
    for function, options in ((comparison.summarise, {}), (comparison.compare, {"baseline": "baseline"})):
        expected = function(rows, METRIC, **options).sort_values(key, ignore_index=True)
        found = function(shuffled, METRIC, **options).sort_values(key, ignore_index=True)
        pd.testing.assert_frame_equal(found, expected)


def test_a_lost_simulation_costs_its_pair(rows):
    dropped = rows.drop(rows.index[(rows["condition"] == "helps") & (rows["simulation"] == 7)])
    table = comparison.compare(dropped, METRIC, baseline="baseline").set_index("condition")
    assert table["n"].to_dict() == {"helps": 19, "harms": 20}
    assert table["n_unpaired"].to_dict() == {"helps": 1, "harms": 0}


def test_no_common_simulation_compares_nothing(rows):
    rows.loc[rows["condition"] == "helps", "simulation"] += 100
    row = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition", drop=False).loc["helps"]
    assert row["n"] == 0 and np.isnan(row["difference"])
    assert "not compared" in sentence(row)


def test_an_identical_arm_is_an_even_match(rows):
    twin = rows[rows["condition"] == "baseline"].assign(condition="twin")
    table = comparison.compare(pd.concat([rows, twin]), METRIC, baseline="baseline").set_index("condition", drop=False)
    row = table.loc["twin"]
    assert (row["difference"], row["probability"], row["p_value"]) == (0, 0.5, 1)
    assert verdict(row) == "undecided"


def test_primary_contrast_is_left_out_of_holm(rows):
    every = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition")
    assert every.loc["helps", "p_holm"] == pytest.approx(2 * every.loc["helps", "p_value"])
    one = comparison.compare(rows, METRIC, baseline="baseline", primary="helps").set_index("condition")
    assert (one["p_holm"] == one["p_value"]).all()
    assert one["primary"].to_dict() == {"helps": True, "harms": False}


def test_direction_follows_the_metric(rows):
    table = comparison.compare(rows.rename(columns={METRIC: "test_accuracy"}), "test_accuracy", baseline="baseline")
    assert not table["lower_is_better"].any()
    assert [verdict(row) for _, row in table.iterrows()] == ["worse", "better"]
    with pytest.raises(ValueError, match="lower_is_better"):
        comparison.compare(rows.rename(columns={METRIC: "seconds"}), "seconds", baseline="baseline")


def test_percent_is_undefined_for_a_baseline_that_is_not_positive(rows):
    rows["test_kappa"] = rows[METRIC] - 1
    row = comparison.compare(rows, "test_kappa", baseline="baseline").iloc[0]
    assert np.isnan(row["percent"]) and np.isfinite(row["difference"])


def test_interval_does_not_depend_on_other_conditions(rows):
    alone = rows[rows["condition"] != "harms"]
    both = comparison.compare(rows, METRIC, baseline="baseline").iloc[0].drop("p_holm")
    assert both.equals(comparison.compare(alone, METRIC, baseline="baseline").iloc[0].drop("p_holm"))


def test_by_subject_survives_encoding():
    people = np.repeat(np.arange(5), 3)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=15)
    table = by_subject(probabilities, people % 3, people)
    back = decode_by_subject(encode_by_subject(table))
    pd.testing.assert_frame_equal(back, table, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="encode_by_subject"):
        decode_by_subject("[1, 2]")


@pytest.mark.parametrize("metric", ["accuracy", "subject_accuracy"])
def test_subject_interval_is_wider_than_that_over_simulations(metric):
    rows = study_with_people()
    row = subject_interval(rows, metric).iloc[0]
    simulations = comparison.summarise(rows, f"test_{metric}").iloc[0]
    assert row["value"] == pytest.approx(simulations["median"], abs=1e-5)
    assert row["low"] < row["value"] < row["high"]
    assert row["high"] - row["low"] > 2 * (simulations["high"] - simulations["low"])
    assert (row["n"], row["n_subjects"]) == (12, 30)


def test_subject_interval_matches_the_standard_error_over_people():
    rows = study_with_people(n_simulations=40)
    row = subject_interval(rows, "accuracy", n_resamples=4000).iloc[0]
    tables = [decode_by_subject(text) for text in rows["by_subject"]]
    per_person = np.mean([table["accuracy"] for table in tables], axis=0)
    labels = tables[0]["label"].to_numpy()
    within = [per_person[labels == k].var() / (labels == k).sum() for k in (0, 1)]
    expected = 2 * 1.96 * np.sqrt(np.mean(within) / 2)
    assert row["high"] - row["low"] == pytest.approx(expected, rel=0.15)


def test_paired_subject_interval_is_narrower():
    rows = pd.concat([study_with_people(), study_with_people(condition="b", shift=0.8, seed=1)])
    single = subject_interval(rows, "cross_entropy").iloc[1]
    paired = subject_interval(rows, "cross_entropy", baseline="a").iloc[0]
    assert paired["condition"] == "b" and paired["high"] < 0
    assert paired["high"] - paired["low"] < single["high"] - single["low"]


def test_subject_interval_is_deterministic():
    rows = study_with_people(n_simulations=4)
    options = {"metrics": "accuracy", "n_resamples": 50}
    first = subject_interval(rows, seed=1, **options)
    assert first.equals(subject_interval(rows.sample(frac=1, random_state=0), seed=1, **options))
    assert not first.equals(subject_interval(rows, seed=2, **options))


def test_subject_interval_refuses_what_it_cannot_do():
    rows = study_with_people(n_simulations=3)
    with pytest.raises(ValueError, match="metric must be one of"):
        subject_interval(rows, "kappa")
    empty = by_subject(np.full((2, 2), 0.5), np.array([0, 1]), np.array([-1, -1]))
    with pytest.raises(ValueError, match="unknown"):
        subject_interval(rows.assign(by_subject=encode_by_subject(empty)), "accuracy")
    other = rows.assign(condition="b", by_subject=rows["by_subject"].str.replace('"label":[0,1', '"label":[1,1'))
    with pytest.raises(ValueError, match="different labels"):
        subject_interval(pd.concat([rows, other]), "accuracy", baseline="a")


def test_hundred_thousand_rows_need_no_table_of_resamples():
    n = 2000
    rows = pd.DataFrame({"simulation": np.tile(np.arange(n), 50), "condition": np.repeat(np.arange(50).astype(str), n)})
    rows[METRIC] = np.random.default_rng(0).normal(1, 0.1, size=len(rows))
    table = comparison.compare(rows, METRIC, baseline="0")
    assert len(table) == 49 and (table["n"] == n).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns=METRIC), "lacks"),
        (lambda rows: rows.iloc[:0], "no rows"),
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "simulation 0 of 'baseline' occurs more than once"),
        (lambda rows: rows.assign(**{METRIC: "high"}), "not a number"),
        (lambda rows: rows.assign(**{METRIC: np.inf}), "infinity"),
        (lambda rows: rows[rows["condition"] != "baseline"], "baseline 'baseline' is not in column"),
        (lambda rows: rows[rows["condition"] == "baseline"], "nothing to compare"),
    ],
)
def test_bad_tables_are_named(rows, change, message):
    with pytest.raises(ValueError, match=message):
        comparison.compare(change(rows), METRIC, baseline="baseline")
