"""Gradient descent, momentum and Adam as chapter 4 writes them, one line of NumPy per equation.

They exist to be read and to draw paths on a loss surface small enough to plot. They do not train
the models of this thesis: that is ``torch.optim``, against which the tests hold them.
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

    Raises
    ------
    ValueError
        If a rate is not positive, or there is not one for each step.
    """
    path = [np.asarray(start, dtype=np.float64)]
    for eta in _rates(learning_rate, n_steps):
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
        The share beta of the velocity that survives a step, in [0, 1).

    Returns
    -------
    ndarray of float64, shape (n_steps + 1, d)

    Raises
    ------
    ValueError
        As :func:`descend`, or if ``momentum`` lies outside [0, 1).
    """
    _check_decay("momentum", momentum)
    path = [np.asarray(start, dtype=np.float64)]
    velocity = np.zeros_like(path[0])
    for eta in _rates(learning_rate, n_steps):
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
        Added to the square root of the second moment, so that nothing is divided by zero.

    Returns
    -------
    ndarray of float64, shape (n_steps + 1, d)

    Raises
    ------
    ValueError
        As :func:`descend`, or if a decay lies outside [0, 1).
    """
    beta1, beta2 = betas
    _check_decay("betas[0]", beta1)
    _check_decay("betas[1]", beta2)
    path = [np.asarray(start, dtype=np.float64)]
    mean, square = np.zeros_like(path[0]), np.zeros_like(path[0])
    for t, eta in enumerate(_rates(learning_rate, n_steps), start=1):
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

    Raises
    ------
    ValueError
        If ``n_steps`` leaves no step before or after the peak, or ``max_rate`` is not positive.
    """
    if not max_rate > 0:
        raise ValueError(f"max_rate must be positive, got {max_rate}")
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

    Raises
    ------
    ValueError
        If ``n_steps`` leaves no step before or after the peak.
    """
    return _cycle(n_steps, rising_share, highest, lowest, highest)


def _cycle(n_steps: int, rising_share: float, first: float, peak: float, last: float) -> NDArray:
    at = rising_share * n_steps - 1
    if not 0 < at < n_steps - 1:
        raise ValueError(f"the peak must lie inside the cycle: {n_steps} steps, {rising_share:.0%} of them rising")
    steps = np.arange(n_steps)
    rising = _cosine(first, peak, steps / at)
    falling = _cosine(peak, last, (steps - at) / (n_steps - 1 - at))
    return np.where(steps <= at, rising, falling)


def _cosine(start: float, end: float, progress: NDArray) -> NDArray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * progress))


def _rates(learning_rate: float | Sequence[float], n_steps: int) -> NDArray:
    rates = np.asarray(learning_rate, dtype=np.float64)
    if rates.shape not in ((), (n_steps,)):
        raise ValueError(f"give one learning rate, or one for each of the {n_steps} steps; got shape {rates.shape}")
    if n_steps < 1 or not np.all(rates > 0):
        raise ValueError(f"n_steps must be at least 1 and every learning rate positive, got {n_steps} and {rates}")
    return np.broadcast_to(rates, (n_steps,))


def _check_decay(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
