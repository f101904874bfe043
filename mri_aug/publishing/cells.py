"""What the cells of a notebook's source say: its parameters, and a digest of its code.

It reads notebooks as text. Nothing here runs a cell, imports papermill or writes a file.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

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


def parameters(notebook: nbformat.NotebookNode) -> dict[str, Any]:
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
