"""Conditions are checked when they are made, and the thesis's arms are the ones that it needs."""

from __future__ import annotations

import pytest

from mri_aug.conditions import Condition, chapter_conditions, policy_arms, thesis_arms
from mri_aug.profiles import PROFILES, profile_parameters


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"real_frac": 0}, "real_frac must lie in"),
        ({"real_frac": float("nan")}, "real_frac must lie in"),
        ({"synth_frac": -0.1, "generator": "morph"}, "synth_frac must be at least 0"),
        ({"synth_frac": 0.5}, "disagree"),
        ({"generator": "morph"}, "disagree"),
        ({"protocol": "patient"}, "protocol must be one of image, subject, published"),
        ({"budget": "time"}, "budget must be one of epochs, steps"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Condition(**values)


def test_arms_fill_up_to_the_full_size():
    alone, full, mixed, copies, longer = thesis_arms(0.3)
    assert mixed.real_frac + mixed.synth_frac == copies.real_frac + copies.synth_frac == 1
    assert (mixed.generator, copies.generator) == ("morph", "duplicate")
    assert full.real_frac == 1 and alone.budget == "epochs" and longer.budget == "steps"
    with pytest.raises(ValueError, match="below 1"):
        thesis_arms(1.0)


@pytest.mark.parametrize("real_frac", [0.1, 1 / 3, 0.3, 0.55, 0.999])
def test_labels_tell_conditions_of_a_protocol_apart(real_frac):
    conditions = chapter_conditions(real_frac)
    assert len(set(conditions)) == len(conditions)
    assert len({(condition.label, condition.protocol) for condition in conditions}) == len(conditions)


def test_labels_read_well():
    assert thesis_arms(0.3)[2].label == "30 % real + 70 % morph"
    assert policy_arms(0.3, ["flip"])[1].label == "30 % real, flip, equal steps"
    selective = Condition(real_frac=0.3, synth_frac=0.7, synth_classes=(2, 3), generator="morph")
    assert selective.label == "30 % real + 70 % morph of classes 2+3"


def test_profiles_grow_and_unknown_ones_are_named():
    sizes = [profile_parameters(profile)["n_simulations"] for profile in PROFILES]
    assert sizes == sorted(sizes)
    assert profile_parameters("demo", "some/folder")["n_subjects"] == 0
    with pytest.raises(ValueError, match="smoke, demo, thesis"):
        profile_parameters("quick")
