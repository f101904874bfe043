"""Stratified samples, and the mix of real and synthetic images that chapter 6 trains on.

Works on arrays of labels and subjects and returns indices; train and test are divided in :mod:`mri_aug.data.splits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TOLERANCE = 1e-9  # absorbs floating-point error before rounding: 0.1 + 0.2 is 0.30000000000000004


@dataclass(frozen=True, eq=False)
class Mix:
    """The images of a training set that are used, and the real images that synthetic ones derive from."""

    real: np.ndarray  # int64, sorted: the stratified sample of real images
    sources: np.ndarray  # int64, sorted: the real image behind each synthetic one

    def __len__(self) -> int:
        return len(self.real) + len(self.sources)


def stratified_sample(
    labels: ArrayLike, fraction: float, *, seed: int | np.random.Generator, subjects: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Draw a share of the images, or of the people with all their images, without replacement.

    Each class contributes its own share, rounded to the nearest image (person), and one at least. With the same seed a
    smaller sample is a subset of a larger one, so that a sweep over fractions only ever adds images.

    Parameters
    ----------
    labels, subjects : array of int, shape (n,)
        People are drawn instead of images where ``subjects``, the person in each image, is given.
    fraction : float in (0, 1]
    seed : int or Generator

    Returns
    -------
    ndarray of int64, sorted
        Positions in ``labels``.

    Raises
    ------
    ValueError
        If the labels are empty or not a 1-D array of integers, the fraction is outside (0, 1], a person is unknown or
        the seed is missing.
    """
    labels = _checked_labels(labels)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction!r}")
    rng = repeatable_rng(seed)
    if subjects is None:
        return _first_of_each_class(labels, fraction, rng)
    subjects = np.asarray(subjects)
    if (subjects < 0).any():
        raise ValueError(f"people are unknown for {int((subjects < 0).sum())} images; draw images instead of subjects")
    people, first = np.unique(subjects, return_index=True)
    chosen = people[_first_of_each_class(labels[first], fraction, rng)]
    return np.flatnonzero(np.isin(subjects, chosen))


def mix(
    labels: ArrayLike, *, real_frac: float, synth_frac: float, seed: int | np.random.Generator,
    synth_classes: Sequence[int] = (), subjects: ArrayLike | None = None,
) -> Mix:  # fmt: skip
    """Draw X real images, and the sources of Y synthetic ones from among them.

    Each class is filled up to X + Y of its full size, so that 0.3 real + 0.7 synthetic has exactly the class counts of
    the full set. Only images in the real sample are sources; within a class each is used equally often, or once more
    than another.

    Parameters
    ----------
    labels, seed, subjects
        As for :func:`stratified_sample`; the labels are those of the full training set.
    real_frac, synth_frac : float in (0, 1], float of at least 0
        Real images (people, where ``subjects`` is given) and synthetic ones as shares of the full set.
    synth_classes : sequence of int, optional
        Only these classes receive synthetic images, each ``synth_frac`` times its own full size.

    Raises
    ------
    ValueError
        As :func:`stratified_sample`; also if ``synth_frac`` is negative or not finite, or a synthetic class is empty.
    """
    labels = _checked_labels(labels)
    if not 0 < real_frac <= 1:
        raise ValueError(f"real_frac must be in (0, 1], got {real_frac!r}")
    if not 0 <= synth_frac < math.inf:
        raise ValueError(f"synth_frac must be at least 0 and finite, got {synth_frac!r}")
    classes = np.unique(labels)
    if absent := sorted(set(synth_classes) - set(classes.tolist())):
        raise ValueError(f"synth_classes {absent} have no image; the labels hold {classes.tolist()}")
    rng = repeatable_rng(seed)
    real = stratified_sample(labels, real_frac, seed=rng, subjects=subjects)
    candidates = rng.permutation(real)
    sources = []
    for label in classes:
        size, pool = int((labels == label).sum()), candidates[labels[candidates] == label]
        if synth_classes:
            count = _round(synth_frac * size) if label in synth_classes else 0
        else:
            count = _round((real_frac + synth_frac) * size) - len(pool) if synth_frac else 0
        sources.append(np.resize(pool, max(count, 0)))
    return Mix(real, np.sort(np.concatenate(sources)))


def apportion(n: int, weights: Sequence[int], *, at_least: int = 0) -> NDArray[np.int64]:
    """Divide ``n`` among classes by weight: ``at_least`` to each, each further one to the furthest below its share.

    Raises a ValueError if ``n`` is less than ``at_least`` times the number of classes.
    """
    if n < (least := at_least * len(weights)):
        raise ValueError(f"expected at least {least} ({at_least} in each of {len(weights)} classes), got {n}")
    quotas = np.asarray(weights) * n / sum(weights)
    counts = np.full(len(quotas), at_least)
    for _ in range(n - least):
        counts[np.argmax(quotas - counts)] += 1
    return counts


def check_seed(seed: int, *, name: str = "seed", alternative: str = "") -> None:
    """Raise a ValueError unless a seed, or another number that is drawn from, is a non-negative integer."""
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"{name} must be a non-negative integer{alternative}, got {seed!r}")


def repeatable_rng(seed: int | np.random.Generator) -> np.random.Generator:
    """Return the generator of random numbers for a seed, a generator as it is; refuse what cannot be repeated."""
    if isinstance(seed, np.random.Generator):
        return seed
    check_seed(seed, alternative=", or a numpy Generator")
    return np.random.default_rng(seed)


def _first_of_each_class(labels: NDArray, fraction: float, rng: np.random.Generator) -> NDArray:
    order = rng.permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels)]
    return np.sort(np.concatenate([of_class[: max(1, _round(fraction * len(of_class)))] for of_class in members]))


def _checked_labels(labels: ArrayLike) -> NDArray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be a non-empty 1-D integer array, got {labels.dtype} of shape {labels.shape}")
    return labels


def _round(value: float) -> int:
    return math.floor(value + 0.5 + _TOLERANCE)
