"""What the image service says no with, and what it charges.

Maps a failure to its cause and the way on; sends nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import openai

from mri_aug.generators.base import Answer

_REFUSALS = ("moderation_blocked", "content_policy_violation")
_NOT_ENTITLED = re.compile(r"limit:?\s*0(?![.,]?\d)", re.IGNORECASE)
_OUT_OF_CREDIT = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached")
_RETIRED = re.compile(r"does not exist|has been (deprecated|shut ?down|retired)|no longer (available|supported)", re.I)
_KEY_LIKE = re.compile(r"\b(sk|sess|Bearer)[-_ ][\w.*-]{4,}", re.IGNORECASE)
_LONGEST = 300  # characters of a server's own words


class ImageServiceError(RuntimeError):
    """Some images could not be varied; every answer that did arrive was handed out before this was raised.

    Attributes
    ----------
    failures : tuple of Answer
        Without pixels, in order of arrival; the record says what each request cost (``usd``), what it cost at most
        when requests that were sent and not answered are counted (``usd_at_most``), and what failed (``failed``).
    """

    def __init__(self, message: str, failures: Iterable[Answer] = ()):
        super().__init__(message)
        self.failures = tuple(failures)


def refusal(error: openai.OpenAIError) -> str | None:
    """Return the service's reason if it refuses to work on this image or prompt, else None."""
    code, words = getattr(error, "code", None), _words(error)
    refused = code in _REFUSALS or any(mark in words for mark in _REFUSALS)
    return f"{code or 'refused'}: {words}" if refused and getattr(error, "status_code", None) == 400 else None


def is_hopeless(error_text: str) -> bool:
    """Return whether a 429 answer speaks of an account that waiting does not help."""
    return bool(_NOT_ENTITLED.search(error_text)) or any(code in error_text for code in _OUT_OF_CREDIT)


def is_retired(error: openai.OpenAIError) -> bool:
    """Return whether an error says that the model is not, or no longer, there."""
    status, code, words = getattr(error, "status_code", None), getattr(error, "code", None), _words(error)
    gone = code in ("model_not_found", "model_deprecated") or bool(_RETIRED.search(words))
    return gone and status in (400, 404, 410)


def explain(error: openai.OpenAIError, *, server: str, model: str, seconds: float) -> str:
    """Return what an error means and what to do, without naming the image.

    Parameters
    ----------
    error : openai.OpenAIError
        The last of a request, after any retries.
    server : str
        From :func:`public_address`.
    model : str
    seconds : float
        The time allowed for an answer.
    """
    status, words = getattr(error, "status_code", None), _words(error)
    if isinstance(error, openai.APITimeoutError):
        return f"{server} did not answer within {seconds:g} s; raise timeout_seconds if it is only slow"
    if isinstance(error, openai.APIConnectionError):
        return f"the connection to {server} failed or was dropped; check the network and OPENAI_BASE_URL"
    if status == 401:  # the server's words often hold a part of the key
        return f"{server} does not accept the key in OPENAI_API_KEY; set a valid one"
    if status == 429:
        return _explain_limit(error, server, model, words)
    if is_retired(error):
        return f"{server} has no model {model!r}, or has it no longer ({words})"
    if status == 404:
        return (
            f"{server} does not have this endpoint ({words}); OpenAI closed /images/variations on 2026-05-12: use "
            "openai-edits there, or set OPENAI_BASE_URL to a server that offers it"
        )
    if status == 403:
        return f"{server} forbids the request ({words}); the account may need verification for {model!r}"
    if status is not None and status >= 500:
        return f"{server} failed with status {status} ({words}); try again later, what was made is kept"
    return f"{server} rejects the request ({f'status {status}: ' if status else ''}{words})"


def _explain_limit(error: openai.OpenAIError, server: str, model: str, words: str) -> str:
    said = f"{getattr(error, 'code', None)} {words}"
    if _NOT_ENTITLED.search(said):
        return f"the account is not entitled to images by {model!r} ({words}); waiting does not help, another tier does"
    if is_hopeless(said):
        return f"the account at {server} has no credit left ({words}); waiting does not help"
    return f"{server} still limits the rate of requests ({words}); lower concurrency, or raise max_retries"


