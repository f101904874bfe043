"""Which images a generator is compared with: its training images, and two halves of people whom it never saw.

It divides and asks a generator for variations; it measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mri_aug.crossfit import owners, people_folds
from mri_aug.generators import ImageGenerator
from mri_aug.imageset import ImageSet


@dataclass(frozen=True, eq=False)
class Parts:
    """The images of a comparison.

    Parameters
    ----------
    training : ImageSet of n images
        What the generators were fitted on; each image is also the source of one variation.
    matched : ndarray of int64, shape (m,)
        Training images of as many people of each class as the yardstick has, as far as there are so many.
    yardstick, reference : ImageSet
        Two halves of the people held out: what real images of other people look like, and what all are compared with.
    """

    training: ImageSet
    matched: np.ndarray
    yardstick: ImageSet
    reference: ImageSet

    @property
    def others(self) -> ImageSet:
        """Training images of people who are not matched: a network that they teach knows nobody who is compared."""
        rest = np.setdiff1d(np.arange(len(self.training)), self.matched)
        return self.training[rest]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a generator made of the training images.

    Parameters
    ----------
    variations : Tensor of uint8, shape (n, 1, 128, 128)
        One of each training image, in their order.
    repeats : Tensor of uint8, shape (n_sources, n_repeats, 1, 128, 128)
        Several of each of a few sources, for diversity.
    repeated : ndarray of int64, shape (n_sources,)
        Those sources' positions among the training images.
    """

    variations: Tensor
    repeats: Tensor
    repeated: np.ndarray


def divide(training: ImageSet, held_out: ImageSet, *, seed: int) -> Parts:
    """Halve the people held out, by class, and choose training people to match a half.

    The numbers of people and of images bear on every measure of distance, so a generator's variations are compared
    with the reference by as many people as the yardstick is.

    Parameters
    ----------
    training : ImageSet
        What the generators are fitted on.
    held_out : ImageSet
        Real images that they are not fitted on; of other people, or memorisation goes unseen.
    seed : int

    Raises
    ------
    ValueError
        If a person is in both, or there are fewer than two people in either.
    """
    both = set(owners(training)) & set(owners(held_out))
    if both:
        raise ValueError(
            f"{len(both)} people are both in training and held out; divide the dataset by "
            'mri_aug.protocols.split(image_set, "subject", seed=...)'
        )
    halves = people_folds(held_out, seed=seed, n_folds=2)
    half = torch.tensor([halves[owner] for owner in owners(held_out)])
    yardstick, reference = held_out[half == 0], held_out[half == 1]
    wanted = np.bincount(list(_label_of_owner(yardstick).values()), minlength=training.n_classes)
    labels = _label_of_owner(training)
    order = np.random.default_rng(seed).permutation(len(labels))
    people = [list(labels)[place] for place in order]
    chosen = {
        person
        for label, count in enumerate(wanted)
        for person in [person for person in people if labels[person] == label][:count]
    }
    matched = np.flatnonzero([owner in chosen for owner in owners(training)])
    return Parts(training, matched, yardstick, reference)


def make_candidate(
    generator: ImageGenerator, parts: Parts, *, seed: int, n_sources: int = 24, n_repeats: int = 4
) -> Candidate:
    """Ask a fitted generator for what the measures need: ``n + n_sources * n_repeats`` variations.

    Parameters
    ----------
    generator : ImageGenerator
        Fitted on ``parts.training`` where it learns.
    parts : Parts
    seed : int
    n_sources, n_repeats : int
        How many sources are varied several times, and how often; sources are spread evenly over the training images,
        ordered by class. At least 2 repeats.

    Raises
    ------
    ValueError
        If fewer than one source or two repeats are asked for.
    """
    if n_sources < 1 or n_repeats < 2:
        raise ValueError(f"diversity needs a source and two variations of it, got {n_sources} and {n_repeats}")
    training = parts.training
    by_class = np.argsort(training.labels.numpy(), kind="stable")
    repeated = by_class[np.unique(np.linspace(0, len(training) - 1, n_sources).round().astype(np.int64))]
    rows = np.concatenate([np.arange(len(training)), np.repeat(repeated, n_repeats)])
    asked = training[rows]
    made = generator.vary(asked.images, asked.labels, seed=seed)
    repeats = made[len(training) :].unflatten(0, (len(repeated), n_repeats))
    return Candidate(made[: len(training)], repeats, repeated)


def _label_of_owner(image_set: ImageSet) -> dict[tuple[str, int], int]:
    return dict(zip(owners(image_set), image_set.labels.tolist(), strict=True))
