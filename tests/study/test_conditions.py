"""Conditions are checked when they are made, and the lists of the thesis's conditions are complete."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from mri_aug.policies.registry import POLICIES
from mri_aug.study import conditions
from mri_aug.study.conditions import (
    REFERENCES,
    Condition,
    architecture_arms,
    control_arms,
    filter_arms,
    policy_arms,
    selective_arms,
    sweep_arms,
    thesis_arms,
)
from mri_aug.study.parts import (
    PROFILES,
    chapter_parts,
    choose_parts,
    listed_conditions,
    part_sizes,
    profile_parameters,
    rare_classes,
)

FILLED = {"real_frac": 0.3, "synth_frac": 0.7, "generator": "morph"}


def thesis_parts(real_frac=0.3, **images):
    sizes = part_sizes(profile_parameters("thesis")) | {"pretrained": ["resnet18", "vit_b_16"]}
    return chapter_parts(real_frac, **sizes, **images)


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
        ({**FILLED, "synth_use": "first"}, "synth_use must be one of mixed, only, pretrain, shuffled"),
        ({"balance": "smote"}, "balance must be one of none, oversample, weights"),
        ({"fine_tune": "tail"}, "fine_tune must be one of all, head"),
        ({**FILLED, "filter": "best"}, "filter must be one of none, near-copy, confidence"),
        ({"filter": "near-copy"}, "are for synthetic images; name a generator"),
        ({"synth_use": "pretrain"}, "are for synthetic images; name a generator"),
        ({"synth_classes": (2,)}, r"synth_classes \(2,\) are for synthetic images; name a generator"),
        ({**FILLED, "synth_classes": 2}, "synth_classes must be whole numbers such as .2, 3., got 2"),
        ({**FILLED, "synth_classes": "2+3"}, "synth_classes must be whole numbers .* got '2.3'"),
        ({**FILLED, "synth_classes": (2.0,)}, "synth_classes must be whole numbers"),
        ({"fine_tune": "head", "policy": "flip"}, "policy 'flip' alters the image each time"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Condition(**values)


@pytest.mark.parametrize("classes", [[2, 3], (3, 2), (2, 3, 3), np.array([2, 3]), range(2, 4)])
def test_classes_that_train_alike_make_one_condition(classes):
    condition = Condition(**FILLED, synth_classes=classes)
    assert {condition, Condition(**FILLED, synth_classes=(2, 3))} == {condition}
    assert condition.synth_classes == (2, 3) and {type(label) for label in condition.synth_classes} == {int}


@pytest.mark.parametrize("name", ["policies", "sweep", "architectures", "pretrained", "people_generators"])
def test_text_instead_of_a_list_is_named(name):
    sizes = part_sizes(profile_parameters("smoke")) | {name: "[]"}
    with pytest.raises(ValueError, match=rf"{name} must be a list, got the text '\[\]'; with papermill: -y '{name}: "):
        chapter_parts(0.3, **sizes)


def test_a_chapter_without_anything_to_compare_is_named():
    sizes = part_sizes(profile_parameters("smoke")) | {"policies": []}
    with pytest.raises(ValueError, match="policies must name at least one, got an empty list"):
        chapter_parts(0.3, **sizes)


@pytest.mark.parametrize(
    ("counts", "rare"), [((3200, 2240, 896, 64), [2, 3]), ((98, 155), []), ((10, 30, 30), [0]), ((5, 0, 20), [0])]
)
def test_the_rare_classes_are_the_sets_own(counts, rare):
    assert rare_classes(counts) == rare
    parts = {part.name: part for part in chapter_parts(rare=rare, **part_sizes(profile_parameters("smoke")))}
    assert ("classes" in parts) == bool(rare)
    if rare:
        assert {label for arm in parts["classes"].conditions for label in arm.synth_classes} == set(rare)


def test_arms_fill_up_to_the_full_size():
    alone, full, mixed, copies, longer = thesis_arms(0.3)
    assert mixed.real_frac + mixed.synth_frac == copies.real_frac + copies.synth_frac == 1
    assert (mixed.generator, copies.generator) == ("morph", "duplicate")
    assert full.real_frac == 1 and alone.budget == "epochs" and longer.budget == "steps"
    with pytest.raises(ValueError, match="below 1"):
        thesis_arms(1.0)


@pytest.mark.parametrize("real_frac", [0.1, 1 / 3, 0.3, 0.55, 0.999])
def test_labels_tell_conditions_of_a_protocol_apart(real_frac):
    conditions = listed_conditions(thesis_parts(real_frac))
    assert len(set(conditions)) == len(conditions)
    assert len({(condition.label, condition.protocol) for condition in conditions}) == len(conditions)


def test_labels_read_well():
    assert thesis_arms(0.3)[2].label == "30 % real + 70 % morph"
    assert policy_arms(0.3, ["flip"])[1].label == "30 % real, flip, equal steps"
    selective = Condition(real_frac=0.3, synth_frac=0.7, synth_classes=(2, 3), generator="morph")
    assert selective.label == "30 % real + 70 % morph of classes 2+3"


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"synth_use": "only"}, ", synthetic alone"),
        ({"synth_use": "pretrain"}, ", synthetic first"),
        ({"synth_use": "shuffled"}, ", labels shuffled"),
        ({"balance": "oversample"}, ", classes oversampled"),
        ({"balance": "weights", "budget": "steps"}, ", class weights, equal steps"),
        ({"filter": "near-copy"}, ", near-copy filter"),
    ],
)
def test_every_field_shows_in_the_label_and_the_columns(change, end):
    condition = Condition(**FILLED, **change)
    assert condition.label == "30 % real + 70 % morph" + end
    assert set(condition.columns()) == {field.name for field in fields(Condition)} | {"condition"}
    assert change.items() <= condition.columns().items()


def test_control_arms_hold_count_or_steps_to_those_of_the_mixed_set():
    mixed, *controls = control_arms(0.3)
    assert mixed == thesis_arms(0.3)[2]
    for arm in controls:
        assert arm.budget == "steps" or arm.real_frac + arm.synth_frac == 1
    assert {arm.balance for arm in controls} == {"none", "oversample", "weights"}
    assert {arm.synth_use for arm in controls} == {"mixed", "only", "pretrain", "shuffled"}


def test_selective_arms_vary_mild_and_moderate_alone():
    alone, mild, moderate, both, copies = selective_arms(0.3)
    assert [arm.synth_classes for arm in (alone, mild, moderate, both, copies)] == [(), (2,), (3,), (2, 3), (2, 3)]
    assert all(arm.budget == "steps" for arm in (alone, mild, moderate, both, copies))
    assert copies.generator == "duplicate"


def test_sweep_arms_fill_each_share_up():
    arms = sweep_arms()
    assert [arm.real_frac for arm in arms[:10]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert all(arm.real_frac + arm.synth_frac == pytest.approx(1) for arm in arms[10:])
    assert [arm.generator for arm in arms[10:]] == ["morph"] * 9 + ["duplicate"] * 9


def test_filter_and_architecture_arms():
    assert [arm.filter for arm in filter_arms(0.3)] == ["none", "near-copy", "confidence"]
    arms = architecture_arms("resnet18", 0.3, weights="imagenet", fine_tune="head")
    assert arms[2].label == "30 % real + 70 % morph, resnet18, imagenet, head alone"
    assert len(arms) == len(thesis_arms(0.3))


@pytest.mark.parametrize("make", [thesis_arms, control_arms, selective_arms, filter_arms])
def test_a_control_is_no_generator_to_compare_with(make):
    with pytest.raises(ValueError, match="generator must make synthetic images, got 'duplicate'"):
        make(0.3, generator="duplicate")


def test_the_chapters_parts():
    parts = {part.name: part for part in thesis_parts()}
    assert list(parts) == ["draft", "people", "policies", "controls", "filters", "classes", "sweep", "networks"]
    assert parts["draft"].n_simulations == parts["people"].n_simulations == 100 > parts["networks"].n_simulations
    assert {arm.policy for arm in parts["policies"].conditions} == set(POLICIES)
    people = parts["people"].conditions
    assert {arm.protocol for arm in (*people, *parts["networks"].conditions)} == {"subject"}
    assert {"shares", "tissue", "pca", "cnn"} == {arm.architecture for arm in people}
    assert {"none", "duplicate", "morph", "simulated", "diffusion"} == {arm.generator for arm in people}
    kinds = {(arm.architecture, arm.weights, arm.fine_tune) for arm in parts["networks"].conditions}
    assert kinds >= {("vit_b_16", "imagenet", "all"), ("vit_b_16", "imagenet", "head"), ("vit_tiny", "none", "all")}
    assert [part.name for part in choose_parts(list(parts.values()), ["sweep", "draft"])] == ["draft", "sweep"]
    with pytest.raises(ValueError, match="there is no part gan; choose from: draft, people"):
        choose_parts(list(parts.values()), ["gan"])
    alone = {part.name for part in thesis_parts(n_slices=2, known_people=False)}
    assert alone == set(parts) - {"filters", "people", "networks"}  # near copies need neighbours, folds need people


def test_no_profile_needs_a_download():
    for profile in PROFILES:
        conditions = listed_conditions(chapter_parts(**part_sizes(profile_parameters(profile))))
        assert {arm.weights for arm in conditions} == {"none"}
        wanted = {"cnn", "vit_tiny"} if profile == "demo" else {"cnn", "resnet18", "vit_tiny"}
        assert wanted == {arm.architecture for arm in conditions} - set(REFERENCES)


def test_profiles_grow_and_unknown_ones_are_named():
    sizes = [profile_parameters(profile)["n_simulations"] for profile in PROFILES]
    assert sizes == sorted(sizes)
    assert profile_parameters("demo", "some/folder")["n_subjects"] == 0
    with pytest.raises(ValueError, match="smoke, demo, thesis"):
        profile_parameters("quick")


def test_names_are_those_of_the_rooms_that_implement_them():
    from mri_aug.data import splits
    from mri_aug.fidelity import filters
    from mri_aug.models import references, training
    from mri_aug.results import metrics

    assert conditions.PROTOCOLS == splits.PROTOCOLS
    assert conditions.FILTERS == filters.FILTERS
    assert conditions.BALANCES == training.BALANCES
    assert tuple(conditions.REFERENCES) == tuple(metrics.REFERENCES) == tuple(references.REFERENCES)
