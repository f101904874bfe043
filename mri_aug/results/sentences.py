"""Say in a sentence what a comparison found, whichever way it went.

Computes nothing but counts and a rank correlation; it reads rows of :mod:`mri_aug.results.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mri_aug.results.comparison import metric_name, require_columns
from mri_aug.results.inference import MIN_SIMULATIONS
from mri_aug.results.people import stacked_people
from mri_aug.results.tables import minus_signs

Verdict = Literal["better", "worse", "undecided"]

_PER_PERSON = "people and trainings"  # the method of an interval that covers which people were tested
MEANINGFUL_SHARE = 0.75  # Bouthillier et al. (2021), section 5


def verdict(row: Mapping) -> Verdict:
    """Return which way a paired comparison falls: the first word of its ``outcome``, if that is better or worse.

    Everything else is "undecided" here: fewer than ten simulations, and an interval that holds zero, be it inside the
    margin of equivalence or not.
    """
    found = row["outcome"].split(",")[0]
    return found if found in ("better", "worse") else "undecided"


def sentence(
    row: Mapping,
    *,
    condition: str | None = None,
    baseline: str | None = None,
    metric: str | None = None,
) -> str:
    """Return one sentence that says what a paired comparison found, with its numbers.

    Parameters
    ----------
    row : mapping
        A row of :func:`mri_aug.results.comparison.compare`.
    condition, baseline, metric : str, optional
        The words to use for them; the row's own by default.

    Returns
    -------
    str
        Begins with a capital and ends with a full stop.
    """
    condition = condition or str(row["condition"])
    baseline = baseline or str(row["baseline"])
    metric = metric or metric_name(row["metric"])
    prefix = "percent" if math.isfinite(row["percent"]) else "difference"
    found = verdict(row)
    if row["n"] < MIN_SIMULATIONS:
        return _capital(_too_few(row, prefix, condition, baseline, metric))
    if found == "undecided":
        n = int(row["n"])
        return _capital(
            f"{condition} and {baseline} cannot be told apart in {metric} by {n} paired simulations: "
            f"the mean paired difference is {_signed(row[prefix], prefix)} ({_interval(row, prefix, 1)}"
            f"{'; they are equivalent' if 'equivalent' in row['outcome'] else ''})."
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
        f"Only {simulations} run, too few for a verdict: the mean difference in {metric} between "
        f"{condition} and {baseline} is {_signed(row[prefix], prefix)}."
    )


def _caveats(row: Mapping, found: Verdict) -> str:
    text = ""
    share = row["probability"] if found == "better" else 1 - row["probability"]
    if share < MEANINGFUL_SHARE:
        text += f", less consistent than the {MEANINGFUL_SHARE:.2f} usually asked of a meaningful difference"
    if row["p_holm"] > 1 - row["confidence_level"]:
        adjusted = "" if row["primary"] else ", adjusted for the number of comparisons,"
        text += f"; the test for other images{adjusted} is less sure (p = {row['p_holm']:.2f})"
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: float, prefix: str) -> str:
    text = f"{value:.1f} %" if prefix == "percent" else f"{value:.3f}"
    return minus_signs(text)


def _signed(value: float, prefix: str) -> str:
    return ("+" if value > 0 else "") + _number(value, prefix)


def _interval(row: Mapping, prefix: str, sign: int) -> str:
    low, high = ("percent_low", "percent_high") if prefix == "percent" else ("low", "high")
    ends = sorted((sign * row[low], sign * row[high]))
    people = " over people" if row.get("method") == _PER_PERSON else ""
    first, last = (_number(end, prefix) for end in ends)
    return f"{row['confidence_level'] * 100:g} % interval{people} {first} to {last}"


def tally(comparison: pd.DataFrame, *, things: str, baseline: str, names: Mapping[str, str] | None = None) -> str:
    """Return one sentence that counts which way a baseline's comparisons fall, and names those that are decided.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.comparison.compare`, or part of it.
    things : str
        What the conditions are, in the plural.
    baseline : str
        The words to use for the baseline.
    names : mapping of str to str, optional
        Other words for conditions.

    Raises
    ------
    ValueError
        If the comparison has no rows.
    """
    if comparison.empty:
        raise ValueError("the comparison has no rows: nothing to count")
    rows = comparison.to_dict("records")
    if (n := int(comparison["n"].max())) < MIN_SIMULATIONS:
        begin, end = ("One paired simulation", "decides") if n == 1 else (f"{n} paired simulations", "decide")
        return f"{begin} of each of {len(rows)} {things} against {baseline} {end} nothing."
    metric, first = metric_name(rows[0]["metric"]), rows[0]
    verbs = {"better": "lower", "worse": "raise"} if first["lower_is_better"] else {"better": "raise", "worse": "lower"}
    said = []
    for (found, verb), what in zip(verbs.items(), (f"the {metric}", "it"), strict=True):
        named = [(names or {}).get(row["condition"], row["condition"]) for row in rows if verdict(row) == found]
        listed = f" ({'; '.join(named)})" if named else ""
        said.append(f"{_count(len(named))} {verb}{'s' * (len(named) == 1)} {what}{listed}")
    n_open = sum(verdict(row) == "undecided" for row in rows)
    people = " (intervals over people)" if first.get("method") == _PER_PERSON else ""
    return (
        f"Of {len(rows)} {things}, each compared with {baseline} in {n} paired simulations{people}, {said[0]}, "
        f"{said[1]}, and {_are(n_open)} undecided."
    )


def agreement(comparison: pd.DataFrame, *, things: str, protocols: tuple[str, str] = ("image", "subject")) -> str:
    """Return a few sentences on whether what is better under one protocol is so under another.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.tables.paired_groups`.
    things : str
        What the conditions are, in the plural.
    protocols : pair of str

    Raises
    ------
    ValueError
        If no condition was compared under both.
    """
    parts = [comparison[comparison["protocol"] == name].set_index("condition") for name in protocols]
    shared = [name for name in parts[0].index if name in parts[1].index]
    if not shared:
        raise ValueError(f"no condition was compared under both of the protocols {' and '.join(protocols)}")
    first, second = ({name: verdict(part.loc[name]) for name in shared} for part in parts)
    gained = [name for name in shared if first[name] == "better"]
    there = [sum(second[name] == found for name in gained) for found in ("better", "worse", "undecided")]
    alone = sum(second[name] == "better" and first[name] != "better" for name in shared)
    begin = f"{_count(len(gained)).capitalize()} of {len(shared)} {things} {'is' if len(gained) == 1 else 'are'}"
    text = f"{begin} better under the {protocols[0]} protocol"
    if gained:
        text += (
            f"; of these, under the {protocols[1]} protocol, {_are(there[0])} better too, {_are(there[1])} worse, and "
            f"{_are(there[2])} undecided"
        )
    text += f". {_are(alone).capitalize()} better under the {protocols[1]} protocol alone."
    values = [part.loc[shared, "value"] for part in parts]
    if len(shared) < 3 or any(value.nunique() < 2 for value in values):
        return text
    correlation = minus_signs(f"{spearmanr(*values).statistic:.2f}")
    return (
        f"{text} The rank correlation of their mean differences under the two is {correlation}, where 1 is the "
        "same order and 0 no order in common."
    )


def _are(n: int) -> str:
    return f"{_count(n)} {'is' if n == 1 else 'are'}"


def _count(n: int) -> str:
    return "none" if n == 0 else str(n)


def without_image(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the best answer scores that is the same for every test image.

    It names the share of each class in the test part, which nobody could know better; its cross-entropy is the entropy
    of those shares, and its accuracy the share of the most frequent class.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, with ``protocol``, ``simulation`` and ``by_subject``; arms of a simulation share their
        test part.

    Returns
    -------
    DataFrame
        A row per protocol, which is the index: ``cross_entropy`` in nats and ``accuracy``, medians over simulations.

    Raises
    ------
    ValueError
        If a column is missing or ``by_subject`` cannot be read.
    """
    require_columns(rows, ("protocol", "simulation", "by_subject"))
    records = []
    for row in rows.drop_duplicates(["protocol", "simulation"]).itertuples():
        _, people = stacked_people([row.by_subject], ("label", "n_images"))
        shares = np.bincount(people["label"].astype(int), weights=people["n_images"])
        shares = shares[shares > 0] / shares.sum()
        entropy = float(-(shares * np.log(shares)).sum())
        records.append({"protocol": row.protocol, "cross_entropy": entropy, "accuracy": float(shares.max())})
    return pd.DataFrame(records).groupby("protocol")[["cross_entropy", "accuracy"]].median()


def yardstick_sentences(rows: pd.DataFrame, arms: Sequence[str], *, names: Mapping[str, str]) -> str:
    """Return, for each protocol, a sentence on which arms do better than an answer without any image.

    Parameters
    ----------
    rows : DataFrame
        As for :func:`without_image`, with ``condition``, ``test_cross_entropy`` and ``test_accuracy``.
    arms : sequence of str
        Conditions to count, by their medians.
    names : mapping of str to str
        What each protocol's test part is called, in the order to speak of them.
    """
    line = without_image(rows)
    medians = rows[rows["condition"].isin(arms)].groupby(["protocol", "condition"])
    medians = medians[["test_cross_entropy", "test_accuracy"]].median()
    said = []
    for protocol, name in names.items():
        if protocol not in line.index:
            continue
        loss, accuracy = line.loc[protocol, ["cross_entropy", "accuracy"]]
        found = medians.loc[protocol]
        n_loss = int((found["test_cross_entropy"] < loss).sum())
        n_accuracy = int((found["test_accuracy"] > accuracy).sum())
        said.append(
            f"{name} the shares of the classes, named without a look at the image, have a cross-entropy of {loss:.3f}, "
            f"and the most frequent class is right for {100 * accuracy:.1f} %: of {len(found)} training sets, "
            f"{n_loss or 'none'} {'has' if n_loss == 1 else 'have'} a median loss below the former, and "
            f"{n_accuracy or 'none'} a median accuracy above the latter."
        )
    return " ".join(said)
