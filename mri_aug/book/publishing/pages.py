"""Render the book: the sources with the executed copies' outputs, jupyter-book with warnings as errors, then checks.

It executes no notebook; :mod:`mri_aug.book.publishing.notebooks` does. It is also the book's Sphinx extension: the
directive ``figurelist`` lists the numbered figures or tables, the role ``claim`` ties a sentence to the record, and
appendices have letters. How the pages are set is up to ``book/_ext/typography.py`` and ``book/_static/thesis.css``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from mri_aug import provenance
from mri_aug.book.publishing import notebooks as cells

_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
# <link> also names pages that are only mentioned, e.g. the canonical address
_FETCHED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch"}


class BookError(RuntimeError):
    """The pages could not be rendered, or are not what they should be."""


def pages(source: Path | None = None) -> list[str]:
    """Return the documents that ``_toc.yml`` names, in reading order, without their suffixes."""
    toc = yaml.safe_load((source or provenance.project()).joinpath("_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *_files(toc)]


def _files(node: Mapping[str, Any]) -> Iterator[str]:
    if "file" in node:
        yield node["file"]
    for key in ("parts", "chapters", "sections"):
        for entry in node.get(key, []):
            yield from _files(entry)


def render(executed: Path, output: Path, *, source: Path | None = None) -> Path:
    """Build the HTML book from executed notebooks and return its first page.

    The copies are ``<executed>/notebooks/07_results.ipynb`` and so on; ``source`` is the folder of ``_config.yml`` and
    ``_toc.yml``, by default the project's. The pages go to ``<output>/_build/html``, what they are made from to
    ``<output>/source``. BookError if a notebook has not been executed since its code changed, Sphinx warns or fails
    (its messages are on stderr), or the pages fail :func:`complaints`.
    """
    documents, html = pages(source), build(executed, output, "html", source=source)
    if found := complaints(html, documents):
        raise BookError("the pages were rendered, but " + "; ".join(found))
    return html / f"{documents[0]}.html"


def build(executed: Path, output: Path, builder: str, *, source: Path | None = None) -> Path:
    """Run jupyter-book, warnings as errors, by the builder "html" or "latex"; return the folder of what it wrote."""
    source, tree = source or provenance.project(), output.resolve() / "source"
    collect(executed, tree, source=source)
    # --all: an incremental build leaves old numbers in pages that quote a notebook which ran again
    options = ["--all", "-W", "-n", "--keep-going", "-q", "--builder", builder, "--path-output", str(output.resolve())]
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(tree), *options]
    if subprocess.run(command, check=False).returncode:
        raise BookError(f"jupyter-book found faults in the pages of {source}, named above")
    return output / "_build" / builder


def collect(executed: Path, tree: Path, *, source: Path) -> None:
    """Copy the book's sources to ``tree``, replacing it, with the outputs of the executed notebooks.

    A BookError names notebooks without an executed copy, or whose code was changed after the copy was made.
    """
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source / "book", tree / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(source / name, tree / name)
    faults = []
    for document in pages(source):
        copy = executed / f"{document}.ipynb"
        if (before := cells.source_of(document, source)) is None:
            continue
        after = cells.read(copy) if copy.is_file() else None
        if after is None:
            faults.append(f"{document} has not been executed")
        elif cells.digest(before) != cells.digest(after):
            faults.append(f"the code of {document} was changed after it was executed")
        else:
            path = tree / f"{document}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(merge(before, after, folder=source), path)
    if faults:
        raise BookError(f"{'; '.join(faults)}; run 'make book'")


def merge(original: nbformat.NotebookNode, executed: nbformat.NotebookNode, *, folder: Path) -> nbformat.NotebookNode:
    """Return the source notebook with the outputs of its executed copy, and paths relative to ``folder``."""
    values = {
        name: os.path.relpath(value, folder) if isinstance(value, str) and os.path.isabs(value) else value
        for name, value in executed.metadata.get("papermill", {}).get("parameters", {}).items()
    }
    for cell, run in zip(cells.code_cells(original), cells.code_cells(executed), strict=True):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        if "parameters" in cells.tags(cell):
            cell.source = cells.with_values(cell.source, values)
            cell.metadata["tags"] = [*cells.tags(cell), "hide-input"]
    return original


def complaints(html: Path, documents: list[str]) -> list[str]:
    """Return what is wrong with built pages.

    A page may be missing although jupyter-book succeeded, fetch from the network, or hold a picture without alt text.
    """
    found = []
    for document in documents:
        page = html / f"{document}.html"
        if not page.is_file():
            found.append(f"{document} has no page")
            continue
        reader = _PageReader()
        reader.feed(page.read_text(encoding="utf-8"))
        found += [f"{document} loads {address} from the network" for address in reader.fetched]
        found += [f"{document} shows {image} without alternative text" for image in reader.unnamed]
    return found


class _PageReader(HTMLParser):
    """Collect what a page fetches from elsewhere, and its pictures without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_LOADED.get(tag, ""), "") or ""
        passive = tag == "link" and not _FETCHED_LINKS & set((given.get("rel") or "").split())
        if re.match(r"(https?:)?//", address) and not passive:
            self.fetched.append(address)
        if tag == "img" and "alt" not in given:
            self.unnamed.append(address[:60])


