"""Diagrams of a network's parts (neurons, convolution, pooling, blocks, attention), and the shapes of all diagrams.

One data unit is one inch, so that text and boxes keep their proportions. What the diagrams show is given; nothing here
makes or runs a model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from numpy.typing import NDArray
from scipy.signal import correlate2d

from mri_aug.book.report import INK, PALETTE

BLUE, RED, _, _, ORANGE, *_ = PALETTE
GREY = "#8A8A8A"
SMALL, NORMAL = 7.5, 8.5  # points
# Fill by kind of layer: tints that also differ in lightness, for print without colour.
FILLS = {
    "convolution": "#9CC9E8", "pooling": "#F6D58E", "dense": "#B9E0CC", "norm": "#EFEFEF", "attention": "#E8C3D8",
    "plain": "#FFFFFF",
}  # fmt: skip


def canvas(width: float, height: float, ax: Axes | None = None) -> Axes:
    """Return Axes without a frame whose data coordinates are inches, (0, 0) at the lower left.

    Those given are scaled to fit; by default they are a new figure of exactly that size.
    """
    if ax is None:
        figure = plt.figure(figsize=(width, height), layout=PlaceHolderLayoutEngine(True, True))  # "none" is not kept
        ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return ax


def label(ax: Axes, x: float, y: float, text: str, *, size: float = NORMAL, colour: str = INK, **options):
    """Write ``text`` at a point, centred by default."""
    options = {"ha": "center", "va": "center", "linespacing": 1.25, **options}
    return ax.text(x, y, text, fontsize=size, color=colour, **options)


def box(ax: Axes, x: float, y: float, width: float, height: float, text: str = "", *, kind: str = "plain", **options):
    """Draw a rounded box centred at (x, y), its text inside."""
    size, rotation = options.pop("size", NORMAL), options.pop("rotation", 0)
    options = {"facecolor": FILLS[kind], "edgecolor": INK, "linewidth": 0.8, **options}
    corner = (x - width / 2, y - height / 2)
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.04", **options))
    if text:
        label(ax, x, y, text, size=size, rotation=rotation)


def slab(ax: Axes, x: float, y: float, *, side: float, thickness: float, kind: str) -> float:
    """Draw a stack of square maps in oblique view, centred on ``y``, from ``x`` to the x that is returned."""
    skew = 0.28 * side
    low, high = (-side - skew) / 2, (side - skew) / 2
    face = np.array([(0, low), (0, high), (skew, high + skew), (skew, low + skew)]) + (x + thickness, y)
    shift = np.array([-thickness, 0.0])
    top = np.array([face[1], face[2], face[2] + shift, face[1] + shift])
    front_side = np.array([face[0], face[1], face[1] + shift, face[0] + shift])
    for polygon, shade in ((front_side, 0.86), (top, 0.95), (face, 1.0)):
        fill = [shade * part for part in to_rgb(FILLS[kind])]
        ax.add_patch(Polygon(polygon, facecolor=fill, edgecolor=INK, linewidth=0.6, joinstyle="round"))
    return x + thickness + skew


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], *, curve: float = 0.0, **options):
    """Draw an arrow; ``curve`` bends it by that share of its length."""
    options = {"color": INK, "linewidth": 0.9, "mutation_scale": 8, "arrowstyle": "-|>", "zorder": 3, **options}
    style = f"arc3,rad={curve}"
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=style, shrinkA=0, shrinkB=0, **options))


def elbow(ax: Axes, points: list[tuple[float, float]], **options):
    """Draw straight lines through ``points``, the last an arrow."""
    line = {"color": INK, "linewidth": 0.9, **options}
    xs, ys = zip(*points[:-1], strict=True)
    ax.plot(xs, ys, solid_capstyle="butt", solid_joinstyle="miter", **line)
    arrow(ax, points[-2], points[-1], **line)


def plus(ax: Axes, x: float, y: float, *, radius: float = 0.11):
    """Draw a plus in a circle, the sign of an addition."""
    ax.add_patch(plt.Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=4))
    for dx, dy in ((0.6 * radius, 0), (0, 0.6 * radius)):
        ax.plot((x - dx, x + dx), (y - dy, y + dy), color=INK, linewidth=0.9, zorder=5)


def number_grid(ax: Axes, values: NDArray, *, left: float, top: float, cell: float, fills: NDArray) -> None:
    """Write a matrix as a grid of numbers from its upper left corner, ``fills`` being the cells' colours."""
    for (row, column), value in np.ndenumerate(values):
        corner = (left + column * cell, top - (row + 1) * cell)
        ax.add_patch(Rectangle(corner, cell, cell, facecolor=fills[row][column], edgecolor=GREY, linewidth=0.6))
        label(ax, corner[0] + cell / 2, corner[1] + cell / 2, f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def outline(ax: Axes, *, left: float, top: float, width: float, height: float, colour: str = RED, **options) -> None:
    """Draw a frame around part of a grid or image."""
    options = {"linewidth": 2.0, "zorder": 4, **options}
    ax.add_patch(Rectangle((left, top - height), width, height, fill=False, edgecolor=colour, **options))


def picture(ax: Axes, image, *, left: float, bottom: float, side: float, **options) -> None:
    """Show a grey image of shape (height, width) in a square of the canvas."""
    options = {"cmap": "gray", "interpolation": "antialiased", **options}
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(np.asarray(image), extent=(left, left + side, bottom, bottom + side), aspect="equal", **options)
    ax.set(xlim=limits[0], ylim=limits[1])


def convolve(image, kernel) -> NDArray:
    """Slide a kernel (k, k) over an image (height, width), without padding: what deep learning calls a convolution.

    It is a cross-correlation, as in ``torch.nn.Conv2d``: the kernel is not flipped.
    """
    return correlate2d(np.asarray(image), np.asarray(kernel), mode="valid")


def max_pool(values) -> NDArray:
    """Keep the largest value of each block of 2 x 2, from an even number of rows and columns."""
    height, width = np.shape(values)
    return np.reshape(values, (height // 2, 2, width // 2, 2)).max(axis=(1, 3))


def patches_of(image, *, patch_size: int) -> NDArray:
    """Cut an image into the sequence of square patches that a vision transformer reads, row by row from the upper left.

    Its height and width are multiples of ``patch_size``; the patches have shape (n_patches, patch_size, patch_size).
    """
    height, width = np.shape(image)
    blocks = np.reshape(image, (height // patch_size, patch_size, width // patch_size, patch_size))
    return blocks.swapaxes(1, 2).reshape(-1, patch_size, patch_size)


def plot_network(layer_sizes: Sequence[int] = (4, 5, 5, 4)) -> Axes:
    """Draw a fully connected network of at least three layers of 1 to 8 neurons; mark the inputs of one neuron."""
    ax = canvas(6.4, 3.3)
    xs = np.linspace(0.9, 5.5, len(layer_sizes))
    spacing = 2.3 / max(layer_sizes)
    layers = [
        [(x, 1.78 + spacing * ((size - 1) / 2 - i)) for i in range(size)]
        for x, size in zip(xs, layer_sizes, strict=True)
    ]
    target = layers[1][0]
    for before, after in itertools.pairwise(layers):
        for a, b in itertools.product(before, after):
            style = {"color": RED, "zorder": 2, "linewidth": 1.6} if b == target else {"color": GREY, "linewidth": 0.5}
            ax.plot(*zip(a, b, strict=True), **{"zorder": 1, **style})
    _draw_neurons(ax, layers, target)
    for i, (x, y) in enumerate(layers[0]):
        label(ax, x + 0.3 * (target[0] - x), y + 0.3 * (target[1] - y), f"$w_{i}$", colour=RED, size=SMALL, zorder=5,
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


def plot_convolution(image, kernel, *, at: tuple[int, int] = (0, 0)) -> Axes:
    """Draw one position of a kernel (3, 3) on an image (6, 6): the window, the products and their sum.

    The position is the row and column of the output value that is computed.
    """
    image, kernel = np.asarray(image), np.asarray(kernel)
    output = convolve(image, kernel)
    size, cell, top = len(kernel), 0.32, 2.62
    ax = canvas(6.4, 3.0)
    row, column = at
    window = np.s_[row : row + size, column : column + size]
    image_fill = np.full(image.shape, "white", dtype=object)
    image_fill[window] = FILLS["pooling"]
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
    pairs = [(weight, value) for weight, value in zip(kernel.flat, image[window].flat, strict=True) if weight != 0]
    terms = [f"({weight:g})·{value:g}" if weight < 0 else f"{weight:g}·{value:g}" for weight, value in pairs]
    sentence = f"{' + '.join(terms)} = {output[at]:g}".replace("-", "\N{MINUS SIGN}")
    label(ax, 3.2, 0.28, sentence, size=SMALL, colour=RED)
    return ax


def plot_max_pooling(values) -> Axes:
    """Draw max pooling of a map (4, 4): each block of 2 x 2 in a colour of its own, its largest value framed."""
    values, pooled = np.asarray(values), max_pool(values)
    blocks = np.array([FILLS[kind] for kind in ("convolution", "pooling", "dense", "attention")]).reshape(2, 2)
    ax = canvas(4.6, 2.15)
    cell, top, left, right, middle = 0.4, 1.7, 0.45, 3.3, 0.9
    number_grid(ax, values, left=left, top=top, cell=cell, fills=blocks.repeat(2, axis=0).repeat(2, axis=1))
    number_grid(ax, pooled, left=right, top=middle + cell, cell=cell, fills=blocks)
    for (row, column), value in np.ndenumerate(pooled):
        block = values[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        i, j = np.argwhere(block == value)[0] + (2 * row, 2 * column)
        outline(ax, left=left + j * cell, top=top - i * cell, width=cell, height=cell, linewidth=1.6)
    edge = left + 4 * cell
    arrow(ax, (edge + 0.12, middle), (right - 0.12, middle))
    label(ax, (edge + right) / 2, middle + 0.25, "largest of\neach 2 × 2", size=SMALL)
    label(ax, left + 2 * cell, 1.95, "feature map, 4 × 4")
    label(ax, right + cell, 1.95, "pooled, 2 × 2")
    return ax


def plot_residual_block() -> Axes:
    """Draw a basic residual block: two convolutions, and the path around them (He et al., 2016, figure 2)."""
    ax = canvas(6.4, 1.7)
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


def plot_encoder_block() -> Axes:
    """Draw one encoder block: attention, then a small network applied to each token, each with a skip connection."""
    ax = canvas(6.6, 1.65)
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
    """Show how much one patch, the query at a position of the sequence, attends to each patch of a square slice.

    ``weights`` are the query's attention weights, shape (n_patches,), non-negative.
    """
    weights = np.asarray(weights)
    columns = len(image) // patch_size
    side = 2.0 / columns
    ax = canvas(2.0, 2.0, ax)
    picture(ax, image, left=0, bottom=0, side=2.0)
    for index, weight in enumerate(weights / weights.max()):
        row, column = divmod(index, columns)
        corner = (column * side, 2.0 - (row + 1) * side)
        ax.add_patch(Rectangle(corner, side, side, facecolor=ORANGE, alpha=0.85 * weight, linewidth=0))
    row, column = divmod(query, columns)
    for colour, linewidth in (("white", 3.2), (INK, 1.4)):
        outline(ax, left=column * side, top=2.0 - row * side, width=side, height=side, colour=colour,
                linewidth=linewidth)  # fmt: skip
    return ax
