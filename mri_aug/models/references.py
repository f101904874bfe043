"""References: classifiers that need no network, for networks to be compared with on the same people.

Each sees a person's slices at once and gives the person one probability for each class. Nothing here is tuned to a
study's test people: the constants were chosen once, from a few, on the 200 people of the thesis's dataset by repeated
5-fold cross-validation (log loss 1.05, 0.94 and 0.95 nats per person for ``shares``, ``tissue`` and ``pca``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from mri_aug.data.imageset import ImageSet
from mri_aug.models.frozen import FeatureCache

REFERENCES = ("shares", "tissue", "pca")
TISSUE_FEATURES = ("dark_core", "dark_rim", "brain_area", "bright_ratio", "dim_ratio", "height_width")
FLOOR = 1e-3  # least probability of a class before the classes' probabilities are scaled to sum to one
MAX_COMPONENTS = 30  # of ``pca``
PCA_SIZE = 64  # pixels, to which larger slices are averaged for ``pca``
BRAIN_LEVEL = 25  # of 255: above it a pixel may be brain, below it is background
DARK_LEVEL = 0.55  # share of the median brain's grey value, below which a pixel counts as fluid
CORE_RADIUS = 0.28  # half axes of the central ellipse, as a share of the brain's height and width
CACHED_IMAGES = 100_000  # whose tissue features a process keeps


@dataclass(frozen=True)
class Reference:
    """A fitted reference; make it with :func:`fit_reference`."""

    name: str
    shares: np.ndarray  # of the classes among the training groups, shape (n_classes,)
    pipeline: Pipeline | None  # None where the shares are all that could be learnt

    def predict(self, images: Tensor, groups: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 of shape (n, n_classes), each image with those of its group.

        Rows sum to one; no probability is 0.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 1, size, size)
        groups : ndarray of int, shape (n,)
            As in :func:`fit_reference`.
        """
        place, n_groups = _number(groups, len(images))
        probabilities = np.tile(self.shares, (n_groups, 1))
        if self.pipeline is not None and n_groups:
            probabilities = np.zeros_like(probabilities)
            table = _FEATURES[self.name](images, place)
            probabilities[:, self.pipeline.classes_] = self.pipeline.predict_proba(table)
        probabilities = np.maximum(probabilities, FLOOR)
        return (probabilities / probabilities.sum(1, keepdims=True))[place]


def fit_reference(name: str, image_set: ImageSet, *, groups: np.ndarray, seed: int) -> Reference:
    """Fit a reference to the people of a training set.

    Parameters
    ----------
    name : str
        ``shares`` of the classes among the training groups, the same for everyone; ``tissue``, logistic regression
        (L2, C = 0.1, standardised) on the mean and the maximum over a group's slices of the six numbers of
        :func:`tissue_features`; or ``pca``, logistic regression (L2, C = 0.03, standardised) on at most 30 principal
        components of the mean of a group's slices at 64 x 64 pixels.
    image_set : ImageSet
        Training images, 128 or 64 pixels wide.
    groups : ndarray of int, shape (n,)
        The images of one person share a number; a negative number makes an image a group of its own. Images of one
        number that carry several labels (shuffled ones) are a group for each label. Every group counts once, however
        many images it has, and the maxima of ``tissue`` grow with their number.
    seed : int
        Of the randomised singular value decomposition of ``pca``; the others draw no random numbers.

    Raises
    ------
    ValueError
        If the name is unknown, there is no image, or ``groups`` has another length than the set.

    Notes
    -----
    A class without a training group, and any whose probability would be lower, gets ``FLOOR``. Where the groups are of
    one class only, or look all the same, the shares are what is left of ``tissue`` and ``pca``.
    """
    if name not in REFERENCES:
        raise ValueError(f"unknown reference {name!r}; choose one of: {', '.join(REFERENCES)}")
    if not len(image_set):
        raise ValueError(f"reference {name!r} needs at least one training image, got none")
    image_labels = image_set.labels.numpy()
    place, n_groups = _number(groups, len(image_set), image_labels)
    labels = np.zeros(n_groups, dtype=np.int64)
    labels[place] = image_labels
    shares = np.bincount(labels, minlength=image_set.n_classes) / n_groups
    if name == "shares" or len(np.unique(labels)) == 1:
        return Reference(name, shares, None)
    table = _FEATURES[name](image_set.images, place)
    if not np.ptp(table, axis=0).any():
        return Reference(name, shares, None)
    return Reference(name, shares, _pipeline(name, n_groups, seed).fit(table, labels))


