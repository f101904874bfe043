"""Generators that ask a hosted image service."""

from mri_aug.generators.openai.generators import OpenAIEditsGenerator, OpenAIVariationsGenerator

__all__ = ["OpenAIEditsGenerator", "OpenAIVariationsGenerator"]
