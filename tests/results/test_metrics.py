"""Metrics against scikit-learn, hand-worked examples and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mri_aug.results.metrics import BY_SUBJECT_COLUMNS, by_subject, evaluate


@pytest.fixture
def scored():
    """240 images of 24 people in 4 classes, predicted better than chance."""
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(24), 10)
    labels = subjects % 4
    logits = rng.normal(size=(240, 4)) + 1.2 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels, subjects


def test_agrees_with_scikit_learn(scored):
    probabilities, labels, subjects = scored
    predictions = probabilities.argmax(axis=1)
    scores = evaluate(probabilities, labels, subjects)
    expected = {
        "cross_entropy": sk.log_loss(labels, probabilities),
        "accuracy": sk.accuracy_score(labels, predictions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predictions),
        "macro_f1": sk.f1_score(labels, predictions, average="macro"),
        "kappa": sk.cohen_kappa_score(labels, predictions, weights="quadratic"),
        "recall_2": sk.recall_score(labels, predictions, average=None)[2],
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_brier_is_twice_the_binary_score(scored):
    share = scored[0][:, 0]
    labels = (scored[1] == 0).astype(int)
    two_columns = np.stack([1 - share, share], axis=1)
    found = evaluate(two_columns, labels, np.arange(240))["brier"]
    assert found == pytest.approx(2 * sk.brier_score_loss(labels, share))


def test_calibration_error_by_hand():
    # two images at 0.6, one right: |0.5 - 0.6|; two at 0.9, both right: |1 - 0.9|
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    assert evaluate(probabilities, np.array([0, 1, 0, 0]), np.arange(4))["ece"] == pytest.approx(0.1)


def test_calibration_error_is_the_mean_over_bins(scored):
    probabilities, labels, subjects = scored
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert evaluate(probabilities, labels, subjects)["ece"] == pytest.approx(error)


def test_subject_scores_are_those_of_mean_probabilities(scored):
    probabilities, labels, subjects = scored
    means = np.stack([probabilities[subjects == subject].mean(axis=0) for subject in range(24)])
    reference = evaluate(means, np.arange(24) % 4, np.arange(24))
    scores = evaluate(probabilities, labels, subjects)
    names = [name for name in scores if not name.startswith("subject_")]
    assert {n: scores[f"subject_{n}"] for n in names} == pytest.approx({n: reference[n] for n in names})
    assert scores["subject_accuracy"] > scores["accuracy"]  # averaging over slices removes noise


def test_order_of_images_does_not_matter(scored):
    order = np.random.default_rng(0).permutation(240)
    assert evaluate(*(array[order] for array in scored)) == pytest.approx(evaluate(*scored))


def test_absent_class_has_no_recall_and_leaves_the_others(scored):
    keep = scored[1] != 3
    scores = evaluate(*(array[keep] for array in scored))
    assert np.isnan(scores["recall_3"])
    assert scores["balanced_accuracy"] == pytest.approx(np.mean([scores[f"recall_{k}"] for k in range(3)]))


def test_one_class_only_is_defined_and_silent(recwarn):
    scores = evaluate(np.tile([0.7, 0.2, 0.1], (5, 1)), np.zeros(5, int), np.arange(5))
    assert scores["accuracy"] == 1 and np.isnan(scores["kappa"])
    assert not recwarn.list


def test_a_certain_mistake_has_finite_cross_entropy():
    assert np.isfinite(evaluate([[1.0, 0.0]], [1], [0])["cross_entropy"])


def test_single_precision_is_accepted_silently(scored, recwarn):
    single = evaluate(scored[0].astype(np.float32), *scored[1:])
    assert single == pytest.approx(evaluate(*scored), abs=1e-5)
    assert not recwarn.list


def test_unknown_subjects_give_nan_and_no_rows(scored):
    probabilities, labels, _ = scored
    scores = evaluate(probabilities, labels, np.full(240, -1))
    assert all(np.isnan(value) for name, value in scores.items() if name.startswith("subject_"))
    assert scores["accuracy"] == evaluate(*scored)["accuracy"]
    assert by_subject(probabilities, labels, np.full(240, -1)).empty


def test_by_subject_adds_up_to_the_whole(scored):
    table = by_subject(*scored)
    scores = evaluate(*scored)
    assert tuple(table.columns) == BY_SUBJECT_COLUMNS
    assert table["n_images"].sum() == 240
    for name in ("accuracy", "cross_entropy"):
        assert np.average(table[name], weights=table["n_images"]) == pytest.approx(scores[name])
    assert (table["predicted"] == table["label"]).mean() == pytest.approx(scores["subject_accuracy"])
    assert table["subject_cross_entropy"].mean() == pytest.approx(scores["subject_cross_entropy"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.ones((3, 2))}, "sum to 1"),
        ({"probabilities": np.array([[2.0, -1.0]] * 3)}, "non-negative"),
        ({"probabilities": np.array([[np.nan, 1.0]] * 3)}, "diverged"),
        ({"probabilities": np.full(3, 0.5)}, "shape"),
        ({"labels": np.array([0, 1])}, r"labels must have shape \(3,\)"),
        ({"labels": np.array([0.0, 1.0, 0.0])}, "integers"),
        ({"labels": np.array([0, 1, 2])}, r"0\.\.1"),
        ({"subjects": np.array([0])}, "subjects must have shape"),
        ({"subjects": np.array([7, 7, 8])}, "subject 7 carries more than one label"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"probabilities": np.full((3, 2), 0.5), "labels": np.array([0, 1, 1]), "subjects": np.arange(3)}
    with pytest.raises(ValueError, match=message):
        evaluate(**(good | change))
