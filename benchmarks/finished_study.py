"""A finished study, made up and read back in a fresh interpreter: ``python -m benchmarks.finished_study``.

The rows are made up, under the keys of a real study: everything but the training is what a user waits for.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGUN = time.perf_counter()  # before anything heavy is imported
SCORES = ("cross_entropy", "accuracy", "balanced_accuracy", "kappa", "auc")


def parts(n_rows: int):
    """Return the parts of the thesis's chapter 7, with as many simulations as make about ``n_rows``."""
    from mri_aug.study.parts import chapter_parts, listed_conditions, part_sizes, profile_parameters

    sizes = part_sizes(profile_parameters("thesis"))
    counts = [name for name in sizes if name.endswith("_simulations")]
    n_conditions = len(listed_conditions(chapter_parts(**sizes | dict.fromkeys(counts, 1))))
    return chapter_parts(**sizes | dict.fromkeys(counts, max(1, round(n_rows / n_conditions))))


def make(work: Path, path: Path, n_rows: int) -> int:
    """Fill a store with about that many made-up rows, each under the key of its simulation; return their number."""
    import pandas as pd

    from benchmarks.growth import made_up_study
    from benchmarks.settings import read_images
    from mri_aug.models.training import TrainConfig
    from mri_aug.study.run import _prepare
    from mri_aug.study.store import Store

    images, texts, rows = read_images(work), made_up_study(64)["by_subject"].tolist(), {}
    names = [f"{part}_{rule}{score}" for part in ("validation", "test") for rule in ("", "validated_", "calibrated_")
             for score in SCORES]  # fmt: skip
    for part in parts(n_rows):
        study = _prepare(part.conditions, images, 0, TrainConfig(**part.training), {}, to_compute=False)
        for number, (key, (condition, simulation)) in enumerate(study.tasks(part.n_simulations).items()):
            scores = {name: (7919 * number + 31 * place) % 1000 / 997 for place, name in enumerate(names)}
            rows[key] = {
                "key": key, **condition.columns(), "simulation": simulation, "repeat": simulation // 5, **scores,
                "seconds": 60.0, "by_subject": texts[number % len(texts)], **study.keys.versions(condition.generator),
            }  # fmt: skip
    return Store(path).add(pd.DataFrame(list(rows.values())))


def read(work: Path, path: Path, n_rows: int, deposit: Path) -> dict[str, float]:
    """Return the seconds of importing, reading, exporting and summarising a finished study, and what is left of it."""
    from benchmarks.settings import read_images
    from mri_aug.study.run import finished_rows
    from mri_aug.study.store import Store

    laps = {"import_seconds": time.perf_counter() - BEGUN}
    start = time.perf_counter()
    rows, outlook = finished_rows(parts(n_rows), read_images(work), seed=0, store=Store(path))
    laps["read_seconds"], start = time.perf_counter() - start, time.perf_counter()

    from mri_aug.results.comparison import compare, summarise
    from mri_aug.results.deposit import export

    export(rows, deposit, manifest={})
    laps["export_seconds"], start = time.perf_counter() - start, time.perf_counter()
    for _, table in rows.groupby("protocol"):
        summarise(table, "test_cross_entropy")
        compare(table, "test_cross_entropy", baseline=table["condition"].iloc[0])
    laps["summary_seconds"] = time.perf_counter() - start
    return {"rows": len(rows), "left": int((outlook["wanted"] - outlook["finished"]).sum()), **laps}


if __name__ == "__main__":
    folder, store, n, where = sys.argv[1:]
    print(json.dumps(read(Path(folder), Path(store), int(n), Path(where))))
