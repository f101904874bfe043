"""Where heat maps fall, whether they rank the pixels that the network uses, and whether they depend on its weights.

Works on maps of any origin and returns one value per image; :mod:`mri_aug.results.maps` averages over people and adds
intervals. Unless said otherwise maps are float (n, height, width), regions and ``within`` bool of the same shape, and
images uint8 tensors (n, 1, height, width).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.gradcam.maps import check_images
from mri_aug.models.references import DARK_LEVEL
from mri_aug.models.training import Classifier, predict

BRAIN_THRESHOLD = 16  # of 255: above the ringing that JPEG leaves on a black background
SHIFT_PIXELS = 3
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


def fluid_masks(images: Tensor, brain: ArrayLike) -> NDArray[np.bool_]:
    """Return the dark fluid inside each of ``brain``: pixels below 0.55 of the brain's median grey value, (n, h, w)."""
    pixels, brain = images[:, 0].numpy(), np.asarray(brain, bool)
    median = [np.median(image[mask]) if mask.any() else 0 for image, mask in zip(pixels, brain, strict=True)]
    return brain & (pixels < DARK_LEVEL * np.array(median)[:, None, None])


def energy_share(cams: ArrayLike, regions: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each map's energy inside ``within``, such as the brain, that falls inside ``regions``.

    Chance level is the share for a uniform map, ``energy_share(np.ones_like(cams), ...)``: the region's share of the
    area. NaN where the region or the map inside ``within`` is empty; ValueError if shapes differ or a map is negative.
    """
    cams, regions, within = _checked(cams, regions, within)
    energy = cams * within
    total, inside = energy.sum(axis=(1, 2)), (energy * regions).sum(axis=(1, 2))
    defined = (total > 0) & (regions & within).any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(cams), np.nan), where=defined)


def elsewhere_share(
    cams: ArrayLike, regions: ArrayLike, subjects: ArrayLike, *, within: ArrayLike
) -> NDArray[np.float64]:
    """Return the share of each map's energy inside ``within`` that falls inside other people's ``regions``, on average.

    A map that always lights up the same place reaches as much there as in the person's own region: the control of
    :func:`energy_share`, with its chance level and errors. NaN where the map is empty or nobody else has a region.
    """
    cams, regions, within = _checked(cams, regions, within)
    flat, n = (cams * within).reshape(len(cams), -1), len(cams)
    with np.errstate(invalid="ignore"):
        shares = flat / flat.sum(axis=1, keepdims=True) @ regions.reshape(n, -1).T
    subjects = np.asarray(subjects)
    others = (subjects[:, None] != subjects) & regions.any(axis=(1, 2))
    return pd.DataFrame(np.where(others, shares, np.nan)).mean(axis=1).to_numpy()


def on_common_outline(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return maps shifted and scaled so that all brains fill one box, and the outline that they then share.

    Maps may be images; masks are their :func:`brain_masks`. ValueError if shapes differ, or no mask holds a brain.

    Returns
    -------
    aligned : ndarray of float32, shape (n, height, width)
        Each brain's bounding box is mapped to the mean bounding box by linear interpolation. Zero outside the brain,
        and everywhere if there is none.
    outline : ndarray of bool, shape (height, width)
        True where at least half of the brains are.
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
    forward passes per image. TypeError or ValueError if images are not uint8, shapes or lengths disagree, or
    ``n_steps`` is below 1.

    Parameters
    ----------
    classifier, images, n_steps
    cams : array of float
        The order: the largest value first, equal values from the top left.
    target : array of int, shape (n,)
        The class whose probability is recorded.
    within : array of bool
        The pixels that are replaced, such as :func:`brain_masks`.
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


def weighted_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that hold weights of their own, from the input to the output."""
    return tuple(name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False)))


