"""Recover the people behind the slices from pixels alone, and measure how far a split leaks.

Neighbouring slices of one head correlate more than slices of two heads, so people are the connected components of a
graph that joins images above the right correlation. Where the data shows no people, none are guessed. The correlations
also compare synthetic images with real ones; :mod:`mri_aug.fidelity.filters` decides what a near duplicate is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.special import fdtrc
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mri_aug.data.imageset import ImageSet
from mri_aug.data.splits import Split, people

BLOCK = 4096  # images: a block of correlations and its transpose take 64 MB each
DUPLICATE = 0.999  # above this two images are one picture; neighbouring slices of the thesis's data reach 0.995
MAX_ALONE = 0.05  # largest share of pictures that are alone in their component, at an admissible threshold
MAX_LARGEST = 0.5  # largest share of pictures in one component, at an admissible threshold
ALPHA = 1e-3  # level of the test for a plateau
N_PERMUTATIONS = 100  # of labels among people, in the control of a leak
_N_NEIGHBOURS = 10  # gaps on either side that a plateau is compared with
_CHUNK = 1024  # images pooled, or compared with all others, at a time


@dataclass(frozen=True, eq=False)
class SubjectAudit:
    """The people found in a set of n images, and the evidence for them."""

    found: bool  # False: the data shows no people, and `reason` says why
    reason: str  # one sentence
    subjects: Tensor  # int64 (n,): person of each image, numbered by first appearance; -1 everywhere if not found
    threshold: float  # images that correlate above it are joined; NaN if not found
    plateau: tuple[float, float]  # thresholds in [low, high) give the same people; NaN if not found
    p_value: float  # of a plateau this long without structure (Bonferroni); NaN for a given threshold
    merges: np.ndarray  # float64 (n - 1,), descending: correlations at which two components become one
    sizes: np.ndarray  # int64 (n_subjects,): images of each person
    n_duplicates: int  # images whose correlation with another exceeds 0.999
    class_purity: float | None  # share of people whose images are all of one class; None without labels

    @property
    def n_subjects(self) -> int:
        """Number of people."""
        return len(self.sizes)

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds, ascending, and the number of components above each: a step function."""
        return self.merges[::-1], 2 + np.arange(len(self.merges))


@dataclass(frozen=True)
class LeakageAudit:
    """What a split gives to a 1-nearest-neighbour classifier on pixels, which learns nothing about disease."""

    protocol: str
    n_test: int
    shared_subjects: float  # share of test images whose person is also in the training part
    close_neighbours: float  # share of test images whose correlation with a training image exceeds neighbour_threshold
    accuracy: float  # of the nearest training image's label
    majority_accuracy: float  # of the most frequent training label
    random_label_accuracy: float  # mean accuracy when labels are permuted among people
    random_label_interval: tuple[float, float]  # 2.5 % and 97.5 % quantiles over the permutations


def recover_subjects(images: Tensor, *, threshold: float | None = None, labels=None) -> SubjectAudit:
    """Find the people behind slices, by single linkage on pixel correlation.

    Images are averaged to half their size, mean-centred and normalised. The maximum spanning tree of their correlations
    holds every merge of single linkage (Gower and Ross 1969). The threshold is the middle, on Fisher's scale, of the
    longest plateau at which at most 5 % of the pictures are alone and no component holds more than half of them,
    provided that it is longer than expected without structure (p < 0.001): see :func:`longest_plateau`. O(n^2) time and
    O(n) memory; the thesis's 6,400 images take 2 s on two cores.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, height, width)
        Even height and width. Duplicates count as one picture.
    threshold : float in (-1, 1), optional
        Joins images above this correlation; chosen by default.
    labels : array of int, shape (n,), optional
        Classes, used for ``class_purity`` only.

    Raises
    ------
    ValueError
        As :func:`unit_features`; also if the threshold is out of range, or the labels are not one per image.
    """
    if threshold is not None and not -1 < threshold < 1:
        raise ValueError(f"threshold is a correlation in (-1, 1), got {threshold!r}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels has {len(labels)} entries for {len(images)} images")
    (features,) = unit_features(images)
    a, b, merges = spanning_tree(features)
    if threshold is None:
        k, p_value, reason = longest_plateau(a, b, merges)
    else:
        k, p_value, reason = int((merges > threshold).sum()), np.nan, f"joined above the given threshold {threshold}"
        if k in (0, len(merges)):
            k, reason = 0, f"threshold {threshold} joins {'all images into one' if k else 'no two images'}"
    n_duplicates = int((merges > DUPLICATE).sum())
    if not k:
        unknown, nobody, nan = torch.full((len(images),), -1), np.zeros(0, dtype=np.int64), float("nan")
        return SubjectAudit(False, reason, unknown, nan, (nan, nan), p_value, merges, nobody, n_duplicates, None)
    low, high = float(merges[k]), float(merges[k - 1])
    if threshold is None:
        threshold = float(np.tanh((_fisher_z(low) + _fisher_z(high)) / 2))
    components = connected_components(_graph(a, b, k), directed=False)[1]
    _, first, number, sizes = np.unique(components, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)  # of first appearance
    purity = None
    if labels is not None:
        labels = np.asarray(labels)
        purity = 1 - len(np.unique(number[labels != labels[first][number]])) / len(first)
    subjects, sizes = torch.from_numpy(np.argsort(order)[number]), sizes[order]
    return SubjectAudit(True, reason, subjects, threshold, (low, high), p_value, merges, sizes, n_duplicates, purity)


