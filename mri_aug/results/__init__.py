"""Metrics, intervals, comparisons and committed tables of a study. Needs no torch."""

from mri_aug.results.comparison import compare, compare_people, summarise
from mri_aug.results.deposit import deposit_names, export, load_deposit
from mri_aug.results.subject_interval import subject_interval

__all__ = ["compare", "compare_people", "deposit_names", "export", "load_deposit", "subject_interval", "summarise"]
