"""Arrange a study's rows as the tables of a page, one row per training set. Computes no statistic of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from mri_aug.results.comparison import compare, summarise
from mri_aug.results.inference import MIN_SIMULATIONS
from mri_aug.results.metrics import REFERENCES
from mri_aug.results.people import compare_people, person_scores, scores_in


class Arm(Protocol):
    """What a table needs to know of a condition."""

    label: str
    protocol: str


_USES = {
    "mixed": "{real} + {synthetic}",
    "shuffled": "{real} + {synthetic}, labels shuffled",
    "only": "{synthetic} alone",
    "pretrain": "{synthetic} first, then {real}",
}
_BALANCES = {"none": "", "oversample": ", classes oversampled", "weights": ", class weights"}
_STEPS = ", as many steps as all"
_PEOPLE_SIZE = 64  # pixels, of networks that train on scarce people
_REFERENCES = {"shares": "class shares", "tissue": "tissue fractions", "pca": "PCA"}
_NETWORKS = {"resnet18": "ResNet-18", "vit_tiny": "ViT-tiny", "vit_b_16": "ViT-B/16"}


def arm_words(rows: pd.DataFrame, *, class_names: Sequence[str] = ()) -> dict[str, str]:
    r"""Return what each condition is called on the page, by its label, from the columns that describe it.

    Columns of later programs may be missing. ``class_names`` are in ordinal order, for conditions in which some classes
    alone receive synthetic images. On scarce people, the policy ``standard`` and 64 pixels go without saying.

    >>> arm_words(pd.DataFrame({"condition": ["a"], "real_frac": [0.3], "budget": ["steps"]}))
    {'a': '30\xa0% real, as many steps as all'}
    """
    first = rows.drop_duplicates("condition").to_dict("records")
    # a table joined to an older one has gaps where that lacked a column
    known = [{name: value for name, value in row.items() if pd.notna(value)} for row in first]
    return {row["condition"]: _words(row, class_names) for row in known}


def _words(row: Mapping, class_names: Sequence[str]) -> str:
    on_people = row.get("protocol") == "subject" and row["budget"] == "steps"
    unit = "people" if row.get("scarce") == "subjects" else "images" if on_people else "real"
    real = f"all {unit}" if row["real_frac"] == 1 else f"{_percent(row['real_frac'])} {unit}"
    text, generator = real, row.get("generator", "none")
    if generator != "none":
        labels = [int(label) for label in row["synth_classes"].split("+") if label]
        names = " + ".join(class_names[label] if label < len(class_names) else str(label) for label in labels)
        kind = "duplicates" if generator == "duplicate" else generator
        amount = f"{kind} of {names}" if names else f"{_percent(row['synth_frac'])} {kind}"
        text = _USES[row.get("synth_use", "mixed")].format(real=real, synthetic=amount)
    if row.get("filter", "none") != "none":
        text += f", {row['filter']} filter"
    if row.get("architecture") in REFERENCES:
        return f"{_REFERENCES[row['architecture']]}: {text}"
    policy, usual = row.get("policy", "none"), "standard" if on_people else "none"
    if policy != usual:
        text += ", no policy" if policy == "none" else f", {policy}"
    if on_people and row.get("image_size") != _PEOPLE_SIZE:
        text += f", {row['image_size']:g}\N{NO-BREAK SPACE}pixels"
    text += _BALANCES[row.get("balance", "none")] + _network(row)
    # synthetic images bring the count, and with it the steps, up to those of the full set by themselves
    return text + (_STEPS if row["budget"] == "steps" and generator == "none" and not on_people else "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}\N{NO-BREAK SPACE}%"  # kept together where a name is wrapped


def _network(row: Mapping) -> str:
    architecture, weights = row.get("architecture", "cnn"), row.get("weights", "none")
    text = "" if architecture == "cnn" else f", {_NETWORKS.get(architecture, architecture)}"
    if weights != "none":
        text += f", {'ImageNet' if weights == 'imagenet' else Path(weights).stem} weights"
    return text + (", head alone" if row.get("fine_tune") == "head" else "")


def rows_of(rows: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """Return the rows of these conditions, in the conditions' order; there may be none."""
    places = {(arm.label, arm.protocol): place for place, arm in enumerate(arms)}
    place = pd.Series(map(places.get, zip(rows["condition"], rows["protocol"], strict=True)), rows.index, dtype=float)
    order = pd.DataFrame({"place": place, "simulation": rows["simulation"]}).dropna()
    return rows.loc[order.sort_values(["place", "simulation"]).index]


