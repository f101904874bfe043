"""SIGKILL at random moments: of studies, of bank fills, of workers, of a scheduler; and what is left afterwards."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from openai_server import USD, ImageServer
from paid_service import COST, PaidGenerator

from benchmarks.faults import children
from benchmarks.faults.engine import PATIENCE, PROCESSES, Campaign, Tally, kill, wait_until
from mri_aug.generators.bank import Bank
from mri_aug.provenance import project
from mri_aug.results.deposit import load_deposit
from mri_aug.study.store import Store

MOST_GROWTH = 30.0  # MB of a driver in three quarters of a study
N_SIMULATIONS = 24  # of four conditions of the quick study


def studies(campaign: Campaign) -> Tally:
    """Kill quick studies; each is killed until it is finished, and then compared with one that was left alone."""
    tally, rng = Tally("studies killed"), random.Random(campaign.seed)
    expected, n = _reference(campaign, tally), campaign.trials(600)
    while tally.trials < n:
        path = campaign.place("study") / "store.sqlite"
        kept: dict[str, dict] = {}
        status = None
        while status != 0:
            child = campaign.start(children.quick_study, str(path), N_SIMULATIONS)
            # from the first moment on, or from the first new row on
            if rng.random() < 0.5:
                _wait_for_rows(child, path, len(kept) + 1)
            child.join(rng.uniform(0, 0.25))
            if child.is_alive() and tally.trials < n:
                kill(child)
                tally.trials += 1
            status = campaign.finish(child, tally)
            kept = _check_rows(path, expected, kept, tally)
        _check_all(path, expected, tally)
    return tally


def fills(campaign: Campaign) -> Tally:
    """Kill fills of a bank from a service that logs every request."""
    tally, rng = Tally("bank fills killed"), random.Random(campaign.seed + 1)
    n, total = campaign.trials(330), children.N_IMAGES * children.N_NUMBERS
    while tally.trials < n:
        place = campaign.place("fill")
        bank, generator = Bank(place / "bank"), PaidGenerator(str(place / "requests.log"))
        frozen: dict[tuple[str, int], int] = {}
        status = None
        while status != 0:
            child = campaign.start(children.paid_fill, str(bank.folder), str(generator.log))
            if rng.random() < 0.7:
                n_before = len(generator.requests())
                _wait_for(child, lambda log=generator, n=n_before: len(log.requests()) > n)
            child.join(rng.uniform(0, 0.15))
            if child.is_alive() and tally.trials < n:
                kill(child)
                tally.trials += 1
            status = campaign.finish(child, tally)
            asked = Counter(generator.requests())
            _check_frozen(frozen, asked, tally)
            for record in bank.records():
                frozen.setdefault(who := _who(record), asked[f"{who[0]} {who[1]}"])
        account = bank.account()
        tally.rows_lost_or_doubled += abs(len(bank.records()) - total)
        # a call in flight when its client died may have been billed
        tally.spent(account, kept=COST * total, billed=COST * len(generator.requests()))
    return tally


def service_fills(campaign: Campaign) -> Tally:
    """Kill fills by the real client, from the image server, with several requests in flight."""
    tally, rng = Tally("bank fills by the real client killed"), random.Random(campaign.seed + 2)
    n, n_images = campaign.trials(50, 3), 30
    with served() as (url, ask):
        bank = Bank(campaign.place("service") / "bank")
        frozen: dict[int, int] = {}
        status = None
        while status != 0:
            child = campaign.start(children.service_fill, str(bank.folder), url, n_images, 1 + n // 5, {})
            n_before = ask()["n_requests"] + rng.randrange(6)
            _wait_for(child, lambda n=n_before: ask()["n_requests"] > n)
            child.join(rng.uniform(0, 0.1))
            if child.is_alive() and tally.trials < n:
                kill(child)
                tally.trials += 1
            status = campaign.finish(child, tally)
            requested = ask()["requested"]
            held = Counter(20 + record["source_id"] for record in bank.records())
            for source, count in frozen.items():  # all its variations were kept
                tally.images_paid_twice += requested[source] - count
            frozen |= {s: requested[s] for s, k in held.items() if k == 1 + n // 5 and s not in frozen}
        counts, account = ask(), bank.account()
        kept = len(bank.records())
        tally.rows_lost_or_doubled += abs(kept - n_images * (1 + n // 5))
        tally.spent(account, kept=kept * USD, billed=counts["n_billed"] * USD)
    return tally


def networks(campaign: Campaign) -> Tally:
    """Kill the command twenty times while it trains; it goes on on another machine from a partial deposit."""
    tally, rng = Tally("a study of networks killed, and moved to another machine"), random.Random(campaign.seed + 3)
    words = ["study", "--profile", "smoke", "--parts", "draft", "people", "--simulations", "3", "--jobs", "1"]
    places = [campaign.place("undisturbed"), campaign.place("first-machine"), campaign.place("second-machine")]
    campaign.run(tally, children.command, str(places[0]), *words, "--export", "whole")
    n, deposit = 20, str(places[1] / "results" / "partial")
    for place, end in ((places[1], n // 2), (places[2], n)):
        source = ["--from", deposit] if place == places[2] else []
        path, status = place / "artifacts" / "store.sqlite", None
        while tally.trials < end:
            n_before = _n_rows(path)
            child = campaign.start(children.command, str(place), *words, *source)
            _wait_for_rows(child, path, n_before + 1)
            child.join(rng.uniform(0, 0.5))
            if status == 0 or not child.is_alive():
                tally.note = f"finished before the kill number {tally.trials + 1}"
                break
            kill(child)
            tally.trials += 1
            campaign.finish(child, tally)
        last = ["--outlook"] if place == places[1] else []
        campaign.run(tally, children.command, str(place), *words, *source, *last, "--export", Path(deposit).name)
    tables = [load_deposit(places[0] / "results" / "whole")[0], load_deposit(places[2] / "results" / "partial")[0]]
    moved = load_deposit(deposit)[0]
    try:
        pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables), check_exact=True)
    except AssertionError as error:
        tally.rows_lost_or_doubled += 1
        tally.found.append(str(error).replace("\n", " ")[:300])
    kept = tables[1][tables[1]["key"].isin(moved["key"])].reset_index(drop=True)
    tally.rows_lost_or_doubled += not kept.equals(moved)
    tally.note = tally.note or f"{len(moved)} of {len(tables[1])} rows came with the deposit"
    return tally


def joblib_workers(campaign: Campaign) -> Tally:
    """Kill one of a study's own worker processes; the same command then goes on."""
    tally = Tally("joblib's workers killed")
    expected = _references(campaign, tally, 10)
    path = campaign.place("joblib") / "store.sqlite"
    kept: dict[str, dict] = {}
    for _ in range(campaign.trials(10)):
        child = campaign.start(children.study_of_references, str(path), 10, {"n_jobs": 2})
        _wait_for_rows(child, path, len(kept) + 1)
        if child.is_alive() and (worker := _loky_worker(child.pid)):
            os.kill(worker, signal.SIGKILL)
            tally.trials += 1
        status = campaign.finish(child, tally)
        kept = _check_rows(path, expected, kept, tally)
        if status == 0:
            break
    campaign.run(tally, children.study_of_references, str(path), 10, {"n_jobs": 1})
    _check_all(path, expected, tally)
    return tally


