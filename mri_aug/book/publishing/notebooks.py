"""Execute the book's notebooks with papermill, those whose code, inputs or parameters changed."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
from IPython.core.inputtransformer2 import TransformerManager
from papermill.exceptions import PapermillExecutionError

from mri_aug.provenance import code_fingerprint, imported_modules, library_modules, machine, reached_modules, versions

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


def read(path: Path | str) -> nbformat.NotebookNode:
    """Read a notebook.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a Jupyter notebook (nbformat 4): {error}") from error


def tags(cell: Mapping[str, Any]) -> list[str]:
    """Return a cell's tags; none is an empty list."""
    return list(cell.get("metadata", {}).get("tags", []))


def code_cells(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Yield the code cells that the author wrote: all but the one that papermill injects."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and INJECTED not in tags(cell):
            yield cell


def default_parameters(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Return the names and default values in the cell tagged ``parameters``, in their order.

    Raises
    ------
    ValueError
        If several cells carry the tag, or a default is no literal: papermill adds its values after this cell,
        so that anything derived within it would keep the default's value.
    """
    tagged = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    if len(tagged) > 1:
        raise ValueError(f"{len(tagged)} cells are tagged 'parameters', a notebook may have one")
    found: dict[str, Any] = {}
    for node in ast.parse(tagged[0].source).body if tagged else []:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        try:
            (target,) = targets
            found[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError) as error:
            raise ValueError(
                f"the parameters cell may hold only lines such as 'name = literal', not {ast.unparse(node)!r}"
            ) from error
    return found


def digest(notebook: nbformat.NotebookNode) -> str:
    """Return sixteen hexadecimal digits of the code cells' text: the same for a source and its executed copy."""
    text = json.dumps([cell.source.strip() for cell in code_cells(notebook)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_values(source: str, values: Mapping[str, Any]) -> str:
    """Return a parameters cell's text with ``values`` in place of its defaults; comments and layout stay.

    Examples
    --------
    >>> with_values("real_frac = 0.3  # share of real images", {"real_frac": 0.5})
    'real_frac = 0.5  # share of real images'
    """
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if getattr(target, "id", None) in values:
            first, last = node.value.lineno - 1, node.value.end_lineno - 1
            before = lines[first].encode()[: node.value.col_offset].decode()  # ast counts columns in bytes
            after = lines[last].encode()[node.value.end_col_offset :].decode()
            lines[first : last + 1] = [before + repr(values[target.id]) + after]
    return "".join(lines)


RECORD = "mri_aug"  # key of the record in an executed notebook's metadata
# a kernel's environment: no progress bars in pages, no dates in figures, sets in the same order every time
KERNEL_ENVIRONMENT = {"TQDM_DISABLE": "1", "SOURCE_DATE_EPOCH": "315532800", "PYTHONHASHSEED": "0"}


class NotebookError(RuntimeError):
    """A notebook stopped at one of its cells."""


@dataclass(frozen=True)
class Execution:
    """One notebook's executed copy."""

    name: str  # the notebook's file name without its ending
    path: Path  # the executed copy
    seconds: float  # wall time of its execution, whenever that was
    fresh: bool  # True: executed now; False: the copy at hand was still right


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    *,
    inputs: str = "",
    timeout: int | None = None,
    progress: bool = False,
) -> Execution:
    """Execute one notebook into ``output``, unless the copy there was made by the same code from the same inputs.

    Parameters
    ----------
    notebook, output : Path
        The source, and the executed copy to make. The copy appears only when every cell has run.
    parameters : mapping
        Values by name; those that the notebook's parameters cell does not have are not for it.
    inputs : str
        Anything else that the outputs depend on, such as a dataset's fingerprint; a change of it runs the notebook.
    timeout : int, optional
        Seconds that one cell may take; None is no limit.
    progress : bool
        Show papermill's progress bar on the terminal.

    Raises
    ------
    NotebookError
        If a cell fails. The message names it; what ran up to there is kept beside ``output``, ending in
        ``.failed.ipynb``.
    ValueError
        If ``output`` is the source.
    """
    notebook, output = Path(notebook), Path(output)
    if output.resolve() == notebook.resolve():
        raise ValueError(f"{notebook} would be overwritten by its executed copy; give another output")
    source = read(notebook)
    values = {name: parameters.get(name, default) for name, default in default_parameters(source).items()}
    record = {
        "source": digest(source),
        "parameters": values,
        "inputs": inputs,
        "library": code_fingerprint(*_library_of(source)),
        "versions": versions(),
    }
    record["stamp"] = hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]
    known = read_record(output)
    if known.get("stamp") == record["stamp"]:
        return Execution(notebook.stem, output, known["seconds"], False)

    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    start = time.perf_counter()
    passed = {name: value for name, value in values.items() if name in parameters}
    executed = _run(notebook, failed, passed, timeout=timeout, progress=progress)
    record |= {"seconds": round(time.perf_counter() - start, 1), "machine": machine()}
    _finish(executed, record)
    nbformat.write(executed, failed)
    os.replace(failed, output)
    return Execution(notebook.stem, output, record["seconds"], True)


def _library_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the library's modules that a notebook imports itself, and the generators that it may make by name."""
    from mri_aug.generators.base import GENERATORS, generator_module  # brings torch, which nothing else here needs

    as_python = TransformerManager().transform_cell  # turns %magic and !command into calls
    source = "\n".join(as_python(cell.source) for cell in code_cells(notebook))
    imported = imported_modules(source, library_modules())
    if "mri_aug.generators.base" in reached_modules(*imported):
        imported |= {generator_module(name) for name in GENERATORS}  # imported late, by a name in a string
    return sorted(imported)


def _run(notebook: Path, output: Path, parameters: Mapping[str, Any], *, timeout: int | None, progress: bool):
    try:
        with _environment(KERNEL_ENVIRONMENT):
            return papermill.execute_notebook(
                notebook,
                output,
                dict(parameters),
                kernel_name="python3",
                cwd=notebook.parent,
                progress_bar=progress,
                start_timeout=180,  # a machine under load takes its time to import IPython
                execution_timeout=timeout,
                extra_arguments=["--IPKernelApp.log_level=ERROR"],  # each kernel would warn of its unencrypted loopback
            )
    except PapermillExecutionError as error:
        line = next(iter(error.source.strip().splitlines()), "")
        raise NotebookError(
            f"{notebook} stopped at its cell [{error.exec_count}], which begins {line!r}, with {error.ename}: "
            f"{error.evalue}; the notebook up to there is {output}"
        ) from error


def _finish(notebook: nbformat.NotebookNode, record: Mapping[str, Any]) -> None:
    notebook.metadata[RECORD] = record
    for cell in notebook.cells:
        if INJECTED in tags(cell):
            cell.metadata["tags"] = [*tags(cell), "remove-input"]


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in an executed copy; empty where there is no such file, or none that we made."""
    if not Path(path).is_file():
        return {}
    try:
        return dict(read(path).metadata.get(RECORD, {}))
    except ValueError:
        return {}  # cut off by a full disk or a kill: as good as missing


def execute_all(
    notebooks: Iterable[Path],
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    inputs: str = "",
    timeout: int | None = None,
    progress: bool = False,
) -> Iterator[Execution]:
    """Execute notebooks in order into ``folder``, yielding each when it is done.

    A notebook with a parameter named ``executed`` reports on the copies of the others: it comes after them, is given
    their folder, and runs again when one of them did. The other arguments are those of :func:`execute`.

    Raises
    ------
    FileNotFoundError
        If there are no notebooks.
    ValueError
        If no notebook has one of the parameters.
    """
    notebooks = [Path(notebook) for notebook in notebooks]
    if not notebooks:
        raise FileNotFoundError("there is no notebook to execute; is this the project's checkout?")
    names = [set(default_parameters(read(notebook))) for notebook in notebooks]
    if unknown := sorted(set(parameters) - set().union(*names)):
        raise ValueError(f"no notebook has a parameter {', '.join(unknown)}; known: {sorted(set().union(*names))}")
    stamps: list[str] = []
    for notebook, known in sorted(zip(notebooks, names, strict=True), key=lambda pair: "executed" in pair[1]):
        given, also = dict(parameters), inputs
        if "executed" in known:
            given["executed"] = str(Path(folder).resolve())
            also = "|".join([inputs, *stamps])
        output = Path(folder, notebook.name)
        yield execute(notebook, output, given, inputs=also, timeout=timeout, progress=progress)
        record = read_record(output)
        stamps.append(f"{record['stamp']} {record['seconds']}")


def executions(folder: Path, *, without: Iterable[str] = ()) -> pd.DataFrame:
    """Return what is recorded in a folder of executed copies, one row per notebook, in the order of their names.

    Columns: ``notebook``, ``seconds``, ``parameters`` (a dict), ``versions`` (a dict), ``machine`` (a dict),
    ``library`` and ``source`` (digests). ``without`` names notebooks to leave out.
    """
    columns = ["seconds", "parameters", "versions", "machine", "library", "source"]
    records = {path.stem: read_record(path) for path in sorted(Path(folder).glob("*.ipynb"))}
    rows = [
        {"notebook": name} | {column: record[column] for column in columns}
        for name, record in records.items()
        if record and name not in set(without)
    ]
    return pd.DataFrame(rows, columns=["notebook", *columns])
