"""A bank of images that cost money or cannot be made again: each is kept as it arrives and never paid for twice.

A study reads a bank offline. Which images a study needs is worked out by :mod:`mri_aug.study.variations`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug import provenance
from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.generators.bank.ledger import Account, BankFiles, Requests, is_refused, read_account, refuse
from mri_aug.generators.base import (
    ImageGenerator,
    RefusedVariationsError,
    check_images,
    image_digests,
    make_fingerprint,
    make_generator,
)


class MissingVariationsError(LookupError):
    """A bank that may not ask for variations lacks some."""


@dataclass(frozen=True)
class Bank:
    """A folder of variations, shared by any number of studies and processes.

    An answer is kept as soon as it arrives, so that a kill or a full disk loses at most the calls in flight; those are
    remembered as possibly billed. Several writers divide the work: what one is asking for, another waits for and reads.
    A file whose pixels or record do not match their checksum is named in a warning, counts as missing, and is made
    again when next asked for. Reading 3,500 kept variations takes about a second.

    Parameters
    ----------
    folder : Path or str
        Made on first writing.
    offline : bool
        Answer from the folder alone: what is missing is an error, never a request to a generator.
    max_usd : float, optional
        Dollars that the bank may cost in all: earlier spending, calls possibly billed and, at their upper bound, those
        in flight count, whoever made them. Only a call that its client has to send again, after a lost connection or
        a damaged answer, can cost its bound more than once; that counts as soon as the call has ended.
    max_images : int, optional
        Variations that the bank may ask for in all, counted likewise.

    Raises
    ------
    ValueError
        If a limit is negative or not a number.
    """

    folder: Path | str
    offline: bool = False
    max_usd: float | None = None
    max_images: int | None = None

    def __post_init__(self):
        for name in ("max_usd", "max_images"):
            value = getattr(self, name)
            if value is not None and not value >= 0:  # NaN fails too
                raise ValueError(f"{name} must be at least 0, or None for no limit, got {value!r}")

    def vary(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *, indices: Sequence[int],
        source_ids: Sequence[int], subjects: Sequence[int] | None = None, chunk_size: int | None = None,
        progress: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return one variation per image: kept ones as they are, the missing made, kept, and returned.

        Parameters
        ----------
        generator : ImageGenerator
            Fitted, if it learns from the study. It gets the variation's number as its seed, so that a reproducible
            generator makes the same variation whatever else was missing.
        images : Tensor of uint8, shape (n, 1, 128, 128)
            The real images to vary; one image may occur several times under different numbers.
        labels : Tensor of int64, shape (n,)
        indices : sequence of int, length n
            Number of the variation among those of its source, from 0; the same number is the same variation.
        source_ids : sequence of int, length n
            ``ImageSet.source_ids`` of the images, for the record; -1 where unknown.
        subjects : sequence of int, length n, optional
            People that the images show, for the record; -1 where unknown.
        chunk_size : int, optional
            Variations claimed and asked for at a time; by default 32, or eight times the generator's ``concurrency``.
        progress : bool
            Show a bar over the variations to be made, with an estimate of the time left and the dollars spent.

        Returns
        -------
        Tensor of uint8, shape (n, 1, 128, 128)

        Raises
        ------
        RefusedVariationsError
            If the service refuses some images, once all the others are kept. Numbers of a source above a refused one
            are not asked for and count as refused, so that asking again without those positions succeeds.
        BudgetError
            If a limit is reached; it says what was spent and how to go on.
        MissingVariationsError
            If ``offline`` and some are missing; it says how many.
        ValueError
            If lengths disagree, an index is negative, or the generator answers with another shape or type.
        OSError
            If the folder cannot be written; what was kept before remains.
        """
        records = _records(generator, images, labels, indices, source_ids, subjects)
        kept, ends = self._kept(records), self._ends(records)
        missing = _first_of_each(records, kept, ends)
        if missing and self.offline:
            raise MissingVariationsError(
                f"{len(missing)} of the variations by {generator.name!r} asked for are not in the bank {self.folder}, "
                "which is offline; make them first: mri-aug vary, or offline=False"
            )
        if missing:
            self._files.identity(make=True)  # before the first answer: rows made from this bank hang on it
            with tqdm(total=len(missing), desc=f"{generator.name} variations", disable=not progress) as bar:
                requests = Requests(self._files, generator, self.max_usd, self.max_images, bar)
                requests.make(images, labels, records, missing, kept=kept, ends=ends, chunk_size=chunk_size)
        if refused := [row for row, record in enumerate(records) if is_refused(record, ends)]:
            counts = sorted(Counter(records[row]["label"] for row in refused).items())
            by_class = ", ".join(f"{count} of class {label}" for label, count in counts)
            raise RefusedVariationsError(
                f"{generator.name!r} refuses {len(refused)} of {len(records)} variations, finally "
                f"({by_class}); ask for the others without them",
                refused,
            )
        return _stack([kept[record["key"]] for record in records])

    def missing(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *, indices: Sequence[int]
    ) -> list[int]:
        """Return the positions of the variations that :meth:`vary` would request, each variation once."""
        records = _records(generator, images, labels, indices)
        return _first_of_each(records, self._kept(records), self._ends(records))

    def refused(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *, indices: Sequence[int]
    ) -> list[int]:
        """Return the positions of the variations that :meth:`vary` would report as refused, as far as is known."""
        records = _records(generator, images, labels, indices)
        ends = self._ends(records)
        return [row for row, record in enumerate(records) if is_refused(record, ends)]

    def records(self) -> list[dict]:
        """Return the provenance of every intact variation, in the order of their keys.

        Each holds key, generator, fingerprint, source_sha256, source_id, subject, label, index, pixels_sha256, made
        (the time in UTC, ISO 8601) and what the generator says of its answer; of a paid service that is model, server,
        prompt, request_id, usage and usd. Damaged files are named in a warning and left out.
        """
        read = (self._files.variation(key) for key in self._files)
        return [found[1] for found in read if found]

    def refusals(self) -> list[dict]:
        """Return the records of every intact refusal, in the order of their keys, as :meth:`records` does."""
        read = (self._files.refusal(key) for key in self._files.refused_keys())
        return [record for record in read if record]

    def count(self) -> int:
        """Return the number of variations kept, without checking them."""
        return sum(1 for _ in self._files)

    def account(self) -> Account:
        """Return what the bank has cost, what it may have cost beyond that, and what is in flight."""
        return read_account(self._files)

    def identity(self) -> str:
        """Return what tells this bank from one filled separately, copies apart; drawn on first asking if not offline.

        The same request to a service gives other pixels in another bank, and so other results.
        """
        return self._files.identity(make=not self.offline)

    @property
    def _files(self) -> BankFiles:
        return BankFiles(Path(self.folder))

    def _kept(self, records: list[dict]) -> dict[str, np.ndarray]:
        found = ((key, self._files.variation(key)) for key in dict.fromkeys(record["key"] for record in records))
        return {key: content[0] for key, content in found if content}

    def _ends(self, records: list[dict]) -> dict[tuple[str, int], int]:
        """Return, by source, the first number that is refused, where one is."""
        ends: dict[tuple[str, int], int] = {}
        known = set(self._files.refused_keys())
        for record in records:
            if record["key"] in known and self._files.refusal(record["key"]):
                refuse(record, ends)
        return ends


