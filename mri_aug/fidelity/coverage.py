"""Precision, recall, density and coverage: do variations lie where real images lie, and do they reach all of it?

From distances between features by the published equations, in memory of the order of n times m. It draws nothing at
random and computes no interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

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
