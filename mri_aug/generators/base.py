"""What a generator of synthetic images is, how one is made by name, and the control that any has to beat.

Each other kind lives in a module of its own, which is imported when it is first needed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Protocol, Union, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE, ImageSet


@runtime_checkable
class ImageGenerator(Protocol):
    """A maker of synthetic images, as a study uses it.

    A generator may also have an attribute ``card``, a mapping of text with the keys ``"learns from"``,
    ``"who sees the images"`` and ``"licence and limits"``: facts about its kind for its generation card.
    """

    name: str  # in a `Condition`
    fingerprint: str  # hexadecimal digits that follow all that its output does: options, version, what it was fitted on
    learns_from_study: bool  # whether it must be fitted on the study's training images before use
    reproducible: bool  # whether the same images, labels and seed give the same bytes again, unlike a remote service's

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 of the images' shape (n, 1, 128, 128)."""


@runtime_checkable
class LearningGenerator(ImageGenerator, Protocol):
    """A generator that is fitted on training images, and on those only."""

    def fit(self, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int) -> ImageGenerator:
        """Return a new, fitted generator; this one stays as it is."""


@runtime_checkable
class PeopleGenerator(ImageGenerator, Protocol):
    """A generator whose images show new people and derive from no real image; ``vary`` uses the labels alone."""

    makes_people: bool  # True

    def draw(self, labels: Tensor, *, seed: int) -> ImageSet:
        """Return one image per label, with ``source_ids`` of -1 and people numbered from 0."""


@dataclass(frozen=True)
class Request:
    """One image to be varied."""

    position: int  # the caller's number for it, returned with the answer
    image: Tensor  # uint8, shape (1, 128, 128)
    label: int


@dataclass(frozen=True)
class Answer:
    """The outcome of a request.

    ``record`` is its provenance, expressible as JSON: for a service ``model``, ``server``, ``prompt``, ``request_id``,
    ``usage``, ``usd`` and, of a refusal, ``refused`` (the reason). No key, no host name beyond the server's address.
    """

    position: int
    pixels: Tensor | None  # uint8, shape (1, 128, 128); None where the service refuses this image, which is final
    record: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class StreamingGenerator(ImageGenerator, Protocol):
    """A generator whose variations arrive, and cost, one by one."""

    usd_per_image: float  # an upper bound of what one request may cost; 0 where nothing is billed
    seconds_per_image: float  # expected duration of one request, for an estimate
    concurrency: int  # requests in flight at a time

    def check_labels(self, labels: Iterable[int]) -> None:
        """Raise ValueError if an image of one of these classes could not be requested; called before any request."""

    def stream(self, requests: Iterable[Request], *, seed: int) -> Iterator[Answer]:
        """Yield one answer per request as it arrives, in any order.

        A request is taken from ``requests`` just before it is sent, and none while an answer is with the caller:
        the caller decides, one by one, what is sent, and knows what is in flight. Closing the iterator sends
        nothing more. An error that ends it may have an attribute ``failures``, a tuple of answers without pixels: what
        is known, and was perhaps billed, of requests that failed.
        """


class RefusedVariationsError(LookupError):
    """A service refuses to vary the images at ``positions``, finally; the others can be had by asking without those."""

    def __init__(self, message: str, positions: Sequence[int] = ()):  # with a default, so that it can be unpickled
        super().__init__(message)
        self.positions = tuple(positions)


class PromptedGenerator:
    """What streaming generators share: a prompt for all classes, one per class or none, and whole batches."""

    prompt: str | tuple[str, ...] | None = None

    def prompts(self) -> tuple[str, ...]:
        """Return the prompts: none, one for all classes, or one per class."""
        return (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt or ())

    def prompt_of(self, label: int) -> str | None:
        """Return the prompt for an image of a class; ValueError if there are several, and none for this class."""
        prompts = self.prompts()
        if len(prompts) <= 1:
            return prompts[0] if prompts else None
        if not 0 <= label < len(prompts):
            raise ValueError(
                f"there are {len(prompts)} prompts, one per class from 0, got an image of class {label}; give one "
                "prompt for every class, or one for all"
            )
        return prompts[label]

    def check_labels(self, labels: Iterable[int]) -> None:
        """Raise ValueError if one of the classes has no prompt."""
        for label in sorted(set(labels)):
            self.prompt_of(label)

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 (n, 1, 128, 128).

        Answers are lost where this raises: use a bank for more than a few images. Errors are those of the generator's
        ``stream``, ValueError if a class has no prompt, and RefusedVariationsError if some images are refused.
        """
        check_images(images, labels)
        self.check_labels(labels.tolist())
        if not len(images):
            return images.clone()
        requests = (Request(*row) for row in zip(range(len(images)), images, labels.tolist(), strict=True))
        variations, refused = torch.zeros_like(images), {}
        with closing(self.stream(requests, seed=seed)) as answers:
            for answer in answers:
                if answer.pixels is None:
                    refused[answer.position] = answer.record["refused"]
                else:
                    variations[answer.position] = answer.pixels
        if refused:
            first = min(refused)
            raise RefusedVariationsError(
                f"{self.name} refuses to vary {len(refused)} of {len(images)} images "
                f"({count_by_class(labels[sorted(refused)].tolist())}); image {first}: {refused[first]}",
                sorted(refused),
            )
        return variations


def count_by_class(labels: Iterable[int]) -> str:
    """Return counts in words, such as "2 of class 1, 1 of class 3"."""
    return ", ".join(f"{n} of class {label}" for label, n in sorted(Counter(labels).items()))


def fit_generator(
    generator: ImageGenerator, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int
) -> ImageGenerator:
    """Return the generator ready for use: fitted on the images that a simulation trains on if it learns, else itself.

    Images are uint8 (n, 1, 128, 128), with a class and a person (-1 where unknown) each; ``seed`` is of the fitting.
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
    given = {"labels": labels} if subjects is None else {"labels": labels, "subjects": subjects}
    for name, tensor in given.items():
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


