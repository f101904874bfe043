"""Arrange a study's rows as the tables of a page, one row per training set, and say in sentences what they show.

Computes no statistic of its own but counts, a rank correlation and the score of an answer without any image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mri_aug.results.comparison import compare, metric_name, require_columns, summarise
from mri_aug.results.inference import CONFIDENCE, MIN_SIMULATIONS
from mri_aug.results.people import compare_people, person_scores, scores_in, stacked_people

Verdict = Literal["better", "worse", "undecided"]

MEANINGFUL_SHARE = 0.75  # Bouthillier et al. (2021), section 5
_PER_PERSON = "people and trainings"  # the method of an interval that covers which people were tested
_USES = {
    "mixed": "{real} + {synthetic}",
    "shuffled": "{real} + {synthetic}, labels shuffled",
    "only": "{synthetic} alone",
    "pretrain": "{synthetic} first, then {real}",
}
_BALANCES = {"none": "", "oversample": ", classes oversampled", "weights": ", class weights"}
_STEPS = ", as many steps as all"


def arm_words(rows: pd.DataFrame, *, class_names: Sequence[str] = ()) -> dict[str, str]:
    r"""Return what each condition is called on the page, by its label, from the columns that describe it.

    Columns of later programs may be missing. ``class_names`` are in ordinal order, for conditions in which some classes
    alone receive variations.

    >>> arm_words(pd.DataFrame({"condition": ["a"], "real_frac": [0.3], "budget": ["steps"]}))
    {'a': '30\xa0% real, as many steps as all'}
    """
    first = rows.drop_duplicates("condition").to_dict("records")
    # a table joined to an older one has gaps where that lacked a column
    known = [{name: value for name, value in row.items() if pd.notna(value)} for row in first]
    return {row["condition"]: _words(row, class_names) for row in known}


def _words(row: Mapping, class_names: Sequence[str]) -> str:
    real = "all real" if row["real_frac"] == 1 else f"{_percent(row['real_frac'])} real"
    text, generator = real, row.get("generator", "none")
    if generator != "none":
        labels = [int(label) for label in row["synth_classes"].split("+") if label]
        names = " + ".join(class_names[label] if label < len(class_names) else str(label) for label in labels)
        kind = "duplicates" if generator == "duplicate" else "synthetic"
        amount = f"{kind} of {names}" if names else f"{_percent(row['synth_frac'])} {kind}"
        text = _USES[row.get("synth_use", "mixed")].format(real=real, synthetic=amount)
    if row.get("filter", "none") != "none":
        text += f", {row['filter']} filter"
    if row.get("policy", "none") != "none":
        text += f", {row['policy']}"
    text += _BALANCES[row.get("balance", "none")] + _network(row)
    # variations bring the count, and with it the steps, up to those of the full set by themselves
    return text + (_STEPS if row["budget"] == "steps" and generator == "none" else "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}\N{NO-BREAK SPACE}%"  # kept together where a name is wrapped


def _network(row: Mapping) -> str:
    architecture, weights = row.get("architecture", "cnn"), row.get("weights", "none")
    text = "" if architecture == "cnn" else f", {architecture}"
    if weights != "none":
        text += f", {'ImageNet' if weights == 'imagenet' else Path(weights).stem} weights"
    return text + (", head alone" if row.get("fine_tune") == "head" else "")


def protocol_table(
    rows: pd.DataFrame,
    order: Sequence[str],
    *,
    measures: Mapping[str, str],
    words: Mapping[str, str],
    by: str = "condition",
    draft: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return medians with their intervals, one row per condition and a column for each protocol and measure.

    Parameters
    ----------
    rows : DataFrame
        A study's table. A condition that a protocol lacks is missing there.
    order : sequence of str
        Conditions to show, from the top; ``by`` is the column that names them.
    measures, words : mapping of str to str
        Columns of the rows, and what each is called (accuracies are given in percent); what a condition is called.
    draft : mapping of str to float, optional
        A figure from elsewhere for some conditions; gives a column of its own.
    """
    table = pd.DataFrame({"training set": [words.get(name, name) for name in order]})
    if draft is not None:
        table["draft"] = [draft.get(name) for name in order]
    for protocol, part in rows.groupby("protocol"):
        for metric, title in measures.items():
            percent = metric.endswith("accuracy")
            scaled = part.assign(**{metric: part[metric] * 100}) if percent else part
            texts = {
                row.condition: estimate_text(
                    row.median, row.low, row.high, ".1f" if percent else ".3f", method=row.method
                )
                for row in summarise(scaled, metric, by=by).itertuples()
                if row.n
            }
            table[f"{protocol}: {title}"] = [texts.get(name) for name in order]
    return table


