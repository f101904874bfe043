"""Asking for the variations that a bank lacks: claimed before they are asked for, kept as each arrives.

Of several writers each asks for what nobody else is asking for, then waits for the others' answers. It decides neither
what is missing nor what a variation's key is, and reads no answer that it was not asked about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug.generators.bank_files import BankFiles
from mri_aug.generators.bank_ledger import Ledger
from mri_aug.generators.bank_money import Bill, BudgetError, cost_of, read_account
from mri_aug.generators.base import Answer, ImageGenerator, StreamingGenerator
from mri_aug.imageset import IMAGE_SIZE

_POLL = 0.2  # seconds between looks for another writer's answers
_SHAPE = (1, IMAGE_SIZE, IMAGE_SIZE)


@dataclass
class Requests:
    """One writer's requests to one generator, under a bank's limits."""

    files: BankFiles
    generator: ImageGenerator
    max_usd: float | None  # of the whole bank, as in Bank
    max_images: int | None
    bar: tqdm
    usd: float = 0.0  # spent by these requests so far

    @property
    def usd_per_image(self) -> float:
        return self.generator.usd_per_image if self._streams else 0.0

    @property
    def concurrency(self) -> int:
        return self.generator.concurrency if self._streams else 1

    @property
    def _streams(self) -> bool:
        return isinstance(self.generator, StreamingGenerator)

    def make(
        self, images: Tensor, labels: Tensor, records: Sequence[dict], rows: Sequence[int], *,
        kept: dict[str, np.ndarray], ends: dict[tuple[str, int], int], chunk_size: int | None = None,
    ) -> None:  # fmt: skip
        """Ask for the variations at ``rows``; add pixels to ``kept`` by key and refused numbers to ``ends`` by source.

        Errors are those of :meth:`mri_aug.generators.bank.Bank.vary`.
        """
        size = chunk_size or (8 * self.concurrency if self._streams else 32)
        waiting = list(rows)
        with Ledger(self.files, usd_per_image=self.usd_per_image, concurrency=self.concurrency) as ledger:
            while waiting:
                for chunk in _chunks(waiting, records, size):
                    # a number may have been refused since the chunks were cut
                    keys = {records[row]["key"]: row for row in chunk if not is_refused(records[row], ends)}
                    granted, by_limit = ledger.claim(list(keys), max_usd=self.max_usd, max_images=self.max_images)
                    if by_limit:
                        short = [row for row in waiting if records[row]["key"] not in kept]
                        raise BudgetError(self._limit_message(len(short)))
                    mine = [keys[key] for key in granted]
                    try:
                        mine = [row for row in mine if not self._take(records[row], kept, ends)]
                    except BaseException:
                        ledger.settle(Bill())
                        raise
                    self._ask(ledger, images, labels, records, mine, kept, ends)
                before = len(waiting)
                waiting = [row for row in waiting if not self._is_settled(records[row], kept, ends)]
                if len(waiting) == before:
                    time.sleep(_POLL)

    def _is_settled(self, record: dict, kept: dict, ends: dict) -> bool:
        return record["key"] in kept or is_refused(record, ends) or self._take(record, kept, ends)

    def _take(self, record: dict, kept: dict, ends: dict) -> bool:
        """Take over what another writer was answered, if it was."""
        if found := self.files.variation(record["key"], warn=False):
            kept[record["key"]] = found[0]
        elif self.files.refusal(record["key"], warn=False):
            refuse(record, ends)
        else:
            return False
        self.bar.update()
        return True

    def _ask(self, ledger, images, labels, records, rows, kept, ends) -> None:
        """Stream the variations of claimed rows, all of one number, into the bank; leave nothing claimed."""
        bill, open_rows = Bill(), set(rows)
        try:
            with closing(self._answers(images, labels, rows, records)) as answers:
                for answer in answers:
                    row = self._row_of(answer, rows, open_rows)
                    pixels = None if answer.pixels is None else self._pixels(answer.pixels)
                    record = {"usd": self.usd_per_image, **answer.record, **records[row]}
                    # entered even if the disk turns out to be full: it was paid for
                    bill.enter(record, n_images=int(pixels is not None))
                    open_rows.discard(row)
                    if pixels is None:
                        self.files.keep_refusal(record)
                        refuse(record, ends)
                    else:
                        self.files.keep_variation(record, pixels)
                        kept[record["key"]] = pixels
                    self._show(cost_of(record))
            if open_rows:
                raise ValueError(f"generator {self.generator.name!r} left {len(open_rows)} of {len(rows)} unanswered")
        except BaseException as error:
            # A stream that accounts for its failed calls is believed; else all that can have been in flight is lost.
            failures = getattr(error, "failures", None)
            if failures is None:
                bill.lose(min(len(open_rows), self.concurrency), self.usd_per_image)
            for answer in failures or ():
                bill.enter({"usd": 0.0, **answer.record, **records[rows[answer.position]]}, n_images=0)
            raise
        finally:
            ledger.settle(bill)

    def _answers(self, images: Tensor, labels: Tensor, rows: list[int], records: Sequence[dict]) -> Iterator[Answer]:
        if not rows:
            return
        number = records[rows[0]]["index"]
        if self._streams:
            with closing(self.generator.stream(images[rows], labels[rows], seed=number)) as answers:
                yield from answers
            return
        made = self.generator.vary(images[rows], labels[rows], seed=number)
        if made.dtype != torch.uint8 or tuple(made.shape) != (len(rows), *_SHAPE):
            raise ValueError(self._wrong(made, (len(rows), *_SHAPE)))
        yield from (Answer(position, pixels) for position, pixels in enumerate(made))

    def _row_of(self, answer: Answer, rows: list[int], open_rows: set[int]) -> int:
        if not 0 <= answer.position < len(rows) or rows[answer.position] not in open_rows:
            raise ValueError(f"generator {self.generator.name!r} answered for {answer.position}, which nobody awaits")
        return rows[answer.position]

    def _pixels(self, pixels: Tensor) -> np.ndarray:
        if pixels.dtype != torch.uint8 or tuple(pixels.shape) != _SHAPE:
            raise ValueError(self._wrong(pixels, _SHAPE))
        return pixels[0].numpy()

    def _wrong(self, tensor: Tensor, shape: tuple[int, ...]) -> str:
        return (
            f"generator {self.generator.name!r} answered with {tensor.dtype} of shape {tuple(tensor.shape)}, "
            f"expected uint8 of shape {shape}"
        )

    def _show(self, usd: float) -> None:
        self.usd += usd
        if self.usd_per_image:
            self.bar.set_postfix_str(f"${self.usd:.2f}", refresh=False)
        self.bar.update()

    def _limit_message(self, n_missing: int) -> str:
        account = read_account(self.files)
        limits = {"max_usd": self.max_usd, "max_images": self.max_images}
        named = " and ".join(f"{name}={value}" for name, value in limits.items() if value is not None)
        lost = f", {account.n_lost} calls lost in flight (up to ${account.usd_lost:.2f})" if account.n_lost else ""
        return (
            f"stopped before {named} could be crossed, {n_missing} variations short: ${account.usd:.2f} spent on "
            f"{account.n_images} variations{lost}, and one more may cost ${self.usd_per_image:.2f}. All are kept in "
            f"{self.files.folder}; the same command with a higher limit goes on from there"
        )


def _chunks(rows: Sequence[int], records: Sequence[dict], size: int) -> Iterator[list[int]]:
    """Yield positions, at most ``size`` at a time and of one variation number, which is the seed; low numbers first."""
    for number in sorted({records[row]["index"] for row in rows}):
        same = [row for row in rows if records[row]["index"] == number]
        yield from (same[start : start + size] for start in range(0, len(same), size))


def is_refused(record: Mapping, ends: Mapping[tuple[str, int], int]) -> bool:
    """Return whether a number of this source, up to the record's, is refused."""
    end = ends.get((record["source_sha256"], record["label"]))
    return end is not None and record["index"] >= end


def refuse(record: Mapping, ends: dict[tuple[str, int], int]) -> None:
    """Enter that the variation of this record is refused; ``ends`` holds the first refused number of each source."""
    source = record["source_sha256"], record["label"]
    ends[source] = min(record["index"], ends.get(source, record["index"]))
