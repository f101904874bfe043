"""References: probabilities per person, from the classes' shares, from tissue and from principal components."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.model_selection import StratifiedKFold

from mri_aug.models import references
from mri_aug.models.references import FLOOR, REFERENCES, TISSUE_FEATURES, fit_reference, tissue_features
from tests.conftest import make_toy_images

FITTED = ("tissue", "pca")


def halves(image_set):
    """Return two people of each class to train on, and the other two."""
    first = image_set.subjects < 8
    return image_set[first], image_set[~first]


def fit(name, image_set, *, seed=0):
    return fit_reference(name, image_set, groups=image_set.subjects.numpy(), seed=seed)


def predict(reference, image_set):
    return reference.predict(image_set.images, image_set.subjects.numpy())


def log_loss(probabilities, image_set):
    return -np.log(probabilities[np.arange(len(image_set)), image_set.labels.numpy()]).mean()


def test_shares_count_people_and_not_their_images(toy_images):
    everyone_but = (toy_images.subjects != 0) & (toy_images.subjects != 4)  # two of the four people of class 0
    train = toy_images[everyone_but & ((toy_images.subjects != 3) | (torch.arange(len(toy_images)) % 2 == 0))]
    found = predict(fit("shares", train), toy_images)
    assert found == pytest.approx(np.tile([2 / 14, 4 / 14, 4 / 14, 4 / 14], (len(toy_images), 1)))


@pytest.mark.parametrize("name", REFERENCES)
def test_a_person_has_one_probability_whatever_the_order_of_images(name, toy_images):
    train, test = halves(toy_images)
    order = np.random.default_rng(0).permutation(len(test))
    expected, found = predict(fit(name, train), test), predict(fit(name, train[order]), test[order])
    assert expected.shape == (len(test), 4) and expected.dtype == np.float64
    np.testing.assert_allclose(expected.sum(1), 1)
    np.testing.assert_allclose(found, expected[order], atol=1e-6)
    people = test.subjects.numpy()
    assert all(np.ptp(expected[people == person], axis=0).max() == 0 for person in np.unique(people))
    assert len(np.unique(expected, axis=0)) == (1 if name == "shares" else 8)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("size", [128, 64])
def test_what_differs_between_classes_is_learnt(name, size):
    people = make_toy_images(10).resized(size)
    train, test = people[people.subjects < 20], people[people.subjects >= 20]
    found = predict(fit(name, train), test)
    assert log_loss(found, test) < np.log(4) - 0.1  # what the shares of four equal classes get
    assert (found.argmax(1) == test.labels.numpy()).mean() > 0.45


@pytest.mark.parametrize("name", FITTED)
def test_an_image_without_a_person_is_its_own_group(name, toy_images):
    train, test = halves(toy_images)
    reference = fit(name, train)
    alone = reference.predict(test.images, np.full(len(test), -1))
    np.testing.assert_allclose(alone, reference.predict(test.images, np.arange(len(test))), atol=1e-12)
    assert len(np.unique(alone, axis=0)) > 8


@pytest.mark.parametrize("name", REFERENCES)
def test_a_class_without_a_person_gets_the_floor(name, toy_images):
    found = predict(fit(name, toy_images[toy_images.labels != 2]), toy_images)
    np.testing.assert_allclose(found[:, 2], FLOOR / (1 + FLOOR), rtol=0.01)
    assert found.min() > 0.9 * FLOOR


@pytest.mark.parametrize("name", FITTED)
def test_where_nothing_can_be_learnt_the_shares_are_left(name, toy_images):
    one_class = toy_images[toy_images.labels == 1]
    assert predict(fit(name, one_class), toy_images).argmax(1).tolist() == [1] * len(toy_images)
    alike = replace(toy_images, images=toy_images.images[:1].expand(len(toy_images), -1, -1, -1))
    np.testing.assert_allclose(predict(fit(name, alike), toy_images), 0.25)


@pytest.mark.parametrize("name", FITTED)
def test_two_people_are_enough(name, toy_images):
    found = predict(fit(name, toy_images[toy_images.subjects < 2]), toy_images)
    assert np.isfinite(found).all() and found[0].argmax() == 0 and found[6].argmax() == 1


def test_equal_groups_leave_no_direction_to_blow_up(toy_images):
    """Forty groups of five kinds differ in four directions: noise in any other says nothing."""
    kinds = toy_images[np.arange(0, 30, 6)]
    reference = fit_reference("pca", kinds[np.tile(np.arange(5), 8)], groups=np.full(40, -1), seed=0)
    noise = torch.randint(-9, 10, kinds.images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (kinds.images + noise).clamp(0, 255).to(torch.uint8)
    clean, found = (reference.predict(images, np.full(5, -1)) for images in (kinds.images, noisy))
    np.testing.assert_allclose(found, clean, atol=0.03)


@pytest.mark.parametrize("name", REFERENCES)
def test_labels_within_a_person_may_differ(name, toy_images):
    """Shuffled labels, the control: a person's images of each label are a group of their own."""
    shuffled = replace(
        toy_images, labels=toy_images.labels[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    )
    pairs = {(int(p), int(c)) for p, c in zip(shuffled.subjects, shuffled.labels, strict=True)}
    counts = np.bincount([label for _, label in pairs], minlength=4)
    np.testing.assert_allclose(fit(name, shuffled).shares, counts / counts.sum())
    assert np.isfinite(predict(fit(name, shuffled), toy_images)).all()


def test_same_seed_same_bits_and_no_global_state(toy_images):
    train, test = halves(toy_images)
    _, keys, place, *_ = np.random.get_state()
    assert np.array_equal(predict(fit("pca", train, seed=3), test), predict(fit("pca", train, seed=3), test))
    assert np.array_equal(np.random.get_state()[1], keys) and np.random.get_state()[2] == place


def by_hand(image):
    """Return the six features of a slice, as their definition reads."""
    grey = image.astype(float)
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(grey > 25))
    parts, n = ndimage.label(brain)
    brain = parts == 1 + np.argmax([(parts == part).sum() for part in range(1, n + 1)])
    dim, middle, bright = np.percentile(grey[brain], [5, 50, 95])
    rows, columns = np.where(brain)
    height, width = rows.max() - rows.min(), columns.max() - columns.min()
    y, x = np.mgrid[: len(image), : len(image)]
    ellipse = ((y - rows.mean()) / (0.28 * height)) ** 2 + ((x - columns.mean()) / (0.28 * width)) ** 2 < 1
    dark = grey < 0.55 * middle
    core, rim = dark[brain & ellipse].mean(), dark[brain & ~ellipse].mean()
    return [core, rim, brain.mean(), bright / middle, dim / middle, height / width]


