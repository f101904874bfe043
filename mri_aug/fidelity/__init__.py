"""How close, diverse, correct and original synthetic images are, and filters that drop some of them.

The measures (`features`, `similarity`, `table`) are imported by name: a simulation needs only the filters, not the
seconds of torchmetrics and torchvision.
"""

from mri_aug.fidelity.filters import FILTERS, apply_filter

__all__ = ["FILTERS", "apply_filter"]
