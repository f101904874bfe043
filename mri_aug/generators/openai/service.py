"""Send requests to an image service, several at a time, and read its answers.

A refusal is never retried, nor an answer that a second request would not improve.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import numpy as np
import openai
import torch
from PIL import Image
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import Answer, Request, StreamingGenerator
from mri_aug.generators.openai.faults import (
    Fault,
    ImageServiceError,
    describe_models,
    explain,
    is_hopeless,
    missing_version,
    public_address,
    without_secrets,
    words_in,
)

_CALL_ID = "X-Client-Request-Id"  # OpenAI's support finds a request by it, even one that was never answered
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError")
_MOST_UNANSWERED = 3  # requests of one call that may be paid for without an answer
_MOST_DAMAGED = 2  # answers of one call that are paid for and hold no whole image
_FORMATS = ("PNG", "JPEG", "WEBP")  # of GPT image models and compatible servers


class _EndedError(Exception):
    """There is no image, and a second request would not help; ``how`` is the key of the reason in the record."""

    def __init__(self, why: str, how: str = "failed"):
        super().__init__(why)
        self.how = how


class _DamagedError(Exception):
    """There is no whole image; a second request may help."""


def answers(generator: StreamingGenerator, requests: Iterable[Request]) -> Iterator[Answer]:
    """Yield the answers as they arrive.

    At most ``generator.concurrency`` calls are in flight, and the next request is taken only when the caller wants
    another answer. After an interruption (Ctrl-C) or a failure nothing more is sent, and the answers of the calls in
    flight are yielded before it is raised; a second interruption is raised at once. ImageServiceError if a call failed
    other than by a refusal; or, before any request, if the environment holds no usable key or address.
    """
    _check_environment(generator.name)
    waiting, flying, failures, fault = iter(requests), set[Future](), [], None
    http = _CountingHttp()
    timeout = openai.Timeout(generator.timeout_seconds, connect=min(generator.timeout_seconds, 20.0))
    with (
        openai.OpenAI(http_client=http, timeout=timeout, max_retries=generator.max_retries) as client,
        ThreadPoolExecutor(generator.concurrency, "mri-aug") as pool,
    ):
        try:
            while True:
                try:
                    while not (fault or failures) and len(flying) < generator.concurrency:
                        if (request := next(waiting, None)) is None:
                            break
                        flying.add(pool.submit(_Call(client, http, generator, request).answer))
                    if not flying:
                        break
                    done = next(iter(wait(flying, return_when=FIRST_COMPLETED).done))
                    flying.remove(done)
                    answer = done.result()
                except BaseException as error:
                    if fault and isinstance(error, KeyboardInterrupt):
                        raise
                    fault = fault or error
                    http.stopped |= isinstance(error, KeyboardInterrupt)
                    continue
                if "failed" in answer.record:
                    failures.append(answer)
                else:
                    yield answer
        finally:
            http.stopped = True
            pool.shutdown(cancel_futures=True)
    if fault:
        raise fault
    if failures:
        raise ImageServiceError(_summary(failures), failures)


def _check_environment(name: str) -> None:
    """Raise ImageServiceError where a variable that the client reads cannot be what the user meant."""
    if not os.environ.get("OPENAI_API_KEY", "").strip():
        raise ImageServiceError(
            f"{name} needs a key in the environment variable OPENAI_API_KEY (any word, if the server is yours)"
        )
    for variable in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        if re.search(r"[^!-~]", os.environ.get(variable, "")):
            raise ImageServiceError(
                f"{variable} holds a line end, a space or another character that does not belong in it, perhaps at its "
                "end; set it again without. Nothing was sent"
            )
    url = os.environ.get("OPENAI_BASE_URL", "")
    if url and not re.match(r"https?://[^/]", url):
        raise ImageServiceError("OPENAI_BASE_URL must be an address such as https://host/v1. Nothing was sent")


def _summary(failures: list[Answer]) -> str:
    first, others = failures[0], sorted(failure.position for failure in failures[1:])
    unanswered = sum(failure.record["unanswered"] for failure in failures)
    text = f"image {first.position} of the batch: {first.record['failed']}"
    if others:
        text += f"; images {', '.join(map(str, others))}, in flight at the same time, failed too"
    if unanswered:
        text += f"; {unanswered} requests were sent and not answered, and may have been billed"
    return text


class _CountingHttp(openai.DefaultHttpxClient):
    """The client's own transport; it counts the requests of each call and stops retries that cannot help."""

    def __init__(self):
        super().__init__()
        self.calls: dict[str, _Call] = {}  # by name
        self.stopped = False

    def send(self, request, **options):
        """Send one request and count it for its call; raise an error of the client's own where none may follow."""
        if self.stopped and request.method == "POST":
            raise openai.APIConnectionError(request=request)  # an error of the client's own ends its retries
        call = self.calls.get(request.headers.get(_CALL_ID))
        if call is None:  # a list of models, or a file
            return super().send(request, **options)
        call.n_sent += 1
        try:
            response = super().send(request, **options)
        except Exception as error:
            # by name, since the client uses httpx or httpx2
            call.n_unanswered += type(error).__name__ not in _NOT_SENT
            if call.n_unanswered < _MOST_UNANSWERED:
                raise
            kind = openai.APITimeoutError if "Timeout" in type(error).__name__ else openai.APIConnectionError
            raise kind(request=request) from None
        if response.status_code == 429 and is_hopeless(response.text):
            response.headers["x-should-retry"] = "false"
        return response


