"""Draw a number for each condition and group, and the sweep over the real fraction.

Draws what :mod:`mri_aug.results.tables` arranged; reads no file, prints nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mri_aug.plots.axes import INK, condition_axis, new_axes, ordered
from mri_aug.results.table import require_columns
from mri_aug.style import PALETTE

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
