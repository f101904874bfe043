"""The contrasts that were planned before the study was computed, found in its rows by what their arms are.

One primary contrast, whose p value is not adjusted; four secondary ones, adjusted together by Holm's method. All other
comparisons are exploratory and are not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from mri_aug.results.comparison import require_columns, summarise
from mri_aug.results.inference import holm
from mri_aug.results.people import compare_people, person_scores

# median validation cross-entropy of 100 simulations (the draft, chapter 7)
DRAFT = MappingProxyType({"30 % real": 0.219863, "all real": 0.176023, "30 % real + 70 % synthetic": 0.174202})

_ALONE = {"generator": "none", "synth_use": "mixed"}
_FILLED = {"real_frac": 0.3, "scarce": "subjects", "synth_frac": 0.7, "synth_use": "mixed"}
_ARMS: Mapping[str, Mapping] = {
    "30 % of people + 70 % diffusion": _FILLED | {"generator": "diffusion"},
    "30 % of people + 70 % duplicates": _FILLED | {"generator": "duplicate"},
    "30 % of people + 70 % simulated": _FILLED | {"generator": "simulated"},
    "30 % of people + 70 % morph": _FILLED | {"generator": "morph"},
    "all real people": _ALONE | {"real_frac": 1.0},
    "simulated alone": {"generator": "simulated", "synth_use": "only"},
}


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
# what an arm is in every other respect; a table from before a column was introduced has its default
_COMMON = {
    "protocol": "subject", "architecture": "cnn", "weights": "none", "fine_tune": "all", "synth_classes": "",
    "filter": "none", "balance": "none",
}  # fmt: skip
_COLUMNS = (
    "condition", "baseline", "n", "n_repeats", "n_people", "level", "baseline_level", "difference", "low", "high",
    "method", "margin", "p_value", "p_holm", "outcome", "note", "primary",
)  # fmt: skip
_DEFAULTS = {"scarce": "images", "synth_use": "mixed", "image_size": 128}


def planned_contrasts(
    rows: pd.DataFrame,
    *,
    score: str = "validated_calibrated",
    policy: str = "standard",
    image_size: int = 64,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Return the five planned contrasts of the subject protocol, whether or not their arms were computed yet.

    Parameters
    ----------
    rows : DataFrame
        A study's table, of any protocols and conditions.
    score : str
        Of :data:`mri_aug.results.people.SCORES`.
    policy, image_size
        Of the arms that are compared.
    confidence_level : float in (0, 1)

    Returns
    -------
    DataFrame
        A row per contrast: ``contrast`` ("primary" or "secondary"), ``condition`` and ``baseline`` in words, and the
        columns of :func:`mri_aug.results.people.compare_people`: differences in nats per person, NaN where an arm is
        missing. ``p_holm`` is the primary contrast's own p value, and those of the four others adjusted together, those
        still missing counted. ``outcome`` follows the interval, which is not adjusted. ``note`` names missing arms, or
        says that two arms trained for different numbers of steps.

    Raises
    ------
    ValueError
        If several conditions are the same planned arm.
    """
    arms = planned_arms(rows, policy=policy, image_size=image_size)
    subject = rows[(rows["protocol"] == "subject") & rows["condition"].isin(list(arms.values()))]
    people = person_scores(subject, score) if len(subject) else None
    records = []
    for condition, baseline, primary in PLANNED:
        record = {
            "contrast": "primary" if primary else "secondary", "condition": condition, "baseline": baseline, "n": 0,
            "outcome": "not computed", "note": "",
        }  # fmt: skip
        if missing := [name for name in (condition, baseline) if name not in arms]:
            record["note"] = f"no rows of {' and '.join(missing)}"
        else:
            pair = people[people["condition"].isin([arms[condition], arms[baseline]])]
            pair = pair.assign(condition=pair["condition"].cat.remove_unused_categories())
            (row,) = compare_people(pair, baseline=arms[baseline], confidence_level=confidence_level).to_dict("records")
            record = row | {name: record[name] for name in ("contrast", "condition", "baseline")}
            record["note"] = _unequal_steps(subject, arms[condition], arms[baseline])
        records.append(record | {"primary": primary})
    table = pd.DataFrame(records).reindex(columns=["contrast", *_COLUMNS])
    table["p_holm"] = table["p_value"] = table["p_value"].astype(float)
    secondary = ~table["primary"]
    table.loc[secondary, "p_holm"] = holm(table.loc[secondary, "p_value"])
    return table


