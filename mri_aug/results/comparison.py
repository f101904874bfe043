"""Turn a study's table, one row per simulation, into medians, intervals and paired comparisons.

Refuses to run, load or plot a study, and to compare simulations that were not paired. Each function says which
uncertainty its interval covers; its neighbours (wording, deposits, people) are re-exported for one import in notebooks.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results import inference
from mri_aug.results.rows import check_known, pivot
from mri_aug.results.sentences import (
    PEOPLE,
)
from mri_aug.results.sentences import lower_is_better as lower_is_better_by_name
from mri_aug.results.subject_interval import subject_interval


def summarise(
    rows: pd.DataFrame,
    metric: str,
    *,
    by: str = "condition",
    confidence_level: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Return each condition's median over simulations with a bootstrap interval.

    The interval covers what varies between simulations (sample, split, initialisation, order of batches), not
    which people were scanned: for that see :func:`subject_interval`.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, with columns ``simulation``, ``by`` and ``metric``.
    metric : str
        A column of numbers; missing values are left out and counted.
    by : str
        The column that names the conditions.
    confidence_level : float in (0, 1)
    n_resamples : int
    seed : int
        The same for every condition, so that an interval does not depend on which others are in the table.

    Returns
    -------
    DataFrame
        One row per condition in the table's order: ``condition``, ``metric``, ``n``, ``n_missing``, ``median``,
        ``low``, ``high``, ``method`` ("BCa"; "percentile" where that is undefined; "none", with NaN, below
        three simulations).

    Raises
    ------
    ValueError
        If a column is lacking or not numeric, or a simulation occurs twice within a condition.
    """
    wide = pivot(rows, metric, by)
    n_rows = rows[by].value_counts()
    records = []
    for condition, column in wide.items():
        values = column.dropna().to_numpy()
        interval = inference.median_interval(
            values, confidence_level=confidence_level, n_resamples=n_resamples, seed=seed
        )
        records.append(
            {
                "condition": condition,
                "metric": metric,
                "n": len(values),
                "n_missing": int(n_rows[condition]) - len(values),
                "median": _median(values),
                **interval._asdict(),
            }
        )
    return pd.DataFrame(records)


def compare(
    rows: pd.DataFrame,
    metric: str,
    *,
    baseline: str,
    by: str = "condition",
    lower_is_better: bool | None = None,
    primary: str | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every condition with a baseline, simulation by simulation.

    Simulation r shares its split, sample and initialisation between conditions (Bouthillier et al. 2021).

    Parameters
    ----------
    rows, metric, by, confidence_level, n_resamples, seed
        As for :func:`summarise`.
    baseline : str
        The condition to compare with.
    lower_is_better : bool, optional
        Known by name for the metrics of :mod:`mri_aug.results.metrics`.
    primary : str, optional
        The one contrast that was chosen beforehand; it is left out of Holm's adjustment.

    Returns
    -------
    DataFrame
        One row per condition but the baseline: ``condition``, ``baseline``, ``metric``, ``lower_is_better``,
        ``n`` (pairs), ``n_unpaired`` (simulations without counterpart), ``median``, ``baseline_median`` (over
        the pairs), ``difference`` (median of condition minus baseline) with ``low``, ``high``, ``method``;
        ``percent`` (median of the differences in percent of the baseline's value) with ``percent_low``,
        ``percent_high``, NaN unless the baseline's values are all positive; ``probability`` that the condition is
        the better one, ties counting half, with ``probability_low``, ``probability_high`` (Wilson);
        ``p_value`` (Wilcoxon's signed ranks, two-sided), ``p_holm``, ``primary``, ``confidence_level``.

    Raises
    ------
    ValueError
        As :func:`summarise`; if the baseline or primary is not in the table, or the metric's direction unknown.
    """
    if lower_is_better is None:
        lower_is_better = lower_is_better_by_name(metric)
    wide = pivot(rows, metric, by)
    check_known(baseline, wide.columns, "baseline", by)
    others = [condition for condition in wide.columns if condition != baseline]
    if not others:
        raise ValueError(f"the table holds no condition but the baseline {baseline!r}: nothing to compare")
    if primary is not None:
        check_known(primary, others, "primary contrast", by)
    options = dict(confidence_level=confidence_level, n_resamples=n_resamples, seed=seed)
    records = [
        {"condition": condition, "baseline": baseline, "metric": metric, "lower_is_better": lower_is_better}
        | _contrast(wide[condition], wide[baseline], lower_is_better, options)
        | {"primary": condition == primary, "confidence_level": confidence_level}
        for condition in others
    ]
    return _with_holm(pd.DataFrame(records))


def compare_people(
    rows: pd.DataFrame, metric: str, *, baseline: str, by: str = "condition", primary: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Compare as :func:`compare` does, with intervals that also cover which people were in the test set.

    Parameters
    ----------
    rows, baseline, by, primary, seed
        As for :func:`compare`; ``by_subject`` is among the columns.
    metric : str
        "test_" and a metric of :func:`subject_interval`.

    Returns
    -------
    DataFrame
        The columns of :func:`compare`. ``low`` and ``high``, and those in percent, are :func:`subject_interval`'s, and
        ``method`` is "people"; the p values stay those over simulations.

    Raises
    ------
    ValueError
        As :func:`compare` and :func:`subject_interval`.
    """
    table = compare(rows, metric, baseline=baseline, by=by, primary=primary, seed=seed)
    for ends, relative in ((["low", "high"], False), (["percent_low", "percent_high"], True)):
        name = metric.removeprefix("test_")
        found = subject_interval(rows, name, by=by, baseline=baseline, relative=relative, seed=seed)
        table[ends] = found.set_index("condition").loc[table["condition"], ["low", "high"]].to_numpy()
    return table.assign(method=PEOPLE)


def _contrast(condition: pd.Series, baseline: pd.Series, lower_is_better: bool, options: dict) -> dict:
    pairs = pd.concat([condition, baseline], axis=1, keys=["condition", "baseline"]).dropna()
    ours, theirs = pairs["condition"].to_numpy(), pairs["baseline"].to_numpy()
    difference = ours - theirs
    relative = 100 * difference / theirs if (theirs > 0).all() else np.empty(0)
    low, high, method = inference.median_interval(difference, **options)
    percent_low, percent_high, _ = inference.median_interval(relative, **options)
    wins = np.sign(-difference if lower_is_better else difference)
    share = float((wins + 1).mean() / 2) if len(wins) else float("nan")
    share_low, share_high = (float("nan"),) * 2
    if len(wins):
        share_low, share_high, _ = inference.share_interval(
            share, len(wins), confidence_level=options["confidence_level"]
        )
    return {
        "n": len(pairs),
        "n_unpaired": int((condition.notna() ^ baseline.notna()).sum()),
        "median": _median(ours),
        "baseline_median": _median(theirs),
        "difference": _median(difference),
        "low": low,
        "high": high,
        "method": method,
        "percent": _median(relative),
        "percent_low": percent_low,
        "percent_high": percent_high,
        "probability": share,
        "probability_low": share_low,
        "probability_high": share_high,
        "p_value": inference.paired_p_value(difference),
    }


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", table["p_value"])
    secondary = ~table["primary"]
    table.loc[secondary, "p_holm"] = inference.holm(table.loc[secondary, "p_value"])
    return table


def _median(values: NDArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
