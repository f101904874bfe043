"""What a generator of synthetic images is, and how one is made by name.

Each kind lives in a module of its own, which is imported when it is first asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE, ImageSet


@runtime_checkable
class ImageGenerator(Protocol):
    """What a study asks of a maker of synthetic images.

    Attributes
    ----------
    name : str
        The name it has in a ``Condition``.
    fingerprint : str
        Hexadecimal digits that change when its output would: options, version, and what it was fitted on.
    learns_from_study : bool
        True where it must be fitted on the study's training images before use; see :class:`LearningGenerator`.
    reproducible : bool
        True where the same images, labels and seed give the same bytes again; False for a remote service.
    """

    name: str
    fingerprint: str
    learns_from_study: bool
    reproducible: bool

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 of the images' shape (n, 1, 128, 128)."""


@runtime_checkable
class LearningGenerator(ImageGenerator, Protocol):
    """A generator that is fitted on training images, and on those only."""

    def fit(self, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int) -> ImageGenerator:
        """Return a new, fitted generator; this one stays as it is."""


@runtime_checkable
class PeopleGenerator(ImageGenerator, Protocol):
    """A generator whose images show new people and derive from no real image; ``vary`` uses the labels alone.

    Attributes
    ----------
    makes_people : bool
        True.
    """

    makes_people: bool

    def draw(self, labels: Tensor, *, seed: int) -> ImageSet:
        """Return one image per label, with ``source_ids`` of -1 and people numbered from 0."""


@dataclass(frozen=True)
class Answer:
    """What came of the request for one variation.

    Parameters
    ----------
    position : int
        Of the image in the batch that was asked for.
    pixels : Tensor of uint8, shape (1, 128, 128), optional
        None where the service refuses to vary this image, which is final.
    record : mapping
        Provenance, expressible as JSON: for a service ``model``, ``server``, ``prompt``, ``request_id``, ``usage``,
        ``usd`` and, of a refusal, ``refused`` (the reason). No key, no host name beyond the server's address.
    """

    position: int
    pixels: Tensor | None
    record: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class StreamingGenerator(ImageGenerator, Protocol):
    """A generator whose variations arrive, and cost, one by one.

    Attributes
    ----------
    usd_per_image : float
        An upper bound of what one request may cost; 0 where nothing is billed.
    seconds_per_image : float
        What to expect of one request, for an estimate.
    concurrency : int
        Requests in flight at a time.
    """

    usd_per_image: float
    seconds_per_image: float
    concurrency: int

    def stream(self, images: Tensor, labels: Tensor, *, seed: int) -> Iterator[Answer]:
        """Yield one answer per image as each arrives, in any order; closing the iterator stops what is not sent.

        An error that ends it may have an attribute ``failures``, a tuple of answers without pixels: what is known, and
        was perhaps billed, of requests that came to nothing.
        """


class RefusedVariationsError(LookupError):
    """A service refuses to vary some images, finally; the others can be had by asking again without those.

    Attributes
    ----------
    positions : tuple of int
        Of the refused images in the batch.
    """

    def __init__(self, message: str, positions: Sequence[int] = ()):  # with a default, so that it can be unpickled
        super().__init__(message)
        self.positions = tuple(positions)


def fit_generator(
    generator: ImageGenerator, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int
) -> ImageGenerator:
    """Return the generator ready for use: fitted on the training images if it learns, else itself.

    Parameters
    ----------
    generator : ImageGenerator
    images : Tensor of uint8, shape (n, 1, 128, 128)
        The images that the simulation trains on, and no others.
    labels, subjects : Tensor of int64, shape (n,)
        Class and person of each image; person -1 where unknown.
    seed : int
        Of the draws made while fitting.
    """
    return generator.fit(images, labels, subjects, seed=seed) if generator.learns_from_study else generator


def check_images(images: Tensor, labels: Tensor, subjects: Tensor | None = None) -> None:
    """Raise ValueError unless images are uint8 (n, 1, 128, 128) with n integer labels (and n integer subjects)."""
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(
            f"images must be uint8 of shape (n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}), got {images.dtype} of shape {shape}; "
            "load_images brings any source to that form"
        )
    for name, tensor in (("labels", labels), ("subjects", subjects)):
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape[:1] or tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise ValueError(
                f"{name} must be one integer per image, {shape[0]} in all, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
            )


def image_digests(images: Tensor) -> list[str]:
    """Return the SHA-256 of each image's pixels in hexadecimal: the name of an image by its content."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images.contiguous().numpy()]


def make_fingerprint(*parts: object) -> str:
    """Return sixteen hexadecimal digits that change when any part does; parts must be expressible as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def variation_rngs(digests: Sequence[str], labels: Tensor, *, seed: int) -> list[np.random.Generator]:
    """Return one random stream per image, set by the seed and the image rather than by its place in the batch.

    The k-th copy of an image in one call gets the k-th stream of that image, so that several variations of one
    image differ, while neither the order of a batch nor the other images in it change any variation.

    Parameters
    ----------
    digests : sequence of str, length n
        From :func:`image_digests`.
    labels : Tensor of int64, shape (n,)
    seed : int
        Non-negative.

    Raises
    ------
    ValueError
        If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed}")
    copies: Counter[tuple[str, int]] = Counter()
    rngs = []
    for key in zip(digests, labels.tolist(), strict=True):
        entropy = [seed, int(key[0], 16), key[1], copies[key]]
        rngs.append(np.random.default_rng(np.random.SeedSequence(entropy)))
        copies[key] += 1
    return rngs


GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "diffusion": "mri_aug.generators.diffusion.generator:DiffusionGenerator",
        "duplicate": "mri_aug.generators.duplicate:DuplicateGenerator",
        "hub": "mri_aug.generators.hub:HubGenerator",
        "morph": "mri_aug.generators.morph:MorphGenerator",
        "openai-edits": "mri_aug.generators.openai.generators:OpenAIEditsGenerator",
        "openai-variations": "mri_aug.generators.openai.generators:OpenAIVariationsGenerator",
        "simulated": "mri_aug.generators.simulated:SimulatedGenerator",
    }
)


def make_generator(name: str, **options) -> ImageGenerator:
    """Return the generator of that name.

    Parameters
    ----------
    name : str
        A key of ``GENERATORS``.
    **options
        Of that generator; its class documents them.

    Raises
    ------
    ValueError
        If the name or an option is unknown (the known ones are listed), or an option's value is out of range or of
        the wrong type.
    ImportError
        If the kind needs a package that is not installed.

    Examples
    --------
    >>> make_generator("duplicate").learns_from_study
    False
    """
    kind = generator_kind(name)
    known = [field.name for field in fields(kind) if field.init and not field.name.startswith("_")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"generator {name!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'no options'}"
        )
    try:
        return kind(**options)
    except (TypeError, AttributeError) as error:  # its checks expect the types that its class documents
        given = ", ".join(f"{option}={value!r}" for option, value in options.items()) or "no options"
        raise ValueError(
            f"generator {name!r} cannot be made with {given} ({error}); give each option the type that "
            f"{kind.__name__} documents"
        ) from error


def generator_kind(name: str) -> type:
    """Return the class of that name in ``GENERATORS``; errors are those of :func:`make_generator`."""
    module = generator_module(name)
    return getattr(importlib.import_module(module), GENERATORS[name].partition(":")[2])


def generator_module(name: str) -> str:
    """Return the dotted name of the module that a kind is in, without importing it.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in GENERATORS:
        raise ValueError(f"no generator is called {name!r}; the known ones are {', '.join(sorted(GENERATORS))}")
    return GENERATORS[name].partition(":")[0]
