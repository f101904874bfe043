"""Deposit a study's table as CSV beside a JSON manifest, and read it back exactly.

The manifest says what made the table; this module checks that the two belong together. It computes no
statistic and never appends: a deposit is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mri_aug import provenance

_OWN_KEYS = ("n_rows", "columns", "sha256")


def export(rows: pd.DataFrame, name: str, *, manifest: dict, folder: Path | None = None) -> Path:
    """Write ``<name>.csv`` and ``<name>.json`` below the results folder.

    Parameters
    ----------
    rows : DataFrame
        Columns of integers, floats, booleans or strings; strings must not be missing.
    name : str
        Letters, digits, ``-`` and ``_``; replaces an earlier deposit of that name.
    manifest : dict
        What made the table (what, when, n, versions, hours), as JSON can hold it. The number of rows, the
        columns with their types and a checksum are added.
    folder : Path, optional
        :func:`mri_aug.provenance.results` by default.

    Returns
    -------
    Path
        The CSV file.

    Raises
    ------
    ValueError
        If the table is empty, a column cannot be kept without loss, the name is not allowed or the manifest
        uses a key of ours.
    """
    csv, sidecar = _files(name, folder)
    if rows.empty:
        raise ValueError(f"there are no rows to deposit as {name!r}: run the study first")
    if clash := set(_OWN_KEYS) & set(manifest):
        raise ValueError(f"the manifest of {name!r} must not set {sorted(clash)}: they are computed from the table")
    columns = {str(column): _kind(rows, column) for column in rows.columns}
    text = rows.to_csv(index=False, lineterminator="\n")
    own = {"n_rows": len(rows), "columns": columns, "sha256": _checksum(text)}
    document = json.dumps(manifest | own, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    csv.parent.mkdir(parents=True, exist_ok=True)
    _replace(csv, text)
    _replace(sidecar, document)
    return csv


def load_deposit(name: str, *, folder: Path | None = None) -> tuple[pd.DataFrame, dict]:
    """Read a deposit back, with the column types that it was written with.

    Returns
    -------
    rows : DataFrame
    manifest : dict

    Raises
    ------
    FileNotFoundError
        If there is no such deposit; the message lists those that are there.
    ValueError
        If table and manifest do not belong together.
    """
    csv, sidecar = _files(name, folder)
    if not (csv.is_file() and sidecar.is_file()):
        there = ", ".join(deposit_names(folder=csv.parent)) or "none"
        raise FileNotFoundError(f"no deposit {name!r} in {csv.parent}; there are: {there}")
    manifest = json.loads(sidecar.read_text(encoding="utf-8"))
    if missing := [key for key in _OWN_KEYS if key not in manifest]:
        raise ValueError(f"{sidecar} lacks {missing}: it is not the manifest of a deposit; export the study again")
    if _checksum(csv.read_text(encoding="utf-8")) != manifest["sha256"]:
        raise ValueError(f"{csv} is not the table that {sidecar.name} describes: export the study again")
    text = pd.read_csv(csv, dtype=str, keep_default_na=False)
    rows = pd.DataFrame({column: _parsed(text[column], kind) for column, kind in manifest["columns"].items()})
    return rows, manifest


def deposit_names(*, folder: Path | None = None) -> list[str]:
    """Return the names of the deposits that are there, sorted: each a table beside its manifest."""
    folder = provenance.results() if folder is None else Path(folder)
    return sorted(path.stem for path in folder.glob("*.csv") if path.with_suffix(".json").is_file())


def _parsed(column: pd.Series, kind: str) -> pd.Series:
    """Return a column of text as the type it had; an empty string is a string, an empty number is missing."""
    if kind == "str":
        return column
    if kind == "bool":
        return column == "True"
    # NumPy reads a decimal as the nearest number, so that floats come back to the last bit
    return pd.Series(np.array(column.replace("", "nan").tolist()).astype(kind), name=column.name)


def _kind(rows: pd.DataFrame, column: str) -> str:
    values = rows[column]
    if values.dtype.kind in "iufb" and not pd.api.types.is_extension_array_dtype(values.dtype):
        return str(values.dtype)
    if not values.map(lambda value: isinstance(value, str)).all():
        raise ValueError(
            f"column {column!r} ({values.dtype}) holds something other than numbers, booleans or strings: "
            "write it as one of them before exporting"
        )
    return "str"


def _files(name: str, folder: Path | None) -> tuple[Path, Path]:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"a deposit's name holds letters, digits, - and _ only, got {name!r}")
    folder = provenance.results() if folder is None else Path(folder)
    return folder / f"{name}.csv", folder / f"{name}.json"


def _checksum(text: str) -> str:
    """Return a digest of text with its line ends unified, so that a checkout on another system still agrees."""
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(path: Path, text: str) -> None:
    """Write ``path`` so that a reader sees the old file or the new one, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private, and this file is to be shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
