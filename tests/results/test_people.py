"""Scores per person against scikit-learn and SciPy; comparisons person by person."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from mri_aug.results import inference, people
from mri_aug.results.people import compare_people, person_scores, summarise_people
from tests.results.made_up import made_up_rows, person_condition

FEW, ALL = person_condition(real_frac=0.3), person_condition()
TISSUE, SHARES = (
    person_condition(architecture=name, scarce="images", policy="none", image_size=128) for name in ("tissue", "shares")
)


@pytest.fixture(scope="module")
def rows():
    return made_up_rows([FEW, ALL, TISSUE, SHARES], quality=[0.5, 0.8, 0.6, 0.0])


@pytest.fixture(scope="module")
def scores(rows):
    return person_scores(rows)


def tables(rows, name="validated_calibrated"):
    """Return labels and probabilities of each row."""
    for text in rows["by_subject"]:
        table = json.loads(text)
        yield np.array(table["label"]), np.array(table[name])


def test_every_person_is_graded_once_a_repeat(scores):
    counts = scores.groupby(["condition", "repeat", "subject"], observed=True).size()
    assert (counts == 1).all() and len(counts) == 4 * 4 * 200
    probabilities = scores[[f"p_{k}" for k in range(4)]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=3e-4)
    assert np.allclose(scores["grade"], probabilities @ np.arange(4))


@pytest.mark.parametrize("score", people.SCORES)
def test_scores_are_those_of_scikit_learn_and_scipy(rows, score):
    own = rows[rows["condition"] == FEW.label]
    found = summarise_people(person_scores(own, score)).iloc[0]
    losses, aucs, spearmans = [], [], []
    for labels, probabilities in tables(own, score):
        grade = probabilities @ np.arange(4)
        floored = probabilities.clip(people.FLOOR)
        losses.append(metrics.log_loss(labels, floored / floored.sum(axis=1, keepdims=True), labels=range(4)))
        aucs.append(metrics.roc_auc_score(labels > 0, grade))
        spearmans.append(spearmanr(grade, labels).statistic)
    assert found["log_loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    assert found["auc"] == pytest.approx(np.mean(aucs))
    assert found["spearman"] == pytest.approx(np.mean(spearmans))
    kappas, accuracies = [], []
    for _, repeat in own.groupby("repeat"):
        labels, probabilities = (np.concatenate(parts) for parts in zip(*tables(repeat, score), strict=True))
        kappas.append(metrics.cohen_kappa_score(labels, probabilities.argmax(axis=1), weights="quadratic"))
        accuracies.append((probabilities.argmax(axis=1) == labels).mean())
    assert found["kappa"] == pytest.approx(np.mean(kappas))
    assert found["accuracy"] == pytest.approx(np.mean(accuracies))
    assert (found["n_people"], found["n_repeats"], found["n"]) == (200, 4, 20)


def test_raw_loss_is_of_the_same_network_before_calibration(rows):
    pairs = {"validated_calibrated": "validated", "calibrated": "last", "last": "last"}
    for score, raw in pairs.items():
        assert person_scores(rows, score)["raw_log_loss"].equals(
            person_scores(rows, raw)["log_loss"].rename("raw_log_loss")
        )


def test_a_probability_of_nothing_has_a_finite_loss(rows):
    table = json.loads(rows["by_subject"][0])
    table["validated_calibrated"][0] = [float(k != table["label"][0]) / 3 for k in range(4)]
    changed = rows.iloc[:1].assign(by_subject=json.dumps(table))
    assert person_scores(changed)["log_loss"].max() == pytest.approx(-np.log(people.FLOOR))


def test_references_come_first_and_mark_what_does_not_beat_them(rows, scores):
    found = summarise_people(scores, references=people.reference_conditions(rows), to_beat=people.full_reference(rows))
    assert found["condition"].tolist() == [SHARES.label, TISSUE.label, FEW.label, ALL.label]
    assert found["reference"].tolist() == [True, True, False, False]
    table, contrasts = found.set_index("condition"), compare_people(scores, baseline=TISSUE.label)
    assert table["mark"].to_dict() == {
        SHARES.label: "", TISSUE.label: "", FEW.label: f"not better than {TISSUE.label}", ALL.label: "",
    }  # fmt: skip
    assert table.loc[ALL.label, "to_high"] < 0 < table.loc[FEW.label, "to_high"]
    expected = contrasts.set_index("condition").loc[ALL.label, ["difference", "low", "high"]]
    assert table.loc[ALL.label, ["to_reference", "to_low", "to_high"]].tolist() == expected.tolist()
    assert table["to_reference"].isna().to_dict()[TISSUE.label]
    few = scores[scores["repeat"] == 0]
    few_marks = summarise_people(few, references=[TISSUE.label], to_beat=TISSUE.label).set_index("condition")["mark"]
    assert few_marks[ALL.label]  # five simulations show nothing
    assert people.full_reference(rows[rows["architecture"] == "cnn"]) is None


def test_comparison_pairs_people(scores):
    row = compare_people(scores, baseline=FEW.label).set_index("condition").loc[ALL.label]
    wide = scores.pivot(index=["repeat", "subject"], columns="condition", values="log_loss")
    difference = wide[ALL.label] - wide[FEW.label]
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["level"] - row["baseline_level"] == pytest.approx(difference.mean())
    by_simulation = scores.pivot_table(index="simulation", columns="condition", values="log_loss", observed=True)
    means = by_simulation[ALL.label] - by_simulation[FEW.label]
    assert row["p_value"] == pytest.approx(inference.corrected_p_value(means))
    assert row["probability"] == (means < 0).mean()
    assert row["outcome"] == "better" and row["unit"] == "nats per person" and row["margin"] == 0.05
    alone = summarise_people(scores).set_index("condition").loc[ALL.label]
    assert row["high"] - row["low"] < alone["high"] - alone["low"]  # what people share cancels


@pytest.mark.parametrize(("measure", "column"), [("accuracy", "accuracy"), ("auc", "auc")])
def test_other_measures_are_differences_of_their_levels(scores, measure, column):
    row = compare_people(scores, baseline=FEW.label, measure=measure).set_index("condition").loc[ALL.label]
    table = summarise_people(scores).set_index("condition")
    assert row["level"] == pytest.approx(table.loc[ALL.label, column])
    assert row["difference"] == pytest.approx(table.loc[ALL.label, column] - table.loc[FEW.label, column])
    assert row["low"] < row["difference"] < row["high"] and not row["lower_is_better"]
    assert "equivalent" not in row["outcome"]  # no margin was fixed


def test_the_interval_of_an_area_agrees_with_delong(scores):
    """One simulation that tests all: DeLong's variance by its definition, from all pairs of people."""
    part = scores[(scores["condition"] == FEW.label) & (scores["repeat"] == 0)]
    grade, demented = part["grade"], (part["label"] > 0).to_numpy()
    pairs = np.sign(np.subtract.outer(grade[demented].to_numpy(), grade[~demented].to_numpy())) / 2 + 0.5
    variance = pairs.mean(axis=1).var(ddof=1) / len(pairs) + pairs.mean(axis=0).var(ddof=1) / pairs.shape[1]
    ranked = people._shares_of_auc(grade, demented, np.zeros(len(part), dtype=int))
    assert ranked.mean() == pytest.approx(pairs.mean())
    own = sum((demented == k).sum() * ranked[demented == k].var(ddof=1) for k in (0, 1)) / len(part) ** 2
    assert own == pytest.approx(variance)


