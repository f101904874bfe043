"""Draw heat maps over slices, and what the maps are worth: effects, curves and randomised layers.

Each function draws what it is given on one Axes and returns it. None reads a file, prints, computes a statistic or
changes matplotlib's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from mri_aug.plots.axes import INK, condition_axis, new_axes, ordered
from mri_aug.results.table import check_known
from mri_aug.style import PAGE_WIDTH, PALETTE

_GAP = 4  # pixels between the pictures of a sheet
_OPACITY = 0.8  # of a map's strongest place
_MARKERS = "osD^vPX"


class CamRow(NamedTuple):
    """A row of a sheet: slices, the maps over them and regions outlined on them, where there are any."""

    label: str
    images: ArrayLike  # uint8, shape (n, height, width)
    cams: ArrayLike | None = None  # float in [0, 1], shape (n, height, width)
    regions: ArrayLike | None = None  # bool or share in [0, 1], outlined at one half, shape (n, height, width)


def plot_cam_sheet(rows: Sequence[CamRow], titles: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw rows of slices with their heat maps laid over them, one column per slice.

    Parameters
    ----------
    rows : sequence of CamRow
        All with as many slices as there are titles.
    titles : sequence of str
        One above each column.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If there is no row, or a row's shapes differ from the first row's.
    """
    if not rows or np.ndim(rows[0].images) != 3 or len(titles) != len(rows[0].images) or not titles:
        raise ValueError("a sheet needs at least one row of slices, shape (n, height, width), and n titles")
    shape = np.shape(rows[0].images)
    for row in rows:
        for part in (row.images, row.cams, row.regions):
            if part is not None and np.shape(part) != shape:
                raise ValueError(f"row {row.label!r} has a part of shape {np.shape(part)}, the first row {shape}")
    _, height, width = shape
    down, across = height + _GAP, width + _GAP
    if ax is None:
        ax = new_axes((PAGE_WIDTH - 0.9) * (len(rows) * down + 12) / (len(titles) * across))
    for r, row in enumerate(rows):
        for c, image in enumerate(np.asarray(row.images)):
            left, top = c * across, r * down
            picture = overlaid(image, None if row.cams is None else np.asarray(row.cams)[c])
            ax.imshow(picture, extent=(left, left + width, top + height, top), interpolation="nearest")
            region = None if row.regions is None else np.asarray(row.regions, float)[c]
            if region is not None and region.max() >= 0.5 > region.min():
                x, y = np.arange(width) + left + 0.5, np.arange(height) + top + 0.5
                ax.contour(x, y, region, levels=[0.5], colors=PALETTE[5], linewidths=0.6)
        ax.text(-6, r * down + height / 2, row.label, ha="right", va="center", rotation=90, fontsize=8)
    for c, title in enumerate(titles):
        points = 7 if len(titles) < 6 else 5.5  # narrow columns
        ax.text(c * across + width / 2, -4, title, ha="center", va="bottom", fontsize=points)
    ax.set(xlim=(-1, len(titles) * across), ylim=(len(rows) * down, -1), aspect="equal")
    ax.set_axis_off()
    return ax


def overlaid(image: ArrayLike, cam: ArrayLike | None) -> NDArray[np.float64]:
    """Return a grey slice with a heat map over it as RGB in [0, 1]: the stronger, the more opaque."""
    grey = np.repeat(np.asarray(image, float)[..., None] / 255, 3, axis=-1)
    if cam is None:
        return grey
    strength = np.clip(np.asarray(cam, float), 0, 1)
    opacity = _OPACITY * strength[..., None]
    return (1 - opacity) * grey + opacity * mpl.colormaps["inferno"](strength)[..., :3]


def plot_effects(
    table: pd.DataFrame,
    *,
    by: str,
    group: str | None = None,
    level: float,
    xlabel: str,
    order: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one row per name: effects and their intervals, and the level at which a map says nothing.

    Parameters
    ----------
    table : DataFrame
        From :func:`mri_aug.cam_summary.over_people`: ``effect``, ``low``, ``high``, and the columns named.
    by : str
        The column whose values are rows.
    group : str, optional
        The column whose values are told apart by colour and marker, at most seven.
    level : float
        Where the dashed line stands: 1 for ratios, 0 for differences.
    xlabel : str
    order : sequence of str, optional
        Rows, from the top.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If a name is not in the table, or there are more than seven groups.
    """
    order = ordered(order, list(dict.fromkeys(table[by])), by)
    groups = [None] if group is None else list(dict.fromkeys(table[group]))
    if len(groups) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} groups can be told apart, got {len(groups)}: name fewer")
    ax = ax or new_axes(0.9 + len(order) * max(0.32, 0.17 * len(groups)))
    ax.axvline(level, color=INK, linewidth=0.9, linestyle="--")
    for place, name in enumerate(groups):
        part = table if name is None else table[table[group] == name]
        part = part[part[by].isin(order)]
        rows = part[by].map(order.index).to_numpy() + (place - (len(groups) - 1) / 2) * 0.62 / len(groups)
        colour, marker = PALETTE[place], _MARKERS[place]
        ax.hlines(rows, part["low"], part["high"], color=colour, linewidth=2, alpha=0.8)
        ax.plot(part["effect"], rows, marker, color=colour, markersize=5, label=name)
    condition_axis(ax, order, None)
    ax.set_xlabel(xlabel)
    if group is not None:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2)
    return ax


def plot_perturbation(
    replaced: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    dashed: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw the probability of a class while pixels are taken away or given back, one line per order of pixels.

    Parameters
    ----------
    replaced : array of float, shape (n_steps + 1,), in [0, 1]
    curves : mapping of str to array of float, shape (n_steps + 1,), in [0, 1]
        At most seven.
    xlabel : str
    dashed : sequence of str
        Names of curves that are standards of comparison.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If a dashed name is no curve, or there are more than seven curves.
    """
    if len(curves) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} curves can be told apart, got {len(curves)}: name fewer")
    for name in dashed:
        check_known(name, list(curves), "curve", "name")
    ax = ax or new_axes(3.2)
    for (name, curve), colour in zip(curves.items(), PALETTE, strict=False):
        style = {"linestyle": "--", "color": INK} if name in dashed else {"color": colour}
        ax.plot(100 * np.asarray(replaced), curve, linewidth=1.8, label=name, **style)
    ax.set(xlabel=xlabel, ylabel="Probability of the class", ylim=(0, 1))
    return ax


def plot_cascade(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how alike a map stays while layer after layer is randomised, from the output on.

    Parameters
    ----------
    table : DataFrame
        ``method``, ``layer`` (the last one randomised, in order) and ``effect``, ``low``, ``high`` of the likeness.
        At most seven methods.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If there are more than seven methods.
    """
    methods, layers = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["layer"]))
    if len(methods) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} methods can be told apart, got {len(methods)}: name fewer")
    ax = ax or new_axes(3.4)
    for place, (method, colour, marker) in enumerate(zip(methods, PALETTE, _MARKERS, strict=False)):
        part = table[table["method"] == method]
        x = part["layer"].map(layers.index).to_numpy() + 0.05 * (place - (len(methods) - 1) / 2)
        ax.plot(x, part["effect"], marker=marker, color=colour, markersize=5, linewidth=1.5, label=method)
        ax.vlines(x, part["low"], part["high"], color=colour, linewidth=1.2, alpha=0.7)
    ax.axhline(0, color=INK, linewidth=0.9, linestyle="--")
    ax.set_xticks(range(len(layers)), layers)
    ax.set(xlabel="Randomised, from the output up to and including", ylabel="Rank correlation with the map before")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, borderaxespad=0.2)
    return ax
