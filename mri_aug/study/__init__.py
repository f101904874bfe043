"""Conditions, one simulation, and many. Importing it needs no torch: `run` and `simulation` are imported by name."""

from mri_aug.study.conditions import Condition, thesis_arms
from mri_aug.study.parts import Part, chapter_parts

__all__ = ["Condition", "Part", "chapter_parts", "thesis_arms"]
