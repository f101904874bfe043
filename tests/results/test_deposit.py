"""Deposits come back as they were written, or not at all."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from mri_aug import provenance
from mri_aug.results.deposit import deposit_names, export, load_deposit


@pytest.fixture
def rows():
    return pd.DataFrame(
        {
            "key": ["a", "b", "c"],
            "simulation": np.arange(3),
            "condition": ['0.3 real, "best"', "none", "NA"],
            "synth_classes": ["", "2+3", ""],
            "budget": ["010", "1e5", "x"],
            "test_cross_entropy": [0.1 + 0.2, np.nan, 1e-300],
            "short": np.array([0.1, 0.2, 0.3], dtype=np.float32),
            "primary": [True, False, True],
            "by_subject": ['{"subject":[1,2]}'] * 3,
        }
    )


def test_round_trip_keeps_values_and_types(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "results", lambda: tmp_path)
    place = export(rows, "demo-1", manifest={"what": "a test", "hours": 0.1})
    assert place == tmp_path / "demo-1"
    for name in ("demo-1", place, str(place)):
        back, manifest = load_deposit(name)
        pd.testing.assert_frame_equal(back, rows)
    assert manifest["what"] == "a test" and manifest["n_rows"] == 3
    assert sorted(file.name for file in place.iterdir()) == ["manifest.json", "rows.parquet"]


def test_rows_are_added_and_none_is_replaced(rows, tmp_path):
    export(rows.head(2), tmp_path / "demo", manifest={"n": 2})
    changed = rows.assign(test_cross_entropy=7.0)
    export(changed.iloc[[2, 0]], tmp_path / "demo", manifest={"n": 3})
    back, manifest = load_deposit(tmp_path / "demo")
    expected = pd.concat([rows.head(2), changed.tail(1)])
    pd.testing.assert_frame_equal(back, expected.reset_index(drop=True))
    assert manifest["n"] == 3


@pytest.mark.parametrize("column", ["images", "code", "generator_code"])
def test_versions_are_not_mixed_unasked(rows, tmp_path, column):
    made = rows.assign(images="a", code="b", generator="morph", generator_code="c")
    export(made.head(1), tmp_path / "demo", manifest={})
    other = made.iloc[1:].assign(**{column: "z"})
    with pytest.raises(ValueError, match=f"another version .{column} .* than these .z.: .*--mix"):
        export(other, tmp_path / "demo", manifest={})
    assert len(load_deposit(tmp_path / "demo")[0]) == 1
    export(other, tmp_path / "demo", manifest={}, mix=True)
    assert len(load_deposit(tmp_path / "demo")[0]) == 3


def test_another_generator_has_another_code(rows, tmp_path):
    made = rows.assign(generator=["morph", "morph", "hub"], generator_code=["c", "c", "d"])
    export(made.head(1), tmp_path / "demo", manifest={})
    export(made, tmp_path / "demo", manifest={})
    assert len(load_deposit(tmp_path / "demo")[0]) == 3


def test_a_part_may_have_images_of_its_own(rows, tmp_path):
    made = rows.assign(images=["a", "a", "of simulated people"], part=["people", "people", "power-50"])
    export(made.head(1), tmp_path / "demo", manifest={})
    export(made, tmp_path / "demo", manifest={})
    assert len(load_deposit(tmp_path / "demo")[0]) == 3
    with pytest.raises(ValueError, match="another version .images a, of simulated people.* than these .a, z.: "):
        export(made.assign(images=["a", "a", "z"], key=["d", "e", "f"]), tmp_path / "demo", manifest={})


def test_a_part_on_other_images_may_come_alone_but_no_other_dataset(rows, tmp_path):
    made = rows.assign(images=["a", "a", "of simulated people"], part=["people", "people", "power-50"])
    export(made.head(2), tmp_path / "demo", manifest={"images": "a"})
    with pytest.raises(ValueError, match="another version .images a. than these .b.: "):
        export(made.tail(1), tmp_path / "demo", manifest={"images": "b"})
    assert load_deposit(tmp_path / "demo")[1]["images"] == "a"
    export(made.tail(1), tmp_path / "demo", manifest={"images": "a"})
    assert len(load_deposit(tmp_path / "demo")[0]) == 3


def test_parts_that_are_not_exported_anew_stay_in_the_manifest(rows, tmp_path):
    made = rows.assign(part=["people", "draft", "sweep"], seconds=1800.0, machine=["x", "y", "y"], code="c")
    known = [{"part": "people", "finished": 1}, {"part": "draft", "finished": 1}]
    export(made.head(2), tmp_path / "demo", manifest={"parts": known})
    export(made.tail(1), tmp_path / "demo", manifest={"parts": [{"part": "sweep", "finished": 1}]})
    export(made.head(1), tmp_path / "demo", manifest={"parts": [{"part": "people", "finished": 9}]})
    manifest = load_deposit(tmp_path / "demo")[1]
    assert [(part["part"], part["finished"]) for part in manifest["parts"]] == [
        ("people", 9),
        ("draft", 1),
        ("sweep", 1),
    ]
    assert (manifest["core_hours"], manifest["machines"], manifest["code"]) == (1.5, ["x", "y"], ["c"])


def test_a_manifest_that_json_cannot_hold_leaves_the_old_deposit(rows, tmp_path):
    export(rows, tmp_path / "demo", manifest={"n": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        export(rows.assign(key=list("xyz")), tmp_path / "demo", manifest={"n": float("nan")})
    pd.testing.assert_frame_equal(load_deposit(tmp_path / "demo")[0], rows)


def test_names_are_those_of_whole_deposits(rows, tmp_path):
    assert deposit_names(folder=tmp_path) == []
    for name in ("b", "a"):
        export(rows, tmp_path / name, manifest={})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "rows.parquet").write_text("without a manifest")
    assert deposit_names(folder=tmp_path) == ["a", "b"]


def test_same_rows_same_bytes(rows, tmp_path):
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        export(rows.iloc[order], tmp_path / name, manifest={})
    assert (tmp_path / "a" / "rows.parquet").read_bytes() == (tmp_path / "b" / "rows.parquet").read_bytes()


def test_an_edited_table_is_refused(rows, tmp_path):
    place = export(rows, tmp_path / "demo", manifest={})
    rows.assign(short=np.float32(1)).to_parquet(place / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet is not the table that manifest\.json describes"):
        load_deposit(tmp_path / "demo")


@pytest.mark.parametrize("text", ['{"what": "else"}', "[1]", "{"])
def test_a_foreign_manifest_is_refused(rows, tmp_path, text):
    place = export(rows, tmp_path / "demo", manifest={})
    (place / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="not the manifest of a deposit"):
        load_deposit(tmp_path / "demo")


def test_a_missing_deposit_names_those_there(rows, tmp_path):
    export(rows, tmp_path / "demo", manifest={})
    with pytest.raises(FileNotFoundError, match="there are: demo"):
        load_deposit(tmp_path / "thesis")


def test_a_failed_write_leaves_the_old_deposit(rows, tmp_path, monkeypatch):
    export(rows, tmp_path / "demo", manifest={})

    def full_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        export(rows.assign(key=list("xyz")), tmp_path / "demo", manifest={})
    pd.testing.assert_frame_equal(load_deposit(tmp_path / "demo")[0], rows)
    assert len(list((tmp_path / "demo").iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "name", "manifest", "message"),
    [
        (lambda rows: rows, "..up", {}, "letters"),
        (lambda rows: rows.drop(columns="key"), "demo", {}, "a key of its own"),
        (lambda rows: rows.assign(key="a"), "demo", {}, "a key of its own"),
        (lambda rows: rows.head(0), "demo", {}, "no rows"),
        (lambda rows: rows, "demo", {"n_rows": 7}, "n_rows"),
        (lambda rows: rows.assign(when=pd.Timestamp("2026-01-01")), "demo", {}, "'when'"),
        (lambda rows: rows.assign(condition=["a", None, "b"]), "demo", {}, "'condition'"),
    ],
)
def test_bad_input_is_named(rows, tmp_path, monkeypatch, change, name, manifest, message):
    monkeypatch.setattr(provenance, "results", lambda: tmp_path)
    with pytest.raises(ValueError, match=message):
        export(change(rows), name, manifest=manifest)
    assert not list(tmp_path.iterdir())
