"""A small book, executed once for all tests of what makes the real one."""

from __future__ import annotations

import pytest
from toy_book import make_toy_book

from mri_aug.book.publishing.notebooks import execute_all


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Return the folder of the sources, and the executions of its two notebooks."""
    source = make_toy_book(tmp_path_factory.mktemp("toy"))
    notebooks = [source / "notebooks" / f"{name}.ipynb" for name in ("B_reproducing", "07_results")]
    copies = source / "artifacts" / "executed" / "notebooks"
    return source, list(execute_all(notebooks, copies, {"real_frac": 0.5}))  # the report comes last in any order
