"""Conditions, one simulation, and many. Importing it needs no torch: `run` and `simulation` are imported by name."""

from mri_aug.study.conditions import Condition, thesis_arms
from mri_aug.study.parts import PROFILES, Part, chapter_parts, part_sizes, profile_parameters

__all__ = ["PROFILES", "Condition", "Part", "chapter_parts", "part_sizes", "profile_parameters", "thesis_arms"]
