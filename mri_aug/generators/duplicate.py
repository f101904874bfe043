"""The control that any generator has to beat: the real image itself, counted once more.

It adds training steps and no information; it alters no pixel and draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mri_aug.generators.base import check_images, make_fingerprint


@dataclass(frozen=True)
class DuplicateGenerator:
    """Return each image as it is, for a control arm with as many images as the synthetic one."""

    name = "duplicate"
    learns_from_study = False
    reproducible = True

    @property
    def fingerprint(self) -> str:
        return make_fingerprint(self.name)

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return a copy of the images, uint8 (n, 1, 128, 128); labels and seed change nothing."""
        check_images(images, labels)
        return images.clone()
