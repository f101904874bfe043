"""Diagrams of convolution, pooling, the residual block and convolutional networks, drawn from the models themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.signal import correlate2d

from mri_aug.book.diagrams.shapes import (
    BLUE,
    FILLS,
    GREY,
    INK,
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
    slab,
)


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


Row = tuple[str, str, tuple[int, ...], int, str]


def plot_layers(rows: Sequence[Row], image, *, ax: Axes | None = None) -> Axes:
    """Draw a plain chain of layers: maps as slabs, vectors as columns, each with shape and size.

    Layers without parameters that keep the number of values (activations, flattening, dropout)
    are named below the layer that they follow.

    Parameters
    ----------
    rows : sequence of Row
        At most nine layers that have parameters or change the number of values.
    image : array-like of number, shape (height, width)
        Shown as the input.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If there are too many layers to label legibly.
    """
    steps = _merge(rows)
    if not 1 <= len(steps) <= 9:
        raise ValueError(f"plot_layers draws 1 to 9 layers in a chain, got {len(steps)}: is the model too deep for it?")
    ax = canvas(6.8, 2.6, ax)
    size = np.asarray(image).shape[0]
    middle, pitch = 1.75, 5.85 / len(steps)
    picture(ax, image, left=0.06, bottom=middle - 0.425, side=0.85)
    label(ax, 0.48, 0.86, f"1 × {size} × {size}\n\ninput", size=6.4, va="top")
    right = 0.93
    for i, (kind, shape, n_parameters, text) in enumerate(steps):
        centre = 0.98 + pitch * (i + 0.5)
        half = _draw_values(ax, kind, shape, size, centre, middle)
        arrow(ax, (right + 0.04, middle), (centre - half - 0.03, middle), color=GREY, mutation_scale=6)
        right = centre + half
        count = f"{n_parameters:,} par." if n_parameters else "0 par."
        label(ax, centre, 0.86, f"{' × '.join(map(str, shape))}\n{count}\n{text}", size=6.4, va="top")
    return ax


def _merge(rows: Sequence[Row]) -> list[tuple[str, tuple[int, ...], int, str]]:
    steps: list[tuple[str, tuple[int, ...], int, str]] = []
    for _, kind, shape, n_parameters, detail in rows:
        if steps and not n_parameters and np.prod(shape) == np.prod(steps[-1][1]):
            if kind in ("activation", "flatten"):
                last = steps[-1]
                steps[-1] = (*last[:3], f"{last[3]}\n+ {detail or kind}")
            continue
        names = {"convolution": f"conv {detail}", "pooling": f"pool {detail}", "dense": "dense"}
        steps.append((kind, shape, n_parameters, names.get(kind, kind)))
    return steps


def _draw_values(ax: Axes, kind: str, shape: tuple[int, ...], image_size: int, centre: float, middle: float) -> float:
    """Draw maps as a slab or a vector as a column; return half its width."""
    kind = kind if kind in FILLS else "plain"
    if len(shape) == 3:
        side = 0.2 + 0.55 * shape[-1] / image_size
        thickness = 0.035 * np.log2(2 * shape[0])
        left = centre - (thickness + 0.28 * side) / 2
        return slab(ax, left, middle, side=side, thickness=thickness, kind=kind) - centre
    height = 0.16 * np.log2(2 * shape[-1])
    corner = (centre - 0.06, middle - height / 2)
    ax.add_patch(Rectangle(corner, 0.12, height, facecolor=FILLS[kind], edgecolor=INK, linewidth=0.6))
    return 0.06


def plot_resnet(rows: Sequence[Row], *, ax: Axes | None = None) -> Axes:
    """Draw a residual network of basic blocks: every weighted layer, every skip connection.

    Parameters
    ----------
    rows : sequence of Row
        Of a torchvision ResNet: blocks named ``layer<stage>.<block>.conv<n>``, and a block's
        ``downsample`` where its skip connection has a convolution of its own.
    ax : Axes, optional

    Raises
    ------
    ValueError
        If no row is named like a block's convolution.
    """
    blocks = _blocks(rows)
    weighted = [row for row in rows if row[1] in ("convolution", "dense", "pooling") and "downsample" not in row[0]]
    ax = canvas(6.8, 2.3, ax)
    pitch, middle, height = 6.7 / len(weighted), 1.35, 1.0
    xs = {row[0]: 0.05 + pitch * (i + 0.5) for i, row in enumerate(weighted)}
    for name, kind, shape, _, detail in weighted:
        text = {"convolution": f"conv {detail}, {shape[0]}", "dense": f"dense, {shape[0]}"}.get(
            kind, f"max pool {detail}" if detail else "average pool"
        )
        box(ax, xs[name], middle, 0.64 * pitch, height, text, kind=kind, rotation=90, size=6.5)
    ordered = list(xs.values())
    for left, right in itertools.pairwise(ordered):
        arrow(ax, (left + 0.32 * pitch, middle), (right - 0.32 * pitch, middle), mutation_scale=4, linewidth=0.6)
    for names, projected in blocks.values():
        _draw_skip(ax, xs[names[0]] - pitch / 2, xs[names[-1]] + pitch / 2, middle, middle + height / 2, projected)
    _label_stages(ax, weighted, xs, pitch, middle - height / 2)
    for x, dash, text in ((1.9, "-", "skip connection: identity"), (4.1, "--", "with a 1×1 convolution of stride 2")):
        ax.plot((x - 0.4, x - 0.1), (0.12, 0.12), color=RED, linestyle=dash, linewidth=1.3)
        label(ax, x, 0.12, text, size=SMALL, ha="left")
    return ax


def _blocks(rows: Sequence[Row]) -> dict[str, tuple[list[str], bool]]:
    """Return for each residual block its convolutions and whether its skip connection has one."""
    blocks: dict[str, tuple[list[str], bool]] = {}
    for name, kind, *_ in rows:
        match = re.search(r"(.*layer\d+\.\d+)\.(conv\d+|downsample)", name)
        if match and kind == "convolution":
            names, projected = blocks.get(match[1], ([], False))
            if match[2] == "downsample":
                blocks[match[1]] = (names, True)
            else:
                blocks[match[1]] = ([*names, name], projected)
    if not blocks:
        raise ValueError("no layer is named like layer1.0.conv1: plot_resnet draws torchvision's residual networks")
    return blocks


def _draw_skip(ax: Axes, left: float, right: float, middle: float, top: float, dashed: bool) -> None:
    style = {"color": RED, "linewidth": 1.3, "linestyle": "--" if dashed else "-"}
    high, inset = top + 0.22, 0.035
    xs, ys = (left + inset, left + inset, right - inset), (middle, high, high)
    ax.plot(xs, ys, solid_joinstyle="miter", zorder=2, **style)
    arrow(ax, (right - inset, high), (right - inset, middle), mutation_scale=6, **{**style, "linestyle": "-"})


def _label_stages(ax: Axes, weighted, xs, pitch: float, bottom: float) -> None:
    stages: dict[str, list[Row]] = {}
    for row in weighted:
        match = re.search(r"layer(\d+)", row[0])
        stages.setdefault(f"stage {match[1]}" if match else "", []).append(row)
    for stage, members in stages.items():
        if not stage:
            continue
        left, right = xs[members[0][0]] - 0.4 * pitch, xs[members[-1][0]] + 0.4 * pitch
        ax.plot((left, right), (bottom - 0.12, bottom - 0.12), color=BLUE, linewidth=1.2)
        shape = " × ".join(map(str, members[-1][2]))
        label(ax, (left + right) / 2, bottom - 0.33, f"{stage}\n{shape}", size=SMALL)
    for row, text in ((weighted[0], "image\nin"), (weighted[-1], "logits\nout")):
        label(ax, xs[row[0]], bottom - 0.33, text, size=SMALL)


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
