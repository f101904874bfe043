"""Execute the book's notebooks with papermill where their code, inputs or parameters changed."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pandas as pd
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from mri_aug.provenance import code_fingerprint, imported_modules, library_modules, machine, reached_modules, versions

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


def read(path: Path | str) -> nbformat.NotebookNode:
    """Read a notebook; a ValueError says that the file is none."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a Jupyter notebook (nbformat 4): {error}") from error


def tags(cell: Mapping[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return list(cell.get("metadata", {}).get("tags", []))


def code_cells(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Yield the code cells that the author wrote: all but the one that papermill injects."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and INJECTED not in tags(cell):
            yield cell


def default_parameters(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Return the names and default values in the cell tagged ``parameters``, in their order.

    A ValueError says that several cells carry the tag, or that a default is not a literal: papermill adds its values
    after this cell, so anything computed in it would keep the default's value.
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
            said = f"the parameters cell may hold only lines such as 'name = literal', not {ast.unparse(node)!r}"
            raise ValueError(said) from error
    return found


_KINDS = {
    bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list such as [a, b]",
    dict: "a mapping such as {a: 1}",
}  # fmt: skip


def check_parameters(name: str, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a notebook with the types of their defaults; a ValueError names all that do not fit.

    A whole number may stand for a float, and a float without fraction for an integer. The elements of a list must fit
    the first element of its default.
    """
    if unknown := [parameter for parameter in values if parameter not in defaults]:
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(defaults) or 'none'}")
    fitted, faults = {}, []
    for parameter, value in values.items():
        try:
            fitted[parameter] = _fit(value, defaults[parameter])
        except ValueError as error:
            faults.append(f"{parameter} must be {error}")
    if faults:
        raise ValueError(f"{name}: " + "; ".join(faults))
    return fitted


def _fit(value: Any, default: Any) -> Any:
    kind = type(default)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        if kind is float or (kind is int and value == int(value)):
            return kind(value)
    elif isinstance(value, kind) and kind not in (int, float):
        try:
            for element in value if kind is list and default else ():
                _fit(element, default[0])
        except ValueError:
            raise ValueError(f"a list of elements like {default[0]!r}, got {value!r}") from None
        return value
    raise ValueError(f"{_KINDS.get(kind, f'like {default!r}')}, got {value!r}")


def digest(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of the code cells, the same for a source and its executed copy."""
    text = json.dumps([cell.source.strip() for cell in code_cells(notebook)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_values(source: str, values: Mapping[str, Any]) -> str:
    """Return a parameters cell's text with ``values`` in place of its defaults; comments and layout stay.

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
N_TOGETHER = 2  # notebooks that are executed side by side
# a kernel's environment: no progress bars in pages, no dates in figures, sets in the same order every time
KERNEL_ENVIRONMENT = {"TQDM_DISABLE": "1", "SOURCE_DATE_EPOCH": "315532800", "PYTHONHASHSEED": "0"}
_WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookError(RuntimeError):
    """A notebook stopped at one of its cells."""


class Execution(NamedTuple):
    """One notebook's executed copy."""

    name: str  # the notebook's file name without its suffix
    path: Path  # the executed copy
    seconds: float  # wall time of its execution, whenever that was
    fresh: bool  # True: executed now; False: the copy was up to date


# Pages that run another page's notebook on the images of this copy: which one, and how the page begins.
COPIES = {
    "notebooks/D_copy": (
        "notebooks/07_results",
        "# This copy's own run\n\nThe tables and figures of {numref}`Chapter %s <ch-results>`, computed when this copy "
        "of the book was made, by the same notebook with other parameters: proof that everything runs here, and the "
        "place of a reader's own images. Few people and few simulations decide nothing.",
    )
}


def source_of(page: str, folder: Path) -> nbformat.NotebookNode | None:
    """Return a page's notebook, unexecuted, from the project in ``folder``; None where the page is no notebook.

    Of a notebook that is another one's copy, the code is the same but for labels, which end in ``-copy``, and the
    dataset, phantoms by default; of the prose only the headings are kept.
    """
    original, beginning = COPIES.get(page, (page, ""))
    path = folder / f"{original}.ipynb"
    if not path.is_file():
        return None
    notebook = read(path)
    for cell in notebook.cells if beginning else ():
        if cell.cell_type == "markdown":
            cell.source = "\n".join(re.findall(r"^(?:#+ .*|\(\S+\)=)$", cell.source, re.MULTILINE))
        elif "parameters" in tags(cell):
            cell.source = with_values(cell.source, {"dataset": "phantom"})
        cell.source = _renamed(cell.source)
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^# .*", beginning, cell.source, flags=re.MULTILINE)
        cell.metadata = nbformat.from_dict(json.loads(_renamed(json.dumps(cell.metadata))))
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    return notebook


def source_file(page: str, folder: Path, *, copies: Path) -> Path:
    """Return the file that :func:`source_of` reads, or for a copy, writes it into the folder ``copies``."""
    if page not in COPIES:
        return folder / f"{page}.ipynb"
    path = copies / f"{Path(page).name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(source_of(page, folder), path)
    return path


def _renamed(text: str) -> str:
    return re.sub(r"\b((?:fig|tab|sec)-[a-z][a-z-]*|(?<=\()ch-results)", r"\1-copy", text)


def execute_all(
    notebooks: Iterable[Path], folder: Path, parameters: Mapping[str, Any], *, inputs: str = ""
) -> Iterator[Execution]:
    """Execute notebooks into ``folder``, two at a time, and yield them in their order as soon as they are done.

    A copy appears only when every cell has run. A notebook whose copy was made by the same code from the same inputs is
    not run again. One with a parameter named ``executed`` reports on the copies of the others: it comes after them, is
    given their folder, and runs again when one of them did.

    Each notebook is given those of the ``parameters``, values by name, that its parameters cell has. ``inputs`` is
    anything else that outputs depend on, such as a dataset's fingerprint; when it changes, all notebooks run.

    Raises
    ------
    NotebookError
        If a cell fails. The message names it; what ran up to there is kept beside the copies, ending in
        ``.failed.ipynb``.
    FileNotFoundError, ValueError
        If there are no notebooks, no notebook has one of the parameters, a value has another type than its default, or
        a copy would overwrite its source.
    """
    if not (notebooks := [Path(notebook) for notebook in notebooks]):
        raise FileNotFoundError("there is no notebook to execute; is this the project's checkout?")
    defaults = {notebook: default_parameters(read(notebook)) for notebook in notebooks}
    known = {name for names in defaults.values() for name in names}
    if unknown := sorted(set(parameters) - known):
        raise ValueError(f"no notebook has a parameter {', '.join(unknown)}; known: {sorted(known)}")
    tasks, given = [], {**parameters, "executed": str(Path(folder).resolve())}
    for notebook, names in defaults.items():
        output = Path(folder) / notebook.name
        if output.resolve() == notebook.resolve():
            raise ValueError(f"{notebook} would be overwritten by its executed copy; give another folder")
        # a notebook that reads the record reads it in every book
        own = {name: value for name, value in given.items() if name in names and names.get("dataset") != "record"}
        tasks.append((notebook, output, check_parameters(notebook.stem, names, own)))
    first = [task for task in tasks if "executed" not in task[2]]
    with ThreadPoolExecutor(N_TOGETHER) as pool:
        futures: list[Future[Execution]] = [pool.submit(_execute, *task, inputs=inputs) for task in first]
        try:
            yield from (future.result() for future in futures)
        finally:
            pool.shutdown(cancel_futures=True)
    records = [read_record(output) for _, output, _ in first]
    after = "|".join([inputs, *(f"{record['stamp']} {record['seconds']}" for record in records)])
    for task in tasks:
        if task not in first:
            yield _execute(*task, inputs=after)


def _execute(notebook: Path, output: Path, parameters: Mapping[str, Any], *, inputs: str) -> Execution:
    """Execute one notebook into ``output``, unless the copy there is up to date."""
    source = read(notebook)
    record = {
        "source": digest(source),
        "parameters": default_parameters(source) | dict(parameters),
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
    executed = _run(notebook, failed, parameters)
    record |= {"seconds": round(time.perf_counter() - start, 1), "machine": machine()}
    executed.metadata[RECORD] = record
    for cell in code_cells(executed):  # a bar that is switched off still leaves an empty widget
        cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
    for cell in executed.cells:
        if INJECTED in tags(cell):
            cell.metadata["tags"] = [*tags(cell), "remove-input"]
    nbformat.write(executed, failed)
    os.replace(failed, output)
    return Execution(notebook.stem, output, record["seconds"], True)


def _library_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the library's modules that a notebook imports, and the generators that it may make by name."""
    from mri_aug.generators.base import GENERATORS, generator_module  # brings torch, which nothing else here needs

    files = library_modules()
    as_python = TransformerManager().transform_cell  # turns %magic and !command into calls
    imported = imported_modules("\n".join(as_python(cell.source) for cell in code_cells(notebook)), files)
    for name in list(imported):
        if files[name].name == "__init__.py":  # it only exports, so a fingerprint does not follow it
            imported |= imported_modules(files[name].read_text(encoding="utf-8"), files)
    if "mri_aug.generators.base" in reached_modules(*imported):
        imported |= {generator_module(name) for name in GENERATORS}  # imported by name when they are used
    return sorted(imported)


def _run(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Run papermill in a process of its own: it changes the working directory, which threads share."""
    threads = max(1, int(machine()["cores"]) // N_TOGETHER)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, **KERNEL_ENVIRONMENT}
    command = [sys.executable, "-m", "papermill", str(notebook.resolve()), str(output.resolve()), "-k", "python3"]
    command += ["-y", yaml.safe_dump(dict(parameters)), "--cwd", str(notebook.resolve().parent)]
    command += ["--no-progress-bar", "--start-timeout", "180"]  # a machine under load takes its time to import IPython
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    executed = read(output) if output.is_file() else None
    if done.returncode or executed is None:
        raise NotebookError(f"{notebook} {_fault(executed) or f'could not be run: {done.stderr.strip()[-2000:]}'}"
                            f"; the notebook up to there is {output}")  # fmt: skip
    return executed


def _fault(notebook: nbformat.NotebookNode | None) -> str:
    """Say at which cell an executed notebook stopped, and why; nothing where no cell failed."""
    for cell in notebook.cells if notebook else ():
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                line, why = next(iter(cell.source.strip().splitlines()), ""), f"{output.ename}: {output.evalue}"
                return f"stopped at its cell [{cell.execution_count}], which begins {line!r}, with {why}"
    return ""


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in an executed copy; empty where the file is missing or was made by something else."""
    if not Path(path).is_file():
        return {}
    try:
        return dict(read(path).metadata.get(RECORD, {}))
    except ValueError:
        return {}  # cut off by a full disk or a kill


def executions(folder: Path, *, without: Iterable[str] = ()) -> pd.DataFrame:
    """Return ``notebook``, ``seconds`` and ``library`` (a fingerprint) of the executed copies in a folder, by name.

    ``without`` names notebooks to leave out.
    """
    copies = [path for path in sorted(Path(folder).glob("*.ipynb")) if path.stem not in without]
    records = [(path.stem, read_record(path)) for path in copies]
    rows = [(name, record["seconds"], record["library"]) for name, record in records if record]
    return pd.DataFrame(rows, columns=["notebook", "seconds", "library"])
