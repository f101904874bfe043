"""A finished row stays, whatever happens later."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
from contextlib import closing
from dataclasses import asdict

import pandas as pd
import pytest

from mri_aug.models.training import TrainConfig
from mri_aug.study.conditions import Condition
from mri_aug.study.store import Keys, Store


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
    with pytest.raises(ValueError, match="notes.txt is damaged or is not a store"):
        Store(path)
    assert path.read_text().startswith("my own notes")


def execute(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("create table simulations (id integer, value real)", "key, finished, row, got id, value"),
        ("create table payments (usd real)", "got other tables"),
        ("create view simulations as select 1 as id", "got id"),
    ],
)
def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path, statement, message):
    path = tmp_path / "other.sqlite"
    execute(path, statement)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"other.sqlite is not a store of simulations.*{message}.*name another file"):
        Store(path)
    assert path.read_bytes() == before


def test_damaged_pages_are_named_with_what_to_do(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    for number in range(20):
        store.append(str(number), {"text": "x" * 1000})
    content = store.path.read_bytes()
    store.path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    for use in (lambda: store.rows("0"), lambda: store.table("0"), lambda: len(store), lambda: store.append("a", {})):
        with pytest.raises(ValueError, match="store.sqlite is damaged.*put a copy in its place, or remove it"):
            use()


def test_rows_stand_in_the_order_asked_for_and_others_are_not_read(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    for key in "bca":
        store.append(key, {"value": key})
    execute(store.path, "insert into simulations values ('damaged', 'now', '{')")
    assert list(store.rows(iter(["c", "x", "a", "b"]))) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"value": [1]}), "each needs a key"),
        (pd.DataFrame({"key": ["a", None], "value": 1}), "each needs a key"),
        (pd.DataFrame({"key": [1, 2], "value": 1}), "each needs a key"),
        (pd.DataFrame({"key": ["a"], "value": [pd.Timestamp("2020-01-01")]}), "a column holds other values"),
    ],
)
def test_rows_of_something_else_are_refused(tmp_path, rows, message):
    store = Store(tmp_path / "store.sqlite")
    with pytest.raises(ValueError, match=f"no rows of a study: .*{message}"):
        store.add(rows)
    assert len(store) == 0 and store.add(pd.DataFrame({"key": ["a"], "value": [1.5]})) == 1


@pytest.mark.parametrize("text", ["'{\"value\": '", "cast(x'ff' as text)", "'[]'", "'5'"])
def test_a_damaged_row_is_named(tmp_path, text):
    store = Store(tmp_path / "store.sqlite")
    execute(store.path, f"insert into simulations values ('a', 'now', {text})")
    with pytest.raises(ValueError, match="store.sqlite is damaged"):
        store.rows(["a"])


def test_a_missing_table_is_named(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    execute(store.path, "drop table simulations")
    with pytest.raises(ValueError, match="store.sqlite is damaged or is not a store of simulations"):
        store.rows(["a"])


def test_a_place_that_cannot_be_opened_is_no_fault_of_the_store(tmp_path):
    with pytest.raises(OSError, match="cannot be used .unable to open database file.; check that it may be written to"):
        Store(tmp_path)


def test_a_full_disk_and_a_long_lock_are_named(tmp_path, monkeypatch):
    store, connect = Store(tmp_path / "store.sqlite"), sqlite3.connect

    def without_room(path, **_):
        connection = connect(path)
        connection.execute("pragma max_page_count = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", without_room)
    with pytest.raises(OSError, match="No space left on device.*store.sqlite"):
        store.append("a", {"text": "x" * 10_000})
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
    with closing(connect(store.path)) as holder:
        holder.execute("begin exclusive")
        with pytest.raises(OSError, match="store.sqlite cannot be used .database is locked.*no other program holds it"):
            store.append("a", {"value": 1})
    assert len(store) == 0


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


def test_a_key_is_the_digest_of_all_that_makes_a_row(toy_images):
    condition, config = Condition(real_frac=0.5), TrainConfig(epochs=1).resolved()
    keys = Keys([condition], toy_images.fingerprint, seed=3, config=config, generators={})
    parts = keys._shared | {"condition": asdict(condition), "simulation": 7, "generator": "none", "weights": ""}
    expected = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    assert keys.of(condition, 7) == expected != keys.of(condition, 8)
