"""A bank of images that cost money or cannot be made again: each is kept as it arrives and never paid for twice.

Which images a study needs is worked out by :mod:`mri_aug.study.variations`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug import provenance
from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.generators.base import (
    Answer,
    ImageGenerator,
    RefusedVariationsError,
    Request,
    StreamingGenerator,
    check_images,
    count_by_class,
    image_digests,
    make_fingerprint,
    make_generator,
    variation_numbers,
)
from mri_aug.generators.ledger import Account, BankFiles, Ledger, open_ledger, read_account

_SHAPE = (1, IMAGE_SIZE, IMAGE_SIZE)
_BATCH = 32  # images that a generator without a stream varies at a time


class MissingVariationsError(LookupError):
    """An offline bank lacks some variations."""


class BudgetError(RuntimeError):
    """The next call could cross a limit of the bank; what was kept stays, and nothing is in flight."""


@dataclass(frozen=True)
class Bank:
    """A folder of variations, shared by any number of studies and processes.

    An answer is kept as soon as it arrives, and each paid call is entered in a ledger before it is sent, so that a kill
    or a full disk loses at most the calls in flight, which count as possibly billed. One fill at a time holds the
    bank's lock: another waits, and then requests only what is still missing. Reading needs no lock; 3,500 kept
    variations take about a second. A file whose checksum differs counts as missing, with a warning.

    Parameters
    ----------
    folder : Path or str
        Made on first writing.
    offline : bool
        Answer from the folder alone: what is missing is an error, never a request to a generator.
    max_usd, max_images : float, int, optional
        Dollars that the bank may cost, and variations that it may request, in all, earlier fills and calls that were
        possibly billed included; no call is sent that could, at its upper bound, cross a limit. Only a call that its
        client has to send again, after a lost connection or a damaged answer, can cost more than its bound; that counts
        as soon as the call has ended.
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
        source_ids: Sequence[int], subjects: Sequence[int] | None = None, progress: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return one variation per image, uint8 (n, 1, 128, 128): kept ones as they are, the missing made and kept.

        Parameters
        ----------
        generator : ImageGenerator
            Not one that learns from the study. It gets the variation's number as its seed, so that a reproducible
            generator makes the same variation whatever else was missing.
        images, labels : Tensor
            Real images, uint8 (n, 1, 128, 128), and their classes; one may occur several times, under other numbers.
        indices : sequence of int, length n
            Number of the variation among those of its source, from 0; the same number is the same variation.
        source_ids, subjects : sequence of int, length n
            For the record, as in ``ImageSet``; -1 where unknown.
        progress : bool
            Show a bar with an estimate of the time left and the dollars spent.

        Raises
        ------
        RefusedVariationsError
            If the service refuses some images, once all the others are kept. Numbers of a source above a refused one
            are not requested and count as refused, so that a call without those positions succeeds.
        BudgetError, MissingVariationsError
            If a limit is reached, or some are missing and the bank is ``offline``.
        ValueError, OSError
            If an argument or an answer is wrong (a class without a prompt before any request), or a write fails.
        """
        wanted = _Wanted.of(generator, images, labels, indices, source_ids, subjects)
        wanted.read(self._files)
        if missing := wanted.missing():
            if self.offline:
                raise MissingVariationsError(
                    f"{len(missing)} of the variations by {generator.name!r} that are needed are not in the bank "
                    f"{self.folder}, which is offline; make them first: mri-aug vary, or offline=False"
                )
            self._files.identity(make=True)
            bar = tqdm(total=len(missing), desc=f"{generator.name} variations", disable=not progress)
            bar.set_postfix_str("waiting for another fill")
            with bar, open_ledger(self._files) as ledger:
                _Fill(self, generator, images, wanted, ledger, bar, getattr(generator, "usd_per_image", 0.0)).run()
        if refused := wanted.refused():
            counts = count_by_class(wanted.records[row]["label"] for row in refused)
            raise RefusedVariationsError(
                f"{generator.name!r} refuses {len(refused)} of {len(wanted.records)} variations, finally ({counts}); "
                "ask for the others without them",
                refused,
            )
        pixels = [wanted.kept[record["key"]] for record in wanted.records]
        return torch.from_numpy(np.stack(pixels) if pixels else np.empty((0, *_SHAPE[1:]), np.uint8))[:, None]

    def look(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *, indices: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Return the positions that :meth:`vary` would request, each variation once, and those known to be refused."""
        wanted = _Wanted.of(generator, images, labels, indices)
        wanted.read(self._files)
        return wanted.missing(), wanted.refused()

    def records(self, *, refused: bool = False) -> list[dict]:
        """Return the provenance of every intact variation, or of every refusal, in the order of their keys.

        Each holds key, generator, fingerprint, source_sha256, source_id, subject, label, index, pixels_sha256, made
        (the time in UTC, ISO 8601) and the record of its :class:`~mri_aug.generators.base.Answer`. Damaged files are
        named in a warning and left out.
        """
        keys = self._files.kept_keys(refused=refused)
        return [found[1] for key in keys if (found := self._files.answer(key))]

    def account(self) -> Account:
        """Return what the bank has cost, and what it may have cost beyond that."""
        return read_account(self._files)

    def identity(self) -> str:
        """Return digits that differ between banks that were filled separately; a copy of a bank has the same.

        The same request to a service gives other pixels in another bank, and so other results. Drawn at the first call,
        unless the bank is offline.
        """
        return self._files.identity(make=not self.offline)

    @property
    def _files(self) -> BankFiles:
        return BankFiles(Path(self.folder))