class _FigureListNode(nodes.General, nodes.Element):
    """Marks the place of a list until every number is known."""


class _FigureList(SphinxDirective):
    required_arguments = 1  # figure or table

    def run(self) -> list[nodes.Node]:
        return [_FigureListNode(kind=directives.choice(self.arguments[0], ("figure", "table")))]


def _letter_appendices(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the number of ``A_people`` and its like by A, A.1, Fig. A.1; Sphinx continues the chapters'."""
    for document in env.found_docs:
        if not (letter := re.search(r"(?:^|/)([A-Z])_[^/]*$", document)):
            continue
        for numbers in (env.toc_secnumbers.get(document, {}), *env.toc_fignumbers.get(document, {}).values()):
            numbers.update({place: (letter[1], *number[1:]) for place, number in numbers.items() if number})
        for node in (env.titles[document], *env.tocs[document].findall(nodes.reference)):
            if node.get("secnumber"):
                node["secnumber"] = [letter[1], *node["secnumber"][1:]]
    return []


def short_title(caption: nodes.Element) -> str:
    """Return what a list shows of a caption: what it begins with in bold, else its first sentence, up to a colon."""
    if isinstance(caption.children[:1] and caption[0], nodes.strong):
        return caption[0].astext().rstrip(".:")
    sentence = re.match(r".*?(?=[.;] |\.?$)", caption.astext().replace("\n", " "))[0]
    head = sentence.split(": ")[0]
    return head if head.count(" ") > 2 and head.count("(") == head.count(")") else sentence  # not "Left, deletion"


def _fill_lists(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Replace each mark by links to the figures or tables, in the order of the book."""
    for mark in list(doctree.findall(_FigureListNode)):
        entries = list(_entries(app, mark["kind"], docname))
        items = nodes.bullet_list("", *entries, classes=["figure-list"])
        mark.replace_self(items if entries else nodes.paragraph(text=f"There is no numbered {mark['kind']}."))


def _entries(app: Sphinx, kind: str, docname: str) -> Iterator[nodes.list_item]:
    for page in _reading_order(app, app.config.root_doc):
        figures = app.env.toc_fignumbers.get(page, {}).get(kind, {})
        if not figures:
            continue
        tree = app.env.get_and_resolve_doctree(page, app.builder, prune_toctrees=False)  # references as words
        captions = {
            target: short_title(title)
            for node in tree.findall(nodes.Element)
            for target in figures.keys() & node.get("ids", [])
            for title in node.children
            if isinstance(title, nodes.caption | nodes.title)
        }
        for target, number in sorted(figures.items(), key=lambda item: item[1]):
            uri = f"{app.builder.get_relative_uri(docname, page)}#{target}"
            label = nodes.inline(text=".".join(map(str, number)), classes=["figure-list-number"])
            caption = nodes.inline(text=captions.get(target, ""), classes=["figure-list-caption"])
            link = nodes.reference("", "", label, nodes.Text(" "), caption, internal=True, refuri=uri)
            yield nodes.list_item("", nodes.paragraph("", "", link))


def _reading_order(app: Sphinx, page: str) -> Iterator[str]:
    yield page
    for child in app.env.toctree_includes.get(page, []):
        yield from _reading_order(app, child)


class _ClaimNode(nodes.Inline, nodes.TextElement):
    """Marks the beginning of a sentence that the record must bear out."""


def _claim(name, rawtext, text, lineno, inliner, options=None, content=None):
    return [_ClaimNode(claim=text)], []


def _check_claims(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of each sentence whose claim the executed notebooks did not find to hold, and remove the marks."""
    marks = list(doctree.findall(_ClaimNode))
    held = _claims(Path(app.srcdir)) if marks else {}
    for mark in marks:
        if (found := held.get(mark["claim"])) != "holds":
            after = mark.parent[mark.parent.index(mark) + 1 :]
            sentence = "".join(node.astext() for node in after).strip().split(". ")[0]
            why = "no notebook checks" if found is None else "the record no longer bears out"
            message = f"{why} the claim {mark['claim']!r} of the sentence: {sentence}"
            logging.getLogger(__name__).warning(message, location=mark.parent, type="claim")
        mark.parent.remove(mark)


@cache
def _claims(tree: Path) -> dict[str, str]:
    """Return what the notebooks glued under the names ``claim_...``: "holds" or "fails", by the rest of the name."""
    found = {}
    for page in pages(tree):
        if page in cells.COPIES or not (path := tree / f"{page}.ipynb").is_file():
            continue
        for output in (output for cell in cells.code_cells(cells.read(path)) for output in cell.outputs):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
            if name.startswith("claim_"):
                value = output["data"]["application/papermill.record/text/plain"]
                found[name.removeprefix("claim_")] = value.strip("'")
    return found


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Register the directive ``figurelist``, the role ``claim`` and the numbers of appendices with Sphinx."""
    app.add_node(_FigureListNode)
    app.add_role("claim", _claim)
    app.connect("doctree-read", _check_claims)
    app.add_directive("figurelist", _FigureList)
    app.connect("env-get-updated", _letter_appendices, priority=900)  # when everything is numbered
    app.connect("doctree-resolved", _fill_lists)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
