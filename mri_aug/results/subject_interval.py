"""Intervals over people: would the finding hold for other subjects, not only for other simulations?

Works on the per-subject scores that each row of a study keeps. It never resamples slices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results import inference
from mri_aug.results.table import check_known, check_table, decode_columns

_BLOCK = 2**18  # resampled means at a time, 2 MB: they stay in the processor's cache

# per subject: the column that is averaged, and the column that weighs it (None: every subject alike)
_METRICS = {
    "accuracy": ("accuracy", "n_images"),
    "cross_entropy": ("cross_entropy", "n_images"),
    "subject_accuracy": ("right", None),
    "subject_cross_entropy": ("subject_cross_entropy", None),
}


def subject_interval(
    rows: pd.DataFrame,
    metric: str,
    *,
    by: str = "condition",
    baseline: str | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """Return medians with intervals that also cover which people were in the test set.

    A bootstrap on two levels: subjects are resampled within their class, together with all their slices, then
    simulations. Slices are never resampled, since those of one person are nearly copies. It does not cover which
    people the networks were trained on, beyond what the simulations vary.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, ``by_subject`` among its columns (:func:`mri_aug.metrics.encode_by_subject`).
    metric : {"accuracy", "cross_entropy", "subject_accuracy", "subject_cross_entropy"}
        Of the test images, or of the subjects' mean probabilities.
    by, confidence_level, n_resamples, seed
        As for :func:`mri_aug.results.summarise`. Time grows with n_resamples x simulations: about 0.4 s for 2,000
        of 7,000. Memory does not: resamples are taken in blocks.
    baseline : str, optional
        Report paired differences from this condition instead of values.

    Returns
    -------
    DataFrame
        ``condition``, ``baseline`` (empty without one), ``metric``, ``n`` (simulations), ``n_subjects``, ``value``
        (median over simulations of the value or the paired difference), ``low``, ``high``.

    Raises
    ------
    ValueError
        As :func:`mri_aug.results.summarise`; if the metric is another one, or subjects are
        unknown or their labels disagree.
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {', '.join(_METRICS)}, got {metric!r}")
    check_table(rows, ("simulation", by, "by_subject"), by)
    groups = {condition: group.set_index("simulation") for condition, group in rows.groupby(by, sort=False)}
    reference = None
    if baseline is not None:
        check_known(baseline, groups, "baseline", by)
        reference = groups.pop(baseline)
    records = []
    for condition, group in groups.items():
        arms = [group] if reference is None else [group, reference]
        value, low, high, n, n_subjects = _two_levels(arms, metric, confidence_level, n_resamples, seed)
        names = {"condition": condition, "baseline": baseline or "", "metric": metric}
        records.append(names | {"n": n, "n_subjects": n_subjects, "value": value, "low": low, "high": high})
    return pd.DataFrame(records)


def _two_levels(
    arms: list[pd.DataFrame], metric: str, confidence_level: float, n_resamples: int, seed: int
) -> tuple[float, float, float, int, int]:
    """Return value, low, high, simulations and subjects of one arm, or of the first arm minus the second."""
    simulations = sorted(set.intersection(*(set(arm.index) for arm in arms)))
    if not simulations:
        raise ValueError("the two conditions share no simulation: run them with the same simulation numbers")
    scores = _Scores.of([text for arm in arms for text in arm.loc[simulations, "by_subject"]], metric)
    n_people, parts = len(scores.strata), scores.split(len(arms))
    rng = np.random.default_rng(seed)
    drawn = inference.subject_weights(scores.strata, n_resamples=n_resamples, rng=rng)
    value = float(np.median(_values(np.ones((1, n_people)), parts)))
    low = high = float("nan")
    if len(simulations) >= inference.MIN_VALUES:
        n_blocks = -(-n_resamples * len(simulations) // _BLOCK)
        medians = [
            inference.resampled_medians(_values(block, parts), rng=rng)
            for block in np.array_split(drawn, min(n_blocks, n_resamples))
        ]
        low, high, _ = inference.percentile_interval(np.concatenate(medians), confidence_level=confidence_level)
    return value, low, high, len(simulations), n_people


@dataclass(frozen=True)
class _Scores:
    """Weighted scores of a row's subjects; zero, with no weight, where a subject was not tested."""

    sums: NDArray  # float (n_rows, n_subjects): score times weight
    weights: NDArray  # float (n_rows, n_subjects)
    strata: NDArray  # int (n_subjects,): the class of each subject

    @classmethod
    def of(cls, texts: Sequence[str], metric: str) -> _Scores:
        """Read the rows' ``by_subject``, all at once: as many subjects' numbers as a study has are slow one by one."""
        column, weight = _METRICS[metric]
        needed = ("predicted" if column == "right" else column, *(() if weight is None else (weight,)))
        row, subject, label, score, *given = _stacked(texts, ("subject", "label", *needed))
        if not len(subject):
            raise ValueError("by_subject is empty: the subjects of this dataset are unknown, recover them first")
        people, first, place = np.unique(subject, return_index=True, return_inverse=True)
        strata = label[first].astype(int)
        if (strata[place] != label).any():
            raise ValueError(
                "a subject has different labels in different rows: these are not simulations of one dataset"
            )
        sums, weights = np.zeros((2, len(texts), len(people)))
        weights[row, place] = given[0] if given else 1
        sums[row, place] = (score == label if column == "right" else score) * weights[row, place]
        return cls(sums, weights, strata)

    def split(self, n: int) -> list[tuple[NDArray, NDArray]]:
        """Return sums and weights of each of ``n`` equal parts of the rows, transposed: (n_subjects, n_rows / n)."""
        return list(zip(np.split(self.sums.T, n, axis=1), np.split(self.weights.T, n, axis=1), strict=True))


def _stacked(texts: Sequence[str], names: Sequence[str]) -> list[NDArray]:
    """Return the row that each subject's numbers are from, and those columns of all rows end to end."""
    lengths, columns = [], [[] for _ in names]
    for text in texts:
        try:
            table = json.loads(text)  # all but a few microseconds of a row's cost: arrays are made once, of all rows
            given = [table[name] for name in names]
        except (TypeError, KeyError, json.JSONDecodeError):
            decode_columns(text)  # says what is wrong
            raise
        if len({len(values) for values in given}) > 1:
            raise ValueError(f"by_subject has columns of different lengths: {text[:60]!r}")
        lengths.append(len(given[0]))
        for column, values in zip(columns, given, strict=True):
            column.extend(values)
    return [np.repeat(np.arange(len(texts)), lengths), *map(np.array, columns)]


def _values(drawn: NDArray, arms: list[tuple[NDArray, NDArray]]) -> NDArray:
    """Return the mean score of each resample and simulation, of one arm or of the first minus the second.

    NaN where no subject of the simulation was drawn.
    """
    with np.errstate(invalid="ignore"):  # 0 / 0
        means = [(drawn @ sums) / (drawn @ weights) for sums, weights in arms]
    return means[0] if len(means) == 1 else means[0] - means[1]
