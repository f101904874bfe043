"""One temperature for a network's probabilities: how sure of itself it may be (Guo et al. 2017, section 4.2).

Fitted on validation images only; ranks and predictions stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

TEMPERATURES = (0.05, 50.0)  # searched; one at either end says that the network learnt nothing, or everything


def fit_temperature(probabilities: NDArray, labels: NDArray) -> float:
    """Return the temperature at which the mean cross-entropy of these images is least.

    Parameters
    ----------
    probabilities : array of float, shape (n, n_classes)
    labels : array of int, shape (n,)

    Returns
    -------
    float
        Within ``TEMPERATURES``; 1 leaves probabilities as they are, more makes them less sure.

    Raises
    ------
    ValueError
        If there are no images to fit on.
    """
    if not len(labels):
        raise ValueError("a temperature is fitted on validation images, got none")
    logits, rows = _logarithms(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(_log_softmax(logits / np.exp(log_temperature))[rows, labels].mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def calibrate(probabilities: NDArray, temperature: float) -> NDArray:
    """Return the probabilities at a temperature: the softmax of their logarithms divided by it, rows summing to one."""
    return np.exp(_log_softmax(_logarithms(probabilities) / temperature))


def _logarithms(probabilities: NDArray) -> NDArray:
    return np.log(np.clip(probabilities, np.finfo(float).tiny, None))


def _log_softmax(logits: NDArray) -> NDArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
