"""How a dataset is divided into train, validation and test: by image, by person, or as published.

Returns index arrays; people are recovered, and a split's leaks measured, in :mod:`mri_aug.data.people`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_aug.data.imageset import ImageSet
from mri_aug.data.sampling import repeatable_rng

PROTOCOLS = ("image", "subject", "published")
N_FOLDS = 5  # of people: a fifth tests
VALIDATION_PEOPLE = 1 / 6  # of the training people
TEST_SHARE = 0.2  # of images, as in the published split
VALIDATION_SHARE = 0.05  # of the images that do not test


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts that together hold every image once."""

    train: np.ndarray  # int64, sorted
    validation: np.ndarray  # int64, sorted
    test: np.ndarray  # int64, sorted
    protocol: str  # one of PROTOCOLS


def split(
    image_set: ImageSet, protocol: str = "image", *, seed: int | np.random.Generator, fold: int | Sequence[int] = 0,
    test_share: float = TEST_SHARE, validation_share: float = VALIDATION_SHARE,
) -> Split:  # fmt: skip
    """Divide a dataset into train, validation and test, stratified by class.

    Under ``subject`` a sixth of each class's training people validate, rounded, and one at least always trains. The
    people of a class are dealt to the folds in turn, so that a class of two is in two folds; a class of one person
    only trains. With the thesis's 100, 70, 28 and 2 people a fold tests 40 and validates 27.

    Parameters
    ----------
    protocol : {"image", "subject", "published"}
        ``image`` draws images, as the thesis does; the slices of one person then fall on both sides. ``subject``
        takes one fold of people, so that nobody is in two parts. ``published`` takes the dataset's own test images and
        draws validation images from the others.
    seed : int or Generator
        For ``subject``, the folds of one seed test every person once between them (but for a class of one).
    fold : int in 0..4, or several
        Which fifth (or fifths) of the people tests, under ``subject``.
    test_share, validation_share : float in (0, 1), float in [0, 1)
        Share of the images that test, under ``image``; of the others that validate, under ``image`` and ``published``.

    Raises
    ------
    ValueError
        If the protocol or fold is unknown, a share is out of range, a class is too small for the split, people are
        unknown or have two labels (``subject``), or the dataset has no test part of its own (``published``).
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if protocol == "subject" and (test_share, validation_share) != (TEST_SHARE, VALIDATION_SHARE):
        raise ValueError("under 'subject' the shares follow from the folds; choose by fold which people test")
    if not 0 < test_share < 1 or not 0 <= validation_share < 1:
        got = f"{test_share!r} and {validation_share!r}"
        raise ValueError(f"test_share must be in (0, 1) and validation_share in [0, 1), got {got}")
    testing = np.unique(fold)
    if not set(testing.tolist()) < set(range(N_FOLDS)) or not len(testing):
        raise ValueError(f"fold must lie in 0..{N_FOLDS - 1} and leave one to train, got {fold!r}")
    rng = repeatable_rng(seed)
    if protocol == "subject":
        return _by_person(image_set, testing, rng)
    labels, everything = image_set.labels.numpy(), np.arange(len(image_set))
    if protocol == "image":
        rest, test = _draw(everything, labels, test_share, "test", rng)
    elif image_set.published_test is None:
        raise ValueError("this dataset publishes no test part; use protocol 'image' or 'subject'")
    else:
        published = image_set.published_test.numpy()
        if published.all() or not published.any():
            raise ValueError("all images or none are in the published test part; use protocol 'image' or 'subject'")
        rest, test = everything[~published], everything[published]
    train, validation = _draw(rest, labels, validation_share, "validation", rng)
    return Split(train, validation, test, protocol)


def people(image_set: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the person in each image, counted from 0 in order of their ids, and each person's class.

    Raises a ValueError if the person of an image is unknown, or a person's images carry two labels.
    """
    subjects, labels = image_set.subjects.numpy(), image_set.labels.numpy()
    if unknown := int((subjects < 0).sum()):
        raise ValueError(
            f"the people behind {unknown} of {len(subjects)} images are unknown (subject -1); audit the pixels with "
            "mri_aug.data.people.recover_subjects(image_set.images), which finds them or says why not, and set subjects"
        )
    ids, first, person = np.unique(subjects, return_index=True, return_inverse=True)
    person_labels = labels[first]
    if (mixed := ids[np.unique(person[labels != person_labels[person]])]).size:
        raise ValueError(f"subjects {mixed[:5].tolist()} have images of two classes; a person has one label")
    return person, person_labels


def _draw(indices, labels, share, part, rng) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into the rest and a stratified random ``share``, each sorted."""
    from sklearn.model_selection import train_test_split  # imported late: a second, and a study's driver splits nothing

    count = round(share * len(indices))
    if share == 0:
        return indices, indices[:0]
    options = {"test_size": count, "stratify": labels[indices], "random_state": int(rng.integers(2**31))}
    try:
        rest, drawn = train_test_split(indices, **options)
    except ValueError as error:
        raise ValueError(
            f"cannot draw a stratified {part} part of {count} from {len(indices)} images ({error}); "
            f"use more images or another {part}_share"
        ) from error
    return np.sort(rest), np.sort(drawn)


def _by_person(image_set: ImageSet, testing: np.ndarray, rng: np.random.Generator) -> Split:
    person, person_labels = people(image_set)
    order = rng.permutation(len(person_labels))
    role = np.zeros(len(person_labels), dtype=np.int64)  # 0 trains, 1 validates, 2 tests
    dealt = 0  # people of earlier classes: the next class goes on where the last one stopped, so that folds stay even
    for label in np.unique(person_labels):
        members = order[person_labels[order] == label]
        folds = (dealt + np.arange(len(members))) % N_FOLDS
        dealt += len(members)
        tests = np.isin(folds, testing)
        tests[0] &= len(members) > 1 and not tests.all()  # a class has somebody in training, whoever tests
        # which training people validate moves with the fold
        training = np.roll(members[~tests], testing[0])
        role[members[tests]] = 2
        role[training[: min(round(VALIDATION_PEOPLE * len(training)), len(training) - 1)]] = 1
    if not (role == 1).any():  # too few people for a sixth: the largest class gives one, if it can
        training = order[role[order] == 0]
        largest = max((training[person_labels[training] == label] for label in np.unique(person_labels)), key=len)
        role[largest[: min(1, len(largest) - 1)]] = 1
    sizes = np.bincount(role, minlength=3)
    if not sizes.all():
        raise ValueError(
            f"{len(person_labels)} people ({np.bincount(person_labels).tolist()} by class) are too few for a fold of "
            f"{N_FOLDS}: {sizes[0]} would train, {sizes[1]} validate and {sizes[2]} test; use protocol 'image' or more "
            "people"
        )
    train, validation, test = (np.flatnonzero(role[person] == part) for part in range(3))
    return Split(train, validation, test, "subject")
