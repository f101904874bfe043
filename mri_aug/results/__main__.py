"""Print what the committed record says, in seconds and without torch: ``python -m mri_aug.results [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from mri_aug import provenance
from mri_aug.results.contrasts import draft_medians, planned_contrasts
from mri_aug.results.deposit import deposit_names, load_deposit
from mri_aug.results.people import person_scores, reference_conditions, summarise_people, tissue_reference

_SCORES = ["condition", "n", "log_loss", "low", "high", "raw_log_loss", "auc", "kappa", "accuracy", "spearman", "mark"]
_CONTRASTS = ["contrast", "condition", "baseline", "n", "difference", "low", "high", "p_holm", "outcome", "note"]


def report(folder: Path) -> str:
    """Return the planned contrasts, the scores of every condition per person, and the draft's medians as text.

    Raises
    ------
    FileNotFoundError
        If the folder holds no deposit.
    """
    names = deposit_names(folder=folder)
    if not names:
        raise FileNotFoundError(f"no deposit in {folder}: compute the record by `mri-aug study --record`")
    tables = [load_deposit(name, folder=folder)[0] for name in names]
    rows = pd.concat(tables, ignore_index=True).drop_duplicates("key")
    parts = [
        f"{len(rows)} simulations in {', '.join(names)}",
        "Planned contrasts, nats per person",
        _text(planned_contrasts(rows)[_CONTRASTS]),
    ]
    subject = rows[rows["protocol"] == "subject"]
    if len(subject):
        references = reference_conditions(subject)
        scores = summarise_people(person_scores(subject), references=references, to_beat=tissue_reference(subject))
        parts += ["Scores per person, out of fold", _text(scores[_SCORES])]
    parts += ["The draft's medians beside these", _text(draft_medians(rows).drop(columns="method"), decimals=6)]
    return "\n\n".join(parts)


def _text(table: pd.DataFrame, *, decimals: int = 3) -> str:
    return table.to_string(index=False, na_rep="", float_format=f"{{:.{decimals}f}}".format)


if __name__ == "__main__":
    print(report(Path(sys.argv[1]) if len(sys.argv) > 1 else provenance.results() / "record"))
