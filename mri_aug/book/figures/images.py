"""Sheets of images and heat maps, and figures of the people search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

from mri_aug.book.figures.forest import INK, condition_axis, new_axes, ordered
from mri_aug.book.report import PAGE_WIDTH, PALETTE
from mri_aug.results.rows import check_known

_GAP = 4  # pixels between the images of a sheet
_TITLE_POINTS = 8
_INK = "#222222"


def plot_image_grid(
    images: ArrayLike,
    titles: Sequence[str] | None = None,
    *,
    n_columns: int = 8,
    row_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw grey images side by side, row by row.

    Parameters
    ----------
    images : array of uint8, shape (n, height, width) or (n, 1, height, width)
        Shown on one scale, 0 black to 255 white.
    titles : sequence of str, optional
        One above each image; an empty string for none.
    n_columns : int
    row_labels : sequence of str, optional
        One on the left of each row.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If images are not uint8 of such a shape, or the number of titles or labels does not match.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.dtype != np.uint8 or images.ndim != 3 or not images.size:
        raise ValueError(
            f"images must be uint8 of shape (n, height, width) or (n, 1, height, width), "
            f"got {images.dtype} of shape {images.shape}"
        )
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1, got {n_columns}")
    n, height, width = images.shape
    n_columns = min(n_columns, n)
    _check_count("titles", titles, n)
    _check_count("row_labels", row_labels, -(-n // n_columns))
    sheet, corners = _sheet(images, n_columns, gap=_GAP if titles is None else round(0.16 * images.shape[1]))
    if ax is None:
        # one inch of the width is left to row labels, so that images keep their proportions
        inches = PAGE_WIDTH - (1 if row_labels else 0)
        ax = new_axes(inches * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()
    for (top, left), title in zip(corners, titles or (), strict=False):
        ax.text(left + width / 2, top - 3, title, ha="center", va="bottom", fontsize=_TITLE_POINTS)
    for (top, _), label in zip(corners[::n_columns], row_labels or (), strict=False):
        ax.text(-6, top + height / 2, label, ha="right", va="center", fontsize=_TITLE_POINTS + 1)
    return ax


def plot_class_counts(
    counts: Mapping[str, int] | pd.DataFrame, *, quantity: str = "Images", ax: Axes | None = None
) -> Axes:
    """Draw the number of images or people of each class as labelled bars.

    Parameters
    ----------
    counts : mapping of class to count, or DataFrame of int
        A table has a row per class and a column per part, such as training and test.
    quantity : str
        What is counted.
    ax : Axes, optional
    """
    table = counts if isinstance(counts, pd.DataFrame) else pd.Series(dict(counts), name="").to_frame()
    if table.empty or (table.to_numpy() < 0).any():
        raise ValueError(f"counts must be non-negative and of at least one class, got {table.to_dict()}")
    n_parts = table.shape[1]
    ax = ax or new_axes(0.7 + table.shape[0] * (0.28 * n_parts + 0.2))
    height = 0.8 / n_parts
    for part, (name, column) in enumerate(table.items()):
        centres = np.arange(len(table)) + (part - (n_parts - 1) / 2) * height
        bars = ax.barh(centres, column, height * 0.92, color=PALETTE[part % len(PALETTE)], label=str(name))
        ax.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
    ax.set_yticks(range(len(table)), [str(name) for name in table.index])
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel(quantity)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    if n_parts > 1:
        ax.legend(frameon=False)
    return ax


def plot_component_curve(
    thresholds: ArrayLike,
    n_components: ArrayLike,
    chosen: float,
    plateau: tuple[float, float] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many groups of images remain as the similarity that joins two of them is raised.

    Parameters
    ----------
    thresholds : array of float, shape (n,)
        Correlations above which two images are taken to show one person, in [-1, 1].
    n_components : array of int, shape (n,)
        Connected groups at each threshold, at least 1.
    chosen : float
        The threshold that was used.
    plateau : (float, float), optional
        The range over which the number of groups does not change.
    ax : Axes, optional
    """
    thresholds, n_components = np.asarray(thresholds, dtype=float), np.asarray(n_components)
    if thresholds.ndim != 1 or thresholds.shape != n_components.shape or not len(thresholds):
        raise ValueError(
            f"thresholds and n_components must be of one length, got shapes {thresholds.shape} and {n_components.shape}"
        )
    ax = ax or new_axes(3.4)
    order = np.argsort(thresholds)
    thresholds, n_components = thresholds[order], n_components[order]
    # groups change only at the thresholds, and each count holds from its threshold up to the next one
    found = int(n_components[max(0, np.searchsorted(thresholds, chosen, side="right") - 1)])
    if plateau is not None:
        ax.axvspan(*plateau, color=PALETTE[5], alpha=0.3, lw=0, label=f"{found:,} groups throughout")
    ax.step(thresholds, n_components, where="post", color=PALETTE[0], linewidth=1.8)
    ax.axvline(chosen, color=PALETTE[1], linestyle="--", linewidth=1.5, label=f"threshold used, {chosen:.3f}")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel("Correlation above which two images are joined")
    ax.set_ylabel("Groups of images")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="best")
    return ax


def plot_twin_correlations(correlations: Mapping[str, ArrayLike], *, threshold: float, ax: Axes | None = None) -> Axes:
    """Draw, per protocol, the share of test images by their correlation with the most similar training image.

    Parameters
    ----------
    correlations : mapping of str to array of float, shape (n_test,)
        One distribution per protocol, in [-1, 1].
    threshold : float
        The correlation above which two images show one person.
    ax : Axes, optional
    """
    if empty := [name for name, values in correlations.items() if not len(values)]:
        raise ValueError(f"there are no test images under {', '.join(empty)}: nothing to draw")
    ax = ax or new_axes(3.4)
    lowest = min(float(np.min(values)) for values in correlations.values())
    bins = np.linspace(lowest, 1, 61)
    for (name, values), colour in zip(correlations.items(), PALETTE, strict=False):
        weights = np.full(len(values), 100 / len(values))
        ax.hist(values, bins=bins, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        label = f"{name} protocol"
        ax.hist(values, bins=bins, weights=weights, histtype="step", color=colour, linewidth=1.6, label=label)
    ax.axvline(threshold, color=_INK, linestyle="--", linewidth=1.2)
    ax.set_xlabel("Correlation with the most similar training image")
    ax.set_ylabel("Test images (%)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    return ax


def _sheet(images: NDArray, n_columns: int, *, gap: int) -> tuple[NDArray, list[tuple[int, int]]]:
    """Return the images on one white sheet, ``gap`` pixels above each, and the top left corner of every place."""
    n, height, width = images.shape
    n_rows = -(-n // n_columns)
    corners = [(row * (height + gap) + gap, column * (width + _GAP)) for row, column in np.ndindex(n_rows, n_columns)]
    sheet = np.full((n_rows * (height + gap), n_columns * (width + _GAP) - _GAP), 255, dtype=np.uint8)
    for (top, left), image in zip(corners, images, strict=False):
        sheet[top : top + height, left : left + width] = image
    return sheet, corners


def _check_count(name: str, texts: Sequence[str] | None, expected: int) -> None:
    if texts is not None and len(texts) != expected:
        raise ValueError(f"{name} must have {expected} entries, got {len(texts)}")


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
        From :func:`mri_aug.results.maps.over_people`: ``effect``, ``low``, ``high``, and the columns named.
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
