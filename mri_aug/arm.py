"""What one simulation of a condition trains on: a stratified sample of real images and variations of it.

Every draw comes from the seeds of the simulation, which all conditions share. Nothing here trains the network under
study, and no image outside the training part is ever seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mri_aug import sampling
from mri_aug.conditions import Condition
from mri_aug.filters import apply_filter
from mri_aug.generators import ImageGenerator, fit_generator, make_generator
from mri_aug.generators.base import RefusedVariationsError
from mri_aug.imageset import ImageSet


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
