"""Intervals, tests and outcomes for arrays of numbers: one per simulation, or one per person and simulation.

Knows nothing of conditions, tables or files. Everything is in closed form and needs no seed; intervals are at 95 %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

CONFIDENCE, POWER = 0.95, 0.8
MIN_SIMULATIONS = 10  # fewer have a range and no verdict
TEST_RATIO = 0.25  # tested over not tested: a fifth is tested, and those who validate count as given to the training
_UPPER = (1 + CONFIDENCE) / 2
_MIN_STRATUM = 5  # people; a smaller class is merged with its neighbour


class Interval(NamedTuple):
    """A 95 % interval and how it was made: its method's name, "range" (minimum and maximum) or "none"."""

    low: float
    high: float
    method: str


def median_interval(values: ArrayLike) -> Interval:
    """Return the exact interval of a median: what other simulations of the same study would give.

    Its ends are two of the values (Conover 1999, section 3.2; :func:`scipy.stats.quantile_test`). It covers at least
    as often as it says, whatever the distribution. Fewer than ten values have a range.
    """
    values = _finite(values)
    if len(values) < MIN_SIMULATIONS:
        return _value_range(values)
    low, high = stats.quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    return Interval(float(low), float(high), "order statistics")


def mean_interval(values: ArrayLike) -> Interval:
    """Return Student's interval of a mean: what other simulations of the same study would give.

    Fewer than ten values have a range.
    """
    values = _finite(values)
    n = len(values)
    if n < MIN_SIMULATIONS:
        return _value_range(values)
    half = stats.t.ppf(_UPPER, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean() - half), float(values.mean() + half), "t")


def crossed_interval(values: NDArray, labels: NDArray, repeats: NDArray) -> tuple[float, Interval]:
    r"""Return a mean over people and simulations with the interval that other people and other trainings would give.

    People and trainings are crossed, and their variances add (Owen 2007): :math:`V = V_P + V_T`. :math:`V_P` is the
    variance of resampling people within their class, in closed form. :math:`V_T` is that of resampling repeats, or
    simulations if that is greater. What varies by person and simulation is in both, so that :math:`V` errs upwards.
    The mean is over all that were tested; its interval is Student's with Satterthwaite's degrees of freedom, or the
    range of the simulations' means where there are fewer than ten.

    Error rates, of 1,000 simulated studies of 200 people each, with 2 to 20 repeats: zero is left out in 1 to 3 % where
    two arms are the same but for a seed, in 1 to 5 % where each person has a difference of their own that averages to
    zero; where a repeat's networks also err together, by as much as each alone, in 3 to 6 %, with 2 repeats in 11 %.
    A crossed bootstrap does in up to 23 % with 2. Of true differences of the margin at most 4 % are called equivalent.

    Parameters
    ----------
    values : array of float, shape (n_people, n_simulations)
        NaN where a simulation did not test a person.
    labels : array of int, shape (n_people,)
        Ordinal classes; those of fewer than five people are merged with a neighbour.
    repeats : array of int, shape (n_simulations,)
        The repeat to which a simulation belongs.
    """
    tested = np.isfinite(values)
    filled = np.where(tested, values, 0.0)
    mean = float(filled.sum() / tested.sum()) if tested.any() else float("nan")
    counts = tested.sum(axis=0)
    if (counts > 0).sum() < MIN_SIMULATIONS:
        return mean, _value_range(filled.sum(axis=0)[counts > 0] / counts[counts > 0])
    residuals = np.where(tested, values - mean, 0.0) / tested.sum()  # they add up to zero
    people, trainings = residuals.sum(axis=1), residuals.sum(axis=0)[counts > 0]
    strata = merged_classes(labels)
    of_people = sum(_variance_of_sum(people[strata == stratum]) for stratum in np.unique(strata))
    of_repeats = np.bincount(np.unique(repeats[counts > 0], return_inverse=True)[1], weights=trainings)
    trainings = max(trainings, of_repeats, key=_variance_of_sum)
    of_trainings = _variance_of_sum(trainings)
    variance, half = of_people + of_trainings, 0.0
    if variance > 0:
        freedom = variance**2 / (
            of_people**2 / max(len(people) - len(np.unique(strata)), 1) + of_trainings**2 / max(len(trainings) - 1, 1)
        )
        half = float(stats.t.ppf(_UPPER, freedom) * np.sqrt(variance))
    return mean, Interval(mean - half, mean + half, "people and trainings")


