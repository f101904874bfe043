"""A small book, drawn by the real configuration: executed outputs, lists, numbers, and what stops the build."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from toy_book import change_cell, make_toy_book

from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.notebooks import execute_all
from mri_aug.book.publishing.pages import BookError, render
from mri_aug.book.publishing.sphinx import merge


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
def toy(tmp_path_factory):
    """Sources, executed copies and pages of the toy."""
    source = make_toy_book(tmp_path_factory.mktemp("toy"))
    notebooks = sorted(source.joinpath("notebooks").glob("*.ipynb"))
    copies = source / "artifacts" / "executed" / "notebooks"
    list(execute_all(notebooks, copies, {"real_frac": 0.5}, timeout=120))
    first = render(copies.parent, source / "artifacts" / "book", source=source)
    return source, first


def test_numbers_reach_every_page(toy):
    _, first = toy
    assert "Fig. 1.1 the share is 0.50." in text(first)
    page = text(first.parents[1] / "notebooks" / "07_results.html")
    assert "The share is 0.50, see Fig. 1.1 and Table 1.1." in page
    assert "class share non 50.0% mild –" in page


def test_the_parameters_cell_shows_the_values_used(toy):
    page = text(toy[1].parents[1] / "notebooks" / "07_results.html")
    assert "real_frac: float = 0.5 # share of real images" in page
    assert "# Parameters" not in page


def test_lists_link_to_numbered_figures_and_tables(toy):
    html = (toy[1].parent / "lists.html").read_text(encoding="utf-8")
    assert "1.1 A rising line" in text(toy[1].parent / "lists.html")
    assert 'href="../notebooks/07_results.html#fig-line"' in html
    assert 'href="../notebooks/07_results.html#tab-toy"' in html


def test_prose_may_change_after_the_execution(toy, tmp_path):
    source = tmp_path / "toy"
    shutil.copytree(toy[0], source, ignore=shutil.ignore_patterns("book.ignored"))
    change_cell(source / "notebooks" / "07_results.ipynb", "The share is", "Its share is")
    first = render(source / "artifacts" / "executed", source / "artifacts" / "book", source=source)
    assert "Its share is 0.50" in text(first.parents[1] / "notebooks" / "07_results.html")


def test_what_stops_the_build(toy, tmp_path, capfd):
    source = tmp_path / "toy"
    shutil.copytree(toy[0], source)
    copies = source / "artifacts" / "executed"
    copies.joinpath("notebooks", "B_reproducing.ipynb").unlink()
    change_cell(source / "notebooks" / "07_results.ipynb", "[1, 2, 3]", "[1, 2, 4]")
    index = source / "book" / "index.md"
    index.write_text(index.read_text().replace("::share:", "::shere:"))
    with pytest.raises(BookError, match="found faults in the pages"):
        render(copies, source / "artifacts" / "book", source=source)
    said = capfd.readouterr().err
    assert "B_reproducing.ipynb: WARNING: this notebook has not been executed; run 'make book'" in said
    assert "07_results.ipynb: WARNING: this notebook's code was changed after it was executed; run 'make book'" in said
    assert "shere" in said


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
    assert cells.tags(merged.cells[2]) == ["hide-input"]
