"""Tables as the pages show them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mri_aug.results.comparison import compare, summarise
from mri_aug.results.people import person_scores, summarise_people
from mri_aug.results.tables import (
    arm_words,
    contrast_table,
    difference_text,
    paired_groups,
    people_table,
    protocol_table,
    recalls,
    rows_of,
    share_text,
    sweep_curves,
)
from mri_aug.study import conditions
from mri_aug.study.conditions import Condition
from mri_aug.study.parts import listed_conditions, record_parts
from tests.results.made_up import made_up_rows, person_condition

LOSS = "test_cross_entropy"


def study(arms, *, n=12, seed=0):
    """Return rows for conditions: a loss that falls with the real share, an accuracy and two recalls."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        arm.columns()
        | {
            "simulation": r,
            LOSS: 2 - arm.real_frac + 0.01 * rng.normal(),
            "test_accuracy": 0.5 + 0.01 * rng.random(),
            "test_recall_0": rng.random(),
            "test_recall_1": rng.random() if r else np.nan,
        }
        for arm in arms
        for r in range(n)
    )


def test_every_arm_of_the_chapter_has_words_of_its_own():
    arms = [
        *conditions.thesis_arms(0.3), *conditions.control_arms(0.3), *conditions.selective_arms(0.3),
        *conditions.filter_arms(0.3), *conditions.sweep_arms(), *conditions.policy_arms(0.3, ("flip", "mixup")),
        *conditions.architecture_arms("resnet18", 0.3, weights="imagenet", fine_tune="head"),
        *(arm for arm in listed_conditions(record_parts()) if arm.protocol == "subject"),
    ]  # fmt: skip
    rows = pd.DataFrame(arm.columns() for arm in dict.fromkeys(arms))
    words = arm_words(rows, class_names=("Non", "Very mild", "Mild", "Moderate"))
    assert len(words) == len(set(words.values())) == len(rows)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition(), "all real"),
        (Condition(real_frac=0.3, policy="flip", budget="steps"), "30 % real, flip, as many steps as all"),
        (Condition(real_frac=0.3, synth_frac=0.7, generator="duplicate"), "30 % real + 70 % duplicates"),
        (Condition(real_frac=0.3, synth_frac=0.7, generator="morph", synth_use="only"), "70 % morph alone"),
        (
            Condition(real_frac=0.3, synth_frac=0.7, generator="morph", synth_classes=(2,), budget="steps"),
            "30 % real + morph of Mild",
        ),
        (person_condition(real_frac=0.3, budget="steps"), "30 % people"),
        (person_condition(scarce="images", real_frac=0.3, budget="steps"), "30 % images"),
        (person_condition(policy="none", image_size=128, budget="steps"), "all people, no policy, 128 pixels"),
        (
            person_condition(
                architecture="tissue", policy="none", generator="simulated", synth_frac=2.6, synth_use="only"
            ),
            "tissue fractions: 260 % simulated alone",
        ),
        (Condition(architecture="resnet18", weights="/a/mine.pt"), "all real, ResNet-18, mine weights"),
    ],
)
def test_words_follow_the_condition(condition, expected):
    rows = pd.DataFrame([condition.columns()])
    (words,) = arm_words(rows, class_names=("Non", "Very mild", "Mild", "Moderate")).values()
    assert words.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_older_tables_have_words():
    old = pd.DataFrame([Condition(real_frac=0.3, synth_frac=0.7, generator="morph").columns()])
    assert arm_words(old.drop(columns=["synth_use", "balance", "filter", "fine_tune"])) == arm_words(old)


