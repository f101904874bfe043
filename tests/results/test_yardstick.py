"""The answer that never looks at an image."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mri_aug.results.metrics import by_subject, encode_by_subject, evaluate
from mri_aug.results.tables import without_image, yardstick_sentences

LABELS = np.repeat([0, 1, 2], [6, 3, 1])
SUBJECTS = np.repeat([0, 1, 2, 3], [3, 3, 3, 1])


def rows(**columns):
    """Two arms of three simulations that test the same ten slices of four people."""
    text = encode_by_subject(by_subject(np.full((10, 3), 1 / 3), LABELS, SUBJECTS))
    table = pd.DataFrame([(arm, r) for arm in ("a", "b") for r in range(3)], columns=["condition", "simulation"])
    return table.assign(protocol="subject", by_subject=text, **columns)


def test_no_constant_answer_scores_better():
    shares = np.array([0.6, 0.3, 0.1])
    found = without_image(rows()).loc["subject"]
    of_shares = evaluate(np.tile(shares, (10, 1)), LABELS, SUBJECTS)
    assert found["cross_entropy"] == pytest.approx(of_shares["cross_entropy"])
    assert found["accuracy"] == of_shares["accuracy"] == 0.6
    rng = np.random.default_rng(0)
    for answer in rng.dirichlet(np.ones(3), 50):
        assert evaluate(np.tile(answer, (10, 1)), LABELS, SUBJECTS)["cross_entropy"] >= found["cross_entropy"]


def test_classes_that_are_not_tested_do_not_count():
    table = rows()
    kept = json.loads(table["by_subject"][0])
    table["by_subject"] = json.dumps({name: values[:2] for name, values in kept.items()})
    assert without_image(table).loc["subject"].tolist() == [0, 1]


def test_the_arms_that_pass_are_counted_by_their_medians():
    losses, accuracies = [0.5, 0.5, 9, 1.5, 1.5, 0.1], [0.9, 0.9, 0.1, 0.6, 0.6, 0.6]
    text = yardstick_sentences(
        rows(test_cross_entropy=losses, test_accuracy=accuracies), ["a", "b"],
        names={"image": "On other slices", "subject": "On other people"},
    )  # fmt: skip
    assert text.startswith("On other people the shares") and text.count("shares of the classes") == 1
    assert "cross-entropy of 0.898" in text and "right for 60.0 %" in text
    assert "of 2 training sets, 1 has a median loss below the former, and 1 a median accuracy above" in text
