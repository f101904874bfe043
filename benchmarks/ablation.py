"""What each of the engine's gains is worth: added one by one to a plain loop, and taken away one at a time.

The loop here is the engine's with switches, so that each can be turned off; a row for the library's own ``train``
shows that nothing else is missing. It learns nothing worth keeping: only its pace is looked at.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path

import joblib
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import engine
from benchmarks.processes import side_by_side
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings, precision, read_images, repeated
from mri_aug.models.networks import make_model
from mri_aug.models.training import keep_freed_memory


@dataclass(frozen=True)
class Gains:
    """Which of the gains are switched on, in the order in which they are added."""

    indexing: bool = False  # batches are an index into one tensor, not collated from single images
    relu_after_pooling: bool = False  # the same function with a quarter of the values
    in_parts: bool = False  # 16 images at a time through the convolutions: their activations stay in the cache
    fused_adam: bool = False  # one pass over the weights, not a dozen
    channels_last: bool = False  # the order in which the processor's convolutions read
    bfloat16: bool = False  # half the bytes, and the processor's own multiply instructions
    kept_memory: bool = False  # no page faults for the same blocks at every step
    processes: bool = False  # one single-threaded process per core, not one process with a thread per core


NAMES = {
    "indexing": "batches by index",
    "relu_after_pooling": "ReLU after pooling",
    "in_parts": "convolutions by parts of a batch",
    "fused_adam": "fused Adam",
    "channels_last": "channels last",
    "bfloat16": "bfloat16 autocast",
    "kept_memory": "freed memory kept",
    "processes": "a process per core",
}


def available() -> list[str]:
    """Return the gains that the engine uses on this machine: bfloat16 where the processor multiplies in it."""
    return [field.name for field in fields(Gains) if field.name != "bfloat16" or precision() == "bfloat16"]


def measure(settings: Settings) -> Tables:
    """Measure the plain loop, each gain added to those before it, and each taken away from all."""
    every = Gains(**dict.fromkeys(available(), True))
    cumulative, gains = [], Gains()
    pace = {gains: _images_per_second(settings, gains)}
    cumulative.append({"step": "plain loop in memory", "images_per_second": pace[gains], "factor": 1.0})
    for name in available():
        before, gains = gains, replace(gains, **{name: True})
        pace[gains] = _images_per_second(settings, gains)
        row = {"images_per_second": pace[gains], "factor": pace[gains] / pace[before]}
        cumulative.append({"step": NAMES[name]} | row)
    removed = []
    for name in available():
        gains = replace(every, **{name: False})
        if gains not in pace:
            pace[gains] = _images_per_second(settings, gains)
        row = {"images_per_second": pace[gains], "factor": pace[every] / pace[gains]}
        removed.append({"without": NAMES[name]} | row)
    own = engine.images_per_second(
        settings.work, processes=joblib.cpu_count(), n_images=_n_images(settings), repeats=settings.repeats
    )
    reference = [{"loop": "all gains", "images_per_second": pace[every]},
                 {"loop": "the library's train", "images_per_second": statistics.median(own)}]  # fmt: skip
    return {"cumulative": cumulative, "removed": removed, "reference": reference}


def _n_images(settings: Settings) -> int:
    return settings.size(12, 1) * BATCH_SIZE


def _images_per_second(settings: Settings, gains: Gains) -> float:
    cores, n_images = joblib.cpu_count(), _n_images(settings)
    processes, threads = (cores, 1) if gains.processes else (1, cores)
    seconds = side_by_side(_epoch_seconds, processes, settings.work, gains, threads, n_images, settings.repeats)
    return processes * n_images / statistics.median(max(together) for together in zip(*seconds, strict=True))


def _epoch_seconds(meet: Callable, work: Path, gains: Gains, threads: int, n_images: int, repeats: int) -> list[float]:
    """Return the seconds of each pass over the images; one before them warms up."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if gains.kept_memory:
        keep_freed_memory()
    image_set = repeated(read_images(work), n_images)
    model, batches = _model(gains), _batches(image_set.images, image_set.labels, gains)
    fused = {"fused": True} if gains.fused_adam else {}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, **fused)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=(repeats + 1) * n_images)
    seconds = []
    for _ in range(repeats + 1):
        meet()
        start = time.perf_counter()
        for images, labels in batches():
            _step(model, images, labels, gains, optimiser)
            schedule.step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def _model(gains: Gains) -> nn.Module:
    model = make_model("cnn", seed=0)
    if not gains.relu_after_pooling:
        conv1, pool1, relu1, conv2, pool2, relu2 = model.features
        model.features = nn.Sequential(conv1, relu1, pool1, conv2, relu2, pool2)
    if not gains.in_parts:
        model.part_size = BATCH_SIZE
    return model.to(memory_format=torch.channels_last) if gains.channels_last else model


def _step(model: nn.Module, images: Tensor, labels: Tensor, gains: Gains, optimiser) -> None:
    if gains.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16) if gains.bfloat16 else nullcontext():
        logits = model(images)
    loss = functional.cross_entropy(logits.float(), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _batches(images: Tensor, labels: Tensor, gains: Gains) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    if not gains.indexing:
        loader = DataLoader(TensorDataset(images.float().div(127.5).sub(1), labels), BATCH_SIZE, shuffle=True)
        return lambda: iter(loader)
    rng = torch.Generator().manual_seed(0)

    def by_index() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(len(images), generator=rng).split(BATCH_SIZE):
            yield images[index].float().div_(127.5).sub_(1), labels[index]

    return by_index
