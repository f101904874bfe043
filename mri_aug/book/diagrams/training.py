"""Diagrams of training: a network, gradient descent, curves, transfer, and the thesis's method."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mri_aug.book.diagrams.shapes import (
    BLUE,
    FILLS,
    GREEN,
    GREY,
    INK,
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
    picture,
)

LINE_STYLES = ((BLUE, "-", "o"), (RED, "--", "s"), (GREEN, "-.", "^"), (ORANGE, ":", "D"))


def plot_network(layer_sizes: Sequence[int] = (4, 5, 5, 4), *, ax: Axes | None = None) -> Axes:
    """Draw a fully connected network and point out what one neuron of it reads.

    Parameters
    ----------
    layer_sizes : sequence of int, length at least 3
        Neurons from the input layer to the output layer, 1 to 8 each.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no hidden layer, or a layer is too tall for the drawing.
    """
    if len(layer_sizes) < 3 or not all(1 <= size <= 8 for size in layer_sizes):
        raise ValueError(f"layer_sizes must name at least 3 layers of 1 to 8 neurons, got {tuple(layer_sizes)}")
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


def plot_curves(curves: Mapping[str, tuple], *, x_label: str, y_label: str, ax: Axes | None = None) -> Axes:
    """Plot named curves, told apart by colour, dash and legend.

    Parameters
    ----------
    curves : mapping of str to (x, y)
        At most four, each a pair of arrays of shape (n,).
    x_label, y_label : str
    ax : Axes, optional
    """
    ax = ax or plt.subplots(figsize=(3.2, 2.6))[1]
    for (name, (x, y)), (colour, dash, _) in zip(curves.items(), LINE_STYLES, strict=False):
        ax.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, label=name)
    ax.set(xlabel=x_label, ylabel=y_label)
    ax.grid(color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=SMALL)
    return ax


def plot_descent(hessian, paths: Mapping[str, np.ndarray], *, limit: float = 2.2, ax: Axes | None = None) -> Axes:
    """Draw paths over the contours of the quadratic loss ``theta' H theta / 2``.

    Parameters
    ----------
    hessian : array-like of float, shape (2, 2)
    paths : mapping of str to ndarray of float, shape (n_steps + 1, 2)
        At most four; what leaves the frame is cut off.
    limit : float
        Half the side of the frame, in units of the parameters.
    ax : Axes, optional
    """
    ax = ax or plt.subplots(figsize=(3.2, 3.2))[1]
    grid = np.linspace(-limit, limit, 201)
    theta = np.stack(np.meshgrid(grid, grid), axis=-1)
    loss = 0.5 * np.einsum("...i,ij,...j->...", theta, np.asarray(hessian), theta)
    ax.contour(grid, grid, loss, levels=np.geomspace(0.05, loss.max(), 9), colors="0.75", linewidths=0.6)
    for (name, path), (colour, dash, marker) in zip(paths.items(), LINE_STYLES, strict=False):
        ax.plot(path[:, 0], path[:, 1], color=colour, linestyle=dash, linewidth=1.1, marker=marker, markersize=2.6,
                markeredgewidth=0, label=name)  # fmt: skip
    ax.plot(0, 0, marker="*", markersize=9, color=INK, linestyle="none", zorder=5)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
    ax.grid(False)
    if len(paths) > 1:
        ax.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    return ax


def plot_transfer(parts: Sequence[tuple[str, int]], *, ax: Axes | None = None) -> Axes:
    """Draw three ways to start and train one model: which part starts from what, which part moves.

    Parameters
    ----------
    parts : sequence of (name, number of parameters)
        The model from input to output; its last part is the head, which is always new.
    ax : Axes, optional
    """
    ax = canvas(6.4, 2.75, ax)
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