@dataclass
class _Wanted:
    """The variations of one request to a bank, and the answers that are known."""

    records: list[dict]  # what is known of each variation before it is made, its key included
    kept: dict[str, np.ndarray] = field(default_factory=dict)  # pixels by key
    ends: dict[tuple[str, int], int] = field(default_factory=dict)  # first refused number of each source

    @classmethod
    def of(
        cls, generator: ImageGenerator, images: Tensor, labels: Tensor, indices: Sequence[int],
        source_ids: Sequence[int] | None = None, subjects: Sequence[int] | None = None,
    ) -> _Wanted:  # fmt: skip
        """Return the variations at ``indices`` of images, none of them read; ValueError if an argument is wrong."""
        _check_bankable(generator)
        check_images(images, labels)
        if isinstance(generator, StreamingGenerator):
            generator.check_labels(labels.tolist())
        n, columns = len(images), []
        numbers = [int(index) for index in indices]
        if len(numbers) != n or any(number < 0 for number in numbers):
            raise ValueError(f"indices must be one non-negative integer per image, {n} in all, got {numbers[:8]}...")
        for name, values in (("source_ids", source_ids), ("subjects", subjects)):
            columns.append([-1] * n if values is None else [int(value) for value in values])
            if len(columns[-1]) != n:
                raise ValueError(f"{name} must be one per image, got {len(columns[-1])} for {n} images")
        rows = zip(image_digests(images), labels.tolist(), numbers, *columns, strict=True)
        fingerprint, records = generator.fingerprint, []
        for digest, label, index, source_id, subject in rows:
            identity = {"fingerprint": fingerprint, "source_sha256": digest, "label": label, "index": index}
            key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
            described = {"generator": generator.name, "source_id": source_id, "subject": subject}
            records.append({"key": key, **identity, **described})
        return cls(records)

    def read(self, files: BankFiles, *, warn: bool = True) -> None:
        """Read the answers that are in the bank by now."""
        for row in self.missing():
            if found := files.answer(self.records[row]["key"], warn=warn):
                self.enter(self.records[row], found[0])

    def enter(self, record: Mapping, pixels: np.ndarray | None) -> None:
        """Enter an answer; None is a refusal."""
        if pixels is not None:
            self.kept[record["key"]] = pixels
        else:
            source = record["source_sha256"], record["label"]
            self.ends[source] = min(record["index"], self.ends.get(source, record["index"]))

    def is_refused(self, record: Mapping) -> bool:
        """Return whether this number of its source, or a lower one, is refused."""
        return record["index"] >= self.ends.get((record["source_sha256"], record["label"]), math.inf)

    def refused(self) -> list[int]:
        """Return the positions of refused variations."""
        return [row for row, record in enumerate(self.records) if self.is_refused(record)]

    def missing(self) -> list[int]:
        """Return the positions of variations without an answer, each variation once."""
        first: dict[str, int] = {}
        for row, record in enumerate(self.records):
            if record["key"] not in self.kept and not self.is_refused(record):
                first.setdefault(record["key"], row)
        return list(first.values())


