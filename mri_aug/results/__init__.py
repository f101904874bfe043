"""Metrics, intervals, comparisons and committed tables of a study. Needs no torch."""

from mri_aug.results.comparison import compare, summarise
from mri_aug.results.contrasts import planned_contrasts
from mri_aug.results.deposit import deposit_names, export, load_deposit
from mri_aug.results.people import compare_people, person_scores, summarise_people

__all__ = [
    "compare",
    "compare_people",
    "deposit_names",
    "export",
    "load_deposit",
    "person_scores",
    "planned_contrasts",
    "summarise",
    "summarise_people",
]
