"""How close, diverse, correct and original synthetic images are, and filters that drop some of them."""

from mri_aug.fidelity.features import FeatureNetwork, domain_network, imagenet_network
from mri_aug.fidelity.filters import FILTERS, apply_filter
from mri_aug.fidelity.table import (
    MEASURES,
    Candidate,
    fidelity_table,
    generation_card,
    generator_kinds,
    make_candidate,
)

__all__ = [
    "FILTERS",
    "MEASURES",
    "Candidate",
    "FeatureNetwork",
    "apply_filter",
    "domain_network",
    "fidelity_table",
    "generation_card",
    "generator_kinds",
    "imagenet_network",
    "make_candidate",
]
