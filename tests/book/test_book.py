"""The look at the built pages: what it finds, and that the contents name real files."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from mri_aug.book.publishing.pages import BookError, complaints, pages, render
from mri_aug.provenance import project

GOOD = (
    '<html><head><link rel="canonical" href="https://example.org/"></head><body><img src="a.svg" alt="A"></body></html>'
)


@pytest.fixture
def html(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text(GOOD)
    return tmp_path


def test_a_good_page(html):
    assert complaints(html, ["book/index"]) == []


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('<script src="https://example.org/a.js"></script>', "loads https://example.org/a.js from the network"),
        ('<script src="//example.org/a.js"></script>', "loads //example.org/a.js from the network"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads https://example.org/a.css"),
        ('<img src="http://example.org/a.png" alt="">', "loads http://example.org/a.png"),
        ('<img src="b.svg">', "shows b.svg without alternative text"),
    ],
)
def test_a_fault_is_named(html, tag, said):
    (html / "book" / "index.html").write_text(GOOD.replace("<body>", f"<body>{tag}"))
    (complaint,) = complaints(html, ["book/index"])
    assert complaint.startswith("book/index") and said in complaint


def test_a_missing_page_is_named(html):
    assert complaints(html, ["book/index", "book/lists"]) == ["book/lists has no page"]


def test_a_build_that_ends_well_without_pages_is_a_fault(tmp_path, monkeypatch):
    (tmp_path / "_toc.yml").write_text("root: book/index\n")
    (tmp_path / "_config.yml").write_text("sphinx: {config: {}}\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    with pytest.raises(BookError, match="book/index has no page"):
        render(tmp_path / "executed", tmp_path / "out", source=tmp_path)
    written = yaml.safe_load((tmp_path / "out" / "_config.yml").read_text())
    assert written["sphinx"]["config"]["executed_dir"] == str((tmp_path / "executed").resolve())


def test_every_page_of_the_contents_is_there():
    documents = pages()
    assert documents[0] == "book/index"
    assert len(documents) == len(set(documents))
    for document in documents:
        assert any((project() / f"{document}{ending}").is_file() for ending in (".md", ".ipynb")), document


def test_chapters_are_numbered_like_their_files():
    toc = yaml.safe_load((project() / "_toc.yml").read_text())
    (thesis,) = [part for part in toc["parts"] if part.get("numbered")]
    for number, chapter in enumerate(thesis["chapters"], start=1):
        assert chapter["file"].split("/")[1].startswith(f"{number:02d}_")