def variation_numbers(digests: Iterable[str], labels: Iterable[int]) -> Iterator[int]:
    """Yield, for each image (by :func:`image_digests`), how often it came before with the same label."""
    seen: Counter[tuple[str, int]] = Counter()
    for image in zip(digests, labels, strict=True):
        yield seen[image]
        seen[image] += 1


def variation_rngs(digests: Sequence[str], labels: Tensor, *, seed: int) -> list[np.random.Generator]:
    """Return one random stream per image, set by the seed and the image rather than by its place in the batch.

    The k-th occurrence of an image in one call gets the k-th stream of that image, so that several variations of one
    image differ, while neither the order of a batch nor the other images in it change any variation. ``digests`` are
    those of :func:`image_digests`; ValueError if the seed is negative.
    """
    numbers = variation_numbers(digests, labels.tolist())
    images = zip(digests, labels.tolist(), numbers, strict=True)
    return [variation_rng(digest, label, seed=seed, repeat=number) for digest, label, number in images]


def variation_rng(digest: str, label: int, *, seed: int, repeat: int) -> np.random.Generator:
    """Return the random stream of an image's variation number ``repeat`` in a call; see :func:`variation_rngs`."""
    if seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed}")
    return np.random.default_rng(np.random.SeedSequence([seed, int(digest, 16), label, repeat]))


@dataclass(frozen=True)
class DuplicateGenerator:
    """Return each image unchanged: the control, which adds training steps and no information."""

    name = "duplicate"
    learns_from_study = False
    reproducible = True
    fingerprint = make_fingerprint(name)
    card = MappingProxyType(
        {
            "learns from": "nothing",
            "who sees the images": "nobody: it runs here",
            "licence and limits": "as the dataset; a control, no synthetic image at all",
        }
    )

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return the images once more, uint8 (n, 1, 128, 128); labels and seed have no effect."""
        check_images(images, labels)
        return images.clone()


GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "diffusion": "mri_aug.generators.diffusion.generator:DiffusionGenerator",
        "duplicate": "mri_aug.generators.base:DuplicateGenerator",
        "hub": "mri_aug.generators.hub:HubGenerator",
        "morph": "mri_aug.generators.morph:MorphGenerator",
        "openai-edits": "mri_aug.generators.openai.generators:OpenAIEditsGenerator",
        "openai-variations": "mri_aug.generators.openai.generators:OpenAIVariationsGenerator",
        "simulated": "mri_aug.generators.simulated:SimulatedGenerator",
    }
)


def make_generator(name: str, **options) -> ImageGenerator:
    """Return the generator of that name.

    Options are those of its class. A list serves as a tuple, and a mapping as a dataclass such as ``Prices``, so that
    every option can be given as JSON. ValueError if the name or an option is unknown, or a value of the wrong type or
    out of range.

    Examples
    --------
    >>> make_generator("duplicate").learns_from_study
    False
    """
    return _make(generator_kind(name), options, f"generator {name!r}")


def _make(kind: type, options: Mapping[str, object], what: str) -> object:
    """Return an instance of a dataclass, with each option brought to the type of its field."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.init and not field.name.startswith("_")]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{what} has no option {', '.join(unknown)}; it has {', '.join(known) or 'no options'}")
    given = {option: _converted(value, hints[option], f"{option} of {what}") for option, value in options.items()}
    try:
        return kind(**given)
    except TypeError as error:  # an option without a default
        raise ValueError(f"{what} cannot be made: {error}") from None


def _converted(value: object, kind: object, what: str) -> object:
    """Return a value, such as JSON gives, as an instance of an annotation; raise ValueError where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
    if origin in (Union, UnionType):
        for one in inner:
            with suppress(ValueError):
                return _converted(value, one, what)
    elif is_dataclass(kind) and isinstance(value, Mapping):
        return _make(kind, value, what)
    elif kind is float and number:
        return float(value)
    elif kind is int and number and value == int(value):
        return int(value)
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_converted(part, one, what) for part, one in zip(value, kinds, strict=True))
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif kind not in (float, int) and (not isinstance(origin or kind, type) or isinstance(value, origin or kind)):
        return value
    raise ValueError(f"{what} must be {_in_words(kind)}, got {value!r}")


def _in_words(kind: object) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(one) for one in inner)
    if origin is tuple:
        return f"[{', '.join('...' if one is Ellipsis else _in_words(one) for one in inner)}]"
    if is_dataclass(kind):
        return f"a mapping with any of {', '.join(field.name for field in fields(kind) if field.init)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    return words.get(kind, "null" if kind is NoneType else "a mapping" if origin is Mapping else str(kind))


def generator_kind(name: str) -> type:
    """Return the class of that name in ``GENERATORS``; errors are those of :func:`make_generator`."""
    module = generator_module(name)
    return getattr(importlib.import_module(module), GENERATORS[name].partition(":")[2])


def generator_module(name: str) -> str:
    """Return the dotted name of the module that a kind is in, without importing it; ValueError if it is unknown."""
    if name not in GENERATORS:
        raise ValueError(f"no generator is called {name!r}; the known ones are {', '.join(sorted(GENERATORS))}")
    return GENERATORS[name].partition(":")[0]
