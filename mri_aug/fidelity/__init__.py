"""How good, how diverse and how memorised synthetic images are, with real people as the yardstick.

Every measure is a function that returns numbers; :func:`fidelity_table` puts them together with intervals over people.
Nothing here decides what a study uses (:mod:`mri_aug.filters` does) or draws a figure.
"""

from mri_aug.fidelity.cards import generation_card, generator_kinds
from mri_aug.fidelity.coverage import Coverage, coverage_measures
from mri_aug.fidelity.distances import kernel_distance
from mri_aug.fidelity.diversity import similarity_of_neighbours, similarity_within_source, structural_similarity
from mri_aug.fidelity.features import FeatureNetwork, domain_network, imagenet_network
from mri_aug.fidelity.memorisation import Memorisation, memorisation, memorisation_yardstick
from mri_aug.fidelity.parts import Candidate, Parts, divide, make_candidate
from mri_aug.fidelity.realism import detector_scores, separability
from mri_aug.fidelity.resampling import Estimate, People, resample_people
from mri_aug.fidelity.table import ALL_CLASSES, YARDSTICK, fidelity_table
from mri_aug.fidelity.wording import MEASURES, failures, strengths

__all__ = [
    "ALL_CLASSES", "MEASURES", "YARDSTICK", "Candidate", "Coverage", "Estimate", "FeatureNetwork", "Memorisation",
    "Parts", "People", "coverage_measures", "detector_scores", "divide", "domain_network", "failures",
    "fidelity_table", "generation_card", "generator_kinds", "imagenet_network", "kernel_distance", "make_candidate",
    "memorisation", "memorisation_yardstick", "resample_people", "separability", "similarity_of_neighbours",
    "similarity_within_source", "strengths", "structural_similarity",
]  # fmt: skip
