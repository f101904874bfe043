"""Generators that ask a hosted image service: edits (an image and a prompt) and variations (the thesis's call).

What they make costs money and cannot be made again, so a study takes it from a bank.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import Answer, RefusedVariationsError, check_images, make_fingerprint
from mri_aug.generators.openai.faults import FREE, Prices
from mri_aug.generators.openai.pixels import RESAMPLINGS, encode

_VERSION = 1  # of what is sent and of what is made of an answer


@dataclass(frozen=True, kw_only=True)
class OpenAIGenerator:
    """One request per variation, several at a time.

    The server's address and the key come from ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``, as the official client reads
    them. Requests are tried again by that client after rate limits (as long as Retry-After says, up to two minutes),
    server errors, and lost connections or timeouts; of those last two at most three times, since each may be billed.

    Parameters
    ----------
    model : str
        Always sent: what a server takes by default may be a retired model.
    size : int
        Side in pixels of the image that is sent and of the one that is asked for.
    resampling : str
        Filter of 128 to ``size`` and of ``size`` to 128: box, bilinear, hamming, bicubic or lanczos.
    extra_body : mapping or tuple of pairs
        Further fields of the request that only some servers know, a ``prompt`` for Xinference's variations or a
        ``seed`` for vLLM-Omni's edits, for example. Part of the fingerprint and of the records: no place for secrets.
    prices : Prices
    concurrency : int
        Requests in flight at a time.
    timeout_seconds : float
        Allowed for one answer; slow models take minutes at high quality.
    max_retries : int
        Of one request.
    seconds_per_image : float
        For estimates only; not measured here.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    model: str
    size: int
    resampling: str = "lanczos"
    extra_body: Mapping[str, object] | tuple[tuple[str, object], ...] = ()
    prices: Prices
    concurrency: int = 4
    timeout_seconds: float = 300.0
    max_retries: int = 6
    seconds_per_image: float

    name = ""
    method = ""  # of the client's ``images``
    quality = None
    learns_from_study = False
    reproducible = False

    def __post_init__(self):
        object.__setattr__(self, "extra_body", tuple((str(k), v) for k, v in dict(self.extra_body).items()))
        if not self.model:
            raise ValueError(f"{self.name} needs the name of a model, got {self.model!r}")
        if self.resampling not in RESAMPLINGS:
            raise ValueError(f"resampling must be one of {', '.join(RESAMPLINGS)}, got {self.resampling!r}")
        if not (self.concurrency >= 1 and self.timeout_seconds > 0 and self.max_retries >= 0):
            raise ValueError(
                f"{self.name} needs concurrency >= 1, timeout_seconds > 0 and max_retries >= 0, got "
                f"{self.concurrency}, {self.timeout_seconds} and {self.max_retries}"
            )

    @property
    def fingerprint(self) -> str:
        """Follows what is asked for and what is made of it; not the server, the key, or the pace."""
        asked = [self.model, self.size, self.quality, self.resampling, self.extra_body, self.prompts()]
        return make_fingerprint(self.name, _VERSION, asked)

    @property
    def usd_per_image(self) -> float:
        """Upper bound of one answer's cost in US dollars."""
        n_characters = max((len(prompt) for prompt in self.prompts()), default=0)
        return self.prices.at_most(self.quality, size=self.size, n_characters=n_characters)

    def prompts(self) -> tuple[str, ...]:
        """Return the prompts: none, one for all classes, or one per class."""
        return ()

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 (n, 1, 128, 128); the seed changes nothing, services take none.

        Answers are lost where this raises: use :meth:`stream`, or a bank, for more than a few images.

        Raises
        ------
        RefusedVariationsError
            If the service refuses some of the images.
        ImageServiceError
            As :meth:`stream` does.
        """
        variations, refused = torch.zeros_like(images), {}
        for answer in self.stream(images, labels, seed=seed):
            if answer.pixels is None:
                refused[answer.position] = answer.record["refused"]
            else:
                variations[answer.position] = answer.pixels
        if refused:
            by_class = Counter(labels[sorted(refused)].tolist())
            counts = ", ".join(f"{n} of class {label}" for label, n in sorted(by_class.items()))
            first = min(refused)
            raise RefusedVariationsError(
                f"{self.name}: {self.model} refuses to vary {len(refused)} of {len(images)} images ({counts}); "
                f"image {first}: {refused[first]}",
                sorted(refused),
            )
        return variations

    def stream(self, images: Tensor, labels: Tensor, *, seed: int) -> Iterator[Answer]:
        """Yield one answer per image as each arrives; closing the iterator gives up those in flight, billed or not.

        The next request is sent when an answer has been taken and the one after it is asked for.

        Raises
        ------
        ImageServiceError
            If an image failed otherwise than by a refusal, after the answers that were in flight with it; or at once,
            if OPENAI_API_KEY is not set.
        ImportError
            If the package openai is not installed.
        ValueError
            If the images are not what :func:`check_images` asks for, or a class has no prompt.
        """
        check_images(images, labels)
        if len(self.prompts()) > 1 and len(images) and not 0 <= labels.min() <= labels.max() < len(self.prompts()):
            raise ValueError(
                f"{self.name} has {len(self.prompts())} prompts, one per class from 0, got labels "
                f"{sorted(set(labels.tolist()))}; give one prompt for every class, or one for all"
            )
        return self._stream(images, labels) if len(images) else iter(())

    def _stream(self, images: Tensor, labels: Tensor) -> Iterator[Answer]:
        try:
            from mri_aug.generators.openai import service
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise ImportError(f"{self.name} needs the package openai: pip install 'mri-aug[openai]'") from None
        if not os.environ.get("OPENAI_API_KEY"):
            raise service.ImageServiceError(
                f"{self.name} needs a key in the environment variable OPENAI_API_KEY (any word, if the server is yours)"
            )
        calls = (
            service.Call(position, self._arguments(image, label), self._record(label))
            for position, (image, label) in enumerate(zip(images, labels.tolist(), strict=True))
        )
        return service.answers(calls, self._terms(service))

    def _terms(self, service):
        same = ("method", "model", "size", "resampling", "prices", "usd_per_image", "concurrency", "timeout_seconds")
        return service.Terms(max_retries=self.max_retries, **{name: getattr(self, name) for name in same})

    def _arguments(self, image: Tensor, label: int) -> dict[str, object]:
        """Return the arguments of the client's method for one image."""
        file = encode(image, size=self.size, resampling=self.resampling)
        return {
            "image": ("image.png", file, "image/png"),
            "model": self.model,
            "n": 1,
            "size": f"{self.size}x{self.size}",
            "extra_body": dict(self.extra_body) or None,
        }

    def _record(self, label: int) -> dict[str, object]:
        prompts = self.prompts()
        return {
            "model": self.model,
            "endpoint": f"images.{self.method}",
            "prompt": prompts[label if len(prompts) > 1 else 0] if prompts else None,
            "size": f"{self.size}x{self.size}",
            "quality": self.quality,
            "extra_body": dict(self.extra_body),
            "resampling": f"{self.resampling}, {IMAGE_SIZE} to {self.size} and back",
            "usd_per_million_tokens": self.prices.per_million(),
        }