@dataclass
class _Fill:
    """The requests that one fill makes while it holds the bank's lock."""

    bank: Bank
    generator: ImageGenerator
    images: Tensor
    wanted: _Wanted
    ledger: Ledger
    bar: tqdm
    usd_per_image: float
    usd: float = 0.0  # spent by this fill
    held_back: int | None = None  # calls in flight when a limit stopped the next one; they may cost less than reserved

    def run(self) -> None:
        """Request what is missing, low variation numbers first: each is the seed of a stream of its own."""
        self.bar.set_postfix_str("")
        self.wanted.read(self.bank._files, warn=False)  # another fill may have had the lock until now
        rows, records = self.wanted.missing(), self.wanted.records
        self.bar.total = len(rows)
        for number in sorted({records[row]["index"] for row in rows}):
            left = [row for row in rows if records[row]["index"] == number]
            while left:
                self.held_back = None
                self._stream(left, number)
                missing = set(self.wanted.missing())
                left = [row for row in left if row in missing]
                if left and self.held_back is None:
                    raise ValueError(f"generator {self.generator.name!r} left {len(left)} variations unanswered")
                if left and self.held_back == 0:
                    raise BudgetError(self._limit_message())

    def _stream(self, rows: list[int], number: int) -> None:
        """Request variations and keep each answer as it arrives."""
        in_flight: dict[int, dict] = {}
        try:
            with closing(_answers(self.generator, self._requests(rows, in_flight), seed=number)) as answers:
                for answer in answers:
                    if answer.position not in in_flight:
                        name = self.generator.name
                        raise ValueError(f"generator {name!r} returned {answer.position}, which was not requested")
                    self._keep(answer, in_flight.pop(answer.position))
        except BaseException as error:
            for answer in getattr(error, "failures", ()):
                self.ledger.settle({"usd": 0.0, **answer.record, **in_flight[answer.position]}, n_images=0)
            raise

    def _requests(self, rows: list[int], in_flight: dict[int, dict]) -> Iterator[Request]:
        """Yield the requests until a limit is reached, each entered in the ledger first."""
        for row in rows:
            record = self.wanted.records[row]
            if self.wanted.is_refused(record):
                continue
            if not self._is_affordable(len(in_flight)):
                self.held_back = len(in_flight)
                return
            if self.usd_per_image:
                self.ledger.send(record["key"], self.usd_per_image)
            in_flight[row] = record
            yield Request(row, self.images[row], record["label"])

    def _is_affordable(self, n_in_flight: int) -> bool:
        """Return whether no limit can be crossed by one more call."""
        if self.bank.max_usd is None and self.bank.max_images is None:
            return True
        account = self.ledger.account()
        usd = account.usd + account.usd_lost + self.usd_per_image
        n = account.n_images + account.n_lost + (0 if self.usd_per_image else n_in_flight) + 1
        # 3 * 0.2 is 0.6000000000000001: a limit is meant as it is written
        within_usd = not self.usd_per_image or self.bank.max_usd is None or usd <= self.bank.max_usd + 1e-9
        return within_usd and (self.bank.max_images is None or n <= self.bank.max_images)

    def _keep(self, answer: Answer, record: dict) -> None:
        pixels = answer.pixels
        if pixels is not None:
            _check_answer(self.generator, pixels, _SHAPE)
            pixels = pixels[0].numpy()
        record = {"usd": self.usd_per_image, **answer.record, **record}
        try:
            self.bank._files.keep(record, pixels)
        finally:  # it was paid for, even if the disk turns out to be full
            self.ledger.settle(record, n_images=int(pixels is not None))
        self.wanted.enter(record, pixels)
        self.usd += float(record["usd"] or 0.0)
        if self.usd_per_image:
            self.bar.set_postfix_str(f"${self.usd:.2f}", refresh=False)
        self.bar.update()

    def _limit_message(self) -> str:
        account, bank = self.ledger.account(), self.bank
        named = " and ".join(f"{n}={v}" for n in ("max_usd", "max_images") if (v := getattr(bank, n)) is not None)
        lost = f", {account.n_lost} calls lost in flight (up to ${account.usd_lost:.2f})" if account.n_lost else ""
        return (
            f"stopped before {named} could be crossed, {len(self.wanted.missing())} variations short: "
            f"${account.usd:.2f} spent on {account.n_images} variations{lost}, and one more may cost "
            f"${self.usd_per_image:.2f}. All are kept in {bank.folder}; the same command with a higher limit goes on "
            "from there"
        )