@dataclass
class _Call:
    """One image to be varied, and the requests that this takes."""

    client: openai.OpenAI
    http: _CountingHttp
    generator: StreamingGenerator
    request: Request
    name: str = field(default_factory=lambda: f"mri-aug-{uuid.uuid4()}")
    n_sent: int = 0
    n_unanswered: int = 0
    usages: list[object] = field(default_factory=list)
    request_id: str | None = None

    @property
    def server(self) -> str:
        return public_address(self.client.base_url)

    def answer(self) -> Answer:
        """Return the answer; a failure is an answer too, since errors can hold the server's words."""
        begun, pixels = time.perf_counter(), None
        self.http.calls[self.name] = self
        try:
            pixels, extra = self._picture()
        except _EndedError as ended:
            extra = {ended.how: str(ended)}
        finally:
            del self.http.calls[self.name]
        costs = [self.generator.prices.usd(usage) for usage in self.usages]
        usd, n_unknown = sum(cost or 0.0 for cost in costs), costs.count(None)
        record = {
            **self.generator.record(self.request.label),
            "server": self.server,
            "request_id": self.request_id,
            "client_request_id": self.name,
            "usage": self.usages[-1] if self.usages else None,
            "usd": usd,
            "usd_at_most": usd + (self.n_unanswered + n_unknown) * self.generator.usd_per_image,
            "attempts": self.n_sent,
            "unanswered": self.n_unanswered,
            "seconds": round(time.perf_counter() - begun, 3),
        }
        return Answer(self.request.position, pixels, {**record, **extra})

    def _picture(self) -> tuple[Tensor, dict]:
        """Return the variation, and what its record says of the answer."""
        method = getattr(self.client.images.with_raw_response, self.generator.method)
        arguments = self.generator.arguments(self.request.image, self.request.label)
        for _ in range(_MOST_DAMAGED):
            try:
                raw = method(**arguments, extra_headers={_CALL_ID: self.name})
            except openai.OpenAIError as error:
                self.request_id = getattr(error, "request_id", None)
                raise self._meaning(Fault.of(error)) from None
            self.request_id = raw.headers.get("x-request-id")
            try:
                return _decode(self._content(raw.text), self.generator)
            except _DamagedError as error:
                damage = str(error)
        raise _EndedError(f"{damage}, {_MOST_DAMAGED} times (request {self.request_id})")

    def _content(self, text: str) -> bytes:
        """Return the image file in an answer with status 200, and note its usage."""
        try:
            body = json.loads(text)
        except ValueError:
            if text.lstrip().startswith("<"):
                way_on = missing_version(self.server) or "a proxy or a login page may be in between"
                raise _EndedError(
                    f"{self.server} answered with a web page ({without_secrets(words_in(text))}); {way_on}"
                ) from None
            self.n_unanswered += 1  # whatever this was, its cost is not known
            raise _DamagedError("the answer is not the JSON that an image endpoint gives") from None
        body = body if isinstance(body, Mapping) else {"detail": body}
        data = body.get("data")
        image = data[0] if isinstance(data, list) and data else data
        image = image if isinstance(image, Mapping) else {}
        encoded, url = image.get("b64_json"), str(image.get("url") or "")
        if encoded or url or isinstance(data, list):
            self.usages.append(body.get("usage"))
        if url.startswith("data:"):
            encoded = url
        if encoded:
            return _from_base64(str(encoded))
        if url:
            return self._fetch(url)
        if (fault := Fault.of_body(image if words_in(image) else body)).words:
            raise self._meaning(fault)
        raise _DamagedError("the answer holds no image")

    def _fetch(self, url: str) -> bytes:
        """Return the file at an address that an answer holds in place of the image, if it is the same server's."""
        base = urlsplit(str(self.client.base_url))
        target = urlsplit(urljoin(base.geturl(), url))
        text = f"the answer holds an address in place of the image ({public_address(target.geturl())}), which "
        if (target.scheme, target.netloc.rpartition("@")[2]) != (base.scheme, base.netloc.rpartition("@")[2]):
            raise _EndedError(
                f"{text}is not fetched, since it is on another server than OPENAI_BASE_URL; make the server answer "
                "with b64_json"
            )
        try:
            options = {"follow_redirects": False}
            address = target._replace(netloc=base.netloc).geturl()
            return self.client.get(address, cast_to=openai.HttpxBinaryResponseContent, options=options).content
        except openai.OpenAIError as error:
            fault = Fault.of(error)
            status = f"status {fault.status}" if fault.status else "no connection"
            raise _EndedError(
                f"{text}cannot be fetched ({status}: {fault.words}); make the server answer with b64_json"
            ) from None

    def _meaning(self, fault: Fault) -> _EndedError:
        """Return what a fault means for this image, to be raised."""
        if reason := fault.refusal():
            return _EndedError(reason, "refused")
        text = explain(fault, self.server, self.generator.model, timeout=self.generator.timeout_seconds)
        text += f" (tried {self.n_sent} times)" if self.n_sent > 1 else ""
        return _EndedError(f"{text}; {_live_models(self.client)}" if fault.is_retired() else text)