def contrast_table(comparison: pd.DataFrame, *, words: Mapping[str, str]) -> pd.DataFrame:
    """Return a comparison, of ``compare`` or :func:`paired_groups`, as the page shows it.

    Returns
    -------
    DataFrame
        Columns ``training set``; ``against`` and ``protocol``, where there are several; ``n``; ``mean`` (of losses a
        geometric one, but per person the ordinary one); ``difference`` and ``interval`` (a range below ten
        simulations), in percent or nats per person where less is better; ``better in`` (of the simulations, with
        Wilson's interval); ``p`` (Holm's, but the primary contrast's own); and ``outcome``.
    """
    several = [name for name in ("baseline", "protocol") if name in comparison and comparison[name].nunique() > 1]
    records = []
    for row in comparison.to_dict("records"):
        names, form, unit = ("difference", "low", "high"), "+.3f", ""
        if row["unit"] == "log ratio":
            names, form, unit = ("percent", "percent_low", "percent_high"), "+.1f", "\N{NO-BREAK SPACE}%"
        elif row["unit"] == "nats per person":
            unit = "\N{NO-BREAK SPACE}nats"
        value, low, high = (row[name] for name in names)
        records.append(
            {"training set": words.get(row["condition"], row["condition"])}
            | ({"against": words.get(row["baseline"], row["baseline"])} if "baseline" in several else {})
            | ({"protocol": row["protocol"]} if "protocol" in several else {})
            | {
                "n": row["n"],
                "mean": row["level"],
                "difference": minus_signs(f"{value:{form}}{unit}") if pd.notna(value) else None,
                "interval": interval_text(low, high, form, method=row["method"]),
                "better in": share_text(row),
                "p": f"{row['p_holm']:.2f}" if pd.notna(row["p_holm"]) else None,
                "outcome": row["outcome"],
            }
        )
    return pd.DataFrame(records)


def share_text(row: Mapping) -> str:
    r"""Return in how many simulations a condition is the better one: in percent with Wilson's interval, or counted.

    >>> share_text({"n": 2, "probability": 0.5})
    '1 of 2'
    >>> share_text({"n": 20, "probability": 0.95, "probability_low": 0.764, "probability_high": 0.991})
    '95 % [76,\xa099]'
    """
    if row["n"] == 0:
        return "–"
    if row["n"] < MIN_SIMULATIONS:
        return f"{row['probability'] * row['n']:g} of {row['n']}"
    low, high = 100 * row["probability_low"], 100 * row["probability_high"]
    return f"{100 * row['probability']:.0f} % {interval_text(low, high, '.0f')}"


