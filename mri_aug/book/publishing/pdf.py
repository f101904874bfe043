"""Typeset the executed notebooks and the pages with XeLaTeX, as a thesis; its form is in ``book/_latex/thesis.sty``.

It executes no notebook and renders no page. As a Sphinx extension it arranges the book for LaTeX.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from mri_aug.book.publishing import pages

# a program or a file of each Debian package that is needed
PACKAGES = {
    "latexmk": "latexmk", "xelatex": "texlive-xetex", "unicode-math.sty": "texlive-latex-recommended",
    "titlesec.sty": "texlive-latex-extra", "pzdr.tfm": "texlive-fonts-recommended",
    "texgyrepagella-regular.otf": "fonts-texgyre", "texgyrepagella-math.otf": "fonts-texgyre-math",
}  # fmt: skip
FAULTS = {
    r"^! (.*)": "{}", r"Missing character: There is no (\S+)": "no font has {}",
    r"Warning: (?:Reference|Citation|Hyper reference) [`'](.+?)' .*undefined": "{} is undefined",
    r"too large for page by (\S+)": "a figure is {} higher than its page",
}  # fmt: skip
LINE = 118  # letters of the smallest size in a line of a table; LETTERS has the size for at most so many
LETTERS = {84: r"\small", 94: r"\footnotesize", 9999: r"\scriptsize\setlength{\tabcolsep}{4pt}"}


def check_latex() -> None:
    """Raise a RuntimeError that names what is missing to typeset the thesis, and the command that installs it."""
    ask = ["kpsewhich", *(name for name in PACKAGES if "." in name)]
    found = subprocess.run(ask, capture_output=True, text=True, check=False).stdout if shutil.which(ask[0]) else ""
    if missing := [name for name in PACKAGES if not (shutil.which(name) or f"/{name}\n" in found)]:
        raise RuntimeError(
            f"LaTeX typesets the PDF, and {', '.join(missing)} cannot be found; on Debian or Ubuntu: "
            f"apt-get install --no-install-recommends {' '.join(PACKAGES[name] for name in missing)}"
        )


def typeset(executed: Path, output: Path, *, source: Path | None = None) -> Path:
    """Typeset executed notebooks, given as to :func:`mri_aug.book.publishing.pages.render`; return the PDF.

    A RuntimeError says what is not installed; a BookError what Sphinx or :func:`complaints` found.
    """
    check_latex()
    folder = output.resolve() / "pdf"
    shutil.rmtree(folder, ignore_errors=True)  # latexmk does not try again what stopped before
    latex = pages.build(executed, folder, "latex", source=source)
    shutil.copytree(Path(matplotlib.get_data_path(), "fonts", "ttf"), latex / "fonts")
    command = ["env", "max_print_line=1000", "latexmk", "-xelatex", "-interaction=nonstopmode", "thesis.tex"]
    failed = subprocess.run(command, cwd=latex, capture_output=True, check=False).returncode
    log, text = ((latex / f"thesis.{kind}").read_text(encoding="utf-8", errors="replace") for kind in ("log", "tex"))
    if (found := complaints(log, text)) or failed:
        raise pages.BookError(f"LaTeX found faults: {'; '.join(found) or 'it stopped'}; see {latex / 'thesis.log'}")
    return Path(shutil.copy(latex / "thesis.pdf", output))


def complaints(log: str, source: str) -> list[str]:
    """Return what is wrong with a typeset document: faults in LaTeX's log, and lines that stick out by over 5 pt."""
    found = [said.format(name) for fault, said in FAULTS.items() for name in re.findall(fault, log, re.MULTILINE)]
    for width, place in re.findall(r"Overfull \\hbox \((\S+)pt too wide\)\D*(\d*)", log):
        before = source.splitlines()[: int(place or 0)] or ["?"]
        label = ["the beginning", *re.findall(r"\\label{\\detokenize{(.+?)}}", "\n".join(before))][-1]
        if float(width) > 5:
            found.append(f"a line after {label} is {width} pt too wide: {before[-1][:60]!r}")
    return list(dict.fromkeys(found))


def _arrange(app: Sphinx, tree: nodes.document, docname: str) -> None:
    """Bring the assembled book into a thesis's order, with the pages' numbers, without what is for the web alone."""
    if app.builder.name != "latex":
        return
    files, web = {part["docname"]: part for part in tree.findall(addnodes.start_of_file)}, app.config.thesis_without
    unwanted = [files.pop(name) for name in web if name in files]
    for cell in tree.findall(nodes.container):
        hidden = {tag.replace("tag_hide-", "cell_").replace("tag_parameters", "cell_input") for tag in cell["classes"]}
        unwanted += [part for part in cell.children if hidden & set(part["classes"])]
    unwanted += [block for block in tree.findall(nodes.literal_block) if re.fullmatch(r"<.* object>", block.astext())]
    for node in unwanted:
        node.parent.remove(node)
    for link in [one for one in tree.findall(nodes.reference) if one.get("refuri", "")[1:].partition("#")[0] in web]:
        link.replace_self(link.children)
    (root := tree.next_node(nodes.section)).children[1:] = []  # its title is not printed, and the page is for the web
    for name in sorted(files, key=lambda name: not name.endswith("abstract")):
        number = "".join(map(str, app.env.toc_secnumbers.get(name, {}).get("", ())))
        command = r"\thesisabstract" if name.endswith("abstract") else rf"\thesischapter{{{number}}}"
        root += [nodes.raw("", command, format="latex"), files[name]]
    for table in list(tree.findall(nodes.table)):
        _fit(table)


def _fit(table: nodes.table) -> None:
    """Choose a table's columns, and the size of its letters, by what stands in them; long ones are split over pages."""
    rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
    columns = [[entry.astext() for entry in column] for column in zip(*rows, strict=True)]
    widths, letters, long = [max(map(len, column)) for column in columns], "", len(rows) > 30
    breaks = [width * (width > 12 and " " in "".join(column)) for width, column in zip(widths, columns, strict=True)]
    room = min(sum(breaks), LINE - 2 * len(widths) - sum(widths) + sum(breaks))  # of what may be broken into lines
    for broken, entry in zip(breaks, rows[-1], strict=True):
        letter = "r" if "text-right" in entry["classes"] else "l"  # a capital's lines are broken where they must be
        share = rf">{{\raggedright\arraybackslash}}\X{{{broken * room // max(1, sum(breaks)) + 2}}}{{{LINE}}}"
        letters += letter if not broken else share if long else letter.upper()
    size = next(size for most, size in LETTERS.items() if sum(widths) + 2 * len(widths) <= most)
    name = "small" if long or not isinstance(table[0], nodes.title) else "table"
    begin, end = (nodes.raw("", text, format="latex") for text in (rf"\begin{{{name}}}{size}", rf"\end{{{name}}}"))
    table.parent.replace(table, [begin, addnodes.tabular_col_spec(spec=letters), table, end])


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Register what LaTeX needs with Sphinx."""
    app.add_config_value("thesis_without", [], "env")
    app.connect("doctree-resolved", _arrange, priority=400)  # before lists are filled, which LaTeX makes itself
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
