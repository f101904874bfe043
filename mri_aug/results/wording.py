"""Put metrics and comparisons into words, so that prose follows the numbers whichever way they fall.

Computes no statistic; it reads rows that :func:`mri_aug.results.compare` made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Verdict = Literal["better", "worse", "undecided"]

MIN_SIMULATIONS = 5  # the extremes of n values hold the median with probability 1 - 2 ** (1 - n): 0.94 at five
PEOPLE = "people"  # the method of an interval that covers which people were tested
MEANINGFUL_SHARE = 0.75  # Bouthillier et al. (2021), section 5
_LOSSES = {"cross_entropy": "cross-entropy", "brier": "Brier score", "ece": "expected calibration error"}
_GAINS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "kappa": "quadratic weighted kappa",
}


def metric_name(column: str) -> str:
    """Return a column's name in words.

    >>> metric_name("test_subject_cross_entropy")
    'test cross-entropy per subject'
    """
    part, level, measure = _parse(column)
    if measure.startswith("recall_"):
        words = f"recall of class {measure.removeprefix('recall_')}"
    else:
        words = (_LOSSES | _GAINS).get(measure, measure.replace("_", " "))
    return " ".join(filter(None, (part, words, level and "per subject")))


def lower_is_better(column: str) -> bool:
    """Return whether smaller values of a metric are better.

    Raises
    ------
    ValueError
        If the column is not a metric of :func:`mri_aug.metrics.evaluate`.
    """
    measure = _parse(column)[2]
    if measure in _LOSSES:
        return True
    if measure in _GAINS or measure.startswith("recall_"):
        return False
    raise ValueError(f"cannot tell whether a lower {column!r} is better: pass lower_is_better=True or False")


def minus_signs(numbers: str) -> str:
    """Return formatted numbers with true minus signs in place of hyphens."""
    return numbers.replace("-", "\N{MINUS SIGN}")


def interval_text(low: float, high: float, specification: str = ".3f") -> str:
    """Return an interval in brackets that does not break over lines; a dash where it is not defined.

    >>> interval_text(0.1, 0.25)
    '[0.100,\\xa00.250]'
    >>> interval_text(float("nan"), float("nan"))
    '–'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return minus_signs(f"[{low:{specification}},\N{NO-BREAK SPACE}{high:{specification}}]")


def estimate_text(value: float, low: float, high: float, specification: str = ".3f") -> str:
    """Return a value and, where it is defined, its interval; a dash where there is no value.

    >>> estimate_text(-0.2, -0.25, 0.1, ".2f")
    '−0.20 [−0.25,\\xa00.10]'
    >>> estimate_text(0.2, float("nan"), float("nan"), ".2f")
    '0.20'
    """
    if not math.isfinite(value):
        return "–"
    text = minus_signs(f"{value:{specification}}")
    return f"{text} {interval_text(low, high, specification)}".removesuffix(" –")


def verdict(row: Mapping) -> Verdict:
    """Return which way a paired comparison falls.

    Parameters
    ----------
    row : mapping
        A row of :func:`mri_aug.results.compare`.

    Returns
    -------
    str
        "better" or "worse" where the interval of the median paired difference leaves out zero, seen from the
        condition; "undecided" where it does not, or where there are fewer than five simulations.
    """
    low, high = row["low"], row["high"]
    if row["n"] < MIN_SIMULATIONS or not (low > 0 or high < 0):
        return "undecided"
    return "better" if (high < 0) == row["lower_is_better"] else "worse"


def smallest_p_value(n: int) -> float:
    """Return the least p value that Wilcoxon's signed-rank test can give for ``n`` pairs, two-sided.

    >>> smallest_p_value(5)
    0.0625
    """
    return min(1.0, 2 / 2**n)


def sentence(
    row: Mapping,
    *,
    condition: str | None = None,
    baseline: str | None = None,
    metric: str | None = None,
    relative: bool | None = None,
) -> str:
    """Return one sentence that says what a paired comparison found, with its numbers.

    Parameters
    ----------
    row : mapping
        A row of :func:`mri_aug.results.compare`.
    condition, baseline, metric : str, optional
        The words to use for them; the row's own by default.
    relative : bool, optional
        Say the difference in percent of the baseline rather than in the metric's units. By default for
        metrics of which less is better.

    Returns
    -------
    str
        Begins with a capital and ends with a full stop.
    """
    condition = condition or str(row["condition"])
    baseline = baseline or str(row["baseline"])
    metric = metric or metric_name(row["metric"])
    relative = bool(row["lower_is_better"]) if relative is None else relative
    prefix = "percent" if relative and math.isfinite(row["percent"]) else "difference"
    found = verdict(row)
    if row["n"] < MIN_SIMULATIONS:
        return _capital(_too_few(row, prefix, condition, baseline, metric))
    if found == "undecided":
        n = int(row["n"])
        return _capital(
            f"{condition} and {baseline} cannot be told apart in {metric} by {n} paired simulations: "
            f"the median paired difference is {_signed(row[prefix], prefix)} ({_interval(row, prefix, 1)})."
        )
    sign = 1 if row["difference"] > 0 else -1
    return _capital(
        f"{condition} {'raises' if sign > 0 else 'lowers'} the {metric} by {_number(sign * row[prefix], prefix)} "
        f"({_interval(row, prefix, sign)}; {int(row['n'])} paired simulations) against {baseline}; "
        f"it is the better of the two in {100 * row['probability']:.0f} % of the simulations{_caveats(row, found)}."
    )


def _too_few(row: Mapping, prefix: str, condition: str, baseline: str, metric: str) -> str:
    n = int(row["n"])
    if n == 0:
        return f"No simulation of {condition} has a counterpart of {baseline}, so their {metric} is not compared."
    simulations = "one paired simulation was" if n == 1 else f"{n} paired simulations were"
    return (
        f"Only {simulations} run, too few for an interval to mean much: the median difference in {metric} between "
        f"{condition} and {baseline} is {_signed(row[prefix], prefix)}."
    )


def _caveats(row: Mapping, found: Verdict) -> str:
    text = ""
    share = row["probability"] if found == "better" else 1 - row["probability"]
    if share < MEANINGFUL_SHARE:
        text += f", less consistent than the {MEANINGFUL_SHARE:.2f} usually asked of a meaningful difference"
    level = 1 - row["confidence_level"]
    # with few pairs the test cannot be sure of anything, which says nothing about this comparison
    if row["p_holm"] > level >= smallest_p_value(row["n"]):
        adjusted = "" if row["primary"] else ", adjusted for the number of comparisons,"
        text += f"; a signed-rank test{adjusted} is less sure (p = {row['p_holm']:.2f})"
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _parse(column: str) -> tuple[str, str, str]:
    part, _, rest = column.partition("_")
    if part not in ("train", "validation", "test"):
        part, rest = "", column
    level = "subject" if rest.startswith("subject_") else ""
    return part, level, rest.removeprefix("subject_")


def _number(value: float, prefix: str) -> str:
    text = f"{value:.1f} %" if prefix == "percent" else f"{value:.3f}"
    return minus_signs(text)


def _signed(value: float, prefix: str) -> str:
    return ("+" if value > 0 else "") + _number(value, prefix)


def _interval(row: Mapping, prefix: str, sign: int) -> str:
    low, high = ("percent_low", "percent_high") if prefix == "percent" else ("low", "high")
    ends = sorted((sign * row[low], sign * row[high]))
    people = " over people" if row.get("method") == PEOPLE else ""
    first, last = (_number(end, prefix) for end in ends)
    return f"{row['confidence_level'] * 100:g} % interval{people} {first} to {last}"
