"""Draw what the benchmarks measured: contenders, the gains of the engine, and how cost grows.

Each function draws the table it is given on one Axes and returns it; none measures, reads a file or prints.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mri_aug.book.figures.forest import INK, beside, column_header, condition_axis, new_axes
from mri_aug.book.report import PALETTE

_OTHERS = "#9a9a9a"


def plot_throughput(table: pd.DataFrame, *, ours: str, ax: Axes | None = None) -> Axes:
    """Draw training images per second as bars, and beside each how many times faster ``ours`` is.

    Parameters
    ----------
    table : DataFrame
        ``contender``, ``images_per_second``, ``least``, ``most``; contenders without a number are left out.
    ours : str
        The contender that the others are compared with.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If ``ours`` has no number.
    """
    table = table.dropna(subset=["images_per_second"]).sort_values("images_per_second", ascending=False)
    if ours not in set(table["contender"]):
        raise ValueError(f"the table has no throughput of {ours!r}; it has {table['contender'].tolist()}")
    own = table.set_index("contender").at[ours, "images_per_second"]
    ax = ax or new_axes(0.9 + 0.38 * len(table))
    for position, row in enumerate(table.itertuples()):
        rate = row.images_per_second
        ax.barh(position, rate, height=0.62, color=PALETTE[0] if row.contender == ours else _OTHERS)
        ax.plot([row.least, row.most], [position] * 2, "|-", color=INK, lw=1.2, markersize=7)
        beside(ax, position, "" if row.contender == ours else f"{own / rate:.1f} x")
    column_header(ax, "ours is")
    condition_axis(ax, table["contender"].tolist(), None)
    ax.set_xlabel("training images per second (median, least and most)")
    ax.set_xlim(left=0)
    return ax


def plot_gains(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the pace of a plain loop and what each gain adds to those above it, as a waterfall.

    Parameters
    ----------
    table : DataFrame
        ``step`` (the first is the plain loop), ``images_per_second`` with it and all before it, ``factor``.
    ax : Axes, optional
        By default a new figure of the page's width.
    """
    if table.empty:
        raise ValueError("the table of gains is empty: nothing to draw")
    ax = ax or new_axes(0.9 + 0.38 * len(table))
    before = 0.0
    for position, row in enumerate(table.itertuples()):
        rate = row.images_per_second
        colour = _OTHERS if position == 0 else PALETTE[2] if rate >= before else PALETTE[1]
        ax.barh(position, rate - before, left=before, height=0.62, color=colour)
        ax.plot([rate] * 2, [position - 0.31, position + 1.31 if position < len(table) - 1 else position + 0.31],
                color=INK, lw=0.8)  # fmt: skip
        beside(ax, position, "" if position == 0 else f"x {row.factor:.2f}")
        before = rate
    column_header(ax, "factor")
    condition_axis(ax, table["step"].tolist(), None)
    ax.set_xlabel("training images per second, each gain added to those above it")
    ax.set_xlim(left=0)
    return ax


def plot_growth(table: pd.DataFrame, x: str, y: str, *, x_label: str, y_label: str, ax: Axes | None = None) -> Axes:
    """Draw a cost against a size, both from zero.

    Parameters
    ----------
    table : DataFrame
    x, y : str
        Its columns.
    x_label, y_label : str
        With units.
    ax : Axes, optional
        By default a new figure of the page's width.
    """
    if missing := [column for column in (x, y) if column not in table.columns]:
        raise ValueError(f"the table lacks {missing}; it has {list(table.columns)}")
    ax = ax or new_axes(2.6)
    ax.plot(table[x], table[y], "o-", color=PALETTE[0])
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0, top=1.15 * float(table[y].max()))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax
