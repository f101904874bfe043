"""Calls to the image server with a fifth of them failing, in every way that is known; and what a ledger says then."""

from __future__ import annotations

from dataclasses import astuple
from functools import partial

import numpy as np
import openai_server as fake
from nbformat.v4 import new_code_cell
from openai_server import USD, altered, error, reply
from toy_book import write_notebook

from benchmarks.faults import children
from benchmarks.faults.engine import Campaign, Tally
from benchmarks.faults.kills import served
from mri_aug.generators.bank import Bank
from mri_aug.generators.ledger import Account

N_SOURCES, N_CLIENTS = 100, 8


def calls(campaign: Campaign) -> Tally:
    """Fill banks from a server that fails one request in five, and compare their ledgers with the server's count.

    The clients wait for most of their time, so several fill a bank each at once.
    """
    tally = Tally("calls to the image server, 20 % faults")
    wanted = campaign.trials(8800, 60)  # about four fifths of the calls are answered
    n_clients = min(N_CLIENTS, wanted // 60)
    n_numbers, rest = max(1, wanted // N_SOURCES // n_clients), min(wanted, N_SOURCES)
    options = {"timeout_seconds": 60.0, "max_retries": 3, "concurrency": 12}  # no fault is a silence: none may look so
    with served(plan=plan(campaign.seed)) as (url, ask):
        banks = [Bank(campaign.place("calls") / "bank") for _ in range(n_clients)]
        fill = partial(campaign.start, children.service_fill)
        for child in [fill(str(bank.folder), url, rest, n_numbers, options) for bank in banks]:
            campaign.finish(child, tally)
        counts, account = ask(), Account(*map(sum, zip(*(astuple(bank.account()) for bank in banks), strict=True)))
        kept = sum(len(bank.records()) for bank in banks)
    tally.trials = counts["n_requests"]
    tally.rows_lost_or_doubled += abs(kept - rest * n_numbers * n_clients)
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


def notebook(campaign: Campaign) -> Tally:
    """Execute a notebook that fills a bank and prints what it may of its errors, with the key in the environment."""
    tally = Tally("notebooks executed with the key")
    home = campaign.place("notebook")
    path = home / "fill.ipynb"
    write_notebook(path, [new_code_cell(cell) for cell in CELLS])
    with served(plan=lambda number, source: FAULTS[(6, 8, 13)[number % 3]]) as (url, _):
        campaign.run(tally, children.execute, str(path), str(home / "executed.ipynb"), url)
    tally.trials = 1
    said = (home / "executed.ipynb").read_text() if (home / "executed.ipynb").exists() else ""
    if "ImageServiceError" not in said or "[secret]" not in said:
        tally.found.append("the notebook did not show the errors that quote the key")
    return tally


CELLS = (
    "import torch\nfrom mri_aug.generators.bank import Bank\nfrom openai_server import make_sources\n"
    "from benchmarks.faults.children import service_generator",
    "for number in range(6):\n    try:\n        Bank('bank').vary(service_generator(), make_sources(4), "
    "torch.zeros(4, dtype=torch.int64), indices=[number] * 4, source_ids=range(4))\n"
    "    except Exception as error:\n        print(type(error).__name__, error, vars(error))",
    "service_generator(), Bank('bank')",
)