def merged_classes(labels: NDArray) -> NDArray:
    """Return the classes in which people are resampled: small ones join the class below, the lowest the one above.

    Two people cannot show how much people of a class vary. In the thesis's dataset the two moderately demented join
    the mildly demented.

    >>> merged_classes(np.repeat([0, 1, 2, 3], [9, 8, 7, 2])).tolist()[-3:]
    [2, 2, 2]
    """
    strata = np.asarray(labels).copy()
    while True:
        classes, counts = np.unique(strata, return_counts=True)
        small = np.flatnonzero(counts < _MIN_STRATUM)
        if not len(small) or len(classes) == 1:
            return strata
        place = small[-1]
        strata[strata == classes[place]] = classes[place - 1 if place else 1]


def _variance_of_sum(parts: NDArray) -> float:
    """Return the variance of a sum of as many parts, drawn anew; zero for a single part."""
    n = len(parts)
    return float(n * parts.var(ddof=1)) if n > 1 else 0.0


def corrected_p_value(values: ArrayLike) -> float:
    r"""Return the two-sided p value that paired differences have mean zero, corrected for shared training sets.

    Simulations train on much the same images, so that their mean varies more than :math:`s^2/n`. The corrected
    resampled t test takes :math:`(1/n + n_\mathrm{test} / n_\mathrm{train}) s^2` (Nadeau and Bengio 2003, section 4).
    The ratio is 1/4 under every protocol of this study: a fifth is tested, and all the rest is given to the training,
    which chooses its step and its temperature on those who validate. The test asks about a new dataset and is stricter
    than the intervals over simulations of this one; more simulations hardly help it.

    NaN for fewer than ten simulations; one where all differences are zero.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < MIN_SIMULATIONS:
        return float("nan")
    deviation = values.std(ddof=1)
    if deviation == 0:
        return float(values.mean() == 0)
    return float(2 * stats.t.sf(abs(values.mean()) / (deviation * np.sqrt(1 / n + TEST_RATIO)), n - 1))


def outcome(interval: Interval, *, lower_is_better: bool, margin: float | None) -> str:
    """Return what an interval of a difference shows, by two one-sided tests (Schuirmann 1987).

    "better" or "worse" where the interval leaves out zero, "equivalent" where it lies inside the margin (None where
    none was fixed), both ("better, equivalent"), "undecided", or "no verdict" for a range.
    """
    low, high, method = interval
    if method in ("range", "none"):
        return "no verdict"
    found = []
    if low > 0 or high < 0:
        found.append("better" if (high < 0) == lower_is_better else "worse")
    if margin is not None and -margin < low and high < margin:
        found.append("equivalent")
    return ", ".join(found) or "undecided"


def share_interval(share: float, n: int) -> Interval:
    """Return Wilson's score interval of a share of ``n``, which may count ties as one half.

    Brown, Cai and DasGupta 2001, eq. 4. Unlike a bootstrap it stays honest when all agree: five of five give 0.57 to 1.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share must lie in [0, 1] of at least one, got {share} of {n}")
    z = stats.norm.ppf(_UPPER)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Interval(float(max(0.0, centre - half)), float(min(1.0, centre + half)), "Wilson")


def holm(p_values: ArrayLike) -> NDArray:
    """Return p values adjusted for their number by Holm's step-down method (Holm 1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1; each is at least its predecessor and at most one. NaN stays NaN
    but counts: a contrast that was planned and could not be tested does not make the others more certain.
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]  # NaN sorts last
    factors = len(p_values) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted


def detectable_difference(deviation: float, n: int) -> float:
    """Return the smallest mean of ``n`` paired differences of that standard deviation that a z test finds.

    Two-sided at 5 %, with 80 % power: (z_0.975 + z_0.8) deviation / sqrt(n).
    """
    return float((stats.norm.ppf(_UPPER) + stats.norm.ppf(POWER)) * deviation / np.sqrt(n))


def detectable_accuracy(discordance: float, n: int) -> float:
    """Return the smallest difference in accuracy that McNemar's test finds among ``n`` people (Connor 1987).

    At 5 %, with 80 % power. ``discordance`` in (0, 1] is the share of people on whom exactly one of the two arms is
    right; NaN where even the greatest difference that it allows would be missed.
    """
    z_level, z_power = stats.norm.ppf(_UPPER), stats.norm.ppf(POWER)

    def lacking(difference: float) -> float:
        needed = z_level * np.sqrt(discordance) + z_power * np.sqrt(discordance - difference**2)
        return difference * np.sqrt(n) - needed

    return float(optimize.brentq(lacking, 0, discordance)) if lacking(discordance) > 0 else float("nan")


def _value_range(values: NDArray) -> Interval:
    if len(values) < 2:
        return Interval(float("nan"), float("nan"), "none")
    return Interval(float(values.min()), float(values.max()), "range")


def _finite(values: ArrayLike) -> NDArray:
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: drop or explain missing ones before computing an interval")
    return values
