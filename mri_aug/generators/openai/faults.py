"""Faults of an image service, their causes, and what to do. Nothing is sent."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import openai

from mri_aug.generators.base import Answer

_LONGEST = 300  # characters of a server's own words
_PATIENCE = 120  # seconds of Retry-After up to which the client waits

_REFUSAL_CODES = ("moderationblocked", "contentpolicyviolation", "contentfilter", "responsibleaipolicyviolation")
_REFUSAL = re.compile(
    r"(?i)moderation_blocked|content_policy_violation|ResponsibleAIPolicyViolation|content[ _]?filter|"
    r"content[ _]?management policy|(by|of) (our|the) safety system"
)
_NOT_ENTITLED = re.compile(r"limit:?\s*0(?![.,]?\d)", re.I)
_OUT_OF_CREDIT = re.compile(
    r"(?i)(insufficient|exceeded your current)[ _](quota|credit|balance|funds)|credit[ _]balance|"
    r"billing[ _]hard[ _]limit|payment required"
)
_RETIRED = re.compile(
    r"(?is)model_(not_found|deprecated)|deploymentnotfound|(model|deployment)\b.*(does not exist|not found|"
    r"has been (deprecated|shut ?down|retired)|no longer (available|supported))"
)
_ORGANISATION = re.compile(r"\b(organi[sz]ation|project)s?\b|(mismatched|invalid)_(organization|project)", re.I)
_MISMATCH = re.compile(r"no such|mismatch|member of|match|invalid|not found", re.I)
_KEY_LIKE = re.compile(r"\b(sk|sess|Bearer)[-_ ][\w.*-]{4,}|\S*\*{3,}\S*", re.I)


class ImageServiceError(RuntimeError):
    """Some images could not be varied; every answer that did arrive was handed out before this was raised.

    ``failures`` are answers without pixels, in order of arrival, whose record says what each request cost (``usd``), at
    most when requests that were sent and not answered are counted (``usd_at_most``), and what failed (``failed``).
    """

    def __init__(self, message: str, failures: Iterable[Answer] = ()):
        super().__init__(message)
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Fault:
    """What a server or the connection to it gave in place of an image."""

    words: str  # the server's own, without secrets
    status: int | None = None  # None where there was no answer, or an error inside an answer with status 200
    codes: frozenset[str] = frozenset()
    seconds: float | None = None  # to wait, by Retry-After
    kind: str = "answer"  # "timeout", "connection" or "answer"

    @classmethod
    def of(cls, error: openai.OpenAIError) -> Fault:
        """Return the fault behind an error of the client, after any retries."""
        if isinstance(error, openai.APIConnectionError):
            kind = "timeout" if isinstance(error, openai.APITimeoutError) else "connection"
            return cls(without_secrets(str(error)), kind=kind)
        response, body = getattr(error, "response", None), getattr(error, "body", None)
        return cls(
            words=without_secrets(words_in(body)) or without_secrets(str(error)),
            status=getattr(error, "status_code", None),
            codes=frozenset(_codes(body)),
            seconds=_retry_after(response.headers) if response is not None else None,
        )

    @classmethod
    def of_body(cls, body: Mapping) -> Fault:
        """Return the fault in an answer with status 200; without words there is none."""
        return cls(without_secrets(words_in(body)), codes=frozenset(_codes(body)))

    def matches(self, pattern: re.Pattern) -> bool:
        """Return whether the codes or the words match."""
        return bool(pattern.search(" ".join([*sorted(self.codes), self.words])))

    def refusal(self) -> str | None:
        """Return the service's reason if it refuses to work on this image or prompt, else None."""
        codes = [code for code in sorted(self.codes) if re.sub("[^a-z]", "", code.lower()) in _REFUSAL_CODES]
        if self.status in (None, 400, 403, 422) and (codes or self.matches(_REFUSAL)):
            return f"{codes[0] if codes else 'refused'}: {self.words}"
        return None

    def is_retired(self) -> bool:
        """Return whether the model is not, or no longer, there."""
        return self.status in (None, 400, 404, 410) and self.kind == "answer" and self.matches(_RETIRED)


