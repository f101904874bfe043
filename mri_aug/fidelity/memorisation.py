"""How close variations come to the images that they were made from, beside how close real neighbours are.

Similarity is the pixel correlation that tells people apart; a filter uses the same threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mri_aug.data.imageset import ImageSet
from mri_aug.data.linkage import neighbour_similarity, paired_similarity
from mri_aug.data.people import nearest_neighbours
from mri_aug.fidelity.filters import near_copy_threshold


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Similarities of n images, float64 (n,), each in [-1, 1].

    Parameters
    ----------
    source : ndarray
        To the image it was made from; of a real image, to its most similar neighbour of the same person.
    nearest : ndarray
        To the most similar training image of all.
    threshold : float
        Above it an image is a near copy.
    """

    source: np.ndarray
    nearest: np.ndarray
    threshold: float

    @property
    def near_copies(self) -> np.ndarray:
        """Which images are near copies, bool (n,): one in twenty of real images or so, as the threshold is defined."""
        return np.fmax(self.source, self.nearest) > self.threshold


def memorisation(variations: Tensor, training: ImageSet) -> Memorisation:
    """Compare one variation of each training image with its source, and with all training images.

    Parameters
    ----------
    variations : Tensor of uint8, shape (n, 1, 128, 128)
    training : ImageSet of n images
    """
    nearest = nearest_neighbours(variations, training.images)[1].double().numpy()
    return Memorisation(paired_similarity(variations, training.images), nearest, near_copy_threshold(training))


def memorisation_yardstick(real: ImageSet, training: ImageSet) -> Memorisation:
    """Return the same for real images of other people: what similarity there is without copying."""
    nearest = nearest_neighbours(real.images, training.images)[1].double().numpy()
    return Memorisation(neighbour_similarity(real), nearest, near_copy_threshold(training))
