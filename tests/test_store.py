"""A finished row stays, whatever happens afterwards."""

from __future__ import annotations

import multiprocessing

import pytest

from mri_aug.store import Store


def test_rows_come_back_as_they_went_in_and_in_the_order_asked_for(tmp_path):
    store = Store(tmp_path / "new" / "store.sqlite")
    store.append("b", {"value": 0.1 + 0.2, "name": "x", "missing": float("nan")})
    store.append("a", {"value": 2.0, "name": "y", "missing": 1.0})
    table = Store(store.path).table(["a", "b"])
    assert table["key"].tolist() == ["a", "b"] and table["value"].tolist() == [2.0, 0.1 + 0.2]
    assert table["missing"].isna().tolist() == [False, True]


def test_the_first_row_of_a_key_stays(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    store.append("a", {"value": 1})
    store.append("a", {"value": 2})
    assert store.rows(["a", "absent"]) == {"a": {"value": 1}} and len(store) == 1


def test_what_is_missing_is_counted(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    store.append("a", {"value": 1})
    with pytest.raises(KeyError, match="1 of 2 simulations"):
        store.table(["a", "b"])


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my own notes, " * 100)
    with pytest.raises(ValueError, match="notes.txt is not a store"):
        Store(path)
    assert path.read_text().startswith("my own notes")


def _append_many(path, first):
    store = Store(path)
    for number in range(first, first + 50):
        store.append(str(number), {"number": number})


def test_two_processes_may_write_at_once(tmp_path):
    path = tmp_path / "store.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, first)) for first in (0, 25)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert {row["number"] for row in Store(path).rows(map(str, range(75))).values()} == set(range(75))