def _records(
    generator: ImageGenerator, images: Tensor, labels: Tensor, indices: Sequence[int],
    source_ids: Sequence[int] | None = None, subjects: Sequence[int] | None = None,
) -> list[dict]:  # fmt: skip
    """Return what is known of each variation before it is made, its key included."""
    check_images(images, labels)
    indices = [int(index) for index in indices]
    if len(indices) != len(images) or any(index < 0 for index in indices):
        raise ValueError(
            f"indices must be one number from 0 upwards per image, {len(images)} in all, got {indices[:8]}..."
        )
    known = {}
    for name, values in (("source_ids", source_ids), ("subjects", subjects)):
        known[name] = [-1] * len(images) if values is None else [int(value) for value in values]
        if len(known[name]) != len(images):
            raise ValueError(f"{name} must be one per image, got {len(known[name])} for {len(images)} images")
    fingerprint, records = generator.fingerprint, []
    columns = zip(image_digests(images), labels.tolist(), indices, known["source_ids"], known["subjects"], strict=True)
    for digest, label, index, source_id, subject in columns:
        identity = {"fingerprint": fingerprint, "source_sha256": digest, "label": label, "index": index}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        described = {"generator": generator.name, "source_id": source_id, "subject": subject}
        records.append({"key": key, **identity, **described})
    return records


def _first_of_each(records: list[dict], kept: dict[str, np.ndarray], ends: dict[tuple[str, int], int]) -> list[int]:
    first: dict[str, int] = {}
    for row, record in enumerate(records):
        if record["key"] not in kept and not is_refused(record, ends):
            first.setdefault(record["key"], row)
    return list(first.values())


def _stack(pixels: list[np.ndarray]) -> Tensor:
    empty = np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return torch.from_numpy(np.stack(pixels) if pixels else empty)[:, None]


@dataclass(frozen=True)
class BankedGenerator:
    """Answer from a bank, and let the bank ask ``generator`` for what it lacks, unless it is offline.

    The k-th occurrence of an image in a call is variation k of that image, whatever the seed: all simulations of a
    study share the variations, each paid for once. They still differ in which images are varied. Intervals over
    simulations therefore hold for the variations in the bank, and leave out how another set of them would do.

    Every process of a study may hold one. Claims see to it that two never ask for the same variation or cross a limit
    together, but each has the generator's ``concurrency`` of calls in flight, and trains nothing while it waits: fill
    the bank first (:func:`mri_aug.study.variations.fill`) and run the study with ``Bank(folder, offline=True)``.

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
            As :meth:`mri_aug.generators.bank.bank.Bank.vary`.
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
        As :func:`mri_aug.generators.base.make_generator`; a generator that learns from the study has no bank.
    """
    if name == "none":
        return {}
    generator = make_generator(name, **(options or {}))
    if folder is not None or not generator.reproducible:
        return {name: BankedGenerator(generator, Bank(folder or provenance.artifacts("bank"), offline=True))}
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
