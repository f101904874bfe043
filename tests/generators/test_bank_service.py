"""A bank filled through the real client, from a service that fails often, by programs that are killed."""

from __future__ import annotations

import os

import numpy as np
import openai
import openai_server as fake
import pytest
import torch
from openai_server import KEY, USD, ImageServer, error, make_sources
from paid_service import PROCESSES

from mri_aug.generators.bank import Bank
from mri_aug.generators.base import RefusedVariationsError, make_generator
from mri_aug.generators.openai.faults import ImageServiceError

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of create_variation
N, CONCURRENCY = 120, 6
PASSING = (fake.RATE_LIMIT, fake.OVERLOADED, error(500, "x"), fake.DROP, fake.CUT)
DAMAGED = (fake.TRUNCATED, fake.NO_IMAGE)
REFUSED = (25, 77)  # sources


def plan(faults, share: float = 0.2):
    """Return a plan in which a share of the requests fails, drawn by source and by how often it was requested."""
    tries: dict[int, int] = {}

    def fault(number: int, source: int):
        tries[source] = tries.get(source, 0) + 1
        rng = np.random.default_rng([5, source, tries[source]])
        failed = rng.random() < share
        drawn = faults[rng.integers(len(faults))]
        return drawn if failed else fake.REFUSAL if source in REFUSED else None

    return fault


def generator(**options):
    defaults = {"size": 256, "concurrency": CONCURRENCY, "prices": {"per_image": 2.0}}
    return make_generator("openai-variations", **defaults | options)


def batch(n: int):
    return (make_sources(n), torch.arange(n) % 4), {"indices": [0] * n, "source_ids": range(n)}


def fill(folder, url: str, n: int) -> int:
    """Fill the bank, starting again where an image failed, and return how often that was."""
    os.environ.update(OPENAI_BASE_URL=url, OPENAI_API_KEY=KEY)
    openai._base_client.INITIAL_RETRY_DELAY = 0.01
    images, rest = batch(n)
    for n_failed in range(40):
        try:
            Bank(folder).vary(generator(), *images, **rest)
        except ImageServiceError:
            continue
        except RefusedVariationsError:
            pass
        return n_failed
    raise AssertionError("forty times is too often")


def start(*arguments):
    process = PROCESSES.Process(target=fill, args=arguments)
    process.start()
    return process


def test_a_study_survives_faults_and_kills(tmp_path):
    images, rest = batch(N)
    bank = Bank(tmp_path / "bank")
    with ImageServer(plan(PASSING)) as server:
        frozen, n_untold = [], 0
        for n_kept in (N // 3, 2 * N // 3):
            writer = start(bank.folder, server.url, N)
            server.wait(lambda server, n_kept=n_kept: len(server.delivered) >= n_kept)
            server.hold(CONCURRENCY)
            # what a call had to repeat before it was killed is unknown to everybody but the server
            n_untold += sum(server.broken[source] for source in server.held)
            writer.kill()  # with as many requests in flight as there may be
            writer.join()
            server.let_go()
            kept = set(range(N)) - set(bank.look(generator(), *images, indices=rest["indices"])[0])
            frozen.append({position: server.requested[20 + position] for position in kept})
        writer = start(bank.folder, server.url, N)
        writer.join()
        assert writer.exitcode == 0

        refused = [source - 20 for source in REFUSED]
        assert bank.look(generator(), *images, indices=rest["indices"]) == ([], refused)
        assert len(bank.records()) == N - len(refused) and len(bank.records(refused=True)) == len(refused)
        assert len(frozen[0]) >= N // 3 and len(frozen[1]) >= 2 * N // 3
        for kept in frozen:
            assert {position: server.requested[20 + position] for position in kept} == kept, "requested again"
        assert set(server.delivered.values()) == {1}, "bought twice"

        account = bank.account()
        assert account.usd == pytest.approx(server.n_answered * USD)
        assert account.n_images == server.n_answered == N - len(refused)
        # what was made for a connection that broke, or for a client that was killed, is in the server's count alone
        assert server.n_billed - server.n_answered == account.n_lost + n_untold >= 2 * CONCURRENCY
        assert account.usd < server.n_billed * USD <= account.usd + account.usd_lost
        assert server.most_at_once <= CONCURRENCY

        asked = server.n_requests
        others = [position for position in range(N) if position not in refused]
        offline = Bank(bank.folder, offline=True).vary(
            generator(), images[0][others], images[1][others], indices=[0] * len(others), source_ids=others
        )
        assert server.n_requests == asked
        assert (offline[:, 0, 60:68, 60:68].float().mean((1, 2)) - torch.tensor(others) - 20).abs().max() < 1
    for path in bank.folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_spending_counts_damaged_and_failed_answers(tmp_path, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    with ImageServer(plan(PASSING + DAMAGED, 0.5)) as server:
        assert fill(tmp_path, server.url, 60) >= 1, "two damaged answers in a row end a stream"
        account = Bank(tmp_path).account()
        assert account.n_images == 60 - sum(source < 80 for source in REFUSED) == sum(server.delivered.values())
        assert account.usd == pytest.approx(server.n_answered * USD)
        assert server.n_billed - server.n_answered == account.n_lost > 0
        assert server.n_billed * USD <= account.usd + account.usd_lost


def test_a_failure_without_way_on_ends_a_fill_and_keeps_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    images, rest = batch(20)
    with ImageServer(lambda number, source: error(429, "x", "insufficient_quota") if number == 8 else None) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with pytest.raises(ImageServiceError, match="no credit left"):
            Bank(tmp_path).vary(generator(), *images, **rest)
        assert len(Bank(tmp_path).records()) == server.n_answered == server.n_requests - 1
        assert Bank(tmp_path).account().n_lost == 0
        Bank(tmp_path).vary(generator(), *images, **rest)
        assert set(server.delivered.values()) == {1} and server.n_billed == 20
        assert Bank(tmp_path).account().usd == pytest.approx(20 * USD)


def test_a_class_without_a_prompt_is_named_before_anything_is_entered(tmp_path, start):
    server, (images, rest) = start(), batch(8)
    edits = make_generator("openai-edits", prompt=["a", "b", "c"])
    bank = Bank(tmp_path / "bank")
    for act in (bank.vary, edits.vary):
        with pytest.raises(ValueError, match="3 prompts, one per class from 0, got an image of class 3"):
            act(edits, *images, **rest) if act == bank.vary else act(*images, seed=0)
    assert server.n_requests == 0 and not bank.folder.exists() and bank.account().n_lost == 0