def test_protocol_table_holds_the_summaries():
    arms = conditions.thesis_arms(0.3) + conditions.thesis_arms(0.3, protocol="subject")[:1]
    rows, labels = study(arms), [arm.label for arm in arms[:3]]
    measures = {LOSS: "loss", "test_accuracy": "accuracy, %"}
    table = protocol_table(rows, labels, measures=measures, words={labels[0]: "few"}, draft={labels[0]: 0.22})
    assert list(table.columns) == [
        "training set", "draft", "image: loss", "image: accuracy, %", "subject: loss", "subject: accuracy, %",
    ]  # fmt: skip
    assert table["training set"].to_list() == ["few", *labels[1:]]
    assert table["draft"][0] == 0.22 and table["draft"][1:].isna().all()
    row = summarise(rows[rows["protocol"] == "image"], LOSS).set_index("condition").loc[labels[0]]
    assert table["image: loss"][0].startswith(f"{row['median']:.3f} [{row['low']:.3f},")
    assert table["image: accuracy, %"][0].startswith("50.")
    assert pd.isna(table["subject: loss"][1])  # that arm has no simulation there


def test_one_simulation_has_no_interval():
    rows = study(conditions.thesis_arms(0.3), n=1)
    table = protocol_table(rows, [conditions.Condition().label], measures={LOSS: "loss"}, words={})
    assert float(table["loss"][0]) == pytest.approx(1.0, abs=0.1)  # of one protocol, which is not named


def test_contrasts_are_those_of_compare():
    rows = study(conditions.thesis_arms(0.3))
    comparison = compare(rows, LOSS, baseline="30 % real")
    table = contrast_table(comparison, words={})
    assert table["outcome"].to_list() == comparison["outcome"].to_list()
    assert table["difference"][0] == f"{comparison['percent'][0]:+.1f}\N{NO-BREAK SPACE}%".replace(
        "-", "\N{MINUS SIGN}"
    )
    assert table["better in"].str.contains("[", regex=False).all()
    assert "against" not in table and "protocol" not in table
    gains = contrast_table(compare(rows, "test_accuracy", baseline="30 % real"), words={})
    assert not gains["difference"].str.contains("%").any()


def test_differences_after_calibration_stand_beside_those_before_it_instead_of_p():
    rows = study(conditions.thesis_arms(0.3))
    raw, cooled = (compare(rows, metric, baseline="30 % real") for metric in (LOSS, "test_accuracy"))
    table = contrast_table(raw, words={}, calibrated=cooled.iloc[::-1])
    assert table["calibrated"].to_list() == [difference_text(row) for row in cooled.to_dict("records")]
    assert table["difference"].to_list() == contrast_table(raw, words={})["difference"].to_list() and "p" not in table
    lone = compare(rows[rows["simulation"] == 0], LOSS, baseline="30 % real")
    assert all(difference_text(row).endswith("%") for row in lone.to_dict("records"))  # one has no interval


@pytest.mark.parametrize("n", [1, 2])
def test_few_pairs_have_no_interval_and_no_verdict(n):
    table = contrast_table(compare(study(conditions.thesis_arms(0.3), n=n), LOSS, baseline="30 % real"), words={})
    assert table["p"].isna().all() and set(table["outcome"]) == {"no verdict"}
    assert not table["interval"].str.contains("[", regex=False).any()
    assert table["better in"].str.endswith(f" of {n}").all()
    assert not table.map(lambda value: value != value).drop(columns="p").any(axis=None)


def test_share_is_counted_where_it_is_small():
    assert share_text({"n": 3, "probability": 0.5}) == "1.5 of 3"
    assert share_text({"n": 0, "probability": float("nan")}) == "–"


def test_protocols_are_compared_apart():
    rows = study([*conditions.thesis_arms(0.3), *conditions.thesis_arms(0.3, protocol="subject")])
    table = paired_groups(rows, LOSS, baseline="30 % real")
    for protocol, part in rows.groupby("protocol"):
        expected = compare(part, LOSS, baseline="30 % real")
        found = table[table["protocol"] == protocol].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[expected.columns], expected)
        assert found["value"].equals(expected["percent"].rename("value"))
    assert contrast_table(table, words={})["protocol"].nunique() == 2
    assert paired_groups(rows, LOSS, baseline="nobody").empty
    assert contrast_table(pd.DataFrame(), words={}).empty


