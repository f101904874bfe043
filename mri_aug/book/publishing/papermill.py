"""Make `papermill notebooks/07_results.ipynb -p real_frac 0.3` work as written, and refuse what would mislead.

papermill loads the entry point below while it is imported. For a notebook of this book, and for nothing else, its
command then gets a default output path, and ends with one sentence where a parameter is unknown or has the wrong type
(papermill would run the defaults, or stop hours later) and where the output is a source of the book. The command line
itself is parsed by papermill.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from mri_aug.book.publishing.notebooks import check_parameters, default_parameters, read


def complete(options: dict[str, Any]) -> None:
    """Check papermill's parsed options and complete them in place.

    All parameters become one YAML text, with the types of their defaults. A click exception says that the output is a
    source of the book, or that a parameter is unknown, of another type or unreadable.
    """
    source, output = options["notebook_path"], options["output_path"]
    if output and _is_source(Path(output)):
        raise click.ClickException(f"{output} is a source of the book and is never overwritten; give another output")
    if not source or not _is_source(Path(source)) or options["help_notebook"]:
        return
    defaults = default_parameters(read(source))
    try:
        values = check_parameters(Path(source).name, defaults, _given(options, defaults))
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise click.ClickException(str(error)) from None
    for name in ("parameters", "parameters_raw", "parameters_file", "parameters_base64"):
        options[name] = ()
    options["parameters_yaml"] = (yaml.safe_dump(values, allow_unicode=True),)
    if not output:
        path = default_output(Path(source), values)
        path.parent.mkdir(parents=True, exist_ok=True)
        options["output_path"] = str(path)


def default_output(source: Path, values: Mapping[str, Any]) -> Path:
    """Return where the copy goes: a readable name, and a hash of all parameters that are given.

    >>> default_output(Path("/book/notebooks/07_results.ipynb"), {"real_frac": 0.3}).name
    '07_results__real_frac=0.3__a4124f9a.ipynb'
    """
    name = source.stem
    if values:
        text = "__".join(f"{parameter}={value}" for parameter, value in values.items())
        readable = "".join(letter if letter.isalnum() or letter in "._=-+," else "-" for letter in text)[:120]
        content = json.dumps(dict(values), sort_keys=True).encode()
        name += f"__{readable}__{hashlib.sha256(content).hexdigest()[:8]}"
    return source.resolve().parents[1] / "artifacts" / "papermill" / f"{name}.ipynb"


def _is_source(path: Path) -> bool:
    """Whether a path is a notebook in the ``notebooks`` folder of a book's checkout."""
    path = path.resolve()
    in_a_book = path.parent.name == "notebooks" and (path.parents[1] / "_toc.yml").is_file()
    return in_a_book and path.suffix == ".ipynb" and path.is_file()


def _given(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of every option, in papermill's order of precedence."""
    from papermill.iorw import NoDatesSafeLoader, papermill_io  # still being imported when this module is loaded

    texts = [base64.b64decode(text) for text in options["parameters_base64"]]
    texts += [papermill_io.read(path, [".json", ".yaml", ".yml"]) for path in options["parameters_file"]]
    texts += options["parameters_yaml"]
    values: dict[str, Any] = {}
    for text in texts:
        content = yaml.load(text, Loader=NoDatesSafeLoader) or {}
        if not isinstance(content, dict):
            raise ValueError(f"parameters in YAML must be a mapping such as 'real_frac: 0.3', got {content!r}")
        values |= {str(name): value for name, value in content.items()}
    for name, word in options["parameters"]:
        values[name] = _read_word(word, defaults.get(name))
    return values | dict(options["parameters_raw"])


def _read_word(word: str, default: Any) -> Any:
    """Read a word of ``-p``: as it stands where text is expected, else as YAML (true, 3, [a, b], {a: 1})."""
    readers = (int, float) if type(default) in (int, float) else (yaml.safe_load,)  # YAML reads 1e-3 as text
    for read_as in () if isinstance(default, str) else readers:
        with contextlib.suppress(ValueError, yaml.YAMLError):
            return read_as(word)
    return word


def _invoke(command: click.Command, context: click.Context) -> Any:
    if getattr(command.callback, "__module__", None) == "papermill.cli":
        complete(context.params)
    return _click_invoke(command, context)


_click_invoke = click.Command.invoke
click.Command.invoke = _invoke


class handler:  # noqa: N801  papermill registers it as a reader of "mri-aug://" paths, which do not exist
    """The entry point. papermill asks for an object; what matters is that this module is loaded."""
