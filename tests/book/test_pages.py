"""The pages: what is copied, rendered by the real configuration, listed and checked, and what stops the build."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from toy_book import change_cell, make_toy_book

from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.pages import BookError, collect, complaints, merge, pages, render, short_title
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
    source = make_toy_book(tmp_path / "toy")
    (source / "_toc.yml").write_text("root: book/index\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    with pytest.raises(BookError, match="book/index has no page"):
        render(tmp_path / "executed", tmp_path / "out", source=source)


def test_every_page_of_the_contents_is_there():
    documents = pages()
    assert documents[0] == "book/index"
    assert len(documents) == len(set(documents))
    for document in documents:
        assert (project() / f"{document}.md").is_file() or cells.source_of(document, project()), document


def test_chapters_are_numbered_like_their_files():
    toc = yaml.safe_load((project() / "_toc.yml").read_text())
    (thesis,) = [part for part in toc["parts"] if part["caption"] == "Thesis"]
    for number, chapter in enumerate(thesis["chapters"], start=1):
        assert chapter["file"].split("/")[1].startswith(f"{number:02d}_")


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data):
        self.words.append(data)


def text(html: Path) -> str:
    reader = _Text()
    reader.feed(html.read_text(encoding="utf-8").split("<article", 1)[1].split("</article>")[0])
    return " ".join("".join(reader.words).split())


@pytest.fixture(scope="module")
def first(toy):
    """The toy's first page; the others are beside it."""
    source, done = toy
    return render(done[0].path.parents[1], source / "artifacts" / "book", source=source)


def test_numbers_reach_every_page(first):
    assert "Fig. 1.1 the share is 0.50." in text(first)
    page = text(first.parents[1] / "notebooks" / "07_results.html")
    assert "The share is 0.50, see Fig. 1.1 and Table 1.1." in page
    assert "class share non 50.0 % mild –" in page


def test_a_claim_that_holds_leaves_no_mark(first):
    assert "is 0.50. The line rises to 3. It ends there." in text(first)


def test_a_claim_that_fails_stops_the_build_and_names_its_sentence(copied, tmp_path, capfd):
    executed = copied / "artifacts" / "executed"
    path = executed / "notebooks" / "07_results.ipynb"
    made = path.read_text(encoding="utf-8")
    assert made.count("\"'holds'\"") == 1  # the output, not the code
    path.write_text(made.replace("\"'holds'\"", "\"'fails'\""), encoding="utf-8")
    page = copied / "book" / "index.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n{claim}`unknown` Nobody checks this.\n", encoding="utf-8")
    with pytest.raises(BookError):
        render(executed, tmp_path / "out", source=copied)
    said = " ".join(capfd.readouterr().err.split())
    assert "the record no longer bears out the claim 'rising' of the sentence: The line rises to 3" in said
    assert "no notebook checks the claim 'unknown' of the sentence: Nobody checks this" in said


def test_a_copy_is_the_chapters_code_under_labels_of_its_own(tmp_path):
    page = "notebooks/D_copy"
    chapter, copy = (cells.source_of(name, project()) for name in ("notebooks/07_results", page))
    theirs, ours = (list(cells.code_cells(notebook)) for notebook in (chapter, copy))
    assert len(theirs) == len(ours)
    assert cells.default_parameters(copy) == cells.default_parameters(chapter) | {"dataset": "phantom"}
    names = [
        [cell.metadata["mystnb"]["figure"]["name"] for cell in part if "mystnb" in cell.metadata]
        for part in (theirs, ours)
    ]
    assert names[1] == [f"{name}-copy" for name in names[0]]
    prose = [cell.source for cell in copy.cells if cell.cell_type == "markdown"]
    assert "# This copy's own run" in prose[0]
    assert all(line.startswith(("#", "(")) for text in prose[1:] for line in text.splitlines())
    written = cells.source_file(page, project(), copies=tmp_path)
    assert cells.digest(cells.read(written)) == cells.digest(copy)


def test_the_parameters_cell_shows_the_values_used(first):
    page = text(first.parents[1] / "notebooks" / "07_results.html")
    assert "real_frac: float = 0.5 # share of real images" in page
    assert "# Parameters" not in page


def test_lists_link_to_numbered_figures_and_tables(first):
    html = (first.parent / "lists.html").read_text(encoding="utf-8")
    shown = "Lists# 1.1 A rising line over 4 × 4 points 1.1 The shares B.1 Costs"  # captions' first sentences
    assert text(first.parent / "lists.html").endswith(shown)
    assert 'href="../notebooks/07_results.html#fig-line"' in html
    assert 'href="../notebooks/07_results.html#tab-toy"' in html


def test_appendices_have_letters(first):
    path = first.parents[1] / "notebooks" / "B_reproducing.html"
    words = text(path)
    assert words.startswith('class="bd-article"> Appendix B Reproducing#')
    assert "B.1. Costs#" in words and "Table B.1 is in Section B.1, and" in words
    assert "<title>Appendix B. Reproducing " in path.read_text(encoding="utf-8")
    assert "B. Reproducing" in first.read_text(encoding="utf-8")  # in the contents