def dask_workers(campaign: Campaign) -> Tally:
    """Lose one of two workers in the middle of a study, then the scheduler in the middle of another."""
    tally = Tally("Dask: a worker lost, the scheduler lost")
    expected = _references(campaign, tally, 8)
    for victim in ("worker", "scheduler"):
        path = campaign.place(f"dask-{victim}") / "store.sqlite"
        with dask_cluster(campaign, 2) as (address, processes):
            child = campaign.start(children.study_of_references, str(path), 8, {"scheduler": address})
            _wait_for_rows(child, path, 4)
            if not _n_rows(path):
                tally.found.append(f"no row came before the {victim} was killed")
            lost = processes.pop(1 if victim == "worker" else 0)
            lost.kill()
            lost.wait()
            tally.trials += 1
            pids = [process.pid for process in processes]
            status = campaign.finish(child, tally, of=f"the driver, its {victim} lost,", beside=pids)
        if victim == "worker" and status != 0:
            tally.found.append("the study did not survive its worker")
        _check_rows(path, expected, {}, tally)
        campaign.run(tally, children.study_of_references, str(path), 8, {"n_jobs": 1})
        _check_all(path, expected, tally)
    return tally


def dask_sizes(campaign: Campaign) -> Tally:
    """Run a study on two, four and eight workers: the rows must be joblib's, and the driver must not grow."""
    tally = Tally("Dask: two, four and eight workers")
    expected, notes = _references(campaign, tally, 25), []
    for name in ("joblib's 2", "2", "4", "8"):
        path = campaign.place(f"dask-{name[-1]}-{len(notes)}") / "store.sqlite"
        with dask_cluster(campaign, int(name)) if name.isdigit() else nullcontext((None, [])) as (address, processes):
            options = {"scheduler": address} if address else {"n_jobs": 2}
            child = campaign.start(children.watched_study, str(path), 25, options)
            campaign.finish(child, tally, beside=[process.pid for process in processes])
        tally.trials += bool(address)
        _check_rows(path, expected, {}, tally)
        _check_all(path, expected, tally)
        found = re.search(r"^watched (\S+) (\S+) (\S+) (\S+)$", child.log.read_text(), re.M)
        if not found:
            tally.found.append(f"the driver of {name} ended without its memory and pace")
            continue
        before, since, after, until = map(float, found.groups())
        if after > before + MOST_GROWTH:
            tally.found.append(f"the driver of {name} grew from {before:.0f} to {after:.0f} MB")
        rate = 3 / 4 * len(expected) / (until - since)
        notes.append(f"{name}: {before:.0f} to {after:.0f} MB, {rate:.1f} rows a second")
    tally.note = f"{len(expected)} rows each; the driver's memory and the pace with " + "; ".join(notes)
    return tally


