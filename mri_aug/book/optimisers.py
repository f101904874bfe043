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
    gradient: Gradient, start: ArrayLike, *, learning_rate: float | Sequence[float], n_steps: int, momentum: float = 0.9
) -> NDArray:
    """Follow the heavy-ball method, ``u <- beta * u + g; theta <- theta - eta * u`` (Polyak, 1964).

    As :func:`descend`; the momentum beta is the share of the velocity that is kept at each step, in [0, 1).
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
) -> NDArray:
    """Follow Adam with its bias corrections (Kingma and Ba, 2015, algorithm 1, whose defaults these are).

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
