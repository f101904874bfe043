"""Scores of held-out people, one per person and simulation, and comparisons of conditions by them.

Computed from the class probabilities that each row keeps of its test people, so that no score needs another training.
Slices are never treated as independent: those of one person are nearly identical.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mri_aug.results import comparison, inference
from mri_aug.results.metrics import REFERENCES

# four readings of one training: its last step and its best on the validation part, each raw and calibrated
SCORES = ("last", "calibrated", "validated", "validated_calibrated")
FLOOR = 5e-5  # of a probability: rows keep four decimals, and a kept zero is less than this
MARGIN = 0.05  # nats per person: half of what twelve tissue fractions gain over the shares of the classes
# measure: its column of the people's table, the metric that it is called, whether less is better
MEASURES = {
    "log_loss": ("log_loss", "test_subject_cross_entropy", True),
    "accuracy": ("correct", "test_subject_accuracy", False),
    "auc": ("ranked", "test_subject_auc", False),
}


def scores_in(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return which of ``SCORES`` every row keeps for its test people, the best last."""
    texts = rows.get("by_subject", [])
    return tuple(name for name in SCORES if len(texts) and all(f'"{name}":[[' in str(text) for text in texts))


def person_scores(rows: pd.DataFrame, score: str = "validated_calibrated", *, by: str = "condition") -> pd.DataFrame:
    """Return each person's scores by networks that were not trained on them.

    ValueError if a column is lacking, people are unknown, a score is not kept, or a person's labels disagree.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, with ``simulation``, ``by`` and ``by_subject``. The simulations of a ``repeat`` test
        every person once; where that column is missing or -1 each simulation is a repeat.
    score : str
        Of ``SCORES``.
    by : str
        The column that names the conditions.

    Returns
    -------
    DataFrame
        A row per condition, simulation and person: ``condition``, ``simulation``, ``repeat``, ``subject``, ``label``,
        ``p_0`` .. (class probabilities), ``log_loss`` (nats; probabilities below ``FLOOR`` count as that),
        ``raw_log_loss`` (of the same network before calibration), ``correct`` (1 or 0), ``grade`` (the expected class)
        and ``ranked``: what the person adds to the area under the curve of demented against not, so that its mean over
        a simulation's people is the area.
    """
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    comparison.check_table(rows, ("simulation", by, "by_subject"), by)
    raw = {"calibrated": "last", "validated_calibrated": "validated"}.get(score, score)
    row, people = stacked_people(rows["by_subject"], list(dict.fromkeys(("subject", "label", score, raw))))
    if not len(row):
        raise ValueError("by_subject is empty: the subjects of this dataset are unknown, recover them first")
    labels, probabilities = people["label"].astype(int), people[score]
    simulations = rows["simulation"].to_numpy()
    repeats = rows["repeat"].to_numpy() if "repeat" in rows else np.full(len(rows), -1)
    table = pd.DataFrame(
        {
            "condition": pd.Categorical(rows[by], rows[by].unique())[row],
            "simulation": simulations[row],
            "repeat": np.where(repeats < 0, simulations, repeats)[row],
            "subject": people["subject"],
            "label": labels,
            **{f"p_{k}": column for k, column in enumerate(probabilities.T)},
            **{
                name: -np.log(np.maximum(people[kept][np.arange(len(labels)), labels], FLOOR))
                for name, kept in (("log_loss", score), ("raw_log_loss", raw))
            },
            "correct": (probabilities.argmax(axis=1) == labels).astype(float),
            "grade": probabilities @ np.arange(probabilities.shape[1]),
        }
    )
    if (table.groupby("subject")["label"].nunique() > 1).any():
        raise ValueError("a subject has different labels in different rows: these are not simulations of one dataset")
    return table.assign(ranked=_shares_of_auc(table["grade"], labels > 0, row))


