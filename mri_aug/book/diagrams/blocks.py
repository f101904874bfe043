"""Diagrams of a network's parts: neurons, convolution, pooling, blocks and attention.

What they show is given; nothing here makes or runs a model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.signal import correlate2d

from mri_aug.book.diagrams.shapes import (
    BLUE,
    FILLS,
    GREY,
    ORANGE,
    RED,
    SMALL,
    arrow,
    box,
    canvas,
    elbow,
    label,
    number_grid,
    outline,
    picture,
    plus,
)
from mri_aug.book.report import INK


def convolve(image, kernel) -> NDArray:
    """Slide a kernel over an image, without padding: what deep learning calls a convolution.

    Parameters
    ----------
    image : array-like of number, shape (height, width)
    kernel : array-like of number, shape (k, k)

    Returns
    -------
    ndarray, shape (height - k + 1, width - k + 1)
        Cross-correlation, as in ``torch.nn.Conv2d``: the kernel is not flipped.
    """
    return correlate2d(np.asarray(image), np.asarray(kernel), mode="valid")


def max_pool(values, *, size: int = 2) -> NDArray:
    """Keep the largest value of each ``size`` x ``size`` block.

    Parameters
    ----------
    values : array-like of number, shape (height, width)
        Both multiples of ``size``.
    """
    values = np.asarray(values)
    height, width = values.shape
    return values.reshape(height // size, size, width // size, size).max(axis=(1, 3))


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
    """
    image = np.asarray(image)
    height, width = image.shape
    blocks = image.reshape(height // patch_size, patch_size, width // patch_size, patch_size)
    return blocks.swapaxes(1, 2).reshape(-1, patch_size, patch_size)


def plot_network(layer_sizes: Sequence[int] = (4, 5, 5, 4), *, ax: Axes | None = None) -> Axes:
    """Draw a fully connected network and mark the inputs of one neuron.

    Parameters
    ----------
    layer_sizes : sequence of int, length at least 3
        Neurons from the input layer to the output layer, 1 to 8 each.
    ax : Axes, optional
    """
    ax = canvas(6.4, 3.3, ax)
    xs = np.linspace(0.9, 5.5, len(layer_sizes))
    spacing = 2.3 / max(layer_sizes)
    layers = [
        [(x, 1.78 + spacing * ((size - 1) / 2 - i)) for i in range(size)]
        for x, size in zip(xs, layer_sizes, strict=True)
    ]
    target = layers[1][0]
    for before, after in itertools.pairwise(layers):
        for a in before:
            for b in after:
                strong = b == target
                ax.plot(*zip(a, b, strict=True), color=RED if strong else GREY, zorder=2 if strong else 1,
                        linewidth=1.6 if strong else 0.5)  # fmt: skip
    _draw_neurons(ax, layers, target)
    for i, (x, y) in enumerate(layers[0]):
        along = 0.3
        point = (x + along * (target[0] - x), y + along * (target[1] - y))
        label(ax, *point, f"$w_{i}$", colour=RED, size=SMALL, zorder=5,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    names = ["input layer", *(f"hidden layer {i}" for i in range(1, len(layers) - 1)), "output layer"]
    for x, name in zip(xs, names, strict=True):
        label(ax, x, 0.42, name)
    terms = " + ".join(f"w_{i} a_{i}" for i in range(layer_sizes[0]))
    label(ax, target[0], 3.15, rf"$a = \sigma({terms} + b)$", colour=RED)
    return ax


def _draw_neurons(ax: Axes, layers, target: tuple[float, float]) -> None:
    fills = ["white", *[FILLS["convolution"]] * (len(layers) - 2), FILLS["dense"]]
    for depth, (neurons, fill) in enumerate(zip(layers, fills, strict=True)):
        for i, centre in enumerate(neurons):
            edge, width = (RED, 1.8) if centre == target else (INK, 0.8)
            ax.add_patch(plt.Circle(centre, 0.145, facecolor=fill, edgecolor=edge, linewidth=width, zorder=4))
            if depth == 0:
                label(ax, *centre, f"$a_{i}$", size=SMALL, zorder=5)
                arrow(ax, (centre[0] - 0.5, centre[1]), (centre[0] - 0.16, centre[1]))
            if depth == len(layers) - 1:
                arrow(ax, (centre[0] + 0.16, centre[1]), (centre[0] + 0.42, centre[1]))
                label(ax, centre[0] + 0.58, centre[1], f"$p_{i}$", size=SMALL)


def plot_convolution(image, kernel, *, at: tuple[int, int] = (0, 0), ax: Axes | None = None) -> Axes:
    """Draw one position of a kernel: the window, the products and their sum.

    Parameters
    ----------
    image : array-like of number, shape (6, 6)
    kernel : array-like of number, shape (3, 3)
    at : (int, int)
        Row and column of the output value that is computed.
    ax : Axes, optional
    """
    image, kernel = np.asarray(image), np.asarray(kernel)
    output = convolve(image, kernel)
    size, cell, top = len(kernel), 0.32, 2.62
    ax = canvas(6.4, 3.0, ax)
    row, column = at
    image_fill = np.full(image.shape, "white", dtype=object)
    image_fill[row : row + size, column : column + size] = FILLS["pooling"]
    output_fill = np.full(output.shape, "white", dtype=object)
    output_fill[row, column] = FILLS["dense"]
    kernel_fill = np.full(kernel.shape, FILLS["convolution"])
    columns = ((0.35, image, image_fill, "input"), (3.05, kernel, kernel_fill, "kernel"),
               (4.85, output, output_fill, "feature map"))  # fmt: skip
    middle = top - image.shape[0] * cell / 2
    for left, values, fills, name in columns:
        upper = middle + len(values) * cell / 2
        number_grid(ax, values, left=left, top=upper, cell=cell, fills=fills)
        label(ax, left + values.shape[1] * cell / 2, 2.85, f"{name}, {values.shape[0]} × {values.shape[1]}")
    outline(ax, left=0.35 + column * cell, top=top - row * cell, width=size * cell, height=size * cell)
    upper = middle + len(output) * cell / 2
    outline(ax, left=4.85 + column * cell, top=upper - row * cell, width=cell, height=cell)
    label(ax, 2.68, middle, r"$\ast$", size=16)
    label(ax, 4.42, middle, "=", size=14)
    label(ax, 3.2, 0.28, _products(image[row : row + size, column : column + size], kernel, output[at]), size=SMALL,
          colour=RED)  # fmt: skip
    return ax


def _products(window: NDArray, kernel: NDArray, total) -> str:
    terms = [
        f"{_signed(weight)}·{value:g}"
        for weight, value in zip(kernel.ravel(), window.ravel(), strict=True)
        if weight != 0
    ]
    return f"{' + '.join(terms)} = {total:g}".replace("= -", "= \N{MINUS SIGN}")


def _signed(value) -> str:
    return f"(\N{MINUS SIGN}{-value:g})" if value < 0 else f"{value:g}"


def plot_max_pooling(values, *, size: int = 2, ax: Axes | None = None) -> Axes:
    """Draw max pooling: each block in a colour of its own, its largest value framed.

    Parameters
    ----------
    values : array-like of number, shape (4, 4)
    size : int
        Side of a block.
    ax : Axes, optional
    """
    values = np.asarray(values)
    pooled = max_pool(values, size=size)
    tints = [FILLS["convolution"], FILLS["pooling"], FILLS["dense"], FILLS["attention"]]
    blocks = np.array(tints * pooled.size)[: pooled.size].reshape(pooled.shape)
    ax = canvas(4.6, 2.15, ax)
    cell, top, left = 0.4, 1.7, 0.45
    right = 3.3
    number_grid(ax, values, left=left, top=top, cell=cell, fills=blocks.repeat(size, axis=0).repeat(size, axis=1))
    middle = top - values.shape[0] * cell / 2
    upper = middle + pooled.shape[0] * cell / 2
    number_grid(ax, pooled, left=right, top=upper, cell=cell, fills=blocks)
    for (row, column), value in np.ndenumerate(pooled):
        block = values[row * size : (row + 1) * size, column * size : (column + 1) * size]
        i, j = np.argwhere(block == value)[0] + (row * size, column * size)
        outline(ax, left=left + j * cell, top=top - i * cell, width=cell, height=cell, linewidth=1.6)
    arrow(ax, (left + values.shape[1] * cell + 0.12, middle), (right - 0.12, middle))
    centre = (left + values.shape[1] * cell + right) / 2
    label(ax, centre, middle + 0.25, f"largest of\neach {size} × {size}", size=SMALL)
    label(ax, left + values.shape[1] * cell / 2, 1.95, f"feature map, {values.shape[0]} × {values.shape[1]}")
    label(ax, right + pooled.shape[1] * cell / 2, 1.95, f"pooled, {pooled.shape[0]} × {pooled.shape[1]}")
    return ax


def plot_residual_block(*, ax: Axes | None = None) -> Axes:
    """Draw a basic residual block: two convolutions, and the path around them (He et al., 2016, figure 2)."""
    ax = canvas(6.4, 1.7, ax)
    y, texts = 0.6, ("conv 3×3", "batch\nnorm", "ReLU", "conv 3×3", "batch\nnorm")
    kinds = ("convolution", "norm", "plain", "convolution", "norm")
    xs = np.linspace(1.25, 4.25, len(texts))
    label(ax, 0.2, y, "$x$", size=11)
    arrow(ax, (0.32, y), (xs[0] - 0.31, y))
    for x, text, kind in zip(xs, texts, kinds, strict=True):
        box(ax, x, y, 0.62, 0.46, text, kind=kind, size=SMALL)
        arrow(ax, (x + 0.31, y), (x + (0.44 if x < xs[-1] else 0.53), y))
    plus(ax, 4.9, y)
    arrow(ax, (5.01, y), (5.2, y))
    box(ax, 5.46, y, 0.5, 0.46, "ReLU", size=SMALL)
    arrow(ax, (5.71, y), (5.95, y))
    label(ax, 6.12, y, "$y$", size=11)
    elbow(ax, [(0.62, y), (0.62, 1.35), (4.9, 1.35), (4.9, y + 0.12)], color=RED, linewidth=1.3)
    label(ax, 2.75, 1.52, "skip connection: $x$ unchanged", colour=RED)
    ax.plot((xs[0] - 0.31, xs[-1] + 0.31), (0.27, 0.27), color=BLUE, linewidth=1.2)
    label(ax, 2.75, 0.13, "residual branch $F(x)$", colour=BLUE)
    return ax


def plot_encoder_block(*, ax: Axes | None = None) -> Axes:
    """Draw one encoder block: attention, then a small network applied to each token, each with a skip connection."""
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
        Attention weights of the query, non-negative.
    query : int
        Its position in the sequence of patches.
    patch_size : int
        Pixels.
    ax : Axes, optional
    """
    image, weights = np.asarray(image), np.asarray(weights)
    columns = image.shape[1] // patch_size
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