def tissue_features(images: Tensor) -> np.ndarray:
    """Return six numbers about the tissue of each slice; a process computes an image's once.

    The brain is the largest connected part of the pixels above 25 of 255, after a binary opening by one pixel and
    with its holes filled. Dark is a pixel below 0.55 of the median inside the brain: fluid, in a T1-weighted slice.
    Lengths are in pixels of the image given, so the opening removes parts twice as wide at 64 pixels as at 128; the
    features have no units.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, size, size)

    Returns
    -------
    ndarray of float64, shape (n, 6)
        In the order of ``TISSUE_FEATURES``; an image without brain has zeros.

        - ``dark_core``: share of dark pixels in the central ellipse (centre: the brain's centre of mass; half axes:
          0.28 of its height and width), the ventricles for the most part.
        - ``dark_rim``: the same share in the rest of the brain, sulci for the most part.
        - ``brain_area``: share of the image that is brain.
        - ``bright_ratio``, ``dim_ratio``: the 95th (5th) percentile of the brain's grey values over their median.
        - ``height_width``: the brain's height over its width.
    """
    shape = str(images.shape[1:]).encode()
    found = _tissue_cache().features(images, shape, lambda image: torch.from_numpy(_slice_features(image[0].numpy())))
    return found.double().numpy().reshape(-1, len(TISSUE_FEATURES))


@cache
def _tissue_cache() -> FeatureCache:
    return FeatureCache(CACHED_IMAGES * len(TISSUE_FEATURES) * 8)


def _slice_features(image: np.ndarray) -> np.ndarray:
    brain = _brain(image)
    if not brain.any():
        return np.zeros(len(TISSUE_FEATURES))
    inside = image[brain].astype(np.float64)
    low, median, high = np.percentile(inside, (5, 50, 95))
    rows, columns = np.nonzero(brain)
    height, width = max(np.ptp(rows), 1), max(np.ptp(columns), 1)
    down, across = (rows - rows.mean()) / (CORE_RADIUS * height), (columns - columns.mean()) / (CORE_RADIUS * width)
    core, dark = down**2 + across**2 < 1, inside < DARK_LEVEL * median
    shares = [dark[part].mean() if part.any() else 0.0 for part in (core, ~core)]
    return np.array([*shares, brain.mean(), high / median, low / median, height / width])


def _brain(image: np.ndarray) -> np.ndarray:
    opened = ndimage.binary_opening(image > BRAIN_LEVEL)
    outside, _ = ndimage.label(np.pad(~opened, 1, constant_values=True))  # half the cost of binary_fill_holes
    tissue = (outside != outside[0, 0])[1:-1, 1:-1]
    parts, n_parts = ndimage.label(tissue)
    return tissue if n_parts < 2 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def _number(groups: np.ndarray, n_images: int, labels: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Return the number of each image's group, from 0, and how many groups there are."""
    groups = np.asarray(groups)
    if groups.shape != (n_images,):
        raise ValueError(f"groups must have one number for each of {n_images} images, got shape {groups.shape}")
    groups = np.where(groups < 0, -1 - np.arange(n_images), groups)
    keys = np.stack([groups, np.zeros_like(groups) if labels is None else labels])
    unique, place = np.unique(keys, axis=1, return_inverse=True)
    return place.reshape(-1), unique.shape[1]


def _tissue_table(images: Tensor, place: np.ndarray) -> np.ndarray:
    features, n_groups = tissue_features(images), place.max() + 1
    sums, highest = np.zeros((n_groups, features.shape[1])), np.full((n_groups, features.shape[1]), -np.inf)
    np.add.at(sums, place, features)
    np.maximum.at(highest, place, features)
    return np.hstack([sums / np.bincount(place)[:, None], highest])


def _mean_slices(images: Tensor, place: np.ndarray) -> np.ndarray:
    size = images.shape[-1]
    sums = torch.zeros(place.max() + 1, size * size)  # of whole numbers, exact in float32 up to 65,000 images a group
    for part, at in zip(images.split(256), torch.from_numpy(place).split(256), strict=True):
        sums.index_add_(0, at, part.flatten(1).float())
    means = (sums / torch.from_numpy(np.bincount(place))[:, None]).view(-1, 1, size, size)
    return functional.avg_pool2d(means, max(1, size // PCA_SIZE)).flatten(1).double().numpy()


_FEATURES = {"tissue": _tissue_table, "pca": _mean_slices}


def _pipeline(name: str, n_groups: int, seed: int) -> Pipeline:
    if name == "tissue":
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    components = PCA(min(MAX_COMPONENTS, n_groups - 1), svd_solver="randomized", random_state=seed)
    # Directions without variance (equal groups) would be blown up by standardising; the others have thousands.
    varying = VarianceThreshold(1e-3)
    return make_pipeline(components, varying, StandardScaler(), LogisticRegression(C=0.03, max_iter=2000))
