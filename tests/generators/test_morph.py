"""Morph: sharp, fold-free deformations towards like slices of the same class, and of no other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mri_aug.generators.base import make_generator
from mri_aug.generators.morph import (
    _FEATURE_NORM,
    _draw_partners,
    _features,
    fold_free,
    registrations,
    resample,
    window,
)

Y, X = np.mgrid[:128, :128].astype(np.float32)


def _head(width: float, height: float, hole: float, *, phase: float = 0.0) -> np.ndarray:
    """Return an ellipse of textured tissue with a dark centre, on black: a slice in outline."""
    x, y = (X - 64) / width, (Y - 64) / height
    radius = np.hypot(x, y)
    texture = 150 + 40 * np.cos(12 * x + phase) * np.cos(11 * y - phase)  # landmarks that scale with the head
    texture[np.hypot(X - 64, Y - 64) < hole] = 45
    # Like a scan, without steps finer than a pixel.
    return cv2.GaussianBlur(np.where(radius < 1, texture, 0), (0, 0), 0.8).round().astype(np.uint8)


@pytest.fixture(scope="module")
def heads():
    """Two classes that differ in width; four people each, with three slices per person."""
    images, labels, subjects = [], [], []
    for label, width in enumerate((36, 48)):
        for person in range(4):
            for step in range(3):
                images.append(_head(width + person, 48, 8 + 2 * person + step, phase=0.05 * person))
                labels.append(label)
                subjects.append(4 * label + person)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels), torch.tensor(subjects)


@pytest.fixture(scope="module")
def fitted(heads):
    return make_generator("morph").fit(*heads, seed=0)


def _sharpness(images: torch.Tensor) -> np.ndarray:
    return np.array([cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).var() for image in images[:, 0].numpy()])


def test_same_seed_same_bytes_other_seed_others(heads, fitted):
    images, labels, _ = heads
    first, again = fitted.vary(images, labels, seed=5), fitted.vary(images, labels, seed=5)
    assert torch.equal(first, again)
    other = fitted.vary(images, labels, seed=6)
    assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(first, images, strict=True))


def test_a_variation_does_not_depend_on_its_batch_or_on_threads(heads, fitted):
    images, labels, _ = heads
    whole = fitted.vary(images, labels, seed=5)
    order = torch.tensor([17, 3, 20])
    n_threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert torch.equal(fitted.vary(images[order], labels[order], seed=5), whole[order])
    finally:
        cv2.setNumThreads(n_threads)


def test_copies_in_a_batch_differ(heads, fitted):
    images, labels, _ = heads
    rows = [4, 4, 4]
    assert len({variation.numpy().tobytes() for variation in fitted.vary(images[rows], labels[rows], seed=0)}) == 3


def test_variations_lie_between_identity_and_another_picture(heads, fitted):
    images, labels, _ = heads
    variations = fitted.vary(images, labels, seed=0)
    for source, variation in zip(images.flatten(1).double(), variations.flatten(1).double(), strict=True):
        assert 0.8 < torch.corrcoef(torch.stack([source, variation]))[0, 1] < 0.998


def test_sharpness_is_kept(heads, fitted):
    images, labels, _ = heads
    ratio = _sharpness(fitted.vary(images, labels, seed=0)) / _sharpness(images)
    assert 0.9 < np.median(ratio) < 1.1


def test_background_stays_black_and_the_head_in_frame(heads, fitted):
    images, labels, _ = heads
    variations = fitted.vary(images, labels, seed=0)[:, 0]
    assert not variations[:, :2].any() and not variations[:, -2:].any() and not variations[:, :, [0, 1, -2, -1]].any()
    assert abs((variations > 20).sum() / (images > 20).sum() - 1) < 0.05


def test_partners_are_of_the_same_class(heads):
    """Class 1 is planted with heads nearer to the source than any of class 0: it must not be followed."""
    source = _head(40, 48, 12)
    wide, narrow = [_head(48, 48, 12 + k) for k in range(3)], [_head(39, 48, 12.5 + k) for k in range(3)]
    images = torch.from_numpy(np.stack([source, *wide, *narrow]))[:, None]
    labels, subjects = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.arange(7)
    morph = make_generator("morph", path=(1, 1), around=0, jitter=0, contrast=0, gain=0)
    grown = morph.fit(images, labels, subjects, seed=0).vary(images[:1], labels[:1], seed=0)
    assert (grown[0, 0, 64] > 20).sum() > (images[0, 0, 64] > 20).sum() + 4
    # The other class may be anything at all: the pixels do not change.
    other = torch.where(labels[:, None, None, None] == 1, 255 - images, images)
    assert torch.equal(morph.fit(other, labels, subjects, seed=0).vary(images[:1], labels[:1], seed=0), grown)


def test_partners_are_other_people_where_known(heads):
    images, labels, subjects = heads
    index = make_generator("morph").fit(images, labels, subjects, seed=0)._training
    group = index.by_class[0]
    alike = _features(images[:1, 0].numpy())[0] @ group.features.T / _FEATURE_NORM**2
    assert set(group.subjects[index.candidates(0, group.digests[0], alike, 0.98)]) == {1, 2, 3}


def test_partners_of_unknown_people_are_not_near_twins(heads):
    images, labels, subjects = heads
    index = make_generator("morph").fit(images, labels, torch.full_like(subjects, -1), seed=0)._training
    group = index.by_class[0]
    alike = np.linspace(1, 0.9, len(group.digests), dtype=np.float32)
    found = index.candidates(0, group.digests[0], alike, 0.98)
    assert found.tolist() == np.flatnonzero(alike < 0.98).tolist()


def test_partners_are_nearly_as_alike_as_the_nearest():
    alike, rows = np.array([0.80, 0.95, 0.93, 0.96, 0.90, 0.94]), np.arange(10, 16)
    drawn = {row for seed in range(50) for row in _draw_partners(rows, alike, 4, np.random.default_rng(seed))}
    assert drawn == {11, 12, 13, 15}
    assert set(_draw_partners(rows, np.array([0.8, 0.6, 0.6, 0.6, 0.6, 0.6]), 4, np.random.default_rng(0))) == {10}


def test_a_lone_person_is_deformed_towards_the_own_slices(heads):
    images, labels, subjects = (part[:3] for part in heads)
    index = make_generator("morph").fit(images, labels, subjects, seed=0)._training
    assert index.candidates(0, index.by_class[0].digests[1], np.ones(3, np.float32), 0.98).tolist() == [0, 2]


def test_a_lone_image_is_still_varied(heads):
    images, labels, subjects = (part[:1] for part in heads)
    variation = make_generator("morph").fit(images, labels, subjects, seed=0).vary(images, labels, seed=0)
    assert not torch.equal(variation, images)


def test_fit_leaves_the_original_and_its_content_is_in_the_fingerprint(heads):
    images, labels, subjects = heads
    morph = make_generator("morph")
    before = morph.fingerprint
    fingerprints = {
        morph.fit(images, labels, subjects, seed=0).fingerprint,
        morph.fit(images[:-1], labels[:-1], subjects[:-1], seed=0).fingerprint,
        morph.fit(images, 1 - labels, subjects, seed=0).fingerprint,
        morph.fit(images, labels, subjects + 1, seed=0).fingerprint,
        before,
    }
    assert len(fingerprints) == 5 and morph.fingerprint == before
    assert morph.fit(images, labels, subjects, seed=0).fingerprint in fingerprints


def test_only_the_fitted_images_count(heads):
    """A source outside the fitted set is varied, and leaves no trace for the next one."""
    images, labels, subjects = heads
    fitted = make_generator("morph").fit(images[1:], labels[1:], subjects[1:], seed=0)
    before = fitted.vary(images[5:7], labels[5:7], seed=0)
    assert fitted.vary(images[:1], labels[:1], seed=0).shape == (1, 1, 128, 128)
    assert torch.equal(fitted.vary(images[5:7], labels[5:7], seed=0), before)


def test_misuse_is_explained(heads, fitted):
    images, labels, _ = heads
    with pytest.raises(ValueError, match="fitted on the training images before use"):
        make_generator("morph").vary(images, labels, seed=0)
    with pytest.raises(ValueError, match=r"classes \[0, 1\], got labels \[3\]"):
        fitted.vary(images[:1], torch.tensor([3]), seed=0)
    with pytest.raises(ValueError, match="min_jacobian=2"):
        make_generator("morph", min_jacobian=2)
    with pytest.raises(ValueError, match="must not be negative"):
        make_generator("morph", gain=-1)


@pytest.mark.parametrize("amplitude", [0.5, 4.0, 20.0])
def test_fold_free_bounds_the_area_left(amplitude):
    noise = np.random.default_rng(0).normal(0, amplitude, (16, 16, 2)).astype(np.float32)
    field = fold_free(cv2.resize(noise, (128, 128), interpolation=cv2.INTER_CUBIC), 0.3)
    dx, dy = np.gradient(field, axis=1), np.gradient(field, axis=0)
    assert ((1 + dx[..., 0]) * (1 + dy[..., 1]) - dy[..., 0] * dx[..., 1]).min() > 0.2
    assert np.abs(field).max() > 0.1


def test_fold_free_leaves_a_tame_field_alone():
    field = np.stack([0.01 * X, -0.02 * Y], axis=-1)
    assert np.array_equal(fold_free(field, 0.3), field)


def test_registration_recovers_a_known_widening():
    narrow, wide = _head(40, 48, 12), _head(44, 48, 12)
    flow = registrations(narrow, wide[None])[0]
    moved = resample(narrow, flow)
    assert np.abs(moved.astype(int) - wide).mean() < 0.5 * np.abs(narrow.astype(int) - wide).mean()


def test_resample_follows_the_convention():
    image = _head(40, 48, 12)
    shift = np.zeros((128, 128, 2), np.float32)
    assert np.array_equal(resample(image, shift), image)
    shift[..., 0] = 5
    assert np.array_equal(resample(image, shift)[:, :-5], image[:, 5:])
    assert window()[0].max() == 0 and window()[6:-6, 6:-6].min() == 1
