"""One simulation: paired draws, honest counts, and nothing of the test part in training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mri_aug.data import splits
from mri_aug.data.imageset import ImageSet
from mri_aug.generators.base import RefusedVariationsError
from mri_aug.models.frozen import process_cache
from mri_aug.models.training import TrainConfig, train
from mri_aug.study.conditions import REFERENCES, Condition, thesis_arms
from mri_aug.study.simulation import Seeds, assemble, divide, simulate

QUICK = TrainConfig(epochs=1, batch_size=16)
VOLATILE = ("seconds",)


class Recorder:
    """A generator that keeps what it was shown, and returns it darkened."""

    name, fingerprint, learns_from_study, reproducible = "recorder", "0", True, True

    def __init__(self):
        self.fitted, self.varied = [], []

    def fit(self, images, labels, subjects, *, seed):
        self.fitted.append(images)
        return self

    def vary(self, images, labels, *, seed):
        self.varied.append(images)
        return images // 2


def stable(row):
    return {name: value for name, value in row.items() if name not in VOLATILE}


@pytest.mark.parametrize("arm", thesis_arms(0.3), ids=lambda arm: arm.label)
def test_counts_and_steps_are_those_of_the_arm(toy_images, arm):
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK)
    full = len(splits.split(toy_images, "image", seed=Seeds.of(0, 0).split).train)
    assert abs(row["n_real"] - arm.real_frac * full) <= 2  # half an image a class
    assert row["n_train"] == (full if arm.synth_frac else row["n_real"]) == row["n_real"] + row["n_synthetic"]
    assert row["n_steps"] == QUICK.n_steps(full if arm.budget == "steps" else row["n_train"])
    assert 0 < row["test_cross_entropy"] < 50 and 0 <= row["test_accuracy"] <= 1
    assert json.loads(row["versions"])["torch"] == torch.__version__.split("+")[0]


def test_same_seed_same_row_another_simulation_another_row(toy_images):
    arm = thesis_arms(0.5)[2]
    rows = [stable(simulate(arm, toy_images, simulation=r, seed=7, config=QUICK)) for r in (1, 1, 2)]
    assert rows[0] == rows[1]
    assert rows[0]["test_cross_entropy"] != rows[2]["test_cross_entropy"]


def test_arms_of_a_simulation_share_their_seeds():
    assert Seeds.of(0, 3) == Seeds.of(0, 3)
    assert len({Seeds.of(0, 3), Seeds.of(0, 4), Seeds.of(1, 3)}) == 3
    assert len(set(vars(Seeds.of(0, 0)).values())) == 6


def test_a_seed_that_is_no_integer_is_named():
    for seed in (-1, 0.5, None):
        with pytest.raises(ValueError, match=f"^seed must be a non-negative integer, got {seed}"):
            Seeds.of(seed, 0)
    with pytest.raises(ValueError, match="^simulation must be a non-negative integer, got -1"):
        Seeds.of(0, -1)


def test_threads_are_given_back(toy_images):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    simulate(Condition(real_frac=0.2), toy_images, simulation=0, seed=0, config=QUICK)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == 2


@pytest.mark.parametrize("protocol", ["image", "subject"])
def test_a_generator_sees_the_real_sample_and_nothing_else(toy_images, protocol):
    recorder = Recorder()
    arm = Condition(real_frac=0.3, synth_frac=0.7, generator="recorder", protocol=protocol)
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK, generators={"recorder": recorder})
    seen = {image.numpy().tobytes() for batch in recorder.fitted + recorder.varied for image in batch}
    split = splits.split(toy_images, protocol, seed=row["seed_split"])
    training = toy_images[split.train]
    sample = assemble(arm, training, Seeds.of(0, 0), {"recorder": Recorder()})
    assert seen == {image.numpy().tobytes() for image in sample.real.images}
    held_out = toy_images[torch.cat([torch.from_numpy(split.validation), torch.from_numpy(split.test)])]
    assert not seen & {image.numpy().tobytes() for image in held_out.images}


def test_variations_carry_the_labels_people_and_ids_of_their_sources(toy_images):
    arm = Condition(real_frac=0.3, synth_frac=0.7, generator="duplicate")
    made = assemble(arm, toy_images, Seeds.of(0, 0))
    synthetic = made.variations
    sources = toy_images[synthetic.source_ids]
    assert torch.equal(synthetic.images, sources.images)
    assert torch.equal(synthetic.labels, sources.labels) and torch.equal(synthetic.subjects, sources.subjects)
    assert set(synthetic.source_ids.tolist()) <= set(made.real.source_ids.tolist())
    assert torch.equal(made.images.images, torch.cat([made.real.images, synthetic.images]))


def test_selected_classes_alone_receive_variations(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, synth_classes=(2, 3), generator="duplicate")
    made = assemble(arm, toy_images, Seeds.of(0, 0))
    assert made.variations.labels.bincount(minlength=4).tolist() == [0, 0, 12, 12]


def test_test_images_do_not_touch_training(toy_images):
    """Blackening the held-out images changes their scores, and not one weight: validation is untouched by test."""
    seed = Seeds.of(0, 0).split
    test = torch.from_numpy(splits.split(toy_images, "image", seed=seed).test)
    images = toy_images.images.clone()
    images[test] = images[test] // 3
    arm = thesis_arms(0.3)[2]
    changed = replace(toy_images, images=images)
    rows = [simulate(arm, data, simulation=0, seed=0, config=QUICK) for data in (toy_images, changed)]
    assert rows[0]["validation_cross_entropy"] == rows[1]["validation_cross_entropy"]
    assert rows[0]["test_cross_entropy"] != rows[1]["test_cross_entropy"]


class Refuser(Recorder):
    """A generator that refuses every image of the most severe class, one at a time."""

    name = "refuser"

    def vary(self, images, labels, *, seed):
        refused = (labels == 3).nonzero()[:1, 0].tolist()
        if refused:
            raise RefusedVariationsError("no", refused)
        return super().vary(images, labels, seed=seed)


def test_refused_images_are_left_out_and_counted(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="refuser")
    plain = assemble(replace(arm, generator="duplicate"), toy_images, Seeds.of(0, 0))
    made = assemble(arm, toy_images, Seeds.of(0, 0), {"refuser": Refuser()})
    assert made.n_refused == 12 and len(made.variations) == 36 and not (made.variations.labels == 3).any()
    assert torch.equal(made.real.images, plain.real.images)
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK, generators={"refuser": Refuser()})
    assert row["n_refused"] > 0 and row["n_train"] == row["n_real"] + row["n_synthetic"]
    assert row["n_steps"] == QUICK.n_steps(row["n_train"])


def test_a_refusal_that_names_no_image_is_an_error(toy_images):
    class Mute(Recorder):
        def vary(self, images, labels, *, seed):
            raise RefusedVariationsError("nothing today", ())

    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="mute")
    with pytest.raises(RefusedVariationsError, match="nothing today"):
        assemble(arm, toy_images, Seeds.of(0, 0), {"mute": Mute()})


def test_a_filter_judges_by_the_real_sample_and_what_it_drops_is_counted(toy_images, monkeypatch):
    shown = {}

    def every_other(name, variations, sources, real, *, seed):
        shown.update(name=name, variations=variations, sources=sources, real=real)
        return np.arange(len(variations)) % 2 == 0

    monkeypatch.setattr("mri_aug.study.simulation.apply_filter", every_other)
    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="recorder", filter="confidence")
    made = assemble(arm, toy_images, Seeds.of(0, 0), {"recorder": Recorder()})
    assert shown["name"] == "confidence" and torch.equal(shown["real"].images, made.real.images)
    assert torch.equal(shown["variations"], shown["sources"].images // 2)
    assert made.n_filtered == 24 and torch.equal(made.variations.images, shown["variations"][::2])
    monkeypatch.setattr("mri_aug.study.simulation.apply_filter", lambda *given, **_: np.zeros(len(given[1]), bool))
    with pytest.raises(ValueError, match="all 48 synthetic images were refused or filtered"):
        assemble(replace(arm, synth_use="only"), toy_images, Seeds.of(0, 0), {"recorder": Recorder()})


def test_copies_are_what_the_near_copy_filter_drops(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="duplicate", filter="near-copy")
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK)
    assert row["n_filtered"] > 0 == row["n_synthetic"]


def test_shuffled_labels_are_the_same_labels_in_another_order(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="duplicate")
    true = assemble(arm, toy_images, Seeds.of(0, 0))
    shuffled, again = (assemble(replace(arm, synth_use="shuffled"), toy_images, Seeds.of(0, 0)) for _ in range(2))
    other = assemble(replace(arm, synth_use="shuffled"), toy_images, replace(Seeds.of(0, 0), selection=1))
    assert torch.equal(shuffled.variations.images, true.variations.images)
    assert torch.equal(shuffled.variations.labels.sort().values, true.variations.labels.sort().values)
    assert (shuffled.variations.labels != true.variations.labels).float().mean() > 0.5
    assert torch.equal(shuffled.variations.labels, again.variations.labels)
    assert not torch.equal(shuffled.variations.labels, other.variations.labels)
    assert torch.equal(shuffled.real.labels, true.real.labels)


def test_variations_alone_hold_no_real_image(toy_images):
    arm = Condition(real_frac=0.3, synth_frac=0.7, generator="recorder", synth_use="only")
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK, generators={"recorder": Recorder()})
    made = assemble(arm, toy_images, Seeds.of(0, 0), {"recorder": Recorder()})
    assert row["n_real"] == 0 < row["n_train"] == row["n_synthetic"]
    assert not len(made.real) and torch.equal(made.images.images, made.variations.images)


def test_pretraining_divides_the_steps_by_images(toy_images, monkeypatch):
    fits = []

    def recorded(model, image_set, *, n_steps, **options):
        fits.append((len(image_set), n_steps))
        return train(model, image_set, n_steps=n_steps, **options)

    monkeypatch.setattr("mri_aug.study.simulation.train", recorded)
    arm = Condition(real_frac=0.25, synth_frac=0.75, generator="duplicate", synth_use="pretrain")
    row = simulate(arm, toy_images, simulation=0, seed=0, config=TrainConfig(epochs=4, batch_size=16))
    assert fits == [
        (row["n_synthetic"], row["n_pretrain_steps"]), (row["n_real"], row["n_steps"] - row["n_pretrain_steps"])
    ]  # fmt: skip
    assert row["n_pretrain_steps"] / row["n_steps"] == pytest.approx(row["n_synthetic"] / row["n_train"], abs=0.05)
    mixed = simulate(replace(arm, synth_use="mixed"), toy_images, simulation=0, seed=0, config=QUICK)
    assert mixed["n_pretrain_steps"] == 0


def test_the_head_alone_learns_on_features_that_are_computed_once(toy_images, monkeypatch):
    arm = Condition(architecture="cnn", fine_tune="head", real_frac=0.5)
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK)
    held = len(process_cache())
    again = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK)
    assert stable(row) == stable(again) and len(process_cache()) == held, "nothing was computed again"
    with pytest.raises(ValueError, match="computes an image's features once, and policy 'flip' alters"):
        replace(arm, policy="flip")


@pytest.mark.parametrize(("fine_tune", "expected"), [("all", 1e-4), ("head", 3e-3)])
def test_a_networks_rate_is_lowered_to_what_it_bears(toy_images, fine_tune, expected):
    arm = Condition(architecture="vit_tiny", fine_tune=fine_tune, real_frac=0.1)
    config = replace(QUICK, learning_rate=3e-3)
    assert simulate(arm, toy_images, simulation=0, seed=0, config=config)["learning_rate"] == expected


def test_one_training_gives_four_scores_that_the_row_can_make_again(toy_images):
    arm = Condition(protocol="subject", scarce="subjects", real_frac=0.5, image_size=64, policy="flip")
    row = simulate(arm, toy_images, simulation=6, seed=0, config=TrainConfig(epochs=3, batch_size=8))
    assert (row["repeat"], row["fold"]) == (1, 1)
    assert row["n_real"] == 6 * row["n_real_people"] < 6 * 10
    assert 0 < row["validated_step"] <= row["n_steps"] and row["temperature"] > 0 < row["validated_temperature"]
    people = json.loads(row["by_subject"])
    labels = np.array(people["label"])
    for score, column in (("last", ""), ("calibrated", "calibrated_"), ("validated", "validated_"),
                          ("validated_calibrated", "validated_calibrated_")):  # fmt: skip
        probabilities = np.array(people[score])
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=3e-4)
        loss = -np.log(np.clip(probabilities, 1e-4, 1)[np.arange(len(labels)), labels]).mean()
        assert loss == pytest.approx(row[f"test_{column}subject_cross_entropy"], abs=0.02)
        assert (probabilities.argmax(1) == labels).mean() == pytest.approx(row[f"test_{column}subject_accuracy"])
    assert row["test_calibrated_accuracy"] == row["test_accuracy"]
    assert row["validation_validated_cross_entropy"] <= row["validation_cross_entropy"] + 1e-9


def test_five_simulations_test_everybody_once(toy_images):
    parts = [divide(toy_images, "subject", seed=3, simulation=r) for r in range(10)]
    for repeat in (parts[:5], parts[5:]):
        tested = np.concatenate([part.test for part in repeat])
        assert np.array_equal(np.sort(tested), np.arange(len(toy_images)))
    assert not np.array_equal(parts[0].test, parts[5].test)
    assert not np.array_equal(*(divide(toy_images, "image", seed=3, simulation=r).test for r in range(2)))


@pytest.mark.parametrize("name", REFERENCES)
def test_references_take_the_same_arms(toy_images, name):
    arm = Condition(architecture=name, protocol="subject", scarce="subjects", real_frac=0.5)
    filled = replace(arm, synth_frac=0.5, generator="duplicate")
    rows = [simulate(one, toy_images, simulation=0, seed=0, config=QUICK) for one in (arm, filled)]
    assert rows[0]["n_steps"] == 0 and rows[1]["n_synthetic"] > 0
    assert all(0 < row["test_subject_cross_entropy"] < 5 for row in rows)
    with pytest.raises(ValueError, match=f"the reference '{name}' is no network: leave policy out, got 'flip'"):
        replace(arm, policy="flip")


class Newcomers(Recorder):
    """Draws people who were never scanned."""

    makes_people = True

    def draw(self, labels, *, seed):
        n = len(labels)
        return ImageSet(
            torch.full((n, 1, 128, 128), 9, dtype=torch.uint8), labels, torch.arange(n) // 2, torch.full((n,), -1)
        )


def test_new_people_are_nobody_in_the_training_part(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, generator="new", protocol="subject", scarce="subjects")
    made = assemble(arm, toy_images, Seeds.of(0, 0), {"new": Newcomers()})
    real, new = set(made.real.subjects.tolist()), set(made.variations.subjects.tolist())
    assert not real & new and len(new) == (len(made.variations) + 1) // 2
    assert made.variations.source_ids.eq(-1).all() and made.variations.images.eq(9).all()
    groups = made.groups()
    assert len(groups) == len(made) and not set(groups[: len(made.real)]) & set(groups[len(made.real) :])


def test_a_variation_is_apart_from_the_slices_of_its_person(toy_images):
    made = assemble(Condition(real_frac=0.5, synth_frac=0.5, generator="duplicate"), toy_images, Seeds.of(0, 0))
    groups = made.groups()
    assert not set(groups[: len(made.real)]) & set(groups[len(made.real) :])
    unknown = replace(made.variations, subjects=torch.full_like(made.variations.subjects, -1))
    assert (replace(made, variations=unknown).groups()[len(made.real) :] == -1).all()
