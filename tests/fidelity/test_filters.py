"""Filters keep what they should, look at the real sample only, and repeat themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import is_blank, neighbour_similarity, paired_similarity, unit_features
from mri_aug.fidelity import realism
from mri_aug.fidelity.filters import FILTERS, apply_filter, near_copy_threshold
from mri_aug.fidelity.realism import cross_fitted_probabilities, people_folds
from mri_aug.fidelity.resampling import person_ids


def unknown_people(image_set: ImageSet) -> ImageSet:
    return replace(image_set, subjects=torch.full_like(image_set.subjects, -1))


def folds_of(image_set: ImageSet, seed: int) -> np.ndarray:
    return people_folds(person_ids(image_set), image_set.labels.numpy(), seed=seed)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_returns_one_decision_per_variation_and_repeats_itself(toy_images, name):
    first = apply_filter(name, toy_images.images, toy_images, toy_images, seed=3)
    assert first.shape == (len(toy_images),) and first.dtype == bool
    np.testing.assert_array_equal(first, apply_filter(name, toy_images.images, toy_images, toy_images, seed=3))
    assert apply_filter(name, toy_images.images[:0], toy_images[:0], toy_images, seed=3).shape == (0,)


def test_none_keeps_everything(toy_images):
    assert apply_filter("none", torch.zeros_like(toy_images.images), toy_images, toy_images, seed=0).all()


def test_copies_are_dropped_and_other_anatomy_is_kept(toy_images):
    mirrored = toy_images.images.flip(2)
    mixed = torch.cat([toy_images.images[:10], mirrored[10:]])
    assert paired_similarity(mirrored[10:], toy_images.images[10:]).max() < near_copy_threshold(toy_images)
    keep = apply_filter("near-copy", mixed, toy_images, toy_images, seed=0)
    assert not keep[:10].any() and keep[10:].mean() > 0.9


def test_a_copy_of_another_training_image_is_a_copy(toy_images):
    shuffled = toy_images.images[torch.randperm(len(toy_images), generator=torch.Generator().manual_seed(0))]
    assert not apply_filter("near-copy", shuffled, toy_images, toy_images, seed=0).any()


def test_a_copy_of_a_source_outside_the_sample_is_a_copy(toy_images):
    sample = toy_images[toy_images.subjects < 12]
    outside = toy_images[toy_images.subjects >= 12]
    assert not apply_filter("near-copy", outside.images, outside, sample, seed=0).any()


def test_the_threshold_is_a_quantile_of_the_nearest_neighbours_of_the_same_person(toy_images):
    (features,) = unit_features(toy_images.images)
    products, people = (features @ features.T).numpy(), toy_images.subjects.numpy()
    nearest = [
        max(products[i, j] for j in range(len(people)) if j != i and people[j] == people[i]) for i in range(len(people))
    ]
    np.testing.assert_allclose(neighbour_similarity(toy_images), nearest, atol=1e-5)
    assert near_copy_threshold(toy_images) == pytest.approx(np.quantile(nearest, 0.95), abs=1e-5)


def test_unknown_people_are_each_others_neighbours(toy_images):
    (features,) = unit_features(toy_images.images)
    products = (features @ features.T).fill_diagonal_(-1)
    np.testing.assert_allclose(neighbour_similarity(unknown_people(toy_images)), products.amax(1), atol=1e-5)


def test_a_sample_without_neighbours_is_refused(toy_images):
    alone = toy_images[torch.arange(0, len(toy_images), 6)]
    assert np.isnan(neighbour_similarity(alone)).all()
    with pytest.raises(ValueError, match="no person in the real sample has two images"):
        apply_filter("near-copy", alone.images, alone, alone, seed=0)


@pytest.mark.parametrize("name", ["near-copy", "confidence"])
def test_blank_variations_are_dropped(toy_images, name):
    images = toy_images.images.flip(2)
    images[[0, 5]] = 7
    keep = apply_filter(name, images, toy_images, toy_images, seed=0)
    np.testing.assert_array_equal(np.flatnonzero(is_blank(images)), [0, 5])
    assert not keep[[0, 5]].any() and keep.any()
    assert not apply_filter(name, torch.zeros_like(images), toy_images, toy_images, seed=0).any()


def test_confidence_keeps_what_looks_like_its_label_and_drops_what_looks_like_another(toy_images):
    right = apply_filter("confidence", toy_images.images, toy_images, toy_images, seed=0)
    wrong_label = replace(toy_images, labels=(toy_images.labels + 2) % 4)
    wrong = apply_filter("confidence", toy_images.images, wrong_label, toy_images, seed=0)
    assert right.mean() > 0.8 and wrong.mean() < 0.2


def test_filters_judge_small_images_too(toy_images):
    small = toy_images.resized(64)
    for name in FILTERS[1:]:
        keep = apply_filter(name, small.images, small, small, seed=0)
        assert keep.mean() == 0 if name == "near-copy" else keep.mean() > 0.8


def test_what_no_classifier_has_seen_is_not_judged(toy_images):
    """One person holds all of class 3: whoever does not know the person does not know the class."""
    sample = toy_images[(toy_images.labels != 3) | (toy_images.subjects == 3)]
    keep = apply_filter("confidence", sample.images, sample, sample, seed=0)
    assert keep[sample.labels.numpy() == 3].all()


def test_the_judge_has_not_seen_the_person(toy_images, monkeypatch):
    """The images that each classifier trains on are recorded: none is of a person whom it then judges."""

    trained, judged = [], []
    train, predict = realism.train, realism.predict

    def recording_train(model, image_set, **options):
        trained.append(set(image_set.subjects.tolist()))
        return train(model, image_set, **options)

    def recording_predict(classifier, images):
        # an image that stands for its source carries the source's person in its first pixel
        judged.append(set(images[:, 0, 0, 0].tolist()))
        return predict(classifier, images)

    monkeypatch.setattr(realism, "train", recording_train)
    monkeypatch.setattr(realism, "predict", recording_predict)
    images = toy_images.images.clone()
    images[:, 0, 0, 0] = toy_images.subjects.to(torch.uint8)
    probabilities, shares = cross_fitted_probabilities(images, toy_images, toy_images, seed=1)
    assert len(trained) == 3 and set.union(*judged) == set(range(16))
    assert not any(seen & asked for seen, asked in zip(trained, judged, strict=True))
    np.testing.assert_allclose([probabilities.sum(1), shares.sum(1)], 1, atol=1e-6)


def test_folds_are_stratified_and_keep_people_together(toy_images):
    folds = folds_of(toy_images, 0)
    people = {(int(person), int(fold)) for person, fold in zip(toy_images.subjects, folds, strict=True)}
    assert len(people) == 16
    counts = np.zeros((3, 4), dtype=int)
    np.add.at(counts, (folds, toy_images.labels.numpy()), 1)
    assert np.ptp(counts, axis=0).max() <= 6  # one person
    np.testing.assert_array_equal(folds, folds_of(toy_images, 0))
    assert (folds != folds_of(toy_images, 1)).any()


@pytest.mark.parametrize("n_people", [2, 3, 4, 5, 7])
def test_no_fold_is_empty_however_few_the_people(toy_images, n_people):
    for seed in range(4):
        few = toy_images[toy_images.subjects < n_people]
        assert set(folds_of(few, seed)) == set(range(min(3, n_people)))


def test_images_of_unknown_people_are_held_out_one_by_one(toy_images):
    nobody = unknown_people(toy_images)
    assert np.bincount(folds_of(nobody, 0)).tolist() == [32, 32, 32]
    assert apply_filter("confidence", nobody.images, nobody, nobody, seed=0).mean() > 0.8


def test_bad_input_is_named(toy_images):
    with pytest.raises(ValueError, match="no filter is called 'sharp'; the known ones are none, near-copy, confidence"):
        apply_filter("sharp", toy_images.images, toy_images, toy_images, seed=0)
    with pytest.raises(ValueError, match="each variation needs its source, got 3 variations, 96 sources"):
        apply_filter("none", toy_images.images[:3], toy_images, toy_images, seed=0)
    with pytest.raises(ValueError, match="need two people .* got 1 people"):
        apply_filter("confidence", toy_images.images[:6], toy_images[:6], toy_images[:6], seed=0)
    with pytest.raises(ValueError, match="compared in pairs, got 96 and 3"):
        paired_similarity(toy_images.images, toy_images.images[:3])
