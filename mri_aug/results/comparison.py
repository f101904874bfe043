"""Medians and paired comparisons of a metric that each simulation has one value of.

Does not run, load or plot a study, and refuses simulations that were not paired. Intervals cover what other splits,
samples, initial weights and orders of batches of the same images would give; for other people see
:mod:`mri_aug.results.people`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results import inference
from mri_aug.results.inference import Interval

MARGIN = log(1.1)  # losses within 10 % of each other are equivalent
_NAN = float("nan")
_LOSSES = ("cross_entropy", "brier", "ece")
_GAINS = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "auc")


def summarise(rows: pd.DataFrame, metric: str, *, by: str = "condition") -> pd.DataFrame:
    """Return each condition's median over simulations with its interval.

    ValueError if a column is lacking or not numeric, or a simulation occurs twice within a condition.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, with columns ``simulation``, ``by`` and ``metric``.
    metric : str
        A column of numbers; missing values are left out and counted.
    by : str
        The column that names the conditions.

    Returns
    -------
    DataFrame
        One row per condition in the table's order: ``condition``, ``metric``, ``n``, ``n_missing``, ``median``,
        ``low``, ``high``, ``method`` (:func:`mri_aug.results.inference.median_interval`; "range" for fewer than ten
        simulations, "none" with NaN for fewer than two).
    """
    records = []
    for condition, column in _pivot(rows, metric, by).items():
        values = column.dropna().to_numpy()
        counts = {"n": len(values), "n_missing": int((rows[by] == condition).sum()) - len(values)}
        median = float(np.median(values)) if len(values) else _NAN
        interval = inference.median_interval(values)._asdict()
        records.append({"condition": condition, "metric": metric, **counts, "median": median, **interval})
    return pd.DataFrame(records)


def compare(rows: pd.DataFrame, metric: str, *, baseline: str, by: str = "condition") -> pd.DataFrame:
    """Compare every condition with a baseline, simulation by simulation.

    Simulation r shares its split, sample and initialisation between conditions (Bouthillier et al. 2021). Losses are
    compared as log ratios, other metrics as differences. Their mean is reported, not their median, so that estimate,
    interval, p value and the levels beside them are of one quantity. The interval is over simulations of these images;
    the p value asks about other images and is stricter.

    Of studies of two arms that are the same but for a seed, 4 to 5 % are called better or worse with 10, 20 or 100
    simulations (20,000 studies each; normal, skewed and heavy-tailed); of those whose true ratio is the margin's, 2 to
    3 % are called equivalent.

    Parameters
    ----------
    rows, metric, by
        As for :func:`summarise`, errors included; a metric of :mod:`mri_aug.results.metrics`, whose direction is known.
    baseline : str
        The condition to compare with. ValueError if it is not in the table.

    Returns
    -------
    DataFrame
        One row per condition but the baseline: ``condition``, ``baseline``, ``metric``, ``lower_is_better``, ``unit``
        ("log ratio" or "difference"), ``n`` (pairs), ``n_unpaired`` (simulations without counterpart), ``level``,
        ``baseline_level`` (means over the pairs, geometric ones for log ratios), ``difference`` (mean of condition
        minus baseline) with ``low``, ``high``, ``method``; ``percent`` with ``percent_low``, ``percent_high`` (of the
        log ratio, else NaN); ``probability`` that the condition is the better one, ties counting half, with
        ``probability_low``, ``probability_high`` (Wilson); ``p_value``
        (:func:`mri_aug.results.inference.corrected_p_value`), ``p_holm``, ``margin`` and ``outcome``
        (:func:`mri_aug.results.inference.outcome`).
    """
    lower_is_better = _lower_is_better(metric)
    wide = _pivot(rows, metric, by)
    records = []
    for condition in other_conditions(wide.columns, baseline, by):
        pairs = wide[[condition, baseline]].dropna().to_numpy()
        as_ratio = lower_is_better and len(pairs) > 0 and bool((pairs > 0).all())
        scaled = np.log(pairs) if as_ratio else pairs
        differences = scaled[:, 0] - scaled[:, 1]
        levels = scaled.mean(axis=0) if len(pairs) else np.full(2, _NAN)
        found = {
            "condition": condition,
            "baseline": baseline,
            "metric": metric,
            "lower_is_better": lower_is_better,
            "unit": "log ratio" if as_ratio else "difference",
            "n_unpaired": int((wide[condition].notna() ^ wide[baseline].notna()).sum()),
            **dict(zip(("level", "baseline_level"), np.exp(levels) if as_ratio else levels, strict=True)),
            "difference": differences.mean() if len(pairs) else _NAN,
            "margin": MARGIN if as_ratio else _NAN,
        }
        records.append(contrast_record(found, inference.mean_interval(differences), differences))
    return with_holm(pd.DataFrame(records))


def other_conditions(known: pd.Index, baseline: str, by: str) -> list[str]:
    """Return the conditions to compare with the baseline; a ValueError names what is not there."""
    check_known(baseline, known, "baseline", by)
    others = [condition for condition in known if condition != baseline]
    if not others:
        raise ValueError(f"the table holds no condition but the baseline {baseline!r}: nothing to compare")
    return others


def contrast_record(found: Mapping, interval: Interval, differences: NDArray) -> dict[str, object]:
    """Return a row of :func:`compare` from its own facts, its interval and the difference of each simulation."""
    n = len(differences)
    lower_is_better, is_ratio = found["lower_is_better"], found["unit"] == "log ratio"
    ends = (found["difference"], *interval[:2]) if is_ratio else (_NAN,) * 3
    wins = np.sign(-differences if lower_is_better else differences)
    share = float((wins + 1).mean() / 2) if n else _NAN
    around = inference.share_interval(share, n) if n else (_NAN, _NAN)
    margin = None if np.isnan(found["margin"]) else found["margin"]
    return {
        **found,
        "n": n,
        **interval._asdict(),
        **{f"percent{end}": 100 * np.expm1(x) for end, x in zip(("", "_low", "_high"), ends, strict=True)},
        "probability": share,
        "probability_low": around[0],
        "probability_high": around[1],
        "p_value": inference.corrected_p_value(differences),
        "outcome": inference.outcome(interval, lower_is_better=lower_is_better, margin=margin),
    }


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Return contrasts with ``p_holm``: the p values adjusted together, but a planned ``primary`` one's, its own."""
    adjusted = table["p_value"].to_numpy(dtype=float).copy()
    together = ~table.get("primary", pd.Series(False, table.index)).to_numpy(dtype=bool)
    adjusted[together] = inference.holm(adjusted[together])
    return table.assign(p_holm=adjusted)


