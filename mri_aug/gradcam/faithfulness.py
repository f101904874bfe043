"""Does a heat map rank what the network uses? Deletion and insertion curves, and maps that know nothing.

The map is taken as an order of pixels, as in RISE (Petsiuk et al. 2018, arXiv 1806.07421, section 4.2): taking away
what the network uses should ruin its answer early, and giving it back should restore it early. Nothing here makes the
map; no interval is computed.
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

BLUR_PIXELS = 8.0  # standard deviation: sulci and the borders of ventricles are gone, the brain's brightness stays


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
        """Return the areas under both curves, each of shape (n,): small is good for deletion, large for insertion."""
        return tuple(np.trapezoid(curve, self.replaced, axis=1) for curve in (self.deletion, self.insertion))


def perturbation_curves(
    classifier: Classifier,
    images: Tensor,
    cams: ArrayLike,
    target: ArrayLike,
    *,
    within: ArrayLike,
    n_steps: int = 10,
    fill: Tensor | None = None,
) -> PerturbationCurves:
    """Return how the probability of a class falls and rises as pixels go and come in the order of a map.

    Only pixels of the brain take part: the background holds nothing to delete. Costs ``2 * n_steps`` forward passes
    per image, and another order costs them again.

    Parameters
    ----------
    classifier : Classifier
    images : Tensor of uint8, shape (n, 1, 128, 128)
    cams : array of float, shape (n, 128, 128)
        The order: the largest value goes first. Equal values go from the top left.
    target : array of int, shape (n,)
        The class whose probability is followed.
    within : array of bool, shape (n, 128, 128)
        The pixels that take part, such as :func:`mri_aug.gradcam.localisation.brain_masks`.
    n_steps : int
    fill : Tensor of uint8, shape (n, 1, 128, 128), optional
        What stands in the place of a pixel that is gone; by default the same place of the image blurred by
        ``BLUR_PIXELS``. Black would not do: in a brain slice it is fluid, and looks like atrophy.

    Returns
    -------
    PerturbationCurves

    Raises
    ------
    TypeError, ValueError
        If images are not uint8 of that shape, lengths or shapes disagree, or ``n_steps`` is below 1.
    """
    check_images(images)
    fill = blurred(images) if fill is None else fill
    check_images(fill)
    cams, within, target = np.asarray(cams), np.asarray(within, bool), np.asarray(target)
    shape = (len(images), IMAGE_SIZE, IMAGE_SIZE)
    if cams.shape != shape or within.shape != shape or len(fill) != len(images) or target.shape != shape[:1]:
        raise ValueError(
            f"cams and within must have shape {shape}, target {shape[:1]} and fill that of the images, got "
            f"{cams.shape}, {within.shape}, {target.shape} and {tuple(fill.shape)}"
        )
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    ranks = torch.from_numpy(_ranks(cams, within))[:, None]
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
    """Return uint8 images (n, 1, 128, 128) blurred by a Gaussian of ``BLUR_PIXELS``."""
    check_images(images)
    size = 2 * round(3 * BLUR_PIXELS) + 1
    return transforms.gaussian_blur(images, [size, size], [BLUR_PIXELS, BLUR_PIXELS])


def random_maps(n: int, *, grid: int, seed: int) -> NDArray[np.float32]:
    """Return maps that know nothing but are as coarse as a network's: noise on a grid, enlarged bilinearly.

    Parameters
    ----------
    n : int
    grid : int
        Positions along a side of the layer that the maps to compare with come from: 32 for ``cnn``, 4 for ``resnet18``
        and 8 for the transformers. Noise of single pixels would be another kind of damage to an image.
    seed : int

    Returns
    -------
    ndarray of float32, shape (n, 128, 128), in [0, 1]
    """
    noise = torch.rand(n, 1, grid, grid, generator=torch.Generator().manual_seed(int(seed)))
    return functional.interpolate(noise, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[:, 0].numpy()


def _ranks(cams: NDArray, within: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each pixel's place in the order, in [0, 1) from the largest value on; infinite outside ``within``."""
    n, *size = cams.shape
    order = np.argsort(np.where(within, -cams, np.inf).reshape(n, -1), axis=1, kind="stable")
    places = np.empty(order.shape)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None].astype(float), axis=1)
    counts = np.maximum(within.sum(axis=(1, 2)), 1)[:, None]
    return np.where(within.reshape(n, -1), places / counts, np.inf).reshape(n, *size)
