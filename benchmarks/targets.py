"""What was aimed at, and what was measured: one row per target.

Reads a record's sections and measures nothing; a target whose sections have not been measured has no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.contenders import FRAMEWORKS, OURS, PLAIN
from benchmarks.flops import training_flops
from mri_aug.models.networks import make_model

Rows = list[dict[str, Any]]
AT_LEAST, AT_MOST = "at least", "at most"


def judge(sections: dict[str, Any]) -> Rows:
    """Return rows of ``target``, ``measured``, ``bound`` ("at least" or "at most"), ``wanted``, ``unit``, ``met``."""
    tables = {name: content["tables"] for name, content in sections.items()}
    rows = []
    for needed, find in _SOURCES:
        if all(name in tables for name in needed):
            rows += [_row(*found) for found in find(tables)]
    return rows


def _row(target: str, measured: float | None, bound: str, wanted: float, unit: str) -> dict[str, Any]:
    met = None
    if measured is not None:
        met = measured >= wanted if bound == AT_LEAST else measured <= wanted
    return {"target": target, "measured": measured, "bound": bound, "wanted": wanted, "unit": unit, "met": met}


def rate(rows: Rows, contender: str) -> float | None:
    """Return a contender's images per second; None where it could not run."""
    return next((row.get("images_per_second") for row in rows if row["contender"] == contender), None)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _throughput(tables) -> Iterator[tuple]:
    rows = tables["throughput"]["throughput"]
    ours = rate(rows, OURS)
    peers = [found for name in FRAMEWORKS if (found := rate(rows, name))]
    yield "throughput against the plain script", _ratio(ours, rate(rows, PLAIN)), AT_LEAST, 6, "x"
    yield "throughput against the fastest framework", _ratio(ours, max(peers, default=None)), AT_LEAST, 4, "x"


def _share(tables) -> Iterator[tuple]:
    ours = rate(tables["throughput"]["throughput"], OURS)
    flops = training_flops(make_model("cnn", seed=0)) / 1e9
    best = {kind: max(row["gflops"] for row in tables["peak"]["peak"] if row["type"] == kind)
            for kind in {row["type"] for row in tables["peak"]["peak"]}}  # fmt: skip
    kind = "bfloat16" if "bfloat16" in best else "float32"  # what the engine computes in
    yield f"share of the {kind} matrix-multiply peak", 100 * ours * flops / best[kind], AT_LEAST, 50, "%"


def _quality(tables) -> Iterator[tuple]:
    rows = {row["contender"]: row for row in tables["quality"]["quality"]}  # of ours, the last: the most epochs
    ours, plain = rows[OURS], rows.get(PLAIN, {})
    hourly = _ratio(ours["simulations_per_hour"], plain.get("simulations_per_hour"))
    yield "simulations per hour against the plain script", hourly, AT_LEAST, 10, "x"
    if "median" in plain:
        loss = "median test cross-entropy against the plain script's"
        yield loss, ours["median"], AT_MOST, plain["median"], "nats"
    pace = tables["quality"]["drift"]
    yield (
        "seconds per simulation, last quarter of a study against its second",
        (_ratio(pace[-1]["seconds_each"], pace[1]["seconds_each"])),
        AT_MOST,
        1.15,
        "x",
    )


def _footprint(tables) -> Iterator[tuple]:
    tables = tables["footprint"]
    memory = [row["beyond_import_mb"] for row in tables["memory"] if row["beyond_import_mb"] is not None]
    yield "throughput of all processes against one", tables["workers"][-1]["ratio"], AT_LEAST, 1.8, "x"
    yield "memory of a worker beyond importing torch", max(memory, default=None), AT_MOST, 700, "MB"
    yield "start to the first training step", _median(row["seconds"] for row in tables["start"]), AT_MOST, 6, "s"


def _startup(tables) -> Iterator[tuple]:
    rows = tables["startup"]["startup"]
    finished = [row for row in rows if "rows" in row]
    yield "mri-aug --help", rows[0]["seconds"], AT_MOST, 0.3, "s"
    small, large = finished[0], finished[-1]
    read = small["import_seconds"] + small["read_seconds"]
    yield f"a finished study of {small['rows']} rows read in a new process", read, AT_MOST, 3, "s"
    seconds = sum(large[f"{lap}_seconds"] for lap in ("read", "export", "summary"))
    yield f"a study of {large['rows']} rows read, exported and summarised", seconds, AT_MOST, 10, "s"


def _policies(tables) -> Iterator[tuple]:
    rows = sorted(tables["policies"]["policies"], key=lambda row: -row["percent_of_step"])
    for row, which, wanted in zip(rows, ("heaviest", "second heaviest"), (40, 20), strict=False):
        yield f"{which} policy ({row['policy']})", row["percent_of_step"], AT_MOST, wanted, "% of a step"


def _growth(tables) -> Iterator[tuple]:
    tables = tables["growth"]
    training = tables["training"]
    slower = _ratio(training[-1]["seconds_per_step"], training[0]["seconds_per_step"])
    sizes = f"{training[-1]['images']} images against {training[0]['images']}"
    yield f"seconds per step, {sizes}", slower, AT_MOST, 1.15, "x"
    for row, seconds in zip(tables["people"], (5, 60, 60), strict=False):
        yield f"people recovered from {row['images']} images", row["seconds"], AT_MOST, seconds, "s"
    for row in tables["people"][1:]:
        yield f"memory for {row['images']} images' people", row["resident_mb"], AT_MOST, 3000, "MB"
    rows = tables["statistics"][-1]
    yield f"chapter 7's statistics on {rows['rows']} rows", rows["seconds"], AT_MOST, 10, "s"
    morph = tables["morph"][0]
    yield "morph variations per second", morph["variations_per_second"], AT_LEAST, 300, "per s"
    yield f"morph fitted to {morph['fitted_images']} images", morph["fit_seconds"], AT_MOST, 90, "s"


def _median(values) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


_SOURCES: tuple[tuple[tuple[str, ...], Callable], ...] = (
    (("throughput",), _throughput),
    (("throughput", "peak"), _share),
    (("quality",), _quality),
    (("footprint",), _footprint),
    (("startup",), _startup),
    (("policies",), _policies),
    (("growth",), _growth),
)
