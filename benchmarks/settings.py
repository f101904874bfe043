"""What a run of the benchmarks measures on: images prepared once, and how much of everything.

Prepares the data; it measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mri_aug.data.imageset import ImageSet, cached_image_set
from mri_aug.models.training import TrainConfig

BATCH_SIZE = 64  # images per step, of every contender


@dataclass(frozen=True)
class Settings:
    """The choices of one run."""

    work: Path  # folder that :func:`prepare` filled
    quick: bool = False  # tiny sizes: does it run, not how fast
    full: bool = False  # whole simulations of the frameworks too
    seeds: int = 5  # simulations of each contender
    epochs: int = 14  # passes over the training images in a whole simulation; ours may do with fewer

    def size(self, default: int, quick: int) -> int:
        """Return ``default``, or the tiny size where only the workings are tested."""
        return quick if self.quick else default

    @property
    def repeats(self) -> int:
        """How often a timing is repeated; the median of them is reported."""
        return self.size(3, 2)

    def images(self) -> ImageSet:
        """Return the images of this run."""
        return read_images(self.work)

    @property
    def folder(self) -> Path:
        """The same images as PNG files, one folder a class; the file's name is the image's number."""
        return self.work / "images"


def precision() -> str:
    """Return the type that the engine multiplies in on this machine: "bfloat16" or "float32"."""
    return TrainConfig().resolved_precision()


def prepare(image_set: ImageSet, work: Path) -> None:
    """Write the images below ``work`` twice: as one array, and as files in a folder per class."""
    cached_image_set(work / "images.npz", lambda: image_set)
    for label, name in enumerate(image_set.class_names):
        folder = work / "images" / f"{label} {name}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in np.flatnonzero(image_set.labels.numpy() == label):
            Image.fromarray(image_set.images[number, 0].numpy()).save(folder / f"{number:06d}.png")


def read_images(work: Path) -> ImageSet:
    """Return what :func:`prepare` wrote.

    Raises
    ------
    FileNotFoundError
        If it was never called for this folder.
    """
    file = work / "images.npz"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: the benchmarks prepare it when they start")
    return cached_image_set(file, lambda: None)


def repeated(image_set: ImageSet, n: int) -> ImageSet:
    """Return ``n`` images: the given ones, over and over, without a phantom's atrophy, as large as its image."""
    return replace(image_set, severity=None, atrophy=None)[torch.arange(n) % len(image_set)]
