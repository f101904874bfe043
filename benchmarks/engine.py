"""Our engine at work: single-threaded processes side by side, as a study runs them.

It calls the library's own ``train`` and ``run_study``; nothing of theirs is rebuilt here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.processes import side_by_side
from benchmarks.settings import BATCH_SIZE, read_images, repeated
from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig, keep_freed_memory, train


def one_thread() -> None:
    """Set this process up as a simulation does (:func:`mri_aug.study.simulation.simulate`)."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def images_per_second(work: Path, *, processes: int, n_images: int, repeats: int) -> list[float]:
    """Return the training images per second of all processes together, one number per repeat.

    Each repeat is one call of ``train``, its preparations included, by every process at the same moment; it has
    taken as long as the slowest. A short one before them warms up and is not counted.
    """
    n_steps = max(1, n_images // BATCH_SIZE)
    seconds = side_by_side(_train_seconds, processes, work, n_images, n_steps, repeats)
    return [processes * n_steps * BATCH_SIZE / max(together) for together in zip(*seconds, strict=True)]


def _train_seconds(meet: Callable, work: Path, n_images: int, n_steps: int, repeats: int) -> list[float]:
    one_thread()
    image_set, config = repeated(read_images(work), n_images), TrainConfig(batch_size=BATCH_SIZE)
    train(
        make_model("cnn", seed=0, image_size=image_set.size), image_set, seed=0, config=config, n_steps=min(4, n_steps)
    )
    seconds = []
    for repeat in range(repeats):
        model = make_model("cnn", seed=repeat, image_size=image_set.size)
        meet()
        start = time.perf_counter()
        train(model, image_set, seed=repeat, config=config, n_steps=n_steps)
        seconds.append(time.perf_counter() - start)
    return seconds


def step_seconds(image_set, *, n_steps: int, repeats: int = 1) -> tuple[float, float]:
    """Return seconds per training step, and of all that a training does once, in this process.

    From trainings of ``n_steps`` and of three times as many; the least of the repeats.
    """
    config, model = TrainConfig(batch_size=BATCH_SIZE), make_model("cnn", seed=0)
    train(model, image_set[: 2 * BATCH_SIZE], seed=0, config=config, n_steps=3)
    short, long = [], []
    for _ in range(repeats):
        for seconds, steps in ((short, n_steps), (long, 3 * n_steps)):
            start = time.perf_counter()
            train(model, image_set, seed=0, config=config, n_steps=steps)
            seconds.append(time.perf_counter() - start)
    per_step = (min(long) - min(short)) / (2 * n_steps)
    return per_step, min(short) - n_steps * per_step
