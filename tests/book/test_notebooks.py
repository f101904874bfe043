"""The book's notebooks: their sources keep the house rules, and executing them skips what is unchanged."""

from __future__ import annotations

import ast
import os

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell
from toy_book import PARAMETERS, REPRODUCING, change_cell, write_notebook

from mri_aug.book.profiles import part_sizes, profile_parameters
from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.notebooks import NotebookError, _library_of, execute, execute_all, executions, read_record
from mri_aug.book.publishing.pages import pages
from mri_aug.provenance import project

SOURCES = [project() / f"{page}.ipynb" for page in pages() if page.startswith("notebooks/")]
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
        assert len(cell.source.splitlines()) <= 31, f"split this cell:\n{cell.source}"
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


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One small notebook and its executed copy."""
    folder = tmp_path_factory.mktemp("executed")
    source = folder / "notebooks" / "one.ipynb"
    source.parent.mkdir()
    body = nbformat.v4.new_code_cell("import os\nprint(real_frac, os.environ['TQDM_DISABLE'])")
    write_notebook(source, [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), body])
    done = execute(source, folder / "copies" / "one.ipynb", {"real_frac": 0.5, "other": 1}, timeout=120)
    return source, done


def test_execute_records_what_made_the_copy(executed):
    source, done = executed
    record = read_record(done.path)
    copy = cells.read(done.path)
    assert done.fresh and done.seconds == record["seconds"] > 0
    assert record["parameters"] == {"dataset": "phantom", "real_frac": 0.5}
    assert record["source"] == cells.digest(cells.read(source)) == cells.digest(copy)
    assert record["machine"]["cores"] >= 1 and "torch" in record["versions"]
    assert copy.cells[-1].outputs[0]["text"] == "0.5 1\n"
    (injected,) = [cell for cell in copy.cells if cells.INJECTED in cells.tags(cell)]
    assert "remove-input" in cells.tags(injected)
    assert not list(done.path.parent.glob("*.failed.ipynb"))
    assert "TQDM_DISABLE" not in os.environ or os.environ["TQDM_DISABLE"] == "1"


def test_unchanged_is_skipped_whatever_its_prose(executed, monkeypatch):
    source, done = executed
    monkeypatch.setattr("papermill.execute_notebook", None)  # calling it would fail
    before = source.read_bytes()
    notebook = cells.read(source)
    notebook.cells.append(nbformat.v4.new_markdown_cell("More prose."))
    nbformat.write(notebook, source)
    again = execute(source, done.path, {"real_frac": 0.5})
    source.write_bytes(before)
    assert not again.fresh and again.seconds == done.seconds


@pytest.mark.parametrize("what", ["parameter", "inputs", "source", "library"])
def test_what_changed_is_executed(executed, monkeypatch, what, tmp_path):
    source, done = executed
    calls = []

    def run(notebook, *_, **__):
        return calls.append(1) or cells.read(done.path)

    monkeypatch.setattr("mri_aug.book.publishing.notebooks._run", run)
    copy = tmp_path / "one.ipynb"
    copy.write_bytes(done.path.read_bytes())
    other = tmp_path / "source.ipynb"
    other.write_bytes(source.read_bytes())
    if what == "source":
        change_cell(other, "print(", "print(1, ")
    if what == "library":
        monkeypatch.setattr("mri_aug.book.publishing.notebooks.code_fingerprint", lambda *_: "another")
    values = {"real_frac": 0.4 if what == "parameter" else 0.5}
    execute(other, copy, values, inputs="data" if what == "inputs" else "")
    assert calls == [1]


def test_a_notebook_hangs_on_the_generators_that_it_makes_by_name(tmp_path):
    made, not_made = tmp_path / "made.ipynb", tmp_path / "not.ipynb"
    write_notebook(made, [new_code_cell("from mri_aug.study.run import run_study")])
    write_notebook(not_made, [new_code_cell("from mri_aug.results.metrics import evaluate")])
    assert {"mri_aug.study.run", "mri_aug.generators.morph"} <= set(_library_of(cells.read(made)))
    assert _library_of(cells.read(not_made)) == ["mri_aug", "mri_aug.results.metrics"]


def test_a_failing_cell_is_named_and_leaves_no_copy(tmp_path):
    source = tmp_path / "bad.ipynb"
    write_notebook(source, [nbformat.v4.new_code_cell("x = 1\nx / 0")])
    with pytest.raises(NotebookError, match=r"bad.ipynb stopped at its cell \[1\], which begins 'x = 1', with ZeroD"):
        execute(source, tmp_path / "out" / "bad.ipynb", {})
    assert not (tmp_path / "out" / "bad.ipynb").exists()
    assert (tmp_path / "out" / "bad.failed.ipynb").is_file()


def test_a_source_is_never_its_own_copy(tmp_path):
    source = tmp_path / "one.ipynb"
    write_notebook(source, [nbformat.v4.new_code_cell("1")])
    before = source.read_bytes()
    with pytest.raises(ValueError, match="would be overwritten"):
        execute(source, tmp_path / "." / "one.ipynb", {})
    assert source.read_bytes() == before


def test_execute_all_refuses_a_parameter_that_no_notebook_has(executed, tmp_path):
    with pytest.raises(ValueError, match="no notebook has a parameter real_fraction; known: .*real_frac"):
        next(execute_all([executed[0]], tmp_path, {"real_fraction": 0.5}))
    with pytest.raises(FileNotFoundError, match="no notebook to execute"):
        next(execute_all([], tmp_path, {}))


def test_a_report_on_the_copies_follows_them(executed, tmp_path, monkeypatch):
    source, done = executed
    report = tmp_path / "B_reproducing.ipynb"
    write_notebook(report, REPRODUCING)
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "one.ipynb").write_bytes(done.path.read_bytes())
    notebooks, values = [report, source], {"real_frac": 0.5}  # it comes last wherever it stands
    assert [e.fresh for e in execute_all(notebooks, copies, values)] == [False, True]
    assert "['one']" in cells.read(copies / report.name).cells[-1].outputs[-1]["text"]
    assert [e.fresh for e in execute_all(notebooks, copies, values)] == [False, False]
    table = executions(copies)
    assert table["notebook"].to_list() == ["B_reproducing", "one"]
    assert executions(copies, without=["one"])["notebook"].to_list() == ["B_reproducing"]
    fresh = cells.read(copies / "one.ipynb")
    fresh.metadata["mri_aug"]["seconds"] = 999.0
    nbformat.write(fresh, copies / "one.ipynb")
    monkeypatch.setattr("mri_aug.book.publishing.notebooks._run", lambda *_, **__: cells.read(copies / report.name))
    assert [e.fresh for e in execute_all(notebooks, copies, values)] == [False, True]


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
