"""Curves: named lines, distributions of correlations, the search for people, and paths of gradient descent.

Gradient descent, momentum and Adam are as in chapter 4, one line of NumPy per equation, to be read and to draw paths.
The models of this thesis are trained by ``torch.optim``, with which the tests compare these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from mri_aug.book.report import FAINT_INK, INK, MARKERS, PALETTE, check_colours, new_axes

_FRAME = 2.6  # half the side of the picture of a descent, in units of the parameters
_FEW = 15  # points of a line that are marked one by one
_DASHES = 2 * ((1, 0), (5, 1.5), (1, 1), (5, 1, 1, 1))
Gradient = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Rates = float | Sequence[float]  # one for all steps, or one for each


def plot_curves(
    curves: Mapping[str, Sequence[ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    references: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw named curves, at most seven, told apart by colour, dash and marker; ``references`` are dashed, in black.

    Each is ``(x, y)`` or ``(x, y, low, high)``, arrays of shape (n,): with low and high, intervals are drawn. ``x`` may
    hold words. Without ``ax``, as for every figure here, it is a new figure of the page's width.
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

    They are arrays in [-1, 1], of shape (n,), by what they are of; at most seven. NaN is left out; a ValueError names
    those without values. The threshold is drawn as a line, and ``note`` says what it means.
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

    ``thresholds`` are correlations above which two images are taken to show one person, ``n_components`` the numbers of
    connected groups at each, both of shape (n,). ``chosen`` is the threshold that was used, and ``plateau`` the range
    over which the number of groups does not change.
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


def descend(gradient: Gradient, start: ArrayLike, *, learning_rate: Rates, n_steps: int) -> NDArray:
    """Return the path of gradient descent, ``theta <- theta - eta * g`` (Robbins and Monro, 1951), (n_steps + 1, d).

    Its first row is ``start``, of shape (d,). ``gradient`` maps parameters to the gradient of the loss there, both of
    shape (d,); the learning rate eta is positive.
    """
    path = [np.asarray(start, dtype=np.float64)]
    for eta in np.broadcast_to(learning_rate, n_steps):
        path.append(path[-1] - eta * gradient(path[-1]))
    return np.stack(path)


def descend_with_momentum(
    gradient: Gradient, start: ArrayLike, *, learning_rate: Rates, n_steps: int, momentum: float = 0.9
) -> NDArray:
    """Return the path of the heavy-ball method, ``u <- beta * u + g; theta <- theta - eta * u`` (Polyak, 1964).

    As :func:`descend`; the momentum beta, in [0, 1), is the share of the velocity that is kept at each step.
    """
    path = [np.asarray(start, dtype=np.float64)]
    velocity = np.zeros_like(path[0])
    for eta in np.broadcast_to(learning_rate, n_steps):
        velocity = momentum * velocity + gradient(path[-1])
        path.append(path[-1] - eta * velocity)
    return np.stack(path)


def descend_with_adam(
    gradient: Gradient,
    start: ArrayLike,
    *,
    learning_rate: Rates,
    n_steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
) -> NDArray:
    """Return the path of Adam with its bias corrections (Kingma and Ba, 2015, algorithm 1, whose defaults these are).

    As :func:`descend`; the betas, each in [0, 1), are the decay of the running mean of the gradient and of its square.
    """
    beta1, beta2 = betas
    path = [np.asarray(start, dtype=np.float64)]
    mean, square = np.zeros_like(path[0]), np.zeros_like(path[0])
    for t, eta in enumerate(np.broadcast_to(learning_rate, n_steps), start=1):
        g = gradient(path[-1])
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g**2
        mean_hat = mean / (1 - beta1**t)
        square_hat = square / (1 - beta2**t)
        path.append(path[-1] - eta * mean_hat / (np.sqrt(square_hat) + 1e-8))
    return np.stack(path)


def one_cycle(n_steps: int, *, max_rate: float) -> NDArray:
    """Return the learning rates (n_steps,) of a one-cycle schedule with cosine slopes (Smith and Topin, 2019).

    They rise over 30 % of the steps from a 25th of the peak, and fall to a ten-thousandth of the first, as by default
    in ``torch.optim.lr_scheduler.OneCycleLR``. A training has at least two steps.
    """
    return _cycle(n_steps, max_rate / 25, max_rate, max_rate / 25 / 1e4)


def one_cycle_momentum(n_steps: int) -> NDArray:
    """Return the momentum that belongs to :func:`one_cycle`, and is lowest where the learning rate is highest.

    ``OneCycleLR`` moves Adam's first decay this way, by default between 0.95 and 0.85.
    """
    return _cycle(n_steps, 0.95, 0.85, 0.95)


def _cycle(n_steps: int, first: float, peak: float, last: float) -> NDArray:
    at, steps = 0.3 * n_steps - 1, np.arange(n_steps)
    rising = _cosine(first, peak, steps / at)
    falling = _cosine(peak, last, (steps - at) / (n_steps - 1 - at))
    return np.where(steps <= at, rising, falling)


def _cosine(start: float, end: float, progress: NDArray) -> NDArray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * progress))
