"""Intervals over people: would the finding hold for other subjects, not only for other simulations?

Works on the per-subject scores that each row of a study keeps. It never resamples slices.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results import inference
from mri_aug.results.table import check_known, check_table, decode_columns

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
        As for :func:`mri_aug.results.summarise`. Memory is about 24 bytes x n_resamples x simulations.
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
    columns = [[decode_columns(arm.at[simulation, "by_subject"]) for simulation in simulations] for arm in arms]
    people, strata = _people([table for arm in columns for table in arm])
    sums_and_weights = [_matrices(arm, people, metric) for arm in columns]
    rng = np.random.default_rng(seed)
    drawn = inference.subject_weights(strata, n_resamples=n_resamples, rng=rng)
    values = [_means(np.ones((1, len(people))), *matrices) for matrices in sums_and_weights]
    resampled = [_means(drawn, *matrices) for matrices in sums_and_weights]
    if len(arms) == 2:
        values, resampled = [values[0] - values[1]], [resampled[0] - resampled[1]]
    low = high = float("nan")
    if len(simulations) >= inference.MIN_VALUES:
        medians = inference.resampled_medians(resampled[0], rng=rng)
        low, high, _ = inference.percentile_interval(medians, confidence_level=confidence_level)
    return float(np.median(values[0])), low, high, len(simulations), len(people)


def _people(tables: list[dict[str, NDArray]]) -> tuple[NDArray, NDArray]:
    """Return the subjects of all tables, sorted, and the class of each."""
    pairs = np.concatenate([np.stack([table["subject"], table["label"]], axis=1) for table in tables])
    if not len(pairs):
        raise ValueError("by_subject is empty: the subjects of this dataset are unknown, recover them first")
    people, strata = np.unique(pairs, axis=0).T.astype(int)
    if len(np.unique(people)) < len(people):
        raise ValueError("a subject has different labels in different rows: these are not simulations of one dataset")
    return people, strata


def _matrices(tables: list[dict[str, NDArray]], people: NDArray, metric: str) -> tuple[NDArray, NDArray]:
    """Return weighted scores and weights, each of shape (n_simulations, n_subjects), zero where not tested."""
    column, weight = _METRICS[metric]
    sums, weights = np.zeros((2, len(tables), len(people)))
    for row, table in enumerate(tables):
        at = np.searchsorted(people, table["subject"])
        weights[row, at] = 1 if weight is None else table[weight]
        scores = table["predicted"] == table["label"] if column == "right" else table[column]
        sums[row, at] = scores * weights[row, at]
    return sums, weights


def _means(drawn: NDArray, sums: NDArray, weights: NDArray) -> NDArray:
    """Return the mean score of each resample and simulation; NaN where no subject of the simulation was drawn."""
    totals = drawn @ weights.T
    return np.divide(drawn @ sums.T, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
