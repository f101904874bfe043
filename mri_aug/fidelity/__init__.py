"""How good, diverse, correct and original synthetic images are."""

from mri_aug.fidelity.features import FeatureNetwork, domain_network, imagenet_network
from mri_aug.fidelity.filters import FILTERS, apply_filter
from mri_aug.fidelity.table import Candidate, Parts, divide, fidelity_table, make_candidate

__all__ = [
    "FILTERS",
    "Candidate",
    "FeatureNetwork",
    "Parts",
    "apply_filter",
    "divide",
    "domain_network",
    "fidelity_table",
    "imagenet_network",
    "make_candidate",
]
