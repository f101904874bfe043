"""The study's table: one row per simulation, checked before anything is computed from it.

Computes no statistic. It refuses tables in which a simulation occurs twice within a condition, since such a
table makes every interval too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray


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


def stacked_people(texts: Sequence[str], names: Sequence[str]) -> tuple[NDArray, dict[str, NDArray]]:
    """Return columns of :func:`mri_aug.results.metrics.encode_by_subject` from many rows, end to end.

    Returns
    -------
    row : array of int, shape (n,)
        The place in ``texts`` of the row that each entry is from.
    columns : dict of str to array, shape (n,) or (n, n_classes)

    Raises
    ------
    ValueError
        If a text is something else, lacks a column or has columns of different lengths.
    """
    lengths, lists = [], {name: [] for name in names}
    for text in texts:
        try:
            table = json.loads(text)
            columns = {name: table[name] for name in names}
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"by_subject must be JSON written by encode_by_subject with {', '.join(names)}, got {str(text)[:60]!r}"
            ) from error
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError(f"by_subject has columns of different lengths: {text[:60]!r}")
        lengths.append(len(columns[names[0]]))
        for name, values in columns.items():
            lists[name].extend(values)
    return np.repeat(np.arange(len(lengths)), lengths), {name: _array(values) for name, values in lists.items()}


def _array(values: list) -> NDArray:
    if not values or not isinstance(values[0], list):
        return np.array(values)
    # np.array of nested lists takes ten times as long
    return np.fromiter(chain.from_iterable(values), float).reshape(len(values), -1)
