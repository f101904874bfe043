"""Seconds until something is there: the command's help, an import, a finished study, a hundred thousand rows.

Each in a fresh interpreter. Beside the seconds that a user waits stand those that processors worked, which say more on
a machine that does something else too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import finished_study
from benchmarks.record import Tables
from benchmarks.settings import Settings
from mri_aug import provenance

HELP = "import sys; from mri_aug.cli import main; sys.exit(main(['--help']))"


def measure(settings: Settings) -> Tables:
    """Measure the start of the command, of imports and of reading finished studies."""
    rows = []
    for what, code in (("mri-aug --help", HELP), ("import torch", "import torch"),
                       ("import a simulation", "import mri_aug.study.simulation"),
                       ("import a study", "import mri_aug.study.run")):  # fmt: skip
        seconds = sorted(_seconds([sys.executable, "-c", code]) for _ in range(settings.repeats))
        rows.append({"what": what, **_columns(seconds[len(seconds) // 2])})
    with tempfile.TemporaryDirectory(dir=settings.work) as folder:
        for n_rows in settings.size((3_000, 100_000), (200,)):
            store = Path(folder, f"{n_rows}.sqlite")
            n_made = finished_study.make(settings.work, store, n_rows)
            command = [sys.executable, "-m", "benchmarks.finished_study", str(settings.work), str(store), str(n_rows)]
            command += [f"{folder}/deposit{n_rows}"]
            best = min((_seconds(command) for _ in range(settings.size(2, 1))), key=lambda found: found[1])
            found = json.loads(best[2])
            if found.pop("left") or found["rows"] != n_made:
                raise RuntimeError(f"{n_made} rows were made, and {found['rows']} of the study were found")
            rows.append({"what": f"a study of {n_made} rows", **_columns(best), **found})
    return {"startup": rows}


def _columns(found: tuple[float, float, str]) -> dict:
    return {"seconds": found[0], "processor_seconds": found[1]}


def _seconds(command: list[str]) -> tuple[float, float, str]:
    """Return the seconds that a command takes, those of processors, and what it says."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=provenance.project(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:80]} failed: {done.stderr.strip().splitlines()[-1:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, worked, done.stdout
