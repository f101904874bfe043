"""All contenders on the same images: training images per second, and whole simulations with their cross-entropy.

A framework that cannot be imported is a row that says so.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks import engine, peers, plain
from benchmarks.processes import ProcessFailed, in_process
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings
from benchmarks.task import Task
from mri_aug.conditions import Condition
from mri_aug.protocols import split
from mri_aug.simulation import Seeds
from mri_aug.store import Store
from mri_aug.study import run_study
from mri_aug.training import TrainConfig

OURS = "this library"
PLAIN, MEMORY = "plain script", "plain loop in memory"
WRITTEN = {PLAIN: plain.script, MEMORY: plain.in_memory}
FRAMEWORKS = {
    "PyTorch Lightning": peers.lightning,
    "fastai": peers.fastai,
    "MONAI CacheDataset": peers.monai,
    "Keras on torch": peers.keras,
}
STUDY_SEED = 0


def throughput(settings: Settings) -> Tables:
    """Measure training images per second; the first epoch warms up and is not counted."""
    n_images, repeats = settings.size(1024, 2 * BATCH_SIZE), settings.repeats
    ours = engine.images_per_second(
        settings.work, processes=joblib.cpu_count(), n_images=n_images, repeats=repeats
    )
    rows = [_rates(OURS, ours)]
    numbers = tuple(np.resize(np.arange(len(settings.images())), n_images).tolist())
    task = Task(settings.work, train=numbers, test=(), epochs=repeats + 1, seed=0, batch_size=BATCH_SIZE)
    for name, contender in (WRITTEN | FRAMEWORKS).items():
        try:
            outcome = in_process(contender, task)
            rows.append(_rates(name, [n_images / seconds for seconds in outcome.epoch_seconds[1:]]))
        except ProcessFailed as error:
            rows.append(_absent(name, error))
    return {"throughput": rows}


def quality(settings: Settings) -> Tables:
    """Run whole simulations, from the split to the evaluated test part, on the same splits for every contender."""
    image_set = settings.images()
    rows, drift = _our_simulations(settings)
    others = WRITTEN | (FRAMEWORKS if settings.full else {})
    for name, contender in others.items():
        # In memory the same batches meet the same weights as in the script: two simulations show that, and its pace.
        n = min(2, settings.seeds) if name == MEMORY and not settings.full else settings.seeds
        for simulation in range(n):
            seeds = Seeds.of(STUDY_SEED, simulation)
            parts = split(image_set, "image", seed=seeds.split)
            task = Task(
                settings.work, tuple(parts.train.tolist()), tuple(parts.test.tolist()), settings.epochs,
                seeds.initialisation, BATCH_SIZE,
            )  # fmt: skip
            try:
                outcome = in_process(contender, task)
            except ProcessFailed as error:
                rows.append(_absent(name, error))
                break
            values = {"test_cross_entropy": outcome.test_cross_entropy, "seconds": outcome.seconds}
            rows.append({"contender": name, "simulation": simulation, "epochs": settings.epochs} | values)
    return {"simulations": rows, "quality": _summary(rows), "drift": drift}


def _our_simulations(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return one row per simulation of a study of ours; ``seconds`` is wall time divided by simulations."""
    # The library's own schedule; the others train as the thesis would, settings.epochs at Adam's default rate.
    config = TrainConfig(epochs=settings.epochs) if settings.quick else TrainConfig()
    cores, image_set = joblib.cpu_count(), settings.images()
    n = -(-settings.seeds // cores) * cores  # whole rounds: no core idles at the end
    with tempfile.TemporaryDirectory(dir=settings.work) as folder:
        store = _TimedStore(Path(folder) / "store.sqlite")
        # Starts the processes and imports the library in them, as the first minute of any study does.
        warm_up = TrainConfig(epochs=1, batch_size=BATCH_SIZE)
        run_study([Condition()], image_set, n_simulations=cores, seed=STUDY_SEED + 1, store=store, config=warm_up)
        store.times.clear()
        start = time.perf_counter()
        table = run_study([Condition()], image_set, n_simulations=n, seed=STUDY_SEED, store=store, config=config)
        seconds = (time.perf_counter() - start) / n
        drift = _drift(store, image_set, settings)
    rows = [
        {"contender": OURS, "simulation": int(row.simulation), "epochs": config.epochs,
         "test_cross_entropy": float(row.test_cross_entropy), "seconds": seconds}
        for row in table.itertuples()
    ]  # fmt: skip
    return rows, drift


def _drift(store: _TimedStore, image_set, settings: Settings) -> list[dict[str, Any]]:
    """Return how a study's pace changes with its length: seconds per simulation by quarter, of small ones."""
    n = settings.size(48, 8)
    store.times.clear()
    config = TrainConfig(epochs=1, batch_size=BATCH_SIZE)
    start = time.perf_counter()
    run_study([Condition(real_frac=0.3)], image_set, n_simulations=n, seed=STUDY_SEED + 2, store=store, config=config)
    finished = [0.0, *(moment - start for moment in store.times)]
    quarter = n // 4
    return [
        {"simulations": (q + 1) * quarter, "seconds": finished[(q + 1) * quarter],
         "seconds_each": (finished[(q + 1) * quarter] - finished[q * quarter]) / quarter}
        for q in range(4)
    ]  # fmt: skip


class _TimedStore(Store):
    """A store that remembers when each row arrived."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.times: list[float] = []

    def append(self, key, row) -> None:
        super().append(key, row)
        self.times.append(time.perf_counter())


def _rates(name: str, rates: list[float]) -> dict[str, Any]:
    return {
        "contender": name, "images_per_second": statistics.median(rates), "least": min(rates), "most": max(rates),
        "n": len(rates), "note": "",
    }  # fmt: skip


def _absent(name: str, error: ProcessFailed) -> dict[str, Any]:
    """Return the one row of a contender that could not run."""
    note = f"not installed ({error})" if error.missing else f"failed ({error})"
    return {"contender": name, "n": 0, "note": note}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each contender's median cross-entropy with its spread over seeds, and its simulations per hour."""
    summary = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        done = [row for row in rows if row["contender"] == name and "seconds" in row]
        if not done:
            summary.append(next(row for row in rows if row["contender"] == name))
            continue
        losses = [row["test_cross_entropy"] for row in done]
        hourly = 3600 / statistics.median(row["seconds"] for row in done)
        note = next((row["note"] for row in rows if row["contender"] == name and "note" in row), "")
        summary.append(
            {"contender": name, "n": len(done), "epochs": done[0]["epochs"], "median": statistics.median(losses),
             "least": min(losses), "most": max(losses), "simulations_per_hour": hourly, "note": note}
        )  # fmt: skip
    return summary