def describe_models(models: Iterable[object], *, today: str | None = None) -> str:
    """Return in words the live image models of a server's list, and when they end where it says so.

    Parameters
    ----------
    models : iterable
        Objects with ``id`` and, optionally, ``shutdown_date`` (ISO 8601), as ``client.models.list()`` yields them.
    today : str, optional
        ISO 8601 date; by default the current one in UTC. Models that ended before it are left out.
    """
    today = today or datetime.now(UTC).date().isoformat()
    ends = {str(model.id): str(getattr(model, "shutdown_date", None) or "")[:10] for model in models}
    live = {name: end for name, end in ends.items() if not end or end > today}
    shown = {name: end for name, end in live.items() if "image" in name or name.startswith("dall-e")} or live
    if not shown:
        return "it lists no model"
    return "its live models are " + ", ".join(f"{n} (until {e})" if e else n for n, e in sorted(shown.items())[:20])


def public_address(url: object) -> str:
    """Return an address without user, password, query or fragment."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def without_secrets(text: str) -> str:
    """Return the text on one line, shortened, with the key and whatever looks like one blotted out."""
    address = urlsplit(os.environ.get("OPENAI_BASE_URL", ""))
    for secret in (os.environ.get("OPENAI_API_KEY"), address.password, address.query):
        text = text.replace(secret, "[secret]") if secret else text
    text = " ".join(_KEY_LIKE.sub("[secret]", text).split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _words(error: openai.OpenAIError) -> str:
    """Return the server's own words: the body's message where there is one, else the error's."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else body
    return without_secrets(str(said or error))


_REFERENCE_PIXELS = 1024 * 1024  # the size that the published prices per image are for
_MARGIN = 1.1  # those prices are rounded


@dataclass(frozen=True)
class Prices:
    """A tariff in US dollars; the defaults are OpenAI's for its current GPT image models, read in November 2026.

    Parameters
    ----------
    text_in, image_in, image_out : float
        Per million tokens. Discounts, as for cached input, are not counted.
    per_image : tuple of (str or None, float)
        By quality (None where a request has none), the output of one image of 1024 x 1024; for the bound only.
    image_in_tokens : int
        Bound for an input image of 1024 x 1024. No tariff states it; models that look at the input closely took
        some 4,600 tokens before.
    """

    text_in: float = 5.0
    image_in: float = 8.0
    image_out: float = 30.0
    per_image: tuple[tuple[str | None, float], ...] = (("low", 0.006), ("medium", 0.053), ("high", 0.211))
    image_in_tokens: int = 5000

    def per_million(self) -> dict[str, float]:
        """Return the prices of a million tokens by kind, for a record."""
        return {"text_in": self.text_in, "image_in": self.image_in, "image_out": self.image_out}

    def usd(self, usage: Mapping | None) -> float:
        """Return what an answer cost by its ``usage``; 0 where the server states none.

        Input that is not divided into text and image counts as image, the dearer of the two.
        """
        if not usage:
            return 0.0
        text = _count(_details(usage), "text_tokens")
        image = max(_count(usage, "input_tokens") - text, _count(_details(usage), "image_tokens"))
        tokens = text * self.text_in + image * self.image_in + _count(usage, "output_tokens") * self.image_out
        return tokens / 1e6

    def at_most(self, quality: str | None, *, size: int, n_characters: int) -> float:
        """Return a bound of one answer's cost: a token per character of prompt, images in proportion to pixels.

        Raises
        ------
        ValueError
            If no price is known for that quality.
        """
        if self == FREE:
            return 0.0
        known = dict(self.per_image)
        if quality not in known:
            raise ValueError(
                f"no price is known for quality {quality!r} (known: {', '.join(map(str, known))}); "
                "pass prices=Prices(per_image=...) that has it, or prices=FREE for a server of your own"
            )
        share = size * size / _REFERENCE_PIXELS
        tokens_in = (n_characters * self.text_in + self.image_in_tokens * share * self.image_in) / 1e6
        return _MARGIN * known[quality] * share + tokens_in


FREE = Prices(0.0, 0.0, 0.0, ())  # a server of one's own


def _details(usage: Mapping) -> Mapping:
    return usage.get("input_tokens_details") or {}


def _count(usage: Mapping, name: str) -> int:
    value = usage.get(name)
    return max(value, 0) if isinstance(value, int) else 0
