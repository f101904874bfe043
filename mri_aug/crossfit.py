"""Judge images by classifiers that never saw the person behind them.

People are dealt into folds, one classifier is trained per fold on everyone else, and a variation is judged by the
classifier whose training images lack its source's person. Only the real images that are passed in are looked at; what
a judgement is good for is decided elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mri_aug.imageset import IMAGE_SIZE, ImageSet
from mri_aug.models import make_model
from mri_aug.training import TrainConfig, predict, train

N_FOLDS = 3
# At a quarter of the resolution people's classes are told as well as at half of it, at a third of the cost, so that a
# filter does not outweigh the training it serves. Two epochs: with people held out, more raise the cross-entropy
# (measured at half the resolution: 0.98 after two, 1.23 after eight).
_POOL = 4
_CONFIG = TrainConfig(epochs=2, batch_size=16, learning_rate=2e-3)
_MIN_STEPS = 64  # small samples need more than two epochs to learn anything


def cross_fitted_probabilities(
    images: Tensor, sources: ImageSet, real: ImageSet, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities of images, each from a classifier that did not train on its source's person.

    The network is the thesis's CNN on images averaged to 32 x 32. Measured: 3,400 images judged with 1,459 real ones
    in 2 s on one core. A source outside the sample was seen by no classifier; the first fold's judges it.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, 128, 128)
        Variations, or the sources themselves.
    sources : ImageSet of n images
        The real image that each derives from.
    real : ImageSet
        What the classifiers train on.
    seed : int
        Of the folds, the initial weights and the order of training images.

    Returns
    -------
    probabilities : ndarray of float64, shape (n, n_classes)
        Rows sum to one.
    shares : ndarray of float64, shape (n, n_classes)
        Share of each class among the images that the judging classifier trained on: what it would say of an image
        that tells it nothing.

    Raises
    ------
    ValueError
        If images and sources differ in number, or the sample holds fewer than two people (or, of unknown people,
        images).
    """
    if len(images) != len(sources):
        raise ValueError(f"each image needs its source, got {len(images)} images and {len(sources)} sources")
    fold_of = people_folds(real, seed=seed)
    real_folds = np.array([fold_of[owner] for owner in owners(real)])
    folds = np.array([fold_of.get(owner, 0) for owner in owners(sources)], dtype=np.int64)
    probabilities = np.empty((len(images), real.n_classes))
    shares = np.empty_like(probabilities)
    for fold in np.unique(folds):
        part = real[real_folds != fold]
        rows = folds == fold
        network = make_model("cnn", n_classes=real.n_classes, image_size=IMAGE_SIZE // _POOL, seed=seed)
        model = nn.Sequential(nn.AvgPool2d(_POOL), network)
        n_steps = max(_MIN_STEPS, _CONFIG.n_steps(len(part)))
        classifier = train(model, part, seed=seed, config=_CONFIG, n_steps=n_steps)
        probabilities[rows] = predict(classifier, images[torch.from_numpy(rows)])
        shares[rows] = np.bincount(part.labels.numpy(), minlength=real.n_classes) / len(part)
    return probabilities, shares


def owners(image_set: ImageSet) -> list[tuple[str, int]]:
    """Return to whom each image belongs: its person or, where that is unknown, its real image."""
    pairs = zip(image_set.subjects.tolist(), image_set.source_ids.tolist(), strict=True)
    return [("subject", subject) if subject >= 0 else ("image", source) for subject, source in pairs]


def people_folds(image_set: ImageSet, *, seed: int, n_folds: int = N_FOLDS) -> dict[tuple[str, int], int]:
    """Deal the people of a set into folds of nearly equal shares of each class.

    Parameters
    ----------
    image_set : ImageSet
    seed : int
    n_folds : int
        At most; no more than there are people.

    Returns
    -------
    dict
        Fold, from 0, of each owner (:func:`owners`).

    Raises
    ------
    ValueError
        If there are fewer than two owners.
    """
    labels = dict(zip(owners(image_set), image_set.labels.tolist(), strict=True))
    if len(labels) < 2:
        raise ValueError(f"judging images by classifiers that never saw their person needs 2 people, got {len(labels)}")
    people = sorted(labels)
    rng = np.random.default_rng(seed)
    # ordered by class, at random within one: dealing them in turn gives every fold its share of each class
    order = np.lexsort((rng.random(len(people)), [labels[person] for person in people]))
    return {people[row]: place % min(n_folds, len(people)) for place, row in enumerate(order)}
