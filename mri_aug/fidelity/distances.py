"""Distances, coverage and diversity of sets of images, between their features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import nearest_neighbours
from mri_aug.fidelity.resampling import Estimate, People, interval

_MIN_PEOPLE = 3  # on each side, for an interval


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``(x . y / d + 1) ** 3`` for features (n, d) and (m, d): shape (n, m) (Binkowski et al. 2018, eq. 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(
    x: np.ndarray,
    y: np.ndarray,
    x_people: People,
    y_people: People,
    *,
    x_rows: np.ndarray | None = None,
    y_rows: np.ndarray | None = None,
    same_people: bool = False,
    confidence_level: float = 0.95,
) -> Estimate:
    """Return the kernel inception distance (KID) of two sets of features, with its interval over people.

    The squared maximum mean discrepancy is estimated without bias (Gretton et al. 2012, eq. 3; Binkowski et al.
    2018), with one change: within a set, only pairs of *different people* are averaged. Slices of one person are
    alike, and counting such pairs would set any two groups of people apart. With one image per person it is the
    usual estimate. Two samples of the same population have distance 0 in expectation; single estimates can be
    negative. In the bootstrap, too, nobody is ever paired with a copy of oneself.

    Parameters
    ----------
    x, y : ndarray of float, shapes (n, d) and (m, d)
    x_people, y_people : People
        With equally many resamples.
    x_rows, y_rows : ndarray of bool, shapes (n,) and (m,), optional
        The images to compare; all by default.
    same_people : bool
        Both sets show the same people, as variations and their sources do: pairs of one person are then left out
        across the sets, too, and people are resampled in both alike. What sets people apart cancels out.
    confidence_level : float in (0, 1)

    Returns
    -------
    Estimate
        NaN where a side has fewer than two people; without an interval where one has two, of whom every resample
        that is defined draws both.
    """
    x_rows = np.ones(len(x), dtype=bool) if x_rows is None else x_rows
    y_rows = np.ones(len(y), dtype=bool) if y_rows is None else y_rows
    first, second = (x[x_rows], x_people, x_people.person[x_rows]), (y[y_rows], y_people, y_people.person[y_rows])
    pairs = ((first, first, True), (second, second, True), (first, second, same_people))
    blocks = [_block_sums(*pair) for pair in pairs]
    value = _discrepancy(blocks, np.ones((1, x_people.n_people)), np.ones((1, y_people.n_people)))[0]
    if min(x_people.count(x_rows), y_people.count(y_rows)) < _MIN_PEOPLE:
        return Estimate(float(value))
    resampled = _discrepancy(blocks, x_people.draws, y_people.draws)
    return interval(value, resampled, confidence_level=confidence_level)


def _block_sums(first, second, same_people: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each pair of people, the sum of the kernel over their pairs of images, and the number of pairs."""
    (x, x_people, x_person), (y, y_people, y_person) = first, second
    rows = np.eye(x_people.n_people)[:, x_person]
    columns = np.eye(y_people.n_people)[:, y_person]
    sums = rows @ polynomial_kernel(x, y) @ columns.T
    counts = np.outer(rows.sum(1), columns.sum(1))
    if same_people:
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(counts, 0)
    return sums, counts


def _discrepancy(blocks, x_draws: np.ndarray, y_draws: np.ndarray) -> np.ndarray:
    pairs = ((x_draws, x_draws), (y_draws, y_draws), (x_draws, y_draws))
    within_x, within_y, across = (
        _ratio(*[np.einsum("rp,pq,rq->r", left, block, right, optimize=True) for block in both])
        for both, (left, right) in zip(blocks, pairs, strict=True)
    )
    return within_x + within_y - 2 * across


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


N_NEIGHBOURS = 5  # as Naeem et al. (2020) propose


@dataclass(frozen=True, eq=False)
class Coverage:
    """What each image contributes to the four measures, which are the means.

    Parameters
    ----------
    precision : ndarray of bool, shape (n_synthetic,)
        Within reach of some real image (Kynkaanniemi et al. 2019, eq. 2).
    density : ndarray of float, shape (n_synthetic,)
        By how many real images it is reached, over k; can exceed 1 (Naeem et al. 2020, eq. 4).
    recall : ndarray of bool, shape (n_real,)
        A real image within reach of some synthetic one (Kynkaanniemi et al. 2019, eq. 2).
    coverage : ndarray of bool, shape (n_real,)
        A real image that reaches some synthetic one (Naeem et al. 2020, eq. 5).
    """

    precision: np.ndarray
    density: np.ndarray
    recall: np.ndarray
    coverage: np.ndarray


def coverage_measures(
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    real_people: np.ndarray | None = None,
    synthetic_people: np.ndarray | None = None,
    n_neighbours: int = N_NEIGHBOURS,
) -> Coverage:
    """Compare two sets of features by their k nearest neighbours.

    An image's reach is the distance to its k-th nearest neighbour in its own set. Among slices, the nearest are the
    same person's, whose distances say how thick a slice is and not how people differ; given people, neighbours are
    counted among the others only.

    Parameters
    ----------
    real, synthetic : ndarray of float, shapes (n_real, d) and (n_synthetic, d)
    real_people, synthetic_people : ndarray of int, shapes (n_real,) and (n_synthetic,), optional
        Whom each image shows; by default everyone has one image, as in the published equations.
    n_neighbours : int
        k, at least 1.

    Raises
    ------
    ValueError
        If an image has fewer than k others in its set to be a neighbour of.
    """
    real_reach = _reach(real, real_people, n_neighbours)
    synthetic_reach = _reach(synthetic, synthetic_people, n_neighbours)
    distances = cdist(real, synthetic)
    reached_by_real = distances <= real_reach[:, None]
    return Coverage(
        precision=reached_by_real.any(axis=0),
        density=reached_by_real.sum(axis=0) / n_neighbours,
        recall=(distances <= synthetic_reach).any(axis=1),
        coverage=reached_by_real.any(axis=1),
    )


def _reach(features: np.ndarray, people: np.ndarray | None, k: int) -> np.ndarray:
    people = np.arange(len(features)) if people is None else np.asarray(people)
    distances = cdist(features, features)
    distances[people[:, None] == people] = np.inf
    reach = np.sort(distances, axis=1)[:, k - 1] if len(features) >= k else np.full(len(features), np.inf)
    if not np.isfinite(reach).all():
        raise ValueError(
            f"{int((~np.isfinite(reach)).sum())} of {len(features)} images have fewer than {k} images of other people "
            "beside them; compare more images, or ask for fewer neighbours"
        )
    return reach


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
            nearest = nearest_neighbours(real.images[row : row + 1], real.images[rest])[0]
            similarity[row] = structural_similarity(real.images[row : row + 1], real.images[rest[nearest]])[0]
    return similarity
