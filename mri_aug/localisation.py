"""How much of a heat map falls where disease is: its energy inside a known region, against chance.

Takes maps and masks, whatever made them. It knows no network, draws no picture and computes no interval: the
values it returns are one per image, to be averaged per person and resampled by :mod:`mri_aug.results.inference`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from mri_aug.gradcam import check_images
from mri_aug.imageset import IMAGE_SIZE

BRAIN_THRESHOLD = 16  # of 255: above the ringing that JPEG leaves on a black background


def brain_masks(images: Tensor) -> NDArray[np.bool_]:
    """Return the brain of skull-stripped slices: the largest bright region, with its holes filled.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, 128, 128)

    Returns
    -------
    ndarray of bool, shape (n, 128, 128)
        All False for a slice without anything bright.
    """
    check_images(images)
    masks = np.zeros((len(images), IMAGE_SIZE, IMAGE_SIZE), dtype=bool)
    for mask, image in zip(masks, images[:, 0].cpu().numpy(), strict=True):
        regions, n_regions = ndimage.label(image > BRAIN_THRESHOLD)
        if n_regions:
            mask[:] = ndimage.binary_fill_holes(regions == np.bincount(regions.ravel())[1:].argmax() + 1)
    return masks


def energy_share(cams: ArrayLike, regions: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each map's energy inside ``within`` that falls inside ``regions``.

    What a map gets that knows nothing is the same of a uniform one: ``energy_share(np.ones_like(cams), ...)``,
    the region's share of the area.

    Parameters
    ----------
    cams : array of float, shape (n, height, width), not negative
    regions, within : array of bool, shape (n, height, width)
        For instance the atrophied tissue, and the brain.

    Returns
    -------
    ndarray of float64, shape (n,), in [0, 1]
        NaN where the region or the map inside ``within`` is empty.

    Raises
    ------
    ValueError
        If the shapes differ or a map is negative somewhere.
    """
    cams, regions, within = np.asarray(cams, np.float64), np.asarray(regions, bool), np.asarray(within, bool)
    if not cams.ndim == 3 or not cams.shape == regions.shape == within.shape:
        raise ValueError(
            f"cams, regions and within must share one shape (n, height, width), got {cams.shape}, "
            f"{regions.shape} and {within.shape}"
        )
    if (cams < 0).any():
        raise ValueError("cams must not be negative: a share of energy would mean nothing")
    energy = cams * within
    total, inside = energy.sum(axis=(1, 2)), (energy * regions).sum(axis=(1, 2))
    defined = (total > 0) & (regions & within).any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(cams), np.nan), where=defined)
