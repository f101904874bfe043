"""`papermill notebooks/X.ipynb -p NAME VALUE`, typed as in the README, with and without a terminal."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell
from toy_book import PARAMETERS, write_notebook

from mri_aug.book.publishing import notebooks as cells
from mri_aug.book.publishing.papermill import complete, parse

SOURCE = "notebooks/07_results.ipynb"
DEFAULT = "artifacts/papermill/07_results__real_frac=0.3.ipynb"


@pytest.fixture
def book(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/index\n")
    write_notebook(
        tmp_path / SOURCE,
        [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell("print(real_frac)")],
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def papermill(*arguments: str, module: bool = False, **options) -> subprocess.CompletedProcess:
    start = [sys.executable, "-m", "papermill"] if module else [str(Path(sys.executable).with_name("papermill"))]
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    return subprocess.run([*start, *arguments], capture_output=True, text=True, timeout=120, **options)


def printed(path: str) -> str:
    return "".join(output.get("text", "") for cell in cells.read(path).cells for output in cell.get("outputs", []))


def test_the_entry_point_is_installed():
    found = {point.value for point in entry_points(group="papermill.io")}
    assert "mri_aug.book.publishing.papermill:handler" in found, "install the project again: pip install -e ."


def injected(path: str) -> str:
    return next(cell.source for cell in cells.read(path).cells if cells.INJECTED in cells.tags(cell))


def test_as_written_without_an_output_path(book):
    before = (book / SOURCE).read_bytes()
    done = papermill(SOURCE, "-p", "real_frac", "0.3")
    assert done.returncode == 0, done.stderr
    assert printed(DEFAULT) == "0.3\n"
    assert (book / SOURCE).read_bytes() == before


@pytest.mark.parametrize("how", ["the notebook in a pipe", "an empty pipe", "python -m"])
def test_other_ways_to_start_it(book, how):
    # papermill itself takes SOURCE as the output when its input is a pipe
    before = (book / SOURCE).read_bytes()
    options = {"the notebook in a pipe": {"input": before.decode()}, "an empty pipe": {"input": ""}}.get(how, {})
    done = papermill(SOURCE, "-p", "real_frac", "0.3", "--prepare-only", module=how == "python -m", **options)
    assert done.returncode == 0, done.stderr
    assert "real_frac = 0.3" in injected(DEFAULT)
    assert (book / SOURCE).read_bytes() == before


def test_as_written_on_a_terminal(book):
    control, terminal = pty.openpty()
    command = [str(Path(sys.executable).with_name("papermill")), SOURCE, "-p", "real_frac", "0.3", "--prepare-only"]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL)
    status = process.wait(timeout=120)
    os.close(terminal)
    os.close(control)
    assert status == 0
    assert (book / DEFAULT).is_file()


def test_an_output_path_is_respected(book):
    done = papermill(SOURCE, "out.ipynb", "-p", "real_frac", "0.5", "--prepare-only")
    assert done.returncode == 0, done.stderr
    assert "real_frac = 0.5" in injected("out.ipynb")
    assert not (book / "artifacts").exists()


def test_an_unknown_parameter_ends_with_one_sentence(book):
    done = papermill(SOURCE, "out.ipynb", "-p", "real_fraction", "0.3")
    assert done.returncode == 1
    assert done.stderr == "papermill: 07_results.ipynb has no parameter real_fraction; it has dataset, real_frac\n"
    assert not (book / "out.ipynb").exists()


@pytest.mark.parametrize("output", [(), ("out.ipynb",)])
@pytest.mark.parametrize("option", ["-p", "--parameters", "-r", "--parameters_raw"])
def test_every_way_to_give_a_parameter_is_checked(book, output, option):
    with pytest.raises(ValueError, match="no parameter real_fraction, x; it has dataset, real_frac"):
        complete([SOURCE, *output, option, "real_fraction", "0.3", "-p", "x", "1", "-p", "dataset", "a"])


def test_names_in_yaml_are_checked_too(book):
    text = "real_fraction: 0.3\ndataset: a\n"
    Path("parameters.yml").write_text(text)
    encoded = base64.b64encode(text.encode()).decode()
    for option, word in (("-f", "parameters.yml"), ("-y", text), ("-b", encoded)):
        with pytest.raises(ValueError, match="no parameter real_fraction; it has"):
            complete([SOURCE, option, word])
    assert complete([SOURCE, "out.ipynb", "-f", "absent.yml"]) == [SOURCE, "out.ipynb", "-f", "absent.yml"]


def test_a_source_is_never_overwritten(book):
    before = (book / SOURCE).read_bytes()
    done = papermill(SOURCE, f"./{SOURCE}", "-p", "real_frac", "0.3")
    assert done.returncode == 1
    assert "is a source of the book and is never overwritten" in done.stderr
    assert (book / SOURCE).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([SOURCE], [SOURCE, "07_results"]),
        (["-p", "real_frac", "0.3", SOURCE], ["-p", "real_frac", "0.3", SOURCE, "07_results__real_frac=0.3"]),
        ([SOURCE, "-k", "python3"], [SOURCE, "07_results", "-k", "python3"]),
        ([SOURCE, "-f", "a.yml", "--log-output"], [SOURCE, "07_results__6aa287de", "-f", "a.yml", "--log-output"]),
        ([SOURCE, "-r", "dataset", "a/b c"], [SOURCE, "07_results__dataset=a-b-c", "-r", "dataset", "a/b c"]),
        ([SOURCE, "--execution-timeout=9"], [SOURCE, "07_results", "--execution-timeout=9"]),
    ],
)
def test_where_the_output_goes(book, arguments, expected):
    found = [
        Path(word).stem if "artifacts" in word and word.endswith(".ipynb") else word for word in complete(arguments)
    ]
    expected = [Path(word + ".ipynb").stem if word.startswith("07_results") else word for word in expected]
    assert found == expected


def output_name(*arguments: str) -> str:
    return Path(complete([SOURCE, *arguments])[1]).stem


def test_parameters_in_yaml_get_a_copy_of_their_own(book):
    first, second = "real_frac: 0.1", "real_frac: 0.5"
    ways = {"-y": str, "-b": lambda text: base64.b64encode(text.encode()).decode(), "--parameters_yaml": str}
    for option, write in ways.items():
        names = [output_name(option, write(text)) for text in (first, second, first)]
        assert names[0] == names[2] != names[1]
        assert names[0] == "07_results__" + hashlib.sha256(repr([first.encode()]).encode()).hexdigest()[:8]
    names = []
    for text in (first, second):
        Path("parameters.yml").write_text(text)  # the same file, another content
        names.append(output_name("-p", "dataset", "a", "-f", "parameters.yml"))
    assert names[0] != names[1] and all(name.startswith("07_results__dataset=a__") for name in names)


def test_a_digest_outlives_a_long_name(book):
    names = {output_name("-p", "dataset", "a" * 300, "-y", f"real_frac: {x}") for x in (0.1, 0.5)}
    assert len(names) == 2


def test_a_pipe_of_parameters_is_left_for_papermill_to_read(book):
    reader, writer = os.pipe()  # as a shell makes for <(...)
    os.write(writer, b"real_frac: 0.7")
    os.close(writer)
    output_name("-f", f"/dev/fd/{reader}")
    assert os.read(reader, 99) == b"real_frac: 0.7"
    os.close(reader)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], [SOURCE, "--help-notebook"], ["other.ipynb"], ["-"], [], ["absent.ipynb", "b"]],
)
def test_what_is_left_alone(book, arguments):
    assert complete(arguments) == arguments


def test_a_notebook_outside_the_book_is_left_alone(book, tmp_path):
    write_notebook(tmp_path / "mine.ipynb", [new_code_cell("print(1)")])
    assert complete(["mine.ipynb", "-p", "anything", "1"]) == ["mine.ipynb", "-p", "anything", "1"]
    (tmp_path / "_toc.yml").unlink()
    assert complete([SOURCE, "-p", "anything", "1"]) == [SOURCE, "-p", "anything", "1"]


def test_parse_tells_values_from_paths():
    line = parse(["in.ipynb", "-p", "a", "1", "-kpython3", "--cwd", "x", "--parameters", "b", "-2", "out.ipynb"])
    assert line.paths == ("in.ipynb", "out.ipynb")
    assert line.parameters == (("a", "1"), ("b", "-2"))


def test_importing_papermill_changes_no_other_command_line(book):
    code = f"import sys; sys.argv = ['script.py', {SOURCE!r}]; import papermill; print(sys.argv)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == repr(["script.py", SOURCE])
