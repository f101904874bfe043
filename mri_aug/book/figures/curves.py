"""Curves: named lines, distributions of correlations, the search for people, and paths of gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike

from mri_aug.book.report import FAINT_INK, INK, MARKERS, PALETTE, check_colours, new_axes

_FRAME = 2.6  # half the side of the picture of a descent, in units of the parameters
_FEW = 15  # points of a line that are marked one by one
_DASHES = 2 * ((1, 0), (5, 1.5), (1, 1), (5, 1, 1, 1))


def plot_curves(
    curves: Mapping[str, Sequence[ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    references: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw named curves, told apart by colour, dash and marker.

    Parameters
    ----------
    curves : mapping of str to (x, y) or (x, y, low, high)
        At most seven, each two or four arrays of shape (n,): with low and high, intervals are drawn. ``x`` may hold
        words.
    references : sequence of str
        Names of curves that others are compared with: dashed, in black.
    ax : Axes, optional
        By default, as for every figure here, a new figure of the page's width.
    """
    check_colours(curves, "curve")
    ax = ax or new_axes(3.4)
    parts = [pd.DataFrame({"x": x, "y": y, "curve": name}) for name, (x, y, *_) in curves.items()]
    marked = all(len(x) <= _FEW for x, *_ in curves.values())
    colours = {name: INK if name in references else colour for name, colour in zip(curves, PALETTE, strict=False)}
    dashes = {name: (3, 2) if name in references else dash for name, dash in zip(curves, _DASHES, strict=False)}
    markers = dict(zip(curves, MARKERS, strict=False)) if marked else False
    sns.lineplot(
        pd.concat(parts, ignore_index=True), x="x", y="y", hue="curve", style="curve", estimator=None, sort=False,
        palette=colours, dashes=dashes, markers=markers, markersize=6, linewidth=1.6, ax=ax,
    )  # fmt: skip
    for place, (name, (x, _, *interval)) in enumerate(curves.items()):
        if interval:
            # a little beside each other, or the intervals at one place would hide each other
            shift = (place - (len(curves) - 1) / 2) * 0.8
            for end in interval:
                ax.plot(x, end, linestyle="none")  # makes room: a shifted artist does not count for the limits
            move = ScaledTranslation(shift / 36, 0, ax.figure.dpi_scale_trans)
            ax.vlines(x, *interval, color=colours[name], linewidth=1.4, alpha=0.75, transform=ax.transData + move)
    ax.set(xlabel=x_label, ylabel=y_label)
    ax.legend(title=None, fontsize=8)
    return ax


def plot_correlations(
    correlations: Mapping[str, ArrayLike], *, threshold: float, note: str = "", cumulative: bool = False
) -> Axes:
    """Draw how correlations of images are distributed, as a histogram or as the share that is at most so large.

    Parameters
    ----------
    correlations : mapping of str to array of float, shape (n,)
        In [-1, 1], by what they are of; at most seven. NaN is left out; a ValueError names those without values.
    threshold, note : float, str
        Drawn as a line, and what it means.
    """
    check_colours(correlations, "distribution")
    table = pd.DataFrame({name: pd.Series(np.asarray(values, float)) for name, values in correlations.items()})
    if empty := [name for name in table if not table[name].notna().any()]:
        raise ValueError(f"there are no correlations of {', '.join(empty)} to draw")
    ax = new_axes(3.5)
    palette = list(PALETTE[: len(correlations)])
    if cumulative:
        sns.ecdfplot(table, stat="percent", palette=palette, linewidth=1.8, ax=ax)
        for line, dash in zip(reversed(ax.lines), _DASHES, strict=False):
            line.set_dashes(dash)  # seaborn draws the last of them first
        ax.set_xlim(table.quantile(0.02).min(), 1)
    else:
        style = {"element": "step", "bins": 60, "alpha": 0.25, "palette": palette}
        sns.histplot(table, stat="percent", common_norm=False, ax=ax, **style)
    ax.axvline(threshold, color=INK, linestyle="--", linewidth=1.2)
    if note:
        place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text(threshold, 1.01, note, fontsize=8, color=FAINT_INK, **place)
    y_label = "Images with at most this correlation (%)" if cumulative else "Images (%)"
    ax.set(xlabel="Pixel correlation", ylabel=y_label)
    sns.move_legend(ax, "upper left", title=None, fontsize=8)
    return ax


def plot_component_curve(
    thresholds: ArrayLike, n_components: ArrayLike, *, chosen: float, plateau: tuple[float, float]
) -> Axes:
    """Draw how many groups of images remain as the similarity that joins two of them is raised.

    Parameters
    ----------
    thresholds, n_components : array, shape (n,)
        Correlations above which two images are taken to show one person, and connected groups at each.
    chosen : float
        The threshold that was used.
    plateau : (float, float)
        The range over which the number of groups does not change.
    """
    order = np.argsort(thresholds)
    thresholds, n_components = np.asarray(thresholds, float)[order], np.asarray(n_components)[order]
    ax = new_axes(3.4)
    # groups change only at the thresholds, and each count holds from its threshold up to the next one
    found = int(n_components[max(0, np.searchsorted(thresholds, chosen, side="right") - 1)])
    ax.axvspan(*plateau, color=PALETTE[5], alpha=0.3, lw=0, label=f"{found:,} groups throughout")
    ax.step(thresholds, n_components, where="post", color=PALETTE[0], linewidth=1.8)
    ax.axvline(chosen, color=PALETTE[1], linestyle="--", linewidth=1.5, label=f"threshold used, {chosen:.3f}")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set(xlabel="Correlation above which two images are joined", ylabel="Groups of images")
    ax.legend(loc="best")
    return ax


def plot_descent(hessian: ArrayLike, path: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw a path over the contours of the quadratic loss ``theta' H theta / 2``; the star is its minimum.

    The Hessian has shape (2, 2) and the path (n_steps + 1, 2); what leaves the frame is cut off.
    """
    path = np.asarray(path)
    ax = ax or new_axes(3.2)
    grid = np.linspace(-_FRAME, _FRAME, 201)
    theta = np.stack(np.meshgrid(grid, grid), axis=-1)
    loss = 0.5 * np.einsum("...i,ij,...j->...", theta, np.asarray(hessian), theta)
    ax.contour(grid, grid, loss, levels=np.geomspace(0.05, loss.max(), 9), colors="0.75", linewidths=0.6)
    ax.plot(*path.T, color=PALETTE[0], linewidth=1.1, marker="o", markersize=2.6, markeredgewidth=0)
    ax.plot(0, 0, marker="*", markersize=9, color=INK, linestyle="none", zorder=5)
    ax.set(xlim=(-_FRAME, _FRAME), ylim=(-_FRAME, _FRAME), aspect="equal", xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
    ax.grid(False)
    return ax
