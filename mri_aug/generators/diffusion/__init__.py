"""A class-conditional diffusion model, pretrained on phantoms and fine-tuned on the images of a simulation."""

from mri_aug.generators.diffusion.generator import DiffusionGenerator
from mri_aug.generators.diffusion.network import DiffusionConfig

__all__ = ["DiffusionConfig", "DiffusionGenerator"]