def test_only_what_both_tested_is_paired(rows):
    lost = (rows["condition"] == ALL.label) & rows["simulation"].isin([3, 12])
    row = compare_people(person_scores(rows[~lost]), baseline=FEW.label).set_index("condition").loc[ALL.label]
    both = person_scores(rows[~rows["simulation"].isin([3, 12])])
    expected = compare_people(both, baseline=FEW.label).set_index("condition").loc[ALL.label]
    assert (row["n"], row["n_unpaired"], row["n_people"], row["n_repeats"]) == (18, 2, 200, 4)
    kept = ["difference", "low", "high", "p_value", "level", "baseline_level"]
    assert row[kept].astype(float).tolist() == pytest.approx(expected[kept].astype(float).tolist())


def test_nothing_in_common_compares_nothing(rows):
    moved = rows.assign(simulation=rows["simulation"] + 100 * (rows["condition"] == ALL.label))
    row = compare_people(person_scores(moved), baseline=FEW.label).set_index("condition").loc[ALL.label]
    assert row["n"] == 0 and np.isnan(row["difference"]) and row["outcome"] == "no verdict"


def test_one_repeat_is_a_range(scores):
    row = compare_people(scores[scores["repeat"] == 0], baseline=FEW.label).set_index("condition").loc[ALL.label]
    assert (row["n"], row["method"], row["outcome"]) == (5, "range", "no verdict") and np.isnan(row["p_value"])
    assert row["low"] <= row["difference"] <= row["high"]


def test_rows_without_repeats_count_each_simulation_as_one(rows):
    with_column, without = person_scores(rows.assign(repeat=-1)), person_scores(rows.drop(columns="repeat"))
    pd.testing.assert_frame_equal(with_column, without)
    assert (without["repeat"] == without["simulation"]).all()


def test_order_of_rows_changes_nothing(rows, scores):
    shuffled = person_scores(rows.sample(frac=1, random_state=1))
    for function in (summarise_people, lambda table: compare_people(table, baseline=FEW.label)):
        expected, found = (function(table).set_index("condition").sort_index() for table in (scores, shuffled))
        pd.testing.assert_frame_equal(found, expected)


