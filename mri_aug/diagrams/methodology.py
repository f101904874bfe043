"""The diagram of chapter 6: how one simulation mixes real and synthetic images.

It draws the counts that it is given and computes none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mri_aug.diagrams.shapes import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    RED,
    SMALL,
    arrow,
    box,
    canvas,
    elbow,
    label,
    outline,
    picture,
)

_THUMB = 0.5  # inches


def plot_generation_policy(
    real: Sequence, synthetic: Sequence, *, n_full: int, n_real: int, n_synthetic: int, ax: Axes | None = None
) -> Axes:
    """Draw one simulation: sample, vary, mix, transform, train, evaluate.

    Parameters
    ----------
    real, synthetic : sequences of array, shape (height, width)
        At least three real slices, and a variation of each of the first three.
    n_full, n_real, n_synthetic : int
        Images in the full training set, in the real sample and in the synthetic part.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If there are fewer than three slices of either kind.
    """
    if min(len(real), len(synthetic)) < 3:
        raise ValueError(f"three slices of each kind are drawn, got {len(real)} real and {len(synthetic)} synthetic")
    ax = canvas(7.2, 3.15, ax)
    _stack(ax, list(real[:3]), left=0.15, bottom=1.45, colour=GREY)
    label(ax, 0.65, 1.39, f"training images\n$n$ = {n_full:,}", va="top")
    _stack(ax, list(real[:3]), left=2.0, bottom=2.07, colour=BLUE)
    label(ax, 2.5, 2.01, f"real sample\n$X$ = {n_real / n_full:.0%}, {n_real:,} images", va="top")
    _stack(ax, list(synthetic[:3]), left=2.0, bottom=0.78, colour=RED)
    label(ax, 2.5, 0.72, f"variations\n$Y$ = {n_synthetic / n_full:.0%}, {n_synthetic:,} images", va="top")
    elbow(ax, [(1.3, 1.8), (1.6, 1.8), (1.6, 2.4), (1.92, 2.4)])
    label(ax, 1.6, 2.52, "1  stratified\nsample", size=SMALL, va="bottom")
    elbow(ax, [(1.98, 2.2), (1.78, 2.2), (1.78, 1.13), (1.92, 1.13)], color=RED)
    label(ax, 1.72, 1.2, "2  generator", size=SMALL, ha="right", colour=RED)
    for height, colour in ((2.4, BLUE), (1.13, RED)):
        elbow(ax, [(3.15, height), (3.45, height), (3.45, 1.65), (3.68, 1.65)], color=colour)
    box(ax, 4.05, 1.65, 0.72, 0.62, f"mixed\ntraining set\n{n_real + n_synthetic:,}", size=SMALL)
    arrow(ax, (4.42, 1.65), (4.66, 1.65))
    box(ax, 5.02, 1.65, 0.72, 0.62, "3  policy\n(if any)", kind="pooling", size=NORMAL)
    arrow(ax, (5.39, 1.65), (5.63, 1.65))
    box(ax, 5.99, 1.65, 0.72, 0.62, "4  train\nnetwork", kind="convolution", size=NORMAL)
    arrow(ax, (6.36, 1.65), (6.56, 1.65))
    label(ax, 6.85, 1.65, "test\ncross-\nentropy", size=NORMAL)
    elbow(ax, [(6.85, 1.3), (6.85, 0.15), (0.65, 0.15), (0.65, 0.95)], color=GREY, linestyle=(0, (4, 3)))
    label(ax, 5.0, 0.24, "5  repeat with new seeds", size=SMALL, va="bottom", colour=INK)
    return ax


def _stack(ax: Axes, images: list, *, left: float, bottom: float, colour: str) -> None:
    """Draw slices one behind the other, the first in front."""
    for place in reversed(range(len(images))):
        x, y = left + 0.24 * place, bottom + 0.1 * place
        picture(ax, np.asarray(images[place]), left=x, bottom=y, side=_THUMB, vmin=0, vmax=255, zorder=10 - place)
        frame = {"linewidth": 1.2, "zorder": 10 - place}
        outline(ax, left=x, top=y + _THUMB, width=_THUMB, height=_THUMB, colour=colour, **frame)
