"""Committed tables of studies: a folder of ``rows.parquet`` beside ``manifest.json``, which says what made them.

Rows are only ever added, each under its key. Nothing here computes a statistic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mri_aug import provenance

_OWN_COLUMNS = {"code": "code", "machines": "machine"}  # what made the rows, by where a row says it
_OWN_KEYS = ("n_rows", "sha256", "core_hours", *_OWN_COLUMNS)
_TABLE, _MANIFEST = "rows.parquet", "manifest.json"
# what should not change, within what: parts may have images of their own (simulated people), generators their own code
FINGERPRINTS = {"images": "part", "code": "", "generator_code": "generator"}


def export(rows: pd.DataFrame, name: str | Path, *, manifest: Mapping[str, object], mix: bool = False) -> Path:
    """Write rows as a deposit, or add those that it lacks, and return its folder.

    Parameters
    ----------
    rows : DataFrame
        With a column ``key``, unique; numbers, booleans and strings.
    name : str or Path
        Letters, digits, ``-`` and ``_``: a folder below :func:`mri_aug.provenance.results`; or the path of a deposit.
    manifest : mapping
        What made the rows (what, when, versions), as JSON can hold it; replaces an earlier manifest, except that
        entries of ``parts`` which it does not name stay. What the table itself tells is added: the number of rows, a
        checksum, and the hours, code and machines where rows name them.
    mix : bool
        Add rows although another dataset or other code made those that are there.

    Raises
    ------
    ValueError
        If there are no rows, a key occurs twice, a column holds anything else, the name is not allowed, the manifest
        uses a key of ours, or images or code differ from those of the rows that are there.
    """
    place = _deposit_folder(name)
    if rows.empty:
        raise ValueError(f"there are no rows to deposit as {place.name!r}: run the study first")
    if clash := set(_OWN_KEYS) & set(manifest):
        raise ValueError(f"the manifest of {place.name!r} must not set {sorted(clash)}: they come from the rows")
    if "key" not in rows or rows["key"].duplicated().any():
        raise ValueError("every row of a deposit needs a key of its own in the column 'key'")
    for column in rows:
        if not _is_plain(rows[column]):
            raise ValueError(
                f"column {column!r} ({rows[column].dtype}) holds something other than numbers, booleans or strings: "
                "write it as one of them before exporting"
            )
    if (place / _TABLE).is_file():
        kept = pd.read_parquet(place / _TABLE)  # whole, even where a kill came before its manifest was written
        earlier = json.loads((place / _MANIFEST).read_text(encoding="utf-8")) if (place / _MANIFEST).is_file() else {}
        if not mix:
            _refuse_mixture(kept, rows, place, earlier.get("images"), manifest.get("images"))
        rows = pd.concat([kept, rows[~rows["key"].isin(kept["key"])]], ignore_index=True)
        parts = {part["part"]: part for part in [*earlier.get("parts", ()), *manifest.get("parts", ())]}
        manifest = dict(manifest) | ({"parts": list(parts.values())} if parts else {})
    rows = rows.sort_values("key", ignore_index=True)
    own = {name: sorted(set(rows[column])) for name, column in _OWN_COLUMNS.items() if column in rows}
    own |= {"core_hours": round(float(rows["seconds"].sum()) / 3600, 2)} if "seconds" in rows else {}
    place.mkdir(parents=True, exist_ok=True)
    with provenance.atomic_write(place / _TABLE) as temporary:
        rows.to_parquet(temporary, index=False, compression="zstd")
        own |= {"n_rows": len(rows), "sha256": _checksum(temporary)}
        text = json.dumps({**manifest, **own}, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with provenance.atomic_write(place / _MANIFEST) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return place


def load_deposit(name: str | Path) -> tuple[pd.DataFrame, dict]:
    """Read a deposit back: its rows, sorted by ``key``, with the values and types written, and its manifest.

    FileNotFoundError if there is no such deposit (the message lists those that are there), ValueError if rows and
    manifest do not belong together.
    """
    place = _deposit_folder(name)
    table, sidecar = place / _TABLE, place / _MANIFEST
    if not (table.is_file() and sidecar.is_file()):
        there = ", ".join(deposit_names(folder=place.parent)) or "none"
        raise FileNotFoundError(f"no deposit {place.name!r} in {place.parent}; there are: {there}")
    try:
        manifest = json.loads(sidecar.read_text(encoding="utf-8"))
        expected = manifest["sha256"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(f"{sidecar} is not the manifest of a deposit; export the study again") from None
    if _checksum(table) != expected:
        raise ValueError(f"{table} is not the table that {sidecar.name} describes: export the study again")
    return pd.read_parquet(table), manifest


def deposit_names(*, folder: Path | None = None) -> list[str]:
    """Return the names of the deposits that are there, sorted."""
    folder = provenance.results() if folder is None else Path(folder)
    return sorted(path.parent.name for path in folder.glob(f"*/{_MANIFEST}") if (path.parent / _TABLE).is_file())


def _deposit_folder(name: str | Path) -> Path:
    if isinstance(name, Path) or "/" in name:
        return Path(name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"a deposit's name holds letters, digits, - and _ only, got {name!r}")
    return provenance.results() / name


def _refuse_mixture(kept: pd.DataFrame, rows: pd.DataFrame, place: Path, *datasets: str | None) -> None:
    strange = {"images": datasets} if None not in datasets and len(set(datasets)) > 1 else {}
    for column in (name for name in FINGERPRINTS if name in kept and name in rows):
        group = FINGERPRINTS[column]
        groups = [frame.get(group, frame[column].map(lambda _: "")) for frame in (kept, rows)]
        known, given = (frame.groupby(by)[column].agg(set) for frame, by in zip((kept, rows), groups, strict=True))
        shared = known.index.intersection(given.index)
        if (known[shared] != given[shared]).any():
            strange[column] = [", ".join(sorted(set(frame[column]))) for frame in (kept, rows)]
    if strange:
        column, (there, these) = next(iter(strange.items()))
        raise ValueError(
            f"{place} holds rows of another version ({column} {there}) than these ({these}): export to another "
            "name, or mix them knowingly (--mix)"
        )


def _is_plain(values: pd.Series) -> bool:
    if values.dtype.kind in "iufb" and not pd.api.types.is_extension_array_dtype(values.dtype):
        return True
    return bool(values.map(lambda value: isinstance(value, str)).all())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
