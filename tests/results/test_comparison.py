"""Medians over simulations and paired comparisons of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mri_aug.results import comparison, inference

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


def test_summary_holds_median_and_interval(rows):
    table = comparison.summarise(rows, METRIC).set_index("condition")
    assert list(table.index) == ["baseline", "helps", "harms"]
    for name, group in rows.groupby("condition"):
        row = table.loc[name]
        assert row["median"] == np.median(group[METRIC])
        assert row["low"] < row["median"] < row["high"]
        assert (row["n"], row["n_missing"], row["method"]) == (20, 0, "order statistics")


def test_missing_values_are_counted_and_few_have_a_range(rows):
    rows.loc[rows["simulation"] > 1, METRIC] = np.nan
    table = comparison.summarise(rows, METRIC)
    assert (table["n"] == 2).all() and (table["n_missing"] == 18).all() and (table["method"] == "range").all()
    assert np.allclose(table["median"], (table["low"] + table["high"]) / 2)
    rows.loc[rows["simulation"] > 0, METRIC] = np.nan
    assert comparison.summarise(rows, METRIC)[["low", "high"]].isna().all(axis=None)


def test_comparison_is_paired(rows):
    table = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition")
    helps = table.loc["helps"]
    wide = rows.pivot(index="simulation", columns="condition", values=METRIC)
    ratio = np.log(wide["helps"] / wide["baseline"])
    assert helps["difference"] == pytest.approx(ratio.mean())
    assert helps["percent"] == pytest.approx(100 * (helps["level"] / helps["baseline_level"] - 1))
    assert helps["level"] == pytest.approx(stats.gmean(wide["helps"]))
    assert helps["probability"] == (ratio < 0).mean()
    assert helps[["low", "high"]].tolist() == pytest.approx(list(inference.mean_interval(ratio)[:2]))
    assert helps["p_value"] == pytest.approx(inference.corrected_p_value(ratio))
    # the luck that the arms share is far larger than the gain: unpaired medians could not tell
    summary = comparison.summarise(rows, METRIC).set_index("condition")
    assert summary.loc["helps", "high"] > summary.loc["baseline", "low"]
    assert helps["high"] < 0
    assert table["outcome"].to_dict() == {"helps": "better, equivalent", "harms": "worse, equivalent"}


def test_losses_are_equivalent_within_ten_percent(rows):
    rows.loc[rows["condition"] == "harms", METRIC] *= 1.1
    table = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition")
    assert table.loc["harms", "outcome"] == "worse"
    assert table["margin"].unique() == pytest.approx(np.log(1.1))


def test_fewer_than_ten_pairs_have_a_range_and_no_verdict(rows):
    table = comparison.compare(rows[rows["simulation"] < 9], METRIC, baseline="baseline").set_index("condition")
    wide = rows[rows["simulation"] < 9].pivot(index="simulation", columns="condition", values=METRIC)
    ratio = 100 * (wide["harms"] / wide["baseline"] - 1)
    assert table.loc["harms", ["percent_low", "percent_high"]].tolist() == pytest.approx([ratio.min(), ratio.max()])
    assert (table["outcome"] == "no verdict").all() and table[["p_value", "p_holm"]].isna().all(axis=None)


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
    assert row["outcome"] == "no verdict"


def test_an_identical_arm_is_an_even_match(rows):
    twin = rows[rows["condition"] == "baseline"].assign(condition="twin")
    table = comparison.compare(pd.concat([rows, twin]), METRIC, baseline="baseline").set_index("condition", drop=False)
    row = table.loc["twin"]
    assert (row["difference"], row["probability"], row["p_value"]) == (0, 0.5, 1)
    assert row["outcome"] == "equivalent"  # its interval is a point inside the margin


def test_primary_contrast_is_left_out_of_holm(rows):
    every = comparison.compare(rows, METRIC, baseline="baseline").set_index("condition")
    assert np.allclose(every["p_holm"], inference.holm(every["p_value"])) and (every["p_holm"] > 0).all()
    assert every["p_holm"].max() == every["p_value"].max() and every["p_holm"].min() == 2 * every["p_value"].min()
    one = comparison.with_holm(every.assign(primary=every.index == "helps"))
    assert (one["p_holm"] == one["p_value"]).all()


def test_direction_follows_the_metric(rows):
    table = comparison.compare(rows.rename(columns={METRIC: "test_accuracy"}), "test_accuracy", baseline="baseline")
    assert not table["lower_is_better"].any()
    assert list(table["outcome"]) == ["worse", "better"]
    with pytest.raises(ValueError, match="cannot tell whether a lower 'seconds'"):
        comparison.compare(rows.rename(columns={METRIC: "seconds"}), "seconds", baseline="baseline")


def test_percent_is_undefined_for_a_baseline_that_is_not_positive(rows):
    rows["test_kappa"] = rows[METRIC] - 1
    row = comparison.compare(rows, "test_kappa", baseline="baseline").iloc[0]
    assert np.isnan(row["percent"]) and np.isfinite(row["difference"])


def test_interval_does_not_depend_on_other_conditions(rows):
    alone = rows[rows["condition"] != "harms"]
    both = comparison.compare(rows, METRIC, baseline="baseline").iloc[0].drop("p_holm")
    assert both.equals(comparison.compare(alone, METRIC, baseline="baseline").iloc[0].drop("p_holm"))


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
