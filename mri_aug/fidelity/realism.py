"""Can a network tell synthetic images from real ones? The area under the curve of one that tries, on people new to it.

It trains one small network per fold; it looks at nothing but the two sets that it is given.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mri_aug.crossfit import N_FOLDS, owners, people_folds
from mri_aug.fidelity.resampling import Estimate, People, interval
from mri_aug.imageset import ImageSet
from mri_aug.training import TrainConfig, predict, train

_WIDTH = 16  # channels of the first layer
# small batches and a high rate: batch normalisation bears them, and 100 steps have to do on a few hundred images
DETECTOR_CONFIG = TrainConfig(epochs=8, batch_size=32, learning_rate=1e-2)


def detector_scores(
    real: ImageSet, synthetic: ImageSet, *, seed: int, config: TrainConfig | None = None
) -> np.ndarray:
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
