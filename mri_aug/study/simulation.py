"""One simulation of one condition: split, sample, generate, train, evaluate.

These are steps 1 to 4 of the thesis's chapter 6. Every draw comes from the seeds of the simulation, which all
conditions share, so that they are compared on the same people, the same sample and the same initial weights.
Repeating, storing and comparing are done elsewhere.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch

from mri_aug.data import sampling, splits
from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.filters import apply_filter
from mri_aug.generators.base import ImageGenerator, RefusedVariationsError, fit_generator, make_generator
from mri_aug.models.networks import highest_learning_rate, make_model
from mri_aug.models.training import Classifier, TrainConfig, keep_freed_memory, predict, train, train_head
from mri_aug.provenance import machine, versions
from mri_aug.results import metrics
from mri_aug.study.conditions import Condition


@dataclass(frozen=True)
class Seeds:
    """The seeds of one simulation, shared by every condition (paired design)."""

    split: int  # who trains, who validates, who tests
    sample: int  # which training images are the real ones, and which are varied
    initialisation: int  # the network's first weights
    training: int  # the order of images and the policy's draws
    generator: int  # fitting the generator and its variations
    selection: int  # which variations a filter keeps, and the labels that shuffled ones get

    @classmethod
    def of(cls, seed: int, simulation: int) -> Seeds:
        """Derive the seeds of a simulation from the study's seed (independent streams of ``SeedSequence``).

        Raises
        ------
        ValueError
            If a number is negative or not whole.
        """
        sampling.check_seed(seed)
        sampling.check_seed(simulation, name="simulation")
        return cls(*map(int, np.random.SeedSequence([seed, simulation]).generate_state(6)))


@dataclass(frozen=True)
class Arm:
    """What one simulation of a condition trains on.

    Parameters
    ----------
    real : ImageSet
        The stratified sample; empty where the condition trains on variations alone.
    variations : ImageSet
        With the labels and people of their sources, unless shuffled; may be empty.
    n_refused, n_filtered : int
        Variations that the generator would not make, and those that the filter dropped.
    """

    real: ImageSet
    variations: ImageSet
    n_refused: int = 0
    n_filtered: int = 0

    @property
    def images(self) -> ImageSet:
        """All images as one set, the real ones first."""
        return self.real.join(self.variations) if len(self.variations) else self.real

    def __len__(self) -> int:
        return len(self.real) + len(self.variations)

    def counts(self) -> dict[str, int]:
        """Return the arm's sizes as columns of a study's table."""
        return {
            "n_train": len(self),
            "n_real": len(self.real),
            "n_synthetic": len(self.variations),
            "n_refused": self.n_refused,
            "n_filtered": self.n_filtered,
        }


def assemble(
    condition: Condition,
    training: ImageSet,
    seeds: Seeds,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> Arm:
    """Draw the real sample of a condition, have its variations made and filtered, and return both.

    A generator that learns is fitted on the real sample alone, and a filter judges by it alone, so that nothing
    of an image outside it is carried over. Refused or dropped variations are not replaced.

    Raises
    ------
    ValueError
        If the arm trains on variations alone and none is left.
    """
    mixture = sampling.mix(
        training.labels.numpy(),
        real_frac=condition.real_frac,
        synth_frac=condition.synth_frac,
        synth_classes=condition.synth_classes,
        seed=seeds.sample,
    )
    real, sources = training[mixture.real], training[mixture.sources]
    if not len(sources):
        return Arm(real, sources)
    given = generators or {}
    generator = given.get(condition.generator) or make_generator(condition.generator)
    generator = fit_generator(generator, real.images, real.labels, real.subjects, seed=seeds.generator)
    variations, sources = _vary(generator, sources, seed=seeds.generator)
    keep = apply_filter(condition.filter, variations.images, sources, real, seed=seeds.selection)
    kept = variations[keep]
    if condition.synth_use == "only" and not len(kept):
        raise ValueError(
            f"all {len(mixture.sources)} variations were refused or filtered, and the arm trains on nothing else"
        )
    if condition.synth_use == "shuffled":
        order = np.random.default_rng(seeds.selection).permutation(len(kept))
        kept = replace(kept, labels=kept.labels[order])
    return Arm(
        real=real[:0] if condition.synth_use == "only" else real,
        variations=kept,
        n_refused=len(mixture.sources) - len(sources),
        n_filtered=len(variations) - len(kept),
    )


def _vary(generator: ImageGenerator, sources: ImageSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return the variations that can be had, and their sources; images that a generator refuses are left out."""
    while len(sources):
        try:
            return replace(sources, images=generator.vary(sources.images, sources.labels, seed=seed)), sources
        except RefusedVariationsError as refusal:
            if not refusal.positions:
                raise  # it names no image to leave out, and asking again would never end
            sources = sources[np.delete(np.arange(len(sources)), refusal.positions)]
    return sources, sources


