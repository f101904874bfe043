"""`papermill notebooks/X.ipynb -p NAME VALUE`, typed as in the README."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import papermill.cli
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell
from toy_book import write_notebook

from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.papermill import default_output

SOURCE = "notebooks/07_results.ipynb"
PARAMETERS = (
    'dataset: str = "phantom"\nreal_frac: float = 0.3\nn_subjects: int = 22\ncontrols: bool = False\n'
    'sweep: list = [0.1, 0.6]\npolicies: list = ["flip"]\npretrained: list = []\noptions: dict = {}'
)


@pytest.fixture
def book(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/index\n")
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    write_notebook(tmp_path / SOURCE, [parameters, new_code_cell("print(real_frac)")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(papermill.cli, "INPUT_PIPED", False)
    return tmp_path


def run(*arguments: str, execute: bool = False):
    """Run papermill's command in this process; by default it only writes the parameters into a copy."""
    return CliRunner().invoke(papermill.cli.papermill, [*arguments, *([] if execute else ["--prepare-only"])])


def copies(book: Path) -> list[Path]:
    return sorted(book.joinpath("artifacts", "papermill").glob("*.ipynb"))


def given(path: Path | str) -> dict:
    return dict(cells.read(path).metadata["papermill"]["parameters"])


def test_the_entry_point_is_installed():
    found = {point.value for point in entry_points(group="papermill.io")}
    assert "mri_aug.book.publishing.papermill:handler" in found, "install the project again: pip install -e ."


def test_as_written_without_an_output_path_and_with_a_pipe_for_input(book):
    # papermill itself takes SOURCE as the output when its input is a pipe
    before = (book / SOURCE).read_bytes()
    command = [str(Path(sys.executable).with_name("papermill")), SOURCE, "-p", "real_frac", "0.5"]
    done = subprocess.run(command, capture_output=True, input="", text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (copy,) = copies(book)
    assert cells.read(copy).cells[-1].outputs[0]["text"] == "0.5\n"
    assert (book / SOURCE).read_bytes() == before


def test_an_output_path_is_respected(book):
    assert run(SOURCE, "out.ipynb", "-p", "real_frac", "0.5").exit_code == 0
    assert given("out.ipynb") == {"real_frac": 0.5} and not copies(book)


def test_a_source_is_never_overwritten(book):
    before = (book / SOURCE).read_bytes()
    for arguments in ((SOURCE, f"./{SOURCE}"), ("mine.ipynb", SOURCE)):
        done = run(*arguments)
        assert done.exit_code == 1 and "is a source of the book and is never overwritten" in done.output
    assert (book / SOURCE).read_bytes() == before


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (("-p", "real_frac", "1"), {"real_frac": 1.0}),
        (("-p", "real_frac", "1e-3"), {"real_frac": 0.001}),
        (("-p", "n_subjects", "12.0"), {"n_subjects": 12}),
        (("-p", "dataset", "2024"), {"dataset": "2024"}),
        (("-p", "dataset", "None"), {"dataset": "None"}),
        (("-p", "controls", "yes"), {"controls": True}),
        (("-p", "controls", "false"), {"controls": False}),
        (("-p", "sweep", "[0.2, 1]"), {"sweep": [0.2, 1]}),
        (("-p", "options", "{quality: low}"), {"options": {"quality": "low"}}),
        (("-y", "pretrained: [resnet18]"), {"pretrained": ["resnet18"]}),
        (("-r", "dataset", "0.3"), {"dataset": "0.3"}),
        (("-b", base64.b64encode(b"real_frac: 0.1").decode(), "-p", "real_frac", "0.2"), {"real_frac": 0.2}),
    ],
)
def test_values_take_the_type_of_the_default(book, word, value):
    done = run(SOURCE, *word)
    assert done.exit_code == 0, done.output
    (copy,) = copies(book)
    assert repr(json.loads(json.dumps(given(copy)))) == repr(value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (("-p", "real_frac", "a third"), "real_frac must be a number, got 'a third'"),
        (("-p", "real_frac", "None"), "real_frac must be a number, got 'None'"),
        (("-p", "real_frac", "nan"), "real_frac must be a number, got nan"),
        (("-y", "real_frac: null"), "real_frac must be a number, got None"),
        (("-r", "real_frac", "0.3"), "real_frac must be a number, got '0.3'"),
        (("-p", "n_subjects", "2.5"), "n_subjects must be a whole number, got 2.5"),
        (("-y", "n_subjects: true"), "n_subjects must be a whole number, got True"),
        (("-p", "controls", "1"), "controls must be True or False, got 1"),
        (("-p", "controls", "maybe"), "controls must be True or False, got 'maybe'"),
        (("-p", "sweep", "0.5"), "sweep must be a list such as [a, b], got 0.5"),
        (("-p", "policies", "elastic"), "policies must be a list such as [a, b], got 'elastic'"),
        (("-y", "policies: [1]"), "policies must be a list of elements like 'flip', got [1]"),
        (("-p", "options", "quality=low"), "options must be a mapping such as {a: 1}, got 'quality=low'"),
        (("-y", "dataset: 3"), "dataset must be text, got 3"),
        (("-p", "real_fraction", "0.3"), "has no parameter real_fraction; it has dataset, real_frac"),
        (("-y", "x: 1"), "has no parameter x"),
        (("-y", "- 1"), "must be a mapping such as"),
        (("-f", "absent.yml"), "absent.yml"),
        (("-p", "n_subjects", "x", "-p", "sweep", "1"), "n_subjects must be a whole number, got 'x'; sweep must be"),
    ],
)
@pytest.mark.parametrize("output", [(), ("out.ipynb",)])
def test_what_does_not_fit_ends_with_one_sentence_before_anything_runs(book, word, message, output):
    done = run(SOURCE, *output, *word)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1
    assert not copies(book) and not Path("out.ipynb").exists()


def test_two_runs_never_share_a_default_copy():
    source = Path("/book/notebooks/07_results.ipynb")
    long = "a" * 300
    runs = [{}, {"real_frac": 0.3}, {"dataset": "x__real_frac=0.3"}, {"dataset": "x", "real_frac": 0.3}]
    runs += [{"dataset": name} for name in ("a/b", "a-b", long + "1", long + "2")]
    names = [default_output(source, values).name for values in runs]
    assert len(set(names)) == len(runs) and max(map(len, names)) < 200
    assert names[0] == "07_results.ipynb" and names[1].startswith("07_results__real_frac=0.3__")


def test_the_same_parameters_have_the_same_copy_however_they_are_given(book):
    for word in (("-p", "real_frac", "0.50"), ("-y", "real_frac: 0.5")):
        assert run(SOURCE, *word).exit_code == 0
    assert len(copies(book)) == 1


def test_a_pipe_of_parameters_is_read(book):
    reader, writer = os.pipe()  # as a shell makes for <(...)
    os.write(writer, b"real_frac: 0.7")
    os.close(writer)
    path = Path("parameters.yml")
    path.symlink_to(f"/dev/fd/{reader}")
    assert run(SOURCE, "-f", str(path)).exit_code == 0
    os.close(reader)
    assert given(copies(book)[0]) == {"real_frac": 0.7}


def test_what_is_left_alone(book):
    assert run("--version").exit_code == 0
    assert "real_frac" in run(SOURCE, "--help-notebook").output
    write_notebook(book / "mine.ipynb", [new_code_cell("print(1)")])
    assert run("mine.ipynb", "out.ipynb", "-p", "anything", "1").exit_code == 0
    (book / "_toc.yml").unlink()
    assert run(SOURCE, "other.ipynb", "-p", "anything", "1").exit_code == 0