def test_numbers_stay_with_their_signs_and_units(first):
    pages = first.parents[1] / "notebooks"
    assert ">50.0\u00a0%<" in (pages / "07_results.html").read_text(encoding="utf-8")
    assert ">0.000<" in (pages / "B_reproducing.html").read_text(encoding="utf-8")  # minus zero
    page = (pages / "B_reproducing.html").read_text(encoding="utf-8")
    assert re.search(r'<span class="together"><span class="math [^>]*>[^<]*</span>\.</span>', page)  # its full stop


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        (" % of 40 %", "7", "~% of 40~%"),
        ("30% and 5 % of 9", " ", "30~% and 5~% of 9"),
        (" = 5, n = 6", "n", "~=~5, n~=~6"),
        ("200 × 32, 4 x 4 of an x ray", " ", "200~×~32, 4~×~4 of an x ray"),
        ("-0.36 (-0.00) to -0.004, −0", " ", "−0.36 (0.00) to −0.004, 0"),
        ("-18 and 2024-05-01, 3-5", "t", "-18 and 2024-05-01, 3-5"),
        ("see Fig. 3.1, Appendix A. It", " ", "see Fig.~3.1, Appendix~A. It"),
        ("1.30 [1.1, 2.0] (−1 to 2)", " ", "1.30 [1.1,~2.0] (−1 to~2)"),
        ("in 5 s or 3 kB, 3 people", " ", "in 5~s or 3~kB, 3 people"),
    ],
)
def test_typeset(text, before, expected, monkeypatch):
    monkeypatch.syspath_prepend(project() / "book" / "_ext")
    from typography import typeset  # as the book's configuration finds it

    assert typeset(text, before).replace("\u00a0", "~") == expected


def test_short_titles():
    titles = {
        "Eight slices of Fig.\u00a03.1. More.": "Eight slices of Fig.\u00a03.1",
        "Left, deletion: the probability. Right.": "Left, deletion: the probability",
        "The schedule over the steps: the rate.": "The schedule over the steps",
        "A source and the difference (red: brighter). Blue.": "A source and the difference (red: brighter)",
    }
    for caption, title in titles.items():
        assert short_title(nodes.caption("", caption)) == title
    assert short_title(nodes.caption("", "", nodes.strong("", "Costs."), nodes.Text(" All: some"))) == "Costs"


def test_the_theme_is_mended_and_relieved(first):
    html = first.parents[1]
    page = (html / "notebooks" / "07_results.html").read_text(encoding="utf-8")
    assert page.count('name="viewport"') == 1 and "thebe" not in page.lower()
    assert '<th scope="col" class="head' in page and '<th scope="row" class="stub' in page and "<th class" not in page
    assert 'alt="A rising line over 4\u00a0×\u00a04 points"' in page
    icons = (html / "_static" / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    assert all(f'"{name}":[' in icons for name in ("magnifying-glass", "arrow-up", "circle-half-stroke"))
    assert "monero" not in icons and len(icons) < 200_000
    loaded = re.search(r'src="\.\./(_static/mathjax/[^"?]*)', first.read_text(encoding="utf-8"))[1]
    assert (html / loaded).is_file() and not (html / "_static" / "mathjax" / "tex-svg.js").exists()
    fonts = list((html / "_static" / "fonts").glob("*.woff2"))
    assert len(fonts) == 4 and sum(font.stat().st_size for font in fonts) < 200_000


@pytest.fixture
def copied(toy, tmp_path):
    """Sources and executed copies of the toy, to be changed."""
    skipped = shutil.ignore_patterns("_build", "source")
    return shutil.copytree(toy[0], tmp_path / "toy", ignore=skipped)


def test_prose_may_change_after_the_execution(copied, tmp_path):
    change_cell(copied / "notebooks" / "07_results.ipynb", "The share is", "Its share is")
    collect(copied / "artifacts" / "executed", tmp_path / "tree", source=copied)
    page = cells.read(tmp_path / "tree" / "notebooks" / "07_results.ipynb")
    assert "Its share is" in page.cells[0].source and page.cells[-1].outputs


def test_a_notebook_that_was_not_executed_since_it_changed_stops_the_build(copied, tmp_path):
    executed = copied / "artifacts" / "executed"
    (executed / "notebooks" / "B_reproducing.ipynb").unlink()
    change_cell(copied / "notebooks" / "07_results.ipynb", "[1, 2, 3]", "[1, 2, 4]")
    with pytest.raises(BookError) as stopped:
        render(executed, tmp_path / "book", source=copied)
    assert str(stopped.value) == (
        "the code of notebooks/07_results was changed after it was executed; "
        "notebooks/B_reproducing has not been executed; run 'make book'"
    )


def test_a_number_that_does_not_exist_stops_the_build(copied, tmp_path, capfd):
    index = copied / "book" / "index.md"
    index.write_text(index.read_text().replace("::share:", "::shere:"))
    with pytest.raises(BookError, match="found faults in the pages"):
        render(copied / "artifacts" / "executed", tmp_path / "book", source=copied)
    assert "shere" in capfd.readouterr().err


def test_merge_takes_prose_from_the_source_and_outputs_from_the_copy(tmp_path):
    source = new_notebook(
        cells=[
            new_markdown_cell("new"),
            new_code_cell('a = 1\ndata = "x"', metadata={"tags": ["parameters"]}),
            new_code_cell("print(a)", metadata={"tags": ["hide-input"]}),
        ]
    )
    copy = new_notebook(
        cells=[
            new_code_cell('a = 1\ndata = "x"', metadata={"tags": ["parameters"]}, execution_count=1),
            new_code_cell("a = 2", metadata={"tags": [cells.INJECTED]}, execution_count=2),
            new_markdown_cell("old"),
            new_code_cell("print(a)", execution_count=3, outputs=[new_output("stream", text="2\n")]),
        ],
        metadata={"papermill": {"parameters": {"a": 2, "data": str(tmp_path / "scans")}}},
    )
    merged = merge(source, copy, folder=tmp_path)
    assert [cell.source for cell in merged.cells] == ["new", "a = 2\ndata = 'scans'", "print(a)"]
    assert merged.cells[2].outputs[0].text == "2\n"
    assert cells.tags(merged.cells[1]) == ["parameters", "hide-input"]
    assert cells.tags(merged.cells[2]) == ["hide-input"]
