"""Asynchronous work behind an ordinary iterator: results as they arrive, from an event loop in a thread of its own.

It works where a loop is running already, as in a notebook. It knows nothing of what the work is, tries nothing again
and never runs ahead: whoever iterates holds at most as many unread results as there are workers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from queue import SimpleQueue
from typing import TypeVar

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
