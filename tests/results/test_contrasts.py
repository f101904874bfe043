"""The planned contrasts, found by what their arms are, and the report of the committed record."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mri_aug.results import inference, people
from mri_aug.results.__main__ import report
from mri_aug.results.contrasts import PLANNED, draft_medians, planned_contrasts
from mri_aug.results.deposit import export
from mri_aug.results.people import compare_people, person_scores
from mri_aug.study.conditions import Condition
from mri_aug.study.parts import record_parts
from tests.results.made_up import made_up_rows, person_condition

FILLED = {"real_frac": 0.3, "synth_frac": 0.7}
ARMS = {
    "diffusion": person_condition(generator="diffusion", **FILLED),
    "duplicate": person_condition(generator="duplicate", **FILLED),
    "simulated": person_condition(generator="simulated", **FILLED),
    "morph": person_condition(generator="morph", **FILLED),
    "all": person_condition(scarce="images"),  # of all people it does not matter what is scarce
    "alone": person_condition(generator="simulated", synth_use="only", **FILLED),
}
# neighbours of the planned arms, each in one respect another
OTHERS = [
    person_condition(generator="simulated", real_frac=0.3, synth_frac=2.6),
    person_condition(generator="simulated", synth_use="shuffled", **FILLED),
    person_condition(generator="duplicate", scarce="images", **FILLED),
    person_condition(generator="duplicate", policy="none", **FILLED),
    person_condition(generator="morph", image_size=128, **FILLED),
    person_condition(generator="morph", architecture="resnet18", **FILLED),
    person_condition(weights="phantom"),
    person_condition(real_frac=0.3),
    person_condition(architecture="tissue", policy="none", image_size=128),
]
QUALITY = [0.8, 0.75, 1.0, 0.75, 0.9, 0.8] + [0.5] * len(OTHERS)


@pytest.fixture(scope="module")
def rows():
    return made_up_rows([*ARMS.values(), *OTHERS], quality=QUALITY)


def test_each_contrast_compares_the_arms_that_it_names(rows):
    table, scores = planned_contrasts(rows), person_scores(rows)
    pairs = [("diffusion", "duplicate"), ("simulated", "duplicate"), ("morph", "duplicate"), ("simulated", "all"),
             ("alone", "all")]  # fmt: skip
    assert table["contrast"].tolist() == ["primary"] + ["secondary"] * 4
    for row, (condition, baseline) in zip(table.to_dict("records"), pairs, strict=True):
        expected = compare_people(scores, baseline=ARMS[baseline].label).set_index("condition")
        expected = expected.loc[ARMS[condition].label, ["difference", "low", "high", "p_value", "n"]]
        assert [row[name] for name in expected.index] == pytest.approx(expected.astype(float).tolist())
        assert row["note"] == "" and row["outcome"] in (
            "better",
            "worse",
            "undecided",
            "equivalent",
            "better, equivalent",
        )
    assert table["p_holm"][0] == table["p_value"][0]
    assert np.allclose(table["p_holm"][1:], inference.holm(table["p_value"][1:]))


def test_a_repeat_that_is_not_finished_does_not_count(rows):
    last = rows["repeat"].max()
    begun = rows[(rows["repeat"] < last) | (rows["fold"] < 3)]
    columns = ["n", "difference", "low", "high"]
    pd.testing.assert_frame_equal(
        planned_contrasts(begun)[columns], planned_contrasts(rows[rows["repeat"] < last])[columns]
    )


def test_missing_arms_are_rows_that_say_so_and_count(rows):
    part = rows[~rows["condition"].isin([ARMS["diffusion"].label, ARMS["alone"].label])]
    table, whole = planned_contrasts(part), planned_contrasts(rows)
    assert table["outcome"].eq("not computed").tolist() == [True, False, False, False, True]
    assert table["note"][0] == "no rows of 30 % of people + 70 % diffusion" and table["n"][0] == 0
    assert table[["condition", "baseline"]].values.tolist() == [list(row[:2]) for row in PLANNED]
    assert np.isnan(table["difference"][0]) and np.isnan(table["p_holm"][4])
    smallest = table["p_value"][1:4].min()
    assert table["p_holm"].min() == pytest.approx(4 * smallest)  # three were tested, four were planned
    assert table.loc[1:3, "difference"].equals(whole.loc[1:3, "difference"])


def test_a_study_of_something_else_has_five_missing_contrasts(rows):
    table = planned_contrasts(rows[rows["generator"] == "none"])
    assert (table["outcome"] == "not computed").all() and len(table) == 5
    image = made_up_rows([Condition()]).drop(columns=["scarce", "image_size", "by_subject"])
    assert (planned_contrasts(image)["outcome"] == "not computed").all()


def test_equal_steps_are_preferred_and_unequal_ones_are_noted(rows):
    again = [person_condition(generator="duplicate", budget="steps", **FILLED)]
    more = pd.concat([rows, made_up_rows(again, quality=[0.75], seed=0).assign(n_steps=500)], ignore_index=True)
    table = planned_contrasts(more)
    assert table["note"].tolist() == ["the arms trained for different numbers of steps"] * 3 + ["", ""]


def test_more_than_one_arm_of_a_kind_is_refused(rows):
    twin = rows[rows["condition"] == ARMS["morph"].label].assign(condition="twin")
    with pytest.raises(ValueError, match="several conditions are the planned arm"):
        planned_contrasts(pd.concat([rows, twin], ignore_index=True))


def test_below_ten_simulations_there_is_a_range(rows):
    table = planned_contrasts(rows[rows["simulation"] < 5])
    assert (table["outcome"] == "no verdict").all() and table["p_holm"].isna().all()
    assert (table["method"] == "range").all()


def test_draft_medians_stand_beside_ours():
    arms = [Condition(real_frac=0.3), Condition(), Condition(generator="morph", **FILLED)]
    others = [
        Condition(real_frac=0.3, policy="flip"),
        Condition(budget="steps"),
        Condition(generator="duplicate", **FILLED),
    ]
    rows = made_up_rows([*arms, *others])
    table = draft_medians(rows)
    assert table["draft"].tolist() == [0.219863, 0.176023, 0.174202]
    medians = rows.groupby("condition")["test_cross_entropy"].median()
    assert table["median"].tolist() == [medians[arm.label] for arm in arms] and (table["n"] == 20).all()
    older = draft_medians(rows.drop(columns=["scarce", "image_size", "synth_use", "filter", "balance"]))
    assert older.equals(table)
    assert draft_medians(rows.iloc[:20])["n"].tolist() == [20, 0, 0]


def test_the_record_as_it_is_planned_has_every_contrast():
    subject = [one for part in record_parts() if not part.n_phantoms for one in part.conditions]
    rows = made_up_rows(list(dict.fromkeys(one for one in subject if one.protocol == "subject")), n_repeats=2)
    table = planned_contrasts(rows)
    assert (table["n"] == 10).all() and (table["note"] == "").all()
    assert (table["outcome"] == "not computed").sum() == 0
    references = people.reference_conditions(rows)
    assert people.full_reference(rows) in references and people.REFERENCES[0] in references[0]


def test_the_report_is_read_from_committed_files_without_torch(rows, tmp_path):
    image = made_up_rows([Condition(real_frac=0.3)], seed=1)
    simulated = made_up_rows([ARMS["all"]], seed=2).assign(images="phantoms")  # the same condition on other people
    table = pd.concat([pd.concat([rows, image]).assign(images="slices"), simulated], ignore_index=True)
    export(table, tmp_path / "record", manifest={"images": "slices"})
    code = (
        "import runpy, sys; runpy.run_module('mri_aug.results', run_name='__main__'); "
        "assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "record")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text.strip() == report(str(tmp_path / "record")).strip()
    assert f"{len(rows) + len(image)} simulations" in text
    assert all(draft in text for draft in ("0.219863", "0.176023", "0.174202"))
    scores = text[text.index("Scores per person") :].splitlines()
    assert "tissue" in scores[3]  # the reference comes first, under the heading and the names of columns
    assert "not better than 100 % of people, tissue" in text
    power = "80 % power: 30 % of people + 70 % diffusion against 30 % of people + 70 % duplicates"
    assert power in text and all(row.condition in text for row in PLANNED)


def test_an_older_deposit_says_what_it_has(tmp_path):
    rows = made_up_rows([Condition(real_frac=0.3), Condition(protocol="subject")])
    rows["by_subject"] = "{}"
    export(rows.drop(columns=["scarce", "image_size"]), tmp_path / "older", manifest={})
    text = report(str(tmp_path / "older"))
    assert "not computed" in text and "Scores per person" not in text
