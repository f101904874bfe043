"""Image sets kept on disk, so that decoding or simulating them is paid for once.

A cache file is one uncompressed ``.npz``, written under a temporary name and moved into
place, so that a killed process never leaves half a file under the final name. This module
does not decide what belongs to a key.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mri_aug.imageset import ImageSet


def cached_image_set(path: Path, build: Callable[[], ImageSet]) -> ImageSet:
    """Return the image set kept at ``path``, or build it and keep it there.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``; its folder is made where missing.
    build : callable
        Makes the image set where the file is absent or damaged.

    Warns
    -----
    UserWarning
        If the file is damaged: it is named, and remade.
    """
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"the cache file {path} is damaged ({error}) and is being remade", stacklevel=2)
    image_set = build()
    _write(path, image_set)
    return image_set


def _read(path: Path) -> ImageSet:
    with np.load(path, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    texts = {name: tuple(values.pop(name).tolist()) for name in ("class_names", "notes")}
    return ImageSet(**{name: torch.from_numpy(array) for name, array in values.items()}, **texts)


def _write(path: Path, image_set: ImageSet) -> None:
    values = {field.name: getattr(image_set, field.name) for field in fields(image_set)}
    arrays = {name: value.numpy() for name, value in values.items() if isinstance(value, Tensor)}
    texts = {name: np.array(values[name], dtype=str) for name in ("class_names", "notes")}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        np.savez(temporary, **arrays, **texts)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
