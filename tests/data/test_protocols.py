"""Splits: disjoint, exhaustive, stratified, and nobody on two sides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mri_aug.data.imageset import ImageSet
from mri_aug.data.splits import N_FOLDS, PROTOCOLS, people, split

THESIS_PEOPLE = (100, 70, 28, 2)


def make_set(people_by_class=(10, 7, 5, 2), slices=8):
    labels = torch.repeat_interleave(
        torch.arange(len(people_by_class)), torch.tensor(people_by_class)
    ).repeat_interleave(slices)
    n = len(labels)
    subjects = torch.arange(n // slices).repeat_interleave(slices) * 3 + 5  # numbers need not start at 0
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    blank = torch.zeros(1, 1, 128, 128, dtype=torch.uint8).expand(n, 1, 128, 128)
    names = tuple(f"grade {grade}" for grade in range(len(people_by_class)))
    return ImageSet(
        blank, labels[order], subjects[order], torch.arange(n), names, published_test=torch.arange(n) % 5 == 0
    )


def roles(image_set, parts):
    """Count the people of each class in train, validation and test."""
    person, person_labels = people(image_set)
    drawn = (np.unique(person[part]) for part in (parts.train, parts.validation, parts.test))
    return [np.bincount(person_labels[d], minlength=4).tolist() for d in drawn]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_exhaustive_and_sorted(protocol, seed):
    image_set = make_set()
    parts = split(image_set, protocol, seed=seed)
    arrays = (parts.train, parts.validation, parts.test)
    assert np.array_equal(np.sort(np.concatenate(arrays)), np.arange(len(image_set)))
    assert all((np.diff(a) > 0).all() and a.dtype == np.int64 and len(a) for a in arrays)
    assert parts.protocol == protocol


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_on_both_sides(seed):
    image_set = make_set(np.random.default_rng(seed).integers(2, 15, size=4).tolist())
    parts = split(image_set, "subject", seed=seed)
    sides = [set(image_set.subjects[part].tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    train, validation, test = roles(image_set, parts)
    assert min(train) >= 1 and sum(validation) >= 1 and sum(test) >= 1


def test_image_protocol_has_the_thesis_sizes_and_shares():
    image_set = make_set(THESIS_PEOPLE, slices=32)
    parts = split(image_set, "image", seed=0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (4864, 256, 1280)
    sizes = np.array(THESIS_PEOPLE) * 32
    for part in (parts.train, parts.validation, parts.test):
        counts = np.bincount(image_set.labels[part], minlength=4)
        assert np.abs(counts - sizes * len(part) / 6400).max() <= 1


@pytest.mark.parametrize(
    ("by_class", "expected"),
    [
        (THESIS_PEOPLE, ([67, 47, 18, 2], [13, 9, 4, 0], [20, 14, 6, 0])),
        ((32, 22, 8, 2), ([21, 15, 5, 2], [4, 3, 1, 0], [7, 4, 2, 0])),
        ((10, 5, 4, 1), ([7, 3, 3, 1], [1, 1, 0, 0], [2, 1, 1, 0])),  # one person only trains
    ],
)
def test_people_per_class(by_class, expected):
    image_set = make_set(by_class, slices=2)
    assert roles(image_set, split(image_set, "subject", seed=3)) == list(expected)


@pytest.mark.parametrize("by_class", [THESIS_PEOPLE, (11, 9), (12, 7, 5, 2, 2)])
def test_folds_test_everybody_once_and_keep_every_class_in_training(by_class):
    image_set = make_set(by_class, slices=2)
    person, person_labels = people(image_set)
    parts = [split(image_set, "subject", seed=4, fold=fold) for fold in range(N_FOLDS)]
    tested = np.concatenate([np.unique(person[part.test]) for part in parts])
    assert np.array_equal(np.sort(tested), np.arange(len(person_labels)))
    assert np.ptp([len(np.unique(person[part.test])) for part in parts]) <= 1
    for part in parts:
        assert set(person_labels[person[part.train]]) == set(person_labels)
        share = len(np.unique(person[part.validation])) / (len(person_labels) - len(np.unique(person[part.test])))
        assert abs(share - 1 / 6) < 0.1
    validated = [frozenset(person[part.validation].tolist()) for part in parts]
    assert len(set(validated)) == N_FOLDS


def test_several_folds_test_together():
    image_set = make_set(THESIS_PEOPLE, slices=2)
    both = split(image_set, "subject", seed=1, fold=(0, 3))
    singles = [split(image_set, "subject", seed=1, fold=fold).test for fold in (0, 3)]
    assert np.array_equal(both.test, np.sort(np.concatenate(singles)))
    assert set(image_set.labels[both.train].tolist()) == {0, 1, 2, 3}


def test_published_part_is_the_test_part():
    image_set = make_set()
    parts = split(image_set, "published", seed=0, test_share=0.5)
    assert np.array_equal(parts.test, np.flatnonzero(image_set.published_test))
    assert len(parts.validation) == round(0.05 * int((~image_set.published_test).sum()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_seed_decides_and_validation_share_leaves_the_test_part_alone(protocol):
    image_set = make_set((20, 12, 8, 4))
    first, again, other = (split(image_set, protocol, seed=s) for s in (1, 1, 2))
    assert first.train.tobytes() == again.train.tobytes() != other.train.tobytes()
    if protocol != "subject":
        without = split(image_set, protocol, seed=1, validation_share=0)
        assert np.array_equal(without.test, first.test) and not len(without.validation)


def test_unknown_people_and_two_labels():
    image_set = make_set()
    with pytest.raises(ValueError, match="people behind 192 of 192 images are unknown.*recover"):
        split(replace(image_set, subjects=torch.full((len(image_set),), -1)), "subject", seed=0)
    labels = image_set.labels.clone()
    labels[torch.nonzero(image_set.subjects == 5)[0]] = 3
    with pytest.raises(ValueError, match=r"subjects \[5\] have images of two classes"):
        split(replace(image_set, labels=labels), "subject", seed=0)
    split(replace(image_set, subjects=torch.full((len(image_set),), -1)), "image", seed=0)  # needs no people


def test_bad_arguments():
    image_set = make_set()
    with pytest.raises(ValueError, match="unknown protocol 'patient'; choose one of image, subject, published"):
        split(image_set, "patient", seed=0)
    for shares in ({"test_share": 0}, {"test_share": 1}, {"validation_share": float("nan")}, {"validation_share": 1}):
        with pytest.raises(ValueError, match="test_share must be in"):
            split(image_set, seed=0, **shares)
    with pytest.raises(ValueError, match="publishes no test part"):
        split(replace(image_set, published_test=None), "published", seed=0)
    with pytest.raises(ValueError, match="all images or none"):
        split(replace(image_set, published_test=torch.ones(len(image_set), dtype=torch.bool)), "published", seed=0)
    for seed in (None, -1):
        with pytest.raises(ValueError, match=f"seed must be .*got {seed}"):
            split(image_set, seed=seed)


def test_too_small_to_split():
    with pytest.raises(ValueError, match=r"4 people \(\[1, 1, 1, 1\] by class\) are too few .* 0 validate and 0 test"):
        split(make_set((1, 1, 1, 1)), "subject", seed=0)
    for fold in range(N_FOLDS):
        assert sum(roles(make_set((2, 2, 2, 2)), split(make_set((2, 2, 2, 2)), "subject", seed=0, fold=fold))[1]) == 1
    with pytest.raises(ValueError, match=r"fold must lie in 0\.\.4 .*, got 5"):
        split(make_set(), "subject", seed=0, fold=5)
    with pytest.raises(ValueError, match="leave one to train"):
        split(make_set(), "subject", seed=0, fold=range(5))
    with pytest.raises(ValueError, match="choose by fold which people test"):
        split(make_set(), "subject", seed=0, test_share=0.4)
    with pytest.raises(ValueError, match="cannot draw a stratified test part"):
        split(make_set((1, 1, 1, 1), slices=1), "image", seed=0)
