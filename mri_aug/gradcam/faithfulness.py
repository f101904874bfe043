"""Deletion and insertion curves, which show whether a heat map ranks the pixels that the network uses.

The map is used as an order of pixels, as in RISE (Petsiuk et al. 2018, arXiv 1806.07421, section 4.2): removing what
the network uses should lower its answer early, and restoring it should raise the answer early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.gradcam.maps import check_images
from mri_aug.models.training import Classifier, predict

BLUR = 1 / 16  # standard deviation as a share of the side: sulci and edges of ventricles vanish, brightness stays


@dataclass(frozen=True, eq=False)
class PerturbationCurves:
    """The probability of one class while pixels are replaced in an order.

    Parameters
    ----------
    replaced : ndarray of float, shape (n_steps + 1,)
        Share of the brain's pixels that have been replaced (deletion) or restored (insertion), from 0 to 1.
    deletion, insertion : ndarray of float, shape (n, n_steps + 1), in [0, 1]
    """

    replaced: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    def areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the areas under both curves, each of shape (n,); deletion should be small and insertion large."""
        return tuple(np.trapezoid(curve, self.replaced, axis=1) for curve in (self.deletion, self.insertion))


def perturbation_curves(
    classifier: Classifier,
    images: Tensor,
    cams: ArrayLike,
    target: ArrayLike,
    *,
    within: ArrayLike,
    n_steps: int = 10,
) -> PerturbationCurves:
    """Return the probability of a class as pixels are removed and restored in the order of a map.

    A removed pixel takes the value of the blurred image. Black would be a poor replacement: in a brain slice it is
    fluid and looks like atrophy. Costs ``2 * n_steps`` forward passes per image.

    Parameters
    ----------
    classifier : Classifier
    images : Tensor of uint8, shape (n, 1, height, width)
    cams : array of float, shape (n, height, width)
        The order: the largest value first, equal values from the top left.
    target : array of int, shape (n,)
        The class whose probability is recorded.
    within : array of bool, shape (n, height, width)
        The pixels that are replaced, such as :func:`mri_aug.gradcam.localisation.brain_masks`.
    n_steps : int

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
    replaced = np.linspace(0, 1, n_steps + 1)
    rows = np.arange(len(images))

    def probability(pictures: Tensor) -> NDArray[np.float64]:
        return predict(classifier, pictures, batch_size=32)[rows, target]

    whole, empty = probability(images), probability(torch.where(ranks < 1, fill, images))
    deletion, insertion = [whole], [empty]
    for share in replaced[1:-1]:
        gone = ranks < share
        deletion.append(probability(torch.where(gone, fill, images)))
        insertion.append(probability(torch.where(gone | (ranks == np.inf), images, fill)))
    deletion, insertion = [*deletion, empty], [*insertion, whole]
    return PerturbationCurves(replaced, np.stack(deletion, axis=1), np.stack(insertion, axis=1))


def blurred(images: Tensor) -> Tensor:
    """Return uint8 images (n, 1, height, width) blurred by a Gaussian whose standard deviation is ``BLUR``."""
    sigma = BLUR * images.shape[-1]
    size = 2 * round(3 * sigma) + 1
    return transforms.gaussian_blur(images, [size, size], [sigma, sigma])


def random_maps(n: int, *, grid: int, size: int = IMAGE_SIZE, seed: int) -> NDArray[np.float32]:
    """Return uninformative maps as coarse as a network's: noise on a grid, enlarged bilinearly.

    Noise of single pixels would damage an image in another way than the maps do.

    Parameters
    ----------
    n : int
    grid : int
        Positions along a side, as :func:`mri_aug.gradcam.maps.map_grid` returns for the network.
    size : int
        Pixels along a side.
    seed : int

    Returns
    -------
    ndarray of float32, shape (n, size, size), in [0, 1]
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
