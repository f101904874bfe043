"""Sentences that follow the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mri_aug.results.comparison import compare, metric_name
from mri_aug.results.tables import sentence, verdict


def comparison(**changes):
    row = {
        "condition": "30 % real + 70 % morph", "baseline": "30 % real", "metric": "test_cross_entropy",
        "lower_is_better": True, "n": 20, "difference": -0.1, "low": -0.12, "high": -0.08, "percent": -17.25,
        "percent_low": -20.0, "percent_high": -12.0, "probability": 0.95, "p_holm": 0.001,
        "primary": False, "outcome": "better",
    }  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("better", "better"),
        ("worse", "worse"),
        ("better, equivalent", "better"),
        ("equivalent", "undecided"),
        ("undecided", "undecided"),
        ("no verdict", "undecided"),
    ],
)
def test_verdict_follows_the_outcome(outcome, expected):
    assert verdict(comparison(outcome=outcome)) == expected


def test_gain_in_words():
    assert sentence(comparison()) == (
        "30 % real + 70 % morph lowers the test cross-entropy by 17.2 % (95 % interval 12.0 % to 20.0 %; "
        "20 paired simulations) against 30 % real; it is the better of the two in 95 % of the simulations."
    )


def test_loss_in_words_and_units():
    row = comparison(difference=0.1, low=0.08, high=0.12, probability=0.05, percent=np.nan, outcome="worse")
    text = sentence(row, condition="A", baseline="B", metric="loss")
    assert text == (
        "A raises the loss by 0.100 (95 % interval 0.080 to 0.120; 20 paired simulations) against B; "
        "it is the better of the two in 5 % of the simulations."
    )


def test_no_difference_claims_none():
    text = sentence(comparison(high=0.01, percent_high=2.0, outcome="undecided"))
    assert "cannot be told apart" in text and "lowers" not in text and "raises" not in text
    assert "−17.2 % (95 % interval −20.0 % to 2.0 %)" in text


@pytest.mark.parametrize(("n", "words"), [(1, "one paired simulation was"), (3, "3 paired simulations were")])
def test_few_simulations_claim_nothing(n, words):
    text = sentence(comparison(n=n))
    assert words in text and "too few" in text and "lowers" not in text


def test_doubts_are_spoken():
    assert "less consistent" in sentence(comparison(probability=0.6))
    assert "adjusted for the number of comparisons, is less sure (p = 0.09)" in sentence(comparison(p_holm=0.09))
    harmful = comparison(difference=0.1, low=0.08, high=0.12, probability=0.1, outcome="worse")
    assert "less consistent" not in sentence(harmful)


def test_the_primary_contrast_is_not_called_adjusted():
    text = sentence(comparison(p_holm=0.09, primary=True))
    assert "the test for other images is less sure (p = 0.09)" in text and "adjusted" not in text


def test_equivalence_is_said():
    assert "; they are equivalent)" in sentence(comparison(outcome="equivalent"))
    assert "equivalent" not in sentence(comparison(outcome="undecided"))


def test_a_sentence_begins_with_a_capital():
    assert sentence(comparison(), condition="filling up").startswith("Filling up lowers")
    row = comparison(outcome="undecided")
    assert sentence(row, condition="filling up").startswith("Filling up and")


def test_undefined_percent_falls_back_to_units():
    assert "by 0.100 (" in sentence(comparison(percent=np.nan))


@pytest.mark.parametrize(
    ("column", "name", "lower"),
    [
        ("test_cross_entropy", "test cross-entropy", True),
        ("validation_subject_kappa", "validation quadratic weighted kappa per subject", False),
        ("recall_2", "recall of class 2", False),
        ("test_calibrated_accuracy", "calibrated test accuracy", False),
        ("test_validated_cross_entropy", "validated test cross-entropy", True),
        ("subject_ece", "expected calibration error per subject", True),
    ],
)
def test_metrics_have_names_and_directions(column, name, lower):
    assert metric_name(column) == name
    rows = pd.DataFrame({"simulation": [0, 0], "condition": ["a", "b"], column: [0.1, 0.2]})
    assert compare(rows, column, baseline="a")["lower_is_better"].tolist() == [lower]
