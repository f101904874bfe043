"""The command ``mri-aug``: run a study with a progress bar, buy its variations, and make the book.

It parses words, calls the library and prints; whatever can be used from Python lives elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from mri_aug import cli_bank, paths
from mri_aug.profiles import PROFILES, part_sizes, profile_parameters

FAULTS = (ValueError, LookupError, OSError, ImportError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 done, 1 a fault (said in one line), 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except FAULTS as error:
        print(f"mri-aug: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mri-aug: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mri-aug", description="Do synthetic images train a better classifier?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    study = commands.add_parser("study", help="run the simulations of chapter 7, resuming what was interrupted")
    vary = commands.add_parser("vary", help="make the variations that a study will ask for, and keep them in a bank")
    book = commands.add_parser("book", help="run the study and the notebooks, and render the book")
    for command in (study, vary, book):
        command.add_argument("--dataset", default="phantom", help="'phantom', a hub id or a folder (default: phantom)")
        command.add_argument("--profile", default="demo", choices=PROFILES, help="how much to compute (default: demo)")
    for command in (study, book):
        command.add_argument("--scheduler", metavar="ADDRESS", help="run on the workers of this Dask scheduler")
        command.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one per core)")
    for command in (study, vary):
        command.add_argument("--real-frac", type=float, default=0.3, metavar="X", help="share of real images (0.3)")
        command.add_argument("--simulations", type=int, metavar="N", help="repetitions, in place of the profile's")
        command.add_argument("--parts", nargs="+", default=(), metavar="NAME", help="these alone, such as cnn or sweep")
        command.add_argument("--seed", type=int, default=0)
        cli_bank.add_generator_options(command)
    study.add_argument(
        "--pretrained", nargs="+", default=(), metavar="NAME",
        help="also these networks from ImageNet's weights, which are downloaded: resnet18, vit_b_16",
    )  # fmt: skip
    study.add_argument("--epochs", type=int, metavar="N", help="passes over the images, in place of the profile's")
    study.add_argument("--export", metavar="NAME", help="write the table to results/NAME.csv, with its manifest")
    study.set_defaults(command=_study)
    cli_bank.add_vary_options(vary)
    vary.set_defaults(command=_vary)
    book.add_argument("--output", type=Path, metavar="FOLDER", help="where pages and executed notebooks go")
    book.set_defaults(command=_book)
    return parser


def _study(options: argparse.Namespace) -> None:
    from mri_aug.generators.banked import study_generators

    sizes, parts = _sizes_and_parts(
        options, options.real_frac, options.simulations, options.parts, options.pretrained, options.generator
    )
    if options.epochs is not None:
        sizes["epochs"] = options.epochs
    generators = study_generators(options.generator, dict(options.option), folder=options.bank)
    rows, image_set = _run(options, sizes, parts, seed=options.seed, generators=generators)
    if options.export:
        from mri_aug.results.deposit import export

        manifest = _manifest(options, sizes, parts, rows=rows, image_set=image_set)
        print(f"wrote {export(rows, options.export, manifest=manifest)}")


def _run(options, sizes, parts, *, seed=0, generators=None):
    """Run the parts and return their rows and the images that they were run on."""
    # Imported late, as in every command: torch takes seconds, and --help should not.
    import pandas as pd

    from mri_aug.chapter import chapter_conditions
    from mri_aug.dataset import load_images
    from mri_aug.store import Store
    from mri_aug.study import check_conditions, run_study
    from mri_aug.training import TrainConfig

    start = time.perf_counter()
    image_set = load_images(options.dataset, n_subjects=sizes["n_subjects"] or None, seed=seed)
    print(image_set, flush=True)
    check_conditions(chapter_conditions(parts), image_set, generators or {})  # of all parts, before the first is run
    tables = []
    # Parts of equally many simulations run as one, so that no core waits at the end of each for the other's last.
    for n, group in groupby(parts, key=lambda part: part.n_simulations):
        listed = list(group)
        conditions = chapter_conditions(listed)
        print(f"{', '.join(part.name for part in listed)}: {len(conditions)} conditions x {n} simulations", flush=True)
        table = run_study(
            conditions,
            image_set,
            n_simulations=n,
            seed=seed,
            store=Store(paths.artifacts("store.sqlite")),
            config=TrainConfig(epochs=sizes["epochs"]),
            generators=generators,
            n_jobs=options.jobs,
            scheduler=options.scheduler,
            progress=sys.stderr.isatty(),
        )
        tables.append(table)
    rows = pd.concat(tables).drop_duplicates("key", ignore_index=True)
    minutes = (time.perf_counter() - start) / 60
    print(f"{len(rows)} simulations are in the store; this took {minutes:.1f} minutes")
    return rows, image_set


def _manifest(options, sizes, parts, *, rows, image_set):
    """Return what a reader of exported rows must know of the study and the machine behind them."""
    from mri_aug.provenance import machine, versions

    return {
        "date": time.strftime("%Y-%m-%d"),
        "dataset": Path(options.dataset).name if Path(options.dataset).is_dir() else options.dataset,
        "images": image_set.fingerprint,
        "n_images": len(image_set),
        "profile": options.profile,
        **sizes,
        "parts": [part.name for part in parts],
        "real_frac": options.real_frac,
        "generator": options.generator,
        "seed": options.seed,
        "core_hours": round(float(rows["seconds"].sum()) / 3600, 2),
        "machine": machine(),
        "versions": versions(),
    }


def _sizes_and_parts(options, real_frac=0.3, n_simulations=None, names=(), pretrained=(), generator="morph"):
    """Return the profile's sizes, and the parts of chapter 7 that were asked for."""
    from mri_aug.chapter import chapter_parts, choose_parts

    sizes = profile_parameters(options.profile, options.dataset)
    if n_simulations is not None:
        sizes |= {name: n_simulations for name in sizes if name.endswith("n_simulations")}
    sizes["pretrained"] = list(pretrained)
    return sizes, choose_parts(chapter_parts(real_frac, generator=generator, **part_sizes(sizes)), names)


def _vary(options: argparse.Namespace) -> None:
    sizes, parts = _sizes_and_parts(
        options, options.real_frac, options.simulations, options.parts, (), options.generator
    )
    cli_bank.vary(options, parts, n_subjects=sizes["n_subjects"] or None)


def _book(options: argparse.Namespace) -> None:
    from mri_aug.provenance import folder_digest
    from mri_aug.publishing.book import pages, render
    from mri_aug.publishing.notebooks import execute_all

    dataset = str(Path(options.dataset).resolve()) if Path(options.dataset).is_dir() else options.dataset
    is_folder = Path(dataset).is_dir()
    name = f"{Path(dataset).name if is_folder else dataset.replace('/', '--')}{'-folder' if is_folder else ''}".lower()
    output = options.output or paths.artifacts("books", f"{name}-{options.profile}")
    _, image_set = _run(options, *_sizes_and_parts(options))
    # A dataset's content is not in its name, and the committed tables may have been made anew since the last time.
    inputs = f"{image_set.fingerprint} {folder_digest(paths.results())}"
    sources = [paths.project() / f"{page}.ipynb" for page in pages() if page.startswith("notebooks/")]
    parameters = {"dataset": dataset, **profile_parameters(options.profile, dataset)}
    for done in execute_all(sources, output / "executed" / "notebooks", parameters, inputs=inputs):
        print(f"{done.name}: {f'{done.seconds:.0f} s' if done.fresh else 'unchanged'}", flush=True)
    first = render(output / "executed", output)
    print(f"\nThe book is ready. Open {first} in a browser.")
