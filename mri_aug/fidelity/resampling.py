"""Intervals over people: resample them with all their images; slices are never resampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mri_aug.data.imageset import ImageSet

MIN_PEOPLE = 3  # for an interval
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class People:
    """The people in n images, numbered from 0, and how often each resample draws them, int64."""

    person: np.ndarray  # (n,): the person in each image
    labels: np.ndarray  # (n,): the class of each image
    draws: np.ndarray  # (n_resamples, n_people): counts, which sum to the number of people


class Estimate(NamedTuple):
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
    """Draw people with replacement, as many as there are; where a person is unknown, each real image counts as one.

    ``within_class`` keeps each class's number of people, for what is measured within classes. Elsewhere a class of one
    or two people would then seem to be known exactly.
    """
    labels = image_set.labels.numpy()
    _, first, person = np.unique(person_ids(image_set), return_index=True, return_inverse=True)
    rng, draws = np.random.default_rng(seed), np.zeros((n_resamples, len(first)), dtype=np.int64)
    strata = labels[first] if within_class else np.zeros(len(first))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_resamples)
    return People(person, labels, draws)


def interval(value: float, resampled: np.ndarray, *, n_people: int) -> Estimate:
    """Return a value with the percentile interval of its resamples, leaving out undefined ones.

    There is no interval for fewer than ``MIN_PEOPLE``.
    """
    resampled = resampled[np.isfinite(resampled)]
    if n_people < MIN_PEOPLE or not np.isfinite(value) or not len(resampled):
        return Estimate(float(value), n_people=n_people)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high), n_people)


def mean_estimate(values: np.ndarray, people: People, *, rows: np.ndarray) -> Estimate:
    """Return the mean of values (n,) over the images in ``rows``, bool (n,), with its interval; NaN is left out."""
    rows = rows & np.isfinite(values)
    if not rows.any():
        return Estimate()
    n_people = people.draws.shape[1]
    totals, sizes = (
        np.bincount(people.person[rows], weights, n_people) for weights in (values[rows], np.ones(rows.sum()))
    )
    drawn = people.draws @ sizes
    resampled = np.divide(people.draws @ totals, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
    return interval(values[rows].mean(), resampled, n_people=len(np.unique(people.person[rows])))