def unit_features(*image_sets: Tensor) -> list[Tensor]:
    """Return features, float32 (n, n_features), whose inner products are the correlations of images at half size.

    Pooled pixels that are black in every image (a third, outside the head) are merged into one column, which changes
    no correlation. Takes uint8 of shape (n, 1, height, width), both even and the same in all sets; raises a ValueError
    if a set is empty, has another type or shape, or holds a blank image (all pixels equal).
    """
    for images in image_sets:
        shape, wanted = tuple(images.shape), tuple(image_sets[0].shape[1:])
        even = len(shape) == 4 and 0 not in shape and not (shape[2] % 2 or shape[3] % 2)
        if images.dtype != torch.uint8 or not even or shape[1] != 1:
            wanted = "uint8 of shape (n, 1, even, even) with n > 0"
            raise ValueError(f"images must be {wanted}, got {images.dtype} of shape {shape}")
        if shape[1:] != wanted:
            raise ValueError(f"images of {shape[1:]} and {wanted} cannot be compared; bring them to one size")
    brightest = torch.stack([images.amax(0) for images in image_sets]).amax(0)
    seen = avg_pool2d(brightest.float(), 2).flatten() > 0
    return [_unit_rows(images, seen) for images in image_sets]


def _unit_rows(images: Tensor, seen: Tensor) -> Tensor:
    n_black = int((~seen).sum())
    rows = torch.empty(len(images), int(seen.sum()) + 1)
    for start in range(0, len(images), _CHUNK):
        pooled = avg_pool2d(images[start : start + _CHUNK].float(), 2).flatten(1)
        mean = pooled.mean(1, keepdim=True)
        row = rows[start : start + _CHUNK]
        row[:, :-1] = pooled[:, seen] - mean
        row[:, -1:] = -mean * n_black**0.5
        norm = row.norm(dim=1, keepdim=True)
        if (blank := torch.nonzero(norm[:, 0] < 1e-3 * (1 + mean[:, 0])).flatten()).numel():
            raise ValueError(
                f"image {start + int(blank[0])} is blank (all pixels equal) and correlates with nothing; leave it out"
            )
        row /= norm
    return rows


