"""Intervals over people: the numbers of a plain loop over simulations, in blocks or not; columns that do not fit."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pandas as pd
import pytest

from mri_aug.results import inference, subject_interval
from mri_aug.results.comparison import compare, compare_people
from mri_aug.results.sentences import sentence, tally
from mri_aug.results.tables import paired_groups

module = importlib.import_module("mri_aug.results.subject_interval")


def study(n_simulations=9, *, condition="a", seed=0):
    """Simulations that each test another twelve of twenty people, with one to four slices a person."""
    rng, records = np.random.default_rng(seed), []
    for simulation in range(n_simulations):
        people = np.sort(rng.permutation(20)[:12])
        table = {
            "subject": people, "label": people % 3, "n_images": 1 + people % 4, "accuracy": rng.random(12).round(5),
            "cross_entropy": rng.gamma(2, 0.3, 12).round(5), "predicted": rng.integers(0, 3, 12),
            "subject_cross_entropy": rng.gamma(2, 0.3, 12).round(5),
        }  # fmt: skip
        text = json.dumps({name: values.tolist() for name, values in table.items()})
        records.append({"condition": condition, "simulation": simulation, "by_subject": text})
    return pd.DataFrame(records)


def by_a_plain_loop(arms, metric, n_resamples, seed):
    """The definition: resample people within their class, average each simulation, resample simulations, median."""
    column, weight = module.METRICS[metric]
    strata = np.arange(20) % 3
    rng = np.random.default_rng(seed)
    drawn = inference.subject_weights(strata, n_resamples=n_resamples, rng=rng)

    def mean(times, text):
        table = pd.DataFrame(json.loads(text))
        scores = table["predicted"] == table["label"] if column == "right" else table[column]
        weights = times[table["subject"]] * (1 if weight is None else table[weight])
        return (weights * scores).sum() / weights.sum() if weights.sum() else np.nan

    def values(times):
        means = [[mean(times, text) for text in arm["by_subject"]] for arm in arms]
        return np.array(means[0]) - (np.array(means[1]) if len(means) == 2 else 0)

    medians = inference.resampled_medians(np.array([values(times) for times in drawn]), rng=rng)
    interval = inference.percentile_interval(medians, confidence_level=0.95)
    return [np.median(values(np.ones(20))), interval.low, interval.high]


@pytest.mark.parametrize("block", [1, 50, 2**18])
@pytest.mark.parametrize("metric", list(module.METRICS))
def test_the_numbers_are_those_of_a_plain_loop_whatever_the_block(metric, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    rows = pd.concat([study(), study(condition="b", seed=1)])
    arms = [rows[rows["condition"] == name] for name in "ba"]
    row = subject_interval(rows, metric, baseline="a", n_resamples=20, seed=4).iloc[0]
    expected = by_a_plain_loop(arms, metric, 20, 4)
    np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), expected, rtol=1e-12)
    row = subject_interval(rows, metric, n_resamples=20, seed=4).iloc[1]
    expected = by_a_plain_loop(arms[:1], metric, 20, 4)
    np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), expected, rtol=1e-12)
    assert row["n"] == 9 and row["n_subjects"] == 20


def test_relative_differences_are_percent_of_the_baseline():
    rows = pd.concat([study(), study(condition="b", seed=1)])
    doubled = rows[rows["condition"] == "a"].assign(condition="twice")
    doubled["by_subject"] = [
        json.dumps(table | {"cross_entropy": [2 * value for value in table["cross_entropy"]]})
        for table in map(json.loads, doubled["by_subject"])
    ]
    found = subject_interval(pd.concat([rows, doubled]), "cross_entropy", baseline="a", relative=True)
    row = found.set_index("condition").loc["twice"]
    np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), 100)
    other = found.set_index("condition").loc["b"]
    assert other["low"] < other["value"] < other["high"]
    with pytest.raises(ValueError, match="need a baseline"):
        subject_interval(rows, "cross_entropy", relative=True)


def scored(rows):
    """Rows with the cross-entropy of all test images, as a study has it beside each person's."""
    tables = [pd.DataFrame(json.loads(text)) for text in rows["by_subject"]]
    return rows.assign(
        protocol="subject", test_cross_entropy=[np.average(t["cross_entropy"], weights=t["n_images"]) for t in tables]
    )


def test_a_comparison_over_people_differs_from_one_over_simulations_in_its_intervals_alone():
    rows = scored(pd.concat([study(), study(condition="b", seed=1)]))
    plain, people = (way(rows, "test_cross_entropy", baseline="a") for way in (compare, compare_people))
    ends = ["low", "high", "percent_low", "percent_high", "method"]
    pd.testing.assert_frame_equal(plain.drop(columns=ends), people.drop(columns=ends))
    for names, relative in ((["low", "high"], False), (["percent_low", "percent_high"], True)):
        expected = subject_interval(rows, "cross_entropy", baseline="a", relative=relative).loc[0, ["low", "high"]]
        np.testing.assert_allclose(people.loc[0, names].astype(float), expected.astype(float))
    assert people["method"].tolist() == ["people"]
    assert "interval over people" in sentence(people.loc[0]) and "over people" not in sentence(plain.loc[0])
    assert "(intervals over people)" in tally(people, things="arms", baseline="a")


def test_groups_are_over_people_under_the_subject_protocol_alone():
    rows = scored(pd.concat([study(), study(condition="b", seed=1)]))
    table = paired_groups(pd.concat([rows, rows.assign(protocol="image")]), "test_cross_entropy", baseline="a")
    assert table.set_index("protocol")["method"].eq("people").to_dict() == {"image": False, "subject": True}


def test_several_metrics_at_once_are_those_one_by_one():
    rows = pd.concat([study(), study(condition="b", seed=1)])
    options = {"baseline": "a", "n_resamples": 20, "seed": 4}
    together = subject_interval(rows, list(module.METRICS), **options)
    one_by_one = pd.concat([subject_interval(rows, metric, **options) for metric in module.METRICS])
    pd.testing.assert_frame_equal(together, one_by_one.reset_index(drop=True))


def test_columns_that_do_not_fit_are_refused():
    rows = study()
    table = json.loads(rows.at[0, "by_subject"])
    shorter, without = table | {"accuracy": [0.5]}, {name: table[name] for name in table if name != "label"}
    for wrong, message in ((json.dumps(shorter), "different lengths"), (json.dumps(without), "encode_by_subject"),
                           ("{", "encode_by_subject")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            subject_interval(rows.assign(by_subject=[wrong, *rows["by_subject"][1:]]), "accuracy")