def planned_arms(rows: pd.DataFrame, *, policy: str = "standard", image_size: int = 64) -> dict[str, str]:
    """Return the condition of each planned arm by the arm's words; arms that were not computed are left out.

    Raises
    ------
    ValueError
        As :func:`planned_contrasts`.
    """
    found = {name: _find(rows, name, policy, image_size) for name in _ARMS}
    return {name: condition for name, condition in found.items() if condition is not None}


def draft_medians(rows: pd.DataFrame, *, generator: str = "morph") -> pd.DataFrame:
    """Return the draft's three medians beside this study's, of the same arms at equal epochs.

    Returns
    -------
    DataFrame
        A row per arm: ``arm``, ``draft`` (validation cross-entropy), ``median`` (test cross-entropy) with ``low``,
        ``high``, ``method`` and ``n``; NaN and 0 where it was not computed.
    """
    is_arm = _matches(rows, {"protocol": "image", "architecture": "cnn", "weights": "none", "policy": "none",
                             "budget": "epochs", "synth_classes": "", "filter": "none", "balance": "none",
                             "scarce": "images", "synth_use": "mixed", "image_size": 128})  # fmt: skip
    fields = (
        {"real_frac": 0.3, "generator": "none"}, {"real_frac": 1.0, "generator": "none"},
        {"real_frac": 0.3, "synth_frac": 0.7, "generator": generator},
    )  # fmt: skip
    records = []
    for (arm, median), own in zip(DRAFT.items(), fields, strict=True):
        part = rows[is_arm & _matches(rows, own)]
        record = {"arm": arm, "draft": median, "median": float("nan"), "n": 0}
        if len(part):
            (row,) = summarise(part, "test_cross_entropy").to_dict("records")
            record |= {name: row[name] for name in ("median", "low", "high", "method", "n")}
        records.append(record)
    return pd.DataFrame(records, columns=["arm", "draft", "median", "low", "high", "method", "n"])


def _find(rows: pd.DataFrame, arm: str, policy: str, image_size: int) -> str | None:
    """Return the condition that is a planned arm, or None."""
    require_columns(rows, ("condition", "protocol", "architecture", "real_frac", "synth_frac", "generator", "policy"))
    fields = {**_COMMON, **_ARMS[arm], "policy": policy, "image_size": image_size}
    found = rows[_matches(rows, fields)].drop_duplicates("condition")
    if "budget" in found and found["budget"].nunique() > 1:
        found = found[found["budget"] == "steps"]  # equal epochs are never the basis of a verdict
    if arm == "simulated alone":  # at equal steps how many images there were matters little: take the most
        found = found[found["synth_frac"] == found["synth_frac"].max()]
    if len(found) > 1:
        raise ValueError(f"several conditions are the planned arm {arm!r}: {found['condition'].tolist()}; keep one")
    return None if found.empty else found["condition"].iloc[0]


def _matches(rows: pd.DataFrame, fields: Mapping) -> pd.Series:
    """Return which rows have these values; a column that a table lacks has its default throughout."""
    matches = pd.Series(True, index=rows.index)
    for name, value in fields.items():
        default = _DEFAULTS.get(name, _COMMON.get(name))
        column = rows[name].fillna(default) if name in rows and default is not None else rows.get(name, default)
        matches &= column == value
    return matches


def _unequal_steps(rows: pd.DataFrame, condition: str, baseline: str) -> str:
    if "n_steps" not in rows:
        return ""
    steps = rows.pivot(index="simulation", columns="condition", values="n_steps")[[condition, baseline]].dropna()
    return "" if (steps[condition] == steps[baseline]).all() else "the arms trained for different numbers of steps"
