"""The vision transformer of chapter 5: patches of a slice, the encoder block, and where attention goes.

The attention weights are given, not computed; nothing here makes or runs a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mri_aug.book.diagrams.shapes import (
    BLUE,
    INK,
    ORANGE,
    RED,
    SMALL,
    arrow,
    box,
    canvas,
    elbow,
    label,
    outline,
    picture,
    plus,
)


def patches_of(image, *, patch_size: int) -> NDArray:
    """Cut an image into the sequence of square patches that a vision transformer reads.

    Parameters
    ----------
    image : array-like of number, shape (height, width)
        Both multiples of ``patch_size``.
    patch_size : int
        Pixels.

    Returns
    -------
    ndarray, shape (n_patches, patch_size, patch_size)
        Row by row, from the upper left.

    Raises
    ------
    ValueError
        If the patches do not fill the image.
    """
    image = np.asarray(image)
    height, width = image.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"an image of {height} x {width} cannot be cut into patches of {patch_size} x {patch_size}")
    blocks = image.reshape(height // patch_size, patch_size, width // patch_size, patch_size)
    return blocks.swapaxes(1, 2).reshape(-1, patch_size, patch_size)


def plot_vision_transformer(
    image, *, patch_size: int, width: int, depth: int, n_heads: int, n_classes: int, ax: Axes | None = None
) -> Axes:
    """Draw the way from a slice to class probabilities (after Dosovitskiy et al., 2021, figure 1).

    Parameters
    ----------
    image : array-like of number, shape (height, width)
    patch_size : int
        Pixels.
    width, depth, n_heads, n_classes : int
        Length of an embedding, encoder blocks, attention heads in each, classes.
    ax : Axes, optional
    """
    patches = patches_of(image, patch_size=patch_size)
    side = len(np.asarray(image)) // patch_size
    ax = canvas(6.8, 3.3, ax)
    _draw_patch_grid(ax, image, side, left=0.1, bottom=1.05, size=1.7)
    label(ax, 0.95, 0.86, f"{side} × {side} patches of\n{patch_size} × {patch_size} pixels", size=SMALL, va="top")
    first = side * (side // 2) + side // 2 - 1  # the middle of the slice: the corners are black
    shown = [0, None, first, first + 1, None, len(patches) - 1]
    xs = 2.75 + 0.46 * np.arange(len(shown))
    arrow(ax, (1.85, 1.9), (2.1, 0.75), curve=0.2)
    for x, index in zip(xs, shown, strict=True):
        _draw_token(ax, x, patches, index, np.asarray(image).max())
    _draw_token(ax, 2.25, patches, -1, None)
    box(ax, 3.9, 1.18, 2.75, 0.24, f"linear projection to {width} numbers", kind="dense", size=SMALL)
    box(ax, 3.66, 2.53, 3.2, 0.36, f"{depth} encoder blocks of {n_heads} attention heads", kind="attention")
    box(ax, 2.25, 3.05, 0.9, 0.28, f"linear, {n_classes}", kind="dense", size=SMALL)
    arrow(ax, (2.25, 2.71), (2.25, 2.91))
    label(ax, 3.3, 3.05, f"logits of {n_classes} classes", size=SMALL)
    arrow(ax, (2.7, 3.05), (2.78, 3.05), linewidth=0.6, mutation_scale=5)
    notes = ((0.6, "patches,\nin order"), (1.18, "the same for\neach patch"), (1.88, "token = content\n+ position"),
             (2.53, "every token looks\nat every token"))  # fmt: skip
    for y, text in notes:
        label(ax, 5.45, y, text, size=SMALL, ha="left")
    return ax


def _draw_patch_grid(ax: Axes, image, side: int, *, left: float, bottom: float, size: float) -> None:
    picture(ax, image, left=left, bottom=bottom, side=size)
    for i in range(side + 1):
        at = size * i / side
        ax.plot((left + at, left + at), (bottom, bottom + size), color=ORANGE, linewidth=0.6)
        ax.plot((left, left + size), (bottom + at, bottom + at), color=ORANGE, linewidth=0.6)


def _draw_token(ax: Axes, x: float, patches: NDArray, index: int | None, brightest) -> None:
    """Draw one column: the patch (or the class token), its embedding and its position; dots where left out."""
    if index is None:
        for y in (0.6, 1.75):
            label(ax, x, y, "…")
        return
    is_class = index < 0
    if not is_class:
        picture(ax, patches[index], left=x - 0.18, bottom=0.42, side=0.36, vmin=0, vmax=brightest)
        outline(ax, left=x - 0.18, top=0.78, width=0.36, height=0.36, colour=ORANGE, linewidth=0.8)
        arrow(ax, (x, 0.8), (x, 1.05), mutation_scale=6)
        arrow(ax, (x, 1.31), (x, 1.56), mutation_scale=6)
    box(ax, x, 1.72, 0.36, 0.3, "class" if is_class else rf"$E x_{{{index + 1}}}$", size=6.5,
        kind="attention" if is_class else "dense")  # fmt: skip
    box(ax, x, 2.04, 0.36, 0.3, rf"$p_{{{index + 1 if not is_class else 0}}}$", size=SMALL, kind="pooling")
    arrow(ax, (x, 2.19), (x, 2.34), mutation_scale=6)


def plot_encoder_block(*, ax: Axes | None = None) -> Axes:
    """Draw one encoder block: attention, then a small network for each token, each with a skip connection."""
    ax = canvas(6.6, 1.65, ax)
    y = 0.62
    label(ax, 0.22, y, "$Z$", size=11)
    stations = ((1.12, "layer\nnorm", "norm", 0.55), (2.05, "multi-head\nattention", "attention", 0.85),
                (3.72, "layer\nnorm", "norm", 0.55), (4.75, "dense, GELU,\ndense", "dense", 1.0))  # fmt: skip
    for x, text, kind, width in stations:
        box(ax, x, y, width, 0.5, text, kind=kind, size=SMALL)
    gaps = ((0.35, 0.84), (1.4, 1.62), (2.48, 2.74), (2.96, 3.44), (4.0, 4.25), (5.25, 5.54), (5.76, 6.1))
    for start, end in gaps:
        arrow(ax, (start, y), (end, y))
    for split, merge in ((0.58, 2.85), (3.2, 5.65)):
        plus(ax, merge, y)
        elbow(ax, [(split, y), (split, 1.25), (merge, 1.25), (merge, y + 0.12)], color=RED, linewidth=1.3)
    label(ax, 6.35, y, "$Z'$", size=11)
    label(ax, 1.72, 1.43, "between tokens", colour=BLUE)
    label(ax, 4.42, 1.43, "within each token", colour=BLUE)
    return ax


def plot_attention(image, weights: Sequence[float], *, query: int, patch_size: int, ax: Axes | None = None) -> Axes:
    """Show how much one patch attends to each patch of a slice.

    Parameters
    ----------
    image : array-like of number, shape (height, width)
    weights : sequence of float, shape (n_patches,)
        Attention weights of the query, not negative.
    query : int
        Its position in the sequence of patches.
    patch_size : int
        Pixels.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If there is not one weight for each patch.
    """
    image, weights = np.asarray(image), np.asarray(weights)
    rows, columns = image.shape[0] // patch_size, image.shape[1] // patch_size
    if weights.shape != (rows * columns,):
        raise ValueError(f"give one weight for each of the {rows * columns} patches, got shape {weights.shape}")
    ax = canvas(2.0, 2.0, ax)
    scale = 2.0 / image.shape[0]
    picture(ax, image, left=0, bottom=0, side=2.0)
    for index, weight in enumerate(weights / weights.max()):
        row, column = divmod(index, columns)
        corner = (column * patch_size * scale, 2.0 - (row + 1) * patch_size * scale)
        side = patch_size * scale
        ax.add_patch(Rectangle(corner, side, side, facecolor=ORANGE, alpha=0.85 * weight, linewidth=0))
    row, column = divmod(query, columns)
    side = patch_size * scale
    outline(ax, left=column * side, top=2.0 - row * side, width=side, height=side, colour="white", linewidth=3.2)
    outline(ax, left=column * side, top=2.0 - row * side, width=side, height=side, colour=INK, linewidth=1.4)
    return ax
