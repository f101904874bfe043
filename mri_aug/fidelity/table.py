"""The fidelity table: how close, diverse, correct and original each generator's images are, beside real people.

Divides people into groups, makes the candidates' images and calls the measures; the measures live beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.distances import (
    coverage_measures,
    kernel_distance,
    similarity_of_neighbours,
    similarity_within_source,
)
from mri_aug.fidelity.features import FeatureNetwork
from mri_aug.fidelity.memorisation import Memorisation, memorisation, memorisation_yardstick
from mri_aug.fidelity.realism import cross_fitted_probabilities, detector_scores, people_folds, separability
from mri_aug.fidelity.resampling import Estimate, mean_estimate, owners, resample_people
from mri_aug.generators.base import ImageGenerator
from mri_aug.models.training import TrainConfig
from mri_aug.results.sentences import ALL_CLASSES, YARDSTICK


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
            'mri_aug.data.splits.split(image_set, "subject", seed=...)'
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


@dataclass(frozen=True)
class _Options:
    seed: int
    n_resamples: int
    confidence_level: float

    def people(self, image_set: ImageSet):
        return resample_people(image_set, n_resamples=self.n_resamples, seed=self.seed)


def fidelity_table(
    candidates: Mapping[str, Candidate],
    parts: Parts,
    *,
    network: FeatureNetwork,
    seed: int,
    config: TrainConfig | None = None,
    n_resamples: int = 500,
    confidence_level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure generators against people held out, and those people against each other.

    Intervals resample people within their class (percentiles); they do not cover the training of the networks. Those
    of precision, recall, density and coverage hold the reach of each image fixed. Measured on one core: about 20 s for
    two generators and 350 training images.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        By the generator's name.
    parts : Parts
    network : FeatureNetwork
        For the distances; see :mod:`mri_aug.fidelity.features`.
    seed : int
        Of the classifiers and of the resamples.
    config : TrainConfig, optional
        How the network that tells real from synthetic is trained; by default
        :data:`mri_aug.fidelity.realism.DETECTOR_CONFIG`.
    n_resamples : int
    confidence_level : float in (0, 1)
    progress : bool

    Returns
    -------
    DataFrame
        Columns ``generator`` (:data:`YARDSTICK` first), ``class`` (:data:`ALL_CLASSES` first), ``measure``,
        ``value``, ``low`` and ``high``; NaN where a class has too few people. Measures: ``kid`` (0 is best),
        ``kid_sources`` (to the variations' own sources; none for the yardstick), ``precision``, ``density``,
        ``recall``, ``coverage``, ``ms_ssim`` (within a source, 1 is no diversity), ``source_similarity``,
        ``nearest_similarity``, ``near_copies`` (share), ``consistency`` (share that a classifier which never saw the
        source's person gives the source's label), ``auc`` (0.5: not to be told from real). In the yardstick's rows
        similarity is that of neighbouring slices, and consistency is that of the sources themselves.
    """
    options = _Options(seed, n_resamples, confidence_level)
    consistency = _consistency(candidates, parts, seed)
    rows = []
    for name in tqdm([YARDSTICK, *candidates], disable=not progress, desc="fidelity"):
        candidate = candidates.get(name)
        if candidate is None:
            images, matched, sources, origin = parts.yardstick, parts.yardstick, None, parts.reference
            likeness = memorisation_yardstick(images, parts.training)
            repeated, similarity = images, similarity_of_neighbours(images)
        else:
            images = replace(parts.training, images=candidate.variations)
            matched, sources, origin = images[parts.matched], parts.training[parts.matched], parts.training
            likeness = memorisation(candidate.variations, parts.training)
            repeated, similarity = parts.training[candidate.repeated], similarity_within_source(candidate.repeats)
        found = [
            *_distances(matched, sources, parts.reference, network, options),
            *_means(repeated, {"ms_ssim": similarity}, options),
            *_means(images, _likeness(likeness), options),
            *_means(parts.training, {"consistency": consistency[name]}, options),
            *_separability(origin, images, options, config),
        ]
        rows += [(name, *row) for row in found]
    table = pd.DataFrame(rows, columns=["generator", "class", "measure", "value", "low", "high"])
    order = {label: place for place, label in enumerate([ALL_CLASSES, *parts.training.class_names])}
    return table.sort_values("class", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _classes(image_set: ImageSet) -> Iterator[tuple[str, np.ndarray]]:
    labels = image_set.labels.numpy()
    yield ALL_CLASSES, np.ones(len(labels), dtype=bool)
    for label, name in enumerate(image_set.class_names):
        yield name, labels == label


def _row(name: str, measure: str, estimate: Estimate) -> tuple:
    return name, measure, estimate.value, estimate.low, estimate.high


def _means(image_set: ImageSet, values: Mapping[str, np.ndarray], options: _Options) -> Iterator[tuple]:
    people = options.people(image_set)
    for name, rows in _classes(image_set):
        for measure, value in values.items():
            level = options.confidence_level
            yield _row(name, measure, mean_estimate(value.astype(float), people, rows=rows, confidence_level=level))


def _distances(
    images: ImageSet, sources: ImageSet | None, reference: ImageSet, network: FeatureNetwork, options: _Options
) -> Iterator[tuple]:
    own = None if sources is None else network.extract(sources.images)
    x, y = network.extract(images.images), network.extract(reference.images)
    x_people, y_people = options.people(images), options.people(reference)
    for (name, x_rows), (_, y_rows) in zip(_classes(images), _classes(reference), strict=True):
        level = options.confidence_level
        chosen = {"x_rows": x_rows, "y_rows": y_rows, "confidence_level": level}
        yield _row(name, "kid", kernel_distance(x, y, x_people, y_people, **chosen))
        if sources is None:
            yield _row(name, "kid_sources", Estimate(float("nan")))
        else:
            chosen |= {"y_rows": x_rows, "same_people": True}
            yield _row(name, "kid_sources", kernel_distance(x, own, x_people, x_people, **chosen))
    found = coverage_measures(y, x, real_people=y_people.person, synthetic_people=x_people.person)
    yield from _means(images, {"precision": found.precision, "density": found.density}, options)
    yield from _means(reference, {"recall": found.recall, "coverage": found.coverage}, options)


def _likeness(found: Memorisation) -> dict[str, np.ndarray]:
    return {
        "source_similarity": found.source,
        "nearest_similarity": found.nearest,
        "near_copies": found.near_copies,
    }


def _separability(real: ImageSet, images: ImageSet, options: _Options, config: TrainConfig | None) -> Iterator[tuple]:
    both = real.join(images)
    scores = detector_scores(real, images, seed=options.seed, config=config)
    synthetic, people = np.arange(len(both)) >= len(real), options.people(both)
    for name, rows in _classes(both):
        level = options.confidence_level
        yield _row(name, "auc", separability(scores, synthetic, people, rows=rows, confidence_level=level))


def _consistency(candidates: Mapping[str, Candidate], parts: Parts, seed: int) -> dict[str, np.ndarray]:
    """Return, by name, which images are given their label; all are judged by the same classifiers.

    The sources' own consistency is the yardstick's: other people may be easier or harder to tell.
    """
    sets = {YARDSTICK: parts.training}
    sets |= {name: replace(parts.training, images=candidate.variations) for name, candidate in candidates.items()}
    judged = reduce(ImageSet.join, sets.values())
    probabilities, _ = cross_fitted_probabilities(judged.images, judged, parts.training, seed=seed)
    right = probabilities.argmax(1) == judged.labels.numpy()
    ends = np.cumsum([len(image_set) for image_set in sets.values()])
    return dict(zip(sets, np.split(right, ends[:-1]), strict=True))
