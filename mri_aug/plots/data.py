"""Draw a dataset: sheets of images, class counts, and how the number of recovered people was chosen.

Each function draws what it is given on one Axes and returns it. None reads a file, prints, computes a
statistic or changes matplotlib's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

from mri_aug.plots.axes import new_axes
from mri_aug.style import PAGE_WIDTH, PALETTE

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


def plot_twin_correlations(
    correlations: Mapping[str, ArrayLike], *, threshold: float, ax: Axes | None = None
) -> Axes:
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
