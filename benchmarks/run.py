"""Measure the library beside what a user would otherwise pick, and write down what came out: ``make bench``.

Sections stream into ``benchmarks/benchmarks.json`` as they finish; one that fails is named and the others go on. All
are meant for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ablation, contenders, footprint, growth, peak, policy_cost, profile, report, startup
from benchmarks.record import Record, Tables
from benchmarks.settings import Settings, prepare
from benchmarks.targets import judge
from mri_aug import provenance
from mri_aug.data.imageset import ImageSet
from mri_aug.data.loading import load_images


@dataclass(frozen=True)
class Section:
    """One part of the benchmarks."""

    measure: Callable[[Settings], Tables]
    minutes: float  # expected on two free cores, with the default choices
    about: str


SECTIONS = {
    "peak": Section(peak.measure, 0.4, "matrix-multiply peak of the machine"),
    "throughput": Section(contenders.throughput, 2.5, "training images per second of every contender"),
    "ablation": Section(ablation.measure, 1.8, "what each gain is worth"),
    "profile": Section(profile.measure, 0.2, "where a training step goes"),
    "policies": Section(policy_cost.measure, 0.3, "cost of augmentation policies"),
    "footprint": Section(footprint.measure, 0.8, "processes, their memory, start-up"),
    "startup": Section(startup.measure, 2.0, "until help, imports and a finished study are there"),
    "growth": Section(growth.measure, 5.5, "cost against images, people, rows, variations"),
    "quality": Section(contenders.quality, 4.5, "whole simulations and their cross-entropy"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 0, or 1 if a section failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    output = options.output or (provenance.artifacts("benchmarks") if options.quick else report.FOLDER)
    try:
        image_set = load_images(options.dataset, n_subjects=options.people or None)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    name = Path(options.dataset).name if Path(options.dataset).is_dir() else options.dataset
    choices = dict(quick=options.quick, full=options.full, seeds=options.seeds, epochs=options.epochs)
    failed = measure_all(options.only, image_set, output, dataset=name, **choices)
    if output == report.FOLDER:
        report.write()
    return failed


def measure_all(names: Sequence[str], image_set: ImageSet, output: Path, *, dataset: str, **choices: Any) -> int:
    """Measure sections one after the other into the record below ``output``.

    Parameters
    ----------
    names : sequence of str
        Of ``SECTIONS``.
    image_set : ImageSet
    output : Path
        Folder of ``benchmarks.json`` and ``benchmarks.csv``.
    dataset : str
        The images' name, for the record.
    **choices
        As in :class:`~benchmarks.settings.Settings`.

    Returns
    -------
    int
        0, or 1 if a section failed.
    """
    record, failed = Record(output), []
    print(f"{image_set}\n{', '.join(names)}: about {sum(SECTIONS[name].minutes for name in names):.0f} minutes")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = Settings(Path(folder), **choices)
        prepare(image_set, settings.work)
        run = {"dataset": dataset, "images": image_set.fingerprint, "n_images": len(image_set),
               "n_people": int(image_set.subjects.unique().numel()), **choices}  # fmt: skip
        for name in names:
            section, start = SECTIONS[name], time.perf_counter()
            print(f"\n{name}: {section.about} (about {section.minutes:g} min)", flush=True)
            try:
                tables = section.measure(settings)
            except (ImportError, RuntimeError, ValueError, OSError, MemoryError) as error:
                failed.append(name)
                print(f"  failed: {error}", flush=True)
                continue
            seconds = time.perf_counter() - start
            record.keep(name, tables, seconds=seconds, run=run)
            record.judge(judge(record.sections))
            _show(tables)
            print(f"  took {seconds / 60:.1f} min", flush=True)
    _show({"targets": record.content["targets"]})
    print(f"\nwrote {record.file}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _show(tables: Tables) -> None:
    """Print tables with aligned columns."""
    for name, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        print(f"  {name}")
        for line in lines:
            print("    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="How fast, and compared with what?")
    parser.add_argument("--only", type=_names, default=list(SECTIONS), metavar="A,B", help=", ".join(SECTIONS))
    parser.add_argument("--dataset", default="phantom", help="'phantom', a hub id or a folder (default: phantom)")
    parser.add_argument("--people", type=int, default=24, help="people of it to use; 0 is everyone (default: 24)")
    parser.add_argument("--seeds", type=int, default=5, help="whole simulations of each contender (default: 5)")
    parser.add_argument("--epochs", type=int, default=14, help="epochs of the others' simulations (default: 14)")
    parser.add_argument("--full", action="store_true", help="whole simulations of the frameworks too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: benchmarks; artifacts with --quick")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"unknown sections {unknown}; choose from {', '.join(SECTIONS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
