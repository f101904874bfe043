"""Sanity of heat maps: dependence on the weights, stability under shifts of the image, and difference between people.

Maps are float and ``within`` is bool, both of shape (n, height, width).
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

SHIFT_PIXELS = 3


def weighted_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that hold weights of their own, from the input to the output."""
    return tuple(name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False)))


def randomised(model: nn.Module, *, seed: int, last: int | None = None) -> nn.Module:
    """Return a copy of a network with its last layers re-randomised.

    It is the parameter randomisation of Adebayo et al. (2018, arXiv 1810.03292, section 3): a map that does not change
    with random weights explains nothing that was learned. Weights are drawn from a normal distribution around zero with
    the root mean square of the trained ones, so that the scale of a map stays and no head starts from zero, as those of
    transformers do. Biases, the parameters of normalisation layers and their running statistics are permuted.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    seed : int
        With the same seed a layer is randomised in the same way, however many others are.
    last : int, optional
        How many of :func:`weighted_layers`, from the output; all by default.

    Raises
    ------
    ValueError
        If ``last`` is not between 0 and the number of layers.
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

    Only the pixels in ``within`` count, such as the brain: on the background both maps are zero and agree.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    first, second, within = np.asarray(first), np.asarray(second), np.asarray(within, bool)
    if first.ndim != 3 or not first.shape == second.shape == within.shape:
        raise ValueError(
            f"both maps and within must share one shape (n, height, width), got {first.shape}, {second.shape} and "
            f"{within.shape}"
        )
    pairs = ((a[inside], b[inside]) for a, b, inside in zip(first, second, within, strict=True))
    return np.array([_correlation(*map(stats.rankdata, pair)) for pair in pairs], dtype=float)


def shift_likeness(explain: Callable[[Tensor], NDArray], images: Tensor, *, within: ArrayLike) -> NDArray[np.float64]:
    """Return how well each map follows a shift of the image by ``SHIFT_PIXELS``, (n,).

    It is Pearson's correlation of the map with that of the shifted image, shifted back, averaged over four directions;
    NaN where a map is constant.

    Parameters
    ----------
    explain : callable
        Images to maps, for a fixed class, for example ``partial(heatmaps, model, target=predicted)``.
    images : Tensor of uint8, shape (n, 1, height, width)
        With a dark border: pixels that leave on one side return on the other.
    within : array of bool
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

    Parameters
    ----------
    first, second : array of float
        For example maps of images and of their variations; of one array, no map is compared with itself.
    subjects, classes : array of int, shape (n,)
        The person in each image, and the class that its map explains.

    Returns
    -------
    DataFrame
        ``own``, Pearson's correlation of a map with its counterpart (where ``first`` is ``second``, the mean over the
        person's other maps), and ``other``, the mean over other people's maps for the same class; NaN where there is
        none or a map is constant.
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
