"""Ask an image service for many images at once, keep to its limits, and read its answers.

Never retries a refusal; at most ``concurrency`` results wait unread.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TypeVar

import openai
from openai.types import ImagesResponse
from torch import Tensor

from mri_aug.generators.base import Answer
from mri_aug.generators.openai.faults import (
    ImageServiceError,
    Prices,
    describe_models,
    explain,
    is_hopeless,
    is_retired,
    public_address,
    refusal,
)
from mri_aug.generators.openai.pixels import DamagedAnswerError, WrongSizeError, decode

Job = TypeVar("Job")
Result = TypeVar("Result")
Ask = Callable[[Job], Awaitable[Result]]


def in_background(
    session: AbstractAsyncContextManager[Ask], jobs: Iterable[Job], *, concurrency: int, last: Callable[[Result], bool]
) -> Iterator[Result]:
    """Yield the result of each job, in order of arrival.

    A worker takes its next job only when its result has been taken and the next one is asked for: what the consumer
    does with a result, such as keeping it, is done before anything more is begun on its behalf. Closing the iterator
    cancels the jobs under way and begins no other.

    Parameters
    ----------
    session : asynchronous context manager
        Entered in the loop; gives the coroutine function that does one job.
    jobs : iterable
        Read one by one as workers become free, in the loop's thread.
    concurrency : int
        Workers.
    last : callable
        True for a result after which no job may begin; those under way are finished and yielded.

    Raises
    ------
    Exception
        Whatever the session or a job raises.
    """
    inbox: SimpleQueue[tuple[Result, asyncio.Event] | BaseException | None] = SimpleQueue()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task]] = Future()

    async def work() -> None:
        started.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        waiting, stopped = iter(jobs), False

        async def worker(ask: Ask) -> None:
            nonlocal stopped
            for job in waiting:  # one iterator among all workers
                result = await ask(job)
                stopped |= last(result)
                taken = asyncio.Event()
                inbox.put((result, taken))
                await taken.wait()
                if stopped:
                    return

        async with session as ask:
            await asyncio.gather(*(worker(ask) for _ in range(concurrency)))

    thread = threading.Thread(target=_run, args=(work, inbox, started), name="mri-aug background", daemon=True)
    thread.start()
    loop, task = started.result()
    try:
        while isinstance(item := inbox.get(), tuple):
            yield item[0]
            loop.call_soon_threadsafe(item[1].set)
        if item is not None:
            raise item
    finally:
        with suppress(RuntimeError):  # the loop is closed when all is done
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _run(work: Callable[[], Awaitable[None]], inbox: SimpleQueue, started: Future) -> None:
    try:
        asyncio.run(work())
    except BaseException as error:  # to be raised where it is waited for
        inbox.put(error)
        if not started.done():
            started.set_exception(error)
    else:
        inbox.put(None)


_CALL_ID = "X-Client-Request-Id"  # OpenAI's support finds a request by it, even one that never got an answer
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
_MOST_UNANSWERED = 3  # requests of one call that may be paid for without an answer
_MOST_DAMAGED = 2  # answers of one call that are paid for and hold no whole image


@dataclass(frozen=True)
class Call:
    """A request for one variation; ``arguments`` are those of the client's method, the image's file included."""

    position: int
    arguments: Mapping[str, object]
    record: Mapping[str, object]  # what of the request goes into the answer's record


@dataclass(frozen=True)
class Terms:
    """How calls are made and what they cost.

    Parameters
    ----------
    method : str
        ``"edit"`` or ``"create_variation"``.
    model, size, resampling
        As in the request; the answer must have that size.
    prices : Prices
    usd_per_image : float
        Bound of one answer's cost.
    concurrency, timeout_seconds, max_retries
        See :class:`mri_aug.generators.openai.generators.OpenAIGenerator`.
    """

    method: str
    model: str
    size: int
    resampling: str
    prices: Prices
    usd_per_image: float
    concurrency: int
    timeout_seconds: float
    max_retries: int


@dataclass
class _Account:
    """What became of the requests of one call."""

    n_sent: int = 0
    n_unanswered: int = 0
    usages: list[dict] = field(default_factory=list)
    request_id: str | None = None


class _CountingHttp(openai.DefaultAsyncHttpxClient):
    """The client's own transport, keeping an account of each call and stopping retries that cannot help."""

    def __init__(self):
        super().__init__()
        self.accounts: dict[str, _Account] = {}

    async def send(self, request, **options):
        account = self.accounts.get(request.headers.get(_CALL_ID), _Account())
        account.n_sent += 1
        try:
            response = await super().send(request, **options)
        except Exception as error:
            # by name, since the client stands on httpx or on httpx2
            account.n_unanswered += type(error).__name__ not in _NOT_SENT
            if account.n_unanswered < _MOST_UNANSWERED:
                raise
            kind = openai.APITimeoutError if "Timeout" in type(error).__name__ else openai.APIConnectionError
            raise kind(request=request) from None  # an error of the client's own ends its retries
        if response.status_code == 429 and is_hopeless(response.text):
            response.headers["x-should-retry"] = "false"
        return response


