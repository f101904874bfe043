"""The command ``mri-aug``: run a study, buy its synthetic images, and make the book.

It parses arguments, calls the library and prints. The library is imported late: torch takes seconds, --help must not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mri_aug import provenance

if TYPE_CHECKING:
    from mri_aug.data.imageset import ImageSet
    from mri_aug.study.parts import Part

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
    vary = commands.add_parser("vary", help="make the synthetic images that a study will need, and keep them in a bank")
    book = commands.add_parser("book", help="run the study and the notebooks, and render the book")
    tables = commands.add_parser("tables", help="compute the small tables of the record: people, leaks, fidelity, maps")
    for command in (study, vary, book, tables):
        command.add_argument("--dataset", default="phantom", help="'phantom', a hub id or a folder (default: phantom)")
        command.add_argument(
            "--classes", default="", metavar="A,B,...",
            help="the dataset's classes from least to most severe; A|B|... where they have no order",
        )  # fmt: skip
        command.add_argument("--subjects", default="", metavar="RULE", help="its people: a pattern, column or table")
    for command in (study, vary, book):
        command.add_argument("--profile", default="demo", metavar="NAME", help="smoke, demo (default) or thesis")
    for command in (study, book):
        command.add_argument("--scheduler", metavar="ADDRESS", help="run on the workers of this Dask scheduler")
        command.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one per core)")
    tables.add_argument("--seed", type=int, default=0)
    tables.add_argument("--export", metavar="NAME", help="write to results/NAME (default: record)")
    tables.add_argument("names", nargs="*", metavar="TABLE", help="these alone, anew (default: those that are missing)")
    for command in (study, vary):
        command.add_argument("--real-frac", type=float, default=0.3, metavar="X", help="share of real images (0.3)")
        command.add_argument("--simulations", type=int, metavar="N", help="repetitions, in place of the profile's")
        command.add_argument("--parts", nargs="+", default=(), metavar="NAME", help="these alone, such as cnn or sweep")
        command.add_argument("--seed", type=int, default=0)
        _add_generator_options(command)
    study.add_argument("--pretrained", nargs="+", default=(), metavar="NAME", help="from ImageNet: resnet18, vit_b_16")
    study.add_argument("--epochs", type=int, metavar="N", help="passes over the images, in place of the profile's")
    study.add_argument("--device", default="auto", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    which = study.add_mutually_exclusive_group()
    which.add_argument("--record", action="store_true", help="the record's parts; --simulations caps each")
    which.add_argument("--settings", action="store_true", help="settings of training, judged by validation people")
    study.add_argument("--from", dest="source", metavar="DEPOSIT", help="continue from rows such as results/record")
    study.add_argument("--outlook", action="store_true", help="run nothing: what is finished, and the hours left")
    study.add_argument("--export", metavar="NAME", help="add the finished rows to results/NAME, with their manifest")
    study.add_argument("--mix", action="store_true", help="export although other code or images made the rows there")
    _add_vary_options(vary)
    book.add_argument("--pdf", action="store_true", help="typeset the thesis as a PDF, by LaTeX, in place of the pages")
    book.add_argument("--output", type=Path, metavar="FOLDER", help="where pages and executed notebooks go")
    defaults = vars(study.parse_args([]))  # also of the other commands, which run or fill the same study
    for command, function in ((study, _study), (vary, _vary), (book, _book), (tables, _tables)):
        command.set_defaults(**{**defaults, "command": function})
    return parser


def _study(options: argparse.Namespace) -> ImageSet:
    """Run the parts, say what is finished, export it if asked, and return the images."""
    from mri_aug.generators.bank import study_generators
    from mri_aug.models.training import TrainConfig
    from mri_aug.results.deposit import load_deposit
    from mri_aug.study.run import finished_rows, run_parts
    from mri_aug.study.store import Store

    start, sizes = time.perf_counter(), _sizes(options)
    generators = study_generators(options.generator, dict(options.option), folder=options.bank)
    image_set = _images(options, sizes)
    parts = _parts(options, sizes, image_set)
    store = Store(provenance.artifacts("store.sqlite"))
    if options.source:
        print(f"{store.add(load_deposit(options.source)[0])} rows of {options.source} are new to the store", flush=True)
    config = TrainConfig(epochs=sizes["epochs"], device=options.device)
    shared = {"seed": options.seed, "store": store, "config": config, "generators": generators}
    _, outlook = finished_rows(parts, image_set, **shared)
    print(_outlook_text(outlook), flush=True)
    if not options.outlook:
        shown = {"progress": sys.stderr.isatty()}
        run_parts(parts, image_set, **shared, **shown, n_jobs=options.jobs, scheduler=options.scheduler)
    rows, outlook = finished_rows(parts, image_set, **shared)
    print(f"{len(rows)} simulations are in the store; this took {(time.perf_counter() - start) / 60:.1f} minutes")
    if options.export:
        _export(options, sizes, rows, outlook, image_set)
    return image_set


def _sizes(options: argparse.Namespace) -> dict:
    """Return the profile's sizes, as far as no option replaces them."""
    from mri_aug.study.parts import profile_parameters

    sizes, n_simulations = profile_parameters(options.profile, options.dataset), options.simulations
    if options.epochs is not None:
        sizes["epochs"] = options.epochs
    if (options.record or options.settings) and options.profile == "demo":  # everybody, unless a profile is named
        sizes["n_subjects"] = 200 if options.dataset == "phantom" else 0
    elif n_simulations is not None:
        sizes |= {name: n_simulations for name in sizes if name.endswith("_simulations")}
    sizes["pretrained"] = list(options.pretrained)
    return sizes


