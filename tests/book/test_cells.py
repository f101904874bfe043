"""Reading notebooks as text."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mri_aug.book.publishing import notebooks as cells


def notebook(*sources: str, tag: str = "parameters"):
    first, *others = sources
    return new_notebook(
        cells=[new_code_cell(first, metadata={"tags": [tag]}), *(new_code_cell(source) for source in others)]
    )


def test_parameters_in_order_with_their_values():
    found = cells.default_parameters(notebook('b: float = 0.3  # share\na = "x"\nlist_of = [1, -2]\nnone = None'))
    assert list(found.items()) == [("b", 0.3), ("a", "x"), ("list_of", [1, -2]), ("none", None)]


def test_no_parameters():
    assert cells.default_parameters(notebook("x = 1", tag="setup")) == {}


@pytest.mark.parametrize("line", ["x = 2 * y", "x = len('a')", "a = b = 1", "import os", "x: int", "a, b = 1, 2"])
def test_parameters_must_be_literals(line):
    with pytest.raises(ValueError, match="may hold only lines such as 'name = literal', not"):
        cells.default_parameters(notebook(line))


def test_two_parameters_cells_are_an_error():
    two = notebook("x = 1")
    two.cells += notebook("y = 1").cells
    with pytest.raises(ValueError, match="2 cells are tagged 'parameters'"):
        cells.default_parameters(two)


def test_digest_is_of_the_code_alone():
    source = notebook("x = 1", "print(x)")
    before = cells.digest(source)
    source.cells.insert(1, new_code_cell("x = 2", metadata={"tags": [cells.INJECTED]}))
    source.cells.append(new_markdown_cell("prose"))
    source.cells[2].outputs = [{"output_type": "stream", "name": "stdout", "text": "2"}]
    assert cells.digest(source) == before
    source.cells[2].source = "print(x + 1)"
    assert cells.digest(source) != before


def test_with_values_keeps_comments_and_other_lines():
    text = 'share: float = 0.3  # é, of all\nnames = [\n    "a",\n    "b",\n]  # two\nseed = 0'
    changed = cells.with_values(text, {"share": 0.5, "names": ["c"], "absent": 1})
    assert changed == "share: float = 0.5  # é, of all\nnames = ['c']  # two\nseed = 0"


def test_read_names_what_is_no_notebook(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("not JSON")
    with pytest.raises(ValueError, match="x.ipynb is not a Jupyter notebook"):
        cells.read(path)
    with pytest.raises(FileNotFoundError):
        cells.read(tmp_path / "absent.ipynb")
