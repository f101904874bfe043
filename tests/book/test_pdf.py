"""The PDF: what a log of LaTeX complains about, what is missing, and a small book typeset where LaTeX is installed."""

from __future__ import annotations

import re
import shutil

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from sphinx import addnodes

from mri_aug.book.publishing import pdf
from mri_aug.provenance import project

SOURCE = "\n".join([r"\chapter{Results}", r"\label{\detokenize{a:tab-b}}", "A long line of the results"])


def columns(n_rows: int) -> str:
    """Return LaTeX's columns of a table of words, intervals and numbers; of 40, 23 and 5 letters."""
    row = f"   * - {'four words here so' * 2} on\n     - −0.033 [−0.123, +0.456]\n     - 0.123\n"
    table = publish_doctree(f".. list-table:: T\n\n{row * n_rows}").next_node(nodes.table)
    pdf._fit(table)
    return table.document.next_node(addnodes.tabular_col_spec)["spec"]


@pytest.fixture(scope="module")
def latex():
    """Skip where the thesis cannot be typeset, and say what is missing."""
    try:
        pdf.check_latex()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("LaTeX Warning: Reference `book/a:b' on page 3 undefined on input line 7.", "book/a:b is undefined"),
        ("LaTeX Warning: Citation `knuth' on page 3 undefined on input line 7.", "knuth is undefined"),
        ("Missing character: There is no ⁻ (U+207B) in font [texgyrepagella-regular.otf]/OT:scr!", "no font has ⁻"),
        (
            r"Overfull \hbox (5.1pt too wide) in paragraph at lines 3--4",
            "line after a:tab-b is 5.1 pt too wide: 'A long line of the results'",
        ),
        (r"Overfull \hbox (812.0pt too wide) in alignment at lines 9--12", "line after a:tab-b is 812.0 pt too wide"),
        ("! Undefined control sequence.", "Undefined control sequence."),
        ("LaTeX Warning: Float too large for page by 31.0pt on input line 12.", "31.0pt higher than its page"),
    ],
)
def test_a_fault_in_the_log_is_named(line, said):
    (complaint,) = pdf.complaints(f"This is XeTeX\n{line}\n{line}\n", SOURCE)
    assert said in complaint


def test_what_a_reader_does_not_see_is_no_fault():
    log = "\n".join([r"Overfull \hbox (4.9pt too wide) in paragraph at lines 3--4", r"Underfull \vbox (badness 10000)"])
    assert pdf.complaints(log, SOURCE) == []


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"PDF, and latexmk, xelatex, .*apt-get install \S+ latexmk texlive-xetex "):
        pdf.check_latex()


@pytest.fixture(scope="module")
def thesis(latex, toy, tmp_path_factory):
    """Return the toy's PDF, and the folder of what LaTeX read and wrote."""
    source, executions = toy
    output = tmp_path_factory.mktemp("thesis")
    path = pdf.typeset(executions[0].path.parents[1], output, source=source)
    return path, output / "pdf" / "_build" / "latex"


def test_the_thesis_has_its_lists_and_its_chapters(thesis):
    path, latex = thesis
    assert path.read_bytes().startswith(b"%PDF")
    contents = re.sub(r"\\[a-z]+ *", "", (latex / "thesis.toc").read_text())
    assert re.search(r"1\W+Results.*Reproducing.*Bibliography", contents, re.S) and "Lists" not in contents
    assert "rising" in (latex / "thesis.lof").read_text() and "The shares" in (latex / "thesis.lot").read_text()


def test_figures_are_vectors_and_hidden_code_is_left_out(thesis):
    text = (thesis[1] / "thesis.tex").read_text()
    assert re.search(r"includegraphics\{\{\w+}\.pdf}", text)
    assert "subplots" in text and "glue" not in text


def test_long_tables_break_the_lines_of_wide_cells_by_shares_of_the_page():
    assert columns(30) == "LLl"
    shares = [(int(part), int(whole)) for part, whole in re.findall(r"\\X{(\d+)}{(\d+)}", columns(31))]
    assert len(shares) == 2 and columns(31).endswith("l") and shares[0][0] > shares[1][0] >= 23
    assert sum(part for part, _ in shares) + 7 <= shares[0][1]  # with the numbers, no wider than the page


def test_the_readme_names_every_package():
    text = (project() / "README.md").read_text(encoding="utf-8")
    assert all(package in text for package in pdf.PACKAGES.values())
