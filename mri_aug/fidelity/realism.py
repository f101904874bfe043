"""Classifiers judged on people outside their training set: labels of variations, and real against synthetic."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.resampling import Estimate, People, interval, person_ids
from mri_aug.models.networks import make_model
from mri_aug.models.training import Classifier, TrainConfig, predict, train

N_FOLDS = 3
# At 32 x 32 the classes of people are recognised as well as at 64 x 64, at a third of the cost, so that a filter does
# not cost more than the training that it serves. Two epochs: with held-out people, more raise the cross-entropy
# (measured at 64 x 64: 0.98 after two, 1.23 after eight).
_SIZE = 32
_CONFIG = TrainConfig(epochs=2, batch_size=16, learning_rate=2e-3)
_MIN_STEPS = 64  # small samples need more than two epochs to learn anything


def train_judge(real: ImageSet, *, seed: int) -> Classifier:
    """Train a small classifier of the classes: the thesis's CNN on images averaged to 32 x 32."""
    pool = real.images.shape[-1] // _SIZE
    network = make_model("cnn", n_classes=real.n_classes, image_size=real.images.shape[-1] // pool, seed=seed)
    n_steps = max(_MIN_STEPS, _CONFIG.n_steps(len(real)))
    return train(nn.Sequential(nn.AvgPool2d(pool), network), real, seed=seed, config=_CONFIG, n_steps=n_steps)


def cross_fitted_probabilities(
    images: Tensor, sources: ImageSet, real: ImageSet, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities of images, each from a classifier that did not train on its source's person.

    A source outside the sample is judged by the classifier of the first fold, since none was trained on it.

    Images are uint8 (n, 1, height, width), variations or the n sources themselves; the classifiers train on ``real``.
    The seed is that of the folds, the initial weights and the order of training images.

    Returns
    -------
    probabilities, shares : ndarray of float64, shape (n, n_classes)
        The shares are those of each class among the training images of the classifier used: its answer for an
        uninformative image.

    Raises
    ------
    ValueError
        As :func:`people_folds`.
    """
    people = person_ids(real)
    real_folds = people_folds(people, real.labels.numpy(), seed=seed)
    fold_of = dict(zip(people.tolist(), real_folds.tolist(), strict=True))
    folds = np.array([fold_of.get(person, 0) for person in person_ids(sources).tolist()], dtype=np.int64)
    probabilities = np.empty((len(images), real.n_classes))
    shares = np.empty_like(probabilities)
    for fold in np.unique(folds):
        part, rows = real[real_folds != fold], folds == fold
        probabilities[rows] = predict(train_judge(part, seed=seed), images[torch.from_numpy(rows)])
        shares[rows] = np.bincount(part.labels.numpy(), minlength=real.n_classes) / len(part)
    return probabilities, shares


def people_folds(people: np.ndarray, strata: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the fold of each image, int64 (n,): stratified, with each person's images in one fold.

    People are numbered by :func:`mri_aug.fidelity.resampling.person_ids`, strata are the classes; both int64 (n,).

    Raises
    ------
    ValueError
        If there are fewer than two people, or no stratum has two images.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # imported late: it takes a second

    n_people, most = len(np.unique(people)), np.bincount(strata).max(initial=0)
    if n_people < 2 or most < 2:
        raise ValueError(
            "classifiers of other people's images need two people and a class of two images, "
            f"got {n_people} people and at most {most} images of a class"
        )
    division = StratifiedGroupKFold(min(N_FOLDS, n_people, most), shuffle=True, random_state=seed % 2**32)
    folds = np.empty(len(people), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, rows) in enumerate(division.split(people, strata, people)):
            folds[rows] = fold
    return folds


# batch normalisation allows a high rate, so that 100 steps on a few hundred images are enough
DETECTOR_CONFIG = TrainConfig(epochs=8, batch_size=32, learning_rate=1e-2)


def detector_scores(real: ImageSet, synthetic: ImageSet, *, seed: int, config: TrainConfig | None = None) -> np.ndarray:
    """Return the probability of being synthetic, float64 (n + m,), from a network trained on images of other people.

    The network is fully convolutional, at full resolution, and averages over positions, so it detects texture, blur and
    noise. The n real images come first. A source and its variation are in the same fold.

    Parameters
    ----------
    real, synthetic : ImageSet of n and m images
        A variation has the subject and the source id of its source.
    seed : int
        Of the folds, the initial weights and the order of images.
    config : TrainConfig, optional
        By default :data:`DETECTOR_CONFIG`.

    Raises
    ------
    ValueError
        As :func:`people_folds`.
    """
    everyone = real.join(synthetic)
    origin = torch.cat([torch.zeros(len(real), dtype=torch.int64), torch.ones(len(synthetic), dtype=torch.int64)])
    folds = people_folds(person_ids(everyone), (2 * everyone.labels + origin).numpy(), seed=seed)
    question = ImageSet(everyone.images, origin, everyone.subjects, everyone.source_ids, ("real", "synthetic"))
    scores = np.empty(len(everyone))
    for fold in np.unique(folds):
        rows = folds == fold
        classifier = train(_detector(seed), question[~rows], seed=seed, config=config or DETECTOR_CONFIG)
        scores[rows] = predict(classifier, question.images[torch.from_numpy(rows)])[:, 1]
    return scores


def separability(scores: np.ndarray, people: People, *, synthetic: np.ndarray, rows: np.ndarray) -> Estimate:
    """Return the area under the ROC curve: how often a synthetic image scores higher than a real one.

    0.5 is chance and 1 perfect separation; values below 0.5 occur by chance, since folds of few people are dependent.
    Scores, people and ``synthetic`` (bool) are of n images; ``rows``, bool (n,), chooses those that count.
    """
    scores, synthetic, person = scores[rows], synthetic[rows], people.person[rows]
    value, *resampled = _area(scores, synthetic, np.vstack([np.ones(rows.sum()), people.draws[:, person]]))
    return interval(value, np.array(resampled), n_people=len(np.unique(person)))


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
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
        )  # fmt: skip
