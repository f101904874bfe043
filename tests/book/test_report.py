"""Tables and numbers for the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mri_aug.book.report import glue_values, numbered_table

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


def test_numbered_table_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"formats has \['x'\]"):
        numbered_table(TABLE, "c", "t", formats={"x": ".1f"})
    with pytest.raises(ValueError, match="'t' has no rows"):
        numbered_table(TABLE.iloc[:0], "c", "t")
    with pytest.raises(ValueError, match="must be one line"):
        numbered_table(TABLE, "c\nd", "t")


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
