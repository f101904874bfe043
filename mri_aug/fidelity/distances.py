"""Distances between sets of images and how they cover each other, in a space of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mri_aug.fidelity.resampling import MIN_PEOPLE, Estimate, People, interval


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``(x . y / d + 1) ** 3`` for features (n, d) and (m, d): shape (n, m) (Binkowski et al. 2018, eq. 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(
    x: np.ndarray,
    y: np.ndarray,
    x_people: People,
    y_people: People,
    *,
    n_classes: int,
    same_people: bool = False,
    confidence_level: float = 0.95,
) -> list[Estimate]:
    """Return the squared maximum mean discrepancy of two sets of features within each class, and its average.

    It has the kernel of the kernel inception distance (Binkowski et al. 2018), not its network, and is estimated
    without bias (Gretton et al. 2012, eq. 3). People are the units: the kernel of two people is the mean over their
    pairs of images, and pairs of a person with oneself are left out, since a person's slices are so similar that any
    two groups of people would differ. With one image per person it is the usual estimate. Classes are compared
    separately: over all classes, groups stratified by class are more similar than random ones and the expectation is
    negative.
    Within a class, two random groups of people have expectation 0; single estimates can be negative.

    Intervals are percentiles over resampled people, who are never paired with themselves. They are conservative: for
    10 against 10, 30 against 30 and 60 against 140 people of one population, 95 % intervals left out 0 in under 1 % of
    300 simulations each.

    Parameters
    ----------
    x, y : ndarray of float, shapes (n, d) and (m, d)
    x_people, y_people : People
        With equally many resamples, drawn within classes.
    n_classes : int
    same_people : bool
        Both sides show the same people, as variations and their sources do. Pairs of one person are then left out
        across the sets, too, and people are resampled in both alike, so that differences between people cancel out.
    confidence_level : float in (0, 1)

    Returns
    -------
    list of Estimate, of length 1 + n_classes
        The average over the classes with three people or more on each side, weighted by the people of both sides; then
        each class. NaN where a side has fewer than two people, and no interval where it has two.
    """
    classes = [_class_mmd(x, y, x_people, y_people, label, same_people) for label in range(n_classes)]
    estimates = [
        interval(value, draws if enough else draws[:0], confidence_level=confidence_level, n_people=n)
        for value, draws, n, enough in classes
    ]
    used = [(value, draws, n) for value, draws, n, enough in classes if enough]
    if not used:
        return [Estimate(), *estimates]
    values, draws, sizes = (np.array(column) for column in zip(*used, strict=True))
    weights = sizes / sizes.sum()
    average = interval(weights @ values, weights @ draws, confidence_level=confidence_level, n_people=int(sizes.sum()))
    return [average, *estimates]


def _class_mmd(x, y, x_people: People, y_people: People, label: int, same_people: bool):
    """Return the value, its resamples, the number of people and whether they are enough, in one class."""
    sides = []
    for features, people in ((x, x_people), (y, y_people)):
        rows = people.labels == label
        members, person = np.unique(people.person[rows], return_inverse=True)
        shares = np.eye(len(members))[:, person]  # (n_people, n)
        sides.append((features[rows], shares / shares.sum(1, keepdims=True), people.draws[:, members]))
    sizes = [len(shares) for _, shares, _ in sides]
    n_people, fewest = sizes[0] if same_people else sum(sizes), min(sizes)
    if fewest < 2:
        return float("nan"), np.full(len(x_people.draws), np.nan), n_people, False
    terms = []
    for (a, a_shares, a_draws), (b, b_shares, b_draws), alike in (
        (sides[0], sides[0], True), (sides[1], sides[1], True), (sides[0], sides[1], same_people),
    ):  # fmt: skip
        kernel = a_shares @ polynomial_kernel(a, b) @ b_shares.T
        pairs = 1 - np.eye(*kernel.shape) if alike else np.ones_like(kernel)
        weights = [np.vstack([np.ones(draws.shape[1]), draws]) for draws in (a_draws, b_draws)]
        sums, counts = (np.einsum("rp,pq,rq->r", weights[0], part, weights[1], optimize=True) for part in
                        (kernel * pairs, pairs))  # fmt: skip
        terms.append(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))
    found = terms[0] + terms[1] - 2 * terms[2]
    return float(found[0]), found[1:], n_people, fewest >= MIN_PEOPLE


N_NEIGHBOURS = 5  # as Naeem et al. (2020) propose


@dataclass(frozen=True, eq=False)
class Coverage:
    """The contribution of each image to the four measures, which are the means.

    Parameters
    ----------
    precision : ndarray of bool, shape (n_synthetic,)
        Within the radius of some real image (Kynkaanniemi et al. 2019, eq. 2).
    density : ndarray of float, shape (n_synthetic,)
        The number of real images whose radius includes it, over k; can exceed 1 (Naeem et al. 2020, eq. 4).
    recall : ndarray of bool, shape (n_real,)
        Within the radius of some synthetic image (Kynkaanniemi et al. 2019, eq. 2).
    coverage : ndarray of bool, shape (n_real,)
        Whether its radius includes a synthetic image (Naeem et al. 2020, eq. 5).
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

    An image's radius is the distance to its k-th nearest neighbour in its own set. The nearest slices are those of the
    same person, at distances that reflect the slice thickness; given people, only other people's images count.

    Parameters
    ----------
    real, synthetic : ndarray of float, shapes (n_real, d) and (n_synthetic, d)
    real_people, synthetic_people : ndarray of int, shapes (n_real,) and (n_synthetic,), optional
        The person in each image; by default everyone has one image, as in the published equations.
    n_neighbours : int
        k, at least 1.

    Raises
    ------
    ValueError
        If an image has fewer than k images of other people in its set.
    """
    real_radius = _radius(real, real_people, n_neighbours)
    synthetic_radius = _radius(synthetic, synthetic_people, n_neighbours)
    distances = cdist(real, synthetic)
    inside_real = distances <= real_radius[:, None]
    return Coverage(
        precision=inside_real.any(axis=0),
        density=inside_real.sum(axis=0) / n_neighbours,
        recall=(distances <= synthetic_radius).any(axis=1),
        coverage=inside_real.any(axis=1),
    )


def _radius(features: np.ndarray, people: np.ndarray | None, k: int) -> np.ndarray:
    people = np.arange(len(features)) if people is None else np.asarray(people)
    distances = cdist(features, features)
    distances[people[:, None] == people] = np.inf
    radius = np.partition(distances, k - 1, axis=1)[:, k - 1] if len(features) >= k else np.full(len(features), np.inf)
    if not np.isfinite(radius).all():
        raise ValueError(
            f"{int((~np.isfinite(radius)).sum())} of {len(features)} images have fewer than {k} images of other people "
            "in their set; compare more images, or set fewer neighbours"
        )
    return radius
