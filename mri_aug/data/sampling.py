"""Stratified samples, and the mix of real and synthetic images that chapter 6 trains on.

Works on label arrays alone and returns indices: it never sees an image, makes no variation and does not divide train
from test (:mod:`mri_aug.protocols` does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

_DUST = 1e-9  # 0.1 + 0.2 is 0.30000000000000004: sums of fractions are rounded as if they were exact


@dataclass(frozen=True, eq=False)
class Mix:
    """Which images of a training set are used, and which of them are varied.

    Drop ``real`` to train on synthetic images only: the variations still derive from the images it lists.
    """

    real: np.ndarray  # int64, sorted: the stratified sample of real images
    sources: np.ndarray  # int64, sorted: the real image that each synthetic one is made from
    repeats: np.ndarray  # int64, same shape: 0 for the first variation of that source, 1 for the second, ...

    def __len__(self) -> int:
        return len(self.real) + len(self.sources)


def stratified_sample(labels, fraction: float, *, seed: int | np.random.Generator) -> np.ndarray:
    """Draw a share of the images without replacement, class shares kept.

    The total is ``fraction * n`` rounded to the nearest image, plus one for each class that would otherwise be
    absent. Every class has its share of that total within one image, and at least one. With the same seed, a smaller
    sample is a subset of a larger one, so that a sweep over fractions only ever adds images.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Class of each image.
    fraction : float in (0, 1]
    seed : int or Generator

    Returns
    -------
    ndarray of int64, sorted
        Positions in ``labels``.

    Raises
    ------
    ValueError
        If the labels are empty or not a 1-D array of integers, the fraction is outside (0, 1] or the seed is missing.

    Notes
    -----
    Images are handed out one by one, as seats are in apportionment: a quota method in the sense of Balinski and Young
    (1975, Amer. Math. Monthly 82:701) with Webster's divisors. Largest remainders would also stay within one image,
    but can take an image from a class as the sample grows (the Alabama paradox), and samples would not nest. A search
    over class sizes found deviations below 1 for up to five classes, and up to 1.3 for more if one dwarfs the others.
    """
    labels, classes, sizes = _classes(labels)
    _check_fraction("fraction", fraction, zero=False)
    order = repeatable_rng(seed).permutation(len(labels))
    return _first(order, labels, classes, _counts(sizes, fraction))


def mix(
    labels,
    *,
    real_frac: float,
    synth_frac: float,
    seed: int | np.random.Generator,
    synth_classes: Sequence[int] = (),
) -> Mix:
    """Draw X real images, and the sources of Y synthetic ones from among them.

    Without ``synth_classes`` the whole mix keeps the class shares of ``labels`` within one image per class, so that
    0.3 real + 0.7 synthetic has exactly the size and the class counts of the full set. Only images in the real sample
    are sources; within a class each is used equally often, or once more than another. The real sample is that of
    :func:`stratified_sample` with the same seed.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Class of each image of the full training set.
    real_frac : float in (0, 1]
        Real images, as a share of the full set.
    synth_frac : float, at least 0
        Synthetic images, as a share of the full set; 0 for none. May exceed 1.
    seed : int or Generator
    synth_classes : sequence of int, optional
        Vary these classes only, each by ``synth_frac`` times its own full size, rounded to the nearest image.

    Returns
    -------
    Mix

    Raises
    ------
    ValueError
        As :func:`stratified_sample`; also if ``synth_frac`` is negative or not finite, or a synthetic class has no
        image.
    """
    labels, classes, sizes = _classes(labels)
    _check_fraction("real_frac", real_frac, zero=False)
    _check_fraction("synth_frac", synth_frac, zero=True)
    if absent := sorted(set(synth_classes) - set(classes.tolist())):
        raise ValueError(f"synth_classes {absent} have no image; the labels hold {classes.tolist()}")
    rng = repeatable_rng(seed)
    order, source_order = rng.permutation(len(labels)), rng.permutation(len(labels))
    real_counts = _counts(sizes, real_frac)
    if synth_classes:
        synth_counts = np.where(np.isin(classes, list(synth_classes)), [_round(synth_frac * s) for s in sizes], 0)
    else:
        synth_counts = _counts(sizes, real_frac + synth_frac) - real_counts
    real = _first(order, labels, classes, real_counts)
    candidates = source_order[np.isin(source_order, real)]
    sources, repeats = [], []
    for label, count in zip(classes, synth_counts, strict=True):
        pool = candidates[labels[candidates] == label]
        sources.append(np.resize(pool, count))
        repeats.append(np.arange(count) // len(pool))
    sources, repeats = np.concatenate(sources), np.concatenate(repeats)
    by_source = np.lexsort((repeats, sources))
    return Mix(real, sources[by_source], repeats[by_source])


def check_seed(seed: int, *, name: str = "seed", alternative: str = "") -> None:
    """Raise a ValueError unless a seed, or another number that is drawn from, is whole and not negative."""
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"{name} must be a whole number from 0 on{alternative}, got {seed!r}")


def repeatable_rng(seed: int | np.random.Generator) -> np.random.Generator:
    """Return the random numbers that a seed stands for.

    Raises
    ------
    ValueError
        If the seed is None, negative or not whole: what is drawn could not be drawn again.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    check_seed(seed, alternative=", or a numpy Generator")
    return np.random.default_rng(seed)


def _classes(labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be a non-empty 1-D integer array, got {labels.dtype} of shape {labels.shape}")
    classes, sizes = np.unique(labels, return_counts=True)
    return labels, classes, sizes


def _check_fraction(name: str, value: float, *, zero: bool) -> None:
    valid = 0 <= value < math.inf if zero else 0 < value <= 1  # NaN fails both
    if not valid:
        raise ValueError(f"{name} must be {'at least 0 and finite' if zero else 'in (0, 1]'}, got {value!r}")


def _round(value: float) -> int:
    return math.floor(value + 0.5 + _DUST)


def _counts(sizes: np.ndarray, fraction: float) -> np.ndarray:
    """Return the images per class of a sample of ``fraction`` (which may exceed 1), never 0."""
    whole, rest = divmod(_round(fraction * int(sizes.sum())), int(sizes.sum()))
    return np.maximum(whole * sizes + np.array(_quota(sizes.tolist(), rest), dtype=np.int64), 1)


def _quota(sizes: list[int], n_seats: int) -> list[int]:
    """Share out seats one by one, so that no count ever falls: each to the class furthest below its quota.

    That is Webster's rule among the classes that stay within their quota rounded up; a class about to fall short of
    its quota rounded down goes first.
    """
    total, counts = sum(sizes), [0] * len(sizes)
    for seat in range(1, n_seats + 1):
        chosen, best = -1, (False, -1.0)
        for i, size in enumerate(sizes):
            missing = size * seat - counts[i] * total  # in seats, times the total
            if missing > 0 and (rank := (missing >= total, size / (2 * counts[i] + 1))) > best:
                chosen, best = i, rank
        counts[chosen] += 1
    return counts


def _first(order: np.ndarray, labels: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the first ``counts`` images of each class in ``order``, sorted."""
    drawn = [order[labels[order] == label][:count] for label, count in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(drawn))