@dataclass(frozen=True)
class _Refused:
    reason: str


@dataclass(frozen=True)
class _Failed:
    reason: str


def answers(calls: Iterator[Call], terms: Terms) -> Iterator[Answer]:
    """Yield the answer to each call as it arrives; close the iterator to send no more.

    Raises
    ------
    ImageServiceError
        If a call failed for another reason than a refusal, after all answers that were under way; or, before any
        request, if OPENAI_API_KEY is not set.
    """
    failures: list[Answer] = []
    outcomes = in_background(
        _session(terms), calls, concurrency=terms.concurrency, last=lambda answer: "failed" in answer.record
    )
    try:
        for answer in outcomes:
            if "failed" in answer.record:
                failures.append(answer)
            else:
                yield answer
    finally:
        outcomes.close()
    if failures:
        raise ImageServiceError(_summary(failures), failures)


def _summary(failures: list[Answer]) -> str:
    first, others = failures[0], sorted(failure.position for failure in failures[1:])
    unanswered = sum(failure.record["unanswered"] for failure in failures)
    text = f"image {first.position} of the batch: {first.record['failed']}"
    if others:
        text += f"; images {', '.join(map(str, others))}, under way at the same time, failed too"
    if unanswered:
        text += f"; {unanswered} requests were sent and not answered, and may have been billed"
    return text


@asynccontextmanager
async def _session(terms: Terms) -> AsyncIterator[Callable[[Call], Awaitable[Answer]]]:
    http = _CountingHttp()
    timeout = openai.Timeout(terms.timeout_seconds, connect=min(terms.timeout_seconds, 20.0))
    async with openai.AsyncOpenAI(http_client=http, timeout=timeout, max_retries=terms.max_retries) as client:

        async def ask(call: Call) -> Answer:
            name, begun = f"mri-aug-{uuid.uuid4()}", time.perf_counter()
            account = http.accounts[name] = _Account()
            outcome = await _outcome(client, call, terms, name, account)
            del http.accounts[name]
            usd = sum(map(terms.prices.usd, account.usages))
            record = {
                **call.record,
                "server": public_address(client.base_url),
                "request_id": account.request_id,
                "client_request_id": name,
                "usage": account.usages[-1] if account.usages else None,
                "usd": usd,
                "usd_at_most": usd + account.n_unanswered * terms.usd_per_image,
                "attempts": account.n_sent,
                "unanswered": account.n_unanswered,
                "seconds": round(time.perf_counter() - begun, 3),
            }
            if isinstance(outcome, _Refused):
                return Answer(call.position, None, {**record, "refused": outcome.reason})
            if isinstance(outcome, _Failed):
                return Answer(call.position, None, {**record, "failed": outcome.reason})
            return Answer(call.position, outcome, record)

        yield ask


async def _outcome(client, call: Call, terms: Terms, name: str, account: _Account) -> Tensor | _Refused | _Failed:
    """Return the variation, or why there is none; errors end here, since their causes can hold the server's words."""
    method = getattr(client.images.with_raw_response, terms.method)
    for _ in range(_MOST_DAMAGED):
        try:
            raw = await method(**call.arguments, extra_headers={_CALL_ID: name})
        except openai.OpenAIError as error:
            return await _fault(client, error, terms, account)
        account.request_id = raw.headers.get("x-request-id")
        try:
            return decode(_encoded_image(raw, account), size=terms.size, resampling=terms.resampling)
        except WrongSizeError as error:
            return _Failed(f"{error}; set the size that this server makes")
        except DamagedAnswerError as error:
            damage = str(error)
    return _Failed(f"{damage}, {_MOST_DAMAGED} times (request {account.request_id})")


def _encoded_image(raw, account: _Account) -> str | None:
    """Return the base64 text of an answer's image and note its usage."""
    try:
        response = raw.parse()
    except (ValueError, openai.OpenAIError):
        response = None
    if not isinstance(response, ImagesResponse) or not isinstance(response.data, list):
        account.n_unanswered += 1  # whatever this was, its cost is not known
        raise DamagedAnswerError("the answer is not the JSON that an image endpoint gives")
    if response.usage is not None:
        account.usages.append(response.usage.to_dict())
    image = response.data[0] if response.data else None
    if image is not None and image.b64_json is None and image.url is not None:
        raise DamagedAnswerError("the answer holds an address in place of the image")
    return image and image.b64_json


async def _fault(client, error: openai.OpenAIError, terms: Terms, account: _Account) -> _Refused | _Failed:
    account.request_id = getattr(error, "request_id", None)
    if reason := refusal(error):
        return _Refused(reason)
    server = public_address(client.base_url)
    text = explain(error, server=server, model=terms.model, seconds=terms.timeout_seconds)
    if account.n_sent > 1:
        text += f" (tried {account.n_sent} times)"
    return _Failed(f"{text}; {await _live_models(client)}" if is_retired(error) else text)


async def _live_models(client) -> str:
    try:
        found = [model async for model in client.with_options(max_retries=1, timeout=20).models.list()]
        return describe_models(found)
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # a compatible server may list oddly
        return f"its list of models cannot be had ({type(error).__name__})"
