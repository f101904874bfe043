"""Augmentation by registration: a slice is deformed part of the way towards other people's slices of its class.

Not a generative model: it learns no distribution, and shows no tissue that the source lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
import torch
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import check_images, image_digests, make_fingerprint, variation_rngs

_VERSION = 2  # part of the fingerprint: raise it with any change that alters pixels
_FEATURE_SIZE = 32  # pixels: fine enough to rank slices by level and ventricles, too coarse for single sulci
_FEATURE_NORM = 2048  # integer features of this norm make float32 dot products exact, whatever BLAS and batch
_SPREAD = 0.04  # a correlation lower than the nearest's by more than this indicates another level of the head
_CHUNK = 256  # sources ranked at a time: one small matrix product
_GRID = 5  # control points per side of the random displacement: about 32 pixels apart, too wide for ragged outlines
_BORDER = 6  # pixels over which the displacement fades to 0, so that no tissue leaves the frame


def registrations(source: np.ndarray, partners: np.ndarray) -> list[np.ndarray]:
    """Return, per partner, the displacement field that gives the source the partner's shape, (128, 128, 2)."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Patches of 8 pixels at a stride of 4 (half the default's time), and no variational refinement. On 150 pairs of
    # the 6,400-image dataset: 0.9 ms a pair, and after smoothing the deformed source correlates with its partner by
    # 0.941 (undeformed 0.910); with the preset's five rounds of refinement 2.3 ms and 0.938.
    flow.setPatchStride(4)
    flow.setVariationalRefinementIterations(0)
    guide = _guide(source)
    return [flow.calc(_guide(partner), guide, None) for partner in partners]


def _guide(pixels: np.ndarray) -> np.ndarray:
    """Return the image at a common brightness and denoised, uint8, so that registration follows shape."""
    _, tissue = cv2.threshold(pixels, 20, 255, cv2.THRESH_BINARY)  # JPEG noise of the background stays below
    mean = cv2.mean(pixels, tissue)[0]
    brightness = 140 / mean if mean else 1.0
    return cv2.convertScaleAbs(cv2.GaussianBlur(pixels, (0, 0), 0.8), alpha=brightness)


@cache
def window() -> np.ndarray:
    """Return float32 (128, 128): 1 inside, falling to 0 over the border."""
    edge = np.minimum(np.arange(IMAGE_SIZE), np.arange(IMAGE_SIZE)[::-1])
    ramp = np.minimum(edge / _BORDER, 1).astype(np.float32)
    return np.minimum.outer(ramp, ramp)


def fold_free(displacement: np.ndarray, min_jacobian: float) -> np.ndarray:
    """Return the field, scaled down as a whole until its Jacobian determinant is at least ``min_jacobian`` everywhere.

    With s the scale and A the gradient of the field, det(I + s A) = 1 + s tr A + s^2 det A in two dimensions.
    """
    along_x = displacement[:-1, 1:] - displacement[:-1, :-1]
    along_y = displacement[1:, :-1] - displacement[:-1, :-1]
    trace = along_x[..., 0] + along_y[..., 1]
    determinant = along_x[..., 0] * along_y[..., 1] - along_y[..., 0] * along_x[..., 1]
    scale = np.float32(1)
    while (1 + scale * trace + scale**2 * determinant).min() < min_jacobian:
        scale *= np.float32(0.9)
    return scale * displacement


