"""The fidelity table: how close, diverse, correct and original each generator's images are, next to real people.

The sample that a generator is fitted on is compared with everyone outside it, first as it is (real against real) and
then as its variations. Both comparisons are of the same people, so their difference is due to the generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from torch import Tensor

from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.distances import coverage_measures, squared_mmd
from mri_aug.fidelity.features import FeatureNetwork
from mri_aug.fidelity.realism import detector_scores, separability, train_judge
from mri_aug.fidelity.resampling import Estimate, mean_estimate, person_ids, resample_people
from mri_aug.fidelity.similarity import (
    memorisation,
    real_similarity,
    similarity_of_neighbours,
    similarity_within_source,
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
_HIGHER_IS_WORSE = ("mmd", "mmd_sources", "ms_ssim", "near_copies", "auc")
_LOWER_IS_WORSE = ("precision", "coverage", "consistency")
_NULL = {"mmd_sources": 0.0, "auc": 0.5}  # known values, which are compared with in place of real people's
_TOLERANCE = 1e-6  # rounding errors, by which duplicates may differ from their sources
_MAX_NEIGHBOURS = 256  # real images that are compared with their neighbours for MS-SSIM
_CARD = ("learns from", "who sees the images", "licence and limits")


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
        The positions of these sources among the training images.
    """

    variations: Tensor
    repeats: Tensor
    repeated: np.ndarray


def make_candidate(
    generator: ImageGenerator, training: ImageSet, *, seed: int, n_sources: int = 24, n_repeats: int = 4
) -> Candidate:
    """Make the images that the measures need: ``n + n_sources * n_repeats`` variations.

    Parameters
    ----------
    generator : ImageGenerator
        Fitted on ``training`` where it learns.
    training : ImageSet of n images
    seed : int
    n_sources, n_repeats : int
        How many sources are varied several times, and how often; sources are spread evenly over the training images,
        ordered by class. At least 2 repeats.

    Raises
    ------
    ValueError
        If there is no source or fewer than two repeats.
    """
    if n_sources < 1 or n_repeats < 2:
        raise ValueError(f"diversity needs a source and two variations of it, got {n_sources} and {n_repeats}")
    by_class = np.argsort(training.labels.numpy(), kind="stable")
    repeated = by_class[np.unique(np.linspace(0, len(training) - 1, n_sources).round().astype(np.int64))]
    sources = training[np.concatenate([np.arange(len(training)), np.repeat(repeated, n_repeats)])]
    made = generator.vary(sources.images, sources.labels, seed=seed)
    repeats = made[len(training) :].unflatten(0, (len(repeated), n_repeats))
    return Candidate(made[: len(training)], repeats, repeated)


@dataclass(frozen=True)
class _Options:
    seed: int
    n_resamples: int
    confidence_level: float

    def people(self, image_set: ImageSet, *, within_class: bool = False):
        return resample_people(image_set, n_resamples=self.n_resamples, seed=self.seed, within_class=within_class)


