"""Simulated people: of the labels' grades, of nobody's pixels, around the sample's own grey values."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mri_aug.generators import simulated
from mri_aug.generators.base import ImageGenerator, LearningGenerator, PeopleGenerator, make_generator
from tests.phantoms import small_crowd


@pytest.fixture(autouse=True)
def crowd(monkeypatch):
    """Eight people in place of any number, and a list of what was needed."""
    needed = []
    monkeypatch.setattr(simulated, "load_crowd", lambda **options: needed.append(options) or small_crowd())
    return needed


@pytest.fixture(scope="module")
def sample():
    """Images of four grades, two people each, as the phantoms' scanner makes them."""
    drawn = small_crowd().draw(np.repeat(np.arange(4), 16), n_classes=4, seed=9)
    return drawn.images, drawn.labels, drawn.subjects


@pytest.fixture
def fitted(sample):
    return make_generator("simulated").fit(*sample, seed=0)


def levels(images):
    return np.quantile(images[images > 20], (0.1, 0.5, 0.9))


def test_it_keeps_the_protocols_of_generators(fitted):
    assert isinstance(fitted, ImageGenerator) and isinstance(fitted, LearningGenerator)
    assert isinstance(fitted, PeopleGenerator) and fitted.makes_people
    assert {"kind", "learns from", "who sees the images", "licence and limits"} <= set(fitted.card)


def test_labels_come_back_in_order_with_new_people_and_no_source(fitted):
    labels = torch.tensor([3, 0, 2, 0, 1, 3, 3])
    drawn = fitted.draw(labels, seed=1)
    assert torch.equal(drawn.labels, labels) and set(drawn.source_ids.tolist()) == {-1}
    assert sorted(drawn.subjects.unique().tolist()) == list(range(int(drawn.subjects.max()) + 1))
    for subject in drawn.subjects.unique():
        assert len(drawn.labels[drawn.subjects == subject].unique()) == 1
    assert drawn.images.dtype == torch.uint8 and drawn.images.shape == (7, 1, 128, 128)


def test_same_seed_same_bytes_other_seed_others(fitted):
    labels = torch.arange(8) % 4
    first, again, other = (fitted.draw(labels, seed=seed) for seed in (5, 5, 6))
    assert first.fingerprint == again.fingerprint
    assert all(not torch.equal(a, b) for a, b in zip(first.images, other.images, strict=True))


def test_variations_are_the_drawn_images_whatever_the_sources(fitted, sample):
    images, labels, _ = sample
    drawn = fitted.draw(labels, seed=2)
    assert torch.equal(fitted.vary(images, labels, seed=2), drawn.images)
    assert torch.equal(fitted.vary(255 - images, labels, seed=2), drawn.images)
    assert fitted.vary(images[:0], labels[:0], seed=2).shape == (0, 1, 128, 128)


def test_severe_grades_hold_more_fluid(fitted):
    drawn = fitted.draw(torch.arange(128) % 4, seed=0)
    dark = (drawn.images[:, 0, 35:95, 45:81] < 60).float().mean((1, 2))
    assert dark[drawn.labels == 3].mean() > 1.3 * dark[drawn.labels == 0].mean()


@pytest.mark.parametrize("scale", [0.6, 0.8])
def test_the_scanner_takes_the_samples_grey_values(sample, scale):
    images, labels, subjects = sample
    dimmed = (images.float() * scale).byte()
    fitted = make_generator("simulated", strength=0).fit(dimmed, labels, subjects, seed=0)
    found = levels(fitted.draw(labels, seed=0).images.numpy())
    assert found == pytest.approx(levels(dimmed.numpy()), rel=0.12)


def test_the_scanner_takes_the_samples_sharpness(sample):
    images, labels, subjects = sample
    blurs = []
    for sigma in (0.01, 0.5, 0.8):
        blurred = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images[:, 0].numpy()])[:, None]
        fitted = make_generator("simulated").fit(torch.from_numpy(blurred), labels, subjects, seed=0)
        blurs.append(fitted._fitted.scanner.blur)
    assert blurs[0] < 0.3 and blurs[1] == pytest.approx(0.5, abs=0.15) and blurs[2] == pytest.approx(0.8, abs=0.15)


def test_strength_widens_what_people_look_like(sample):
    spreads = []
    for strength in (0, 0.5, 1):
        drawn = make_generator("simulated", strength=strength).fit(*sample, seed=0).draw(torch.arange(64) % 4, seed=0)
        spreads.append(np.std([np.median(image[image > 20]) for image in drawn.images.numpy()]))
    assert spreads[0] < spreads[1] < spreads[2]


def test_the_fingerprint_tells_options_and_samples_apart(sample, fitted):
    images, labels, subjects = sample
    made = make_generator("simulated")
    others = [made, make_generator("simulated", strength=0.1), make_generator("simulated", people_seed=1)]
    others += [made.fit(images, labels, subjects, seed=1), made.fit(255 - images, labels, subjects, seed=0)]
    assert len({fitted.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert made.fit(images, labels, subjects + 7, seed=0).fingerprint == fitted.fingerprint


def test_options_reach_the_crowd(sample, crowd):
    make_generator("simulated", n_people=77, people_seed=3).fit(*sample, seed=0)
    assert crowd == [{"n_people": 77, "seed": 3}]


def test_two_classes_and_five(sample):
    images, labels, subjects = sample
    two = make_generator("simulated").fit(images, labels % 2, subjects, seed=0).draw(torch.tensor([0, 1] * 8), seed=0)
    assert two.n_classes == 2
    assert two.severity[two.labels == 0].mean() < two.severity[two.labels == 1].mean()
    five = make_generator("simulated").fit(images, labels + 1, subjects, seed=0).draw(torch.arange(5), seed=0)
    assert five.n_classes == 5 and five.severity[0] < five.severity[4]


def test_misuse_is_explained(sample, fitted):
    with pytest.raises(ValueError, match="fitted on the training images before use"):
        make_generator("simulated").draw(torch.tensor([0]), seed=0)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got \[4\]"):
        fitted.draw(torch.tensor([4]), seed=0)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\], got 2"):
        make_generator("simulated", strength=2)
    with pytest.raises(ValueError, match="overlap must be a finite number"):
        make_generator("simulated", overlap=-1)
    with pytest.raises(ValueError, match="9 classes need at least as many simulated people, got n_people=8"):
        make_generator("simulated").fit(sample[0], sample[1] + 5, sample[2], seed=0)
    with pytest.raises(ValueError, match="seed must be"):
        fitted.draw(torch.tensor([0]), seed=-1)
    with pytest.raises(ValueError, match="no pixel above 20"):
        make_generator("simulated").fit(torch.zeros_like(sample[0]), sample[1], sample[2], seed=0)