def _pivot(rows: pd.DataFrame, metric: str, by: str) -> pd.DataFrame:
    """Return a metric as a table of simulations (sorted) by conditions (in the order of the rows)."""
    check_table(rows, ("simulation", by, metric), by)
    if not pd.api.types.is_numeric_dtype(rows[metric]):
        raise ValueError(f"column {metric!r} is {rows[metric].dtype}, not a number per simulation")
    if np.isinf(rows[metric].to_numpy(dtype=float)).any():
        raise ValueError(f"column {metric!r} holds infinity: find the simulations that diverged before comparing")
    wide = rows.pivot(index="simulation", columns=by, values=metric).astype(float).sort_index()
    return wide[rows[by].unique()]


def check_table(rows: pd.DataFrame, columns: Iterable[str], by: str) -> None:
    """Raise a ValueError unless the table has these columns, rows, and each simulation once per condition."""
    require_columns(rows, columns)
    if rows.empty:
        raise ValueError("the table has no rows: run the study first")
    repeated = rows.duplicated([by, "simulation"])
    if repeated.any():
        row = rows[repeated].iloc[0]
        raise ValueError(
            f"simulation {row['simulation']} of {row[by]!r} occurs more than once: keep one study's rows only, "
            f"or name the conditions apart by another column than {by!r}"
        )


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise a ValueError that names the columns which are lacking."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"the table lacks {missing}; it has {list(table.columns)}")


def check_known(name: str, names: Iterable[str], role: str, by: str) -> None:
    """Raise a ValueError unless ``name`` is one of the conditions."""
    if name not in names:
        raise ValueError(f"the {role} {name!r} is not in column {by!r}, which has {list(names)}")


def _lower_is_better(column: str) -> bool:
    measure = column
    for prefix in ("train_", "validation_", "test_", "validated_", "calibrated_", "subject_"):
        measure = measure.removeprefix(prefix)
    if measure in _LOSSES:
        return True
    if measure in _GAINS or measure.startswith("recall_"):
        return False
    raise ValueError(f"cannot tell whether a lower {column!r} is better: compare one of {', '.join(_LOSSES + _GAINS)}")