def _parts(options: argparse.Namespace, sizes: Mapping[str, object], image_set: ImageSet) -> list[Part]:
    """Return the parts that the options name: of chapter 7, of the record, or the settings."""
    from mri_aug.study import parts

    if options.settings:
        return parts.settings_parts(5 if options.simulations is None else options.simulations)
    if options.record:
        cap = sys.maxsize if options.simulations is None else options.simulations
        chosen = parts.choose_parts(parts.record_parts(), options.parts)
        return [replace(part, n_simulations=min(part.n_simulations, cap)) for part in chosen]
    rare = parts.rare_classes(list(image_set.class_counts().values()))
    subjects, counts = image_set.subjects.unique(return_counts=True)
    own = {"rare": rare, "known_people": bool((subjects >= 0).all()), "n_slices": int(counts.min())}
    offered = parts.chapter_parts(options.real_frac, generator=options.generator, **own, **parts.part_sizes(sizes))
    return parts.choose_parts(offered, options.parts)


def _images(options: argparse.Namespace, sizes: Mapping[str, object]) -> ImageSet:
    from mri_aug.data.loading import load_images

    known = {"class_names": options.classes or None, "subjects": options.subjects or None}
    image_set = load_images(options.dataset, **known, n_subjects=sizes["n_subjects"] or None, seed=options.seed)
    print(image_set, flush=True)
    return image_set


def _outlook_text(outlook) -> str:
    lines = [
        f"{row.part:20} {row.finished:5} of {row.wanted:5} simulations; {row.hours_left:7.1f} core hours left"
        for row in outlook.itertuples()
    ]
    return "\n".join([*lines, f"{'in all':20} {outlook['hours_left'].sum():50.1f} core hours left"])


