"""The fidelity table: how close, diverse, correct and original each generator's images are, next to real people.

The sample that a generator is fitted on is compared with everyone outside it, first as it is (real against real) and
then as its variations. Both comparisons are of the same people, so their difference is due to the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
from torch import Tensor

from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.features import FeatureNetwork
from mri_aug.fidelity.realism import detector_scores, separability, train_judge
from mri_aug.fidelity.resampling import Estimate, People, mean_estimate, person_ids, resample_people
from mri_aug.fidelity.similarity import (
    coverage_measures,
    memorisation,
    real_similarity,
    similarity_of_neighbours,
    similarity_within_source,
    squared_mmd,
)
from mri_aug.generators.bank import BankedGenerator
from mri_aug.generators.base import GENERATORS, ImageGenerator, generator_kind
from mri_aug.models.training import TrainConfig, predict

REAL = "real"  # the rows of real people
ALL_CLASSES = "all"  # the rows over all classes
MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "mmd": "squared MMD within class",
        "mmd_sources": "squared MMD within class to the sources",
        "precision": "precision",
        "density": "density",
        "recall": "recall",
        "coverage": "coverage",
        "ms_ssim": "MS-SSIM within a source",
        "source_similarity": "correlation with the source",
        "nearest_similarity": "correlation with the nearest training image",
        "near_copies": "share of near copies",
        "consistency": "label consistency",
        "auc": "real or synthetic, area under the curve",
    }
)
_MAX_NEIGHBOURS = 256  # real images that are compared with their neighbours for MS-SSIM
_CARD = ("learns from", "who sees the images", "licence and limits")


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a generator made of the training images, uint8."""

    variations: Tensor  # (n, 1, 128, 128): one of each training image, in their order
    repeats: Tensor  # (n_sources, n_repeats, 1, 128, 128): several of each of a few sources, for diversity
    repeated: np.ndarray  # (n_sources,): the positions of these sources among the training images


def make_candidate(
    generator: ImageGenerator, training: ImageSet, *, seed: int, n_sources: int = 24, n_repeats: int = 4
) -> Candidate:
    """Make the images that the measures need: ``n + n_sources * n_repeats`` variations of ``training``'s n images.

    A generator that learns is fitted on these. ``n_sources``, spread evenly over the training images of each class, are
    varied ``n_repeats`` times; ValueError if there is no source or fewer than two repeats.
    """
    if n_sources < 1 or n_repeats < 2:
        raise ValueError(f"diversity needs a source and two variations of it, got {n_sources} and {n_repeats}")
    by_class = np.argsort(training.labels.numpy(), kind="stable")
    repeated = by_class[np.unique(np.linspace(0, len(training) - 1, n_sources).round().astype(np.int64))]
    sources = training[np.concatenate([np.arange(len(training)), np.repeat(repeated, n_repeats)])]
    made = generator.vary(sources.images, sources.labels, seed=seed)
    repeats = made[len(training) :].unflatten(0, (len(repeated), n_repeats))
    return Candidate(made[: len(training)], repeats, repeated)