def protocol_table(
    rows: pd.DataFrame,
    order: Sequence[str],
    *,
    measures: Mapping[str, str],
    words: Mapping[str, str],
    by: str = "condition",
    draft: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return medians with their intervals: a row per condition, a column per measure, and per protocol if several.

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
            scaled, form = (part.assign(**{metric: part[metric] * 100}), ".1f") if percent else (part, ".3f")
            found = (row for row in summarise(scaled, metric, by=by).itertuples() if row.n)
            texts = {
                row.condition: estimate_text(row.median, row.low, row.high, form, method=row.method) for row in found
            }
            title = title if rows["protocol"].nunique() == 1 else f"{protocol}: {title}"
            table[title] = [texts.get(name) for name in order]
    return table


def people_table(scores: pd.DataFrame, *, words: Mapping[str, str], ordered: bool = True) -> pd.DataFrame:
    """Return scores per person, of :func:`mri_aug.results.people.summarise_people`, as the page shows them.

    Columns ``training set`` (with a dagger where it is not better than the reference to beat); ``n``; ``log loss`` with
    its interval; ``raw``, the loss before calibration; ``accuracy``; where classes are ordered ``AUC``, ``kappa`` and
    ``Spearman``; and ``against tissue``, the paired difference with its interval, if it was compared.
    """
    if scores.empty:
        return scores
    rows = scores.to_dict("records")
    names = [words.get(row["condition"], row["condition"]) + " \N{DAGGER}" * bool(row["mark"]) for row in rows]
    table = pd.DataFrame({
        "training set": names,
        "n": scores["n"],
        "log loss": [estimate_text(row["log_loss"], row["low"], row["high"], method=row["method"]) for row in rows],
        "raw": scores["raw_log_loss"],
        **({"AUC": scores["auc"], "kappa": scores["kappa"], "Spearman": scores["spearman"]} if ordered else {}),
        "accuracy": scores["accuracy"],
    })  # fmt: skip
    if scores["to_reference"].notna().any():
        differences = scores[["to_reference", "to_low", "to_high", "method"]].itertuples(index=False)
        table["against tissue"] = [estimate_text(*row, "+.3f", method=method) for *row, method in differences]
    return table


def contrast_table(
    comparison: pd.DataFrame, *, words: Mapping[str, str], calibrated: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return a comparison, of ``compare`` or :func:`paired_groups`, as the page shows it.

    Columns ``training set``; ``against`` and ``protocol``, where there are several; ``n``; ``mean`` (of losses a
    geometric one, but per person the ordinary one); ``difference`` and ``interval`` (a range below ten simulations), in
    percent or nats per person where less is better; ``better in`` (of the simulations, with Wilson's interval); ``p``
    (Holm's, but the primary contrast's own), or, given the comparison after calibration, its differences in a column
    ``calibrated`` instead; and ``outcome``.
    """
    if comparison.empty:
        return comparison
    later = [] if calibrated is None else calibrated.to_dict("records")
    after = {(row["condition"], row.get("baseline")): difference_text(row) for row in later}
    records = []
    for row in comparison.to_dict("records"):
        difference, interval = _difference(row)
        records.append({
            "training set": words.get(row["condition"], row["condition"]),
            "against": words.get(row.get("baseline"), row.get("baseline")),
            "protocol": row.get("protocol"),
            "n": row["n"],
            "mean": row["level"],
            "difference": difference or None,
            "interval": interval,
            "calibrated": after.get((row["condition"], row.get("baseline"))),
            "better in": share_text(row),
            "p": None if pd.isna(p := row["p_holm"]) else f"{p:.2f}" if p >= 0.005 else "<0.01",
            "outcome": row["outcome"],
        })  # fmt: skip
    table = pd.DataFrame(records).drop(columns="p" if after else "calibrated")
    return table.drop(columns=[name for name in ("against", "protocol") if table[name].nunique() < 2])


def difference_text(row: Mapping) -> str:
    r"""Return a paired difference and its interval for a sentence: in percent, nats, or the metric's own unit.

    >>> row = {"unit": "nats per person", "difference": -0.05, "low": -0.09, "high": -0.01, "method": "people"}
    >>> difference_text(row).replace("\xa0", " ")
    '−0.050 nats [−0.090, −0.010]'
    """
    difference, interval = _difference(row)
    return f"{difference} ({interval})" if row["method"] == "range" else f"{difference} {interval}".removesuffix(" –")


def _difference(row: Mapping) -> tuple[str, str]:
    names, form, unit = ("difference", "low", "high"), "+.3f", ""
    if row["unit"] == "log ratio":
        names, form, unit = ("percent", "percent_low", "percent_high"), "+.1f", "\N{NO-BREAK SPACE}%"
    elif row["unit"] == "nats per person":
        unit = "\N{NO-BREAK SPACE}nats"
    value, low, high = (row[name] for name in names)
    text = minus_signs(f"{value:{form}}{unit}") if pd.notna(value) else ""
    return text, interval_text(low, high, form, method=row["method"])


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


def paired_groups(rows: pd.DataFrame, metric: str, *, baseline: str) -> pd.DataFrame:
    """Return paired differences from a baseline under each protocol.

    Under the subject protocol a cross-entropy is compared person by person
    (:func:`mri_aug.results.people.compare_people`), in nats and by the best score that the rows keep; where they keep
    none, as rows of earlier programs, it is compared as under the other protocols.

    Columns are those of :func:`mri_aug.results.comparison.compare`, with ``protocol``, ``group`` (its words) and
    ``value``: the mean difference, in percent where it is a log ratio. The table is empty where no protocol has
    simulations of the baseline and of anything else.
    """
    parts = []
    for protocol, part in rows.groupby("protocol"):
        if baseline not in set(part["condition"]) or part["condition"].nunique() == 1:
            continue
        if protocol == "subject" and metric == "test_cross_entropy" and (scores := scores_in(part)):
            found = compare_people(person_scores(part, scores[-1]), baseline=baseline)
        else:
            found = compare(part, metric, baseline=baseline)
        parts.append(found.assign(protocol=protocol, group=f"{protocol} protocol"))
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table.assign(value=table["percent"].where(table["unit"] == "log ratio", table["difference"]))


def sweep_curves(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the median of a metric with its interval against the share of real images.

    Columns ``group`` ("real alone", "with synthetic images", "with duplicates"), ``real_frac``, ``value``,
    ``low``, ``high``, ``n``; ordered by group, then share.
    """
    kinds = ("real alone", "with synthetic images", "with duplicates")
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
