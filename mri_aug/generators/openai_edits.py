"""Variations by instruction: a GPT image model is shown a slice and told what to keep of it and what to change.

The prompt is an option like any other, and part of the fingerprint. This module does not judge what comes back: how
like, how varied and how plausible the variations are is measured elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mri_aug.generators.openai_base import OpenAIGenerator
from mri_aug.generators.openai_prices import Prices

_PIXELS = (655_360, 8_294_400)  # what GPT image models accept, in sides that are multiples of 16

PROMPT = (
    "This is an axial T1-weighted MRI slice of a human brain, skull-stripped, on a black background. "
    "Make one new slice that could come from another person with the same degree of brain atrophy, scanned on the same "
    "machine. Keep: the level and orientation of the slice; the position and size of the brain in the frame; the width "
    "of the ventricles and of the sulci; the thickness of the cortex; the contrast of grey matter, white matter and "
    "cerebrospinal fluid; the overall brightness, the sharpness and the fine noise. "
    "Change, within normal anatomy: the course of the individual gyri and sulci, the outline of the brain, the exact "
    "shape of the ventricles, and small differences between left and right. "
    "Greyscale only. Do not add a skull, eyes, a lesion, colour, text, a marker or a border. "
    "Keep the background pure black."
)


@dataclass(frozen=True, kw_only=True)
class OpenAIEditsGenerator(OpenAIGenerator):
    """Ask ``images.edit``; options are those of the base class, with other defaults, and these.

    Parameters
    ----------
    model : str
        A GPT image model, or what a compatible server has.
    prompt : str or tuple of str
        One for all images, or one per class by label. With one per class, a classifier can learn the wording's trace in
        the image instead of the disease; the default leaves the class to the source image.
    quality : str
        ``"low"``, ``"medium"``, ``"high"``, or another that ``prices`` has a price for.
    size : int
        A multiple of 16, from 816 to 2880.
    """

    model: str = "gpt-image-2"
    prompt: str | tuple[str, ...] = PROMPT
    quality: str = "medium"
    size: int = 1024
    prices: Prices = Prices()
    seconds_per_image: float = 40.0

    name = "openai-edits"
    method = "edit"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.prompt, str):
            object.__setattr__(self, "prompt", tuple(self.prompt))
        if not self.prompts() or not all(isinstance(prompt, str) and prompt.strip() for prompt in self.prompts()):
            raise ValueError(f"prompt of {self.name} must be a text or one text per class, got {self.prompt!r}")
        if self.size % 16 or not _PIXELS[0] <= self.size**2 <= _PIXELS[1]:
            raise ValueError(f"size of {self.name} must be a multiple of 16 from 816 to 2880, got {self.size}")
        self.prices.at_most(self.quality, size=self.size, n_characters=0)  # an unknown quality has no bound

    def prompts(self) -> tuple[str, ...]:
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    def _arguments(self, image: Tensor, label: int) -> dict[str, object]:
        prompt = self._record(label)["prompt"]
        return {**super()._arguments(image, label), "prompt": prompt, "quality": self.quality}
