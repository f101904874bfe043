"""Where files go wrong: a full disk, a folder that may not be written to, a clock that jumps, two writers at once."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paid_service import COST, PaidGenerator

from benchmarks.faults import children
from benchmarks.faults.engine import Campaign, Tally
from benchmarks.faults.kills import N_SIMULATIONS, _check_all, _check_rows, _reference
from mri_aug.generators.bank import Bank
from mri_aug.study.store import Store

KIB = 1024


def full_disk(campaign: Campaign) -> Tally:
    """Let the disk fill up in the middle of studies, of fills and of exports; make room and go on."""
    tally, rng = Tally("full disk"), random.Random(campaign.seed + 4)
    expected = _reference(campaign, tally)
    for _ in range(campaign.trials(20)):
        with small_disk(campaign.place("full")) as disk:
            path, log = disk / "store.sqlite", campaign.place("requests") / "requests.log"
            Store(path)
            ballast = _fill_up(disk, leave=rng.randrange(4 * KIB, 40 * KIB))
            tally.trials += 1
            statuses = [
                campaign.run(tally, children.quick_study, str(path), N_SIMULATIONS),
                campaign.run(tally, children.paid_fill, str(disk / "bank"), str(log)),
                campaign.run(tally, children.export, str(disk / "deposit"), 2000),
            ]
            if 0 in statuses:
                tally.found.append(f"ended with {statuses}, as if the disk were not full")
            kept = _check_rows(path, expected, {}, tally)
            ballast.unlink()
            campaign.run(tally, children.quick_study, str(path), N_SIMULATIONS)
            campaign.run(tally, children.paid_fill, str(disk / "bank"), str(log))
            campaign.run(tally, children.export, str(disk / "deposit"), 2000)
            _check_rows(path, expected, kept, tally)
            _check_all(path, expected, tally)
            _check_bank(disk / "bank", log, tally)
    return tally


def read_only(campaign: Campaign) -> Tally:
    """Study, fill and export where nothing may be written; read what is there all the same."""
    tally = Tally("read-only folder")
    with small_disk(campaign.place("locked")) as disk:
        path, log = disk / "store.sqlite", campaign.place("requests") / "requests.log"
        campaign.run(tally, children.quick_study, str(path), 2)
        with _locked(disk):
            for function, arguments, expected in (
                (children.quick_study, (str(path), 2), 0),  # finished: only read
                (children.quick_study, (str(path), 3), 1),
                (children.quick_study, (str(disk / "new" / "store.sqlite"), 2), 1),
                (children.paid_fill, (str(disk / "bank"), str(log)), 1),
                (children.export, (str(disk / "deposit"), 10), 1),
                (children.command, (str(disk), "study", "--profile", "smoke", "--parts", "draft", "--jobs", "1"), 1),
            ):
                tally.trials += 1
                status = campaign.run(tally, function, *arguments)
                if status != expected:
                    tally.found.append(f"{function.__name__}{arguments} ended with {status}, not {expected}")
    if log.exists():
        tally.found.append("a variation was requested that could not be kept")
    return tally


def jumping_clock(campaign: Campaign) -> Tally:
    """Study and fill under a clock that jumps by up to a month, and kill both in between."""
    tally, rng = Tally("clock that jumps"), random.Random(campaign.seed + 5)
    expected = _reference(campaign, tally)
    for number in range(campaign.trials(20)):
        place = campaign.place("clock")
        path, log = place / "store.sqlite", place / "requests.log"
        for last in (False, True):
            arguments = (
                (children.quick_study, str(path), N_SIMULATIONS, number + 1),
                (children.paid_fill, str(place / "bank"), str(log), number + 1),
            )
            running = [campaign.start(*one) for one in arguments]
            for child in running:
                if not last:
                    child.join(rng.uniform(0, 0.3))
                    child.kill()
                campaign.finish(child, tally)
        tally.trials += 1
        _check_rows(path, expected, {}, tally)
        _check_all(path, expected, tally)
        _check_bank(place / "bank", log, tally)
    return tally


def two_at_once(campaign: Campaign) -> Tally:
    """Run one study twice at the same time on one store, and two fills on one bank; one of each is killed."""
    tally, rng = Tally("two processes on one store, on one bank"), random.Random(campaign.seed + 6)
    expected = _reference(campaign, tally)
    for number in range(campaign.trials(20)):
        place = campaign.place("two")
        path, log = place / "store.sqlite", place / "requests.log"
        running = [campaign.start(children.quick_study, str(path), N_SIMULATIONS) for _ in range(2)]
        running += [campaign.start(children.paid_fill, str(place / "bank"), str(log)) for _ in range(2)]
        if number % 2:
            for child in running[::2]:
                child.join(rng.uniform(0, 0.2))
                child.kill()
        statuses = [campaign.finish(child, tally) for child in running]
        if any(statuses[1::2]):
            tally.found.append(f"the undisturbed ended with {statuses[1::2]}")
        tally.trials += 1
        _check_rows(path, expected, {}, tally)
        _check_all(path, expected, tally)
        _check_bank(place / "bank", log, tally, killed=bool(number % 2))
    return tally


def _check_bank(folder: Path, log: Path, tally: Tally, *, killed: bool = True) -> None:
    bank, generator = Bank(folder), PaidGenerator(str(log))
    total = children.N_IMAGES * children.N_NUMBERS
    tally.rows_lost_or_doubled += abs(len(bank.records()) - total)
    account, requests = bank.account(), generator.requests()
    if not killed:
        tally.images_paid_twice += sum(count - 1 for count in Counter(requests).values())
    # an answer that the disk had no room for was paid for all the same, and asked for again
    tally.spent(account, kept=account.n_images * COST, billed=COST * len(requests))


@contextmanager
def small_disk(folder: Path, kib: int = 2048) -> Iterator[Path]:
    """Yield a folder on a disk of its own where we may mount one, else the folder as it is."""
    mounted = hasattr(os, "geteuid") and os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode  # fmt: skip
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def is_mounted(folder: Path) -> bool:
    """Return whether a small disk could be mounted there."""
    return os.path.ismount(folder)


def _fill_up(disk: Path, *, leave: int) -> Path:
    """Write a file that leaves so many bytes free."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return ballast


@contextmanager
def _locked(disk: Path) -> Iterator[None]:
    """Let nothing be written in a folder: by its mount, or by its permissions where we are nobody special."""
    mounted = is_mounted(disk)
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    else:
        disk.chmod(0o555)
        for path in disk.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        if not mounted:
            for path in [disk, *disk.rglob("*")]:
                path.chmod(0o755)
