"""All contenders on the same images: training images per second, and whole simulations with their cross-entropy.

A framework that cannot be imported is a row that says so.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks import engine, peers, plain
from benchmarks.processes import ProcessError, in_process
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings, prepare, repeated
from benchmarks.task import Task
from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.data.splits import split
from mri_aug.models.training import TrainConfig
from mri_aug.study.conditions import Condition
from mri_aug.study.run import run_study
from mri_aug.study.simulation import Seeds
from mri_aug.study.store import Store

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
OUR_EPOCHS = (4, 5, 6, 7, 8, 10)  # tried in this order before the others' number


def throughput(settings: Settings) -> Tables:
    """Measure training images per second at 128 and at 64 pixels; the first epoch warms up and is not counted."""
    small = replace(settings, work=settings.work / "64")
    prepare(repeated(settings.images(), len(settings.images())).resized(64), small.work)
    return {"throughput": _throughput(settings, IMAGE_SIZE), "throughput_64": _throughput(small, 64)}


def _throughput(settings: Settings, image_size: int) -> list[dict[str, Any]]:
    n_images, repeats = settings.size(1024, 2 * BATCH_SIZE), settings.repeats
    ours = engine.images_per_second(settings.work, processes=joblib.cpu_count(), n_images=n_images, repeats=repeats)
    rows = [_rates(OURS, ours)]
    numbers = tuple(np.resize(np.arange(len(settings.images())), n_images).tolist())
    run = {"epochs": repeats + 1, "seed": 0, "batch_size": BATCH_SIZE, "image_size": image_size}
    task = Task(settings.work, train=numbers, test=(), **run)
    for name, contender in (WRITTEN | FRAMEWORKS).items():
        try:
            outcome = in_process(contender, task)
            rows.append(_rates(name, [n_images / seconds for seconds in outcome.epoch_seconds[1:]]))
        except ProcessError as error:
            rows.append(_absent(name, error))
    return rows


def quality(settings: Settings) -> Tables:
    """Run whole simulations, from the split to the evaluated test part, on the same splits for every contender.

    The others train for ``settings.epochs``. Ours trains for fewer and then for more, until the median of its test
    cross-entropy is no higher than the plain script's: the last rows are those that count.
    """
    rows = _their_simulations(settings)
    reached = [row["test_cross_entropy"] for row in rows if row["contender"] == PLAIN and "seconds" in row]
    wanted = statistics.median(reached) if reached else 0.0
    with tempfile.TemporaryDirectory(dir=settings.work) as folder:
        store = _TimedStore(Path(folder) / "store.sqlite")
        for epochs in [n for n in OUR_EPOCHS if n < settings.epochs] + [settings.epochs]:
            ours = _our_simulations(settings, store, epochs)
            rows += ours
            if statistics.median(row["test_cross_entropy"] for row in ours) <= wanted:
                break
        drift = _drift(store, settings.images(), settings)
    return {"simulations": rows, "quality": _summary(rows), "drift": drift}


def _their_simulations(settings: Settings) -> list[dict[str, Any]]:
    """Return one row per simulation of the plain loops, and of the frameworks where asked for.

    A contender that fails half-way keeps no row but the one that says so.
    """
    image_set, rows = settings.images(), []
    for name, contender in (WRITTEN | (FRAMEWORKS if settings.full else {})).items():
        # In memory the same batches meet the same weights as in the script: two simulations show that, and its pace.
        n = min(2, settings.seeds) if name == MEMORY and not settings.full else settings.seeds
        try:
            rows += [_their_simulation(name, contender, image_set, settings, simulation) for simulation in range(n)]
        except ProcessError as error:
            rows.append(_absent(name, error))
    return rows


def _their_simulation(
    name: str, contender: Callable, image_set: ImageSet, settings: Settings, simulation: int
) -> dict[str, Any]:
    seeds = Seeds.of(STUDY_SEED, simulation)
    parts = split(image_set, "image", seed=seeds.split)
    task = Task(
        settings.work, tuple(parts.train.tolist()), tuple(parts.test.tolist()), settings.epochs,
        seeds.initialisation, BATCH_SIZE,
    )  # fmt: skip
    outcome = in_process(contender, task)
    values = {"test_cross_entropy": outcome.test_cross_entropy, "seconds": outcome.seconds}
    return {"contender": name, "simulation": simulation, "epochs": settings.epochs} | values


def _our_simulations(settings: Settings, store: _TimedStore, epochs: int) -> list[dict[str, Any]]:
    """Return one row per simulation of a study of ours; ``seconds`` is wall time divided by simulations."""
    cores, image_set = joblib.cpu_count(), settings.images()
    n = -(-settings.seeds // cores) * cores  # whole rounds: no core idles at the end
    # Starts the processes and imports the library in them, as the first minute of any study does; then finds them.
    warm_up = TrainConfig(epochs=1, batch_size=BATCH_SIZE)
    run_study([Condition()], image_set, n_simulations=cores, seed=STUDY_SEED + 1, store=store, config=warm_up)
    config, start = TrainConfig(epochs=epochs, batch_size=BATCH_SIZE), time.perf_counter()
    table = run_study([Condition()], image_set, n_simulations=n, seed=STUDY_SEED, store=store, config=config)
    seconds = (time.perf_counter() - start) / n
    return [
        {"contender": OURS, "simulation": int(row.simulation), "epochs": epochs,
         "test_cross_entropy": float(row.test_cross_entropy), "seconds": seconds}
        for row in table.itertuples()
    ]  # fmt: skip


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


def _absent(name: str, error: ProcessError) -> dict[str, Any]:
    """Return the one row of a contender that could not run."""
    note = f"not installed ({error})" if error.missing else f"failed ({error})"
    return {"contender": name, "n": 0, "note": note}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the median cross-entropy with its spread over seeds, and simulations per hour, by contender and epochs."""
    summary = []
    for name, epochs in dict.fromkeys((row["contender"], row.get("epochs")) for row in rows):
        mine = [row for row in rows if (row["contender"], row.get("epochs")) == (name, epochs)]
        if epochs is None:  # it could not run: its note says so
            summary.append(mine[0])
            continue
        losses = [row["test_cross_entropy"] for row in mine]
        hourly = 3600 / statistics.median(row["seconds"] for row in mine)
        summary.append(
            {"contender": name, "n": len(mine), "epochs": epochs, "median": statistics.median(losses),
             "least": min(losses), "most": max(losses), "simulations_per_hour": hourly, "note": ""}
        )  # fmt: skip
    return summary
