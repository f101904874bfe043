"""Intervals over people: resample them within their class, with all their images; slices are never resampled.

It knows no measure: it returns how often each person is drawn, and means under such draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_aug.data.imageset import ImageSet


@dataclass(frozen=True, eq=False)
class People:
    """The people of n images, numbered from 0, and how often each resample draws them.

    Parameters
    ----------
    person : ndarray of int64, shape (n,)
    draws : ndarray of int64, shape (n_resamples, n_people)
        Rows of counts; people of one class share as many draws as they are.
    """

    person: np.ndarray
    draws: np.ndarray

    @property
    def n_people(self) -> int:
        return self.draws.shape[1]

    def count(self, rows: np.ndarray) -> int:
        """Return how many people the chosen images show; rows is bool (n,)."""
        return len(np.unique(self.person[rows]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of values (n,) over each person's images, shape (n_people,)."""
        return np.bincount(self.person, weights=values, minlength=self.n_people)


@dataclass(frozen=True)
class Estimate:
    """A number with its percentile interval; NaN where it is not defined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def resample_people(image_set: ImageSet, *, n_resamples: int, seed: int) -> People:
    """Draw the people of each class with replacement, as many as there are.

    Parameters
    ----------
    image_set : ImageSet
        Where a person is unknown, the real image stands for one.
    n_resamples : int
    seed : int
    """
    whose = owners(image_set)
    number = {owner: place for place, owner in enumerate(sorted(set(whose)))}
    person = np.array([number[owner] for owner in whose], dtype=np.int64)
    label_of = np.empty(len(number), dtype=np.int64)
    label_of[person] = image_set.labels.numpy()
    rng, draws = np.random.default_rng(seed), np.zeros((n_resamples, len(number)), dtype=np.int64)
    for label in np.unique(label_of):
        members = np.flatnonzero(label_of == label)
        draws[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_resamples)
    return People(person, draws)


def interval(value: float, resampled: np.ndarray, *, confidence_level: float) -> Estimate:
    """Return a value with the percentile interval of its resamples; undefined resamples are left out."""
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled):
        return Estimate(float(value))
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high))


def mean_estimate(values: np.ndarray, people: People, *, rows: np.ndarray, confidence_level: float) -> Estimate:
    """Return the mean over the chosen images, with its interval over people where there are two or more.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        NaN is left out.
    people : People
    rows : ndarray of bool, shape (n,)
    confidence_level : float in (0, 1)
    """
    rows = rows & np.isfinite(values)
    if not rows.any():
        return Estimate(float("nan"))
    if people.count(rows) < 2:
        return Estimate(float(values[rows].mean()))
    totals, sizes = people.sums(np.where(rows, values, 0)), people.sums(rows.astype(float))
    drawn = people.draws @ sizes
    resampled = np.divide(people.draws @ totals, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
    return interval(values[rows].mean(), resampled, confidence_level=confidence_level)


def owners(image_set: ImageSet) -> list[tuple[str, int]]:
    """Return to whom each image belongs: its person or, where that is unknown, its real image."""
    pairs = zip(image_set.subjects.tolist(), image_set.source_ids.tolist(), strict=True)
    return [("subject", subject) if subject >= 0 else ("image", source) for subject, source in pairs]
