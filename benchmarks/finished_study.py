"""A finished study, made up and read back in a fresh interpreter: ``python -m benchmarks.finished_study``.

The rows are random numbers under the keys of a real study, so that everything but the training is what a user waits for.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGUN = time.perf_counter()  # before anything heavy is imported


def parts(n_rows: int):
    """Return the parts of the thesis's chapter 7, with as many simulations as make about ``n_rows``."""
    from mri_aug.book.profiles import part_sizes, profile_parameters
    from mri_aug.study.parts import chapter_parts

    sizes = part_sizes(profile_parameters("thesis"))
    counts = [name for name in sizes if name.endswith("_simulations")]
    n_conditions = sum(len(part.conditions) for part in chapter_parts(**sizes | dict.fromkeys(counts, 1)))
    return chapter_parts(**sizes | dict.fromkeys(counts, max(1, round(n_rows / n_conditions))))


def make(work: Path, store_path: Path, n_rows: int) -> int:
    """Fill a store with that many made-up rows, each under the key of its simulation, and return their number."""
    import pandas as pd

    from benchmarks.growth import made_up_study
    from benchmarks.settings import read_images
    from mri_aug.models.training import TrainConfig
    from mri_aug.study.conditions import thesis_arms
    from mri_aug.study.run import _prepare
    from mri_aug.study.store import Store

    images, texts, tables = read_images(work), made_up_study(64)["by_subject"], []
    scores = [f"{part}_{rule}{name}" for part in ("validation", "test") for rule in ("", "validated_", "calibrated_")
              for name in ("cross_entropy", "accuracy", "balanced_accuracy", "kappa", "auc")]  # fmt: skip
    for part in parts(n_rows):
        study = _prepare(part.conditions, images, 0, TrainConfig(), {})
        for number, (key, (condition, simulation)) in enumerate(study.tasks(part.n_simulations).items()):
            row = {name: (7919 * number + 31 * i) % 1000 / 997 for i, name in enumerate(scores)}
            tables.append(
                {"key": key, **condition.columns(), "simulation": simulation, "repeat": simulation // 5, **row,
                 "seconds": 60.0, "by_subject": texts.iloc[number % len(texts)], **study.versions(condition.generator)}
            )  # fmt: skip
    assert thesis_arms(0.3)
    return Store(store_path).add(pd.DataFrame(tables).drop_duplicates("key"))


def read(work: Path, store_path: Path, deposit: Path | None = None) -> dict:
    """Return the seconds of reading a finished study, since the interpreter began, and of exporting and summarising."""
    from benchmarks.settings import read_images
    from mri_aug.study.run import finished_rows
    from mri_aug.study.store import Store

    imported = time.perf_counter()
    store = Store(store_path)
    rows, outlook = finished_rows(parts(len(store)), read_images(work), seed=0, store=store)
    seconds = {"rows": len(rows), "left": int((outlook["wanted"] - outlook["finished"]).sum()),
               "import_seconds": imported - BEGUN, "read_seconds": time.perf_counter() - imported}  # fmt: skip
    if deposit:
        from mri_aug.results.comparison import compare, summarise
        from mri_aug.results.deposit import export

        start = time.perf_counter()
        export(rows, deposit, manifest={})
        seconds["export_seconds"], start = time.perf_counter() - start, time.perf_counter()
        summarise(rows, "test_cross_entropy")
        compare(rows, "test_cross_entropy", baseline=rows["condition"].iloc[0])
        seconds["summary_seconds"] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    print(json.dumps(read(*map(Path, sys.argv[1:]))))
