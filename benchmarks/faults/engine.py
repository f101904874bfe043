"""Children that are watched: started, killed at random moments, and judged by what they left and said."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import psutil

PATIENCE = 60.0  # seconds without work are a hang
IDLE = 1.0  # seconds of work in that time that count as none: a client that waits for its server ticks
LONGEST = 1500.0  # seconds that a child may take in all
ROOT = Path(__file__).resolve().parents[2]
PROCESSES = multiprocessing.get_context("fork")  # of a process that has no threads and has imported what they need


def import_path() -> None:
    """Let this process and its children import the library, the benchmarks and the tests' stand-ins."""
    folders = [str(ROOT), str(ROOT / "tests")]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@dataclass
class Tally:
    """One row of the campaign's table; everything but ``trials`` and ``note`` should be zero."""

    part: str
    trials: int = 0
    rows_lost_or_doubled: int = 0
    images_paid_twice: int = 0
    dollars_off: float = 0.0  # of the ledger, from the server's own count
    tracebacks: int = 0
    hangs: int = 0
    escapes: int = 0  # files written outside artifacts/
    note: str = ""
    found: list[str] = field(default_factory=list)  # what was wrong, in words

    def spent(self, account, *, kept: float, billed: float) -> None:
        """Compare a bank's account with what its answers cost and with what the server has billed, in dollars.

        What was billed for a client that died, or over a connection that broke, must be within the possibly billed.
        """
        off = abs(account.usd - kept) + max(0.0, billed - account.usd - account.usd_lost)
        self.dollars_off += round(off, 6)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        numbers = asdict(self)
        return not any(numbers[name] for name in numbers if name not in ("part", "trials", "note"))


@dataclass
class Campaign:
    """A folder for everything that children write, and the time that is left."""

    folder: Path
    seed: int
    scale: float  # of the numbers of trials; 1 is the full campaign
    numbers: count = field(default_factory=count)

    def trials(self, full: int, least: int = 1) -> int:
        """Return how many of ``full`` trials this campaign makes."""
        return max(least, round(full * self.scale))

    def place(self, name: str) -> Path:
        """Return a new folder."""
        folder = self.folder / f"{next(self.numbers):05d}-{name}"
        folder.mkdir(parents=True)
        return folder

    def start(self, function, *arguments):
        """Start a child and return it; what it says goes to ``child.log``."""
        from benchmarks.faults import children

        log = self.folder / "logs" / f"{next(self.numbers):05d}-{function.__name__}.log"
        log.parent.mkdir(exist_ok=True)
        child = PROCESSES.Process(target=children.begin, args=(str(log), function, arguments))
        child.log = log
        child.start()
        return child

    def finish(self, child, tally: Tally, *, of: str = "", beside: Sequence[int] = ()) -> int:
        """Wait for a child, note a hang or a traceback, and return its exit status.

        ``beside`` are the processes that work for it without being its own.
        """
        if not _ends(child, beside):
            tally.hangs += 1
            tally.found.append(f"{of or child.log.name} hung")
            kill(child)
        said = child.log.read_text(errors="replace") if child.log.exists() else ""
        if "Traceback (most recent call last)" in said or child.exitcode in (-signal.SIGSEGV, -signal.SIGABRT):
            tally.tracebacks += 1
            tally.found.append(f"{of or child.log.name}: {(said.strip().splitlines() or ['died'])[-1][:300]}")
        return child.exitcode

    def run(self, tally: Tally, function, *arguments, of: str = "") -> int:
        """Run a child to its end and return its exit status."""
        return self.finish(self.start(function, *arguments), tally, of=of)


def _ends(child, beside: Sequence[int]) -> bool:
    """Wait while a child and its own get anywhere; return whether it ended.

    On a machine under load a second of work may take a minute: a hang is a minute without work, not one without an end.
    """
    worked, since, begun = 0.0, time.monotonic(), time.monotonic()
    while child.is_alive():
        child.join(1)
        now, seconds = time.monotonic(), sum(map(_seconds_worked, (child.pid, *beside)))
        if seconds >= worked + IDLE:
            worked, since = seconds, now
        if now - since > PATIENCE or now - begun > LONGEST:
            return False
    return True


def _seconds_worked(pid: int) -> float:
    total = 0.0
    with contextlib.suppress(psutil.Error):
        head = psutil.Process(pid)
        for process in [head, *head.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:2])
    return total


def kill(child) -> None:
    """Kill a child and whatever it started, and wait until it is gone."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()  # before it became the head of its group
    child.join()


def wait_until(seen, seconds: float = PATIENCE) -> bool:
    """Return whether something was seen in that time."""
    deadline = time.monotonic() + seconds
    while not (found := seen()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(found)
