"""What a notebook hands to the page: numbered tables, and numbers that the prose quotes.

Tables and values are given, not computed; figures are drawn in :mod:`mri_aug.plots`.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown


def numbered_table(
    table: pd.DataFrame, caption: str, name: str, *, formats: Mapping[str, str] | None = None
) -> Markdown:
    """Show a table that the book numbers, lists and links to.

    Parameters
    ----------
    table : DataFrame
        Its columns in order; the index is not shown (``reset_index()`` it if it matters).
    caption : str
        MyST Markdown, in one line.
    name : str
        The target of ``{numref}`name```, unique in the book.
    formats : mapping of column to format specification, optional
        As in ``format(value, ".3f")``; by default numbers that are not whole have three decimals. A missing value
        is a dash.

    Raises
    ------
    ValueError
        If the table is empty, a format names no column, or the caption breaks over lines.
    """
    formats = dict(formats or {})
    if unknown := [column for column in formats if column not in table.columns]:
        raise ValueError(f"formats has {unknown}, which are no columns of the table: {list(table.columns)}")
    if table.empty:
        raise ValueError(f"table {name!r} has no rows or no columns: nothing to show")
    if "\n" in caption:
        raise ValueError(f"the caption of table {name!r} must be one line, got {caption!r}")
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table.columns]
    rows = [[_cell(value, formats.get(column)) for column, value in zip(table.columns, row, strict=True)]
            for row in table.itertuples(index=False, name=None)]  # fmt: skip
    lines = [[_cell(column, None) for column in table.columns], ["---:" if right else ":---" for right in numeric]]
    body = "\n".join("| " + " | ".join(row) + " |" for row in lines + rows)
    # colons, not backticks: JupyterLab, which knows no directives, then still draws the table
    return Markdown(f":::{{table}} {caption}\n:name: {name}\n\n{body}\n:::\n")


def _cell(value: object, specification: str | None) -> str:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if specification is not None:
        text = format(value, specification)
    elif isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral | bool):
        text = format(value, ".3f")
    else:
        text = str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def glue_values(**values: str | int | float) -> None:
    """Make numbers and words available to the prose of every page, by name, without showing them here.

    In a page: ``{glue:text}`../notebooks/07_results.ipynb::name:.3f```. The format is required there.

    Raises
    ------
    ValueError
        If a value is neither a number nor a string: its printed form could not be formatted in the prose.
    """
    from myst_nb import glue  # brings Sphinx, which only notebooks need

    for name, value in values.items():
        if hasattr(value, "item"):
            value = value.item()  # NumPy prints its scalars as np.float64(0.3), which no format takes
        if not isinstance(value, str | int | float):
            raise ValueError(f"{name} must be a number or a string to be quoted in prose, got {type(value).__name__}")
        glue(name, value, display=False)
