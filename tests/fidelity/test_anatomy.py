"""How real and simulated slices differ, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri_aug.fidelity.anatomy import anatomy_table, people_plateau
from mri_aug.models.references import TISSUE_FEATURES, tissue_features
from tests.conftest import make_toy_images


def test_a_row_for_each_grade_and_feature_over_the_people(toy_images):
    table = anatomy_table(toy_images)
    assert len(table) == 4 * len(TISSUE_FEATURES) and set(table["n_people"]) == {4} and set(table["n_images"]) == {24}
    row = table[(table["grade"] == toy_images.class_names[1]) & (table["feature"] == "dark_core")].iloc[0]
    members = toy_images[toy_images.labels == 1]
    values = tissue_features(members.images)[:, 0]
    means = [values[members.subjects == subject].mean() for subject in members.subjects.unique()]
    assert row["mean"] == pytest.approx(np.mean(means)) and row["sd"] == pytest.approx(np.std(means))
    assert row["p10"] <= row["p50"] <= row["p90"]
    assert table[table["feature"] == "dark_core"]["mean"].is_monotonic_increasing  # the toys' cavity grows


def test_a_grade_without_images_has_no_row(toy_images):
    assert set(anatomy_table(toy_images[toy_images.labels != 2])["grade"]) == set(np.delete(toy_images.class_names, 2))


def test_people_are_found_between_two_correlations():
    found = people_plateau(make_toy_images(2))
    assert found["n_people"] == 8
    if found["n_found"]:
        assert found["low"] < found["high"]


def test_one_picture_over_and_over_shows_nobody(toy_images):
    found = people_plateau(toy_images[torch.zeros(10, dtype=torch.int64)])
    assert found["n_found"] == 0 and np.isnan(found["low"])