def summarise_people(
    people: pd.DataFrame, *, references: Sequence[str] = (), to_beat: str | None = None
) -> pd.DataFrame:
    """Return the scores of each condition, the references first, from the table of :func:`person_scores`.

    ``references``, in the order to show, are found by :func:`reference_conditions`; ``to_beat`` is the one, of tissue
    fractions in this study, that a network must beat.

    Returns
    -------
    DataFrame
        A row per condition: ``condition``, ``reference`` (bool), ``n_people``, ``n_repeats``, ``n`` (simulations),
        ``log_loss`` with ``low``, ``high``, ``method`` (:func:`mri_aug.results.inference.crossed_interval`),
        ``raw_log_loss``, ``auc`` (demented against not, by the expected class) and ``spearman`` (expected class with
        label), means over simulations, since ranks are comparable within one network only; ``kappa`` (quadratic
        weights), mean over repeats; ``accuracy``; ``to_reference`` with ``to_low``, ``to_high``: the paired difference
        in log loss from ``to_beat``, and ``mark``: "not better than" it where that is not better by
        :func:`compare_people`, else empty.
    """
    known = _conditions(people)
    for name in references:
        comparison.check_known(name, known, "reference", "condition")
    paired = pd.DataFrame()
    if to_beat is not None and len(known) > 1:
        paired = compare_people(people, baseline=to_beat).set_index("condition")
    records = []
    for name in [*references, *(name for name in known if name not in references)]:
        part = people[people["condition"] == name]
        log_loss, interval = _interval(part, "log_loss")
        to_reference, outcome = (np.nan,) * 3, "better"
        if name in paired.index:
            *to_reference, outcome = paired.loc[name, ["difference", "low", "high", "outcome"]]
        is_marked = name not in references and not outcome.startswith("better")
        records.append(
            {
                "condition": name,
                "reference": name in references,
                "n_people": part["subject"].nunique(),
                "n_repeats": part["repeat"].nunique(),
                "n": part["simulation"].nunique(),
                "log_loss": log_loss,
                **interval._asdict(),
                "raw_log_loss": part["raw_log_loss"].mean(),
                "auc": part["ranked"].mean(),
                "kappa": _kappa(part),
                "accuracy": part["correct"].mean(),
                "spearman": _spearman(part),
                **dict(zip(("to_reference", "to_low", "to_high"), to_reference, strict=True)),
                "mark": f"not better than {to_beat}" if is_marked else "",
            }
        )
    return pd.DataFrame(records)


def whole_repeats(rows: pd.DataFrame, *, n_folds: int = 5) -> pd.DataFrame:
    """Return the rows of each condition's repeats that test everybody once; all rows where no condition has one.

    A repeat that is not finished would weigh its people twice, and some folds of a condition cannot stand beside all of
    another. ``rows`` has ``condition``, ``repeat`` and ``fold``.
    """
    comparison.require_columns(rows, ("condition", "repeat", "fold"))
    whole = rows.groupby(["condition", "repeat"])["fold"].transform("nunique").eq(n_folds)
    return rows[whole] if whole.any() else rows


def reference_conditions(rows: pd.DataFrame, *, by: str = "condition") -> list[str]:
    """Return the conditions whose architecture is one of ``REFERENCES``, in that order."""
    comparison.require_columns(rows, ("architecture", by))
    first = rows.drop_duplicates(by)
    return [name for kind in REFERENCES for name in first.loc[first["architecture"] == kind, by]]


def full_reference(rows: pd.DataFrame, kind: str = "tissue") -> str | None:
    """Return the condition of a reference on all real people, or None. Every network must beat the tissue fractions."""
    comparison.require_columns(rows, ("architecture", "condition", "real_frac", "generator"))
    found = rows[(rows["architecture"] == kind) & (rows["real_frac"] == 1) & (rows["generator"] == "none")]
    return None if found.empty else found["condition"].iloc[0]


