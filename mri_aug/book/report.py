"""How a page looks: the style of its figures, its numbered tables, and the values quoted in its prose."""

from __future__ import annotations

import logging
import numbers
import re
from collections.abc import Collection, Mapping
from functools import partial

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.core.pylabtools import print_figure
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib_inline.backend_inline import InteractiveShell, set_matplotlib_formats

# Okabe and Ito's colours (2008), told apart under every common colour blindness; the pale yellow is left out
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT_INK = "#222222", "#555555"
MARKERS = "osD^vPX"  # one for each colour
PAGE_WIDTH = 7.2  # inches: 720 px of page at 100 dots per inch


def use_book_style(*, image_format: str = "svg") -> None:
    """Set the figure style of this session, with ``"svg"`` for charts or ``"png"`` for sheets of slices and heat maps.

    An SVG is sharp, and compared byte by byte when a notebook is executed twice, but of many pixels it grows large.
    """
    set_theme()
    metadata = {"metadata": {"Date": None}} if image_format == "svg" else {}
    set_matplotlib_formats(image_format, bbox_inches=None, **metadata)  # no cropping: every figure fills the page
    printed = partial(print_figure, fmt="pdf", bbox_inches=None, base64=True, dpi=200, metadata={"CreationDate": None})
    InteractiveShell.instance().display_formatter.formatters["application/pdf"].for_type(mpl.figure.Figure, printed)
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the old date of Matplotlib's mathematical font


def set_theme() -> None:
    """Set what every figure looks like."""
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE), font="DejaVu Sans", font_scale=0.85)
    mpl.rcParams.update(
        {
            "figure.figsize": (PAGE_WIDTH, 3.9), "figure.dpi": 100, "figure.constrained_layout.use": True,
            "savefig.dpi": 200, "pdf.fonttype": 42, "ps.fonttype": 42,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
            "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.linewidth": 0.8,
            "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "legend.frameon": False,
            "image.cmap": "gray", "image.interpolation": "nearest",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same glyphs on every machine
            "svg.hashsalt": "mri_aug",  # else the identifiers inside an SVG differ between runs
        }
    )  # fmt: skip


def new_axes(height: float) -> Axes:
    """Return the Axes of a new figure as wide as the page, ``height`` inches high."""
    return plt.subplots(figsize=(PAGE_WIDTH, height), layout="constrained")[1]


def check_colours(names: Collection[object], kind: str) -> None:
    """Raise a ValueError where there are more names of a kind than colours, or none."""
    if not 0 < len(names) <= len(PALETTE):
        raise ValueError(f"one to {len(PALETTE)} {kind}s can be told apart in a figure, got {len(names)}: name fewer")


def legend_below(ax: Axes) -> None:
    """Draw the legend of what is labelled below a figure of one Axes, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        columns = max(1, min(len(labels), 95 // (max(map(len, labels)) + 6)))
        ax.figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def numbered_table(
    table: pd.DataFrame, caption: str, name: str, *, formats: Mapping[str, str] | None = None
) -> Markdown:
    """Return a table that the book numbers, lists and links to, without its index; a missing value is a dash.

    A table without rows, of a comparison that was not computed, is replaced by a sentence.

    Parameters
    ----------
    table : DataFrame
    caption : str
        MyST Markdown, in one line.
    name : str
        The target of ``{numref}`name```, unique in the book.
    formats : mapping of column to format specification, optional
        As in ``format(value, ".3f")``; by default numbers other than integers have three decimals.
    """
    formats = dict(formats or {})
    if table.empty:
        return Markdown(f"Not computed: {caption[:1].lower()}{caption[1:]}")
    rows = [[_cell(value, formats.get(column)) for column, value in zip(table.columns, row, strict=True)]
            for row in table.itertuples(index=False, name=None)]  # fmt: skip
    right = [2 * sum(map(bool, map(_NUMBER.fullmatch, column))) > len(column) - column.count("–")
             for column in zip(*rows, strict=True)]  # fmt: skip
    lines = [[_cell(column, None) for column in table.columns], ["---:" if one else ":---" for one in right]]
    body = "\n".join("| " + " | ".join(row) + " |" for row in lines + rows)
    # colons, not backticks: JupyterLab, which has no directives, then still shows the table
    return Markdown(f":::{{table}} {caption}\n:name: {name}\n\n{body}\n:::\n")


_NUMBER = re.compile(r"[+\-−]?\d[\d,]*(\.\d+)?( ?%)?")  # a column of more of them than of words is aligned on the right


def _cell(value: object, specification: str | None) -> str:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if specification is None:
        fractional = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral | bool)
        specification = ".3f" if fractional else ""
    return format(value, specification).replace("|", "\\|").replace("\n", " ")


def power_text(value: float, digits: int = 0) -> str:
    """Return a small number in scientific notation.

    >>> power_text(4.2e-07, 1)
    '4.2 × 10⁻⁷'
    """
    mantissa, exponent = f"{value:.{digits}e}".replace("-", "−", 1 if value < 0 else 0).split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def glue_values(**values: str | int | float) -> None:
    """Make numbers and words available by name to the prose of every page.

    In a page: ``{glue:text}`../notebooks/07_results.ipynb::name:.3f```. The format is required there. ValueError
    if a value is neither a number nor a string.
    """
    from myst_nb import glue  # imports Sphinx, which only notebooks need

    for name, value in values.items():
        if hasattr(value, "item"):
            value = value.item()  # NumPy prints its scalars as np.float64(0.3), which cannot be formatted
        if not isinstance(value, str | int | float):
            raise ValueError(f"{name} must be a number or a string to be quoted in prose, got {type(value).__name__}")
        glue(name, value, display=False)
