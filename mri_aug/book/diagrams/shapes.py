"""Shapes of the diagrams: a canvas measured in inches, boxes, slabs, arrows and grids of numbers.

One data unit is one inch at the size that the canvas was made for, so that text and boxes keep their proportions.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from mri_aug.book.report import INK, PALETTE

BLUE, RED, _, _, ORANGE, *_ = PALETTE
GREY = "#8A8A8A"
SMALL, NORMAL = 7.0, 8.0  # points

# Fill by kind of layer: tints that also differ in lightness, for print without colour.
FILLS = {
    "input": "#FFFFFF",
    "convolution": "#9CC9E8",
    "pooling": "#F6D58E",
    "dense": "#B9E0CC",
    "norm": "#EFEFEF",
    "attention": "#E8C3D8",
    "plain": "#FFFFFF",
}


def canvas(width: float, height: float, ax: Axes | None = None) -> Axes:
    """Return Axes without a frame whose data coordinates are inches, (0, 0) at the lower left.

    Parameters
    ----------
    width, height : float
        Inches.
    ax : Axes, optional
        Scaled to fit; by default a new figure of exactly that size.
    """
    if ax is None:
        figure = plt.figure(figsize=(width, height), layout="none")
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
    """Draw a stack of square maps in oblique view, its left edge at ``x``, centred on ``y``.

    Returns
    -------
    float
        The x of its right edge.
    """
    skew = 0.28 * side
    front = np.array([(0, -side / 2 - skew / 2), (0, side / 2 - skew / 2), (skew, side / 2 + skew / 2)])
    back_low = np.array([(skew, -side / 2 + skew / 2)])
    face = np.concatenate([front, back_low]) + (x + thickness, y)
    shift = np.array([-thickness, 0.0])
    top = np.array([face[1], face[2], face[2] + shift, face[1] + shift])
    front_side = np.array([face[0], face[1], face[1] + shift, face[0] + shift])
    fill = FILLS[kind]
    for polygon, shade in ((front_side, 0.86), (top, 0.95), (face, 1.0)):
        ax.add_patch(Polygon(polygon, facecolor=_darker(fill, shade), edgecolor=INK, linewidth=0.6, joinstyle="round"))
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


def number_grid(ax: Axes, values, *, left: float, top: float, cell: float, fills=None, size: float = NORMAL) -> None:
    """Write a matrix as a grid of numbers.

    Parameters
    ----------
    values : array-like of number, shape (rows, columns)
    left, top : float
        Its upper left corner, in inches.
    cell : float
        Side of a cell, in inches.
    fills : array-like of str, shape (rows, columns), optional
        Colour of each cell; white by default.
    """
    values = np.asarray(values)
    for (row, column), value in np.ndenumerate(values):
        corner = (left + column * cell, top - (row + 1) * cell)
        fill = "white" if fills is None else fills[row][column]
        ax.add_patch(Rectangle(corner, cell, cell, facecolor=fill, edgecolor=GREY, linewidth=0.6))
        label(ax, corner[0] + cell / 2, corner[1] + cell / 2, f"{value:g}".replace("-", "\N{MINUS SIGN}"), size=size)


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


def _darker(colour: str, share: float) -> tuple[float, ...]:
    return tuple(share * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
