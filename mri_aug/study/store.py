"""Finished simulations on disk: one row per key in one SQLite file, and what a key is made of.

A row is committed as it is appended, so that a kill at any moment loses none that was finished. One process writes
(the driver of a study); any number may read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pandas as pd

from mri_aug.generators.base import ImageGenerator, generator_module
from mri_aug.models.training import TrainConfig
from mri_aug.provenance import code_fingerprint, sqlite_fault, versions
from mri_aug.study.conditions import Condition

_SCHEMA = "create table if not exists simulations (key text primary key, finished text not null, row text not null)"
_COLUMNS = ["key", "finished", "row"]
_INSERT = "insert or ignore into simulations values (?, datetime('now'), ?)"
_OF_PART = "select row from simulations where instr(row, ?) limit 1"
_SELECT = "select key, row from simulations where key in (select value from json_each(?))"
# packages whose version can change a row's numbers
NUMERICAL = ("torch", "torchvision", "numpy", "scipy", "opencv-python-headless", "scikit-learn", "diffusers")


class Store:
    """Rows by key in the SQLite file at ``path``; file and folder are made where missing.

    Any method raises a ValueError if the file is not a store, which is then left as it was, or is damaged; and an
    OSError if it cannot be used (no permission, a full disk, another program locks it for a minute).
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            if not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                connection.execute(_SCHEMA)
            columns = [name for _, name, *_ in connection.execute("pragma table_info(simulations)")]
        if columns != _COLUMNS:
            found = f"expected a table simulations of {', '.join(_COLUMNS)}, got {', '.join(columns) or 'other tables'}"
            raise ValueError(f"{self.path} is not a store of simulations ({found}); name another file")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction; faults of the file are raised as ValueError or OSError."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.ProgrammingError:
            raise  # the caller's fault, not the file's
        except (sqlite3.DatabaseError, json.JSONDecodeError, TypeError) as error:
            cure = "name another file, put a copy in its place, or remove it and run its simulations again"
            raise sqlite_fault(error, self.path, kind="a store of simulations", cure=cure) from error

    def append(self, key: str, row: Mapping[str, object]) -> None:
        """Keep ``row`` under ``key``; a key that is there already keeps its first row."""
        with self._connection() as connection:
            connection.execute(_INSERT, (key, json.dumps(dict(row))))

    def add(self, rows: pd.DataFrame) -> int:
        """Keep the rows of a deposit whose keys are new, in one transaction, and return their number.

        ``rows`` has a column ``key``, as :func:`mri_aug.results.deposit.load_deposit` returns them; a ValueError if it
        has not, or holds anything but numbers, booleans and strings.
        """
        if "key" not in rows or not rows["key"].map(lambda key: isinstance(key, str)).all():
            raise ValueError("these are no rows of a study: each needs a key, as text, in the column 'key'")
        try:
            texts = [(row.pop("key"), json.dumps(row, default=lambda v: v.item())) for row in rows.to_dict("records")]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"these are no rows of a study: a column holds other values ({error})") from None
        with self._connection() as connection:
            before = connection.total_changes
            connection.executemany(_INSERT, texts)
            return connection.total_changes - before

    def images_of(self, part: str) -> str | None:
        """Return which images a deposit's rows of that part are of, if any were added; rows made here name no part."""
        with self._connection() as connection:
            found = connection.execute(_OF_PART, (f'"part": {json.dumps(part)}',)).fetchone()
            return found and json.loads(found[0])["images"]

    def rows(self, keys: Iterable[str]) -> dict[str, dict]:
        """Return those rows that are finished, by key, in the order asked for; the others of the file are not read."""
        keys = list(keys)
        with self._connection() as connection:
            found = dict(connection.execute(_SELECT, (json.dumps(keys),)))
            return {key: {**json.loads(found[key])} for key in keys if key in found}

    def table(self, keys: Iterable[str]) -> pd.DataFrame:
        """Return the rows of ``keys``, in their order; KeyError if one has not been finished."""
        rows = self.rows(keys := list(keys))
        if missing := [key for key in keys if key not in rows]:
            raise KeyError(f"{len(missing)} of {len(keys)} simulations are not in {self.path}; run the study first")
        return pd.DataFrame([{"key": key, **rows[key]} for key in keys])

    def __len__(self) -> int:
        with self._connection() as connection:
            return connection.execute("select count(*) from simulations").fetchone()[0]


class Keys:
    """The keys of one study's simulations, for the ``conditions`` that need them.

    ``images`` is the fingerprint of the study's. ``config`` is resolved, so that keys contain the device and the
    precision that are used. ``generators`` are the study's own, by name; the others are made by theirs.
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        images: str,
        *,
        seed: int,
        config: TrainConfig,
        generators: Mapping[str, ImageGenerator],
    ):
        self._shared = {
            "images": images,
            "config": asdict(config) | {"device": config.resolved_device().type},  # which GPU does not matter
            "seed": seed,
            "code": _fingerprint("mri_aug.study.simulation"),
            "versions": _versions(NUMERICAL),
        }
        self._generators = {"none": "none"}
        for name in {condition.generator for condition in conditions} - {"none"}:
            # imported lazily, so that the simulation's code does not include it
            code = _fingerprint(generator_module(name)) if name not in generators else generators[name].fingerprint
            self._generators[name] = code
        weights = {name: _content(name) for name in {condition.weights for condition in conditions}}
        self._halves = {}  # what is hashed, before and after the number of the simulation, which versions follow
        for one in conditions:
            made = {
                "condition": asdict(one),
                "generator": self._generators[one.generator],
                "weights": weights[one.weights],
            }
            text = json.dumps(self._shared | made | {"simulation": None}, sort_keys=True)
            self._halves[one] = text.split('null, "versions"')

    def versions(self, generator: str) -> dict[str, str]:
        """Return what made a row, as columns: a deposit does not mix versions unasked."""
        shared = {name: self._shared[name] for name in ("images", "code")}
        return {**shared, "generator_code": self._generators[generator]}

    def of(self, condition: Condition, simulation: int) -> str:
        """Return the key of one simulation, 32 hexadecimal digits."""
        before, after = self._halves[condition]
        return hashlib.sha256(f'{before}{simulation}, "versions"{after}'.encode()).hexdigest()[:32]


_fingerprint, _versions = cache(code_fingerprint), cache(versions)


def _content(weights: str) -> str:
    """Return a digest of a weights file, which may change under its name, or of the code that makes weights by name."""
    if weights == "phantom":
        return _fingerprint("mri_aug.models.phantom_weights")
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest() if Path(weights).is_file() else ""
