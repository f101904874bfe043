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
from mri_aug.results.rows import check_known, check_table, decode_columns

_BLOCK = 2**18  # resampled means at a time, 2 MB: they stay in the processor's cache

# per subject: the column that is averaged, and the column that weighs it (None: every subject alike)
METRICS = {
    "accuracy": ("accuracy", "n_images"),
    "cross_entropy": ("cross_entropy", "n_images"),
    "subject_accuracy": ("right", None),
    "subject_cross_entropy": ("subject_cross_entropy", None),
}


def subject_interval(
    rows: pd.DataFrame,
    metrics: str | Sequence[str],
    *,
    by: str = "condition",
    baseline: str | None = None,
    relative: bool = False,
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
        One row per simulation, ``by_subject`` among its columns (:func:`mri_aug.results.metrics.encode_by_subject`).
    metrics : str or sequence of str
        Of ``METRICS``: "accuracy" or "cross_entropy" of the test images, "subject_accuracy" or
        "subject_cross_entropy" of the subjects' mean probabilities. The rows' scores are read once for all of them.
    by, confidence_level, n_resamples, seed
        As for :func:`mri_aug.results.comparison.summarise`. Time grows with n_resamples x simulations: about 0.3 s for 2,000
        of 7,000. Memory does not: resamples are taken in blocks.
    baseline : str, optional
        Report paired differences from this condition instead of values.
    relative : bool
        Report those in percent of the baseline's value in the same simulation.

    Returns
    -------
    DataFrame
        A row per condition and metric: ``condition``, ``baseline`` (empty without one), ``metric``, ``n``
        (simulations), ``n_subjects``, ``value`` (median over simulations of the value or the paired difference),
        ``low``, ``high``.

    Raises
    ------
    ValueError
        As :func:`mri_aug.results.comparison.summarise`; if a metric is another one, or subjects are
        unknown or their labels disagree; if ``relative`` comes without a baseline.
    """
    if relative and baseline is None:
        raise ValueError("relative differences need a baseline")
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    check_table(rows, ("simulation", by, "by_subject"), by)
    groups = {condition: group.set_index("simulation") for condition, group in rows.groupby(by, sort=False)}
    reference = None
    if baseline is not None:
        check_known(baseline, groups, "baseline", by)
        reference = groups.pop(baseline)
    records = []
    for condition, group in groups.items():
        arms = [group] if reference is None else [group, reference]
        simulations = _shared_simulations(arms)
        people = _People.of([text for arm in arms for text in arm.loc[simulations, "by_subject"]], metrics)
        for metric in metrics:
            value, low, high = _two_levels(people, metric, len(arms), relative, confidence_level, n_resamples, seed)
            names = {"condition": condition, "baseline": baseline or "", "metric": metric}
            counts = {"n": len(simulations), "n_subjects": len(people.strata)}
            records.append(names | counts | {"value": value, "low": low, "high": high})
    return pd.DataFrame(records)


def _shared_simulations(arms: list[pd.DataFrame]) -> list[int]:
    """Return the numbers of the simulations that every arm has."""
    simulations = sorted(set.intersection(*(set(arm.index) for arm in arms)))
    if not simulations:
        raise ValueError("the two conditions share no simulation: run them with the same simulation numbers")
    return simulations


def _two_levels(
    people: _People, metric: str, n_arms: int, relative: bool, confidence_level: float, n_resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return value, low and high of one arm, or of the first arm minus the second, in percent of it if relative."""
    arms = list(zip(*(np.split(part, n_arms, axis=1) for part in people.scores(metric)), strict=True))
    n_simulations = people.n_rows // n_arms
    rng = np.random.default_rng(seed)
    drawn = inference.subject_weights(people.strata, n_resamples=n_resamples, rng=rng)
    value = float(np.median(_values(np.ones((1, len(people.strata))), arms, relative)))
    if n_simulations < inference.MIN_VALUES:
        return value, float("nan"), float("nan")
    n_blocks = -(-n_resamples * n_simulations // _BLOCK)
    medians = [
        inference.resampled_medians(_values(block, arms, relative), rng=rng)
        for block in np.array_split(drawn, min(n_blocks, n_resamples))
    ]
    low, high, _ = inference.percentile_interval(np.concatenate(medians), confidence_level=confidence_level)
    return value, low, high


@dataclass(frozen=True)
class _People:
    """What the rows' ``by_subject`` say, end to end."""

    strata: NDArray  # int (n_subjects,): the class of each subject
    n_rows: int
    row: NDArray  # int (n,): where each number belongs
    place: NDArray  # int (n,)
    columns: dict[str, NDArray]  # each (n,)

    @classmethod
    def of(cls, texts: Sequence[str], metrics: Sequence[str]) -> _People:
        """Read what the metrics need, all at once: as many subjects' numbers as a study has are slow one by one."""
        needed = {name for metric in metrics for name in METRICS[metric] if name is not None}
        names = ["subject", "label", *sorted("predicted" if name == "right" else name for name in needed)]
        row, *given = _stacked(texts, names)
        columns = dict(zip(names, given, strict=True))
        subject, label = columns["subject"], columns["label"]
        if not len(subject):
            raise ValueError("by_subject is empty: the subjects of this dataset are unknown, recover them first")
        _people, first, place = np.unique(subject, return_index=True, return_inverse=True)
        strata = label[first].astype(int)
        if (strata[place] != label).any():
            raise ValueError(
                "a subject has different labels in different rows: these are not simulations of one dataset"
            )
        if "predicted" in columns:
            columns["right"] = columns["predicted"] == label
        return cls(strata, len(texts), row, place, columns)

    def scores(self, metric: str) -> NDArray:
        """Return the subjects' score times weight, and weight, of each row: float (2, n_subjects, n_rows).

        Both are zero where a subject was not tested.
        """
        column, weight = METRICS[metric]
        weights = 1 if weight is None else self.columns[weight]
        scores = np.zeros((2, len(self.strata), self.n_rows))
        scores[:, self.place, self.row] = self.columns[column] * weights, np.broadcast_to(weights, self.row.shape)
        return scores


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


def _values(drawn: NDArray, arms: list[tuple[NDArray, NDArray]], relative: bool) -> NDArray:
    """Return the mean score of each resample and simulation, of one arm or of the first minus the second.

    NaN where no subject of the simulation was drawn.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0; a baseline of nothing
        means = [(drawn @ sums) / (drawn @ weights) for sums, weights in arms]
        if len(means) == 1:
            return means[0]
        difference = means[0] - means[1]
        return 100 * difference / means[1] if relative else difference
