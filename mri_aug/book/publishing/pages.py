"""Draw the book: jupyter-book on the executed copies, warnings as errors, then a look at what came out.

It executes no notebook; :mod:`mri_aug.publishing.notebooks` does.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from mri_aug import provenance

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
# <link> also names pages that are only mentioned, e.g. the canonical address
FETCHED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch"}


class BookError(RuntimeError):
    """The pages could not be drawn, or are not what they should be."""


def pages(source: Path | None = None) -> list[str]:
    """Return the documents that ``_toc.yml`` names, in reading order, without their endings."""
    toc = yaml.safe_load((source or provenance.project()).joinpath("_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *_files(toc)]


def _files(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _files(entry)
    elif isinstance(node, dict):
        if "file" in node:
            yield node["file"]
        for key in ("parts", "chapters", "sections"):
            yield from _files(node.get(key, []))


def render(executed: Path, output: Path, *, source: Path | None = None, quiet: bool = True) -> Path:
    """Build the HTML book from executed notebooks and return its first page.

    Parameters
    ----------
    executed : Path
        Folder of the executed copies: ``<executed>/notebooks/07_results.ipynb`` and so on.
    output : Path
        The pages go to ``<output>/_build/html``.
    source : Path, optional
        Folder of ``_config.yml`` and ``_toc.yml``; by default the project's.
    quiet : bool
        Show Sphinx's warnings only.

    Raises
    ------
    BookError
        If Sphinx warns or fails (its words are on stderr), or the pages fail :func:`complaints`.
    """
    source, output = (source or provenance.project()).resolve(), output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((source / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["executed_dir"] = str(executed.resolve())
    written = output / "_config.yml"
    written.write_text(
        "# written by mri_aug.book.publishing.pages from the project's _config.yml\n" + yaml.safe_dump(config)
    )
    # --all: an incremental build leaves old numbers in pages that quote a notebook which ran again
    options = ["--all", "-W", "-n", "--keep-going", *(["-q"] if quiet else [])]
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source), *options]
    command += ["--config", str(written), "--path-output", str(output)]
    if subprocess.run(command, check=False).returncode:
        raise BookError(f"jupyter-book found faults in the pages of {source}, named above")
    html = output / "_build" / "html"
    if found := complaints(html, pages(source)):
        raise BookError("the pages were drawn, but " + "; ".join(found))
    return html / f"{pages(source)[0]}.html"


def complaints(html: Path, documents: list[str]) -> list[str]:
    """Return what is wrong with built pages; none is an empty list.

    A page may be missing though jupyter-book ended well, fetch something from the network (a script, style, font
    or picture), or hold a picture without alternative text.
    """
    found = []
    for document in documents:
        page = html / f"{document}.html"
        if not page.is_file():
            found.append(f"{document} has no page")
            continue
        reader = _PageReader()
        reader.feed(page.read_text(encoding="utf-8"))
        found += [f"{document} loads {address} from the network" for address in reader.fetched]
        found += [f"{document} shows {image} without alternative text" for image in reader.unnamed]
    return found


class _PageReader(HTMLParser):
    """Collect what a page fetches from elsewhere, and its pictures without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(LOADED.get(tag, ""), "") or ""
        passive = tag == "link" and not FETCHED_LINKS & set((given.get("rel") or "").split())
        if re.match(r"(https?:)?//", address) and not passive:
            self.fetched.append(address)
        if tag == "img" and "alt" not in given:
            self.unnamed.append(address[:60])
