"""A bank filled through the real client, from a server on loopback that fails at random, by a writer that is killed."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import pytest
import torch
from openai_server import CUT, DROP, KEY, OVERLOADED, RATE_LIMIT, REFUSAL, TRUNCATED, USD, ImageServer, make_sources

from mri_aug.generators.bank.bank import Bank
from mri_aug.generators.base import RefusedVariationsError, make_generator

N = 60
FAULTS = (RATE_LIMIT, OVERLOADED, DROP, TRUNCATED, CUT)
FIRST = 20  # the server's number of the first source
REFUSED = FIRST + 7


def _fill(folder, n):
    # the smallest size is the quickest; retries wait seconds, so that few of them keep the test short
    generator = make_generator("openai-edits", size=816, concurrency=4, timeout_seconds=20.0)
    images, labels = make_sources(n), torch.arange(n) % 4
    bank, ids = Bank(folder, max_usd=25.0), range(FIRST, FIRST + n)
    try:
        bank.vary(generator, images, labels, indices=[0] * n, source_ids=ids, subjects=[0] * n)
    except RefusedVariationsError as refusal:
        assert refusal.positions == (REFUSED - FIRST,)


def _plan(rng):
    def fault(number, source):
        if source == REFUSED:
            return REFUSAL
        return FAULTS[rng.integers(len(FAULTS))] if rng.random() < 0.2 else None

    return fault


def test_random_faults_and_two_kills_cost_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    frozen: dict[int, int] = {}  # of each source in the bank at a kill, how often it had been asked for
    with ImageServer(_plan(np.random.default_rng(0)), seconds=0.02) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        # a call that fails for good ends its writer; whoever started it starts it again
        for stop in (N // 4, N // 2, *[None] * 8):
            writer = multiprocessing.get_context("spawn").Process(target=_fill, args=(tmp_path, N))
            writer.start()
            while writer.is_alive() and (stop is None or Bank(tmp_path).count() < stop):
                time.sleep(0.01)
            writer.kill() if stop else None
            writer.join()
            if writer.exitcode == 0:
                break
            kept = [record["source_id"] for record in Bank(tmp_path).records()]
            frozen |= {source: server.requested[source] for source in kept if source not in frozen}
    assert writer.exitcode == 0 and Bank(tmp_path).count() == N - 1 and len(frozen) >= N // 2
    assert all(server.requested[source] == count for source, count in frozen.items())
    assert server.requested[REFUSED] == 1 and len(Bank(tmp_path).refusals()) == 1
    account, billed = Bank(tmp_path).account(), server.n_billed * USD
    assert account.usd >= (N - 1) * USD - 1e-9
    assert account.usd - 1e-9 <= billed <= account.usd + account.usd_lost + 1e-9
    assert account.n_lost >= 2 and account.n_in_flight == 0
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize("faults", [True, False])
def test_spending_equals_the_servers_own_count(tmp_path, monkeypatch, faults):
    """To the cent where no connection breaks; images that came damaged are paid for too."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ImageServer(lambda number, _: TRUNCATED if faults and number % 5 == 2 else None) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        n = 10
        generator = make_generator("openai-edits", size=816, concurrency=1)
        images, labels = make_sources(n), torch.arange(n) % 4
        Bank(tmp_path).vary(generator, images, labels, indices=[0] * n, source_ids=range(n))
    assert server.n_billed == (12 if faults else 10)
    assert Bank(tmp_path).account().usd == pytest.approx(server.n_billed * USD) and Bank(tmp_path).account().n_lost == 0
