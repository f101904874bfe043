"""Recover the people behind the slices from pixels alone, and measure how far a split leaks.

Neighbouring slices of one head correlate more than slices of two heads, so people are the connected components of a
graph that joins images above the right correlation. Where the data shows no people, none are guessed. Datasets are
divided in :mod:`mri_aug.data.splits`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug.data.imageset import ImageSet
from mri_aug.data.linkage import BLOCK, DUPLICATE, fisher_z, longest_plateau, spanning_tree, unit_features
from mri_aug.data.splits import Split, people


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
    n_permutations: int
    neighbour_threshold: float


def recover_subjects(
    images: Tensor, *, threshold: float | None = None, labels=None, progress: bool = False
) -> SubjectAudit:
    """Find the people behind slices, by single linkage on pixel correlation.

    Images are averaged to half their size, mean-centred and normalised. The maximum spanning tree of their correlations
    holds every merge of single linkage (Gower and Ross 1969). The threshold is the middle, on Fisher's scale, of the
    longest plateau at which at most 5 % of the pictures are alone and no component holds more than half of them,
    provided that it is longer than expected without structure (p < 0.001): see
    :func:`mri_aug.data.linkage.longest_plateau`. O(n^2) time and O(n) memory; the thesis's 6,400 images take 2 s on two
    cores.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, height, width)
        Even height and width. Duplicates count as one picture.
    threshold : float in (-1, 1), optional
        Joins images above this correlation; chosen by default.
    labels : array of int, shape (n,), optional
        Classes, used for ``class_purity`` only.
    progress : bool
        Show a bar, one step per block.

    Returns
    -------
    SubjectAudit

    Raises
    ------
    ValueError
        If images have another type or shape or one is blank (all pixels equal), the threshold is out of range, or the
        labels are not one per image.
    """
    if threshold is not None and not -1 < threshold < 1:
        raise ValueError(f"threshold is a correlation in (-1, 1), got {threshold!r}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels has {len(labels)} entries for {len(images)} images")
    (features,) = unit_features(images)
    a, b, merges = spanning_tree(features, progress=progress)
    if threshold is None:
        k, p_value, reason = longest_plateau(a, b, merges)
    else:
        k, p_value, reason = int((merges > threshold).sum()), np.nan, f"joined above the given threshold {threshold}"
        if k in (0, len(merges)):
            k, reason = 0, f"threshold {threshold} joins {'all images into one' if k else 'no two images'}"
    n, n_duplicates = len(images), int((merges > DUPLICATE).sum())
    if not k:
        unknown, nobody, nan = torch.full((n,), -1), np.zeros(0, dtype=np.int64), float("nan")
        return SubjectAudit(False, reason, unknown, nan, (nan, nan), p_value, merges, nobody, n_duplicates, None)
    low, high = float(merges[k]), float(merges[k - 1])
    if threshold is None:
        threshold = float(np.tanh((fisher_z(low) + fisher_z(high)) / 2))
    graph = coo_array((np.ones(k), (a[:k], b[:k])), shape=(n, n))
    subjects = _by_appearance(connected_components(graph, directed=False)[1])
    purity = None if labels is None else _purity(subjects, np.asarray(labels))
    sizes, subjects = np.bincount(subjects), torch.from_numpy(subjects)
    return SubjectAudit(True, reason, subjects, threshold, (low, high), p_value, merges, sizes, n_duplicates, purity)


def _by_appearance(components: np.ndarray) -> np.ndarray:
    _, first, number = np.unique(components, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[number]


def _purity(subjects: np.ndarray, labels: np.ndarray) -> float:
    _, first = np.unique(subjects, return_index=True)
    mixed = np.unique(subjects[labels != labels[first][subjects]])
    return 1 - len(mixed) / len(first)


def nearest_neighbours(images: Tensor, reference_images: Tensor, *, progress: bool = False) -> tuple[Tensor, Tensor]:
    """Find each image's most correlated reference image (at 64 x 64, as in :func:`recover_subjects`).

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, height, width)
    reference_images : Tensor of uint8, shape (m, 1, height, width)
    progress : bool

    Returns
    -------
    index : Tensor of int64, shape (n,)
        Position in ``reference_images``.
    correlation : Tensor of float32, shape (n,)
        In [-1, 1].

    Raises
    ------
    ValueError
        As :func:`recover_subjects`; also if either set is empty or their sizes differ.
    """
    x, y = unit_features(images, reference_images)
    nearest = [(part @ y.T).max(dim=1) for part in tqdm(x.split(max(1, BLOCK**2 // len(y))), disable=not progress)]
    return torch.cat([part.indices for part in nearest]), torch.cat([part.values for part in nearest]).clamp(-1, 1)


def audit_split(
    image_set: ImageSet, split: Split, *, neighbour_threshold: float, seed: int, n_permutations: int = 100
) -> LeakageAudit:
    """Measure how much of the test part is already in the training part.

    As a control, labels are permuted among people: nothing about disease is left to learn, so that an accuracy above
    chance is recognition of people.

    Parameters
    ----------
    image_set : ImageSet
        With known subjects.
    split : Split
        Its validation part is not used.
    neighbour_threshold : float
        Correlation above which images show one person: the threshold of :func:`recover_subjects`.
    seed : int
        Of the permutations.
    n_permutations : int

    Raises
    ------
    ValueError
        If subjects are unknown or a subject has two labels.
    """
    person, person_labels = people(image_set)
    train, test = person[split.train], person[split.test]
    index, correlation = nearest_neighbours(image_set.images[split.test], image_set.images[split.train])
    neighbour = train[index.numpy()]
    rng = np.random.default_rng(seed)
    permuted = (rng.permutation(person_labels) for _ in range(n_permutations))
    control = np.array([(labels[neighbour] == labels[test]).mean() for labels in permuted])
    low, high = np.quantile(control, (0.025, 0.975))
    majority = np.bincount(person_labels[train]).argmax()
    return LeakageAudit(
        protocol=split.protocol,
        n_test=len(test),
        shared_subjects=float(np.isin(test, train).mean()),
        close_neighbours=float((correlation > neighbour_threshold).double().mean()),
        accuracy=float((person_labels[neighbour] == person_labels[test]).mean()),
        majority_accuracy=float((person_labels[test] == majority).mean()),
        random_label_accuracy=float(control.mean()),
        random_label_interval=(float(low), float(high)),
        n_permutations=n_permutations,
        neighbour_threshold=neighbour_threshold,
    )
