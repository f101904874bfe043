"""Similarity of pairs of images: how diverse the variations of a source are, and how close they come to real images.

Diversity is measured by structural similarity, memorisation by the pixel correlation that also identifies people.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import nearest_neighbours, neighbour_similarity, paired_similarity, unit_features
from mri_aug.fidelity.filters import near_copy_threshold

# Wang et al. (2003), without the fifth scale: at 128 pixels its image of 8 is smaller than the window of 11.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363)
_BETAS = tuple(weight / sum(_WEIGHTS) for weight in _WEIGHTS)
_BATCH = 64  # pairs at a time


def structural_similarity(images: Tensor, others: Tensor) -> np.ndarray:
    """Return the multi-scale structural similarity (MS-SSIM) of each pair, float64 (n,), at most 1.

    Parameters
    ----------
    images, others : Tensor of uint8, shape (n, 1, 128, 128)
    """
    parts = [
        multiscale_structural_similarity_index_measure(
            x.float() / 255, y.float() / 255, data_range=1.0, reduction="none", betas=_BETAS, normalize="relu"
        )
        for x, y in zip(images.split(_BATCH), others.split(_BATCH), strict=True)
    ]
    return torch.cat([part.reshape(-1) for part in parts]).double().numpy()


def similarity_within_source(repeats: Tensor) -> np.ndarray:
    """Return the mean MS-SSIM over all pairs of variations of one source.

    Parameters
    ----------
    repeats : Tensor of uint8, shape (n_sources, n_repeats, 1, 128, 128)
        At least two repeats.

    Returns
    -------
    ndarray of float64, shape (n_sources,)
    """
    first, second = map(list, zip(*combinations(range(repeats.shape[1]), 2), strict=True))
    pairs = structural_similarity(repeats[:, first].flatten(0, 1), repeats[:, second].flatten(0, 1))
    return pairs.reshape(len(repeats), -1).mean(1)


def similarity_of_neighbours(real: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Return the MS-SSIM of the images at ``rows`` with the most correlated other image of their person, or NaN."""
    (features,) = unit_features(real.images)
    correlation = features[rows] @ features.T
    correlation[real.subjects[rows, None] != real.subjects] = -torch.inf
    correlation[torch.arange(len(rows)), rows] = -torch.inf
    nearest = correlation.max(dim=1)
    found = torch.isfinite(nearest.values)
    similarity = np.full(len(rows), np.nan)
    if found.any():
        similarity[found] = structural_similarity(real.images[rows][found], real.images[nearest.indices[found]])
    return similarity


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Similarities of n images, float64 (n,), each in [-1, 1].

    Parameters
    ----------
    source : ndarray
        To the image it derives from; for a real image, to the most similar other image of the person.
    nearest : ndarray
        To the most similar training image.
    threshold : float
        Above it an image is a near copy.
    """

    source: np.ndarray
    nearest: np.ndarray
    threshold: float

    @property
    def near_copies(self) -> np.ndarray:
        """Which images are near copies, bool (n,); by definition of the threshold about 5 % of real images are."""
        return np.fmax(self.source, self.nearest) > self.threshold

    def columns(self) -> dict[str, np.ndarray]:
        """Return the measures of :func:`mri_aug.fidelity.table.fidelity_table`, one value per image."""
        return {
            "source_similarity": self.source,
            "nearest_similarity": self.nearest,
            "near_copies": self.near_copies,
        }


def memorisation(variations: Tensor, training: ImageSet) -> Memorisation:
    """Compare one variation of each training image with its source, and with all training images.

    Parameters
    ----------
    variations : Tensor of uint8, shape (n, 1, height, width)
    training : ImageSet of n images
    """
    nearest = nearest_neighbours(variations, training.images)[1].double().numpy()
    return Memorisation(paired_similarity(variations, training.images), nearest, near_copy_threshold(training))


def real_similarity(real: ImageSet, training: ImageSet) -> Memorisation:
    """Return the same for real images of other people: the similarity that exists without copying."""
    nearest = nearest_neighbours(real.images, training.images)[1].double().numpy()
    return Memorisation(neighbour_similarity(real), nearest, near_copy_threshold(training))