def recalls(rows: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the median test recall of each class with its interval over simulations.

    Columns ``condition``, ``group`` (the class), ``value``, ``low``, ``high``, ``n`` (simulations that test the class).
    """
    parts = [summarise(rows, f"test_recall_{label}").assign(group=name) for label, name in enumerate(class_names)]
    return pd.concat(parts, ignore_index=True).rename(columns={"median": "value"})


def paired_groups(
    rows: pd.DataFrame, metric: str, *, baseline: str, by: str = "condition", primary: str | None = None
) -> pd.DataFrame:
    """Return paired differences from a baseline under each protocol.

    Under the subject protocol a cross-entropy is compared person by person
    (:func:`mri_aug.results.people.compare_people`), in nats and by the best score that the rows keep; where they keep
    none, as rows of earlier programs, it is compared as under the other protocols.

    Returns
    -------
    DataFrame
        The columns of :func:`mri_aug.results.comparison.compare`, with ``protocol``, ``group`` (its words) and
        ``value``: the mean difference, in percent where it is a log ratio.
    """
    parts = []
    for protocol, part in rows.groupby("protocol"):
        if baseline not in set(part[by]) or part[by].nunique() == 1:
            continue
        if protocol == "subject" and metric == "test_cross_entropy" and (scores := scores_in(part)):
            found = compare_people(person_scores(part, scores[-1], by=by), baseline=baseline, primary=primary)
        else:
            found = compare(part, metric, baseline=baseline, by=by, primary=primary)
        parts.append(found.assign(protocol=protocol, group=f"{protocol} protocol"))
    if not parts:
        raise ValueError(f"no protocol has simulations of {baseline!r} and of anything else")
    table = pd.concat(parts, ignore_index=True)
    return table.assign(value=table["percent"].where(table["unit"] == "log ratio", table["difference"]))


def sweep_curves(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the median of a metric with its interval against the share of real images.

    Columns ``group`` ("real alone", "filled with variations", "filled with duplicates"), ``real_frac``, ``value``,
    ``low``, ``high``, ``n``; ordered by group, then share.
    """
    kinds = ("real alone", "filled with variations", "filled with duplicates")
    table = summarise(rows, metric).rename(columns={"median": "value"})
    columns = rows.drop_duplicates("condition").set_index("condition").loc[table["condition"]]
    place = columns["generator"].map({"none": 0, "duplicate": 2}).fillna(1).astype(int).to_numpy()
    table["group"] = [kinds[k] for k in place]
    table["real_frac"] = columns["real_frac"].to_numpy(dtype=float)
    return table.assign(place=place).sort_values(["place", "real_frac"], ignore_index=True).drop(columns="place")


def minus_signs(numbers: str) -> str:
    """Return formatted numbers with true minus signs in place of hyphens."""
    return numbers.replace("-", "\N{MINUS SIGN}")


def interval_text(low: float, high: float, specification: str = ".3f", *, method: str = "") -> str:
    r"""Return an interval in brackets that does not break over lines, or a range; a dash where it is not defined.

    >>> interval_text(0.1, 0.25)
    '[0.100,\xa00.250]'
    >>> interval_text(0.1, 0.25, method="range")
    '0.100\xa0to\xa00.250'
    >>> interval_text(float("nan"), float("nan"))
    '–'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    ends = [f"{end:{specification}}" for end in (low, high)]
    if method == "range":
        return minus_signs("\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}".join(ends))
    return minus_signs(f"[{ends[0]},\N{NO-BREAK SPACE}{ends[1]}]")


def estimate_text(value: float, low: float, high: float, specification: str = ".3f", *, method: str = "") -> str:
    r"""Return a value and, where it is defined, its interval; a dash where there is no value.

    >>> estimate_text(-0.2, -0.25, 0.1, ".2f")
    '−0.20 [−0.25,\xa00.10]'
    >>> estimate_text(0.2, float("nan"), float("nan"), ".2f")
    '0.20'
    """
    if not math.isfinite(value):
        return "–"
    text, around = minus_signs(f"{value:{specification}}"), interval_text(low, high, specification, method=method)
    return f"{text} ({around})" if method == "range" else f"{text} {around}".removesuffix(" –")


def verdict(row: Mapping) -> Verdict:
    """Return which way a paired comparison falls: the first word of its ``outcome``, if that is better or worse.

    Everything else is "undecided" here: fewer than ten simulations, and an interval that holds zero, be it inside the
    margin of equivalence or not.
    """
    found = row["outcome"].split(",")[0]
    return found if found in ("better", "worse") else "undecided"


def sentence(
    row: Mapping, *, condition: str | None = None, baseline: str | None = None, metric: str | None = None
) -> str:
    """Return one sentence that says what a paired comparison, a row of ``compare``, found, with its numbers.

    Condition, baseline and metric are called by the words given, or by the row's own.
    """
    condition = condition or str(row["condition"])
    baseline = baseline or str(row["baseline"])
    metric = metric or metric_name(row["metric"])
    n, found = int(row["n"]), verdict(row)
    if n < MIN_SIMULATIONS:
        text = _too_few(row, condition, baseline, metric)
    elif found == "undecided":
        text = (
            f"{condition} and {baseline} cannot be told apart in {metric} by {n} paired simulations: "
            f"the mean paired difference is {_signed(row)} ({_interval(row, 1)}"
            f"{'; they are equivalent' if 'equivalent' in row['outcome'] else ''})."
        )
    else:
        sign = 1 if row["difference"] > 0 else -1
        text = (
            f"{condition} {'raises' if sign > 0 else 'lowers'} the {metric} by {_number(row, sign=sign)} "
            f"({_interval(row, sign)}; {n} paired simulations) against {baseline}; "
            f"it is the better of the two in {100 * row['probability']:.0f} % of the simulations{_caveats(row, found)}."
        )
    return text[:1].upper() + text[1:]


def _too_few(row: Mapping, condition: str, baseline: str, metric: str) -> str:
    n = int(row["n"])
    if n == 0:
        return f"No simulation of {condition} has a counterpart of {baseline}, so their {metric} is not compared."
    simulations = "one paired simulation was" if n == 1 else f"{n} paired simulations were"
    return (
        f"Only {simulations} run, too few for a verdict: the mean difference in {metric} between "
        f"{condition} and {baseline} is {_signed(row)}."
    )


def _caveats(row: Mapping, found: Verdict) -> str:
    text = ""
    share = row["probability"] if found == "better" else 1 - row["probability"]
    if share < MEANINGFUL_SHARE:
        text += f", less consistent than the {MEANINGFUL_SHARE:.2f} usually asked of a meaningful difference"
    if row["p_holm"] > 1 - CONFIDENCE:
        adjusted = "" if row["primary"] else ", adjusted for the number of comparisons,"
        text += f"; the test for other images{adjusted} is less sure (p = {row['p_holm']:.2f})"
    return text


def _number(row: Mapping, end: str = "", *, sign: int = 1) -> str:
    """Return a difference, or the ``_low`` or ``_high`` end of its interval, in percent where it is a ratio."""
    if math.isfinite(row["percent"]):
        return minus_signs(f"{sign * row[f'percent{end}']:.1f} %")
    return minus_signs(f"{sign * row[end.lstrip('_') or 'difference']:.3f}")


def _signed(row: Mapping) -> str:
    return ("+" if row["difference"] > 0 else "") + _number(row)


def _interval(row: Mapping, sign: int) -> str:
    first, last = (_number(row, end, sign=sign) for end in ("_low", "_high")[::sign])
    people = " over people" if row.get("method") == _PER_PERSON else ""
    return f"{100 * CONFIDENCE:g} % interval{people} {first} to {last}"


def tally(comparison: pd.DataFrame, *, things: str, baseline: str, names: Mapping[str, str] | None = None) -> str:
    """Return one sentence that counts which way a baseline's comparisons fall, and names those that are decided.

    ``things`` says what the conditions are, in the plural; ``baseline`` and ``names`` are other words for conditions. A
    comparison without rows is a ValueError.
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


def agreement(comparison: pd.DataFrame, *, things: str) -> str:
    """Return a few sentences on whether what is better under the image protocol is so under the subject protocol.

    Takes a table of :func:`paired_groups`, and what its conditions are, in the plural; a ValueError says that no
    condition was compared under both.
    """
    parts = [comparison[comparison["protocol"] == name].set_index("condition") for name in ("image", "subject")]
    shared = [name for name in parts[0].index if name in parts[1].index]
    if not shared:
        raise ValueError("no condition was compared under both of the protocols image and subject")
    first, second = ({name: verdict(part.loc[name]) for name in shared} for part in parts)
    gained = [name for name in shared if first[name] == "better"]
    there = [sum(second[name] == found for name in gained) for found in ("better", "worse", "undecided")]
    alone = sum(second[name] == "better" and first[name] != "better" for name in shared)
    begin = f"{_count(len(gained)).capitalize()} of {len(shared)} {things} {'is' if len(gained) == 1 else 'are'}"
    text = f"{begin} better under the image protocol"
    if gained:
        better, worse, undecided = map(_are, there)
        text += f"; of these, under the subject protocol, {better} better too, {worse} worse, and {undecided} undecided"
    text += f". {_are(alone).capitalize()} better under the subject protocol alone."
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
    of those shares, and its accuracy the share of the most frequent class. Rows have ``protocol``, ``simulation`` and
    ``by_subject``; arms of a simulation share their test part. Returns ``cross_entropy`` in nats and ``accuracy``,
    medians over simulations, by protocol.
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

    Takes rows as :func:`without_image` does, the conditions to count by their medians, and what each protocol's test
    part is called, in the order to speak of them.
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