def resample(pixels: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Return the image sampled at p + u by Lanczos interpolation, black outside, uint8."""
    y, x = np.indices(pixels.shape, dtype=np.float32)
    moved = cv2.remap(pixels, np.dstack([x, y]) + displacement, None, cv2.INTER_LANCZOS4)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class MorphGenerator:
    """Deform each image towards other people's slices of the same class.

    For a source image x, three partners are drawn without replacement among its ``n_neighbours`` most similar training
    images (correlation at 32 x 32) of its class and of other people. With f1, f2, f3 the dense registrations of x to
    each (DIS optical flow, Kroeger et al. 2016, ECCV; smoothed by a Gaussian of 2 pixels), the variation at pixel p is

        v(p) = 255 g (x(p + s u(p)) / 255)^c,    u = w(p) (a f1 + b2 (f2 - f1) + b3 (f3 - f1) + e)

    with the random draws

        a ~ U(path), b2 and b3 ~ U(-around, around), log c ~ N(0, contrast^2), log g ~ N(0, gain^2),
        e: N(0, jitter^2) on a grid of 5 x 5, interpolated (bicubic)

    that is, a random point on the path to the first partner and a little off it, in directions in which real brains
    differ. w fades to 0 over the outer 6 pixels, and s in (0, 1] is the largest of 1, 0.9, 0.81, ... for which the
    Jacobian determinant of p + s u is nowhere below ``min_jacobian``, so that nothing folds. Lanczos resampling keeps
    the sharpness of the source.

    Where the person is unknown (subject -1, or a source outside the fitted images), images that correlate at
    ``near_twin`` or more are taken for the same person's and excluded. Where a class holds no other person, the
    partners are other slices of the same person; where it holds no other image, only e is left. Partners are never
    taken from another class.

    **How the defaults were chosen:** by eye and by sharpness, on variations of the whole 6,400-image dataset, the
    people whom a study tests on included. No classifier's score was looked at, but the choice is not blind to them.

    Cost: about 170 variations per second and core of an AVX2 server, more on newer processors.

    Parameters
    ----------
    path, around : (float, float), float
        Range of a (0 is the source's shape, 1 the partner's), and the largest weight of the directions off the path.
    jitter : float
        In pixels.
    n_neighbours : int
        At least 3. Those whose correlation is more than 0.04 below the nearest's are left out: in a small class they
        show another level of the head.
    near_twin : float
        At 32 x 32 the nearest slice of another person reaches about 0.97, that of the same person 0.98 to 0.997.
    min_jacobian : float
        In (0, 1).
    contrast, gain : float
    """

    path: tuple[float, float] = (0.6, 1.2)
    around: float = 0.35
    jitter: float = 0.5
    n_neighbours: int = 12
    near_twin: float = 0.98
    min_jacobian: float = 0.3
    contrast: float = 0.06
    gain: float = 0.04
    _training: _TrainingImages | None = field(default=None, repr=False)

    name = "morph"
    learns_from_study = True
    reproducible = True
    card = MappingProxyType(
        {
            "learns from": "shapes of other people's slices of the same class, from the study's training images",
            "who sees the images": "nobody: it runs here",
            "licence and limits": "as the dataset; no tissue that the source lacks: it cannot add or remove a lesion",
        }
    )

    def __post_init__(self):
        low, high = self.path
        if not (0 <= low <= high and 0 < self.min_jacobian < 1 and self.n_neighbours >= 3):
            raise ValueError(
                "morph needs 0 <= path[0] <= path[1], 0 < min_jacobian < 1 and n_neighbours >= 3, got "
                f"path={self.path}, min_jacobian={self.min_jacobian}, n_neighbours={self.n_neighbours}"
            )
        if min(self.around, self.jitter, self.contrast, self.gain) < 0:
            raise ValueError("morph's around, jitter, contrast and gain are spreads and must not be negative")

    @property
    def fingerprint(self) -> str:
        """Follows the options and, once fitted, the training images."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        return make_fingerprint(self.name, _VERSION, options, self._training and self._training.fingerprint)

    def fit(self, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int) -> MorphGenerator:
        """Return a generator whose partners are these images (person -1 where unknown); ``seed`` has no effect."""
        return replace(self, _training=_TrainingImages.of(images, labels, subjects))

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one deformed variation per image, uint8 (n, 1, 128, 128); a repeated image gets a new one each time.

        A variation depends on the seed, the image, its label and the fitted images, not on the rest of the batch.
        """
        check_images(images, labels)
        if self._training is None:
            raise ValueError("morph must be fitted on the training images before use: call fit(...) first")
        if absent := sorted(set(labels.tolist()) - set(self._training.by_class)):
            raise ValueError(f"morph was fitted on classes {sorted(self._training.by_class)}, got labels {absent}")
        pixels, digests = images[:, 0].numpy(), image_digests(images)
        rngs = variation_rngs(digests, labels, seed=seed)
        variations = np.empty_like(pixels)
        for label in labels.unique().tolist():
            members = np.flatnonzero(labels.numpy() == label)
            for rows in np.split(members, range(_CHUNK, len(members), _CHUNK)):
                similarity = _features(pixels[rows]) @ self._training.by_class[label].features.T
                for row, alike in zip(rows, similarity / np.float32(_FEATURE_NORM**2), strict=True):
                    candidates = self._training.candidates(label, digests[row], alike, self.near_twin)
                    chosen = _draw_partners(candidates, alike[candidates], self.n_neighbours, rngs[row])
                    partners = self._training.by_class[label].pixels[chosen]
                    variations[row] = self._vary_one(pixels[row], partners, rngs[row])
        return torch.from_numpy(variations)[:, None]

    def _vary_one(self, source: np.ndarray, partners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        along, off = rng.uniform(*self.path), rng.uniform(-self.around, self.around, 2)
        noise = rng.normal(0, self.jitter, (_GRID, _GRID, 2)).astype(np.float32)
        field_ = cv2.resize(noise, source.shape, interpolation=cv2.INTER_CUBIC)
        if len(partners):
            weights = np.array([along - off.sum(), *off], np.float32)
            flows = registrations(source, partners)
            # Fewer than three partners share the weights in turn, which still sum to `along`.
            flow = sum(weight * flows[k % len(flows)] for k, weight in enumerate(weights))
            field_ = field_ + cv2.GaussianBlur(flow, (0, 0), 2.0)
        displacement = fold_free(field_ * window()[..., None], self.min_jacobian)
        gamma, gain = np.exp(rng.normal(0, self.contrast)), np.exp(rng.normal(0, self.gain))
        curve = (255 * gain * np.linspace(0, 1, 256) ** gamma).astype(np.float32)
        return resample(curve[source], displacement)


@dataclass(frozen=True, eq=False)
class _ClassImages:
    """The training images of one class."""

    pixels: np.ndarray  # uint8 (m, 128, 128)
    features: np.ndarray  # float32 holding integers, (m, 1024)
    subjects: np.ndarray  # int64 (m,)
    digests: np.ndarray  # str (m,)


@dataclass(frozen=True, eq=False)
class _TrainingImages:
    """An index of the training images by class and by content."""

    by_class: dict[int, _ClassImages]
    subject_of: dict[str, int]
    fingerprint: str

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, subjects: Tensor) -> _TrainingImages:
        check_images(images, labels, subjects)
        pixels, digests, by_class = images[:, 0].numpy(), np.array(image_digests(images)), {}
        for label in labels.unique().tolist():
            rows = np.flatnonzero(labels.numpy() == label)
            by_class[label] = _ClassImages(pixels[rows], _features(pixels[rows]), subjects.numpy()[rows], digests[rows])
        fingerprint = make_fingerprint(digests.tolist(), labels.tolist(), subjects.tolist())
        return cls(by_class, dict(zip(digests.tolist(), subjects.tolist(), strict=True)), fingerprint)

    def candidates(self, label: int, digest: str, alike: np.ndarray, near_twin: float) -> np.ndarray:
        """Return the rows of a class that may be partners of an image: other people's, else any other image."""
        group, subject = self.by_class[label], self.subject_of.get(digest, -1)
        other_image = group.digests != digest
        known = (group.subjects >= 0) & (subject >= 0)
        other_person = other_image & np.where(known, group.subjects != subject, alike < near_twin)
        return np.flatnonzero(other_person if other_person.any() else other_image)


def _features(pixels: np.ndarray) -> np.ndarray:
    """Return block means, centred and scaled to a common norm, rounded to integers: float32 (n, 1024)."""
    block = IMAGE_SIZE // _FEATURE_SIZE
    sums = pixels.reshape(len(pixels), _FEATURE_SIZE, block, _FEATURE_SIZE, block).sum((2, 4), dtype=np.int64)
    centred = sums.reshape(len(pixels), -1) - sums.mean((1, 2))[:, None]
    norms = np.sqrt((centred**2).sum(1, keepdims=True))
    return np.rint(centred * (_FEATURE_NORM / np.maximum(norms, 1))).astype(np.float32)


def _draw_partners(candidates: np.ndarray, alike: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to three rows, drawn among the n most alike that are nearly as alike as the nearest."""
    order = np.argsort(-alike, kind="stable")[:n]
    nearest = candidates[order[alike[order] >= alike.max(initial=-1) - _SPREAD]]
    return rng.choice(nearest, min(3, len(nearest)), replace=False) if len(nearest) else nearest
