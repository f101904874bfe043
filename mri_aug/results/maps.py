"""Averages of heat-map measures over people, against their references, with intervals that resample people.

Takes one row per image, whatever measured it, and returns a table. It never resamples slices: those of one person are
nearly identical.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results.tables import estimate_text, minus_signs

MIN_PEOPLE = 5  # resamples of fewer people differ in too few ways, and the interval is far too narrow

Effect = Literal["ratio", "difference"]


class Measure(NamedTuple):
    """A measure of maps: its columns in the rows of :func:`mri_aug.gradcam.comparison.measure_maps`, and its effect."""

    value: str
    reference: str | None
    effect: Effect
    words: str  # the head of a table's column
    level: float | None  # the value of an uninformative map, where it is known


MEASURES = (
    Measure("brain", "brain_chance", "ratio", "brain", 1),
    Measure("energy", "energy_chance", "ratio", "atrophy", 1),
    Measure("pointing", "pointing_chance", "ratio", "pointing", 1),
    Measure("deletion", "deletion_chance", "difference", "deletion", 0),
    Measure("insertion", "insertion_chance", "difference", "insertion", 0),
    Measure("shift", None, "difference", "shift", None),
    Measure("rank", None, "difference", "randomised", None),
)


def over_people(
    rows: pd.DataFrame,
    value: str,
    reference: str | None = None,
    *,
    by: Sequence[str] = (),
    effect: Effect = "difference",
    confidence_level: float = 0.95,
    n_resamples: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a measure's mean over people compared with its reference, with an interval for other people.

    Each person's images are averaged first, then people; images without a value are left out. The interval is the
    percentile bootstrap of people with all their images. They are not drawn within their class, since a class of one
    or two people would then seem to be known exactly. It does not cover other networks trained in the same way.

    Parameters
    ----------
    rows : DataFrame
        One row per image: ``subject`` and the columns named.
    value : str
        The measure.
    reference : str, optional
        What it is compared with, such as its chance level: a column too.
    by : sequence of str
        Columns whose combinations are rows of the result; all images together by default.
    effect : {"difference", "ratio"}
        Mean value minus mean reference, or divided by it. Without a reference the value itself.
    confidence_level : float in (0, 1)
    n_resamples, seed : int

    Returns
    -------
    DataFrame
        The columns of ``by``, then ``n_people``, ``value``, ``reference`` (NaN without one), ``effect``, ``low`` and
        ``high``. The interval is NaN for fewer than ``MIN_PEOPLE``.

    Raises
    ------
    ValueError
        If a column is missing, or ``effect`` is another word.
    """
    if effect not in ("difference", "ratio"):
        raise ValueError(f"effect must be 'difference' or 'ratio', got {effect!r}")
    measured = [value] if reference is None else [value, reference]
    needed = ["subject", *by, *measured]
    if missing := [name for name in needed if name not in rows.columns]:
        raise ValueError(f"rows have no column {', '.join(missing)}; they have {', '.join(map(str, rows.columns))}")
    by, complete = list(by), rows.dropna(subset=measured)
    groups = complete.groupby(by, sort=False, observed=True) if by else [((), complete)]
    records = []
    for key, group in groups:
        values = group.groupby("subject")[measured].mean().to_numpy(float)
        n, low, high = len(values), np.nan, np.nan
        estimate = float(_effects(np.ones((1, n)), values, effect)[0]) if n else np.nan
        if n >= MIN_PEOPLE:
            drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples).astype(float)
            tail = (1 - confidence_level) / 2
            low, high = np.nanquantile(_effects(drawn, values, effect), (tail, 1 - tail))
        means = dict(zip(("value", "reference"), values.mean(axis=0) if n else (np.nan,) * 2, strict=False))
        record = {**dict(zip(by, key, strict=True)), "n_people": n, "reference": np.nan, **means}
        records.append(record | {"effect": estimate, "low": low, "high": high})
    return pd.DataFrame(records, columns=[*by, "n_people", "value", "reference", "effect", "low", "high"])


def measure_table(rows: pd.DataFrame, *, by: str, seed: int = 0) -> pd.DataFrame:
    """Return each measure of :data:`MEASURES` as text with its interval, one row per value of ``by``.

    Parameters
    ----------
    rows : DataFrame
        From :func:`mri_aug.gradcam.comparison.measure_maps`.
    by : str
        A column, such as the network or the method.
    seed : int

    Returns
    -------
    DataFrame
        ``by``, and a column per measure that could be taken: effect and interval.
    """
    columns = {}
    for measure in MEASURES:
        found = over_people(rows, measure.value, measure.reference, by=[by], effect=measure.effect, seed=seed)
        if len(found):
            columns[measure.words] = {
                row[by]: estimate_text(row["effect"], row["low"], row["high"], ".2f") for _, row in found.iterrows()
            }
    table = pd.DataFrame(columns).reindex(list(dict.fromkeys(rows[by])))
    return table.rename_axis(by).reset_index()


def paired(rows: pd.DataFrame, value: str, condition: str, baseline: str, *, by: str, seed: int = 0) -> pd.Series:
    """Return the difference in a measure between two networks (or methods) on the same images of the same people.

    Parameters
    ----------
    rows : DataFrame
        With ``image``, ``subject``, ``value`` and ``by``.
    value : str
    condition, baseline : str
        Values of ``by``; the difference is the first minus the second.
    by : str
    seed : int

    Returns
    -------
    Series
        The one row of :func:`over_people`.
    """
    first, second = (rows[rows[by] == name].set_index("image") for name in (condition, baseline))
    both = first[["subject"]].assign(value=first[value], baseline=second[value])
    return over_people(both, "value", "baseline", seed=seed).iloc[0]


def finding(row: pd.Series, *, level: float, above: str, below: str, undecided: str) -> str:
    """Return the sentence that an interval warrants, with its numbers in brackets before the full stop.

    Parameters
    ----------
    row : Series
        ``effect``, ``low`` and ``high``.
    level : float
        1 for ratios, 0 for differences.
    above, below, undecided : str
        Each without a full stop.
    """
    sentence = {"above": above, "below": below, "undecided": undecided}[against(row["low"], row["high"], level)]
    if not np.isfinite([row["low"], row["high"]]).all():
        value = f"{row['effect']:.2f}, " if np.isfinite(row["effect"]) else ""
        numbers = f"{value}too few people for an interval"
    else:
        numbers = f"{row['effect']:.2f}, 95 % interval {row['low']:.2f} to {row['high']:.2f}"
    numbers = minus_signs(numbers)
    return f"{sentence} ({numbers})."


def listed(names: Sequence[str], *, none: str = "none") -> str:
    """Return names as words: "a, b and c".

    >>> listed(["a", "b", "c"]), listed(["a"]), listed([])
    ('a, b and c', 'a', 'none')
    """
    *others, last = names or [none]
    return f"{', '.join(others)} and {last}" if others else last


def against(low: float, high: float, level: float) -> Literal["above", "below", "undecided"]:
    """Return on which side of ``level`` an interval lies; "undecided" where it holds it or is not defined."""
    return "above" if low > level else "below" if high < level else "undecided"


def _effects(weights: NDArray, values: NDArray, effect: Effect) -> NDArray[np.float64]:
    """Return the effect of each row of weights over people."""
    means = weights @ values / weights.sum(axis=1, keepdims=True)
    if values.shape[1] == 1:
        return means[:, 0]
    if effect == "difference":
        return means[:, 0] - means[:, 1]
    return np.divide(means[:, 0], means[:, 1], out=np.full(len(means), np.nan), where=means[:, 1] > 0)