def fidelity_table(
    candidates: Mapping[str, Candidate],
    training: ImageSet,
    others: ImageSet,
    *,
    network: FeatureNetwork,
    seed: int,
    config: TrainConfig | None = None,
    n_resamples: int = 500,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Compare generators' variations with real people outside their training set, and the training people likewise.

    Intervals are percentiles over resampled people, three at least; they do not cover the training of the networks.
    Those of precision, recall, density and coverage hold the radius of each image fixed. About 25 s on one core for two
    generators, 288 training images and 416 others.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        By the generator's name.
    training : ImageSet
        What the generators were fitted on, and the sources of their variations.
    others : ImageSet
        Everyone else: real people who are not in ``training``, in the same class shares.
    network : FeatureNetwork
        For the distances; trained on neither set.
    seed : int
        Of the classifiers and of the resamples.
    config : TrainConfig, optional
        How the network that separates real from synthetic is trained; by default
        :data:`mri_aug.fidelity.realism.DETECTOR_CONFIG`.
    n_resamples : int
    confidence_level : float in (0, 1)

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

    Raises
    ------
    ValueError
        If a person is in both sets.
    """
    if both := set(person_ids(training)) & set(person_ids(others)):
        raise ValueError(f"{len(both)} people are both in training and in others; divide the dataset by people")
    options = _Options(seed, n_resamples, confidence_level)
    judge = train_judge(others, seed=seed)
    rows = []
    for name in (REAL, *candidates):
        candidate = candidates.get(name)
        if candidate is None:
            images, shown, likeness = training, others, real_similarity(others, training).columns()
            compared = np.unique(np.linspace(0, len(training) - 1, _MAX_NEIGHBOURS).round().astype(np.int64))
            similarity = similarity_of_neighbours(training, compared)
        else:
            images = shown = replace(training, images=candidate.variations)
            likeness = memorisation(candidate.variations, training).columns()
            compared, similarity = candidate.repeated, similarity_within_source(candidate.repeats)
        right = predict(judge, images.images).argmax(1) == training.labels.numpy()
        found = [
            *_distances(images, None if candidate is None else training, others, network, options),
            *_means(training[compared], {"ms_ssim": similarity}, options),
            *_means(shown, likeness, options),
            *_means(training, {"consistency": right}, options),
            *_separability(others if candidate is None else training, images, options, config),
        ]
        rows += [(name, *row) for row in found]
    table = pd.DataFrame(rows, columns=["generator", "class", "measure", "value", "low", "high", "n_people"])
    order = {label: place for place, label in enumerate([ALL_CLASSES, *training.class_names])}
    return table.sort_values("class", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def compared_with_real(table: pd.DataFrame) -> pd.DataFrame:
    """Return, by measure and generator, "worse" where its interval over all classes lies beyond real people's.

    The intervals are compared with the known values 0 and 0.5 for ``mmd_sources`` and ``auc``. "–" where intervals
    overlap, which does not show equality, or where one is undefined.
    """
    rows = table[table["class"] == ALL_CLASSES].set_index(["generator", "measure"])[["low", "high"]]
    names = [name for name in table["generator"].unique() if name != REAL]
    found = pd.DataFrame("–", index=[*_HIGHER_IS_WORSE, *_LOWER_IS_WORSE], columns=names)
    for measure in found.index:
        low, high = (_NULL[measure],) * 2 if measure in _NULL else rows.loc[(REAL, measure)]
        for name in names:
            own = rows.loc[(name, measure)]
            above = measure in _HIGHER_IS_WORSE
            if own["low"] > high + _TOLERANCE if above else own["high"] < low - _TOLERANCE:
                found.loc[measure, name] = "worse"
    return found


def _classes(image_set: ImageSet) -> Iterator[tuple[str, np.ndarray]]:
    labels = image_set.labels.numpy()
    yield ALL_CLASSES, np.ones(len(labels), dtype=bool)
    for label, name in enumerate(image_set.class_names):
        yield name, labels == label


def _row(name: str, measure: str, estimate: Estimate) -> tuple:
    return name, measure, estimate.value, estimate.low, estimate.high, estimate.n_people


def _means(image_set: ImageSet, values: Mapping[str, np.ndarray], options: _Options) -> Iterator[tuple]:
    people = options.people(image_set)
    for name, rows in _classes(image_set):
        for measure, value in values.items():
            level = options.confidence_level
            yield _row(name, measure, mean_estimate(value.astype(float), people, rows=rows, confidence_level=level))


def _distances(
    images: ImageSet, sources: ImageSet | None, others: ImageSet, network: FeatureNetwork, options: _Options
) -> Iterator[tuple]:
    x, y = network.extract(images.images), network.extract(others.images)
    x_people, y_people = (options.people(one, within_class=True) for one in (images, others))
    names = [ALL_CLASSES, *images.class_names]
    chosen = {"n_classes": images.n_classes, "confidence_level": options.confidence_level}
    for name, found in zip(names, squared_mmd(x, y, x_people, y_people, **chosen), strict=True):
        yield _row(name, "mmd", found)
    moved = [Estimate()] * len(names)
    if sources is not None:
        moved = squared_mmd(x, network.extract(sources.images), x_people, x_people, same_people=True, **chosen)
    for name, found in zip(names, moved, strict=True):
        yield _row(name, "mmd_sources", found)
    found = coverage_measures(y, x, real_people=y_people.person, synthetic_people=x_people.person)
    yield from _means(images, {"precision": found.precision, "density": found.density}, options)
    yield from _means(others, {"recall": found.recall, "coverage": found.coverage}, options)


def _separability(real: ImageSet, images: ImageSet, options: _Options, config: TrainConfig | None) -> Iterator[tuple]:
    both = real.join(images)
    scores = detector_scores(real, images, seed=options.seed, config=config)
    synthetic, people = np.arange(len(both)) >= len(real), options.people(both)
    for name, rows in _classes(both):
        level = options.confidence_level
        yield _row(name, "auc", separability(scores, synthetic, people, rows=rows, confidence_level=level))


def generator_kinds() -> pd.DataFrame:
    """Return what is known of each kind beforehand: columns ``generator``, ``learns from``, ``who sees the images``."""
    rows = [{"generator": name, **_card(generator_kind(name))} for name in GENERATORS]
    return pd.DataFrame(rows, columns=["generator", *_CARD[:2]])


def generation_card(
    generator: ImageGenerator, candidate: Candidate, training: ImageSet, *, seconds: float, usd: float = 0.0
) -> pd.DataFrame:
    """Return the card of a generator as a table of two columns, ``item`` and ``what``.

    Its attribute ``card``, a mapping with the keys ``"learns from"``, ``"who sees the images"`` and ``"licence and
    limits"``, says what is known of its kind; what it leaves out is "not stated".

    Parameters
    ----------
    generator : ImageGenerator
        As fitted.
    candidate : Candidate
    training : ImageSet
        What it was fitted on.
    seconds : float
        Spent on fitting and varying, on this machine.
    usd : float
        Paid for them.
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
