"""Calls to the image server with a fifth of them failing, in every way that is known; and what a ledger says then."""

from __future__ import annotations

import numpy as np

import openai_server as fake
from benchmarks.faults import children
from benchmarks.faults.engine import Campaign, Tally
from benchmarks.faults.kills import served
from mri_aug.generators.bank import Bank
from openai_server import USD, altered, error, reply

N_SOURCES = 100


def calls(campaign: Campaign) -> Tally:
    """Fill a bank from a server that fails one request in five, and compare its ledger with the server's count."""
    tally = Tally("calls to the image server, 20 % faults")
    wanted = campaign.trials(8000, 60)  # about four fifths of the calls are answered
    n_numbers, rest = max(1, wanted // N_SOURCES), min(wanted, N_SOURCES)
    with served(plan=plan(campaign.seed)) as (url, ask):
        bank, options = Bank(campaign.place("calls") / "bank"), {"timeout_seconds": 5.0, "max_retries": 3}
        child = campaign.start(children.service_fill, str(bank.folder), url, rest, n_numbers, options)
        child.join(max(600.0, wanted * 1.0))  # as long as it goes on: one that is longer than a minute is no hang
        campaign.finish(child, tally)
        counts, account = ask(), bank.account()
        kept = len(bank.records())
    tally.trials = counts["n_requests"]
    tally.rows_lost_or_doubled += abs(kept - rest * n_numbers)
    tally.images_paid_twice += max(0, account.n_images - kept)
    tally.spent(account, kept=counts["n_answered"] * USD, billed=counts["n_billed"] * USD)
    tally.note = f"{kept} images kept, {counts['n_faults']} faults, {account.n_lost} requests possibly billed"
    return tally


def plan(seed: int, share: float = 0.2):
    """Return a plan in which a share of the requests fails, each in a way of its own, drawn in order of arrival."""
    rng = np.random.default_rng(seed)
    draws = rng.random(200_000) < share
    kinds = rng.integers(len(FAULTS), size=200_000)
    return lambda number, source: FAULTS[kinds[number]] if draws[number] else None


def _without_usage(body: dict) -> None:
    body["data"][0]["revised_prompt"] = None


FAULTS = (
    fake.RATE_LIMIT, fake.NOT_ENTITLED, fake.NO_CREDIT, fake.OVERLOADED, fake.RETIRED, fake.DEPRECATED, fake.BAD_KEY,
    fake.FORBIDDEN, fake.ECHOING, fake.DROP, fake.CUT, fake.TRUNCATED, fake.NOT_AN_IMAGE, fake.NO_IMAGE, fake.WEB_PAGE,
    fake.WRONG_SIZE, fake.OWN_SIZE, fake.ADDRESS, fake.RELATIVE, fake.ELSEWHERE, fake.GONE, altered(_without_usage),
    error(500, "x"), error(502, "bad gateway"), error(404, "Not Found"), error(402, "payment required"),
    error(409, "conflict"), error(429, "Limit: 5/1min", "rate_limit_exceeded", **{"Retry-After": "3600"}),
    error(429, "Limit: 5/1min", "rate_limit_exceeded", **{"Retry-After": "soon"}),
    reply(400, "<html>no</html>"), reply(422, {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}),
    reply(200, {"error": {"message": "inside an answer", "code": "server_error"}}), reply(200, ["no", "image"]),
    reply(200, "{half"), reply(500, "\x00\xff"), reply(400, {"error": None}), reply(400, {"error": {"message": [1]}}),
)  # fmt: skip
