"""Generators that use a hosted image service: edits (an image and a prompt) and variations (the thesis's call).

Their images cost money and cannot be made again, so a study takes them from a bank.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import Answer, PromptedGenerator, Request, make_fingerprint

_VERSION = 1  # part of the fingerprint: raise it with any change of what is sent or of how an answer is read
_RESAMPLINGS = ("box", "bilinear", "hamming", "bicubic", "lanczos")
_SIZES = (256, 512, 1024)  # of image variations
_PIXELS = (655_360, 8_294_400)  # what GPT image models accept, in sides that are multiples of 16
_REFERENCE_PIXELS = 1024 * 1024  # the size that the published prices per image are for
_MARGIN = 1.1  # those prices are rounded
_KINDS = ("text_in", "image_in", "image_out")  # of tokens
_PER_IMAGE = (("low", 0.006), ("medium", 0.053), ("high", 0.211))


@dataclass(frozen=True)
class Prices:
    """A tariff in US dollars; the defaults are OpenAI's for its current GPT image models, read in November 2026.

    Parameters
    ----------
    text_in, image_in, image_out : float
        Per million tokens. Discounts, as for cached input, are not counted.
    per_image : mapping of str to float, tuple of (str or None, float), or float
        By quality (None, or a number alone, for every other), the output of one image of 1024 x 1024; for the bound.
    image_in_tokens : int
        Bound for an input image of 1024 x 1024. No tariff states it; earlier models took 4,600 tokens for a close look.
    """

    text_in: float = 5.0
    image_in: float = 8.0
    image_out: float = 30.0
    per_image: Mapping[str, float] | tuple[tuple[str | None, float], ...] | float = _PER_IMAGE
    image_in_tokens: int = 5000

    def __post_init__(self):
        given = {None: self.per_image} if isinstance(self.per_image, int | float) else dict(self.per_image)
        object.__setattr__(self, "per_image", tuple(given.items()))
        values = [self.text_in, self.image_in, self.image_out, self.image_in_tokens, *given.values()]
        if not all(isinstance(value, int | float) and value >= 0 for value in values):
            raise ValueError(f"prices must be non-negative numbers, got {self}")

    @property
    def is_free(self) -> bool:
        """Whether nothing costs anything."""
        return not any([self.text_in, self.image_in, self.image_out, *dict(self.per_image).values()])

    def usd(self, usage: object) -> float | None:
        """Return what an answer cost by its ``usage``; None where the server states none that makes sense.

        Input that is not divided into text and image counts as image, the dearer of the two.
        """
        if self.is_free:
            return 0.0
        total, out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        if total is None or out is None:
            return None
        details = usage.get("input_tokens_details")
        text, image = _count(details, "text_tokens") or 0, _count(details, "image_tokens") or 0
        return (text * self.text_in + max(total - text, image) * self.image_in + out * self.image_out) / 1e6

    def at_most(self, quality: str | None, *, size: int, n_characters: int) -> float:
        """Return a bound of one answer's cost: a token per character of prompt, images in proportion to pixels."""
        if self.is_free:
            return 0.0
        known = dict(self.per_image)
        if not known.keys() & {quality, None}:
            raise ValueError(
                f"no price is known for quality {quality!r} (known: {', '.join(map(str, known))}); give it in prices, "
                'such as {"per_image": {"max": 0.4}}, or prices of 0 for a free server'
            )
        share = size * size / _REFERENCE_PIXELS
        tokens_in = (n_characters * self.text_in + self.image_in_tokens * share * self.image_in) / 1e6
        return _MARGIN * known.get(quality, known.get(None)) * share + tokens_in


FREE = Prices(0.0, 0.0, 0.0, ())  # one's own server