@contextmanager
def dask_cluster(campaign: Campaign, n_workers: int):
    """Start a scheduler and single-threaded workers on loopback, as a user would; yield address and processes."""
    dask, loopback = str(Path(sys.executable).with_name("dask")), ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [dask, "scheduler", *loopback, "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=project()
    )
    processes = [scheduler]
    try:
        address = next(found[0] for line in scheduler.stderr if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        for number in range(n_workers):
            log = (campaign.folder / "logs" / f"worker-{scheduler.pid}-{number}.txt").open("w")
            processes.append(
                subprocess.Popen(
                    [dask, "worker", address, *loopback, "--nthreads", "1", "--no-nanny"],
                    stdout=log, stderr=log, cwd=project(),
                )
            )  # fmt: skip
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
        scheduler.stderr.close()


@contextmanager
def served(**options):
    """Serve images from a process of its own; yield the address, and a function that returns the server's counts."""
    here, there = multiprocessing.Pipe()
    server = PROCESSES.Process(target=_serve, args=(there, options))
    server.start()

    def ask() -> dict:
        here.send("counts")
        return here.recv()

    try:
        yield here.recv(), ask
    finally:
        here.send("end")
        server.join()


def _serve(pipe, options: dict) -> None:
    plan, n_faults = options.pop("plan", lambda number, source: None), 0

    def counted(number: int, source: int):
        nonlocal n_faults
        fault = plan(number, source)
        n_faults += fault is not None
        return fault

    with ImageServer(counted, **{"seconds": 0.01} | options) as server:
        server.pictures, server.fields = _Nothing(), _Nothing()
        server._http.handle_error = lambda *_: None  # a client that was killed in the middle of its request
        pipe.send(server.url)
        while pipe.recv() != "end":
            with server.lock:
                names = ("n_requests", "n_billed", "n_answered")
                counts = {name: getattr(server, name) for name in names}
                pipe.send({"requested": Counter(server.requested), "n_faults": n_faults, **counts})


class _Nothing(list):
    """A list that keeps nothing: ten thousand pictures would not fit."""

    def append(self, _) -> None:
        pass


def _reference(campaign: Campaign, tally: Tally) -> dict[str, dict]:
    path = campaign.place("reference") / "store.sqlite"
    campaign.run(tally, children.quick_study, str(path), N_SIMULATIONS)
    return Store(path).rows(children.keys_of_references(N_SIMULATIONS))


def _references(campaign: Campaign, tally: Tally, n_simulations: int) -> dict[str, dict]:
    path = campaign.place("reference") / "store.sqlite"
    campaign.run(tally, children.study_of_references, str(path), n_simulations, {"n_jobs": 1})
    return Store(path).rows(children.keys_of_references(n_simulations))


def _wait_for(child, seen) -> None:
    wait_until(lambda: not child.is_alive() or seen(), 10 * PATIENCE)


def _wait_for_rows(child, path: Path, n: int) -> None:
    _wait_for(child, lambda: _n_rows(path) >= n)


def _n_rows(path: Path) -> int:
    return len(Store(path)) if path.exists() else 0


def _check_rows(path: Path, expected: dict, kept: dict, tally: Tally) -> dict[str, dict]:
    """Count the finished rows that are gone, changed or foreign, and return those that are there."""
    if not path.exists():
        return kept
    store = Store(path)
    rows = store.rows(expected)
    changed = sum(rows.get(key) != row for key, row in kept.items())
    wrong = sum(_stable(row) != _stable(expected[key]) for key, row in rows.items())
    tally.rows_lost_or_doubled += changed + wrong + len(store) - len(rows)
    return rows


def _check_all(path: Path, expected: dict, tally: Tally) -> None:
    tally.rows_lost_or_doubled += len(expected) - len(Store(path).rows(expected))


def _stable(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "seconds" and not _is_nan(value)}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))


def _who(record: dict) -> tuple[str, int]:
    return record["source_sha256"], record["index"]


def _check_frozen(frozen: dict, asked: Counter, tally: Tally) -> None:
    """Count requests for variations that were in the bank already."""
    for who, count in frozen.items():
        tally.images_paid_twice += asked[f"{who[0]} {who[1]}"] - count


def _loky_worker(driver: int) -> int | None:
    """Return one of the worker processes that joblib started for a driver."""
    found = [
        process.pid for process in psutil.Process(driver).children(recursive=True)
        if "popen_loky_posix" in " ".join(process.cmdline())
    ]  # fmt: skip
    return found[0] if found else None
