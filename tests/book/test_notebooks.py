"""The book's notebooks: their sources keep the house rules, and executing them skips what is unchanged."""

from __future__ import annotations

import ast
import shutil
import threading

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from toy_book import change_cell, write_notebook

from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.notebooks import NotebookError, _library_of, execute_all, executions, read_record
from mri_aug.book.publishing.pages import pages
from mri_aug.provenance import project
from mri_aug.study.parts import part_sizes, profile_parameters

SOURCES = [
    project() / f"{page}.ipynb" for page in pages() if page.startswith("notebooks/") and page not in cells.COPIES
]
FORBIDDEN = ("sys.path", "filterwarnings", "simplefilter", "!pip", "%pip", "random.seed(")


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return request.param


def test_every_notebook_is_in_the_book_and_the_other_way_round():
    assert SOURCES
    assert sorted(project().joinpath("notebooks").glob("*.ipynb")) == sorted(SOURCES)


def test_the_pair_says_the_same(source):
    def content(notebook):
        return [
            (cell.cell_type, cell.source.strip(), cells.tags(cell), cell.metadata.get("mystnb", {}))
            for cell in notebook.cells
        ]

    notebook = cells.read(source)
    assert notebook.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert content(notebook) == content(jupytext.read(source.with_suffix(".py"))), "run 'make sync'"


def test_sources_hold_no_outputs(source):
    for cell in cells.read(source).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell.source
        assert "papermill" not in cell.metadata
    nbformat.validate(cells.read(source))


def test_one_parameters_cell_of_literals(source):
    notebook = cells.read(source)
    assert sum("parameters" in cells.tags(cell) for cell in notebook.cells) == 1
    assert cells.default_parameters(notebook)


def test_code_is_short_calls(source):
    for cell in cells.code_cells(cells.read(source)):
        assert len(cell.source.splitlines()) <= 25, f"split this cell:\n{cell.source}"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef), (
                f"move this definition into mri_aug:\n{cell.source}"
            )
        for word in FORBIDDEN:
            assert word not in cell.source
        # nbval runs cells without history, where IPython does not see the semicolon that hides an output
        assert not cell.source.rstrip().endswith(";"), f"write '_ = ...' instead:\n{cell.source}"


def test_figures_have_a_caption_a_name_and_alternative_text(source):
    for cell in cells.code_cells(cells.read(source)):
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert shown["figure"].get("caption") and shown["figure"].get("name"), cell.source
            assert shown.get("image", {}).get("alt"), cell.source


# --- executing -------------------------------------------------------------------------------------------------


@pytest.fixture
def executed(toy):
    """The toy's two notebooks, the folder of their executed copies, and their executions."""
    folder, done = toy
    return [folder / "notebooks" / one.path.name for one in done], done[0].path.parent, done


def test_execution_records_what_made_the_copy(executed):
    (source, _), copies, done = executed
    record, copy = read_record(copies / "07_results.ipynb"), cells.read(copies / "07_results.ipynb")
    assert [(execution.name, execution.fresh) for execution in done] == [("07_results", True), ("B_reproducing", True)]
    assert done[0].path == copies / "07_results.ipynb" and done[0].seconds == record["seconds"] > 0
    assert record["parameters"] == {"dataset": "phantom", "real_frac": 0.5}
    assert record["source"] == cells.digest(cells.read(source)) == cells.digest(copy)
    assert record["machine"]["cores"] >= 1 and "torch" in record["versions"]
    assert copy.cells[-1].outputs[0]["text"] == "0.5 1 notebooks\n"
    (injected,) = [cell for cell in copy.cells if cells.INJECTED in cells.tags(cell)]
    assert "remove-input" in cells.tags(injected)
    assert not list(copies.glob("*.failed.ipynb"))


def test_a_report_on_the_copies_follows_them(executed, monkeypatch, tmp_path):
    sources, copies, _ = executed
    assert "['07_results']" in cells.read(copies / "B_reproducing.ipynb").cells[-1].outputs[-1]["text"]
    assert executions(copies)["notebook"].to_list() == ["07_results", "B_reproducing"]
    assert executions(copies, without=["07_results"])["notebook"].to_list() == ["B_reproducing"]
    changed = shutil.copytree(copies, tmp_path / "copies")
    slower = cells.read(changed / "07_results.ipynb")
    slower.metadata["mri_aug"]["seconds"] = 999.0
    nbformat.write(slower, changed / "07_results.ipynb")
    monkeypatch.setattr(cells, "_run", lambda *_: cells.read(copies / "B_reproducing.ipynb"))
    assert [done.fresh for done in execute_all(sources[::-1], changed, {"real_frac": 0.5})] == [False, True]


