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
    is_retired,
    missing_version,
    public_address,
    refusal,
    said,
)

_CALL_ID = "X-Client-Request-Id"  # OpenAI's support finds a request by it, even one that was never answered
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError")
_MOST_UNANSWERED = 3  # requests of one call that may be paid for without an answer
_MOST_DAMAGED = 2  # answers of one call that are paid for and hold no whole image
_FORMATS = ("PNG", "JPEG", "WEBP")  # of GPT image models and compatible servers


@dataclass
class _Account:
    """The requests of one call."""

    n_sent: int = 0
    n_unanswered: int = 0
    usages: list[object] = field(default_factory=list)
    request_id: str | None = None


class _CountingHttp(openai.DefaultHttpxClient):
    """The client's own transport; it counts the requests of each call and stops retries that cannot help."""

    def __init__(self):
        super().__init__()
        self.accounts: dict[str, _Account] = {}
        self.stopped = False

    def send(self, request, **options):
        if self.stopped and request.method == "POST":
            raise openai.APIConnectionError(request=request)  # an error of the client's own ends its retries
        account = self.accounts.get(request.headers.get(_CALL_ID), _Account())
        account.n_sent += 1
        try:
            response = super().send(request, **options)
        except Exception as error:
            # by name, since the client uses httpx or httpx2
            account.n_unanswered += type(error).__name__ not in _NOT_SENT
            if account.n_unanswered < _MOST_UNANSWERED:
                raise
            kind = openai.APITimeoutError if "Timeout" in type(error).__name__ else openai.APIConnectionError
            raise kind(request=request) from None
        if response.status_code == 429 and is_hopeless(response.text):
            response.headers["x-should-retry"] = "false"
        return response


class _RefusedError(Exception):
    """The service refuses to vary this image."""


class _FailedError(Exception):
    """There is no image, and a second request would not help."""


class _DamagedError(Exception):
    """There is no whole image; a second request may help."""


