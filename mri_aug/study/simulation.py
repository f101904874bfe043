"""One simulation of one condition: split, sample, generate, train, evaluate.

These are steps 1 to 4 of the thesis's chapter 6. Every draw comes from the seeds of the simulation, which all
conditions share, so that they are compared on the same people, the same sample and the same initial weights.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch

from mri_aug.data import sampling, splits
from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.filters import apply_filter
from mri_aug.generators.base import (
    ImageGenerator,
    PeopleGenerator,
    RefusedVariationsError,
    fit_generator,
    make_generator,
)
from mri_aug.models.networks import highest_learning_rate, make_model
from mri_aug.models.references import Reference, fit_reference
from mri_aug.models.training import (
    Classifier,
    TrainConfig,
    calibrate,
    fit_temperature,
    keep_freed_memory,
    predict,
    train,
    train_head,
)
from mri_aug.provenance import machine, versions
from mri_aug.results import metrics
from mri_aug.study.conditions import REFERENCES, Condition

# torch's random state and thread count belong to the process: a Dask worker with several threads takes turns.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Seeds:
    """The seeds of one simulation, shared by every condition (paired design)."""

    split: int  # who trains, who validates, who tests
    sample: int  # which training images or people are the real ones, and the sources of synthetic images
    initialisation: int  # the network's first weights
    training: int  # the order of images and the policy's draws
    generator: int  # fitting the generator and making its images
    selection: int  # which synthetic images a filter keeps, and the labels of shuffled ones

    @classmethod
    def of(cls, seed: int, simulation: int) -> Seeds:
        """Derive the seeds of a simulation from the study's (independent streams of ``SeedSequence``)."""
        sampling.check_seed(seed)
        sampling.check_seed(simulation, name="simulation")
        return cls(*map(int, np.random.SeedSequence([seed, simulation]).generate_state(6)))


def divide(image_set: ImageSet, protocol: str, *, seed: int, simulation: int) -> splits.Split:
    """Return the split of simulation r of the study with this seed.

    Under ``subject`` it is fold r mod 5 of repeat r div 5, so that a repeat tests everybody once.
    """
    if protocol != "subject":
        return splits.split(image_set, protocol, seed=Seeds.of(seed, simulation).split)
    repeat, fold = divmod(simulation, splits.N_FOLDS)
    return splits.split(image_set, protocol, seed=Seeds.of(seed, splits.N_FOLDS * repeat).split, fold=fold)


@dataclass(frozen=True)
class Arm:
    """What one simulation of a condition trains on.

    ``variations`` are the synthetic images, with the people of their sources, or new people.
    """

    real: ImageSet  # the stratified sample; empty where the condition trains on synthetic images alone
    variations: ImageSet  # with the labels of their sources, unless shuffled; may be empty
    n_refused: int = 0  # synthetic images that the generator would not make
    n_filtered: int = 0  # those that the filter dropped

    @property
    def images(self) -> ImageSet:
        """All images as one set, the real ones first."""
        return self.real.join(self.variations) if len(self.variations) else self.real

    def groups(self) -> np.ndarray:
        """Return the group of each of ``images`` for references: a person's real images, or their synthetic ones.

        Negative where the person is unknown: the image is then a group of its own.
        """
        real, synthetic = self.real.subjects.numpy(), self.variations.subjects.numpy()
        apart = max(real.max(initial=0), synthetic.max(initial=0)) + 1
        return np.concatenate([real, np.where(synthetic < 0, -1, synthetic + apart)])

    def __len__(self) -> int:
        return len(self.real) + len(self.variations)

    def counts(self) -> dict[str, int]:
        """Return the sizes as columns of a study's table."""
        return {
            "n_train": len(self),
            "n_real": len(self.real),
            "n_real_people": len(set(self.real.subjects.tolist()) - {-1}),
            "n_synthetic": len(self.variations),
            "n_refused": self.n_refused,
            "n_filtered": self.n_filtered,
        }


def draw_sample(condition: Condition, training: ImageSet, *, seed: int) -> sampling.Mix:
    """Return which training images a condition uses, and the sources of its synthetic ones, from the sample's seed."""
    return sampling.mix(
        training.labels.numpy(),
        real_frac=condition.real_frac,
        synth_frac=condition.synth_frac,
        synth_classes=condition.synth_classes,
        subjects=training.subjects.numpy() if condition.scarce == "subjects" else None,
        seed=seed,
    )


