"""Convolution and max pooling worked in numbers, and the outline of a typical convolutional network.

The arithmetic is SciPy's and NumPy's; the drawing shows its numbers and invents none.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.signal import correlate2d

from mri_aug.diagrams.shapes import BLUE, FILLS, RED, SMALL, arrow, canvas, label, number_grid, outline, picture, slab


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

    Raises
    ------
    ValueError
        If the blocks do not fill the map.
    """
    values = np.asarray(values)
    height, width = values.shape
    if height % size or width % size:
        raise ValueError(f"a map of {height} x {width} cannot be cut into blocks of {size} x {size}")
    return values.reshape(height // size, size, width // size, size).max(axis=(1, 3))


def plot_convolution(image, kernel, *, at: tuple[int, int] = (0, 0), ax: Axes | None = None) -> Axes:
    """Draw one position of a kernel: the window, the products, the number that they add up to.

    Parameters
    ----------
    image : array-like of number, shape (6, 6)
    kernel : array-like of number, shape (3, 3)
    at : (int, int)
        Row and column of the output value that is worked out.
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
    """Draw max pooling: each block in its tint, its largest value framed and carried over.

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


def plot_cnn_outline(image, *, class_names=("class 1", "class 2", "…", "class C"), ax: Axes | None = None) -> Axes:
    """Draw the outline that convolutional networks share: maps that shrink and multiply, then a classifier.

    Parameters
    ----------
    image : array-like of number, shape (height, width)
    class_names : sequence of str
    ax : Axes, optional
    """
    ax = canvas(6.4, 2.5, ax)
    middle = 1.35
    picture(ax, image, left=0.1, bottom=middle - 0.5, side=1.0)
    label(ax, 0.6, 0.36, "image", size=SMALL)
    stages = (("convolution", 0.95, 0.14, "convolution"), ("pooling", 0.66, 0.14, "pooling"),
              ("convolution", 0.66, 0.3, "convolution"), ("pooling", 0.42, 0.3, "pooling"))  # fmt: skip
    x = 1.3
    for kind, side, thickness, name in stages:
        arrow(ax, (x - 0.17, middle), (x - 0.02, middle))
        right = slab(ax, x, middle, side=side, thickness=thickness, kind=kind)
        label(ax, (x + right) / 2, 0.36, name if kind == "pooling" else f"{name}\n+ ReLU", size=SMALL)
        x = right + 0.26
    ax.add_patch(_column(x, middle, 1.5, FILLS["norm"]))
    arrow(ax, (x - 0.22, middle), (x - 0.02, middle))
    label(ax, x + 0.05, 0.36, "flatten", size=SMALL)
    for offset, height in ((0.45, 1.1), (0.85, 0.8)):
        arrow(ax, (x + offset - (0.32 if offset < 0.5 else 0.27), middle), (x + offset - 0.02, middle))
        ax.add_patch(_column(x + offset, middle, height, FILLS["dense"]))
    label(ax, x + 0.7, 0.36, "fully\nconnected", size=SMALL)
    for i, name in enumerate(class_names):
        y = middle + 0.25 * ((len(class_names) - 1) / 2 - i)
        arrow(ax, (x + 0.97, middle), (x + 1.2, y), linewidth=0.6)
        label(ax, x + 1.25, y, name, size=SMALL, ha="left")
    for left, right, text in ((1.25, x - 0.28, "feature extraction"), (x - 0.05, 6.3, "classification")):
        ax.plot((left, right), (2.2, 2.2), color=BLUE, linewidth=1.2)
        label(ax, (left + right) / 2, 2.35, text)
    return ax


def _column(x: float, middle: float, height: float, fill: str) -> Rectangle:
    return Rectangle((x, middle - height / 2), 0.11, height, facecolor=fill, edgecolor="black", linewidth=0.6)