def _export(options, sizes, rows, outlook, image_set) -> None:
    """Add the finished rows to a deposit, and say in its manifest what made them."""
    from mri_aug.book.figures.forest import draw_answer
    from mri_aug.results.contrasts import planned_arms
    from mri_aug.results.deposit import export

    if options.settings:  # settings are chosen by validation people: nobody else's scores are kept
        rows = rows[[name for name in rows if not name.startswith("test_") and name != "by_subject"]]
    manifest = {
        "date": time.strftime("%Y-%m-%d"),
        "dataset": _dataset_name(options),
        "images": image_set.fingerprint,
        "n_images": len(image_set),
        "class_names": list(image_set.class_names),
        "class_counts": list(image_set.class_counts().values()),
        "seed": options.seed,
        **({} if options.record or options.settings else {"profile": options.profile, **sizes}),
        "parts": outlook.round({"hours": 2, "hours_left": 2}).to_dict("records"),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
    place = export(rows, options.export, manifest=manifest, mix=options.mix)
    print(f"wrote {place}")
    if options.record and planned_arms(rows[rows["images"] == image_set.fingerprint]):
        print(f"wrote {draw_answer(place)}")


def _dataset_name(options: argparse.Namespace) -> str:
    return Path(options.dataset).name if Path(options.dataset).is_dir() else options.dataset


def _tables(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from mri_aug.book.record import make_tables

    image_set, folder = _images(options, {"n_subjects": 0}), provenance.results(options.export or "record")
    shared = {"dataset": _dataset_name(options), "seed": options.seed, "names": options.names}
    for name in tqdm(make_tables(image_set, folder=folder, **shared), unit=" tables", disable=not sys.stderr.isatty()):
        print(f"wrote {folder / name}.parquet", flush=True)


def _vary(options: argparse.Namespace) -> None:
    from mri_aug.generators.bank import Bank
    from mri_aug.generators.base import make_generator
    from mri_aug.study.variations import fill, plan, wanted_variations

    sizes = _sizes(options)
    generator = make_generator(options.generator, **dict(options.option))
    limits = {"max_usd": options.max_usd, "max_images": options.max_images}
    bank = Bank(options.bank or provenance.artifacts("bank"), offline=options.offline, **limits)
    image_set = _images(options, sizes)
    chosen = {"generator": options.generator, "seed": options.seed, "protocol": options.protocol}
    wanted = wanted_variations(_parts(options, sizes, image_set), image_set, **chosen)
    print(plan(generator, bank, wanted), flush=True)
    if not options.plan:
        print(fill(generator, bank, wanted, progress=sys.stderr.isatty()))


def _book(options: argparse.Namespace) -> None:
    from mri_aug.book.publishing.notebooks import execute_all, source_file
    from mri_aug.book.publishing.pages import pages, render
    from mri_aug.book.publishing.pdf import check_latex, typeset
    from mri_aug.study.parts import profile_parameters

    if options.pdf:
        check_latex()  # before hours of computation
    dataset = _absolute(options.dataset)
    name = f"{Path(dataset).name}-folder" if Path(dataset).is_absolute() else dataset.replace("/", "--")
    output = options.output or provenance.artifacts("books", f"{name.lower()}-{options.profile}")
    image_set = _study(options)
    # A dataset's content is not in its name, and the committed tables may have been made anew since the last time.
    inputs = f"{image_set.fingerprint} {provenance.folder_digest(provenance.results())}"
    project, copies = provenance.project(), output / "sources"
    sources = [source_file(page, project, copies=copies) for page in pages() if page.startswith("notebooks/")]
    known = {"dataset": dataset, "class_names": options.classes, "subjects": _absolute(options.subjects)}
    parameters = {**known, **profile_parameters(options.profile, dataset)}
    for done in execute_all(sources, output / "executed" / "notebooks", parameters, inputs=inputs):
        print(f"{done.name}: {f'{done.seconds:.0f} s' if done.fresh else 'unchanged'}", flush=True)
    made = (typeset if options.pdf else render)(output / "executed", output)
    print(f"\nThe {'thesis' if options.pdf else 'book'} is ready. Open {made}{'' if options.pdf else ' in a browser'}.")


def _absolute(source: str) -> str:
    """Return a path, or a path:configuration, as the notebooks find it, which run elsewhere; other text as it is."""
    base, colon, configuration = source.rpartition(":")
    ends = {source: "", base: colon + configuration}  # a folder's own name may hold a colon
    found = next((path for path in ends if path and Path(path).exists()), None)
    return source if found is None else f"{Path(found).resolve()}{ends[found]}"


def _add_generator_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--generator", default="morph", metavar="NAME", help="of synthetic images (default: morph)")
    command.add_argument(
        "--option", action="append", default=[], type=_named_value, metavar="NAME=VALUE",
        help="of the generator, such as quality=low or 'prices={\"image_out\": 40}' (JSON); may be given several times",
    )  # fmt: skip
    command.add_argument(
        "--bank", type=Path, metavar="FOLDER",
        help="of synthetic images (default: artifacts/bank); where it is named, a study makes none itself",
    )  # fmt: skip


def _add_vary_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--protocol", help="only for the conditions of this protocol: image, subject or published")
    command.add_argument("--plan", action="store_true", help="print what is missing and its cost; request nothing")
    command.add_argument("--offline", "--replay", action="store_true", help="request nothing; fail if one is missing")
    command.add_argument("--max-usd", type=float, metavar="USD", help="stop before the bank costs more in all")
    command.add_argument("--max-images", type=int, metavar="N", help="stop before the bank has requested more in all")


def _named_value(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
