"""Make `papermill notebooks/07_results.ipynb -p real_frac 0.3` work as written, and refuse what would mislead.

papermill loads the entry point below while it is imported, before it reads its command line. For a notebook of
this book, and for nothing else, this module then adds the missing output path, ends the command with a sentence
when a parameter does not exist (papermill would run the defaults) or when the output is one of the book's sources.
A library call of papermill, another notebook, a help option: all are left alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mri_aug.book.publishing import notebooks as cells

# papermill's options that are followed by values, and by how many
N_VALUES = dict.fromkeys(("-p", "--parameters", "-r", "--parameters_raw"), 2) | dict.fromkeys(
    (
        "-f", "--parameters_file", "-y", "--parameters_yaml", "-b", "--parameters_base64", "--engine",
        "--autosave-cell-every", "-k", "--kernel", "-l", "--language", "--cwd", "--stdout-file", "--stderr-file",
        "--log-level", "--start-timeout", "--start_timeout", "--execution-timeout",
    ),
    1,
)  # fmt: skip
PARAMETERS = ("-p", "--parameters", "-r", "--parameters_raw")
MAPPINGS = {
    "-f": "file", "--parameters_file": "file", "-y": "text", "--parameters_yaml": "text",
    "-b": "base64", "--parameters_base64": "base64",
}  # fmt: skip
LEFT_ALONE = {"-h", "--help", "--help-notebook", "--version"}


@dataclass(frozen=True)
class CommandLine:
    """papermill's arguments, sorted."""

    paths: tuple[str, ...]  # the input, then the output where one is given
    parameters: tuple[tuple[str, str], ...]  # by -p and -r
    mappings: tuple[tuple[str, str], ...]  # by -f, -y and -b: the option, and its word
    flags: frozenset[str]


def parse(arguments: Sequence[str]) -> CommandLine:
    """Tell papermill's paths, parameters and flags apart."""
    paths, parameters, mappings, flags = [], [], [], set()
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word == "-":
            paths.append(word)
            continue
        option, equals, value = word.partition("=")
        if option not in N_VALUES and word[:2] in N_VALUES and not word.startswith("--"):
            option, equals, value = word[:2], "=", word[2:]  # -kpython3
        if equals:
            queue.insert(0, value)
        taken, queue = queue[: N_VALUES.get(option, 0)], queue[N_VALUES.get(option, 0) :]
        if option in PARAMETERS and len(taken) == 2:
            parameters.append((taken[0], taken[1]))
        if option in MAPPINGS and taken:
            mappings.append((option, taken[0]))
        flags.add(option)
    return CommandLine(tuple(paths), tuple(parameters), tuple(mappings), frozenset(flags))


def mapping_names(option: str, word: str) -> list[str]:
    """Return the names of the parameters in a YAML file (-f), YAML text (-y) or YAML in base64 (-b).

    Whatever cannot be read is left to papermill, which says so.
    """
    try:
        values = yaml.safe_load(_mapping_content(option, word))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return list(map(str, values)) if isinstance(values, dict) else []


def _mapping_content(option: str, word: str) -> bytes:
    if MAPPINGS[option] == "base64":
        return base64.b64decode(word)
    if MAPPINGS[option] == "text":
        return os.fsencode(word)
    if not Path(word).is_file():  # a pipe, as of <(...), gives what it holds once, and papermill needs it
        raise FileNotFoundError(word)
    return Path(word).read_bytes()


def _digest(mappings: Sequence[tuple[str, str]]) -> str:
    """Return eight digits that change with the parameters of -f, -y and -b, which are too long for a name."""
    contents = []
    for option, word in mappings:
        try:
            contents.append(_mapping_content(option, word))
        except (OSError, ValueError):  # a pipe, or an address that papermill can read: its name stands for it
            contents.append(os.fsencode(word))
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:8]


def is_source(path: Path) -> bool:
    """Whether a path is a notebook in the ``notebooks`` folder of a book's checkout."""
    path = path.resolve()
    return path.suffix == ".ipynb" and path.parent.name == "notebooks" and (path.parents[1] / "_toc.yml").is_file()


def complete(arguments: Sequence[str]) -> list[str]:
    """Return papermill's arguments with an output path.

    Raises
    ------
    ValueError
        If the output is a source of the book, or a parameter is not in the notebook's parameters cell.
    """
    line = parse(arguments)
    source = Path(line.paths[0]) if line.paths else None
    if len(line.paths) == 2 and is_source(Path(line.paths[1])) and Path(line.paths[1]).exists():
        raise ValueError(f"{line.paths[1]} is a source of the book and is never overwritten; give another output path")
    if source is None or not is_source(source) or not source.is_file() or line.flags & LEFT_ALONE:
        return list(arguments)
    known = cells.default_parameters(cells.read(source))
    names = [name for name, _ in line.parameters] + [name for pair in line.mappings for name in mapping_names(*pair)]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    if len(line.paths) == 2:
        return list(arguments)
    chosen = "__".join(f"{name}={value}" for name, value in line.parameters)
    name = f"{source.stem}__{chosen}" if chosen else source.stem
    safe = "".join(letter if letter.isalnum() or letter in "._=-+," else "-" for letter in name)[:180]
    safe += f"__{_digest(line.mappings)}" if line.mappings else ""
    output = source.resolve().parents[1] / "artifacts" / "papermill" / f"{safe}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    where = list(arguments).index(line.paths[0]) + 1
    return [*arguments[:where], str(output), *arguments[where:]]


def _is_papermill() -> bool:
    """Whether this process is papermill's own command, by its script or by ``python -m papermill``."""
    if Path(sys.argv[0]).stem == "papermill" and Path(sys.argv[0]).name != "papermill.py":
        return True
    return sys.argv[0] == "-m" and any(
        pair == ("-m", "papermill") for pair in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    )


def apply() -> None:
    """Complete the command line of this process, if it is papermill's; end it with status 1 if it is refused."""
    if not _is_papermill():
        return
    try:
        sys.argv[1:] = complete(sys.argv[1:])
    except ValueError as error:
        print(f"papermill: {error}", file=sys.stderr)
        raise SystemExit(1) from None


class handler:  # noqa: N801  papermill registers it as a reader of "mri-aug://" paths, of which there are none
    """The entry point. papermill asks for an object; what counts is that this module was loaded."""

    @staticmethod
    def read(path: str) -> str:
        raise ValueError(f"{path}: mri-aug:// is no place to read notebooks from; give a file")

    listdir = write = pretty_path = read


apply()
