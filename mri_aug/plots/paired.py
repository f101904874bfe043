"""Draw paired comparisons with a baseline.

Draws what :func:`mri_aug.results.compare` computed; reads no file, prints nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from mri_aug.plots.axes import FAINT_INK, INK, beside, column_header, condition_axis, new_axes, ordered, sentence_case
from mri_aug.results.tables import share_text
from mri_aug.results.wording import metric_name, verdict
from mri_aug.style import PALETTE

# colour, marker and filling all tell the verdicts apart
_VERDICTS = {
    "better": (PALETTE[2], "o", PALETTE[2]),
    "worse": (PALETTE[1], "s", PALETTE[1]),
    "undecided": ("#666666", "D", "white"),
}


def plot_paired(
    comparison: pd.DataFrame,
    *,
    percent: bool | None = None,
    order: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw paired differences from the baseline with their intervals, as a forest plot.

    Filled circles are better than the baseline and squares worse, as :func:`mri_aug.results.wording.verdict` tells;
    hollow diamonds are undecided. The column on the right is the share of simulations in which the condition
    is the better of the two, or their number where they are few.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.compare`.
    percent : bool, optional
        In percent of the baseline rather than in the metric's units; by default where less is better.
    order : sequence of str, optional
        Conditions to show, from the top; all by default.
    labels : mapping of str to str, optional
        Other words for conditions, the baseline included.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If the comparison is empty or lacks a condition that is asked for.
    """
    if comparison.empty:
        raise ValueError("the comparison has no rows: nothing to draw")
    table = comparison.set_index("condition", drop=False)
    order = ordered(order, table.index, "condition")
    first = table.iloc[0]
    percent = bool(first["lower_is_better"]) if percent is None else percent
    value, low, high = ("percent", "percent_low", "percent_high") if percent else ("difference", "low", "high")
    ax = ax or new_axes(1.3 + 0.42 * len(order))
    ax.axvline(0, color=INK, linewidth=1)
    for position, condition in enumerate(order):
        row = table.loc[condition]
        colour, marker, face = _VERDICTS[verdict(row)]
        ax.plot(row[value], position, marker, color=colour, markerfacecolor=face, markersize=6, mew=1.6, zorder=3)
        # over the marker and taller than it, so that a narrow interval can be seen
        ax.plot([row[low], row[high]], [position] * 2, "|-", color=colour, markersize=11, mew=1.6, lw=2, zorder=4)
        if row["n"]:
            beside(ax, position, share_text(row))
    column_header(ax, "better in")
    condition_axis(ax, order, labels)
    unit = "%" if percent else "median paired difference"
    baseline = (labels or {}).get(first["baseline"], first["baseline"])
    ax.set_xlabel(f"{sentence_case(metric_name(first['metric']))} against {baseline} ({unit})")
    _mark_better_side(ax, bool(first["lower_is_better"]))
    return ax


def _mark_better_side(ax: Axes, lower_is_better: bool) -> None:
    left, right = ("better", "worse") if lower_is_better else ("worse", "better")
    options = dict(transform=ax.transAxes, va="bottom", fontsize=9, color=FAINT_INK)
    ax.text(0, 1.01, f"\N{LEFTWARDS ARROW} {left}", ha="left", **options)
    ax.text(1, 1.01, f"{right} \N{RIGHTWARDS ARROW}", ha="right", **options)
