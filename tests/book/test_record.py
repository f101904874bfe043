"""The record's small tables: what each counts, how they are kept, and that the committed ones come from this code."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mri_aug import cli, provenance
from mri_aug.book import record
from mri_aug.book.record import TABLES, load_tables, make_tables
from mri_aug.data import loading
from mri_aug.results.deposit import export, load_deposit
from tests.conftest import SLICES, make_toy_images
from tests.phantoms import small_crowd


@pytest.fixture
def images(toy_images, monkeypatch):
    monkeypatch.setattr(record, "load_phantoms", lambda **_: make_toy_images(3, seed=1))
    return toy_images


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "record"


def made(images, folder, *names):
    assert list(make_tables(images, dataset="toys", folder=folder, names=names)) == list(names)
    return load_tables(*names, folder=folder)


def test_people_and_images_are_counted_by_class_and_part(images, folder):
    test = torch.zeros(len(images), dtype=torch.bool)
    test[:: SLICES // 2] = True  # two slices of everyone
    counts = made(replace(images, published_test=test), folder, "counts")["counts"]
    assert counts["class"].tolist() == list(images.class_names)
    assert (
        counts[["training_images", "test_images", "people", "people_in_both"]].to_numpy().tolist()
        == [[16, 8, 4, 4]] * 4
    )


def test_groups_grow_in_number_with_the_threshold_and_split_nobody_on_the_plateau(images, folder):
    people = made(make_toy_images(3, seed=3), folder, "people")["people"]
    for source, n_people in (("real", 12), ("phantoms", 12)):
        rows = people[people["source"] == source]
        assert rows["groups"].is_monotonic_increasing and rows["threshold"].tolist() == list(record.THRESHOLDS)
        plateau = rows[rows["threshold"].between(rows["low"], rows["high"], inclusive="left")]
        assert set(plateau["groups"]) == {n_people} and (plateau["largest"] == plateau["smallest"]).all()


def test_leaks_of_images_are_recognition_and_folds_of_people_have_none(images, folder):
    leaks = made(images, folder, "leakage")["leakage"].groupby("protocol")
    assert leaks.size().to_dict() == {"image": 5, "subject": 5}
    assert leaks["shared_subjects"].mean().to_dict() == {"image": 1, "subject": 0}
    assert leaks["random_label_accuracy"].mean()["image"] > leaks["random_label_accuracy"].mean()["subject"] + 0.3
    assert leaks["n_test"].sum()["subject"] == len(images)  # the folds test everybody once
    assert not leaks["close_neighbours"].count().any(), "no threshold tells these people apart"
    told = made(make_toy_images(4, seed=3), folder.with_name("told"), "leakage")["leakage"].groupby("protocol")
    assert told["close_neighbours"].min()["image"] > 0.5 > told["close_neighbours"].max()["subject"]


def test_real_and_simulated_tissue_stand_side_by_side(images, folder, monkeypatch):
    monkeypatch.setattr("mri_aug.generators.simulated.load_crowd", lambda **_: small_crowd())
    anatomy = made(images, folder, "anatomy")["anatomy"]
    sizes = anatomy.drop_duplicates(["source", "grade"]).groupby("source")["n_images"].sum()
    assert sizes.to_dict() == {"real": 96, "phantoms": 72, "simulated": 96}
    assert (anatomy["p10"] <= anatomy["p90"]).all()


def test_maps_have_a_row_for_each_person_method_and_network(images, folder, monkeypatch):
    monkeypatch.setattr(record, "N_NETWORKS", 1)
    monkeypatch.setattr(record, "METHODS", {"gradcam": None, "hirescam": None, "scorecam": None})
    maps = made(images, folder, "heatmaps")["heatmaps"]
    assert not maps.duplicated(["network", "method", "subject"]).any()
    assert maps.groupby("network")["method"].unique().map(sorted).to_dict() == {
        "all": ["gradcam", "hirescam"], "all, image protocol": ["hirescam"], "30 % + morph": ["hirescam"],
        "30 % + duplicates": ["hirescam"],
    }  # fmt: skip
    assert maps["fluid"].between(0, 1).all() and "energy" not in maps  # no atrophy is known


def test_what_is_there_is_kept_and_what_is_named_is_made_anew(images, folder, monkeypatch):
    calls = []
    for name in TABLES:
        table = pd.DataFrame({"name": [name]})
        monkeypatch.setitem(TABLES, name, lambda *_, table=table: calls.append(table["name"][0]) or table)
    shared = {"dataset": "toys", "folder": folder}
    assert load_tables("counts", folder=folder) == {}
    assert list(make_tables(images, names=["people", "counts"], **shared)) == ["people", "counts"]
    assert list(make_tables(images, **shared)) == ["leakage", "anatomy", "fidelity", "heatmaps"] == calls[2:]
    assert list(make_tables(images, **shared)) == []
    assert list(make_tables(images, names=["people"], **shared)) == ["people"] and calls.count("people") == 2
    entries = json.loads((folder / "tables.json").read_text())
    assert set(entries) == set(TABLES) and entries["people"]["images"] == images.fingerprint
    assert {"n_people", "core_seconds", "machine", "code", "seed", "date"} <= set(entries["people"])
    with pytest.raises(ValueError, match="no table is called figures; there are counts"):
        next(make_tables(images, names=["figures"], **shared))
    with pytest.raises(ValueError, match="holds tables of other images"):
        next(make_tables(images[:50], **shared))


def test_rows_of_the_study_lie_beside_them(images, folder):
    made(images, folder, "counts")
    export(pd.DataFrame({"key": ["a"], "x": [1.0]}), folder, manifest={})
    assert load_deposit(folder)[0]["x"].tolist() == [1.0] and load_tables("counts", folder=folder)


def test_the_command_writes_the_tables_named(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_phantoms", lambda **_: images)
    monkeypatch.setattr(provenance, "project", lambda: tmp_path)
    assert cli.main(["tables", "counts"]) == 0
    assert "counts.parquet" in capsys.readouterr().out and load_tables("counts")
    assert json.loads((tmp_path / "results" / "record" / "tables.json").read_text())["counts"]["dataset"] == "phantom"
    assert cli.main(["tables", "pictures"]) == 1 and "no table is called pictures" in capsys.readouterr().err


def test_committed_tables_are_what_this_code_makes_of_the_dataset(thesis_images, monkeypatch):
    committed = load_tables("counts", "leakage")
    pd.testing.assert_frame_equal(TABLES["counts"](thesis_images, 0), committed["counts"], check_dtype=False)
    monkeypatch.setattr(record, "N_SPLITS", 1)
    found = TABLES["leakage"](thesis_images, 0).set_index(["protocol", "split"])
    expected = committed["leakage"].set_index(["protocol", "split"]).loc[found.index]
    np.testing.assert_allclose(found.astype(float), expected.astype(float), atol=2e-3)  # ties differ by processor