def assemble(
    condition: Condition,
    training: ImageSet,
    seeds: Seeds,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> Arm:
    """Draw the real sample of a condition, make and filter its synthetic images, and return both.

    A generator that learns is fitted on the real sample alone, and a filter judges by it alone, so that no other image
    has an influence. Refused or dropped images are not replaced.

    Raises
    ------
    ValueError
        If the condition trains on synthetic images alone and none is left.
    """
    mixture = draw_sample(condition, training, seed=seeds.sample)
    real, sources = training[mixture.real], training[mixture.sources]
    if not len(sources):
        return Arm(real, sources)
    given = generators or {}
    generator = given.get(condition.generator) or make_generator(condition.generator)
    generator = fit_generator(generator, real.images, real.labels, real.subjects, seed=seeds.generator)
    variations, sources = _vary(generator, sources, real, seed=seeds.generator)
    keep = apply_filter(condition.filter, variations.images, sources, real, seed=seeds.selection)
    kept = variations[keep]
    if condition.synth_use == "only" and not len(kept):
        raise ValueError(
            f"all {len(mixture.sources)} synthetic images were refused or filtered, and the condition has no others"
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


def _vary(generator: ImageGenerator, sources: ImageSet, real: ImageSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return the synthetic images and their sources, without the refused ones."""
    if isinstance(generator, PeopleGenerator):
        drawn = generator.draw(sources.labels, seed=seed)
        new = drawn.subjects + int(real.subjects.max()) + 1  # nobody's number
        return replace(sources, images=drawn.images, subjects=new, source_ids=drawn.source_ids), sources
    while len(sources):
        try:
            return replace(sources, images=generator.vary(sources.images, sources.labels, seed=seed)), sources
        except RefusedVariationsError as refusal:
            if not refusal.positions:
                raise  # it names no image to leave out, and asking again would never end
            sources = sources[np.delete(np.arange(len(sources)), refusal.positions)]
    return sources, sources


def simulate(
    condition: Condition,
    image_set: ImageSet,
    *,
    simulation: int,
    seed: int,
    config: TrainConfig | None = None,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> dict[str, object]:
    """Run one simulation on one thread, so that the same arguments give the same numbers, and return its row.

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
        The condition's fields, the seeds, counts (``n_...``), ``repeat`` and ``fold`` (-1 unless by subject),
        ``validation_...`` and ``test_...`` metrics of :func:`mri_aug.results.metrics.evaluate` after the last step,
        the same as ``..._validated_...`` at the look with the least validation loss and as ``..._calibrated_...`` at
        the validation part's ``temperature``, ``by_subject`` (JSON), ``learning_rate`` (its peak), ``seconds``,
        ``machine`` and ``versions`` (JSON).
    """
    config, seeds, start = config or TrainConfig(), Seeds.of(seed, simulation), time.perf_counter()
    people = condition.protocol == "subject"
    repeat, fold = divmod(simulation, splits.N_FOLDS) if people else (-1, -1)
    with _one_thread():
        split = divide(image_set, condition.protocol, seed=seed, simulation=simulation)
        held_out = {part: image_set[getattr(split, part)] for part in ("validation", "test")}
        held_out = {part: images.resized(condition.image_size) for part, images in held_out.items()}
        trained = train_arm(
            condition, image_set[split.train], seeds, config=config, generators=generators,
            validation=held_out["validation"],
        )  # fmt: skip
        scores = _evaluate(trained, held_out, people=people)
    used = trained.config
    return {
        **condition.columns(),
        "simulation": simulation,
        "repeat": repeat,
        "fold": fold,
        "seed": seed,
        **{f"seed_{name}": value for name, value in vars(seeds).items()},
        **trained.arm.counts(),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "n_steps": trained.n_steps,
        "n_pretrain_steps": trained.n_pretrain_steps,
        **scores,
        **{name: getattr(used, name) for name in ("epochs", "steps", "batch_size", "learning_rate", "weight_decay")},
        "precision": used.resolved_precision(),
        "device": used.resolved_device().type,
        "machine": machine()["processor"],
        "versions": json.dumps(versions()),
        "seconds": round(time.perf_counter() - start, 3),
    }


@dataclass(frozen=True)
class Trained:
    """A network or reference, what it trained on, and for how long."""

    classifier: Classifier | Reference
    arm: Arm
    config: TrainConfig  # with the rate that was used
    n_steps: int = 0
    n_pretrain_steps: int = 0  # of the steps, those before the real images

    def predict(self, image_set: ImageSet, *, validated: bool = False) -> np.ndarray:
        """Return class probabilities, float64 of shape (n, n_classes), for images of the condition's size.

        ``validated``: by the weights with the least validation loss instead of the last; a reference has one answer.
        """
        if isinstance(self.classifier, Reference):
            return self.classifier.predict(image_set.images, image_set.subjects.numpy())
        return predict((validated and self.classifier.validated) or self.classifier, image_set.images)


def train_arm(
    condition: Condition,
    training: ImageSet,
    seeds: Seeds,
    *,
    config: TrainConfig,
    generators: Mapping[str, ImageGenerator] | None = None,
    validation: ImageSet | None = None,
) -> Trained:
    """Assemble a condition's images and train its network on them, with the rate capped for the architecture.

    ``training`` is the whole training part; ``validation`` has the condition's image size, and is used as by
    :func:`mri_aug.models.training.train`. The other parameters are those of :func:`simulate`.
    """
    n_training, n_classes = len(training), training.n_classes
    arm = assemble(condition, training, seeds, generators)
    del training  # a worker's memory then does not hold the whole training part beside the condition's images
    real, variations = (part.resized(condition.image_size) for part in (arm.real, arm.variations))
    images = real.join(variations) if len(variations) else real
    if condition.architecture in REFERENCES:
        reference = fit_reference(condition.architecture, images, groups=arm.groups(), seed=seeds.initialisation)
        return Trained(reference, arm, config)
    ceiling = highest_learning_rate(condition.architecture, condition.weights, fine_tune=condition.fine_tune)
    config = replace(config, learning_rate=min(config.learning_rate, ceiling))
    full_steps = config.steps or config.n_steps(n_training)
    n_steps = full_steps if condition.budget == "steps" else config.n_steps(len(arm))
    model = make_model(
        condition.architecture, n_classes=n_classes, weights=condition.weights, seed=seeds.initialisation,
        image_size=condition.image_size,
    )  # fmt: skip
    options = {"seed": seeds.training, "config": config, "balance": condition.balance}
    if condition.fine_tune == "head":
        fit = partial(train_head, model, **options)
    else:
        fit = partial(train, model, policy=condition.policy, **options)
    n_pretrain_steps = 0
    if condition.synth_use == "pretrain":
        n_pretrain_steps = min(round(n_steps * len(variations) / len(arm)), n_steps - 1)
        if n_pretrain_steps:
            fit(variations, n_steps=n_pretrain_steps)
        images = real
    classifier = fit(images, n_steps=n_steps - n_pretrain_steps, validation=validation)
    return Trained(classifier, arm, config, n_steps, n_pretrain_steps)


def _evaluate(trained: Trained, held_out: Mapping[str, ImageSet], *, people: bool) -> dict[str, object]:
    """Return four scores of one training: last and validated weights, raw and at the validation part's temperature."""
    truth = {part: (images.labels.numpy(), images.subjects.numpy()) for part, images in held_out.items()}
    row: dict[str, object] = {"validated_step": getattr(getattr(trained.classifier, "validated", None), "step", 0)}
    by_person = {}
    for rule, validated in (("", False), ("validated_", True)):
        found = {part: trained.predict(images, validated=validated) for part, images in held_out.items()}
        # A reference is a regularised regression with few inputs: a temperature from few people would only add noise.
        fitted = isinstance(trained.classifier, Classifier)
        temperature = fit_temperature(found["validation"], truth["validation"][0]) if fitted else 1.0
        row[f"{rule}temperature"] = temperature
        cooled = calibrate(found["test"], temperature)
        for prefix, part, probabilities in (
            (f"validation_{rule}", "validation", found["validation"]),
            (f"test_{rule}", "test", found["test"]),
            (f"test_{rule}calibrated_", "test", cooled),
        ):
            scores = metrics.evaluate(probabilities, *truth[part])
            kept = {name: value for name, value in scores.items() if prefix == "test_" or "recall" not in name}
            row |= {f"{prefix}{name}": value for name, value in kept.items()}
        by_person[rule.strip("_") or "last"], by_person[f"{rule}calibrated"] = found["test"], cooled
        if not validated:
            table = json.loads(metrics.encode_by_subject(metrics.by_subject(found["test"], *truth["test"])))
    if people:  # enough to score, calibrate and compare people again from the row alone
        table |= {
            name: metrics.subject_means(values, *truth["test"])[1].round(4).tolist()
            for name, values in by_person.items()
        }
    return {**row, "by_subject": json.dumps(table, separators=(",", ":"))}


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