def test_tissue_features_are_what_they_are_called(toy_images):
    images = toy_images.images[::5]
    np.testing.assert_allclose(tissue_features(images), [by_hand(image[0].numpy()) for image in images])
    core = tissue_features(toy_images.images)[:, TISSUE_FEATURES.index("dark_core")]
    means = [core[toy_images.labels.numpy() == label].mean() for label in range(4)]
    assert means == sorted(means)  # the cavity grows with the class


def test_tissue_features_of_a_drawn_head():
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    head = np.where((x / 0.5) ** 2 + (y / 0.75) ** 2 < 1, 200, 0)
    head[(x**2 + y**2) < 0.1**2] = 60  # fluid in the middle, darker than 0.55 of 200
    head[:4, :4] = 255  # a speck that is no part of the brain
    found = dict(
        zip(TISSUE_FEATURES, tissue_features(torch.from_numpy(head.astype(np.uint8))[None, None])[0], strict=True)
    )
    # an ellipse of half axes 0.28 x 1.0 and 0.28 x 1.5 around a disc of radius 0.1
    assert found["dark_core"] == pytest.approx(0.1**2 / (0.28**2 * 1.0 * 1.5), rel=0.1)
    assert found["dark_rim"] == 0 and found["bright_ratio"] == found["dim_ratio"] == 1
    assert found["brain_area"] == pytest.approx(np.pi * 0.5 * 0.75 / 4, rel=0.03)
    assert found["height_width"] == pytest.approx(1.5, rel=0.05)


def test_an_image_without_brain_has_zeros():
    empty = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    empty[1, 0, 3, 3] = 200  # one pixel does not survive the opening
    assert not tissue_features(empty).any() and tissue_features(empty[:0]).shape == (0, 6)


def test_an_image_is_measured_once(toy_images, monkeypatch):
    references._tissue_cache.cache_clear()
    expected = tissue_features(toy_images.images[:5])
    monkeypatch.setattr(references, "_slice_features", lambda image: pytest.fail("measured again"))
    assert np.array_equal(tissue_features(toy_images.images[:5].flip(0)), expected[::-1])


def test_wrong_arguments_are_named(toy_images):
    groups = toy_images.subjects.numpy()
    with pytest.raises(ValueError, match="unknown reference 'mean'; choose one of: shares, tissue, pca"):
        fit_reference("mean", toy_images, groups=groups, seed=0)
    with pytest.raises(ValueError, match="reference 'pca' needs at least one training image, got none"):
        fit_reference("pca", toy_images[:0], groups=groups[:0], seed=0)
    with pytest.raises(ValueError, match=r"one number for each of 96 images, got shape \(5,\)"):
        fit_reference("shares", toy_images, groups=groups[:5], seed=0)


@pytest.mark.slow
def test_references_on_the_people_of_the_thesis(thesis_images):
    """Out of fold, in nats per person over five repeats; measured 1.048, 0.938 and 0.947."""
    subjects = thesis_images.subjects.numpy()
    people, first = np.unique(subjects, return_index=True)
    labels, losses = thesis_images.labels.numpy()[first], {}
    for name in REFERENCES:
        found = []
        for repeat in range(5):
            folds = StratifiedKFold(5, shuffle=True, random_state=repeat)
            for train, test in folds.split(people, np.minimum(labels, 2)):
                reference = fit(name, thesis_images[np.isin(subjects, people[train])])
                unseen = thesis_images[np.isin(subjects, people[test])]
                found.append(log_loss(predict(reference, unseen), unseen))  # people have 32 slices each
        losses[name] = np.mean(found)
    assert losses == pytest.approx({"shares": 1.048, "tissue": 0.939, "pca": 0.947}, abs=0.01)