def _count(usage: object, name: str) -> float | None:
    """Return a number of tokens; None where it is not one."""
    value = usage.get(name) if isinstance(usage, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number and value >= 0 else None


@dataclass(frozen=True, kw_only=True)
class OpenAIGenerator(PromptedGenerator):
    """One request per variation, several at a time.

    The server's address and the key come from ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``, as the official client reads
    them. That client repeats requests after rate limits (waiting as Retry-After says, up to two minutes), server
    errors, and lost connections or timeouts; after those last two at most three requests are sent, since each may be
    billed. An answer that is not a whole image is requested once more. A square image of another size than requested
    is accepted; an address in place of the image is fetched if it is the same server's.

    Parameters
    ----------
    model : str
        Always sent: a server's default may be a retired model.
    size : int
        Side in pixels of the image that is sent and of the one that is requested.
    resampling : str
        Filter of 128 to ``size`` and of ``size`` to 128: box, bilinear, hamming, bicubic or lanczos.
    extra_body : mapping or tuple of pairs
        Further fields of the request that only some servers know, for example a ``prompt`` for Xinference's variations
        or a ``seed`` for vLLM-Omni's edits. Part of the fingerprint and of the records, so put no secrets in it.
    prices : Prices
        Or a mapping of its fields, as from the command: ``--option 'prices={"image_out": 40}'``.
    concurrency, max_retries, timeout_seconds : int, int, float
        Requests in flight at a time, retries of one, and seconds that an answer may take: slow models need minutes at
        high quality.
    seconds_per_image : float
        For estimates only; not measured here.
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
    card = MappingProxyType(
        {
            "learns from": "the service's own data, not public",
            "who sees the images": "a service on a network: every source image is sent to it",
            "licence and limits": "the service's terms; models are retired, and the same call gives another image",
        }
    )

    def __post_init__(self):
        object.__setattr__(self, "extra_body", tuple((str(k), v) for k, v in dict(self.extra_body).items()))
        if not self.model:
            raise ValueError(f"{self.name} needs the name of a model, got {self.model!r}")
        if self.resampling not in _RESAMPLINGS:
            raise ValueError(f"resampling must be one of {', '.join(_RESAMPLINGS)}, got {self.resampling!r}")
        if not (self.concurrency >= 1 and self.timeout_seconds > 0 and self.max_retries >= 0):
            raise ValueError(
                f"{self.name} needs concurrency >= 1, timeout_seconds > 0 and max_retries >= 0, got "
                f"{self.concurrency}, {self.timeout_seconds} and {self.max_retries}"
            )

    @property
    def fingerprint(self) -> str:
        """Follows the request and how an answer is read; not the server, the key, or the pace."""
        request = [self.model, self.size, self.quality, self.resampling, self.extra_body, self.prompts()]
        return make_fingerprint(self.name, _VERSION, request)

    @property
    def usd_per_image(self) -> float:
        """Upper bound of one answer's cost in US dollars."""
        n_characters = max(map(len, self.prompts()), default=0)
        return self.prices.at_most(self.quality, size=self.size, n_characters=n_characters)

    def stream(self, requests: Iterable[Request], *, seed: int) -> Iterator[Answer]:
        """Return an iterator over the answers as they arrive; closing it waits for the calls in flight.

        The seed has no effect: services take none. Errors are those of
        :func:`mri_aug.generators.openai.service.answers`, and ImportError if the package openai is not installed.
        """
        try:
            from mri_aug.generators.openai import service
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise ImportError(f"{self.name} needs the package openai: pip install 'mri-aug[openai]'") from None
        return service.answers(self, requests)

    def arguments(self, image: Tensor, label: int) -> dict[str, object]:
        """Return the arguments of the client's method for one image, uint8 (1, 128, 128)."""
        size, file = (self.size, self.size), io.BytesIO()
        picture = Image.fromarray(image[0].numpy())
        picture.resize(size, Image.Resampling[self.resampling.upper()]).save(file, format="PNG")
        upload = {"image": ("image.png", file.getvalue(), "image/png"), "extra_body": dict(self.extra_body) or None}
        return {**upload, "model": self.model, "n": 1, "size": f"{self.size}x{self.size}"}

    def record(self, label: int) -> dict[str, object]:
        """Return what the record of an answer says of its request."""
        return {
            "model": self.model,
            "endpoint": f"images.{self.method}",
            "prompt": self.prompt_of(label),
            "size": f"{self.size}x{self.size}",
            "quality": self.quality,
            "extra_body": dict(self.extra_body),
            "resampling": f"{self.resampling}, {IMAGE_SIZE} to {self.size} and back",
            "usd_per_million_tokens": {kind: getattr(self.prices, kind) for kind in _KINDS},
        }


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
    """Use ``images.edit``; options are those of the base class, and these.

    Parameters
    ----------
    prompt : str or tuple of str
        One for all images, or one per class by label. With one per class, a classifier can learn the trace of the
        wording instead of the disease; the default leaves the class to the source image.
    quality, size : str, int
        Any that ``prices`` has a price for (low, medium, high), and a multiple of 16 from 816 to 2880.
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

    def arguments(self, image: Tensor, label: int) -> dict[str, object]:
        """As in the base class."""
        return {**super().arguments(image, label), "prompt": self.prompt_of(label), "quality": self.quality}


@dataclass(frozen=True, kw_only=True)
class OpenAIVariationsGenerator(OpenAIGenerator):
    """Use ``images.create_variation``, by default free, as on one's own server; options are those of the base class.

    The default model is the thesis's, which OpenAI no longer offers; Stable Diffusion was trained at the default size.
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

    def arguments(self, image: Tensor, label: int) -> dict[str, object]:
        """As in the base class."""
        return {**super().arguments(image, label), "response_format": "b64_json"}