# torch's random state and thread count belong to the process: a Dask worker with several threads takes turns.
_ONE_AT_A_TIME = threading.Lock()


def simulate(
    condition: Condition,
    image_set: ImageSet,
    *,
    simulation: int,
    seed: int,
    config: TrainConfig | None = None,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> dict[str, object]:
    """Run one simulation and return its row.

    On one thread, so that the same arguments give the same numbers whatever runs beside it.

    Parameters
    ----------
    condition : Condition
    image_set : ImageSet
        The whole dataset; the condition's protocol divides it.
    simulation : int
        Number of the repetition, from 0.
    seed : int
        The study's seed.
    config : TrainConfig, optional
    generators : mapping of str to ImageGenerator, optional
        Generators of your own, by the name that a condition gives.

    Returns
    -------
    dict
        The condition's fields, the seeds, counts (``n_...``), ``validation_...`` and ``test_...``
        metrics of :func:`mri_aug.results.metrics.evaluate` after the last step, ``by_subject`` (JSON),
        ``learning_rate`` (its peak), ``seconds``, ``machine`` and ``versions`` (JSON).
    """
    config, seeds, start = config or TrainConfig(), Seeds.of(seed, simulation), time.perf_counter()
    with _one_thread():
        split = splits.split(image_set, condition.protocol, seed=seeds.split)
        trained = train_arm(condition, image_set[split.train], seeds, config=config, generators=generators)
        scores = _evaluate(trained.classifier, image_set, split)
    return {
        **condition.columns(),
        "simulation": simulation,
        "seed": seed,
        **{f"seed_{name}": value for name, value in vars(seeds).items()},
        **trained.arm.counts(),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "n_steps": trained.n_steps,
        "n_pretrain_steps": trained.n_pretrain_steps,
        **scores,
        **_circumstances(trained.classifier.config),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _circumstances(config: TrainConfig) -> dict[str, object]:
    return {
        "learning_rate": config.learning_rate,
        "precision": config.resolved_precision(),
        "device": config.resolved_device().type,
        "machine": machine()["processor"],
        "versions": json.dumps(versions()),
    }


class Trained(NamedTuple):
    """A network, what it trained on, and for how long."""

    classifier: Classifier
    arm: Arm
    n_steps: int
    n_pretrain_steps: int  # of the steps, those before the real images


def train_arm(
    condition: Condition,
    training: ImageSet,
    seeds: Seeds,
    *,
    config: TrainConfig,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> Trained:
    """Assemble a condition's images and train its network on them, at a rate that the network bears.

    Parameters
    ----------
    condition : Condition
    training : ImageSet
        The training images of the condition's protocol, all of them.
    seeds : Seeds
    config : TrainConfig
    generators : mapping of str to ImageGenerator, optional
        As in :func:`simulate`.
    """
    n_training, n_classes = len(training), training.n_classes
    arm = assemble(condition, training, seeds, generators)
    del training  # a worker's memory then holds the arm's images once, not those of the whole training part too
    ceiling = highest_learning_rate(condition.architecture, condition.weights, fine_tune=condition.fine_tune)
    config = replace(config, learning_rate=min(config.learning_rate, ceiling))
    n_steps = config.n_steps(n_training if condition.budget == "steps" else len(arm))
    model = make_model(
        condition.architecture, n_classes=n_classes, weights=condition.weights, seed=seeds.initialisation
    )
    options = {"seed": seeds.training, "config": config, "balance": condition.balance}
    if condition.fine_tune == "head":
        fit = partial(train_head, model, **options)
    else:
        fit = partial(train, model, policy=condition.policy, **options)
    if condition.synth_use != "pretrain":
        return Trained(fit(arm.images, n_steps=n_steps), arm, n_steps, 0)
    n_pretrain_steps = min(round(n_steps * len(arm.variations) / len(arm)), n_steps - 1)
    if n_pretrain_steps:
        fit(arm.variations, n_steps=n_pretrain_steps)
    return Trained(fit(arm.real, n_steps=n_steps - n_pretrain_steps), arm, n_steps, n_pretrain_steps)


def _evaluate(classifier: Classifier, image_set: ImageSet, split: splits.Split) -> dict[str, object]:
    scores = {}
    for part in ("validation", "test"):
        held_out = image_set[getattr(split, part)]
        probabilities = predict(classifier, held_out.images)
        truth = held_out.labels.numpy(), held_out.subjects.numpy()
        scores |= {f"{part}_{name}": value for name, value in metrics.evaluate(probabilities, *truth).items()}
    return {**scores, "by_subject": metrics.encode_by_subject(metrics.by_subject(probabilities, *truth))}


@contextmanager
def _one_thread() -> Iterator[None]:
    keep_freed_memory()
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            cv2.setNumThreads(before[1])
            torch.set_flush_denormal(False)
