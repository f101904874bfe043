"""Draw how synthetic images compare with real ones: side by side, their similarities, and the measures with intervals.

Each function draws what it is given on one Axes and returns it. None reads a file, prints, computes a measure or
changes matplotlib's settings.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from mri_aug.book.figures.forest import INK, new_axes
from mri_aug.book.report import PAGE_WIDTH, PALETTE

_GAP = 4  # pixels between pictures
_DIVERGING = "RdBu_r"  # told apart under the common colour blindnesses
_LINES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX"
_TITLE_WIDTH = 24  # characters of a title on one line: a third of the page


def plot_variations(
    sources: ArrayLike,
    variations: Mapping[str, ArrayLike],
    *,
    row_labels: Sequence[str],
    limit: float = 100,
    ax: Axes | None = None,
) -> Axes:
    """Draw each source, and of every generator its variation and the difference from the source.

    Parameters
    ----------
    sources : array of uint8, shape (n, height, width)
        One row of pictures each.
    variations : mapping of str to array of uint8, shape (n, height, width)
        By generator.
    row_labels : sequence of n str
    limit : float
        Grey levels at which the colours of a difference are darkest.
    ax : Axes, optional
        By default a new figure of the page's width.

    Raises
    ------
    ValueError
        If shapes differ, or there is no generator.
    """
    sources = np.asarray(sources)
    pictures = {name: np.asarray(images) for name, images in variations.items()}
    if not pictures or any(images.shape != sources.shape for images in pictures.values()):
        shapes = {name: images.shape for name, images in pictures.items()}
        raise ValueError(f"each generator needs a variation of each source, {sources.shape}, got {shapes}")
    if len(row_labels) != len(sources):
        raise ValueError(f"row_labels must have {len(sources)} entries, got {len(row_labels)}")
    scale, colours = Normalize(-limit, limit, clip=True), colormaps[_DIVERGING]
    columns, titles = [_grey(sources)], ["real source"]
    for name, images in pictures.items():
        difference = scale(images.astype(float) - sources)
        columns += [_grey(images), colours(difference)[..., :3]]
        titles += [name, "difference"]
    sheet = _sheet(columns)
    if ax is None:
        # what row labels and the scale leave of the width, so that pictures fill the height
        ax = new_axes((PAGE_WIDTH - 2.3) * sheet.shape[0] / sheet.shape[1] + 0.25)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    height, width = (size + _GAP for size in sources.shape[1:])
    for place, title in enumerate(titles):
        ax.text(place * width + width / 2, -4, title, ha="center", va="bottom", fontsize=8)
    for place, label in enumerate(row_labels):
        ax.text(-6, place * height + height / 2, label, ha="right", va="center", fontsize=8)
    bar = ax.figure.colorbar(ScalarMappable(scale, colours), ax=ax, shrink=0.5, pad=0.02)
    bar.set_label("difference in grey levels", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return ax


def plot_similarities(similarities: Mapping[str, ArrayLike], *, threshold: float, ax: Axes | None = None) -> Axes:
    """Draw which share of images is at most so similar to what they are compared with.

    Parameters
    ----------
    similarities : mapping of str to array of float, shape (n,)
        Correlations in [-1, 1] by what they are of; up to seven. NaN is left out.
    threshold : float
        Above it an image counts as a near copy.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If one has no values, or there are more than can be told apart.
    """
    if len(similarities) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} curves can be told apart, got {len(similarities)}")
    ax = ax or new_axes(3.6)
    lowest = 1.0
    for place, (name, values) in enumerate(similarities.items()):
        values = np.sort(np.asarray(values, dtype=float))
        values = values[np.isfinite(values)]
        if not len(values):
            raise ValueError(f"there are no similarities of {name!r} to draw")
        lowest = min(lowest, float(np.quantile(values, 0.02)))
        shares = 100 * np.arange(1, len(values) + 1) / len(values)
        style = {"color": PALETTE[place], "linestyle": _LINES[place % len(_LINES)], "linewidth": 1.8}
        ax.step(np.r_[-1, values, 1.01], np.r_[0, shares, 100], where="post", label=name, **style)
    ax.axvline(threshold, color=INK, linewidth=0.8)
    ax.text(threshold, 103, "near copies \N{RIGHTWARDS ARROW}", ha="center", va="bottom", fontsize=8, color=INK)
    ax.set_xlim(lowest, 1 + 0.02 * (1 - lowest))
    ax.set_ylim(0, 101)
    ax.set_xlabel("Pixel correlation")
    ax.set_ylabel("Images at most so similar (%)")
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_fidelity(
    table: pd.DataFrame, measure: str, *, title: str, labels: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw one measure of every generator, over all classes and within each, with its intervals.

    Parameters
    ----------
    table : DataFrame
        From :func:`mri_aug.fidelity.table.fidelity_table`.
    measure : str
    title : str
    labels : bool
        Name the classes; the legend is left to the caller.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If the table does not hold the measure.
    """
    rows = table[table["measure"] == measure]
    if rows.empty:
        raise ValueError(f"the table holds {', '.join(table['measure'].unique())}, not {measure!r}")
    ax = ax or new_axes(3.2)
    classes, generators = list(rows["class"].unique()), list(rows["generator"].unique())
    spread = 0.7 / len(generators)
    for place, generator in enumerate(generators):
        own = rows[rows["generator"] == generator].set_index("class").loc[classes]
        height = np.arange(len(classes)) + (place - (len(generators) - 1) / 2) * spread
        colour = INK if place == 0 else PALETTE[(place - 1) % len(PALETTE)]
        ax.hlines(height, own["low"], own["high"], color=colour, linewidth=1.6, alpha=0.7)
        ax.plot(own["value"], height, _MARKERS[place % len(_MARKERS)], color=colour, markersize=4.5, label=generator)
    ax.axhline(0.5, color="#bbbbbb", linewidth=0.8)
    ax.set_yticks(range(len(classes)), classes if labels else [""] * len(classes))
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.set_title(textwrap.fill(title, _TITLE_WIDTH), fontsize=9, fontweight="normal")
    return ax


def _grey(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None] / 255, 3, axis=-1)


def _sheet(columns: list[np.ndarray]) -> np.ndarray:
    """Return columns of pictures (n, height, width, 3) as one picture on white."""
    padded = [np.pad(column, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=1) for column in columns]
    return np.concatenate([np.concatenate(list(column), axis=0) for column in padded], axis=1)