@pytest.mark.parametrize("what", ["prose", "parameter", "inputs", "source", "library"])
def test_only_what_changed_is_executed(executed, monkeypatch, what, tmp_path):
    (source, _), copies, _ = executed
    calls = []
    monkeypatch.setattr(cells, "_run", lambda *_: calls.append(1) or cells.read(copies / "07_results.ipynb"))
    folder, other = shutil.copytree(copies, tmp_path / "copies"), tmp_path / "07_results.ipynb"
    shutil.copy(source, other)
    if what == "source":
        change_cell(other, "print(", "print(1, ")
    if what == "library":
        monkeypatch.setattr(cells, "code_fingerprint", lambda *_: "another")
    if what == "prose":
        notebook = cells.read(other)
        notebook.cells.append(new_markdown_cell("More prose."))
        nbformat.write(notebook, other)
    values = {"real_frac": 0.4 if what == "parameter" else 0.5}
    (done,) = execute_all([other], folder, values, inputs="data" if what == "inputs" else "")
    assert done.fresh is bool(calls) is (what != "prose")


def test_two_run_side_by_side_and_are_told_in_order(monkeypatch, tmp_path):
    meeting = threading.Barrier(2, timeout=20)  # breaks unless two wait at once
    monkeypatch.setattr(cells, "_run", lambda notebook, *_: meeting.wait() * 0 or cells.read(notebook))
    sources = [tmp_path / f"{name}.ipynb" for name in "dbca"]
    for source in sources:
        write_notebook(source, [new_code_cell(f"'{source.stem}'")])
    assert [done.name for done in execute_all(sources, tmp_path / "copies", {})] == list("dbca")


def test_a_notebook_depends_on_the_generators_that_it_makes_by_name(tmp_path):
    notebook = new_notebook(cells=[new_code_cell("from mri_aug.study.run import run_study")])
    assert {"mri_aug.study.run", "mri_aug.generators.morph"} <= set(_library_of(notebook))
    notebook.cells = [new_code_cell("from mri_aug.results.metrics import evaluate")]
    assert not [name for name in _library_of(notebook) if "generators" in name]


def test_a_notebook_depends_on_what_a_package_exports():
    notebook = new_notebook(cells=[new_code_cell("from mri_aug.book import figures")])
    assert {"mri_aug.book.figures.forest", "mri_aug.book.figures.images"} <= set(_library_of(notebook))


def test_a_failing_cell_is_named_and_leaves_no_copy(tmp_path):
    source, folder = tmp_path / "bad.ipynb", tmp_path / "copies"
    write_notebook(source, [new_code_cell("x = 1\nx / 0")])
    with pytest.raises(NotebookError, match=r"bad.ipynb stopped at its cell \[1\], which begins 'x = 1', with ZeroD"):
        list(execute_all([source], folder, {}))
    assert [path.name for path in folder.iterdir()] == ["bad.failed.ipynb"]


def test_what_cannot_be_executed_is_refused_before_anything_runs(executed, tmp_path):
    (source, report), _, _ = executed
    with pytest.raises(ValueError, match="would be overwritten"):
        list(execute_all([source], source.parent, {}))
    with pytest.raises(ValueError, match="no notebook has a parameter real_fraction; known: .*real_frac"):
        list(execute_all([source, report], tmp_path, {"real_fraction": 0.5}))
    with pytest.raises(ValueError, match="07_results: real_frac must be a number, got 'half'"):
        list(execute_all([source, report], tmp_path, {"real_frac": "half"}))
    with pytest.raises(FileNotFoundError, match="no notebook to execute"):
        list(execute_all([], tmp_path, {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_zero_people_means_everyone(source):
    text = source.with_suffix(".py").read_text(encoding="utf-8")
    for name in {"n_subjects", "dataset_subjects"} & set(cells.default_parameters(cells.read(source))):
        assert f"{name} or " in text, f"0 is everyone: pass {name} or None"


@pytest.mark.parametrize("name", ["07_results", "B_reproducing"])
def test_the_study_is_as_large_as_the_profile_demo_says(name):
    source = project() / "notebooks" / f"{name}.ipynb"
    sizes, defaults = profile_parameters("demo"), cells.default_parameters(cells.read(source))
    shared = {parameter: value for parameter, value in defaults.items() if parameter in sizes}
    assert {"n_simulations", "n_side_simulations", "n_network_simulations"} <= set(shared)
    assert shared == {parameter: sizes[parameter] for parameter in shared}


def test_chapter_7_takes_every_size_of_the_study():
    taken = cells.default_parameters(cells.read(project() / "notebooks" / "07_results.ipynb"))
    assert set(part_sizes(profile_parameters("thesis"))) <= set(taken)
