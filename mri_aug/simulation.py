"""One simulation of one condition: split, sample, vary, train, evaluate.

These are steps 1 to 4 of the thesis's chapter 6. Every draw comes from the seeds of the
simulation, which all conditions share, so that arms are compared on the same people, the same
sample and the same initial weights. Repeating, storing and comparing are done elsewhere.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from mri_aug import metrics, protocols, sampling
from mri_aug.allocator import keep_freed_memory
from mri_aug.conditions import Condition
from mri_aug.generators import ImageGenerator, fit_generator, make_generator
from mri_aug.imageset import ImageSet
from mri_aug.models import make_model
from mri_aug.provenance import machine, versions
from mri_aug.training import TrainConfig, predict, train

# torch's random state and thread count belong to the process: a Dask worker with several threads takes turns.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Seeds:
    """The seeds of one simulation, shared by every condition (paired design)."""

    split: int  # who trains, who validates, who tests
    sample: int  # which training images are the real ones, and which are varied
    initialisation: int  # the network's first weights
    training: int  # the order of images and the policy's draws
    generator: int  # fitting the generator and its variations

    @classmethod
    def of(cls, seed: int, simulation: int) -> Seeds:
        """Derive the seeds of a simulation from the study's seed (independent streams of ``SeedSequence``)."""
        return cls(*map(int, np.random.SeedSequence([seed, simulation]).generate_state(5)))


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
        metrics of :func:`mri_aug.metrics.evaluate` after the last step, ``by_subject`` (JSON),
        ``seconds``, ``machine`` and ``versions`` (JSON).
    """
    config = config or TrainConfig()
    seeds, start = Seeds.of(seed, simulation), time.perf_counter()
    with _one_thread():
        split = protocols.split(image_set, condition.protocol, seed=seeds.split)
        training = image_set[split.train]
        arm, n_real = assemble(condition, training, seeds, generators)
        n_steps = config.n_steps(len(training if condition.budget == "steps" else arm))
        model = make_model(
            condition.architecture, n_classes=image_set.n_classes, weights=condition.weights, seed=seeds.initialisation
        )
        classifier = train(
            model, arm, seed=seeds.training, config=config, n_steps=n_steps, policy=condition.policy
        )
        scores = {}
        for part in ("validation", "test"):
            held_out = image_set[getattr(split, part)]
            probabilities = predict(classifier, held_out.images)
            truth = held_out.labels.numpy(), held_out.subjects.numpy()
            scores |= {f"{part}_{name}": value for name, value in metrics.evaluate(probabilities, *truth).items()}
    return {
        **condition.columns(),
        "simulation": simulation,
        "seed": seed,
        **{f"seed_{name}": value for name, value in vars(seeds).items()},
        "n_train": len(arm),
        "n_real": n_real,
        "n_synthetic": len(arm) - n_real,
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "n_steps": n_steps,
        **scores,
        "by_subject": metrics.encode_by_subject(metrics.by_subject(probabilities, *truth)),
        "precision": config.resolved_precision(),
        "device": config.resolved_device().type,
        "seconds": round(time.perf_counter() - start, 3),
        "machine": machine()["processor"],
        "versions": json.dumps(versions()),
    }


def assemble(
    condition: Condition,
    training: ImageSet,
    seeds: Seeds,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> tuple[ImageSet, int]:
    """Return the images that an arm trains on, the real ones first, and how many those are.

    A generator that learns is fitted on the real sample alone, so that no variation carries
    anything of an image outside it.
    """
    mixture = sampling.mix(
        training.labels.numpy(),
        real_frac=condition.real_frac,
        synth_frac=condition.synth_frac,
        synth_classes=condition.synth_classes,
        seed=seeds.sample,
    )
    real = training[mixture.real]
    if not len(mixture.sources):
        return real, len(real)
    given = generators or {}
    generator = given.get(condition.generator) or make_generator(condition.generator)
    generator = fit_generator(generator, real.images, real.labels, real.subjects, seed=seeds.generator)
    sources = training[mixture.sources]
    varied = generator.vary(sources.images, sources.labels, seed=seeds.generator)
    return _join(real, replace(sources, images=varied)), len(real)


def _join(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return both sets' images as one; what only phantoms know of an image is not kept."""
    names = ("images", "labels", "subjects", "source_ids")
    joined = {name: torch.cat([getattr(first, name), getattr(second, name)]) for name in names}
    return ImageSet(**joined, class_names=first.class_names)


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
