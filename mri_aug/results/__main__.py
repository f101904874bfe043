"""Print what the committed record says, in seconds and without torch: ``python -m mri_aug.results [DEPOSIT]``."""

from __future__ import annotations

import sys

import pandas as pd

from mri_aug.results import people
from mri_aug.results.contrasts import PLANNED, draft_medians, planned_arms, planned_contrasts
from mri_aug.results.deposit import load_deposit

_SCORES = ["condition", "n", "log_loss", "low", "high", "raw_log_loss", "auc", "kappa", "accuracy", "spearman", "mark"]
_CONTRASTS = ["contrast", "condition", "baseline", "n", "difference", "low", "high", "p_holm", "outcome", "note"]


def report(name: str) -> str:
    """Return a deposit's planned contrasts, scores per person, power and medians beside the draft's, as text.

    Rows of other images than its manifest's, such as simulated people, are left out.
    """
    rows, manifest = load_deposit(name)
    if "images" in rows:
        rows = rows[rows["images"] == manifest["images"]]
    subject = people.whole_repeats(rows[rows["protocol"] == "subject"])
    parts = [f"{name}: {len(rows)} simulations", "Planned contrasts, nats per person"]
    parts.append(_text(planned_contrasts(rows)[_CONTRASTS]))
    if "validated_calibrated" in people.scores_in(subject):
        references, to_beat = people.reference_conditions(subject), people.full_reference(subject)
        graded = people.person_scores(subject)
        scores = people.summarise_people(graded, references=references, to_beat=to_beat)
        parts += ["Scores per person, out of fold", _text(scores[_SCORES])]
        arms = planned_arms(subject)
        for condition, baseline in [row[:2] for row in PLANNED if arms.keys() >= set(row[:2])][:1]:
            parts.append(f"Smallest differences that can be shown at 80 % power: {condition} against {baseline}")
            parts.append(_text(people.power_table(graded, arms[condition], arms[baseline])))
    parts += ["The draft's medians beside these", _text(draft_medians(rows).drop(columns="method"), decimals=6)]
    return "\n\n".join(parts)


def _text(table: pd.DataFrame, *, decimals: int = 3) -> str:
    return table.to_string(index=False, na_rep="", float_format=f"{{:.{decimals}f}}".format)


if __name__ == "__main__":
    print(report(sys.argv[1] if len(sys.argv) > 1 else "record"))
