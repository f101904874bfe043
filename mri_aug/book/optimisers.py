"""Gradient descent, momentum and Adam as in chapter 4, one line of NumPy per equation.

They are there to be read and to draw paths on a loss of two parameters. The models of this thesis are trained by
``torch.optim``, with which the tests compare these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Gradient = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def descend(gradient: Gradient, start: ArrayLike, *, learning_rate: float | Sequence[float], n_steps: int) -> NDArray:
    """Follow plain gradient descent, ``theta <- theta - eta * g`` (Robbins and Monro, 1951).

    Parameters
    ----------
    gradient : callable
        Maps parameters of shape (d,) to the gradient of the loss there, shape (d,).
    start : array-like of float, shape (d,)
    learning_rate : float or sequence of float, shape (n_steps,)
        The step size eta, positive; one value, or one per step (a schedule).
    n_steps : int
        At least 1.

    Returns
    -------
    ndarray of float64, shape (n_steps + 1, d)
        The path, its first row ``start``.
    """
    path = [np.asarray(start, dtype=np.float64)]
    for eta in np.broadcast_to(learning_rate, n_steps):
        path.append(path[-1] - eta * gradient(path[-1]))
    return np.stack(path)


def descend_with_momentum(
    gradient: Gradient,
    start: ArrayLike,
    *,
    learning_rate: float | Sequence[float],
    n_steps: int,
    momentum: float = 0.9,
) -> NDArray:
    """Follow the heavy-ball method, ``u <- beta * u + g; theta <- theta - eta * u`` (Polyak, 1964).

    Parameters
    ----------
    gradient, start, learning_rate, n_steps
        As for :func:`descend`.
    momentum : float
        The share beta of the velocity that is kept at each step, in [0, 1).

    Returns
    -------
    ndarray of float64, shape (n_steps + 1, d)
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
    learning_rate: float | Sequence[float],
    n_steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> NDArray:
    """Follow Adam with its bias corrections (Kingma and Ba, 2015, algorithm 1, whose defaults these are).

    Parameters
    ----------
    gradient, start, learning_rate, n_steps
        As for :func:`descend`.
    betas : (float, float)
        Decay of the running mean of the gradient and of its square, each in [0, 1).
    epsilon : float
        Added to the square root of the second moment, to avoid division by zero.

    Returns
    -------
    ndarray of float64, shape (n_steps + 1, d)
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
        path.append(path[-1] - eta * mean_hat / (np.sqrt(square_hat) + epsilon))
    return np.stack(path)


def one_cycle(
    n_steps: int,
    *,
    max_rate: float,
    rising_share: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> NDArray:
    """Return the learning rates of a one-cycle schedule with cosine slopes (Smith and Topin, 2019).

    The defaults are those of ``torch.optim.lr_scheduler.OneCycleLR``.

    Parameters
    ----------
    n_steps : int
        Steps of the whole training, at least 2.
    max_rate : float
        The peak, positive.
    rising_share : float
        Share of the steps before the peak, in (0, 1).
    start_divisor, end_divisor : float
        The first rate is ``max_rate / start_divisor``; the last is that divided by ``end_divisor``.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
    """
    first = max_rate / start_divisor
    return _cycle(n_steps, rising_share, first, max_rate, first / end_divisor)


def one_cycle_momentum(
    n_steps: int, *, rising_share: float = 0.3, highest: float = 0.95, lowest: float = 0.85
) -> NDArray:
    """Return the momentum that belongs to :func:`one_cycle`: lowest where the learning rate is highest.

    ``torch.optim.lr_scheduler.OneCycleLR``, whose defaults these are, moves Adam's first decay this way.

    Parameters
    ----------
    n_steps : int
        Steps of the whole training, at least 2.
    rising_share : float
        Share of the steps before the learning rate's peak, in (0, 1).
    highest, lowest : float
        Momentum at both ends, and at the peak.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
    """
    return _cycle(n_steps, rising_share, highest, lowest, highest)


def _cycle(n_steps: int, rising_share: float, first: float, peak: float, last: float) -> NDArray:
    at = rising_share * n_steps - 1
    steps = np.arange(n_steps)
    rising = _cosine(first, peak, steps / at)
    falling = _cosine(peak, last, (steps - at) / (n_steps - 1 - at))
    return np.where(steps <= at, rising, falling)


def _cosine(start: float, end: float, progress: NDArray) -> NDArray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * progress))