def spanning_tree(features: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the maximum spanning tree of the inner products of unit rows: every merge of single linkage.

    Exact in O(n) memory: each block of products is reduced to its own tree before the next is computed, since an edge
    outside the tree of a subgraph is outside the tree of the graph. Returns the images that each edge joins, and the
    correlations of the n - 1 edges, descending.
    """
    n, edges = len(features), []
    blocks = zip(*(whole.tensor_split(-(-n // BLOCK)) for whole in (torch.arange(n), features)), strict=True)
    for (i, rows), (j, columns) in combinations_with_replacement(blocks, 2):
        a, b, weight = _block_tree((rows @ columns.T).numpy())
        edges.append((a + int(i[0]), b + int(j[0]), weight))
    a, b, weight = map(np.concatenate, zip(*edges, strict=True))
    other = a != b
    cost = coo_array((2 - weight[other].astype(np.float64), (a[other], b[other])), shape=(n, n))
    tree = minimum_spanning_tree(cost.tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    a, b = (index[order].astype(np.int64) for index in (tree.row, tree.col))
    return a, b, np.clip(2 - tree.data[order], -1, 1)


def _block_tree(products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges (row, column, weight) of the maximum spanning tree between rows and columns (Prim).

    On the diagonal rows and columns are the same images: the edges of their tree are then also among those returned.
    """
    n_rows, n_columns = products.shape
    transposed = np.ascontiguousarray(products.T)
    best = np.full(n_rows + n_columns, -np.inf, dtype=np.float32)  # heaviest edge into the tree; +inf once inside
    queue, parent = best.copy(), np.zeros(len(best), dtype=np.int64)
    edges = np.empty((len(best) - 1, 2), dtype=np.int64)
    weights = np.empty(len(best) - 1, dtype=np.float32)
    node = 0
    best[node] = np.inf
    for step in range(len(edges)):
        offset = n_rows if node < n_rows else 0
        weight = products[node] if node < n_rows else transposed[node - n_rows]
        better = np.flatnonzero(weight > best[offset : offset + len(weight)])
        better_nodes = better + offset
        best[better_nodes] = queue[better_nodes] = weight[better]
        parent[better_nodes] = node
        node = int(queue.argmax())
        edges[step], weights[step] = (parent[node], node), queue[node]
        best[node], queue[node] = np.inf, -np.inf
    edges.sort(axis=1)  # row first
    return edges[:, 0], edges[:, 1] - n_rows, weights


def _fisher_z(correlation):
    """Return arctanh r, on whose scale the sampling error of a correlation is constant (Fisher 1921); at most 7.25."""
    return np.arctanh(np.clip(correlation, -1 + 1e-6, 1 - 1e-6))


def longest_plateau(a: np.ndarray, b: np.ndarray, merges: np.ndarray) -> tuple[int, float, str]:
    """Choose the number of merges: up to the longest plateau, if it is longer than expected without structure.

    Length is measured in Fisher's z (lifetime criterion: Fred and Jain 2005). Without structure, neighbouring gaps
    between merges are independent and exponential (Pyke 1965), so that the ratio of one to the mean of m others follows
    F(2, 2m). The p-value is corrected for all admissible plateaus (Bonferroni). Returns the number of merges (0 if
    there is no such plateau), the p-value (NaN if no threshold is admissible) and the reason.
    """
    alone, largest = _component_shares(a, b, merges)
    admissible = np.flatnonzero((alone[:-1] <= MAX_ALONE) & (largest[:-1] <= MAX_LARGEST)) + 1  # merges made
    if not len(admissible):
        limits = f"wherever at most {MAX_ALONE:.0%} of them stand alone, one component holds over {MAX_LARGEST:.0%}"
        return 0, np.nan, f"no threshold joins the images into groups: {limits}"
    gaps = -np.diff(_fisher_z(merges))  # gaps[k - 1]: the plateau after k merges
    k = int(admissible[np.argmax(gaps[admissible - 1])])
    nearby = np.r_[gaps[max(0, k - 1 - _N_NEIGHBOURS) : k - 1], gaps[k : k + _N_NEIGHBOURS]]
    ratio = gaps[k - 1] / max(nearby.mean(), 1e-12) if len(nearby) else 0.0
    p_value = min(1.0, len(admissible) * float(fdtrc(2, max(1, 2 * len(nearby)), ratio)))
    low, high, n_components = merges[k], merges[k - 1], len(merges) + 1 - k
    plateau = f"the longest plateau, {n_components} components from r = {low:.4f} to {high:.4f},"
    if p_value >= ALPHA:
        return 0, p_value, f"merges form a continuum: {plateau} is not longer than by chance (p = {p_value:.2g})"
    return k, p_value, f"{plateau} is {ratio:.0f} times as long as the gaps around it (p = {p_value:.2g})"


def _component_shares(a: np.ndarray, b: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Return the shares of pictures that are alone and in the largest component, after each merge."""
    n_copies = int((merges > DUPLICATE).sum())  # merges descend: the first ones join copies of one picture
    n_pictures, picture = connected_components(_graph(a, b, n_copies), directed=False)
    joined, n_alone, most = DisjointSet(range(n_pictures)), n_pictures, 1
    shares = np.ones((2, len(merges)))
    for step, (i, j) in enumerate(picture[np.stack([a, b], 1)[n_copies:]].tolist(), start=n_copies):
        n_alone -= (joined.subset_size(i) == 1) + (joined.subset_size(j) == 1)
        joined.merge(i, j)
        most = max(most, joined.subset_size(i))
        shares[:, step] = n_alone / n_pictures, most / n_pictures
    return shares


def _graph(a: np.ndarray, b: np.ndarray, k: int) -> coo_array:
    return coo_array((np.ones(k), (a[:k], b[:k])), shape=(len(a) + 1, len(a) + 1))


def nearest_neighbours(images: Tensor, reference_images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each image's most correlated reference image, int64 (n,), and the correlation, float32 (n,).

    Takes images as :func:`unit_features`.
    """
    x, y = unit_features(images, reference_images)
    nearest = [(part @ y.T).max(dim=1) for part in x.split(max(1, BLOCK**2 // len(y)))]
    return torch.cat([part.indices for part in nearest]), torch.cat([part.values for part in nearest]).clamp(-1, 1)


def paired_similarity(images: Tensor, others: Tensor) -> np.ndarray:
    """Return the correlation of each image with the one at its place in ``others``, of as many, float64 (n,)."""
    if len(images) != len(others):
        raise ValueError(f"images are compared in pairs, got {len(images)} and {len(others)}")
    x, y = unit_features(images, others)
    return (x * y).sum(1).clamp(-1, 1).double().numpy()


def neighbour_similarity(real: ImageSet) -> np.ndarray:
    """Return the correlation of each real image with the most similar *other* image of the same person, float64 (n,).

    Neighbouring slices of a head are as similar as two images get without one being made from the other: the reference
    for a near duplicate. NaN for a person's only image. Images of unknown people are compared with all others of
    unknown people. Raises a ValueError as :func:`unit_features`.
    """
    (features,) = unit_features(real.images)
    rows, nearest = torch.arange(len(real)), torch.empty(len(real))
    for part in rows.split(_CHUNK):
        excluded = (real.subjects[part, None] != real.subjects) | (part[:, None] == rows)
        nearest[part] = (features[part] @ features.T).masked_fill_(excluded, -torch.inf).amax(1).clamp(max=1)
    return torch.where(torch.isfinite(nearest), nearest, torch.nan).double().numpy()


def is_blank(images: Tensor) -> np.ndarray:
    """Return which images have one grey level only, bool (n,): their correlation is not defined."""
    flat = images.flatten(1)
    return (flat.amax(1) == flat.amin(1)).numpy()


def audit_split(image_set: ImageSet, split: Split, *, neighbour_threshold: float, seed: int) -> LeakageAudit:
    """Measure how much of the test part is already in the training part; the validation part is not used.

    As a control, labels are permuted among people: nothing about disease is left to learn, so that an accuracy above
    chance is recognition of people. Images that correlate above ``neighbour_threshold``, the threshold of
    :func:`recover_subjects`, show one person. Raises a ValueError if subjects are unknown or a subject has two labels.
    """
    person, person_labels = people(image_set)
    train, test = person[split.train], person[split.test]
    index, correlation = nearest_neighbours(image_set.images[split.test], image_set.images[split.train])
    neighbour = train[index.numpy()]
    rng = np.random.default_rng(seed)
    permuted = (rng.permutation(person_labels) for _ in range(N_PERMUTATIONS))
    control = np.array([(labels[neighbour] == labels[test]).mean() for labels in permuted])
    low, high = np.quantile(control, (0.025, 0.975))
    return LeakageAudit(
        protocol=split.protocol,
        n_test=len(test),
        shared_subjects=float(np.isin(test, train).mean()),
        close_neighbours=float((correlation > neighbour_threshold).double().mean()),
        accuracy=float((person_labels[neighbour] == person_labels[test]).mean()),
        majority_accuracy=float((person_labels[test] == np.bincount(person_labels[train]).argmax()).mean()),
        random_label_accuracy=float(control.mean()),
        random_label_interval=(float(low), float(high)),
    )