def answers(generator: StreamingGenerator, requests: Iterable[Request]) -> Iterator[Answer]:
    """Yield the answers of an :class:`~mri_aug.generators.openai.generators.OpenAIGenerator` as they arrive.

    At most ``generator.concurrency`` calls are in flight, and the next request is taken only when the caller wants
    another answer. After an interruption (Ctrl-C) or a failure nothing more is sent, and the answers of the calls in
    flight are yielded before it is raised; a second interruption is raised at once.

    Raises
    ------
    ImageServiceError
        If a call failed other than by a refusal; or, before any request, if the environment holds no usable key.
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
                        flying.add(pool.submit(_ask, client, http, generator, request))
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


def _ask(client: openai.OpenAI, http: _CountingHttp, generator: StreamingGenerator, request: Request) -> Answer:
    """Return the answer to one request; a failure is an answer too, since errors can hold the server's words."""
    name, begun, account, pixels, extra = f"mri-aug-{uuid.uuid4()}", time.perf_counter(), _Account(), None, {}
    http.accounts[name] = account
    try:
        pixels, extra = _picture(client, generator, request, name, account)
    except _RefusedError as refused:
        extra = {"refused": str(refused)}
    except _FailedError as failed:
        extra = {"failed": str(failed)}
    finally:
        del http.accounts[name]
    costs = [generator.prices.usd(usage) for usage in account.usages]
    usd, n_unknown = sum(cost or 0.0 for cost in costs), costs.count(None)
    record = {
        **generator.record(request.label),
        "server": public_address(client.base_url),
        "request_id": account.request_id,
        "client_request_id": name,
        "usage": account.usages[-1] if account.usages else None,
        "usd": usd,
        "usd_at_most": usd + (account.n_unanswered + n_unknown) * generator.usd_per_image,
        "attempts": account.n_sent,
        "unanswered": account.n_unanswered,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    return Answer(request.position, pixels, {**record, **extra})


def _picture(
    client: openai.OpenAI, generator: StreamingGenerator, request: Request, name: str, account: _Account
) -> tuple[Tensor, dict]:
    """Return the variation, and what its record says of the answer."""
    method = getattr(client.images.with_raw_response, generator.method)
    arguments = generator.arguments(request.image, request.label)
    for _ in range(_MOST_DAMAGED):
        try:
            raw = method(**arguments, extra_headers={_CALL_ID: name})
        except openai.OpenAIError as error:
            account.request_id = getattr(error, "request_id", None)
            raise _fault(client, generator, Fault.of(error), account) from None
        account.request_id = raw.headers.get("x-request-id")
        try:
            return _decode(_content(client, generator, raw.text, account), generator)
        except _DamagedError as error:
            damage = str(error)
    raise _FailedError(f"{damage}, {_MOST_DAMAGED} times (request {account.request_id})")


def _content(client: openai.OpenAI, generator: StreamingGenerator, text: str, account: _Account) -> bytes:
    """Return the image file in an answer with status 200, and note its usage."""
    try:
        body = json.loads(text)
    except ValueError:
        if text.lstrip().startswith("<"):
            server = public_address(client.base_url)
            way_on = missing_version(server) or "a proxy or a login page may be in between"
            raise _FailedError(f"{server} answered with a web page ({said(text)}); {way_on}") from None
        account.n_unanswered += 1  # whatever this was, its cost is not known
        raise _DamagedError("the answer is not the JSON that an image endpoint gives") from None
    body = body if isinstance(body, Mapping) else {"detail": body}
    data = body.get("data")
    image = data[0] if isinstance(data, list) and data else data
    image = image if isinstance(image, Mapping) else {}
    encoded, url = image.get("b64_json"), str(image.get("url") or "")
    if encoded or url or isinstance(data, list):
        account.usages.append(body.get("usage"))
    if url.startswith("data:"):
        encoded = url
    if encoded:
        return _from_base64(str(encoded))
    if url:
        return _fetch(client, url)
    if (fault := Fault.of_body(image) if said(image) else Fault.of_body(body)).words:
        raise _fault(client, generator, fault, account)
    raise _DamagedError("the answer holds no image")


def _from_base64(text: str) -> bytes:
    """Return the bytes of base64 text, which may have a ``data:`` prefix, line breaks, or lack its padding."""
    text = "".join(text.rpartition(",")[2].split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _DamagedError("the answer is not valid base64") from None


def _fetch(client: openai.OpenAI, url: str) -> bytes:
    """Return the file at an address that an answer holds in place of the image, if it is the same server's."""
    base = urlsplit(str(client.base_url))
    target = urlsplit(urljoin(base.geturl(), url))
    place = public_address(target.geturl())
    if (target.scheme, target.netloc.rpartition("@")[2]) != (base.scheme, base.netloc.rpartition("@")[2]):
        raise _FailedError(
            f"the answer holds an address in place of the image ({place}), which is not fetched, since it is on "
            "another server than OPENAI_BASE_URL; make the server answer with b64_json"
        )
    try:
        options = {"follow_redirects": False}
        address = target._replace(netloc=base.netloc).geturl()
        return client.get(address, cast_to=openai.HttpxBinaryResponseContent, options=options).content
    except openai.OpenAIError as error:
        fault = Fault.of(error)
        status = f"status {fault.status}" if fault.status else "no connection"
        raise _FailedError(
            f"the answer holds an address in place of the image ({place}), which cannot be fetched ({status}: "
            f"{fault.words}); make the server answer with b64_json"
        ) from None


def _decode(content: bytes, generator: StreamingGenerator) -> tuple[Tensor, dict]:
    """Return an image file as uint8 (1, 128, 128), and its size where another was requested.

    Colours become luma (ITU-R 601, as in Pillow); what is transparent shows the black of the scans' background.
    There and back by Lanczos changes a real scan by 0.7 of 255 grey levels on average (n = 60, at 256 to 1024 pixels);
    the other filters lose more.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            width, height = picture.size
            if width == height:
                filter_ = Image.Resampling[generator.resampling.upper()]
                grey = np.array(_grey(picture).resize((IMAGE_SIZE, IMAGE_SIZE), filter_))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError):  # Pillow has no one class for it
        raise _DamagedError(f"the answer's {len(content)} bytes are no image, or a truncated one") from None
    if width != height:
        size = generator.size
        raise _FailedError(
            f"asked for {size} x {size} pixels, the answer has {width} x {height}; set a size that is square"
        )
    extra = {} if width == generator.size else {"received_size": f"{width}x{height}"}
    return torch.from_numpy(grey)[None], extra


def _grey(picture: Image.Image) -> Image.Image:
    if picture.mode == "L":
        return picture
    coloured = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), coloured).convert("L")


def _fault(
    client: openai.OpenAI, generator: StreamingGenerator, fault: Fault, account: _Account
) -> _RefusedError | _FailedError:
    """Return what a fault means for its image, to be raised."""
    if reason := refusal(fault):
        return _RefusedError(reason)
    server = public_address(client.base_url)
    text = explain(fault, server=server, model=generator.model, timeout=generator.timeout_seconds)
    if account.n_sent > 1:
        text += f" (tried {account.n_sent} times)"
    return _FailedError(f"{text}; {_live_models(client)}" if is_retired(fault) else text)


def _live_models(client: openai.OpenAI) -> str:
    try:
        return describe_models(list(client.with_options(max_retries=1, timeout=20).models.list()))
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # a compatible server may list oddly
        return f"its list of models is not available ({type(error).__name__})"
