"""Sources of images as users have them, made of noise in milliseconds."""

from __future__ import annotations

import io
from itertools import count
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

FOUR = ("Non_Demented", "Very_Mild_Demented", "Mild_Demented", "Moderate_Demented")
ALPHABETICAL = sorted(FOUR)


def picture(seed: int = 0, *, size=(128, 128), mode="L") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, size=size[::-1], dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, path: str | None = None) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": path}


class Header(dict):
    """A stand-in for pydicom's data sets."""

    __getattr__ = dict.__getitem__


def tree(folder: Path, template: str, classes=FOUR, *, people: int = 2, slices: int = 2, **options) -> Path:
    """Write a picture for each class ``c``, person ``p`` (counted on) or ``q`` (anew in each class) and slice ``k``."""
    people_so_far, seed = count(1), count(options.pop("seed", 0))
    for name in classes:
        for q in range(1, people + 1):
            p = next(people_so_far)
            for k in range(slices):
                file = folder / template.format(c=name, p=p, q=q, k=k)
                file.parent.mkdir(parents=True, exist_ok=True)
                picture(next(seed), **options).save(file)
    return folder


def hub_folder(folder: Path, splits: dict[str, list[int | None]], names=ALPHABETICAL, *, image="image") -> Path:
    """Write a dataset in the hub's layout, the images of each split given by their labels; None is an empty row."""
    features = datasets.Features({image: datasets.Image(), "label": datasets.ClassLabel(names=names)})
    seed = count()
    for split, labels in splits.items():
        images = [None if label is None else encoded(picture(next(seed))) for label in labels]
        parquet(folder, {image: images, "label": labels}, features=features, split=split)
    return folder


def parquet(folder: Path, rows: dict, *, features=None, split="train", under="data") -> Path:
    """Write one parquet file."""
    (folder / under).mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_dict(rows, features=features)
    table.to_parquet(str(folder / under / f"{split}-00000-of-00001.parquet"))
    return folder
