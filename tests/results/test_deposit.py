"""Deposits come back as they were written, or not at all."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest

from mri_aug.results.deposit import deposit_names, export, load_deposit


@pytest.fixture
def rows():
    return pd.DataFrame(
        {
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


def test_round_trip_keeps_values_and_types(rows, tmp_path):
    path = export(rows, "demo-1", manifest={"what": "a test", "hours": 0.1}, folder=tmp_path)
    assert path == tmp_path / "demo-1.csv"
    back, manifest = load_deposit("demo-1", folder=tmp_path)
    pd.testing.assert_frame_equal(back, rows)
    assert manifest["what"] == "a test" and manifest["n_rows"] == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["demo-1.csv", "demo-1.json"]


def test_names_are_those_of_whole_deposits(rows, tmp_path):
    assert deposit_names(folder=tmp_path) == []
    for name in ("b", "a"):
        export(rows, name, manifest={}, folder=tmp_path)
    (tmp_path / "c.csv").write_text("without a manifest\n")
    assert deposit_names(folder=tmp_path) == ["a", "b"]


def test_same_rows_same_bytes(rows, tmp_path):
    for name in ("a", "b"):
        export(rows, name, manifest={}, folder=tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_line_ends_of_another_system_are_no_damage(rows, tmp_path):
    path = export(rows, "demo", manifest={}, folder=tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(load_deposit("demo", folder=tmp_path)[0], rows)


def test_an_edited_table_is_refused(rows, tmp_path):
    path = export(rows, "demo", manifest={}, folder=tmp_path)
    path.write_text(path.read_text().replace("2+3", "3"))
    with pytest.raises(ValueError, match=r"demo\.csv is not the table"):
        load_deposit("demo", folder=tmp_path)


def test_a_foreign_manifest_is_refused(rows, tmp_path):
    export(rows, "demo", manifest={}, folder=tmp_path)
    (tmp_path / "demo.json").write_text(json.dumps({"what": "else"}))
    with pytest.raises(ValueError, match="lacks"):
        load_deposit("demo", folder=tmp_path)


def test_a_missing_deposit_names_those_there(rows, tmp_path):
    export(rows, "demo", manifest={}, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="there are: demo"):
        load_deposit("thesis", folder=tmp_path)


def test_a_failed_write_leaves_the_old_deposit(rows, tmp_path, monkeypatch):
    export(rows, "demo", manifest={}, folder=tmp_path)

    def full_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        export(rows.head(1), "demo", manifest={}, folder=tmp_path)
    pd.testing.assert_frame_equal(load_deposit("demo", folder=tmp_path)[0], rows)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "name", "manifest", "message"),
    [
        (lambda rows: rows, "../up", {}, "letters"),
        (lambda rows: rows.head(0), "demo", {}, "no rows"),
        (lambda rows: rows, "demo", {"n_rows": 7}, "n_rows"),
        (lambda rows: rows.assign(when=pd.Timestamp("2026-01-01")), "demo", {}, "'when'"),
        (lambda rows: rows.assign(condition=["a", None, "b"]), "demo", {}, "'condition'"),
    ],
)
def test_bad_input_is_named(rows, tmp_path, change, name, manifest, message):
    with pytest.raises(ValueError, match=message):
        export(change(rows), name, manifest=manifest, folder=tmp_path)
    assert not list(tmp_path.iterdir())
