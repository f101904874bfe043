"""Sphinx extensions: executed notebooks in place of their sources, and lists of figures and tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from mri_aug.book.publishing import notebooks as cells


class FigureListNode(nodes.General, nodes.Element):
    """Marks the place of a list until every number is known."""


class FigureList(SphinxDirective):
    """The directive: its one argument is ``figure`` or ``table``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = directives.choice(self.arguments[0], ("figure", "table"))
        return [FigureListNode(kind=kind)]


def fill_lists(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Replace each mark by links to the figures or tables, in the order of the book."""
    for mark in list(doctree.findall(FigureListNode)):
        entries = list(_entries(app, mark["kind"], docname))
        if entries:
            mark.replace_self(nodes.bullet_list("", *entries, classes=["figure-list"]))
        else:
            mark.replace_self(nodes.paragraph(text=f"There is no numbered {mark['kind']}."))


def _entries(app: Sphinx, kind: str, docname: str) -> Iterator[nodes.list_item]:
    numbers = app.env.toc_fignumbers
    for page in _reading_order(app, app.config.root_doc):
        figures = numbers.get(page, {}).get(kind, {})
        if not figures:
            continue
        tree = app.env.get_and_resolve_doctree(page, app.builder, prune_toctrees=False)  # references as words
        for target, number in sorted(figures.items(), key=lambda item: item[1]):
            uri = f"{app.builder.get_relative_uri(docname, page)}#{target}"
            label = nodes.inline(text=".".join(map(str, number)), classes=["figure-list-number"])
            caption = nodes.inline(text=_caption(app, tree, target), classes=["figure-list-caption"])
            link = nodes.reference("", "", label, nodes.Text(" "), caption, internal=True, refuri=uri)
            yield nodes.list_item("", nodes.paragraph("", "", link))


def _reading_order(app: Sphinx, page: str) -> Iterator[str]:
    yield page
    for child in app.env.toctree_includes.get(page, []):
        yield from _reading_order(app, child)


def _caption(app: Sphinx, tree: nodes.document, target: str) -> str:
    numbering = app.env.domains["std"]
    for node in tree.findall(nodes.Element):
        if target in node.get("ids", []) and (title := numbering.get_numfig_title(node)):
            return title
    return ""


logger = logging.getLogger(__name__)


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


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Register the directive, its hook, and the configuration value ``executed_dir`` (absolute, or below the source)."""
    app.add_node(FigureListNode)
    app.add_directive("figurelist", FigureList)
    app.connect("doctree-resolved", fill_lists)
    app.add_config_value("executed_dir", "artifacts/executed", "env")
    app.connect("source-read", use_executed)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
