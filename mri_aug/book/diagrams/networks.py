"""Diagrams of whole networks, drawn from their layers, and of one simulation of the study.

The layers are found by running a model, so that the diagrams show it as it is. Drawing needs no torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mri_aug.book.diagrams.blocks import (
    BLUE,
    FILLS,
    GREY,
    NORMAL,
    ORANGE,
    RED,
    SMALL,
    arrow,
    box,
    canvas,
    elbow,
    label,
    outline,
    patches_of,
    picture,
    slab,
)
from mri_aug.book.report import INK

if TYPE_CHECKING:
    from torch import nn

_KINDS = {
    "Conv2d": "convolution", "Linear": "dense", "MultiheadAttention": "attention", "BatchNorm2d": "norm",
    "LayerNorm": "norm", "MaxPool2d": "pooling", "AdaptiveAvgPool2d": "pooling", "ReLU": "activation",
    "GELU": "activation",
}  # fmt: skip


class LayerRow(NamedTuple):
    """One call of one layer."""

    name: str  # its path in the model, such as layer1.0.conv1
    kind: str  # convolution, dense, attention, norm, pooling, activation, else the name of its class
    output_shape: tuple[int, ...]  # without the batch
    n_parameters: int  # 0 for a second call of the same layer
    detail: str  # kernel and stride, such as 3×3/2, or the name of an activation; may be empty


def layer_table(model: nn.Module, *, shape: tuple[int, int, int] = (1, 128, 128)) -> list[LayerRow]:
    """Run an empty image, of a number of channels, height and width, through a model, which is left unchanged.

    There is a row for each call of an innermost layer, in the order of the computation, attention counting as one.
    Parameters that a container holds itself (a class token, position embeddings) are in no row.
    """
    import torch

    rows: list[LayerRow] = []
    names = {module: name for name, module in _layers(model)}
    sizes = {module: sum(p.numel() for p in module.parameters()) for module in names}

    def record(module: nn.Module, _inputs, output) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        size, sizes[module] = sizes[module], 0  # a second call adds no parameters
        rows.append(LayerRow(names[module], _kind(module), tuple(tensor.shape[1:]), size, _detail(module)))

    hooks = [module.register_forward_hook(record) for module in names]
    training, like = {module: module.training for module in model.modules()}, next(model.parameters())
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return rows


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    attention = tuple(f"{name}." for name, module in model.named_modules() if _kind(module) == "attention")
    for name, module in model.named_modules():
        is_leaf = not any(module.children()) or _kind(module) == "attention"
        if name and is_leaf and not name.startswith(attention):
            yield name, module


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    return _KINDS.get(name, name.lower())


def _detail(module: nn.Module) -> str:
    name = type(module).__name__
    if name == "Conv2d":
        (height, width), stride = module.kernel_size, module.stride[0]
        return f"{height}×{width}" + (f"/{stride}" if stride > 1 else "")
    if name == "MaxPool2d":
        return f"{module.kernel_size}×{module.kernel_size}/{module.stride}"
    return name if _kind(module) == "activation" else ""


def plot_cnn_outline(image) -> Axes:
    """Draw the outline of a convolutional network: fewer pixels and more maps by layer, then a classifier."""
    ax = canvas(6.4, 2.5)
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
    for i, name in enumerate(("class 1", "class 2", "…", "class C")):
        y = middle + 0.25 * (1.5 - i)
        arrow(ax, (x + 0.97, middle), (x + 1.2, y), linewidth=0.6)
        label(ax, x + 1.25, y, name, size=SMALL, ha="left")
    for left, right, text in ((1.25, x - 0.28, "feature extraction"), (x - 0.05, 6.3, "classification")):
        ax.plot((left, right), (2.2, 2.2), color=BLUE, linewidth=1.2)
        label(ax, (left + right) / 2, 2.35, text)
    return ax


def _column(x: float, middle: float, height: float, fill: str) -> Rectangle:
    return Rectangle((x, middle - height / 2), 0.11, height, facecolor=fill, edgecolor="black", linewidth=0.6)


def plot_layers(rows: Sequence[LayerRow], image) -> Axes:
    """Draw a plain chain of layers after its input image: maps as slabs, vectors as columns, each with shape and size.

    Layers without parameters that keep the number of values (activations, flattening, dropout) are named below the
    layer before them. There is room for nine others.
    """
    steps = _merge(rows)
    ax = canvas(7.2, 2.7)
    size = np.asarray(image).shape[0]
    middle, pitch = 1.85, 6.2 / len(steps)
    picture(ax, image, left=0.06, bottom=middle - 0.425, side=0.85)
    label(ax, 0.48, 0.96, f"1 × {size} × {size}\n\ninput", size=SMALL, va="top")
    right = 0.93
    for i, (kind, shape, n_parameters, text) in enumerate(steps):
        centre = 0.98 + pitch * (i + 0.5)
        half = _draw_values(ax, kind, shape, size, centre, middle)
        arrow(ax, (right + 0.04, middle), (centre - half - 0.03, middle), color=GREY, mutation_scale=6)
        right = centre + half
        label(ax, centre, 0.96, f"{' × '.join(map(str, shape))}\n{n_parameters:,} par.\n{text}", size=SMALL, va="top")
    return ax


def _merge(rows: Sequence[LayerRow]) -> list[tuple[str, tuple[int, ...], int, str]]:
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


def plot_resnet(rows: Sequence[LayerRow]) -> Axes:
    """Draw torchvision's residual network of basic blocks: every weighted layer, every skip connection.

    Its blocks are named ``layer<stage>.<block>.conv<n>``, with a ``downsample`` where the skip connection has a
    convolution of its own.
    """
    blocks = _blocks(rows)
    weighted = [row for row in rows if row[1] in ("convolution", "dense", "pooling") and "downsample" not in row[0]]
    ax = canvas(6.8, 2.7)
    pitch, middle, height = 6.7 / len(weighted), 1.55, 1.4
    xs = {row[0]: 0.05 + pitch * (i + 0.5) for i, row in enumerate(weighted)}
    for name, kind, shape, _, detail in weighted:
        pool = f"max pool {detail}" if detail else "average pool"
        text = {"convolution": f"conv {detail}, {shape[0]}", "dense": f"dense, {shape[0]}"}.get(kind, pool)
        box(ax, xs[name], middle, 0.64 * pitch, height, text, kind=kind, rotation=90, size=8.5)
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


def _blocks(rows: Sequence[LayerRow]) -> dict[str, tuple[list[str], bool]]:
    """Return for each residual block its convolutions and whether its skip connection has one."""
    blocks: dict[str, tuple[list[str], bool]] = {}
    for name, kind, *_ in rows:
        match = re.search(r"(.*layer\d+\.\d+)\.(conv\d+|downsample)", name)
        if match and kind == "convolution":
            names, projected = blocks.get(match[1], ([], False))
            new = match[2] == "downsample"
            blocks[match[1]] = (names, True) if new else ([*names, name], projected)
    return blocks


def _draw_skip(ax: Axes, left: float, right: float, middle: float, top: float, dashed: bool) -> None:
    style = {"color": RED, "linewidth": 1.3, "linestyle": "--" if dashed else "-"}
    high, inset = top + 0.22, 0.035
    xs, ys = (left + inset, left + inset, right - inset), (middle, high, high)
    ax.plot(xs, ys, solid_joinstyle="miter", zorder=2, **style)
    arrow(ax, (right - inset, high), (right - inset, middle), mutation_scale=6, **{**style, "linestyle": "-"})


def _label_stages(ax: Axes, weighted, xs, pitch: float, bottom: float) -> None:
    stages: dict[str, list[LayerRow]] = {}
    for row in weighted:
        if match := re.search(r"layer(\d+)", row[0]):
            stages.setdefault(f"stage {match[1]}", []).append(row)
    for stage, members in stages.items():
        left, right = xs[members[0][0]] - 0.4 * pitch, xs[members[-1][0]] + 0.4 * pitch
        ax.plot((left, right), (bottom - 0.12, bottom - 0.12), color=BLUE, linewidth=1.2)
        shape = " × ".join(map(str, members[-1][2]))
        label(ax, (left + right) / 2, bottom - 0.33, f"{stage}\n{shape}", size=SMALL)
    for row, text in ((weighted[0], "image\nin"), (weighted[-1], "logits\nout")):
        label(ax, xs[row[0]], bottom - 0.33, text, size=SMALL)


def plot_vision_transformer(image, *, patch_size: int, width: int, depth: int, n_heads: int, n_classes: int) -> Axes:
    """Draw the path from a slice to class logits (after Dosovitskiy et al., 2021, figure 1).

    The patches' side is in pixels, ``width`` the length of an embedding, ``depth`` the number of encoder blocks.
    """
    patches = patches_of(image, patch_size=patch_size)
    side = len(np.asarray(image)) // patch_size
    ax = canvas(6.8, 3.3)
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
    box(ax, x, 1.72, 0.36, 0.3, "class" if is_class else rf"$x_{{{index + 1}}} E$", size=7,
        kind="attention" if is_class else "dense")  # fmt: skip
    box(ax, x, 2.04, 0.36, 0.3, rf"$p_{{{index + 1 if not is_class else 0}}}$", size=SMALL, kind="pooling")
    arrow(ax, (x, 2.19), (x, 2.34), mutation_scale=6)


def plot_transfer(parts: Sequence[tuple[str, int]]) -> Axes:
    """Draw three ways to start and train one model: which part starts from which weights, and which is trained.

    The parts, with their numbers of parameters, go from input to output; the last is the head, which is always new.
    """
    ax = canvas(6.4, 2.75)
    ways = (("from scratch", False, False), ("fine-tuning", True, False), ("feature\nextraction", True, True))
    step = 5.2 / len(parts)
    for column, (name, count) in enumerate(parts):
        label(ax, 1.15 + step * (column + 0.5), 2.55, f"{name}\n{count:,}", size=SMALL)
    for row, (way, pretrained, frozen) in enumerate(ways):
        y = 2.08 - 0.56 * row
        label(ax, 0.5, y, way)
        for column in range(len(parts)):
            head = column == len(parts) - 1
            learnt, still = pretrained and not head, frozen and not head
            box(ax, 1.15 + step * (column + 0.5), y, step - 0.1, 0.4, "frozen" if still else "trained",
                kind="convolution" if learnt else "plain", size=SMALL, hatch="////" if still else None,
                edgecolor=GREY if still else INK)  # fmt: skip
            if still:  # the hatch would run through the word
                ax.texts[-1].set_bbox({"facecolor": FILLS["convolution"], "edgecolor": "none", "pad": 1.0})
    for x, kind, text in ((1.75, "plain", "starts at random"), (3.6, "convolution", "starts from learnt weights")):
        box(ax, x, 0.35, 0.26, 0.17, kind=kind)
        label(ax, x + 0.2, 0.35, text, size=SMALL, ha="left")
    return ax


def plot_generation_policy(real: Sequence, synthetic: Sequence, *, n_full: int, n_real: int, n_synthetic: int) -> Axes:
    """Draw one simulation: sample, generate, mix, transform, train, evaluate.

    Shown are three real slices and a synthetic image made from each; the numbers are of the images in the full training
    set, in the real sample and in the synthetic part.
    """
    ax = canvas(7.2, 3.15)
    for images, left, bottom, colour, text in (
        (real, 0.15, 1.45, GREY, f"training images\n$n$ = {n_full:,}"),
        (real, 2.0, 2.07, BLUE, f"real sample\n$X$ = {n_real / n_full:.0%}, {n_real:,} images"),
        (synthetic, 2.0, 0.78, RED, f"synthetic images\n$Y$ = {n_synthetic / n_full:.0%}, {n_synthetic:,} images"),
    ):
        for place in (2, 1, 0):  # one behind the other, the first in front
            x, y, depth = left + 0.24 * place, bottom + 0.1 * place, 10 - place
            picture(ax, images[place], left=x, bottom=y, side=0.5, vmin=0, vmax=255, zorder=depth)
            outline(ax, left=x, top=y + 0.5, width=0.5, height=0.5, colour=colour, linewidth=1.2, zorder=depth)
        label(ax, left + 0.5, bottom - 0.06, text, va="top")
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