def _answers(generator: ImageGenerator, requests: Iterator[Request], *, seed: int) -> Iterator[Answer]:
    if isinstance(generator, StreamingGenerator):
        yield from generator.stream(requests, seed=seed)
        return
    while some := list(islice(requests, _BATCH)):
        images = torch.stack([request.image for request in some])
        made = generator.vary(images, torch.tensor([request.label for request in some]), seed=seed)
        _check_answer(generator, made, tuple(images.shape))
        yield from (Answer(request.position, pixels) for request, pixels in zip(some, made, strict=True))


def _check_answer(generator: ImageGenerator, pixels: Tensor, shape: tuple[int, ...]) -> None:
    if pixels.dtype != torch.uint8 or tuple(pixels.shape) != shape:
        raise ValueError(
            f"generator {generator.name!r} answered with {pixels.dtype} of shape {tuple(pixels.shape)}, "
            f"expected uint8 of shape {shape}"
        )


def _check_bankable(generator: ImageGenerator) -> None:
    if generator.learns_from_study:
        raise ValueError(
            f"{generator.name!r} learns from the study, so that each simulation has its own variations and none can be "
            "shared through a bank; give it to the study as it is"
        )


@dataclass(frozen=True)
class BankedGenerator:
    """Answer from a bank, which requests what it lacks from ``generator`` unless it is offline.

    The k-th occurrence of an image in a call is variation k of that image, whatever the seed: all simulations of a
    study share the variations, each paid for once. They still differ in which images are varied. Intervals over
    simulations therefore hold for the variations in the bank, and do not cover how another set of them would do.

    Fill the bank first (:func:`mri_aug.study.variations.fill`) and run the study with ``Bank(folder, offline=True)``: a
    bank that is not offline requests what it lacks, one process at a time. The generator may not learn from the study:
    it is another one in each simulation, and one fitted before may have learnt from images that a simulation tests on.
    ``sources`` has source id and person by digest of an image, for the records; see :meth:`of`.
    """

    generator: ImageGenerator
    bank: Bank
    sources: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    learns_from_study = False
    reproducible = True  # a bank repeats what a service cannot

    def __post_init__(self):
        _check_bankable(self.generator)

    @classmethod
    def of(cls, generator: ImageGenerator, bank: Bank, image_set: ImageSet) -> BankedGenerator:
        """Return one that knows the images of a dataset, so that records name the image and the person."""
        values = zip(image_set.source_ids.tolist(), image_set.subjects.tolist(), strict=True)
        return cls(generator, bank, dict(zip(image_digests(image_set.images), values, strict=True)))

    @property
    def name(self) -> str:
        """The generator's."""
        return self.generator.name

    @property
    def card(self) -> Mapping[str, str]:
        """The generator's, if it has one."""
        return getattr(self.generator, "card", MappingProxyType({}))

    @property
    def fingerprint(self) -> str:
        """Follows the generator and the bank."""
        return make_fingerprint("banked", self.generator.fingerprint, self.bank.identity())

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, as :meth:`Bank.vary`, errors included; ``seed`` has no effect."""
        digests = image_digests(images)
        known = [self.sources.get(digest, (-1, -1)) for digest in digests]
        return self.bank.vary(
            self.generator, images, labels, indices=list(variation_numbers(digests, labels.tolist())),
            source_ids=[source_id for source_id, _ in known], subjects=[subject for _, subject in known],
        )  # fmt: skip


def study_generators(
    name: str, options: Mapping[str, object] | None = None, *, folder: Path | None = None
) -> dict[str, ImageGenerator]:
    """Return the generators that a study needs for its conditions to name one; empty where the name is enough.

    ``name`` and ``options`` are those of :func:`mri_aug.generators.base.make_generator`, as are errors. All variations
    are taken from the bank in ``folder``; a generator that cannot make a variation again has one in any case, by
    default ``artifacts/bank``. The bank is offline: a simulation spends no money.
    """
    if name == "none":
        return {}
    generator = make_generator(name, **(options or {}))
    if folder is not None or not generator.reproducible:
        return {name: BankedGenerator(generator, Bank(folder or provenance.artifacts("bank"), offline=True))}
    return {name: generator} if options else {}