_PIXELS = (655_360, 8_294_400)  # what GPT image models accept, in sides that are multiples of 16

PROMPT = (
    "This is an axial T1-weighted MRI slice of a human brain, skull-stripped, on a black background. "
    "Make one new slice that could come from another person with the same degree of brain atrophy, scanned on the same "
    "machine. Keep: the level and orientation of the slice; the position and size of the brain in the frame; the width "
    "of the ventricles and of the sulci; the thickness of the cortex; the contrast of grey matter, white matter and "
    "cerebrospinal fluid; the overall brightness, the sharpness and the fine noise. "
    "Change, within normal anatomy: the course of the individual gyri and sulci, the outline of the brain, the exact "
    "shape of the ventricles, and small differences between left and right. "
    "Greyscale only. Do not add a skull, eyes, a lesion, colour, text, a marker or a border. "
    "Keep the background pure black."
)


@dataclass(frozen=True, kw_only=True)
class OpenAIEditsGenerator(OpenAIGenerator):
    """Ask ``images.edit``; options are those of the base class, with other defaults, and these.

    Parameters
    ----------
    model : str
        A GPT image model, or what a compatible server has.
    prompt : str or tuple of str
        One for all images, or one per class by label. With one per class, a classifier can learn the wording's trace in
        the image instead of the disease; the default leaves the class to the source image.
    quality : str
        ``"low"``, ``"medium"``, ``"high"``, or another that ``prices`` has a price for.
    size : int
        A multiple of 16, from 816 to 2880.
    """

    model: str = "gpt-image-2"
    prompt: str | tuple[str, ...] = PROMPT
    quality: str = "medium"
    size: int = 1024
    prices: Prices = Prices()
    seconds_per_image: float = 40.0

    name = "openai-edits"
    method = "edit"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.prompt, str):
            object.__setattr__(self, "prompt", tuple(self.prompt))
        if not self.prompts() or not all(isinstance(prompt, str) and prompt.strip() for prompt in self.prompts()):
            raise ValueError(f"prompt of {self.name} must be a text or one text per class, got {self.prompt!r}")
        if self.size % 16 or not _PIXELS[0] <= self.size**2 <= _PIXELS[1]:
            raise ValueError(f"size of {self.name} must be a multiple of 16 from 816 to 2880, got {self.size}")
        self.prices.at_most(self.quality, size=self.size, n_characters=0)  # an unknown quality has no bound

    def prompts(self) -> tuple[str, ...]:
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    def _arguments(self, image: Tensor, label: int) -> dict[str, object]:
        prompt = self._record(label)["prompt"]
        return {**super()._arguments(image, label), "prompt": prompt, "quality": self.quality}


_SIZES = (256, 512, 1024)


@dataclass(frozen=True, kw_only=True)
class OpenAIVariationsGenerator(OpenAIGenerator):
    """Ask ``images.create_variation``; options are those of the base class, with other defaults.

    Parameters
    ----------
    model : str
        As the server calls it. The default is the thesis's model, which OpenAI serves no longer.
    size : int
        256, 512 or 1024. The default is what Stable Diffusion and its kin were trained at.
    prices : Prices
        Free by default, as on a server of one's own.
    """

    model: str = "dall-e-2"
    size: int = 512
    prices: Prices = FREE
    seconds_per_image: float = 10.0

    name = "openai-variations"
    method = "create_variation"

    def __post_init__(self):
        super().__post_init__()
        if self.size not in _SIZES:
            raise ValueError(f"size of {self.name} must be one of {', '.join(map(str, _SIZES))}, got {self.size}")

    def _arguments(self, image: Tensor, label: int) -> dict[str, object]:
        return {**super()._arguments(image, label), "response_format": "b64_json"}
