"""Sphinx extension: a notebook's page shows what its executed copy computed.

The prose comes from the source, the outputs from the copy, and the parameters cell with the values that
were used. It never executes: a copy that is missing, or is of other code, is a warning (an error under ``-W``).
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.util import logging

from mri_aug.publishing import cells

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Register the configuration value ``executed_dir`` (absolute, or below the source folder) and the hook."""
    app.add_config_value("executed_dir", "artifacts/executed", "env")
    app.connect("source-read", use_executed)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def use_executed(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the executed copy's outputs into the notebook that Sphinx is about to read."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    copy = Path(app.srcdir, app.config.executed_dir, f"{docname}.ipynb")
    app.env.note_dependency(str(copy))
    if not copy.is_file():
        logger.warning("this notebook has not been executed; run 'make book'", location=docname, type="mri_aug")
        return
    original, executed = nbformat.reads(source[0], as_version=4), cells.read(copy)
    if cells.digest(original) != cells.digest(executed):
        logger.warning(
            "this notebook's code was changed after it was executed; run 'make book'", location=docname, type="mri_aug"
        )
        return
    source[0] = nbformat.writes(merge(original, executed, folder=Path(app.srcdir)))


def merge(original: nbformat.NotebookNode, executed: nbformat.NotebookNode, *, folder: Path) -> nbformat.NotebookNode:
    """Return the source notebook with the executed copy's outputs, both having the same code cells.

    Absolute paths among the parameters are shown relative to ``folder``.
    """
    values = {
        name: os.path.relpath(value, folder) if isinstance(value, str) and os.path.isabs(value) else value
        for name, value in executed.metadata.get("papermill", {}).get("parameters", {}).items()
    }
    for cell, run in zip(cells.code_cells(original), cells.code_cells(executed), strict=True):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        if "parameters" in cells.tags(cell):
            cell.source = cells.with_values(cell.source, values)
    return original
