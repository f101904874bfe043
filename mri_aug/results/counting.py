"""Count which way many comparisons fall, and say it in a sentence that holds whichever way they do.

Computes no statistic but counts and a rank correlation; it reads rows that :func:`mri_aug.results.compare` made.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from scipy.stats import spearmanr

from mri_aug.results.wording import MIN_SIMULATIONS, PEOPLE, metric_name, minus_signs, verdict


def tally(comparison: pd.DataFrame, *, things: str, baseline: str, names: Mapping[str, str] | None = None) -> str:
    """Return one sentence that counts which way a baseline's comparisons fall, and names those that are decided.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.compare`, or part of it.
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
    people = " (intervals over people)" if first.get("method") == PEOPLE else ""
    return (
        f"Of {len(rows)} {things}, each held against {baseline} in {n} paired simulations{people}, {said[0]}, "
        f"{said[1]}, and {_are(n_open)} undecided."
    )


def agreement(comparison: pd.DataFrame, *, things: str, protocols: tuple[str, str] = ("image", "subject")) -> str:
    """Return a few sentences on whether what is better under one protocol is so under another.

    Parameters
    ----------
    comparison : DataFrame
        From :func:`mri_aug.results.tables.paired_groups`: rows of :func:`mri_aug.results.compare` and ``protocol``.
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
        f"{text} The rank correlation of their median differences under the two is {correlation}, where 1 is one and "
        "the same order and 0 no order in common."
    )


def _are(n: int) -> str:
    return f"{_count(n)} {'is' if n == 1 else 'are'}"


def _count(n: int) -> str:
    return "none" if n == 0 else str(n)
