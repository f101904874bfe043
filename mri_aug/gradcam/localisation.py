"""Where a heat map falls: its energy and maximum inside a known region, and maps averaged over brains.

Works on maps and masks of any origin and returns one value per image; :mod:`mri_aug.results.maps` averages them over
people and adds intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from mri_aug.gradcam.maps import check_images

BRAIN_THRESHOLD = 16  # of 255: above the ringing that JPEG leaves on a black background


def brain_masks(images: Tensor) -> NDArray[np.bool_]:
    """Return the brain of skull-stripped slices: the largest bright region, with its holes filled.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, height, width)

    Returns
    -------
    ndarray of bool, shape (n, height, width)
        All False for a slice without a bright pixel.
    """
    check_images(images)
    masks = np.zeros(images[:, 0].shape, dtype=bool)
    for mask, image in zip(masks, images[:, 0].cpu().numpy(), strict=True):
        regions, n_regions = ndimage.label(image > BRAIN_THRESHOLD)
        if n_regions:
            mask[:] = ndimage.binary_fill_holes(regions == np.bincount(regions.ravel())[1:].argmax() + 1)
    return masks


def energy_share(cams: ArrayLike, regions: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each map's energy inside ``within`` that falls inside ``regions``.

    Chance level is the share for a uniform map, ``energy_share(np.ones_like(cams), ...)``: the region's share of the
    area.

    Parameters
    ----------
    cams : array of float, shape (n, height, width), non-negative
    regions, within : array of bool, shape (n, height, width)
        For example the atrophied tissue, and the brain.

    Returns
    -------
    ndarray of float64, shape (n,), in [0, 1]
        NaN where the region or the map inside ``within`` is empty.

    Raises
    ------
    ValueError
        If the shapes differ or a map has negative values.
    """
    cams, regions, within = _checked(cams, regions, within)
    energy = cams * within
    total, inside = energy.sum(axis=(1, 2)), (energy * regions).sum(axis=(1, 2))
    defined = (total > 0) & (regions & within).any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(cams), np.nan), where=defined)


def pointing_hits(cams: ArrayLike, regions: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return whether each map's maximum inside ``within`` lies in ``regions``: the pointing game.

    Zhang et al. (2018, Int. J. Comput. Vis. 126:1084) allow a margin of 15 pixels around large objects; atrophy is a
    few pixels wide, so no margin is used here. Where several pixels share the maximum, the value is the share of them
    that hit. Chance level is that of a uniform map, the region's share of the area.

    Parameters
    ----------
    cams : array of float, shape (n, height, width), non-negative
    regions, within : array of bool, shape (n, height, width)

    Returns
    -------
    ndarray of float64, shape (n,), in [0, 1]
        NaN where the region or the map inside ``within`` is empty.

    Raises
    ------
    ValueError
        As :func:`energy_share`.
    """
    cams, regions, within = _checked(cams, regions, within)
    energy = cams * within
    maxima = energy.max(axis=(1, 2), keepdims=True, initial=0)
    return energy_share((energy == maxima) & (maxima > 0), regions, within=within)


def on_common_outline(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return maps shifted and scaled so that all brains fill one box, and the outline that they then share.

    Parameters
    ----------
    maps : array of float, shape (n, height, width)
        Heat maps, or images.
    masks : array of bool, shape (n, height, width)
        The brain of each; see :func:`brain_masks`.

    Returns
    -------
    aligned : ndarray of float32, shape (n, height, width)
        Each brain's bounding box is mapped to the mean bounding box by linear interpolation. Zero outside the brain,
        and everywhere if there is none.
    outline : ndarray of bool, shape (height, width)
        True where at least half of the brains are.

    Raises
    ------
    ValueError
        If shapes differ, or no mask holds a brain.
    """
    maps, masks = np.asarray(maps, np.float32), np.asarray(masks, bool)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps and masks must share one shape (n, height, width), got {maps.shape} and {masks.shape}")
    spans = [ndimage.find_objects(mask)[0] if mask.any() else None for mask in masks.astype(np.int8)]
    boxes = {k: np.array([(one.start, one.stop) for one in span], float) for k, span in enumerate(spans) if span}
    if not boxes:
        raise ValueError("no mask holds a brain: there is no outline to share")
    common = np.mean(list(boxes.values()), axis=0)
    aligned, covered = np.zeros_like(maps), np.zeros(maps.shape, np.float32)
    for k, box in boxes.items():
        scale = (box[:, 1] - box[:, 0]) / (common[:, 1] - common[:, 0])
        offset = box[:, 0] - scale * common[:, 0]
        for source, destination in ((maps[k] * masks[k], aligned), (masks[k].astype(np.float32), covered)):
            ndimage.affine_transform(source, scale, offset, output=destination[k], order=1)
    return aligned, covered[list(boxes)].mean(axis=0) >= 0.5


def _checked(cams, regions, within) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    cams, regions, within = np.asarray(cams, np.float64), np.asarray(regions, bool), np.asarray(within, bool)
    if not cams.ndim == 3 or not cams.shape == regions.shape == within.shape:
        raise ValueError(
            f"cams, regions and within must share one shape (n, height, width), got {cams.shape}, "
            f"{regions.shape} and {within.shape}"
        )
    if (cams < 0).any():
        raise ValueError("cams must not be negative: a share of energy would have no meaning")
    return cams, regions, within
