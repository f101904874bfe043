"""The two convolutional models of chapter 5, drawn from the rows of their own layer tables.

A row is (name, kind, output shape, number of parameters, detail), as in
:class:`mri_aug.models.layer_table.LayerRow`. No model is made or run here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mri_aug.diagrams.shapes import (
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
    picture,
    plus,
    slab,
)  # fmt: skip

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
    for left, right in zip(ordered, ordered[1:], strict=False):
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
