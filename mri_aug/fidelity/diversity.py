"""How much several variations of one source differ among themselves, by multi-scale structural similarity.

1 is the same image again. It compares pixels, uses no network and draws nothing at random.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from mri_aug.imageset import ImageSet
from mri_aug.subjects import nearest_twins

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


def similarity_of_neighbours(real: ImageSet) -> np.ndarray:
    """Return the MS-SSIM of each real image and the most correlated other one of its person; NaN without one."""
    similarity = np.full(len(real), np.nan)
    for subject in real.subjects.unique():
        rows = torch.nonzero(real.subjects == subject).flatten()
        for row in rows if len(rows) > 1 else ():
            rest = rows[rows != row]
            nearest = nearest_twins(real.images[row : row + 1], real.images[rest])[0]
            similarity[row] = structural_similarity(real.images[row : row + 1], real.images[rest[nearest]])[0]
    return similarity
