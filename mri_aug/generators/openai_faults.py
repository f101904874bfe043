"""What went wrong between us and an image service, told from its errors and said in one sentence.

It asks for nothing again and hides nothing but secrets: no message holds a key, a password or the query of an address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
