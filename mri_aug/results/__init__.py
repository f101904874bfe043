"""Metrics, intervals, comparisons and committed tables of a study. Needs no torch.

What computes statistics (`comparison`, `contrasts`, `people`) is imported by name: a simulation needs only the metrics,
not the second of scipy.stats.
"""

from mri_aug.results.deposit import deposit_names, export, load_deposit

__all__ = ["deposit_names", "export", "load_deposit"]
