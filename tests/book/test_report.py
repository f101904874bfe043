"""How a page looks: tables, glued numbers, and the style of figures."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mri_aug.book.report import PAGE_WIDTH, PALETTE, glue_values, numbered_table, use_book_style

TABLE = pd.DataFrame({"arm": ["a|b", "c"], "n": [3, 4], "loss": [0.12345, np.nan], "share": [0.5, 1.0]})


def test_numbered_table_is_a_directive_around_a_table():
    lines = numbered_table(TABLE, "The *arms*", "tab-arms", formats={"share": ".0%"}).data.splitlines()
    assert lines == [
        ":::{table} The *arms*",
        ":name: tab-arms",
        "",
        "| arm | n | loss | share |",
        "| :--- | ---: | ---: | ---: |",
        "| a\\|b | 3 | 0.123 | 50% |",
        "| c | 4 | – | 100% |",
        ":::",
    ]


def test_columns_of_numbers_are_aligned_on_the_right_whatever_their_type():
    table = pd.DataFrame({"change": ["+1.5 %", "-2.0 %", None], "n": ["all", "3", "4"], "interval": ["1 [0, 2]"] * 3})
    assert numbered_table(table, "c", "t").data.splitlines()[4] == "| ---: | ---: | :--- |"


def test_a_table_without_rows_is_a_sentence():
    assert numbered_table(TABLE.iloc[:0], "The *arms* of nobody.", "t").data == "Not computed: the *arms* of nobody."


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_glued_values_are_plain_numbers_and_words(shell):
    with capture_output() as captured:
        glue_values(loss=np.float32(0.25), n=np.int64(3), name="morph", share=0.5)
    found = {
        o.metadata["scrapbook"]["name"]: o.data["application/papermill.record/text/plain"] for o in captured.outputs
    }
    assert found == {"loss": "0.25", "n": "3", "name": "'morph'", "share": "0.5"}


def test_only_numbers_and_words_can_be_glued(shell):
    with pytest.raises(ValueError, match="table must be a number or a string to be quoted in prose, got DataFrame"):
        glue_values(table=TABLE)


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
