"""Asynchronous work behind an iterator: order, bounds, and ends of every kind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from mri_aug.generators.openai.service import in_background


def run(ask, jobs, *, concurrency=2, last=lambda result: False, log=None):
    @asynccontextmanager
    async def session():
        try:
            yield ask
        finally:
            if log is not None:
                log.append("closed")

    return in_background(session(), jobs, concurrency=concurrency, last=last)


async def double(job):
    await asyncio.sleep(0)
    return 2 * job


def test_every_job_is_done_once():
    log = []
    assert sorted(run(double, range(7), concurrency=3, log=log)) == [0, 2, 4, 6, 8, 10, 12]
    assert log == ["closed"]
    assert list(run(double, [])) == []


def test_jobs_are_read_as_workers_become_free():
    read = []

    def jobs():
        for job in range(9):
            read.append(job)
            yield job

    results = run(double, jobs(), concurrency=2)
    next(results)
    assert len(read) <= 2
    results.close()
    assert len(read) <= 2


def test_after_the_last_result_none_begins():
    begun = []

    async def ask(job):
        begun.append(job)
        await asyncio.sleep(0.05 if job else 0)
        return job

    assert sorted(run(ask, range(9), concurrency=3, last=lambda result: result == 0)) == [0, 1, 2]
    assert begun == [0, 1, 2]


@pytest.mark.parametrize("where", ["job", "jobs", "session"])
def test_an_exception_reaches_the_consumer(where):
    async def ask(job):
        raise KeyError(where)

    def jobs():
        yield from range(2)
        raise KeyError(where)

    @asynccontextmanager
    async def broken():
        raise KeyError(where)
        yield

    session = {"job": lambda: run(ask, range(3)), "jobs": lambda: run(double, jobs())}
    results = session.get(where, lambda: in_background(broken(), [1], concurrency=1, last=bool))()
    with pytest.raises(KeyError, match=where):
        list(results)
    assert "mri-aug background" not in {thread.name for thread in threading.enumerate()}


def test_closing_cancels_what_is_under_way():
    log = []

    async def ask(job):
        try:
            await asyncio.sleep(0 if job == 0 else 60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        return job

    results = run(ask, range(5), concurrency=2, log=log)
    assert next(results) == 0
    results.close()
    assert log == ["cancelled", "closed"]
    assert "mri-aug background" not in {thread.name for thread in threading.enumerate()}