def fidelity_table(
    candidates: Mapping[str, Candidate],
    training: ImageSet,
    others: ImageSet,
    *,
    network: FeatureNetwork,
    seed: int,
    config: TrainConfig | None = None,
    n_resamples: int = 500,
) -> pd.DataFrame:
    """Compare generators' variations with real people outside their training set, and the training people likewise.

    The 95 % intervals are percentiles over resampled people, three at least; they do not cover the training of the
    networks. Those of precision, recall, density and coverage hold the radius of each image fixed. Takes about 25 s on
    one core for two generators, 288 training images and 416 others.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        By the generator's name.
    training, others : ImageSet
        What the generators were fitted on, the sources of their variations; and real people who are not in it (else a
        ValueError), in the same class shares.
    network : FeatureNetwork
        For the distances; trained on neither set.
    seed, n_resamples : int
        The seed is that of the classifiers and of the resamples.
    config : TrainConfig, optional
        Of the network that separates real from synthetic (:func:`mri_aug.fidelity.realism.detector_scores`).

    Returns
    -------
    DataFrame
        Columns ``generator`` (:data:`REAL` first), ``class`` (:data:`ALL_CLASSES` first), ``measure``, ``value``,
        ``low``, ``high`` and ``n_people``; NaN where a class has too few people. Measures: ``mmd`` (to ``others``; 0
        in expectation for real people), ``mmd_sources`` (to the variations' own sources; none for real people),
        ``precision``, ``density``, ``recall``, ``coverage``, ``ms_ssim`` (within a source, 1 is no diversity),
        ``source_similarity``, ``nearest_similarity``, ``near_copies`` (share), ``consistency`` (share to which a
        classifier trained on ``others`` gives the source's label), ``auc`` (0.5: real and synthetic are not
        separated). Real people's rows hold the sources for distances, coverage and consistency, neighbouring slices
        for ``ms_ssim``, and ``others`` for similarity to the training images.
    """
    if both := set(person_ids(training)) & set(person_ids(others)):
        raise ValueError(f"{len(both)} people are both in training and in others; divide the dataset by people")
    resample = partial(resample_people, n_resamples=n_resamples, seed=seed)
    judge = train_judge(others, seed=seed)
    rows = []
    for name, candidate in ((REAL, None), *candidates.items()):
        if candidate is None:
            images, shown, likeness = training, others, real_similarity(others, training)
            compared = np.unique(np.linspace(0, len(training) - 1, _MAX_NEIGHBOURS).round().astype(np.int64))
            similarity = similarity_of_neighbours(training, compared)
        else:
            images = shown = replace(training, images=candidate.variations)
            likeness = memorisation(candidate.variations, training)
            compared, similarity = candidate.repeated, similarity_within_source(candidate.repeats)
        right = predict(judge, images.images).argmax(1) == training.labels.numpy()
        similarities = {"source_similarity": likeness.source, "nearest_similarity": likeness.nearest}
        real = others if candidate is None else training
        both = real.join(images)
        area = partial(separability, synthetic=np.arange(len(both)) >= len(real))
        scores = detector_scores(real, images, seed=seed, config=config)
        found = [
            *_distances(images, None if candidate is None else training, others, network, resample),
            *_by_class(training[compared], {"ms_ssim": similarity}, resample),
            *_by_class(shown, similarities | {"near_copies": likeness.near_copies}, resample),
            *_by_class(training, {"consistency": right}, resample),
            *_by_class(both, {"auc": scores}, resample, area),
        ]
        rows += [(name, *row) for row in found]
    table = pd.DataFrame(rows, columns=["generator", "class", "measure", "value", "low", "high", "n_people"])
    order = {label: place for place, label in enumerate([ALL_CLASSES, *training.class_names])}
    return table.sort_values("class", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _by_class(
    image_set: ImageSet, values: Mapping[str, np.ndarray], resample: Callable[..., People], estimate=mean_estimate
) -> Iterator[tuple]:
    people, labels = resample(image_set), image_set.labels.numpy()
    for label, name in enumerate([ALL_CLASSES, *image_set.class_names], start=-1):
        rows = labels == label if label >= 0 else np.ones(len(labels), dtype=bool)
        for measure, value in values.items():
            yield name, measure, *estimate(value.astype(float), people, rows=rows)


def _distances(
    images: ImageSet, sources: ImageSet | None, others: ImageSet, network: FeatureNetwork, resample
) -> Iterator[tuple]:
    x, y = network.extract(images.images), network.extract(others.images)
    x_people, y_people = (resample(one, within_class=True) for one in (images, others))
    distance, names = partial(squared_mmd, n_classes=images.n_classes), [ALL_CLASSES, *images.class_names]
    found = {"mmd": distance(x, y, x_people, y_people), "mmd_sources": [Estimate()] * len(names)}
    if sources is not None:
        found["mmd_sources"] = distance(x, network.extract(sources.images), x_people, x_people, same_people=True)
    for measure, estimates in found.items():
        yield from ((name, measure, *estimate) for name, estimate in zip(names, estimates, strict=True))
    found = coverage_measures(y, x, real_people=y_people.person, synthetic_people=x_people.person)
    yield from _by_class(images, {"precision": found.precision, "density": found.density}, resample)
    yield from _by_class(others, {"recall": found.recall, "coverage": found.coverage}, resample)


def generator_kinds() -> pd.DataFrame:
    """Return what each kind says of itself: columns ``generator`` and those of :func:`generation_card`'s ``card``."""
    rows = [{"generator": name, **_card(generator_kind(name))} for name in GENERATORS]
    return pd.DataFrame(rows, columns=["generator", *_CARD])


def generation_card(
    generator: ImageGenerator, candidate: Candidate, training: ImageSet, *, seconds: float, usd: float = 0.0
) -> pd.DataFrame:
    """Return the card of a generator, as fitted on ``training``: a table of two columns, ``item`` and ``what``.

    Its attribute ``card``, a mapping with the keys ``"learns from"``, ``"who sees the images"`` and ``"licence and
    limits"``, says what is known of its kind; what it leaves out is "not stated". ``seconds`` on this machine and
    ``usd`` are what fitting and varying cost.
    """
    card, n_people = _card(generator), len(np.unique(person_ids(training)))
    repeatable = generator.reproducible and not isinstance(generator, BankedGenerator)
    rows = {
        "generator": generator.name,
        "learns from": card["learns from"],
        "fitted on": f"{len(training):,} slices of {n_people} people" if generator.learns_from_study else "–",
        "who sees the images": card["who sees the images"],
        "variations here": f"{len(candidate.variations) + candidate.repeats.shape[:2].numel():,}",
        "cost": f"{seconds:,.0f} s on this machine, {usd:.2f} US dollars",
        "fingerprint": generator.fingerprint,
        "reproducible": "yes, by its seed" if repeatable else "no: only what the bank keeps",
        "licence and limits": card["licence and limits"],
        "not for": "clinical use, or any statement about a person",
    }
    return pd.DataFrame({"item": rows.keys(), "what": rows.values()})


def _card(generator: object) -> dict[str, str]:
    return dict.fromkeys(_CARD, "not stated") | dict(getattr(generator, "card", {}))
