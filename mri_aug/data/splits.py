"""How a dataset is divided into train, validation and test: by image, by person, or as published.

Returns index arrays only: copies no image, guesses no person (see :mod:`mri_aug.subjects`) and does not judge a split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_aug.data.imageset import ImageSet
from mri_aug.data.sampling import repeatable_rng

PROTOCOLS = ("image", "subject", "published")


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts that together hold every image once."""

    train: np.ndarray  # int64, sorted
    validation: np.ndarray  # int64, sorted
    test: np.ndarray  # int64, sorted
    protocol: str  # one of PROTOCOLS


def split(
    image_set: ImageSet,
    protocol: str = "image",
    *,
    seed: int | np.random.Generator,
    test_share: float = 0.2,
    validation_share: float = 0.05,
) -> Split:
    """Divide a dataset into train, validation and test, stratified by class.

    Parameters
    ----------
    image_set : ImageSet of n images
    protocol : {"image", "subject", "published"}
        ``image`` draws images, as the thesis does; the slices of one person then fall on both sides. ``subject``
        draws people, so that nobody is in two parts. ``published`` takes the dataset's own test images, whatever
        ``test_share`` says, and draws validation images from the others.
    seed : int or Generator
        The test part does not depend on ``validation_share``.
    test_share : float in (0, 1)
        Share of the images (people) that test; 0.2 is the published split's.
    validation_share : float in [0, 1)
        Share of what is left after the test part. Small, since nothing is chosen by it: it is there to be reported.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If the protocol is unknown, a share is out of range, a class is too small for the split, people are unknown or
        have two labels (``subject``), or the dataset has no test part of its own (``published``).

    Notes
    -----
    People are apportioned to classes by largest remainder. Under ``subject`` every class of two or more people has one
    at least in train and one in test, if need be beyond ``test_share``; a class of one person only trains. With the
    thesis's 100, 70, 28 and 2 people, 20, 14, 5 and 1 test and 4, 3, 1 and 0 validate.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if not 0 < test_share < 1 or not 0 <= validation_share < 1:
        raise ValueError(
            "test_share must be in (0, 1) and validation_share in [0, 1), "
            f"got test_share={test_share!r} and validation_share={validation_share!r}"
        )
    rng = repeatable_rng(seed)
    if protocol == "subject":
        return _by_person(image_set, test_share, validation_share, rng)
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
    """Number the people of a dataset from 0 and return the class of each.

    Returns
    -------
    person : ndarray of int64, shape (n,)
        Number of the person whom each image shows, in the order of ``image_set.subjects``.
    person_labels : ndarray of int64, shape (n_people,)

    Raises
    ------
    ValueError
        If the person of an image is unknown, or a person's images carry two labels.
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
    try:
        rest, drawn = train_test_split(
            indices, test_size=count, stratify=labels[indices], random_state=int(rng.integers(2**31))
        )
    except ValueError as error:
        raise ValueError(
            f"cannot draw a stratified {part} part of {count} from {len(indices)} images ({error}); "
            f"use more images or another {part}_share"
        ) from error
    return np.sort(rest), np.sort(drawn)


def _by_person(image_set: ImageSet, test_share: float, validation_share: float, rng) -> Split:
    person, person_labels = people(image_set)
    order = rng.permutation(len(person_labels))
    queues = [order[person_labels[order] == label] for label in np.unique(person_labels)]
    sizes = np.array([len(queue) for queue in queues])
    n_test = _apportion(sizes, test_share, least=np.minimum(sizes - 1, 1))
    if not n_test.sum():
        raise ValueError(f"no class has two people, so nobody can test: {sizes.tolist()} people by class")
    n_validation = _apportion(sizes - n_test, validation_share, least=np.zeros_like(sizes))
    if validation_share and not n_validation.sum():
        raise ValueError(
            f"too few people for a validation part: {sizes.tolist()} by class, of whom {n_test.tolist()} test; "
            "use more people or validation_share=0"
        )
    role = np.zeros(len(person_labels), dtype=np.int64)  # 0 trains, 1 validates, 2 tests
    for queue, tests, validates in zip(queues, n_test, n_validation, strict=True):
        role[queue[:tests]] = 2
        role[queue[tests : tests + validates]] = 1
    train, validation, test = (np.flatnonzero(role[person] == part) for part in range(3))
    return Split(train, validation, test, "subject")


def _apportion(sizes: np.ndarray, share: float, *, least: np.ndarray) -> np.ndarray:
    """Return how many people of each class are drawn: largest remainders, ``least`` at least, all but one at most."""
    quotas = share * sizes
    total = max(1, round(float(quotas.sum()))) if share else 0
    most = np.maximum(sizes - 1, 0)
    counts = np.clip(np.floor(quotas).astype(np.int64), least, most)
    while counts.sum() < total and (counts < most).any():
        counts[np.argmax(np.where(counts < most, quotas - counts, -np.inf))] += 1
    while counts.sum() > total and (counts > least).any():
        counts[np.argmin(np.where(counts > least, quotas - counts, np.inf))] -= 1
    return counts
