"""How a page looks: the style of its figures, its numbered tables, and the values that its prose takes."""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Okabe and Ito's colours (2008), told apart under every common colour blindness; the pale yellow is left out
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PAGE_WIDTH = 7.2  # inches: 720 px of page at 100 dots per inch


def use_book_style(*, image_format: str = "svg") -> None:
    """Set the figure style of this session, in a notebook or a script.

    Parameters
    ----------
    image_format : {"svg", "png"}
        ``"svg"`` for charts: sharp, and compared byte by byte when a notebook is executed twice.
        ``"png"`` for sheets of photographs and heat maps, where vector files grow large.

    Raises
    ------
    ValueError
        If ``image_format`` is neither.
    """
    if image_format not in ("svg", "png"):
        raise ValueError(f"image_format must be 'svg' or 'png', got {image_format!r}")
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE), font="DejaVu Sans", font_scale=0.85)
    mpl.rcParams.update(
        {
            "figure.figsize": (PAGE_WIDTH, 3.9),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.linewidth": 0.8,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.7,
            "legend.frameon": False,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same glyphs on every machine
            "svg.hashsalt": "mri_aug",  # else the identifiers inside an SVG differ between runs
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
        }
    )
    metadata = {"metadata": {"Date": None}} if image_format == "svg" else {}
    set_matplotlib_formats(image_format, bbox_inches=None, **metadata)  # no cropping: every figure fills the page


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