def test_people_are_compared_person_by_person_where_their_probabilities_are_kept():
    arms = [person_condition(), person_condition(real_frac=0.3)]
    rows, base = made_up_rows(arms, quality=[1.2, 1.0]), arms[1].label
    (row,) = paired_groups(rows, LOSS, baseline=base).to_dict("records")
    assert row["unit"] == "nats per person" and row["method"] == "people and trainings"
    assert row["value"] == row["difference"] < 0
    (shown,) = contrast_table(pd.DataFrame([row]), words={}).to_dict("records")
    assert shown["difference"].endswith("nats") and shown["outcome"] == row["outcome"]
    older = rows.assign(by_subject=rows["by_subject"].str.replace('"last"', '"other"'))
    assert paired_groups(older, LOSS, baseline=base)["unit"].tolist() == ["nats per person"]  # by the other scores
    without = rows.drop(columns="by_subject")
    assert paired_groups(without, LOSS, baseline=base)["unit"].tolist() == ["log ratio"]
    assert paired_groups(rows, "test_accuracy", baseline=base)["unit"].tolist() == ["difference"]


def test_recalls_leave_out_simulations_without_the_class():
    rows = study(conditions.thesis_arms(0.3)[:2])
    table = recalls(rows, ["Non", "Mild"])
    assert table.groupby("group", sort=False)["n"].first().to_dict() == {"Non": 12, "Mild": 11}
    first = table[(table["condition"] == "30 % real") & (table["group"] == "Mild")].iloc[0]
    assert first["value"] == rows.loc[rows["condition"] == "30 % real", "test_recall_1"].median()


def test_sweep_is_ordered_by_kind_and_share():
    rows = study(conditions.sweep_arms((0.6, 0.1, 1.0)))
    curves = sweep_curves(rows, LOSS)
    assert curves.groupby("group", sort=False)["real_frac"].agg(list).to_dict() == {
        "real alone": [0.1, 0.6, 1.0],
        "with synthetic images": [0.1, 0.6],
        "with duplicates": [0.1, 0.6],
    }
    alone = rows[(rows["real_frac"] == 0.1) & (rows["generator"] == "none")]
    assert curves["value"][0] == alone[LOSS].median()


def test_rows_come_in_the_order_of_the_conditions():
    arms = [*conditions.thesis_arms(0.3), *conditions.thesis_arms(0.3, protocol="subject")]
    rows = study(arms, n=2).sample(frac=1, random_state=0)
    wanted = [arms[3], arms[0], Condition(real_frac=0.9)]
    found = rows_of(rows, wanted)
    assert list(found["condition"]) == [arms[3].label] * 2 + [arms[0].label] * 2
    assert set(found["protocol"]) == {"image"} and list(found["simulation"]) == [0, 1, 0, 1]
    assert rows_of(rows, []).empty


def test_people_are_shown_with_their_intervals_and_marked():
    arms = [
        person_condition(architecture="tissue", policy="none"),
        person_condition(real_frac=0.3),
        person_condition(real_frac=0.5),
    ]
    rows = made_up_rows(arms, quality=[1.0, 0.0, 2.0])
    scores = summarise_people(person_scores(rows), references=[arms[0].label], to_beat=arms[0].label)
    table = people_table(scores, words={arms[1].label: "few"})
    assert list(table["training set"]) == [arms[0].label, "few \N{DAGGER}", arms[2].label]
    assert table["log loss"][1].startswith(f"{scores['log_loss'][1]:.3f} [{scores['low'][1]:.3f},")
    assert table["against tissue"][0] == "–" and table["against tissue"][2].startswith("\N{MINUS SIGN}")
    shown = table[["raw", "AUC", "accuracy", "kappa", "Spearman"]]
    pd.testing.assert_frame_equal(
        shown, scores[["raw_log_loss", "auc", "accuracy", "kappa", "spearman"]].set_axis(shown.columns, axis=1)
    )
    assert set(table) - set(people_table(scores, words={}, ordered=False)) == {"AUC", "kappa", "Spearman"}
