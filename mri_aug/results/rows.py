"""The study's table: one row per simulation, checked before anything is computed from it.

Computes no statistic. It refuses tables in which a simulation occurs twice within a condition, since such a
table makes every interval too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results.metrics import BY_SUBJECT_COLUMNS


def pivot(rows: pd.DataFrame, metric: str, by: str) -> pd.DataFrame:
    """Return a metric as a table of simulations (sorted) by conditions (in the order of the rows).

    Raises
    ------
    ValueError
        If a column is lacking or not numeric, holds infinity, or a simulation occurs twice.
    """
    check_table(rows, ("simulation", by, metric), by)
    if not pd.api.types.is_numeric_dtype(rows[metric]):
        raise ValueError(f"column {metric!r} is {rows[metric].dtype}, not a number per simulation")
    if np.isinf(rows[metric].to_numpy(dtype=float)).any():
        raise ValueError(f"column {metric!r} holds infinity: find the simulations that diverged before comparing")
    wide = rows.pivot(index="simulation", columns=by, values=metric).astype(float).sort_index()
    return wide[rows[by].unique()]


def check_table(rows: pd.DataFrame, columns: Iterable[str], by: str) -> None:
    """Raise a ValueError unless the table has these columns, rows, and each simulation once per condition."""
    require_columns(rows, columns)
    if rows.empty:
        raise ValueError("the table has no rows: run the study first")
    repeated = rows.duplicated([by, "simulation"])
    if repeated.any():
        row = rows[repeated].iloc[0]
        raise ValueError(
            f"simulation {row['simulation']} of {row[by]!r} occurs more than once: keep one study's rows only, "
            f"or name the conditions apart by another column than {by!r}"
        )


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise a ValueError that names the columns which are lacking."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"the table lacks {missing}; it has {list(table.columns)}")


def check_known(name: str, names: Iterable[str], role: str, by: str) -> None:
    """Raise a ValueError unless ``name`` is one of the conditions."""
    if name not in names:
        raise ValueError(f"the {role} {name!r} is not in column {by!r}, which has {list(names)}")


def decode_by_subject(text: str) -> pd.DataFrame:
    """Return the table that :func:`mri_aug.results.metrics.encode_by_subject` wrote."""
    return pd.DataFrame(decode_columns(text))


def decode_columns(text: str) -> dict[str, NDArray]:
    """Return the columns that :func:`mri_aug.results.metrics.encode_by_subject` wrote, as arrays."""
    try:
        columns = json.loads(text)
        return {name: np.asarray(columns[name]) for name in BY_SUBJECT_COLUMNS}
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"by_subject must be JSON written by encode_by_subject, got {str(text)[:60]!r}") from error
