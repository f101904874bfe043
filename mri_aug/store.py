"""Finished simulations on disk: one immutable row a key, in one SQLite file.

A row is committed as it is appended, so that a kill at any moment loses none that was
finished. One process writes (the driver of a study); any number may read. The store does not
know what a row means.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import pandas as pd

_SCHEMA = "create table if not exists simulations (key text primary key, finished text not null, row text not null)"


class Store:
    """Rows by key in the SQLite file at ``path``; file and folder are made where missing.

    Raises
    ------
    ValueError
        If the file is not a store.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is not a store of simulations ({error}); name another file") from None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def append(self, key: str, row: Mapping[str, object]) -> None:
        """Keep ``row`` under ``key``; a key that is there already keeps its first row."""
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "insert or ignore into simulations values (?, datetime('now'), ?)", (key, json.dumps(dict(row)))
            )

    def rows(self, keys: Iterable[str]) -> dict[str, dict]:
        """Return the rows that are there, by key."""
        wanted = set(keys)
        with closing(self._connect()) as connection:
            found = connection.execute("select key, row from simulations").fetchall()
        return {key: json.loads(row) for key, row in found if key in wanted}

    def table(self, keys: Iterable[str]) -> pd.DataFrame:
        """Return the rows of ``keys``, in their order.

        Raises
        ------
        KeyError
            If one has not been finished.
        """
        keys = list(keys)
        rows = self.rows(keys)
        missing = [key for key in keys if key not in rows]
        if missing:
            raise KeyError(f"{len(missing)} of {len(keys)} simulations are not in {self.path}; run the study first")
        return pd.DataFrame([{"key": key, **rows[key]} for key in keys])

    def __len__(self) -> int:
        with closing(self._connect()) as connection:
            return connection.execute("select count(*) from simulations").fetchone()[0]
