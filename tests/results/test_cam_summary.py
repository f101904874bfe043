"""Measures over people: what is averaged, what is resampled, and what the sentences say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mri_aug.results.maps import MEASURES, measure_table, over_people, paired


def people(n=20, n_slices=4, effect=0.5, seed=0):
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n), n_slices)
    own = rng.normal(0, 0.2, n)[subject]
    chance = 1 + 0.1 * rng.random(len(subject))
    value = chance + effect + own + 0.01 * rng.normal(size=len(subject))
    return pd.DataFrame({"image": range(len(subject)), "subject": subject, "value": value, "chance": chance})


def test_people_count_alike_however_many_slices_they_have():
    rows = pd.DataFrame({"subject": [0, 0, 0, 1], "value": [1.0, 1, 1, 3]})
    row = over_people(rows, "value").iloc[0]
    assert row["value"] == row["effect"] == 2 and row["n_people"] == 2
    assert np.isnan(row[["reference", "low", "high"]].astype(float)).all()  # too few people for an interval


@pytest.mark.parametrize(("effect", "expected"), [("difference", 0.5), ("ratio", 1.48)])
def test_effect_against_the_reference(effect, expected):
    row = over_people(people(), "value", "chance", effect=effect).iloc[0]
    assert row["effect"] == pytest.approx(expected, abs=0.12)
    assert row["low"] < row["effect"] < row["high"]
    combine = np.subtract if effect == "difference" else np.divide
    assert row["effect"] == pytest.approx(combine(row["value"], row["reference"]))


def test_more_slices_of_the_same_people_do_not_narrow_the_interval():
    rows = people()
    once, ten_times = (over_people(part, "value", "chance").iloc[0] for part in (rows, pd.concat([rows] * 10)))
    assert ten_times["low"] == pytest.approx(once["low"]) and ten_times["high"] == pytest.approx(once["high"])


def test_interval_covers_the_truth_as_often_as_it_says():
    found = [over_people(people(seed=seed), "value", "chance").iloc[0] for seed in range(100)]
    covered = np.mean([row["low"] <= 0.5 <= row["high"] for row in found])
    assert 0.85 <= covered <= 0.99


def test_groups_seeds_and_missing_values():
    rows = people().assign(method=lambda table: np.where(table["image"] % 2, "a", "b"))
    rows.loc[rows["subject"] < 3, "value"] = np.nan
    found = over_people(rows, "value", "chance", by=["method"])
    assert found["method"].tolist() == ["b", "a"] and found["n_people"].tolist() == [17, 17]
    pd.testing.assert_frame_equal(found, over_people(rows, "value", "chance", by=["method"]))
    assert (found["low"] != over_people(rows, "value", "chance", by=["method"], seed=1)["low"]).all()
    assert over_people(rows.assign(value=np.nan), "value", by=["method"]).empty
    assert over_people(rows.assign(value=np.nan), "value")["n_people"].tolist() == [0]
    with pytest.raises(ValueError, match=r"lacks \['energy'\]"):
        over_people(rows, "energy")
    with pytest.raises(ValueError, match="effect must be"):
        over_people(rows, "value", effect="product")


def test_networks_are_compared_on_the_same_images():
    rows = people()
    other = rows.assign(value=rows["value"] - 0.02).sample(frac=1, random_state=0)
    both = pd.concat([rows.assign(network="a"), other.assign(network="b")])
    row = paired(both, "value", "a", "b", by="network")
    assert row[["effect", "low", "high"]].tolist() == pytest.approx([0.02] * 3)


def test_table_shows_what_could_be_measured():
    rows = people().assign(network="a", shift=0.5, rank=0.1)
    for name in ("brain", "fluid", "elsewhere", "deletion", "insertion"):
        rows = rows.assign(**{name: rows["value"], f"{name}_chance": rows["chance"]})
    rows = rows.assign(energy=np.nan, energy_chance=np.nan)
    table = measure_table(rows, by="network")
    words = [measure.words for measure in MEASURES if measure.value != "energy"]
    assert table.columns.tolist() == ["network", *words]
    assert table.loc[0, "shift"].replace("\xa0", " ") == "0.50 [0.50, 0.50]"