def _from_base64(text: str) -> bytes:
    """Return the bytes of base64 text, which may have a ``data:`` prefix, line breaks, or lack its padding."""
    text = "".join(text.rpartition(",")[2].split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _DamagedError("the answer is not valid base64") from None


def _decode(content: bytes, generator: StreamingGenerator) -> tuple[Tensor, dict]:
    """Return an image file as uint8 (1, 128, 128), and its size where another was requested.

    Colours become luma (ITU-R 601, as in Pillow); what is transparent shows the black of the scans' background.
    There and back by Lanczos changes a real scan by 0.7 of 255 grey levels on average (n = 60, at 256 to 1024 pixels);
    the other filters lose more.
    """
    size = generator.size
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            picture, (width, height) = opened, opened.size
            if width == height:
                if picture.mode != "L":
                    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
                filter_ = Image.Resampling[generator.resampling.upper()]
                grey = np.array(picture.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), filter_))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError):  # Pillow has no one class for it
        raise _DamagedError(f"the answer's {len(content)} bytes are no image, or a truncated one") from None
    if width != height:
        raise _EndedError(
            f"asked for {size} x {size} pixels, the answer has {width} x {height}; set a size that is square"
        )
    return torch.from_numpy(grey)[None], {} if width == size else {"received_size": f"{width}x{height}"}


def _live_models(client: openai.OpenAI) -> str:
    try:
        return describe_models(list(client.with_options(max_retries=1, timeout=20).models.list()))
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # a compatible server may list oddly
        return f"its list of models is not available ({type(error).__name__})"