def test_a_simulation_of_one_kind_of_people_has_no_area(rows):
    healthy = [[k for k, label in enumerate(json.loads(text)["label"]) if label == 0] for text in rows["by_subject"]]
    texts = [
        json.dumps({name: [values[k] for k in kept] for name, values in json.loads(text).items()})
        if simulation == 0
        else text
        for text, kept, simulation in zip(rows["by_subject"], healthy, rows["simulation"], strict=True)
    ]
    found = person_scores(rows.assign(by_subject=texts))
    assert found["ranked"].isna().equals(found["simulation"].eq(0).rename("ranked"))
    row = compare_people(found, baseline=FEW.label, measure="auc").iloc[0]
    assert row["n"] == 19 and np.isfinite(row["difference"])


def test_reliability_counts_the_demented_in_each_bin(scores):
    curve = people.reliability(scores, n_bins=5)
    part = scores[scores["condition"] == ALL.label]
    inside = part[(1 - part["p_0"] >= 0.4) & (1 - part["p_0"] < 0.6)]
    row = curve[(curve["condition"] == ALL.label) & (curve["bin"] == 2)].iloc[0]
    assert row["observed"] == pytest.approx((inside["label"] > 0).mean())
    assert row["predicted"] == pytest.approx((1 - inside["p_0"]).mean())
    assert row["n_people"] == len(inside) / 4 and row["low"] < row["observed"] < row["high"]
    assert curve.groupby("condition", observed=True)["n_people"].sum().tolist() == [200] * 4


def test_power_rests_on_the_people_of_the_record(scores):
    table = people.power_table(scores, ALL.label, FEW.label).set_index("n_people")
    wide = scores.pivot(index=["repeat", "subject"], columns="condition", values=["log_loss", "correct"])
    per_person = (wide["log_loss", ALL.label] - wide["log_loss", FEW.label]).groupby("subject").mean()
    discordance = (wide["correct", ALL.label] != wide["correct", FEW.label]).mean()
    assert table.loc[200, "log_loss"] == pytest.approx(inference.detectable_difference(per_person.std(), 200))
    assert table.loc[200, "accuracy"] == pytest.approx(inference.detectable_accuracy(discordance, 200))
    assert table["log_loss"].is_monotonic_decreasing


def test_scores_that_are_kept_are_found(rows):
    assert people.scores_in(rows) == people.SCORES
    assert people.scores_in(rows.assign(by_subject="[]")) == people.scores_in(rows.iloc[:0]) == ()
    older = rows["by_subject"].where(rows["simulation"] > 0, rows["by_subject"].str.replace('"calibrated"', '"x"'))
    assert people.scores_in(rows.assign(by_subject=older)) == ("last", "validated", "validated_calibrated")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rows: person_scores(rows, "best"), "score must be one of last"),
        (lambda rows: person_scores(rows.drop(columns="by_subject")), "lacks"),
        (lambda rows: person_scores(rows.assign(by_subject="{}")), "with subject, label, validated_calibrated"),
        (lambda rows: person_scores(pd.concat([rows, rows.iloc[:1]])), "more than once"),
        (lambda rows: person_scores(rows.assign(by_subject=json.dumps({
            name: [] for name in ("subject", "label", "validated", "validated_calibrated")}))), "unknown"),
        (lambda rows: person_scores(rows.assign(by_subject=[
            rows["by_subject"][0].replace('"label":[', '"label":[3,'), *rows["by_subject"][1:]])), "different lengths"),
        (lambda rows: person_scores(rows.assign(by_subject=[
            text.replace('"label":[0', f'"label":[{int(place == 0)}') for place, text in enumerate(rows["by_subject"])
        ])), "different labels"),
        (lambda rows: compare_people(person_scores(rows), baseline="nobody"), "baseline 'nobody'"),
        (lambda rows: compare_people(person_scores(rows), baseline=FEW.label, measure="ece"), "measure must be"),
        (lambda rows: summarise_people(person_scores(rows), references=["nobody"]), "reference 'nobody'"),
    ],
)  # fmt: skip
def test_bad_input_is_named(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows)


def test_unfinished_repeats_are_left_out_where_any_condition_has_a_whole_one():
    first, second = person_condition(), person_condition(real_frac=0.3)
    rows = made_up_rows([first, second], n_repeats=2)
    rows = rows[rows["simulation"] < rows["condition"].map({first.label: 7, second.label: 3})]
    kept = people.whole_repeats(rows).groupby("condition")["simulation"].max()
    assert kept.to_dict() == {first.label: 4}
    unfinished = rows[rows["simulation"] < 3]
    assert people.whole_repeats(unfinished).equals(unfinished)
