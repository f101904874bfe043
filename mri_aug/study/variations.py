"""Plan, price and request the variations that a study needs from a bank; nothing is trained or fitted.

What a simulation needs follows from the same seeds, split and sample as :mod:`mri_aug.study.simulation` uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from mri_aug.data import splits
from mri_aug.data.imageset import ImageSet
from mri_aug.generators.bank import Bank
from mri_aug.generators.base import (
    ImageGenerator,
    RefusedVariationsError,
    StreamingGenerator,
    image_digests,
    variation_numbers,
)
from mri_aug.generators.ledger import Account
from mri_aug.study.conditions import Condition
from mri_aug.study.parts import Part
from mri_aug.study.simulation import Seeds, divide, draw_sample


@dataclass(frozen=True, eq=False)
class Wanted:
    """The variations that a study needs, each once, first variations before second ones."""

    images: ImageSet  # the real image of each
    numbers: np.ndarray  # int64, shape (n,): the variation's number among those of its image


@dataclass(frozen=True)
class Plan:
    """What a study needs of a bank."""

    generator: str
    n_wanted: int  # variations that the study needs
    n_sources: int  # real images that those are made from
    n_kept: int  # of the wanted, those in the bank
    refused: dict[str, int]  # of the wanted, those that the service refuses, by class
    n_missing: int  # calls to make, one image each
    usd: float  # at most, for those calls
    minutes: float  # expected for those calls; NaN where the generator does not say
    account: Account  # of the bank so far, other studies included

    def __str__(self) -> str:
        refused = ", ".join(f"{count} of {name}" for name, count in self.refused.items())
        minutes = "" if np.isnan(self.minutes) else f", about {self.minutes:,.1f} minutes"
        minutes += f" ({self.minutes / 60:.1f} hours)" if self.minutes > 90 else ""
        lines = [
            f"{self.generator}: the study needs {self.n_wanted:,} variations of {self.n_sources:,} images; the bank "
            f"holds {self.n_kept:,}" + (f", refused are {refused}" if refused else ""),
            f"still to make: {self.n_missing:,} calls, {self.n_missing:,} images, at most ${self.usd:,.2f}{minutes}",
            f"the bank has cost ${self.account.usd:,.2f} for {self.account.n_images:,} images so far",
        ]
        if self.account.n_lost:
            lines.append(
                f"{self.account.n_lost} calls were sent and not answered (lost, or in flight if another fill is "
                f"running) and may have been billed, at most ${self.account.usd_lost:.2f}"
            )
        return "\n".join(lines)


def wanted_variations(
    parts: Sequence[Part], image_set: ImageSet, *, generator: str, seed: int, protocol: str | None = None
) -> Wanted:
    """Return the variations that all simulations of a study need from a banked generator.

    ``parts``, ``image_set`` and ``seed`` are those given to :func:`mri_aug.study.run.run_parts`. Conditions that name
    another ``generator``, or have another ``protocol`` than one that is given, need nothing.
    """
    if protocol not in (None, *splits.PROTOCOLS):
        raise ValueError(f"protocol must be one of {', '.join(splits.PROTOCOLS)}, got {protocol!r}")
    digests, labels = np.array(image_digests(image_set.images)), image_set.labels.numpy()
    first: dict[tuple[int, str, int], int] = {}
    for simulation, condition in _draws(parts, generator, protocol):
        train = divide(image_set, condition.protocol, seed=seed, simulation=simulation).train
        sample = draw_sample(condition, image_set[train], seed=Seeds.of(seed, simulation).sample)
        rows = train[sample.sources]
        numbers = variation_numbers(digests[rows].tolist(), labels[rows].tolist())
        for row, number in zip(rows.tolist(), numbers, strict=True):
            first.setdefault((number, digests[row], int(labels[row])), row)
    order = sorted((number, row) for (number, _, _), row in first.items())
    numbers, rows = np.array(order, dtype=np.int64).reshape(-1, 2).T
    return Wanted(image_set[rows], numbers)


def _draws(parts: Sequence[Part], generator: str, protocol: str | None) -> list[tuple[int, Condition]]:
    """Return simulation and condition of each draw of sources, once: conditions that draw alike have one sample."""
    draws = {}
    for part in parts:
        for c in part.conditions:
            if c.generator == generator and protocol in (None, c.protocol):
                alike = c.protocol, c.scarce, c.real_frac, c.synth_frac, c.synth_classes
                draws |= {(simulation, alike): c for simulation in range(part.n_simulations)}
    return [(simulation, draws[simulation, alike]) for simulation, alike in sorted(draws)]


def plan(generator: ImageGenerator, bank: Bank, wanted: Wanted) -> Plan:
    """Return what is needed beyond what the bank holds, and what it costs at most; makes no request.

    ValueError if the generator learns from the study, or has no prompt for a class.
    """
    images, labels = wanted.images.images, wanted.images.labels
    missing, refused = bank.look(generator, images, labels, indices=wanted.numbers)
    refused = wanted.images[np.array(refused, dtype=np.int64)]
    streams = isinstance(generator, StreamingGenerator)
    seconds = generator.seconds_per_image / generator.concurrency if streams else float("nan")
    return Plan(
        generator=generator.name,
        n_wanted=len(wanted.numbers),
        n_sources=len(wanted.images.source_ids.unique()),
        n_kept=len(wanted.numbers) - len(missing) - len(refused),
        refused={name: count for name, count in refused.class_counts().items() if count},
        n_missing=len(missing),
        usd=len(missing) * generator.usd_per_image if streams else 0.0,
        minutes=len(missing) * seconds / 60 if missing else 0.0,
        account=bank.account(),
    )


def fill(generator: ImageGenerator, bank: Bank, wanted: Wanted, *, progress: bool = False) -> Plan:
    """Request what the bank lacks, keeping each answer as it arrives, and return the plan of what is left.

    Refused images are no error: the returned plan counts them by class. With an offline bank this only checks whether
    a study can run from it. Other errors are those of :meth:`mri_aug.generators.bank.Bank.vary` and of the generator;
    ``progress`` shows a bar with an estimate and the dollars spent.
    """
    images = wanted.images
    with suppress(RefusedVariationsError):  # the plan counts them
        bank.vary(
            generator, images.images, images.labels, indices=wanted.numbers, source_ids=images.source_ids,
            subjects=images.subjects, progress=progress,
        )  # fmt: skip
    return plan(generator, replace(bank, offline=True), wanted)