def randomised(model: nn.Module, *, seed: int, last: int | None = None) -> nn.Module:
    """Return a copy of a network with its last layers re-randomised.

    It is the parameter randomisation of Adebayo et al. (2018, arXiv 1810.03292, section 3): a map that does not change
    with random weights explains nothing that was learned. Weights are drawn from a normal distribution around zero with
    the root mean square of the trained ones, so that the scale of a map stays and no head starts from zero, as those of
    transformers do. Biases, the parameters of normalisation layers and their running statistics are permuted.

    With the same seed a layer is randomised in the same way, however many others are: the ``last`` ones of
    :func:`weighted_layers`, by default all. ValueError if there are not so many.
    """
    names = weighted_layers(model)
    last = len(names) if last is None else last
    if not 0 <= last <= len(names):
        raise ValueError(f"last must lie in 0..{len(names)}, the number of layers with weights, got {last}")
    random = copy.deepcopy(model)
    seeds = np.random.SeedSequence(seed).generate_state(len(names))
    with torch.no_grad():
        for name, layer_seed in list(zip(names, seeds.tolist(), strict=True))[len(names) - last :]:
            rng = torch.Generator().manual_seed(layer_seed)
            layer = random.get_submodule(name)
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.ndim > 1:
                    scale = tensor.square().mean().sqrt()
                    tensor.copy_(torch.randn(tensor.shape, generator=rng).to(tensor.device) * scale)
                else:
                    order = torch.randperm(tensor.numel(), generator=rng).to(tensor.device)
                    tensor.copy_(tensor.flatten()[order].view_as(tensor))
    return random


def rank_correlation(first: ArrayLike, second: ArrayLike, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's correlation of two maps of each image, (n,); NaN where one is constant or no pixel counts.

    Only the pixels in ``within`` count, such as the brain: on the background both maps are zero and agree. ValueError
    if the shapes differ.
    """
    first, second, within = np.asarray(first), np.asarray(second), np.asarray(within, bool)
    if first.ndim != 3 or not first.shape == second.shape == within.shape:
        raise ValueError(
            f"both maps and within must share one shape (n, height, width), got {first.shape}, {second.shape} and "
            f"{within.shape}"
        )
    pairs = ((a[inside], b[inside]) for a, b, inside in zip(first, second, within, strict=True))
    return np.array([_correlation(*map(stats.rankdata, pair)) for pair in pairs], dtype=float)


def shift_equivariance(explain: Callable[[Tensor], NDArray], images: Tensor, *, within: ArrayLike) -> NDArray:
    """Return how well each map follows a shift of the image by ``SHIFT_PIXELS``, (n,).

    It is Pearson's correlation of the map with that of the shifted image, shifted back, averaged over four directions;
    NaN where a map is constant. ``explain`` makes the maps of images for a fixed class, for example ``partial(heatmaps,
    model, target=predicted)``. Images have a dark border: pixels that leave on one side return on the other.
    """
    within, still = np.asarray(within, bool), explain(images)
    correlations = []
    for shift in ((SHIFT_PIXELS, 0), (-SHIFT_PIXELS, 0), (0, SHIFT_PIXELS), (0, -SHIFT_PIXELS)):
        moved = explain(torch.roll(images, shift, dims=(2, 3)))
        back = np.roll(moved, (-shift[0], -shift[1]), axis=(1, 2))
        correlations.append([_correlation(a[k], b[k]) for a, b, k in zip(still, back, within, strict=True)])
    return np.mean(correlations, axis=0)


def own_and_other(first: ArrayLike, second: ArrayLike, subjects: ArrayLike, classes: ArrayLike) -> pd.DataFrame:
    """Return how similar the map of each image is to maps of the same person and of other people.

    ``first`` and ``second`` are for example the maps of images and of their variations; ``subjects`` and ``classes``,
    (n,), the person in each image and the class that its map explains. Columns ``own``, Pearson's correlation of a map
    with its counterpart (where ``first`` is ``second``, the mean over the person's other maps), and ``other``, the mean
    over other people's maps for the same class; NaN where there is none or a map is constant.
    """
    subjects, classes, n = np.asarray(subjects), np.asarray(classes), len(first)
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = (np.asarray(maps).reshape(n, -1) for maps in (first, second))
        centred = [maps - maps.mean(axis=1, keepdims=True) for maps in pixels]
        left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in centred)
    correlations = left @ right.T
    same_person, itself = subjects[:, None] == subjects, np.eye(n, dtype=bool)
    chosen = {"own": same_person & ~itself if first is second else itself}
    chosen["other"] = ~same_person & (classes[:, None] == classes)
    means = {name: pd.DataFrame(np.where(pairs, correlations, np.nan)).mean(axis=1) for name, pairs in chosen.items()}
    return pd.DataFrame(means)


def _correlation(first: NDArray, second: NDArray) -> float:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
