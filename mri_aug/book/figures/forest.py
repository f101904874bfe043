"""Figures of a study: every simulation as a point, paired differences with their intervals, sweeps.

They draw what they are given; statistics are made in :mod:`mri_aug.results`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mri_aug.book.report import PAGE_WIDTH, PALETTE
from mri_aug.results.rows import check_known, pivot, require_columns
from mri_aug.results.sentences import metric_name, verdict
from mri_aug.results.tables import share_text

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


_GOLDEN = (5**0.5 - 1) / 2
_BAR = "#9a9a9a"


def plot_simulations(
    rows: pd.DataFrame,
    metric: str,
    summary: pd.DataFrame | None = None,
    *,
    by: str = "condition",
    order: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    draft: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one row per condition: each simulation as a point, the median and its interval above them.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation.
    metric : str
        The column to show.
    summary : DataFrame, optional
        From :func:`mri_aug.results.comparison.summarise` of the same rows; without it only the points are drawn.
    by : str
        The column that names the conditions.
    order : sequence of str, optional
        Conditions to show, from the top; all, in the table's order, by default.
    labels : mapping of str to str, optional
        Other words for conditions.
    draft : mapping of str to float, optional
        A figure from elsewhere for some conditions, drawn as a cross.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If a column or a condition is not in the table.
    """
    wide = pivot(rows, metric, by)
    order = ordered(order, wide.columns, by)
    ax = ax or new_axes(0.9 + 0.55 * len(order))
    points_alpha = float(np.clip(12 / np.sqrt(wide.notna().sum().max()), 0.15, 0.75))
    for row, condition in enumerate(order):
        values = wide[condition].dropna()
        # multiples of the golden ratio spread any number of points evenly, and always in the same way
        jitter = ((np.arange(len(values)) + 1) * _GOLDEN % 1) * 0.34 + 0.06
        size = float(np.clip(300 / max(len(values), 1), 7, 22))
        ax.scatter(values, row + jitter, s=size, color=PALETTE[0], alpha=points_alpha, linewidths=0, zorder=2)
    if summary is not None:
        _draw_medians(ax, summary, metric, order)
    _draw_draft(ax, draft or {}, order)
    condition_axis(ax, order, labels)
    ax.set_xlabel(sentence_case(metric_name(metric)))
    if summary is not None or draft:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
    return ax


