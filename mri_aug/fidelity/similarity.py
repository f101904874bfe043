"""Similarity of images, in pairs and as sets: distances, coverage, diversity and memorisation.

Sets are compared in a space of features. Diversity is measured by structural similarity, memorisation by the pixel
correlation that also identifies people.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import nearest_neighbours, neighbour_similarity, paired_similarity, unit_features
from mri_aug.fidelity.filters import near_copy_threshold
from mri_aug.fidelity.resampling import MIN_PEOPLE, Estimate, People, interval

# Wang et al. (2003), without the fifth scale: at 128 pixels its image of 8 is smaller than the window of 11.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363)
_BETAS = tuple(weight / sum(_WEIGHTS) for weight in _WEIGHTS)
_BATCH = 64  # pairs at a time


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``(x . y / d + 1) ** 3`` for features (n, d) and (m, d): shape (n, m) (Binkowski et al. 2018, eq. 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(
    x: np.ndarray, y: np.ndarray, x_people: People, y_people: People, *, n_classes: int, same_people: bool = False
) -> list[Estimate]:
    """Return the squared maximum mean discrepancy of two sets of features: its average over classes, then each class.

    It has the kernel of the kernel inception distance (Binkowski et al. 2018), not its network, and is estimated
    without bias (Gretton et al. 2012, eq. 3). People are the units: the kernel of two people is the mean over their
    pairs of images, and pairs of a person with oneself are left out, since a person's slices are so similar that any
    two groups of people would differ. With one image per person it is the usual estimate. Classes are compared
    separately: over all classes, groups stratified by class are more similar than random ones and the expectation is
    negative. Within a class, two random groups of people have expectation 0; single estimates can be negative.

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

    Returns
    -------
    list of Estimate, of length 1 + n_classes
        The average is over the classes with three people or more on each side, weighted by the people of both sides.
        NaN where a side has fewer than two people, and no interval where it has two.
    """
    classes = [_class_mmd(x, y, x_people, y_people, label, same_people) for label in range(n_classes)]
    estimates = [interval(value, draws, n_people=n_people) for value, draws, n_people in classes]
    used = [found for found in classes if len(found[1])]
    if not used:
        return [Estimate(), *estimates]
    values, draws, sizes = (np.array(column) for column in zip(*used, strict=True))
    weights = sizes / sizes.sum()
    return [interval(weights @ values, weights @ draws, n_people=int(sizes.sum())), *estimates]


def _class_mmd(x, y, x_people: People, y_people: People, label: int, same_people: bool):
    """Return the value, its resamples (none if there are too few people) and the number of people, in one class."""
    sides = []
    for features, people in ((x, x_people), (y, y_people)):
        rows = people.labels == label
        members, person = np.unique(people.person[rows], return_inverse=True)
        shares = np.eye(len(members))[:, person]  # (n_people, n)
        sides.append((features[rows], shares / shares.sum(1, keepdims=True), people.draws[:, members]))
    sizes = [len(shares) for _, shares, _ in sides]
    n_people = sizes[0] if same_people else sum(sizes)
    if min(sizes) < 2:
        return float("nan"), np.empty(0), n_people
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
    return float(found[0]), found[1:] if min(sizes) >= MIN_PEOPLE else np.empty(0), n_people


@dataclass(frozen=True, eq=False)
class Coverage:
    """The contribution of each image to the four measures, which are the means.

    Precision (bool) and density (float) are of the synthetic images, recall and coverage (bool) of the real ones:
    Kynkaanniemi et al. (2019, eq. 2) and Naeem et al. (2020, eq. 4 and 5).
    """

    precision: np.ndarray  # within the radius of some real image
    density: np.ndarray  # the number of real images whose radius includes it, over k; can exceed 1
    recall: np.ndarray  # within the radius of some synthetic image
    coverage: np.ndarray  # whether its radius includes a synthetic image


def coverage_measures(
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    real_people: np.ndarray | None = None,
    synthetic_people: np.ndarray | None = None,
    n_neighbours: int = 5,
) -> Coverage:
    """Compare two sets of features by their k nearest neighbours.

    An image's radius is the distance to its k-th nearest neighbour in its own set. The nearest slices are those of the
    same person, at distances that reflect the slice thickness; given people, only other people's images count, and a
    ValueError says that an image has fewer than k of them.

    Parameters
    ----------
    real, synthetic : ndarray of float, shapes (n_real, d) and (n_synthetic, d)
    real_people, synthetic_people : ndarray of int, shapes (n_real,) and (n_synthetic,), optional
        The person in each image; by default everyone has one image, as in the published equations.
    n_neighbours : int
        k; by default as Naeem et al. (2020) propose.
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


def structural_similarity(images: Tensor, others: Tensor) -> np.ndarray:
    """Return the multi-scale structural similarity (MS-SSIM) of each pair, float64 (n,), at most 1.

    Both are uint8 tensors of shape (n, 1, 128, 128).
    """
    parts = [
        multiscale_structural_similarity_index_measure(
            x.float() / 255, y.float() / 255, data_range=1.0, reduction="none", betas=_BETAS, normalize="relu"
        )
        for x, y in zip(images.split(_BATCH), others.split(_BATCH), strict=True)
    ]
    return torch.cat([part.reshape(-1) for part in parts]).double().numpy()


def similarity_within_source(repeats: Tensor) -> np.ndarray:
    """Return the mean MS-SSIM over all pairs of variations of one source, float64 (n_sources,).

    The variations are uint8 of shape (n_sources, n_repeats, 1, 128, 128), with two repeats or more.
    """
    first, second = map(list, zip(*combinations(range(repeats.shape[1]), 2), strict=True))
    pairs = structural_similarity(repeats[:, first].flatten(0, 1), repeats[:, second].flatten(0, 1))
    return pairs.reshape(len(repeats), -1).mean(1)


def similarity_of_neighbours(real: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Return the MS-SSIM of the images at ``rows`` with the most correlated other image of their person, or NaN."""
    (features,) = unit_features(real.images)
    correlation = features[rows] @ features.T
    correlation[real.subjects[rows, None] != real.subjects] = -torch.inf
    correlation[torch.arange(len(rows)), rows] = -torch.inf
    nearest = correlation.max(dim=1)
    found = torch.isfinite(nearest.values)
    similarity = np.full(len(rows), np.nan)
    if found.any():
        similarity[found] = structural_similarity(real.images[rows][found], real.images[nearest.indices[found]])
    return similarity


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Similarities of n images, float64 (n,), each in [-1, 1]."""

    source: np.ndarray  # to the image it derives from; for a real image, to the person's most similar other image
    nearest: np.ndarray  # to the most similar training image
    threshold: float  # above it an image is a near copy

    @property
    def near_copies(self) -> np.ndarray:
        """Which images are near copies, bool (n,); by definition of the threshold about 5 % of real images are."""
        return np.fmax(self.source, self.nearest) > self.threshold


def memorisation(variations: Tensor, training: ImageSet) -> Memorisation:
    """Compare one uint8 variation (n, 1, height, width) of each training image with its source and with all others."""
    return _memorisation(paired_similarity(variations, training.images), variations, training)


def real_similarity(real: ImageSet, training: ImageSet) -> Memorisation:
    """Return the same for real images of other people: the similarity that exists without copying."""
    return _memorisation(neighbour_similarity(real), real.images, training)


def _memorisation(source: np.ndarray, images: Tensor, training: ImageSet) -> Memorisation:
    nearest = nearest_neighbours(images, training.images)[1].double().numpy()
    return Memorisation(source, nearest, near_copy_threshold(training))
