"""Sanity of heat maps: do they change when the network forgets, stay when the picture moves, follow the person?

The first is the parameter randomisation of Adebayo et al. (2018, arXiv 1810.03292, section 3): a map that survives
random weights explains nothing of what was learned. Nothing here trains, or says where disease is
(:mod:`mri_aug.localisation`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from mri_aug.gradcam.maps import check_images


def weighted_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that hold weights of their own, from the input to the output."""
    return tuple(name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False)))


def randomised(model: nn.Module, *, seed: int, last: int | None = None) -> nn.Module:
    """Return a copy of a network whose last layers have forgotten what they learned.

    Weights are drawn anew from a normal distribution around zero with the spread of the trained ones, so that a
    change of the map is not one of scale and no head starts from zero, as those of transformers do. Biases, the factors
    of normalisation and the statistics that it keeps are put in random order: their size belongs to the layer.

    Parameters
    ----------
    model : nn.Module
    seed : int
        The same seed randomises a layer alike, however many others are randomised.
    last : int, optional
        How many of :func:`weighted_layers`, from the output; all by default.

    Returns
    -------
    nn.Module
        The model itself is left as it is.

    Raises
    ------
    ValueError
        If ``last`` is not within 0 and the number of layers.
    """
    names = weighted_layers(model)
    last = len(names) if last is None else last
    if not 0 <= last <= len(names):
        raise ValueError(f"last must lie in 0..{len(names)}, the number of layers with weights, got {last}")
    forgetful = copy.deepcopy(model)
    seeds = np.random.SeedSequence(seed).generate_state(len(names))
    with torch.no_grad():
        for name, layer_seed in list(zip(names, seeds.tolist(), strict=True))[len(names) - last :]:
            rng = torch.Generator().manual_seed(layer_seed)
            layer = forgetful.get_submodule(name)
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.ndim > 1:
                    spread = tensor.square().mean().sqrt()
                    tensor.copy_(torch.randn(tensor.shape, generator=rng).to(tensor.device) * spread)
                else:
                    order = torch.randperm(tensor.numel(), generator=rng).to(tensor.device)
                    tensor.copy_(tensor.flatten()[order].view_as(tensor))
    return forgetful


def map_likeness(first: ArrayLike, second: ArrayLike, *, within: ArrayLike) -> pd.DataFrame:
    """Return how alike two maps of each image are, in order and in structure.

    Parameters
    ----------
    first, second : array of float, shape (n, height, width), in [0, 1]
    within : array of bool, shape (n, height, width)
        The pixels that count, such as the brain: on the background two maps agree in being zero.

    Returns
    -------
    DataFrame
        ``rank``, Spearman's correlation, and ``ssim``, structural similarity (Wang et al. 2004; Gaussian window of
        11 pixels) averaged over those pixels; in [-1, 1], and NaN where a map is the same everywhere or nothing counts.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    first, second, within = np.asarray(first, np.float32), np.asarray(second, np.float32), np.asarray(within, bool)
    if first.ndim != 3 or not first.shape == second.shape == within.shape:
        raise ValueError(
            f"both maps and within must share one shape (n, height, width), got {first.shape}, {second.shape} and "
            f"{within.shape}"
        )
    likeness = np.full((len(first), 2), np.nan)
    if len(first):
        pair = (torch.from_numpy(maps)[:, None] for maps in (first, second))
        structure = structural_similarity_index_measure(*pair, data_range=1.0, return_full_image=True)[1][:, 0].numpy()
    for k, inside in enumerate(within):
        values = first[k][inside], second[k][inside]
        if inside.any() and all(np.ptp(one) > 0 for one in values):
            likeness[k] = stats.spearmanr(*values).statistic, structure[k][inside].mean()
    return pd.DataFrame(likeness, columns=["rank", "ssim"])


def shift_likeness(
    explain: Callable[[Tensor], NDArray], images: Tensor, *, within: ArrayLike, pixels: int = 3
) -> NDArray[np.float64]:
    """Return how little each map changes, beyond moving along, when the image is shifted a few pixels.

    Parameters
    ----------
    explain : callable
        Images to maps (n, height, width); let it ask for one class whatever the network predicts, for instance
        ``partial(heatmaps, model, target=predicted)``.
    images : Tensor of uint8, shape (n, 1, 128, 128)
        With a dark border: what leaves on one side comes back on the other.
    within : array of bool, shape (n, 128, 128)
        The pixels that count.
    pixels : int, at least 1

    Returns
    -------
    ndarray of float64, shape (n,), in [-1, 1]
        Pearson's correlation of the map with that of the shifted image, shifted back, averaged over the four
        directions; NaN where a map is the same everywhere.

    Raises
    ------
    TypeError, ValueError
        If images are not uint8 of that shape, or ``pixels`` is below 1.
    """
    check_images(images)
    if pixels < 1:
        raise ValueError(f"pixels must be at least 1, got {pixels}")
    within, still = np.asarray(within, bool), explain(images)
    correlations = []
    for shift in ((pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)):
        moved = explain(torch.roll(images, shift, dims=(2, 3)))
        back = np.roll(moved, (-shift[0], -shift[1]), axis=(1, 2))
        correlations.append([_correlation(a[k], b[k]) for a, b, k in zip(still, back, within, strict=True)])
    return np.mean(correlations, axis=0)


def own_and_other(first: ArrayLike, second: ArrayLike, subjects: ArrayLike, classes: ArrayLike) -> pd.DataFrame:
    """Return how alike the map of each image is to maps of the same person and of others.

    Parameters
    ----------
    first, second : array of float, shape (n, height, width)
        Maps of images and of their variations, say; or the same maps twice, and no map is then compared with itself.
    subjects, classes : array of int, shape (n,)
        The person each image shows, and the class that its map was asked for.

    Returns
    -------
    DataFrame
        ``own``, Pearson's correlation of a map with its counterpart (the mean over the person's other maps, where
        ``first`` is ``second``), and ``other``, its mean over the maps of other people for the same class; NaN where
        there is none, or a map is the same everywhere.
    """
    same = first is second
    first, second = np.asarray(first), np.asarray(second)
    subjects, classes, n = np.asarray(subjects), np.asarray(classes), len(first)
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = [(maps.reshape(n, -1) - maps.reshape(n, -1).mean(axis=1, keepdims=True)) for maps in (first, second)]
        left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pixels)
    correlations = left @ right.T
    kin = subjects[:, None] == subjects
    own = kin & ~np.eye(n, dtype=bool) if same else np.eye(n, dtype=bool)
    others = ~kin & (classes[:, None] == classes)
    means = {name: pd.DataFrame(np.where(chosen, correlations, np.nan)).mean(axis=1) for name, chosen in
             (("own", own), ("other", others))}  # fmt: skip
    return pd.DataFrame(means)


def _correlation(first: NDArray, second: NDArray) -> float:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
