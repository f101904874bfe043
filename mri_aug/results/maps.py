"""Averages of heat-map measures over people, against their references, with intervals that resample people.

Slices are never resampled: those of one person are nearly identical.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results.comparison import require_columns
from mri_aug.results.tables import estimate_text

MIN_PEOPLE = 5  # resamples of fewer people differ in too few ways, and the interval is far too narrow
_N_RESAMPLES = 1999

Effect = Literal["ratio", "difference"]


class Measure(NamedTuple):
    """A measure of maps: its columns in the rows of :func:`mri_aug.gradcam.comparison.measure_maps`, and its effect."""

    value: str
    reference: str | None
    effect: Effect
    words: str  # the head of a table's column


MEASURES = (
    Measure("brain", "brain_chance", "ratio", "brain"),
    Measure("energy", "energy_chance", "ratio", "atrophy"),
    Measure("fluid", "fluid_chance", "ratio", "fluid"),
    Measure("elsewhere", "elsewhere_chance", "ratio", "others' region"),
    Measure("deletion", "deletion_chance", "difference", "deletion"),
    Measure("insertion", "insertion_chance", "difference", "insertion"),
    Measure("shift", None, "difference", "shift"),
    Measure("rank", None, "difference", "randomised"),
)


def over_people(
    rows: pd.DataFrame,
    value: str,
    reference: str | None = None,
    *,
    by: Sequence[str] = (),
    effect: Effect = "difference",
    seed: int = 0,
) -> pd.DataFrame:
    """Return a measure's mean over people compared with its reference, with a 95 % interval for other people.

    Each person's images are averaged first, then people; images without a value are left out. The interval is the
    percentile bootstrap of people with all their images. They are not drawn within their class, since a class of one
    or two people would then seem to be known exactly. It does not cover other networks trained in the same way.
    ValueError if a column is missing, or ``effect`` is another word.

    Parameters
    ----------
    rows : DataFrame
        One row per image: ``subject`` and the columns named.
    value, reference : str
        The columns of the measure and of what it is compared with, such as its chance level.
    by : sequence of str
        Columns whose combinations are rows of the result; all images together by default. Then come ``n_people``,
        ``value``, ``reference``, ``effect``, ``low`` and ``high``, NaN for fewer than ``MIN_PEOPLE``.
    effect : {"difference", "ratio"}
        Mean value minus mean reference, or divided by it. Without a reference the value itself.
    seed : int
    """
    if effect not in ("difference", "ratio"):
        raise ValueError(f"effect must be 'difference' or 'ratio', got {effect!r}")
    measured = [value] if reference is None else [value, reference]
    require_columns(rows, ["subject", *by, *measured])
    by, complete = list(by), rows.dropna(subset=measured)
    groups = complete.groupby(by, sort=False, observed=True) if by else [((), complete)]
    records = []
    for key, group in groups:
        values = group.groupby("subject")[measured].mean().to_numpy(float)
        n, low, high = len(values), np.nan, np.nan
        estimate = float(_effects(np.ones((1, n)), values, effect)[0]) if n else np.nan
        if n >= MIN_PEOPLE:
            drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _N_RESAMPLES).astype(float)
            low, high = np.nanquantile(_effects(drawn, values, effect), (0.025, 0.975))
        means = [*(values.mean(axis=0) if n else (np.nan,)), np.nan][:2]
        records.append([*key, n, *means, estimate, low, high])
    return pd.DataFrame(records, columns=[*by, "n_people", "value", "reference", "effect", "low", "high"])


def measure_table(rows: pd.DataFrame, *, by: str, seed: int = 0) -> pd.DataFrame:
    """Return effect and interval of each measure that could be taken, as text, one row per value of the column ``by``.

    Takes the rows of :func:`mri_aug.gradcam.comparison.measure_maps`.
    """
    columns = {}
    for value, reference, effect, words in MEASURES:
        found = over_people(rows, value, reference, by=[by], effect=effect, seed=seed)
        if len(found):
            ends = found.set_index(by)[["effect", "low", "high"]]
            columns[words] = {key: estimate_text(*row, ".2f") for key, *row in ends.itertuples()}
    return pd.DataFrame(columns).reindex(list(dict.fromkeys(rows[by]))).rename_axis(by).reset_index()


def paired(rows: pd.DataFrame, value: str, condition: str, baseline: str, *, by: str, seed: int = 0) -> pd.Series:
    """Return the difference in a measure between two networks (or methods) on the same images of the same people.

    It is the one row of :func:`over_people`, ``condition`` minus ``baseline``, which are values of the column ``by``.
    Rows need ``image`` and ``subject`` too.
    """
    first, second = (rows[rows[by] == name].set_index("image") for name in (condition, baseline))
    both = first[["subject"]].assign(value=first[value], baseline=second[value])
    return over_people(both, "value", "baseline", seed=seed).iloc[0]


def _effects(weights: NDArray, values: NDArray, effect: Effect) -> NDArray[np.float64]:
    means = weights @ values / weights.sum(axis=1, keepdims=True)
    if values.shape[1] == 1:
        return means[:, 0]
    if effect == "difference":
        return means[:, 0] - means[:, 1]
    return np.divide(means[:, 0], means[:, 1], out=np.full(len(means), np.nan), where=means[:, 1] > 0)
