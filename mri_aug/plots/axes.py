"""What every chart of conditions shares: a new page-wide Axes, one row per condition, a column of numbers beside it.

It draws no data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from mri_aug.results.table import check_known
from mri_aug.style import PAGE_WIDTH

INK = "#222222"
FAINT_INK = "#555555"
_LABEL_WIDTH = 30  # characters of a condition's name on one line
_COLUMN = 1.015  # of the Axes' width: where the column of numbers starts


def ordered(order: Sequence[str] | None, known: Sequence[str], by: str) -> list[str]:
    """Return the conditions to draw; a ValueError names the one that is not known."""
    order = list(known if order is None else order)
    if not order:
        raise ValueError("name at least one condition to draw")
    for condition in order:
        check_known(condition, known, "condition", by)
    return order


def sentence_case(text: str) -> str:
    """Return text with a capital at its start, and the rest as it was."""
    return text[:1].upper() + text[1:]


def new_axes(height: float) -> Axes:
    """Return the Axes of a new figure as wide as the page, ``height`` inches high."""
    return plt.subplots(figsize=(PAGE_WIDTH, height), layout="constrained")[1]


def condition_axis(ax: Axes, order: Sequence[str], labels: Mapping[str, str] | None) -> None:
    """Give each condition a row, from the top, with its name wrapped."""
    names = [textwrap.fill(str((labels or {}).get(condition, condition)), _LABEL_WIDTH) for condition in order]
    ax.set_yticks(range(len(order)), names)
    ax.set_ylim(len(order) - 0.45, -0.55)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def beside(ax: Axes, position: float, text: str) -> None:
    """Write into the column right of the Axes, in line with a row."""
    ax.text(_COLUMN, position, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)


def column_header(ax: Axes, text: str) -> None:
    """Write the header of the column right of the Axes."""
    ax.text(_COLUMN, 1.01, text, transform=ax.transAxes, va="bottom", fontsize=9, color=FAINT_INK)
