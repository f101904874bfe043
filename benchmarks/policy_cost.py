"""What each augmentation policy adds to a training step, on one thread.

Times the policies as they are; which of them help is a question for a study.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from benchmarks import engine
from benchmarks.processes import in_process
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings, read_images, repeated
from mri_aug.policies.registry import POLICIES, make_policy


def measure(settings: Settings) -> Tables:
    """Measure milliseconds per batch of 64, and their share of a training step without a policy."""
    return {"policies": in_process(_costs, settings.work, settings.size(15, 2), settings.size(12, 1))}


def _costs(work: Path, n_batches: int, n_steps: int) -> list[dict]:
    engine.one_thread()
    image_set = repeated(read_images(work), max(2 * BATCH_SIZE, n_steps))
    step, _ = engine.step_seconds(image_set, n_steps=n_steps, repeats=3)
    images, labels = image_set.images[:BATCH_SIZE].float().div(255), image_set.labels[:BATCH_SIZE]
    rows = []
    for name in POLICIES:
        policy, rng, seconds = make_policy(name), torch.Generator().manual_seed(0), []
        for _ in range(n_batches + 2):
            start = time.perf_counter()
            policy(images, labels, generator=rng)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds[2:])  # two to warm up
        rows.append(
            {"policy": name, "milliseconds": 1000 * median, "step_milliseconds": 1000 * step,
             "percent_of_step": 100 * median / step}
        )  # fmt: skip
    return rows
