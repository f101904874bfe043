"""Where heat maps fall, and whether they rank the pixels that the network uses.

Works on maps of any origin and returns one value per image; :mod:`mri_aug.results.maps` averages over people and adds
intervals. Unless said otherwise maps are float (n, height, width), regions and ``within`` bool of the same shape, and
images uint8 tensors (n, 1, height, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.gradcam.maps import check_images
from mri_aug.models.training import Classifier, predict

BRAIN_THRESHOLD = 16  # of 255: above the ringing that JPEG leaves on a black background
BLUR = 1 / 16  # standard deviation as a share of the side: sulci and edges of ventricles vanish, brightness stays


def brain_masks(images: Tensor) -> NDArray[np.bool_]:
    """Return the brain of skull-stripped slices: the largest bright region, with its holes filled.

    All False, of shape (n, height, width), for a slice without a bright pixel.
    """
    check_images(images)
    masks = np.zeros(images[:, 0].shape, dtype=bool)
    for mask, image in zip(masks, images[:, 0].cpu().numpy(), strict=True):
        regions, n_regions = ndimage.label(image > BRAIN_THRESHOLD)
        if n_regions:
            mask[:] = ndimage.binary_fill_holes(regions == np.bincount(regions.ravel())[1:].argmax() + 1)
    return masks


def energy_share(cams: ArrayLike, regions: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each map's energy inside ``within``, such as the brain, that falls inside ``regions``.

    Chance level is the share for a uniform map, ``energy_share(np.ones_like(cams), ...)``: the region's share of the
    area. NaN where the region or the map inside ``within`` is empty.

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
    that hit. Chance level, NaN and errors are those of :func:`energy_share`.
    """
    cams, regions, within = _checked(cams, regions, within)
    energy = cams * within
    maxima = energy.max(axis=(1, 2), keepdims=True, initial=0)
    return energy_share((energy == maxima) & (maxima > 0), regions, within=within)


def on_common_outline(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return maps shifted and scaled so that all brains fill one box, and the outline that they then share.

    Maps may be images; masks are their :func:`brain_masks`.

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
    spans = {k: ndimage.find_objects(masks[k].astype(np.int8))[0] for k in np.flatnonzero(masks.any(axis=(1, 2)))}
    boxes = {k: np.array([(one.start, one.stop) for one in span], float) for k, span in spans.items()}
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


@dataclass(frozen=True, eq=False)
class PerturbationCurves:
    """The probability of one class while pixels are replaced in an order."""

    replaced: NDArray[np.float64]  # (n_steps + 1,): share of the pixels that are replaced or restored, from 0 to 1
    deletion: NDArray[np.float64]  # (n, n_steps + 1), in [0, 1]
    insertion: NDArray[np.float64]

    def areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the areas under both curves, each of shape (n,); deletion should be small and insertion large."""
        return tuple(np.trapezoid(curve, self.replaced, axis=1) for curve in (self.deletion, self.insertion))


def perturbation_curves(
    classifier: Classifier, images: Tensor, cams: ArrayLike, target: ArrayLike, *, within: ArrayLike, n_steps: int = 10
) -> PerturbationCurves:
    """Return the probability of a class as pixels are removed and restored in the order of a map.

    As in RISE (Petsiuk et al. 2018, arXiv 1806.07421, section 4.2) removing what the network uses should lower its
    answer early, and restoring it should raise the answer early. A removed pixel takes the value of the blurred image.
    Black would be a poor replacement: in a brain slice it is fluid and looks like atrophy. Costs ``2 * n_steps``
    forward passes per image.

    Parameters
    ----------
    classifier, images, n_steps
    cams : array of float
        The order: the largest value first, equal values from the top left.
    target : array of int, shape (n,)
        The class whose probability is recorded.
    within : array of bool
        The pixels that are replaced, such as :func:`brain_masks`.

    Raises
    ------
    TypeError, ValueError
        If images are not uint8 of that shape, lengths or shapes disagree, or ``n_steps`` is below 1.
    """
    check_images(images)
    cams, within, target = np.asarray(cams), np.asarray(within, bool), np.asarray(target)
    shape = tuple(images[:, 0].shape)
    if cams.shape != shape or within.shape != shape or target.shape != shape[:1]:
        raise ValueError(
            f"cams and within must have shape {shape} and target {shape[:1]}, got {cams.shape}, {within.shape} and "
            f"{target.shape}"
        )
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    fill, ranks = blurred(images), torch.from_numpy(_ranks(cams, within))[:, None]
    replaced, rows = np.linspace(0, 1, n_steps + 1), np.arange(len(images))

    def probability(pictures: Tensor) -> NDArray[np.float64]:
        return predict(classifier, pictures, batch_size=32)[rows, target]

    whole, empty = probability(images), probability(torch.where(ranks < 1, fill, images))
    deletion, insertion = [whole], [empty]
    for share in replaced[1:-1]:
        gone = ranks < share
        deletion.append(probability(torch.where(gone, fill, images)))
        insertion.append(probability(torch.where(gone | (ranks == np.inf), images, fill)))
    return PerturbationCurves(replaced, np.stack([*deletion, empty], axis=1), np.stack([*insertion, whole], axis=1))


def blurred(images: Tensor) -> Tensor:
    """Return uint8 images (n, 1, height, width) blurred by a Gaussian whose standard deviation is ``BLUR``."""
    sigma = BLUR * images.shape[-1]
    size = 2 * round(3 * sigma) + 1
    return transforms.gaussian_blur(images, [size, size], [sigma, sigma])


def random_maps(n: int, *, grid: int, size: int = IMAGE_SIZE, seed: int) -> NDArray[np.float32]:
    """Return uninformative maps as coarse as a network's, (n, size, size) in [0, 1]: noise on a grid, enlarged.

    Noise of single pixels would damage an image in another way than the maps do. ``grid`` is the number of positions
    along a side, as :func:`mri_aug.gradcam.maps.map_grid` returns for the network.
    """
    noise = torch.rand(n, 1, grid, grid, generator=torch.Generator().manual_seed(int(seed)))
    return functional.interpolate(noise, size=(size, size), mode="bilinear")[:, 0].numpy()


def _ranks(cams: NDArray, within: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each pixel's place in the order, from 0 for the largest value to below 1; infinite outside ``within``."""
    n, *size = cams.shape
    order = np.argsort(np.where(within, -cams, np.inf).reshape(n, -1), axis=1, kind="stable")
    places = np.empty(order.shape)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None].astype(float), axis=1)
    counts = np.maximum(within.sum(axis=(1, 2)), 1)[:, None]
    return np.where(within.reshape(n, -1), places / counts, np.inf).reshape(n, *size)