def plot_cross_entropy_by_simulation(
    rows: pd.DataFrame,
    metric: str = "test_cross_entropy",
    summary: pd.DataFrame | None = None,
    *,
    by: str = "condition",
    conditions: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric against the number of the simulation, with each condition's median as a line.

    Conditions whose points rise and fall together share the luck of the draw, which is why they are compared in
    pairs. Up to seven conditions can be told apart.

    Parameters
    ----------
    rows, metric, summary, by, labels, ax
        As for :func:`plot_simulations`; the summary's intervals are drawn as bands.
    conditions : sequence of str, optional
        Those to show; all by default.

    Raises
    ------
    ValueError
        If a column or a condition is not in the table, or there are more than seven conditions.
    """
    wide = pivot(rows, metric, by)
    conditions = ordered(conditions, wide.columns, by)
    if len(conditions) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} conditions can be told apart, got {len(conditions)}: name fewer")
    ax = ax or new_axes(3.9 + 0.2 * len(conditions))
    size = float(np.clip(400 / len(wide), 10, 45))
    for condition, colour, marker in zip(conditions, PALETTE, "osD^vPX", strict=False):
        values = wide[condition].dropna()
        median = float(values.median())
        name = (labels or {}).get(condition, condition)
        if summary is not None:
            low, high = summary.set_index("condition").loc[condition, ["low", "high"]]
            if np.isfinite([low, high]).all():
                ax.axhspan(low, high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        ax.axhline(median, color=colour, linewidth=1.4, alpha=0.9, zorder=1)
        ax.scatter(
            values.index + 1,
            values,
            s=size,
            marker=marker,
            color=colour,
            alpha=0.85,
            linewidths=0,
            label=f"{name}: median {median:.3f}",
            zorder=2,
        )
    ax.set_xlim(wide.index.min() + 0.4, wide.index.max() + 1.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("Simulation")
    ax.set_ylabel(sentence_case(metric_name(metric)))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2, markerscale=(45 / size) ** 0.5)
    return ax


def _draw_medians(ax: Axes, summary: pd.DataFrame, metric: str, order: Sequence[str]) -> None:
    table = summary.set_index("condition")
    if set(summary["metric"]) != {metric}:
        raise ValueError(f"the summary is of {sorted(set(summary['metric']))}, not of {metric!r}")
    for row, condition in enumerate(order):
        check_known(condition, table.index, "condition", "condition of the summary")
        median, low, high = table.loc[condition, ["median", "low", "high"]]
        first = row == 0
        ax.plot(
            [low, high],
            [row - 0.14] * 2,
            color=_BAR,
            linewidth=6,
            solid_capstyle="butt",
            zorder=3,
            label="interval of the median" if first else None,
        )
        ax.plot(
            median,
            row - 0.14,
            "|",
            color=INK,
            markersize=14,
            markeredgewidth=2.2,
            zorder=4,
            label="median" if first else None,
        )
        beside(ax, row, f"{median:.3f}")
    column_header(ax, "median")


def _draw_draft(ax: Axes, draft: Mapping[str, float], order: Sequence[str]) -> None:
    shown = [(draft[condition], row) for row, condition in enumerate(order) if condition in draft]
    if shown:
        values, positions = np.array(shown).T
        ax.plot(values, positions - 0.14, "X", color=PALETTE[1], markersize=8, mec="white", zorder=5, label="draft")


_MARKERS = "osD^vPX"
_SPREAD = 0.66  # of a condition's row: the height that its groups share


def plot_groups(
    table: pd.DataFrame,
    *,
    x_label: str,
    order: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    percent: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw one row per condition, and in it a marker with its interval for each group.

    Parameters
    ----------
    table : DataFrame
        ``condition``, ``group``, ``value``, ``low``, ``high``, such as :func:`mri_aug.results.tables.recalls` gives; a
        missing value is left out, and so is an interval that is not defined. At most seven groups can be told apart.
    x_label : str
        With the unit.
    order : sequence of str, optional
        Conditions to show, from the top; all by default.
    labels : mapping of str to str, optional
        Other words for conditions.
    percent : bool
        The table is of :func:`mri_aug.results.tables.paired_groups`: draw its differences in percent, and a line at
        zero.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If a column or a condition is not in the table, or there are too many groups.
    """
    value, low, high = ("percent", "percent_low", "percent_high") if percent else ("value", "low", "high")
    require_columns(table, ("condition", "group", value, low, high))
    order = ordered(order, list(dict.fromkeys(table["condition"])), "condition")
    groups = list(dict.fromkeys(table["group"]))
    _check_groups(groups)
    ax = ax or new_axes(1.4 + len(order) * max(0.36, 0.13 * len(groups)))
    if percent:
        ax.axvline(0, color=INK, linewidth=1)
    offsets = (np.arange(len(groups)) - (len(groups) - 1) / 2) * _SPREAD / max(len(groups), 2)
    for group, offset, colour, marker in zip(groups, offsets, PALETTE, _MARKERS, strict=False):
        part = table[table["group"] == group].set_index("condition").reindex(order)
        rows = np.arange(len(order)) + offset
        ax.hlines(rows, part[low], part[high], color=colour, linewidth=1.6, alpha=0.8)
        ax.plot(part[value], rows, marker, color=colour, markersize=5.5, label=group)
    condition_axis(ax, order, labels)
    ax.set_xlabel(x_label)
    if len(groups) > 1:
        # a legend wider than the page would squeeze the Axes to nothing
        columns = 4 if sum(len(str(group)) + 6 for group in groups) < 70 else 2
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, borderaxespad=0.2)
    return ax


def plot_sweep(curves: pd.DataFrame, *, y_label: str, ax: Axes | None = None) -> Axes:
    """Draw medians against the share of real images, a line for each group, with their intervals.

    Parameters
    ----------
    curves : DataFrame
        From :func:`mri_aug.results.tables.sweep_curves`.
    y_label : str
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If a column is lacking, or there are more groups than can be told apart.
    """
    require_columns(curves, ("group", "real_frac", "value", "low", "high"))
    groups = list(dict.fromkeys(curves["group"]))
    _check_groups(groups)
    ax = ax or new_axes(3.6)
    for place, (group, colour, marker) in enumerate(zip(groups, PALETTE, _MARKERS, strict=False)):
        part = curves[curves["group"] == group].sort_values("real_frac")
        # beside each other, or the intervals at one share would hide each other
        x = part["real_frac"] + 0.005 * (place - (len(groups) - 1) / 2)
        ax.plot(x, part["value"], f"{marker}-", color=colour, markersize=5.5, linewidth=1.4, label=group)
        ax.vlines(x, part["low"], part["high"], color=colour, linewidth=1.6, alpha=0.8)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("Share of the training images that is real")
    ax.set_ylabel(y_label)
    ax.set_xlim(0, 1.04)
    ax.set_xticks(np.linspace(0.1, 1, 10))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
    return ax


def _check_groups(groups: Sequence[str]) -> None:
    if not 0 < len(groups) <= len(PALETTE):
        raise ValueError(f"one to {len(PALETTE)} groups can be told apart, got {len(groups)}: {groups}")


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

    Filled circles are better than the baseline and squares worse, as :func:`mri_aug.results.sentences.verdict` tells;
    hollow diamonds are undecided. The column on the right is the share of simulations in which the condition
    is the better of the two, or their number where they are few.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.comparison.compare`.
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
