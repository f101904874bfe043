"""A bank of images that cost money or cannot be made again."""

from mri_aug.generators.bank.bank import Bank, BankedGenerator, MissingVariationsError, study_generators

__all__ = ["Bank", "BankedGenerator", "MissingVariationsError", "study_generators"]
