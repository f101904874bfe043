"""The one dataset type: images, labels and people as tensors; a subset is an index. Kept on disk where asked."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mri_aug import provenance

IMAGE_SIZE = 128  # pixels, height and width of the images that are loaded, simulated and generated
SMALL_SIZE = 64  # of those that a study may train on instead, a quarter of the cost
IMAGE_SIZES = (SMALL_SIZE, IMAGE_SIZE)
_PICTURE = (1, IMAGE_SIZE, IMAGE_SIZE)
# type of each tensor, and its shape beyond the first dimension
_FORMS = {
    "images": (torch.uint8, _PICTURE), "labels": (torch.int64, ()), "subjects": (torch.int64, ()),
    "source_ids": (torch.int64, ()), "published_test": (torch.bool, ()), "severity": (torch.float32, ()),
    "atrophy": (torch.bool, _PICTURE),
}  # fmt: skip
CLASS_NAMES = ("Non demented", "Very mildly demented", "Mildly demented", "Moderately demented")


@dataclass(frozen=True, repr=False, eq=False)
class ImageSet:
    """Grey images with their labels and the people that they show; index it as a 1-D tensor to get a subset.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, 128, 128)
        Or 64 x 64, of :meth:`resized`.
    labels, subjects, source_ids : Tensor of int64, shape (n,)
        Places in ``class_names``; the person each image shows, -1 where unknown; and the real image that each derives
        from, its own number for a real one, -1 for none.
    class_names, ordered : tuple of str, bool
        From the least to the most severe, where they are ordered; kinds of tumour, for example, are not.
    published_test : Tensor of bool, shape (n,), optional
        True for the images in the dataset's own test split, where it has one.
    severity, atrophy : Tensor of float32, shape (n,), and of bool, shape (n, 1, 128, 128), optional
        Degree of atrophy in [0, 1], and where tissue was lost to it; known for phantoms only.
    notes : tuple of str
        What was done to the source on the way in, one sentence each (resizing, for example).

    Raises
    ------
    ValueError
        If shapes or types disagree with the above, or a label has no class name.
    """

    images: Tensor
    labels: Tensor
    subjects: Tensor
    source_ids: Tensor
    class_names: tuple[str, ...] = CLASS_NAMES
    published_test: Tensor | None = None
    severity: Tensor | None = None
    atrophy: Tensor | None = None
    notes: tuple[str, ...] = ()
    ordered: bool = True

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _FORMS and not (field.default is None and value is None):
                _check_form(field.name, value)
        for name, tensor in self._tensors.items():
            if len(tensor) != len(self):
                raise ValueError(f"{name} has {len(tensor)} entries for {len(self)} images")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.n_classes:
            raise ValueError(f"labels must lie in 0..{self.n_classes - 1}, got {self.labels.unique().tolist()}")

    @property
    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        people = int(self.subjects[self.subjects >= 0].unique().numel())
        counts = ", ".join(f"{count} {name.lower()}" for name, count in self.class_counts().items())
        return " ".join([f"ImageSet({len(self)} images of {people or 'unknown'} people: {counts})", *self.notes])

    def __getitem__(self, index) -> ImageSet:
        """Return the subset at ``index`` (integer array, boolean array or slice)."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            if index.ndim != 1:
                raise IndexError(f"index an ImageSet with a 1-D array or a slice, got shape {tuple(index.shape)}")
        return replace(self, **{name: tensor[index] for name, tensor in self._tensors.items()})

    def __getstate__(self) -> dict[str, object]:
        """Hand tensors over as arrays, the same ones each time: joblib then maps them into its processes, uncopied."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | self._arrays

    def __setstate__(self, state: dict[str, object]) -> None:
        tensors = {name: torch.from_numpy(v) for name, v in state.items() if isinstance(v, np.ndarray)}
        self.__dict__.update({**state, **tensors})

    def __sizeof__(self) -> int:
        """Count the tensors: Dask then sends an image set to a worker once, and not with every task."""
        return object.__sizeof__(self) + sum(tensor.nbytes for tensor in self._tensors.values())

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self._tensors.items()}

    @property
    def n_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.images.shape[-1]

    def resized(self, size: int) -> ImageSet:
        """Return the same images at 64 x 64, each pixel the mean of four, or this set where it has that size.

        Raises a ValueError if the size is neither 64 nor 128, or larger than that of the images.
        """
        if size not in IMAGE_SIZES or size > self.size:
            raise ValueError(f"image_size must be one of {IMAGE_SIZES} and at most {self.size}, got {size!r}")
        if size == self.size:
            return self
        parts = [functional.avg_pool2d(part.float(), 2).round_().byte() for part in self.images.split(256)]
        images = torch.cat(parts) if parts else self.images[:, :, :size, :size]
        return replace(self, images=images, atrophy=None)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when an image, label or subject does, or the order of classes."""
        digest = hashlib.sha256(("|".join(self.class_names) + "\0unordered" * (not self.ordered)).encode())
        for name, tensor in self._tensors.items():
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def join(self, other: ImageSet) -> ImageSet:
        """Return this set's images followed by another's; what only phantoms know of an image is not kept."""
        names = ("images", "labels", "subjects", "source_ids")
        joined = {name: torch.cat([getattr(part, name) for part in (self, other)]) for name in names}
        return ImageSet(**joined, class_names=self.class_names, ordered=self.ordered)

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class, in the order of ``class_names``."""
        counts = torch.bincount(self.labels, minlength=self.n_classes)
        return dict(zip(self.class_names, counts.tolist(), strict=True))


def _check_form(name: str, value: object) -> None:
    dtype, rest = _FORMS[name]
    shape = f"(n, {', '.join(map(str, rest))})" if rest else "(n,)"
    wanted = f"{name} must be {str(dtype).removeprefix('torch.')} of shape {shape}"
    if not isinstance(value, Tensor):
        raise ValueError(f"{wanted}, as a tensor, got {type(value).__name__}")
    small = name == "images" and tuple(value.shape[1:]) == (1, SMALL_SIZE, SMALL_SIZE)
    if value.dtype != dtype or value.ndim != 1 + len(rest) or not (small or tuple(value.shape[1:]) == rest):
        raise ValueError(f"{wanted}, got {value.dtype} of shape {tuple(value.shape)}")


def cached_image_set(path: Path, build: Callable[[], ImageSet]) -> ImageSet:
    """Return the image set kept in an ``.npz`` file, or build it and keep it there; warn of a damaged file."""
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays.files}
            others = {name: tuple(values.pop(name).tolist()) for name in ("class_names", "notes")}
            others["ordered"] = bool(values.pop("ordered", True))  # not in files of earlier versions
            return ImageSet(**{name: torch.from_numpy(array) for name, array in values.items()}, **others)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"the cache file {path} is damaged ({error}) and is being remade", stacklevel=2)
    image_set = build()
    known = {name: value for name, value in image_set.__getstate__().items() if value is not None}
    with provenance.atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **known)
    return image_set
