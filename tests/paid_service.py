"""A paid image service in a file: a generator whose answers arrive one by one, and that logs every request."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mri_aug.generators.base import Answer, Request, image_digests

COST = 0.04
PROCESSES = multiprocessing.get_context("forkserver")  # by a server that has imported what they need
PROCESSES.set_forkserver_preload(["mri_aug.generators.bank", "mri_aug.generators.openai.service"])


@dataclass(frozen=True)
class PaidGenerator:
    """Each request is a line of ``log``, written when it is sent; the service bills ``COST`` when it answers.

    Images whose first pixel is ``refused`` are refused; ``seconds`` is what an answer takes.
    """

    log: Path | str
    seconds: float = 0.0
    refused: int = -1
    usd_per_image: float = 0.05
    concurrency: int = 2
    fingerprint: str = "paid"

    name = "paid"
    learns_from_study = False
    reproducible = False
    seconds_per_image = 3.0

    def requests(self) -> list[str]:
        """Return the digest and the number of every variation that was requested, in order."""
        return Path(self.log).read_text().splitlines() if Path(self.log).exists() else []

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        raise AssertionError("a bank streams: whole batches lose what was paid for")

    def check_labels(self, labels: Iterable[int]) -> None:
        """Any class will do."""

    def stream(self, requests: Iterable[Request], *, seed: int) -> Iterator[Answer]:
        waiting, calls = iter(requests), set()
        with ThreadPoolExecutor(self.concurrency) as pool:
            while True:
                calls |= {pool.submit(self._call, r, seed) for r in islice(waiting, self.concurrency - len(calls))}
                if not calls:
                    return
                done = next(iter(wait(calls, return_when=FIRST_COMPLETED).done))
                calls.remove(done)
                yield done.result()

    def _call(self, request: Request, seed: int) -> Answer:
        line = f"{image_digests(request.image[None])[0]} {seed}\n".encode()
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)  # one write: lines of several processes never mix
        os.close(file)
        time.sleep(self.seconds)
        position = request.position
        record = {"model": "m-1", "server": "http://localhost", "prompt": "another", "request_id": f"r{position}"}
        if int(request.image[0, 0, 0]) == self.refused:
            return Answer(position, None, {**record, "usd": 0.0, "refused": "moderation_blocked"})
        pixels = np.random.default_rng().integers(0, 256, (1, 128, 128), dtype=np.uint8)
        return Answer(position, torch.from_numpy(pixels), {**record, "usage": {"output_tokens": 9}, "usd": COST})


def make_images(n: int) -> tuple[Tensor, Tensor]:
    """Return n different images, the first pixel of each its position, and their labels, 0 to 3 in turn."""
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 128, 128), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return torch.from_numpy(images), torch.arange(n) % 4