def compare_people(people: pd.DataFrame, *, baseline: str, measure: str = "log_loss") -> pd.DataFrame:
    """Compare every condition with a baseline, person by person.

    Takes the table of :func:`person_scores`. Differences are paired within a simulation, which tests the same people in
    every condition; simulations that one of the two lacks are left out. ``measure`` is one of ``MEASURES``.

    Returns
    -------
    DataFrame
        The columns of :func:`mri_aug.results.comparison.compare`, and ``n_people`` and ``n_repeats``. The differences
        are not relative: ``unit`` is "nats per person" for log loss, and the margin ``MARGIN``. The interval is
        :func:`mri_aug.results.inference.crossed_interval`'s.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    column, metric, lower_is_better = MEASURES[measure]
    is_loss, records = measure == "log_loss", []
    for condition in comparison.other_conditions(_conditions(people), baseline, "condition"):
        both, n_unpaired = _paired(people, condition, baseline)
        both = both.assign(difference=both[column] - both[f"{column}_baseline"]).dropna(subset="difference")
        difference, interval = _interval(both, "difference")
        found = {
            "condition": condition,
            "baseline": baseline,
            "metric": metric,
            "lower_is_better": lower_is_better,
            "unit": "nats per person" if is_loss else "difference",
            "n_unpaired": n_unpaired,
            "n_people": both["subject"].nunique(),
            "n_repeats": both["repeat"].nunique(),
            "level": both[column].mean(),
            "baseline_level": both[f"{column}_baseline"].mean(),
            "difference": difference,
            "margin": MARGIN if is_loss else float("nan"),
        }
        by_simulation = both.groupby("simulation")["difference"].mean().to_numpy()
        records.append(comparison.contrast_record(found, interval, by_simulation))
    return comparison.with_holm(pd.DataFrame(records))


def _conditions(people: pd.DataFrame) -> pd.Index:
    """Return the conditions that the table has, in their order: one that was cut from another keeps its categories."""
    return people["condition"].cat.remove_unused_categories().cat.categories


def _paired(people: pd.DataFrame, condition: str, baseline: str) -> tuple[pd.DataFrame, int]:
    """Return what both conditions graded, a row per simulation and person, and how many simulations one lacks."""
    columns = [column for column, *_ in MEASURES.values()]
    first, second = (
        people[people["condition"] == name].set_index(["simulation", "subject"]) for name in (condition, baseline)
    )
    both = first[[*columns, "repeat", "label"]].join(second[columns].add_suffix("_baseline"), how="inner")
    simulations = [set(arm.index.get_level_values("simulation")) for arm in (first, second)]
    return both.reset_index(), len(simulations[0] ^ simulations[1])


def power_table(
    people: pd.DataFrame, condition: str, baseline: str, *, n_people: Sequence[int] = (40, 100, 200, 400, 800)
) -> pd.DataFrame:
    """Return the smallest differences that a study of so many people finds with 80 % power, at 5 %.

    The spread is the record's own: of a person's difference in log loss, averaged over the repeats at hand, and the
    discordance within a simulation, the share of people on whom exactly one of two arms is right. Columns ``n_people``,
    ``log_loss`` (nats), ``accuracy``, and ``deviation`` and ``discordance``, which they rest on.
    """
    both, _ = _paired(people, condition, baseline)
    discordance = float((both["correct"] != both["correct_baseline"]).mean())
    per_person = (both["log_loss"] - both["log_loss_baseline"]).groupby(both["subject"]).mean()
    deviation = float(per_person.std())
    return pd.DataFrame(
        {
            "n_people": n,
            "log_loss": inference.detectable_difference(deviation, n),
            "accuracy": inference.detectable_accuracy(discordance, n),
            "deviation": deviation,
            "discordance": discordance,
        }
        for n in n_people
    )


def reliability(people: pd.DataFrame, *, n_bins: int = 10) -> pd.DataFrame:
    """Return the curve of a reliability diagram: the share that is demented among people of like predictions.

    Bins are of equal width, for the probability of any class but the lowest; those without people are left out. Columns
    ``condition``, ``bin``, ``predicted`` (mean probability), ``observed`` (share demented) with ``low`` and ``high``
    (Wilson's interval of as many people as the bin holds in a repeat, on average), and ``n_people``, that average.
    """
    table = pd.DataFrame({"condition": people["condition"], "repeat": people["repeat"], "predicted": 1 - people["p_0"]})
    table["observed"] = (people["label"] > 0).astype(float)
    table["bin"] = np.clip((table["predicted"] * n_bins).astype(int), 0, n_bins - 1)
    curve = table.groupby(["condition", "bin"], observed=True).agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), n=("predicted", "size")
    )
    n_repeats = table.groupby("condition", observed=True)["repeat"].nunique()
    curve["n_people"] = curve["n"] / n_repeats.reindex(curve.index.get_level_values("condition")).to_numpy()
    sizes = curve["n_people"].round().clip(1).astype(int)
    ends = [inference.share_interval(share, n)[:2] for share, n in zip(curve["observed"], sizes, strict=True)]
    curve[["low", "high"]] = np.array(ends)
    return curve.drop(columns="n").reset_index()


def stacked_people(texts: Sequence[str], names: Sequence[str]) -> tuple[NDArray, dict[str, NDArray]]:
    """Return columns of :func:`mri_aug.results.metrics.encode_by_subject` from many rows, end to end.

    Before them stands the place in ``texts`` that each entry is from. Columns have shape (n,) or (n, n_classes).
    """
    lengths, lists = [], {name: [] for name in names}
    for text in texts:
        try:
            table = json.loads(text)
            columns = {name: table[name] for name in names}
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"by_subject must be JSON written by encode_by_subject with {', '.join(names)}, got {str(text)[:60]!r}"
            ) from error
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError(f"by_subject has columns of different lengths: {text[:60]!r}")
        lengths.append(len(columns[names[0]]))
        for name, values in columns.items():
            lists[name].extend(values)
    return np.repeat(np.arange(len(lengths)), lengths), {name: _array(values) for name, values in lists.items()}


def _array(values: list) -> NDArray:
    if not values or not isinstance(values[0], list):
        return np.array(values)
    # np.array of nested lists takes ten times as long
    return np.fromiter(chain.from_iterable(values), float).reshape(len(values), -1)


def _interval(part: pd.DataFrame, column: str) -> tuple[float, inference.Interval]:
    """Return the mean of a column over people and simulations, and its interval."""
    subjects, place = np.unique(part["subject"], return_inverse=True)
    simulations, first, at = np.unique(part["simulation"], return_index=True, return_inverse=True)
    values = np.full((len(subjects), len(simulations)), np.nan)
    labels = np.zeros(len(subjects), dtype=int)
    values[place, at] = part[column]
    labels[place] = part["label"]
    return inference.crossed_interval(values, labels, part["repeat"].to_numpy()[first])


def _shares_of_auc(grade: pd.Series, demented: NDArray, simulation: NDArray) -> NDArray:
    r"""Return what each person adds to the area under the curve, so that the area is a mean over people.

    In a simulation of area :math:`A` that tests :math:`n` people, a person's placement :math:`V` is the share of those
    of the other kind whom the network orders rightly, ties counting half (DeLong, DeLong and Clarke-Pearson 1988). With
    :math:`m` people of their own kind, a person has :math:`A + (V - A) n / m`. NaN if one kind alone is tested.
    """
    kind = 2 * simulation + demented
    beaten = grade.groupby(simulation).rank().to_numpy() - grade.groupby(kind).rank().to_numpy()
    n, n_own = np.bincount(simulation)[simulation], np.bincount(kind)[kind]
    with np.errstate(invalid="ignore", divide="ignore"):
        placement = beaten / (n - n_own)
    placement = np.where(demented, placement, 1 - placement)
    area = np.bincount(kind, weights=placement)[kind] / n_own  # the same for either kind
    return area + (placement - area) * n / n_own


def _kappa(people: pd.DataFrame) -> float:
    """Return the quadratic weighted kappa, mean over repeats (Cohen 1968)."""
    probabilities = people.filter(regex="^p_").to_numpy()
    n_classes, n_repeats = probabilities.shape[1], people["repeat"].nunique()
    repeat = np.unique(people["repeat"], return_inverse=True)[1]
    code = (repeat * n_classes + people["label"].to_numpy()) * n_classes + probabilities.argmax(axis=1)
    tables = np.bincount(code, minlength=n_repeats * n_classes**2).reshape(-1, n_classes, n_classes)
    weights = np.subtract.outer(np.arange(n_classes), np.arange(n_classes)) ** 2
    expected = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :] / tables.sum(axis=(1, 2))[:, None, None]
    with np.errstate(invalid="ignore"):
        return pd.Series(1 - (weights * tables).sum(axis=(1, 2)) / (weights * expected).sum(axis=(1, 2))).mean()


def _spearman(people: pd.DataFrame) -> float:
    """Return the rank correlation of expected class and label, mean over simulations."""
    ranks = people.groupby("simulation")[["grade", "label"]].rank().groupby(people["simulation"].to_numpy())
    return ranks.corr()["grade"].xs("label", level=1).mean()
