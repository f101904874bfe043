"""The contrasts that were planned before the study was computed, found in its rows by what their arms are.

One primary contrast, whose p value is not adjusted; four secondary ones, adjusted together by Holm's method. All other
comparisons are exploratory and are not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from mri_aug.results.comparison import require_columns, summarise, with_holm
from mri_aug.results.people import compare_people, person_scores, whole_repeats

# median validation cross-entropy of 100 simulations (the draft, chapter 7)
DRAFT = MappingProxyType({"30 % real": 0.219863, "all real": 0.176023, "30 % real + 70 % synthetic": 0.174202})

# a table from before a column was introduced has its default
_PLAIN = {"weights": "none", "fine_tune": "all", "synth_classes": "", "filter": "none", "balance": "none"}
_DEFAULTS = _PLAIN | {"scarce": "images", "synth_use": "mixed", "image_size": 128}
_FILLED = {"real_frac": 0.3, "scarce": "subjects", "synth_frac": 0.7, "synth_use": "mixed"}
_ARMS: Mapping[str, Mapping] = {
    "30 % of people": _FILLED | {"synth_frac": 0.0, "generator": "none"},
    "30 % of people + 70 % diffusion": _FILLED | {"generator": "diffusion"},
    "30 % of people + 70 % duplicates": _FILLED | {"generator": "duplicate"},
    "30 % of people + 70 % simulated": _FILLED | {"generator": "simulated"},
    "30 % of people + 70 % morph": _FILLED | {"generator": "morph"},
    "all real people": {"real_frac": 1.0, "generator": "none", "synth_use": "mixed"},
    "simulated alone": {"generator": "simulated", "synth_use": "only"},
}
# what an arm is in every other respect
_SHARED = _PLAIN | {"protocol": "subject", "architecture": "cnn", "policy": "standard", "image_size": 64}
_DRAFT_SHARED = _DEFAULTS | {"protocol": "image", "architecture": "cnn", "policy": "none", "budget": "epochs"}
_DRAFT_ARMS = (
    {"real_frac": 0.3, "generator": "none"}, {"real_frac": 1.0, "generator": "none"},
    {"real_frac": 0.3, "synth_frac": 0.7, "generator": "morph"},
)  # fmt: skip


class Contrast(NamedTuple):
    """Two arms that are compared, and whether the comparison is the primary one."""

    condition: str
    baseline: str
    primary: bool = False


PLANNED = (
    Contrast("30 % of people + 70 % diffusion", "30 % of people + 70 % duplicates", primary=True),
    Contrast("30 % of people + 70 % simulated", "30 % of people + 70 % duplicates"),
    Contrast("30 % of people + 70 % morph", "30 % of people + 70 % duplicates"),
    Contrast("30 % of people + 70 % simulated", "all real people"),
    Contrast("simulated alone", "all real people"),
)
_COLUMNS = [
    "contrast", "condition", "baseline", "n", "n_repeats", "n_people", "level", "baseline_level", "difference", "low",
    "high", "method", "unit", "margin", "p_value", "p_holm", "probability", "probability_low", "probability_high",
    "outcome", "note", "primary",
]  # fmt: skip


def planned_contrasts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the five planned contrasts of the subject protocol, whether or not their arms were computed yet.

    Takes a study's table, of any protocols and conditions; ValueError if several of these are one planned arm. Networks
    are the validated and calibrated ones, trained at 64 x 64 under the policy ``standard``.

    Returns
    -------
    DataFrame
        A row per contrast: ``contrast`` ("primary" or "secondary"), ``condition`` and ``baseline`` in words, and the
        columns of :func:`mri_aug.results.people.compare_people`: differences in nats per person, NaN where an arm is
        missing. ``p_holm`` is the primary contrast's own p value, and those of the four others adjusted together, those
        still missing counted. ``outcome`` follows the interval, which is not adjusted. ``note`` names missing arms, or
        says that two arms trained for different numbers of steps.
    """
    subject = whole_repeats(rows[rows["protocol"] == "subject"])
    arms = planned_arms(subject)
    people = person_scores(subject[subject["condition"].isin(list(arms.values()))]) if arms else None
    records = []
    for condition, baseline, primary in PLANNED:
        found = {"n": 0, "outcome": "not computed"}
        if missing := [name for name in (condition, baseline) if name not in arms]:
            note = f"no rows of {' and '.join(missing)}"
        else:
            pair = people[people["condition"].isin([arms[condition], arms[baseline]])]
            (found,) = compare_people(pair, baseline=arms[baseline]).to_dict("records")
            note = _unequal_steps(subject, arms[condition], arms[baseline])
        names = {"contrast": "primary" if primary else "secondary", "condition": condition, "baseline": baseline}
        records.append({**found, **names, "note": note, "primary": primary})
    table = pd.DataFrame(records).reindex(columns=_COLUMNS)
    return with_holm(table.astype({"p_value": float}))


def planned_arms(rows: pd.DataFrame) -> dict[str, str]:
    """Return the condition of each planned arm by the arm's words; arms that were not computed are left out.

    A ValueError names several conditions that are the same arm.
    """
    require_columns(rows, ("condition", "protocol", "architecture", "real_frac", "synth_frac", "generator", "policy"))
    arms = {}
    for arm, fields in _ARMS.items():
        found = rows[_matches(rows, _SHARED | fields)].drop_duplicates("condition")
        if "budget" in found and found["budget"].nunique() > 1:
            found = found[found["budget"] == "steps"]  # equal epochs are never the basis of a verdict
        if arm == "simulated alone":  # at equal steps how many images there were matters little: take the most
            found = found[found["synth_frac"] == found["synth_frac"].max()]
        if len(found) > 1:
            raise ValueError(f"several conditions are the planned arm {arm!r}: {found['condition'].tolist()}; keep one")
        if len(found):
            arms[arm] = found["condition"].iloc[0]
    return arms


def draft_medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the draft's three medians beside this study's, of the same arms at equal epochs.

    A row per arm: ``arm``, ``draft`` (validation cross-entropy), ``median`` (test cross-entropy; ``morph`` makes the
    synthetic images) with ``low``, ``high``, ``method`` and ``n``; NaN and 0 where it was not computed.
    """
    records = []
    for (arm, median), fields in zip(DRAFT.items(), _DRAFT_ARMS, strict=True):
        part = rows[_matches(rows, _DRAFT_SHARED | fields)]
        own = summarise(part, "test_cross_entropy").to_dict("records")[0] if len(part) else {"n": 0}
        records.append(own | {"arm": arm, "draft": median})
    return pd.DataFrame(records).reindex(columns=["arm", "draft", "median", "low", "high", "method", "n"])


def _matches(rows: pd.DataFrame, fields: Mapping) -> pd.Series:
    """Return which rows have these values; a column that a table lacks has its default throughout."""
    matches = pd.Series(True, index=rows.index)
    for name, value in fields.items():
        default = _DEFAULTS.get(name)
        column = rows[name].fillna(default) if name in rows and default is not None else rows.get(name, default)
        matches &= column == value
    return matches


def _unequal_steps(rows: pd.DataFrame, condition: str, baseline: str) -> str:
    if "n_steps" not in rows:
        return ""
    steps = rows.pivot(index="simulation", columns="condition", values="n_steps")[[condition, baseline]].dropna()
    return "" if (steps[condition] == steps[baseline]).all() else "the arms trained for different numbers of steps"
