"""Draw a study: every simulation beside its median and interval, and paired comparisons.

Each function draws what :mod:`mri_aug.results` computed on one Axes and returns it. None reads a file, prints,
computes an interval or changes matplotlib's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mri_aug.plots.axes import INK, beside, column_header, condition_axis, new_axes, ordered, sentence_case
from mri_aug.plots.cams import CamRow, plot_cam_sheet, plot_cascade, plot_effects, plot_perturbation
from mri_aug.plots.data import plot_class_counts, plot_component_curve, plot_image_grid, plot_twin_correlations
from mri_aug.plots.fidelity import plot_fidelity, plot_similarities, plot_variations
from mri_aug.plots.groups import plot_groups, plot_sweep
from mri_aug.plots.paired import plot_paired
from mri_aug.results.table import check_known, pivot
from mri_aug.results.wording import metric_name
from mri_aug.style import PALETTE

__all__ = [
    "CamRow",
    "plot_cam_sheet",
    "plot_cascade",
    "plot_class_counts",
    "plot_component_curve",
    "plot_cross_entropy_by_simulation",
    "plot_effects",
    "plot_fidelity",
    "plot_groups",
    "plot_image_grid",
    "plot_paired",
    "plot_perturbation",
    "plot_similarities",
    "plot_simulations",
    "plot_sweep",
    "plot_twin_correlations",
    "plot_variations",
]

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
        From :func:`mri_aug.results.summarise` of the same rows; without it only the points are drawn.
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
