"""The figure style: the same drawing gives the same bytes, at the width of the page."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mri_aug.book.report import PAGE_WIDTH, PALETTE, use_book_style

DRAW = """
import io, hashlib
from matplotlib.figure import Figure
from mri_aug.book.report import use_book_style
use_book_style()
figure = Figure(); ax = figure.subplots(); ax.plot([1, 2], [3, 4], label="a"); ax.legend(); ax.set_title("T")
data = io.BytesIO(); figure.savefig(data, format="svg", metadata={"Date": None})
print(hashlib.sha256(data.getvalue()).hexdigest())
"""


@pytest.fixture(autouse=True)
def _leave_no_trace():
    with mpl.rc_context():
        yield


def test_two_processes_draw_the_same_bytes():
    digests = {subprocess.check_output([sys.executable, "-c", DRAW], text=True, timeout=120) for _ in range(2)}
    assert len(digests) == 1


def test_a_figure_is_as_wide_as_the_page():
    use_book_style()
    data = io.BytesIO()
    Figure().savefig(data, format="svg")
    assert re.search(rf'width="{PAGE_WIDTH * 72:g}pt"', data.getvalue().decode())


def test_the_palette_is_in_use_and_its_colours_differ():
    use_book_style(image_format="png")
    assert [to_hex(colour) for colour in mpl.rcParams["axes.prop_cycle"].by_key()["color"]] == list(
        map(str.lower, PALETTE)
    )
    assert len(set(PALETTE)) == len(PALETTE)


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="'svg' or 'png', got 'gif'"):
        use_book_style(image_format="gif")
