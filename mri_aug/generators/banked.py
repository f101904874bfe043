"""A generator whose variations come from a bank: what a study uses where variations cost money or cannot be repeated.

It makes nothing itself and fits nothing; the bank decides what is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from mri_aug import paths
from mri_aug.generators import make_generator
from mri_aug.generators.bank import Bank
from mri_aug.generators.base import ImageGenerator, check_images, image_digests, make_fingerprint
from mri_aug.imageset import ImageSet


@dataclass(frozen=True)
class BankedGenerator:
    """Answer from a bank, and let the bank ask ``generator`` for what it lacks, unless it is offline.

    The k-th occurrence of an image in a call is variation k of that image, whatever the seed: all simulations of a
    study share the variations, each paid for once. They still differ in which images are varied. Intervals over
    simulations therefore hold for the variations in the bank, and leave out how another set of them would do.

    Every process of a study may hold one. Claims see to it that two never ask for the same variation or cross a limit
    together, but each has the generator's ``concurrency`` of calls in flight, and trains nothing while it waits: fill
    the bank first (:func:`mri_aug.vary.fill`) and run the study with ``Bank(folder, offline=True)``.

    Parameters
    ----------
    generator : ImageGenerator
        Not one that learns from the study: it is another generator in each simulation, and one that was fitted already
        may have learnt from images that a simulation tests on.
    bank : Bank
    sources : mapping of str to (int, int)
        Source id and person by digest of the image, for the records; see :meth:`of`.

    Raises
    ------
    ValueError
        If the generator learns from the study.
    """

    generator: ImageGenerator
    bank: Bank
    sources: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    learns_from_study = False
    reproducible = True  # a bank repeats what a service cannot

    def __post_init__(self):
        if self.generator.learns_from_study:
            raise ValueError(
                f"{self.generator.name!r} learns from the study, so that each simulation has its own variations and "
                "none can be shared through a bank; give it to the study as it is"
            )

    @classmethod
    def of(cls, generator: ImageGenerator, bank: Bank, image_set: ImageSet) -> BankedGenerator:
        """Return one that knows the images of a dataset, so that records name the image and the person."""
        values = zip(image_set.source_ids.tolist(), image_set.subjects.tolist(), strict=True)
        return cls(generator, bank, dict(zip(image_digests(image_set.images), values, strict=True)))

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def fingerprint(self) -> str:
        return make_fingerprint("banked", self.generator.fingerprint, self.bank.identity())

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 (n, 1, 128, 128); ``seed`` changes nothing.

        Raises
        ------
        RefusedVariationsError, MissingVariationsError, BudgetError, OSError
            As :meth:`mri_aug.generators.bank.Bank.vary`.
        """
        check_images(images, labels)
        digests = image_digests(images)
        known = [self.sources.get(digest, (-1, -1)) for digest in digests]
        return self.bank.vary(
            self.generator,
            images,
            labels,
            indices=variation_numbers(digests, labels.tolist()),
            source_ids=[source_id for source_id, _ in known],
            subjects=[subject for _, subject in known],
        )


def study_generators(
    name: str, options: Mapping[str, object] | None = None, *, folder: Path | None = None
) -> dict[str, ImageGenerator]:
    """Return what a study is given so that its conditions may name a generator; empty where the name is enough.

    Parameters
    ----------
    name : str
        A key of ``GENERATORS``.
    options : mapping, optional
        Of the generator, other than its defaults.
    folder : Path, optional
        Of a bank that all variations are taken from. A generator that cannot make a variation again has one in any
        case, by default ``artifacts/bank``. The bank is offline: a simulation is no place to spend money from.

    Raises
    ------
    ValueError, ImportError
        As :func:`mri_aug.generators.make_generator`; a generator that learns from the study has no bank.
    """
    if name == "none":
        return {}
    generator = make_generator(name, **(options or {}))
    if folder is not None or not generator.reproducible:
        return {name: BankedGenerator(generator, Bank(folder or paths.artifacts("bank"), offline=True))}
    return {name: generator} if options else {}


def variation_numbers(digests: Sequence[str], labels: Sequence[int]) -> list[int]:
    """Return, for each image of a call, how often the same image with the same label comes before it.

    Parameters
    ----------
    digests : sequence of str, length n
        From :func:`mri_aug.generators.base.image_digests`.
    labels : sequence of int, length n
    """
    seen: Counter[tuple[str, int]] = Counter()
    numbers = []
    for image in zip(digests, labels, strict=True):
        numbers.append(seen[image])
        seen[image] += 1
    return numbers
