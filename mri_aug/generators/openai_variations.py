"""The thesis's own call: variations of an image, without a prompt, from any server that offers ``/images/variations``.

OpenAI closed its own on 2026-05-12 together with DALL-E 2; Xinference, for one, serves the same call. This module
writes no prompt and knows no price.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mri_aug.generators.openai_base import OpenAIGenerator
from mri_aug.generators.openai_prices import FREE, Prices

_SIZES = (256, 512, 1024)


@dataclass(frozen=True, kw_only=True)
class OpenAIVariationsGenerator(OpenAIGenerator):
    """Ask ``images.create_variation``; options are those of the base class, with other defaults.

    Parameters
    ----------
    model : str
        As the server calls it. The default is the thesis's model, which OpenAI serves no longer.
    size : int
        256, 512 or 1024. The default is what Stable Diffusion and its kin were trained at.
    prices : Prices
        Free by default, as on a server of one's own.
    """

    model: str = "dall-e-2"
    size: int = 512
    prices: Prices = FREE
    seconds_per_image: float = 10.0

    name = "openai-variations"
    method = "create_variation"

    def __post_init__(self):
        super().__post_init__()
        if self.size not in _SIZES:
            raise ValueError(f"size of {self.name} must be one of {', '.join(map(str, _SIZES))}, got {self.size}")

    def _arguments(self, image: Tensor, label: int) -> dict[str, object]:
        return {**super()._arguments(image, label), "response_format": "b64_json"}
