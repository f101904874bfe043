"""The fidelity table: every measure of every generator, over all classes and within each, with its interval.

It puts the measures together; each has its own module, and none is defined here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mri_aug.crossfit import cross_fitted_probabilities
from mri_aug.fidelity.coverage import coverage_measures
from mri_aug.fidelity.distances import kernel_distance
from mri_aug.fidelity.diversity import similarity_of_neighbours, similarity_within_source
from mri_aug.fidelity.features import FeatureNetwork
from mri_aug.fidelity.memorisation import Memorisation, memorisation, memorisation_yardstick
from mri_aug.fidelity.parts import Candidate, Parts
from mri_aug.fidelity.realism import detector_scores, separability
from mri_aug.fidelity.resampling import Estimate, mean_estimate, resample_people
from mri_aug.imageset import ImageSet
from mri_aug.training import TrainConfig

YARDSTICK = "real"  # the row of real people whom no generator saw
ALL_CLASSES = "all"


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
