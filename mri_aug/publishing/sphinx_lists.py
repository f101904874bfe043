"""Sphinx extension: ``{figurelist} figure`` and ``{figurelist} table``, the lists that open a thesis.

HTML has no such list of its own. Numbers and captions are Sphinx's; what is not numbered is not listed.
"""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class FigureListNode(nodes.General, nodes.Element):
    """Marks the place of a list until every number is known."""


class FigureList(SphinxDirective):
    """The directive: its one argument is ``figure`` or ``table``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = directives.choice(self.arguments[0], ("figure", "table"))
        return [FigureListNode(kind=kind)]


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Register the directive."""
    app.add_node(FigureListNode)
    app.add_directive("figurelist", FigureList)
    app.connect("doctree-resolved", fill_lists)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


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
        if target in node.get("ids", []):
            if title := numbering.get_numfig_title(node):
                return title
    return ""
