"""Intervals over people: resample them with all their images; slices are never resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_aug.data.imageset import ImageSet

MIN_PEOPLE = 3  # for an interval


@dataclass(frozen=True, eq=False)
class People:
    """The people in n images, numbered from 0, and how often each resample draws them.

    Parameters
    ----------
    person, labels : ndarray of int64, shape (n,)
        The person in each image, and its class.
    draws : ndarray of int64, shape (n_resamples, n_people)
        Counts, which sum to the number of people.
    """

    person: np.ndarray
    labels: np.ndarray
    draws: np.ndarray

    @property
    def n_people(self) -> int:
        """Number of people."""
        return self.draws.shape[1]

    def count(self, rows: np.ndarray) -> int:
        """Return the number of people in the chosen images; rows is bool (n,)."""
        return len(np.unique(self.person[rows]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of values (n,) over each person's images, shape (n_people,)."""
        return np.bincount(self.person, weights=values, minlength=self.n_people)


@dataclass(frozen=True)
class Estimate:
    """A number with its percentile interval and the number of people behind it; NaN where it is not defined."""

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n_people: int = 0


def person_ids(image_set: ImageSet) -> np.ndarray:
    """Return a number for the person in each image, int64 (n,), the same in every set of one dataset.

    It is the subject or, where that is unknown, a negative number for the real image that the image derives from.
    """
    subjects, sources = image_set.subjects.numpy(), image_set.source_ids.numpy()
    return np.where(subjects >= 0, subjects, -2 - sources)


def resample_people(image_set: ImageSet, *, n_resamples: int, seed: int, within_class: bool = False) -> People:
    """Draw people with replacement, as many as there are.

    Parameters
    ----------
    image_set : ImageSet
        Where a person is unknown, each real image counts as one.
    n_resamples : int
    seed : int
    within_class : bool
        Keep each class's number of people, for what is measured within classes. Elsewhere a class of one or two
        people would then seem to be known exactly.
    """
    labels = image_set.labels.numpy()
    _, first, person = np.unique(person_ids(image_set), return_index=True, return_inverse=True)
    rng, draws = np.random.default_rng(seed), np.zeros((n_resamples, len(first)), dtype=np.int64)
    strata = labels[first] if within_class else np.zeros(len(first))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_resamples)
    return People(person, labels, draws)


def interval(value: float, resampled: np.ndarray, *, confidence_level: float, n_people: int) -> Estimate:
    """Return a value with the percentile interval of its resamples, leaving out undefined ones."""
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled):
        return Estimate(float(value), n_people=n_people)
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high), n_people)


def mean_estimate(values: np.ndarray, people: People, *, rows: np.ndarray, confidence_level: float) -> Estimate:
    """Return the mean over the chosen images, with its interval over people where there are enough.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        NaN is left out.
    people : People
    rows : ndarray of bool, shape (n,)
    confidence_level : float in (0, 1)
    """
    rows = rows & np.isfinite(values)
    n_people = people.count(rows)
    if n_people < MIN_PEOPLE:
        return Estimate(float(values[rows].mean()) if n_people else float("nan"), n_people=n_people)
    totals, sizes = people.sums(np.where(rows, values, 0)), people.sums(rows.astype(float))
    drawn = people.draws @ sizes
    resampled = np.divide(people.draws @ totals, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
    return interval(values[rows].mean(), resampled, confidence_level=confidence_level, n_people=n_people)
