"""The words of the command line that are about generators and their bank, and ``mri-aug vary``.

It parses, calls :mod:`mri_aug.vary` and prints. What a study consists of is decided by its caller, :mod:`mri_aug.cli`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mri_aug import paths

if TYPE_CHECKING:  # torch takes seconds, and --help should not
    from mri_aug.chapter import Part


def add_generator_options(command: argparse.ArgumentParser) -> None:
    """Add the words that a study and the filling of its bank must share."""
    command.add_argument("--generator", default="morph", metavar="NAME", help="makes the variations (default: morph)")
    command.add_argument(
        "--option", action="append", default=[], type=_named_value, metavar="NAME=VALUE",
        help="of the generator, such as quality=low; may be given several times",
    )  # fmt: skip
    command.add_argument(
        "--bank", type=Path, metavar="FOLDER",
        help="where variations are kept (default: artifacts/bank); given this, or a generator that cannot repeat a "
        "variation, a study takes them from the bank alone",
    )  # fmt: skip


def add_vary_options(command: argparse.ArgumentParser) -> None:
    """Add the words of ``mri-aug vary`` alone."""
    command.add_argument("--protocol", help="for this protocol's conditions alone: image, subject or published")
    command.add_argument("--plan", action="store_true", help="say what is missing and its cost, and ask for nothing")
    command.add_argument(
        "--offline", "--replay", action="store_true", help="fail if the bank lacks anything, and ask for nothing"
    )
    command.add_argument("--max-usd", type=float, metavar="USD", help="stop before the bank has cost more in all")
    command.add_argument("--max-images", type=int, metavar="N", help="stop before the bank has asked for more in all")


def vary(options: argparse.Namespace, parts: Sequence[Part], *, n_subjects: int | None) -> None:
    """Run ``mri-aug vary`` for the parts of a study on a dataset of so many people."""
    from mri_aug.dataset import load_images
    from mri_aug.generators import make_generator
    from mri_aug.generators.bank import Bank
    from mri_aug.vary import fill, plan, wanted_variations

    generator = make_generator(options.generator, **dict(options.option))
    limits = {"max_usd": options.max_usd, "max_images": options.max_images}
    bank = Bank(_folder(options), offline=options.offline, **limits)
    image_set = load_images(options.dataset, n_subjects=n_subjects, seed=options.seed)
    print(image_set, flush=True)
    wanted = wanted_variations(
        parts, image_set, generator=options.generator, seed=options.seed, protocol=options.protocol
    )
    print(plan(generator, bank, wanted), flush=True)
    if not options.plan:
        print(fill(generator, bank, wanted, progress=sys.stderr.isatty()))


def _folder(options: argparse.Namespace) -> Path:
    return options.bank or paths.artifacts("bank")


def _named_value(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
