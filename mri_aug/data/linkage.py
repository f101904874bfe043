"""Correlation of slices: the measure by which people are recovered and synthetic images are compared with real ones.

It does not decide what counts as one person or as a near duplicate (:mod:`mri_aug.data.people` and
:mod:`mri_aug.fidelity.filters` do).
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import fdtrc
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm.auto import tqdm

from mri_aug.data.imageset import ImageSet

BLOCK = 4096  # images: a block of correlations and its transpose take 64 MB each
DUPLICATE = 0.999  # above this two images are one picture; neighbouring slices of the thesis's data reach 0.995
MAX_ALONE = 0.05  # largest share of pictures that are alone in their component, at an admissible threshold
MAX_LARGEST = 0.5  # largest share of pictures in one component, at an admissible threshold
ALPHA = 1e-3  # level of the test for a plateau
_N_NEIGHBOURS = 10  # gaps on either side that a plateau is compared with
_CHUNK = 1024  # images pooled at a time


def unit_features(*image_sets: Tensor) -> list[Tensor]:
    """Return features whose inner products are the correlations of images averaged to half their size.

    Pooled pixels that are black in every image (a third, outside the head) are merged into one column, which changes
    no correlation.

    Parameters
    ----------
    *image_sets : Tensor of uint8, shape (n, 1, height, width)
        Height and width even, and the same in all.

    Returns
    -------
    list of Tensor of float32, shape (n, n_features)
        Rows of unit length.

    Raises
    ------
    ValueError
        If a set is empty, has another type or shape, or holds a blank image (all pixels equal).
    """
    for images in image_sets:
        shape, wanted = tuple(images.shape), tuple(image_sets[0].shape[1:])
        even = len(shape) == 4 and 0 not in shape and not (shape[2] % 2 or shape[3] % 2)
        if images.dtype != torch.uint8 or not even or shape[1] != 1:
            raise ValueError(
                f"images must be uint8 of shape (n, 1, even, even) with n > 0, got {images.dtype} of shape {shape}"
            )
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


def spanning_tree(features: Tensor, *, progress: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the maximum spanning tree of all inner products: every merge of single linkage.

    Exact in O(n) memory: each block of products is reduced to its own tree before the next is computed, since an edge
    outside the tree of a subgraph is outside the tree of the graph.

    Parameters
    ----------
    features : Tensor of float32, shape (n, n_features)
        Rows of unit length.
    progress : bool

    Returns
    -------
    a, b : ndarray of int64, shape (n - 1,)
        The images that each edge joins.
    merges : ndarray of float64, shape (n - 1,)
        Their correlations, descending.
    """
    n = len(features)
    blocks = torch.arange(n).tensor_split(-(-n // BLOCK))
    pairs = list(combinations_with_replacement(blocks, 2))
    edges = []
    for left, right in tqdm(pairs, disable=not progress, desc="people", unit="block"):
        rows, columns = (features[part[0] : part[-1] + 1] for part in (left, right))
        a, b, weight = _block_tree((rows @ columns.T).numpy())
        edges.append((a + int(left[0]), b + int(right[0]), weight))
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


def fisher_z(correlation):
    """Return arctanh r, on whose scale the sampling error of a correlation is constant (Fisher 1921); at most 7.25."""
    return np.arctanh(np.clip(correlation, -1 + 1e-6, 1 - 1e-6))


def longest_plateau(a: np.ndarray, b: np.ndarray, merges: np.ndarray) -> tuple[int, float, str]:
    """Choose the number of merges: up to the longest plateau, if it is longer than expected without structure.

    Length is measured in Fisher's z (lifetime criterion: Fred and Jain 2005). Without structure, neighbouring gaps
    between merges are independent and exponential (Pyke 1965), so that the ratio of one to the mean of m others follows
    F(2, 2m). The p-value is corrected for all admissible plateaus (Bonferroni).

    Parameters
    ----------
    a, b, merges : ndarray, shape (n - 1,)
        As :func:`spanning_tree` returns them.

    Returns
    -------
    n_merges : int
        0 if there is no such plateau.
    p_value : float
        NaN if no threshold is admissible.
    reason : str
    """
    alone, largest = _component_shares(a, b, merges)
    admissible = np.flatnonzero((alone[:-1] <= MAX_ALONE) & (largest[:-1] <= MAX_LARGEST)) + 1  # merges made
    if not len(admissible):
        return 0, np.nan, (
            "no threshold joins the images into groups: wherever at most "
            f"{MAX_ALONE:.0%} of them stand alone, one component holds over {MAX_LARGEST:.0%}"
        )  # fmt: skip
    gaps = -np.diff(fisher_z(merges))  # gaps[k - 1]: the plateau after k merges
    k = int(admissible[np.argmax(gaps[admissible - 1])])
    nearby = np.r_[gaps[max(0, k - 1 - _N_NEIGHBOURS) : k - 1], gaps[k : k + _N_NEIGHBOURS]]
    ratio = gaps[k - 1] / max(nearby.mean(), 1e-12) if len(nearby) else 0.0
    p_value = min(1.0, len(admissible) * float(fdtrc(2, max(1, 2 * len(nearby)), ratio)))
    low, high, n_components = merges[k], merges[k - 1], len(merges) + 1 - k
    plateau = f"the longest plateau, {n_components} components from r = {low:.4f} to {high:.4f},"
    if p_value >= ALPHA:
        return 0, p_value, f"merges form a continuum: {plateau} is not longer than by chance (p = {p_value:.2g})"
    return k, p_value, f"{plateau} is {ratio:.0f} times as long as the gaps around it (p = {p_value:.2g})"


def _component_shares(a: np.ndarray, b: np.ndarray, merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of pictures that are alone and in the largest component, after each merge."""
    root = list(range(len(merges) + 1))
    size = [1] * len(root)
    n_pictures = n_alone = len(root)
    most, shares = 1, np.empty((2, len(merges)))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = node = root[root[node]]
        return node

    for step, (i, j, correlation) in enumerate(zip(a.tolist(), b.tolist(), merges.tolist(), strict=True)):
        i, j = sorted((find(i), find(j)), key=size.__getitem__)
        if correlation > DUPLICATE:  # in descending order, i and j are still one picture each
            n_pictures -= 1
            n_alone -= 1
        else:
            n_alone -= (size[i] == 1) + (size[j] == 1)
            size[j] += size[i]
            most = max(most, size[j])
        root[i] = j
        shares[:, step] = n_alone / n_pictures, most / n_pictures
    return shares[0], shares[1]


_BLOCK = 1024  # images compared at a time: with 5,120 others, 20 MB of correlations


def paired_similarity(images: Tensor, others: Tensor) -> np.ndarray:
    """Return the correlation of each image with the one at its place in ``others``.

    Parameters
    ----------
    images, others : Tensor of uint8, shape (n, 1, 128, 128)

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1].

    Raises
    ------
    ValueError
        If the numbers of images differ, or an image is blank.
    """
    if len(images) != len(others):
        raise ValueError(f"images are compared in pairs, got {len(images)} and {len(others)}")
    x, y = unit_features(images, others)
    return (x * y).sum(1).clamp(-1, 1).double().numpy()


def neighbour_similarity(real: ImageSet) -> np.ndarray:
    """Return the correlation of each real image with the most similar *other* image of the same person.

    Neighbouring slices of a head are as similar as two images get without one being made from the other: the reference
    for a near duplicate. Images of unknown people are compared with all others of unknown people.

    Parameters
    ----------
    real : ImageSet

    Returns
    -------
    ndarray of float64, shape (n,)
        Correlations in [-1, 1]; NaN for a person's only image.

    Raises
    ------
    ValueError
        If an image is blank.
    """
    (features,) = unit_features(real.images)
    nearest = torch.empty(len(real))
    for start in range(0, len(real), _BLOCK):
        stop = min(start + _BLOCK, len(real))
        correlation = features[start:stop] @ features.T
        correlation[real.subjects[start:stop, None] != real.subjects] = -torch.inf
        correlation[torch.arange(stop - start), torch.arange(start, stop)] = -torch.inf
        nearest[start:stop] = correlation.amax(1).clamp(max=1)
    return torch.where(torch.isfinite(nearest), nearest, torch.nan).double().numpy()


def is_blank(images: Tensor) -> np.ndarray:
    """Return which images have one grey level only, bool (n,): their correlation is not defined."""
    flat = images.flatten(1)
    return (flat.amax(1) == flat.amin(1)).numpy()
