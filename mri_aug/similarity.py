"""How alike a variation is to its source and to real images, on the scale on which neighbouring slices are compared.

Similarity is the pixel correlation by which :mod:`mri_aug.subjects` finds people. What counts as too alike is decided
elsewhere (:mod:`mri_aug.filters`, :mod:`mri_aug.fidelity`); this module only measures, and draws nothing at random.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mri_aug.imageset import ImageSet
from mri_aug.subjects.linkage import unit_features

_BLOCK = 1024  # images compared at a time: with 5,120 others, 20 MB of correlations


def paired_similarity(images: Tensor, others: Tensor) -> np.ndarray:
    """Return the correlation of each image with the one at its place in ``others``.

    Parameters
    ----------
    images, others : Tensor of uint8, shape (n, 1, 128, 128)

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1].

    Raises
    ------
    ValueError
        If the numbers of images differ, or an image is blank.
    """
    if len(images) != len(others):
        raise ValueError(f"images are compared in pairs, got {len(images)} and {len(others)}")
    x, y = unit_features(images, others)
    return (x * y).sum(1).clamp(-1, 1).double().numpy()


def neighbour_similarity(real: ImageSet) -> np.ndarray:
    """Return how alike each real image is to the most similar *other* image of the same person.

    Neighbouring slices of a head are the most alike that two images can be without one being made from the other,
    which makes them the yardstick of a copy. Where a person is unknown, all images of unknown people stand in for
    that person's; someone with a single image has no neighbour.

    Parameters
    ----------
    real : ImageSet

    Returns
    -------
    ndarray of float64, shape (n,)
        Correlations in [-1, 1]; NaN for an image without a neighbour.

    Raises
    ------
    ValueError
        If an image is blank.
    """
    (features,) = unit_features(real.images)
    nearest = torch.empty(len(real))
    for start in range(0, len(real), _BLOCK):
        stop = min(start + _BLOCK, len(real))
        correlation = features[start:stop] @ features.T
        correlation[real.subjects[start:stop, None] != real.subjects] = -torch.inf
        correlation[torch.arange(stop - start), torch.arange(start, stop)] = -torch.inf
        nearest[start:stop] = correlation.amax(1).clamp(max=1)
    return torch.where(torch.isfinite(nearest), nearest, torch.nan).double().numpy()


def is_blank(images: Tensor) -> np.ndarray:
    """Return which images are of one grey level, bool (n,): they correlate with nothing."""
    flat = images.flatten(1)
    return (flat.amax(1) == flat.amin(1)).numpy()