def words_in(body: object) -> str:
    """Return the server's own words in a body: of OpenAI's form, FastAPI's ``detail``, a web page, or plain text."""
    if isinstance(body, str):
        return re.sub(r"(?s)<(style|script)\b.*?</\1>|<[^>]*>", " ", body) if body.lstrip().startswith("<") else body
    if isinstance(body, list):
        return "; ".join(filter(None, map(words_in, body)))
    if not isinstance(body, Mapping):
        return ""
    where = ".".join(map(str, body["loc"])) + ": " if isinstance(body.get("loc"), list) else ""
    names = ("message", "detail", "msg", "error", "errors", "reason", "error_description", "title")
    return next((where + words for name in names if (words := words_in(body.get(name)))), "")


def _codes(body: object) -> Iterator[str]:
    """Yield the codes and types in a body, at any depth: Azure has them in ``inner_error``."""
    if isinstance(body, Mapping):
        yield from (str(value) for name, value in body.items() if name in ("code", "type") and value)
        body = list(body.values())
    if isinstance(body, list):
        for value in body:
            yield from _codes(value)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    for read in (float, lambda date: (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()):
        with suppress(ValueError, TypeError):
            return seconds if math.isfinite(seconds := read(text)) else None
    return None


def is_hopeless(error_text: str) -> bool:
    """Return whether a 429 answer describes an account that waiting does not help."""
    return bool(_NOT_ENTITLED.search(error_text) or _OUT_OF_CREDIT.search(error_text))


def explain(fault: Fault, server: str, model: str, *, timeout: float) -> str:
    """Return the cause of a fault and what to do, without naming the image; ``timeout`` in seconds."""
    status, words = fault.status, fault.words
    if fault.kind == "timeout":
        return f"{server} did not answer within {timeout:g} s; raise timeout_seconds if it is only slow"
    if fault.kind == "connection":
        return f"the connection to {server} failed or was dropped; check the network and OPENAI_BASE_URL"
    if status == 402 or fault.matches(_OUT_OF_CREDIT):
        return f"the account at {server} has no credit left, or has reached its limit ({words}); waiting does not help"
    if fault.matches(_NOT_ENTITLED):
        return f"the account is not entitled to images by {model!r} ({words}); waiting does not help, another tier does"
    if fault.seconds is not None and fault.seconds > _PATIENCE:
        return (
            f"{server} asks to wait {fault.seconds / 60:,.0f} minutes before the next request ({words}); what was made "
            "is kept, the same command goes on from there"
        )
    if status == 429:
        return f"{server} still limits the rate of requests ({words}); lower concurrency, or raise max_retries"
    if status == 401 and not fault.matches(_ORGANISATION):
        return f"{server} does not accept the key in OPENAI_API_KEY ({words}); set a valid one"
    if fault.is_retired():
        return f"{server} does not offer model {model!r}; it may have been retired ({words})"
    if status in (404, 405):
        closed = (
            "OpenAI closed /images/variations on 2026-05-12: use openai-edits there, or set OPENAI_BASE_URL to a "
            "server that offers it"
        )
        return f"{server} does not have this endpoint ({words}); {missing_version(server) or closed}"
    if status == 401 or (status in (400, 403) and _MISMATCH.search(words) and fault.matches(_ORGANISATION)):
        return (
            f"{server} does not accept the organisation or project that goes with the key ({words}); check "
            "OPENAI_ORG_ID and OPENAI_PROJECT_ID"
        )
    if status == 403:
        return f"{server} forbids the request ({words}); the account may need verification for {model!r}"
    if status is not None and status >= 500:
        return f"{server} failed with status {status} ({words}); try again later, what was made is kept"
    return f"{server} rejects the request ({f'status {status}: ' if status else ''}{words})"


def missing_version(server: str) -> str:
    """Return what to do where an address does not end in a version, as all addresses of this API do; else nothing."""
    known = re.search(r"/v\d+(/|$)", urlsplit(server).path)
    return "" if known else "the address in OPENAI_BASE_URL should probably end in /v1"


def describe_models(models: Iterable[object], *, today: str | None = None) -> str:
    """Return the live image models of a server's list in words, with their end where it is stated.

    Models have ``id`` and, optionally, ``shutdown_date``; ``today`` (ISO 8601) is by default the date in UTC.
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
    address, key = urlsplit(os.environ.get("OPENAI_BASE_URL", "")), os.environ.get("OPENAI_API_KEY", "")
    for secret in (key * (len(key) >= 8), address.password, address.query):  # a shorter key is any word
        text = text.replace(secret, "[secret]") if secret else text
    if len(key) >= 16:  # servers quote a key's beginning
        text = re.sub(re.escape(key[:6]) + r"\S*", "[secret]", text)
    text = " ".join(_KEY_LIKE.sub("[secret]", text).split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
