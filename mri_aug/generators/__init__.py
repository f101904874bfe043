"""Makers of synthetic images, by name."""

from mri_aug.generators.base import (
    GENERATORS,
    ImageGenerator,
    LearningGenerator,
    RefusedVariationsError,
    fit_generator,
    make_generator,
)

__all__ = [
    "GENERATORS", "ImageGenerator", "LearningGenerator", "RefusedVariationsError", "fit_generator", "make_generator",
]  # fmt: skip
