"""A small class-conditional diffusion model, fitted on the images of a simulation."""

from mri_aug.generators.diffusion.generator import DiffusionGenerator

__all__ = ["DiffusionGenerator"]
