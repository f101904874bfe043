"""What every contender is given, and what it must give back.

A task is a split of the prepared images and a seed; it says nothing of how to train.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.settings import read_images
from mri_aug.data.imageset import IMAGE_SIZE, ImageSet


@dataclass(frozen=True)
class Task:
    """Train on some of the prepared images, and test on others (or on none)."""

    work: Path  # folder of the prepared images
    train: tuple[int, ...]  # numbers of the training images, possibly repeated
    test: tuple[int, ...]
    epochs: int
    seed: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    image_size: int = IMAGE_SIZE  # pixels, of the prepared images

    def images(self) -> ImageSet:
        return read_images(self.work)

    def files(self, numbers: Sequence[int]) -> list[str]:
        """Return the paths of images by number."""
        by_number = {int(path.stem): str(path) for path in (self.work / "images").glob("*/*.png")}
        return [by_number[number] for number in numbers]


@dataclass(frozen=True)
class Outcome:
    """What a contender reports."""

    epoch_seconds: tuple[float, ...]  # of training alone, each epoch
    seconds: float  # from the images on disk or in memory to the evaluated test part, imports left out
    test_cross_entropy: float | None  # nats; None where there is no test part


@dataclass
class Clock:
    """Collects the seconds of each epoch."""

    began: float = field(default_factory=time.perf_counter)
    epochs: list[float] = field(default_factory=list)
    _epoch: float = 0.0

    def start_epoch(self) -> None:
        self._epoch = time.perf_counter()

    def end_epoch(self) -> None:
        self.epochs.append(time.perf_counter() - self._epoch)

    def outcome(self, test_cross_entropy: float | None) -> Outcome:
        return Outcome(tuple(self.epochs), time.perf_counter() - self.began, test_cross_entropy)


class PlainCNN(nn.Sequential):
    """The thesis's network as its chapter 5 draws it: ReLU before pooling, PyTorch's own initial weights."""

    def __init__(self, n_classes: int = 4, image_size: int = IMAGE_SIZE):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (image_size // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, n_classes),
        )  # fmt: skip


def fit_in_plain_loop(model: nn.Module, batches: Callable[[], object], n_batches: int, task: Task, clock: Clock):
    """Train as the PyTorch tutorials do: Adam, one-cycle learning rate, float32.

    ``batches()`` gives an epoch's pairs of images and labels.
    """
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=task.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, task.learning_rate, total_steps=max(2, task.epochs * n_batches)
    )
    for _ in range(task.epochs):
        clock.start_epoch()
        for images, labels in batches():
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
            schedule.step()
        clock.end_epoch()


@torch.no_grad()
def evaluate_in_plain_loop(model: nn.Module, batches: Callable[[], object]) -> float | None:
    """Return the mean cross-entropy over all batches' images; None if there are none."""
    model.eval()
    losses: list[Tensor] = [
        functional.cross_entropy(model(images), labels, reduction="none") for images, labels in batches()
    ]
    return float(torch.cat(losses).mean()) if losses else None


def cross_entropy(log_probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean of -log p of the true class; None for no images."""
    if not len(labels):
        return None
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def own_cache(task: Task, variable: str) -> None:
    """Point a framework's folder in the home directory at the benchmark's, so that nothing is left behind."""
    os.environ[variable] = str(task.work / variable.lower())
