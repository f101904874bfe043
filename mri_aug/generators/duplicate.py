"""The control that any generator has to beat: the real image itself, once more.

It adds training steps and no information, alters no pixel and draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from mri_aug.generators.base import check_images, make_fingerprint


@dataclass(frozen=True)
class DuplicateGenerator:
    """Return each image unchanged, for a control condition with as many images as the synthetic one."""

    name = "duplicate"
    learns_from_study = False
    reproducible = True
    card = MappingProxyType(
        {
            "learns from": "nothing",
            "who sees the images": "nobody: it runs here",
            "licence and limits": "as the dataset; a control, no synthetic image at all",
        }
    )

    @property
    def fingerprint(self) -> str:
        """Constant: there are no options."""
        return make_fingerprint(self.name)

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return the images once more, uint8 (n, 1, 128, 128); labels and seed have no effect."""
        check_images(images, labels)
        return images.clone()
