"""Cross-validated AUC of a real-versus-synthetic classifier on people that it was not trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.fidelity.resampling import Estimate, People, interval, owners
from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig, predict, train

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


_WIDTH = 16  # channels of the first layer
# small batches and a high rate: batch normalisation bears them, and 100 steps have to do on a few hundred images
DETECTOR_CONFIG = TrainConfig(epochs=8, batch_size=32, learning_rate=1e-2)


def detector_scores(real: ImageSet, synthetic: ImageSet, *, seed: int, config: TrainConfig | None = None) -> np.ndarray:
    """Return how synthetic each image looks to a network that trained on images of other people.

    The network is fully convolutional, at full resolution, and averages over positions: it is good at texture, blur
    and noise, by which generators give themselves away. A source and its variation are in the same fold.

    Parameters
    ----------
    real, synthetic : ImageSet of n and m images
        A variation has the subject and the source id of its source.
    seed : int
        Of the folds, the initial weights and the order of images.
    config : TrainConfig, optional

    Returns
    -------
    ndarray of float64, shape (n + m,)
        Probability of being synthetic, the real images first.

    Raises
    ------
    ValueError
        If there are fewer than two people.
    """
    everyone = real.join(synthetic)
    fold_of = people_folds(everyone, seed=seed)
    folds = np.array([fold_of[owner] for owner in owners(everyone)])
    origin = torch.cat([torch.zeros(len(real), dtype=torch.int64), torch.ones(len(synthetic), dtype=torch.int64)])
    question = ImageSet(everyone.images, origin, everyone.subjects, everyone.source_ids, ("real", "synthetic"))
    scores = np.empty(len(everyone))
    for fold in range(min(N_FOLDS, len(fold_of))):
        rows = folds == fold
        classifier = train(_detector(seed), question[~rows], seed=seed, config=config or DETECTOR_CONFIG)
        scores[rows] = predict(classifier, question.images[torch.from_numpy(rows)])[:, 1]
    return scores


def separability(
    scores: np.ndarray, synthetic: np.ndarray, people: People, *, rows: np.ndarray, confidence_level: float = 0.95
) -> Estimate:
    """Return the area under the curve: how often a synthetic image looks more synthetic than a real one.

    0.5 is chance, 1 is certainty; below 0.5 is chance too, since folds of few people are not quite independent.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    synthetic : ndarray of bool, shape (n,)
    people : People
        Of all n images.
    rows : ndarray of bool, shape (n,)
        The images to count.
    confidence_level : float in (0, 1)
    """
    value = _area(scores[rows], synthetic[rows], np.ones((1, rows.sum())))[0]
    if people.count(rows) < 2:
        return Estimate(float(value))
    resampled = _area(scores[rows], synthetic[rows], people.draws[:, people.person[rows]])
    return interval(value, resampled, confidence_level=confidence_level)


def _area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the curve for each row of weights (n_resamples, n); ties count half."""
    if not positive.any() or positive.all():
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(1)
    pairs = above.sum(1) * below.sum(1)
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _detector(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, _WIDTH, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * _WIDTH),
            nn.ReLU(),
            nn.Conv2d(2 * _WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * _WIDTH),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * _WIDTH, 2),
        )
