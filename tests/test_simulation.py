"""One simulation: paired draws, honest counts, and nothing of the test part in training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from mri_aug import protocols
from mri_aug.conditions import Condition, thesis_arms
from mri_aug.simulation import Seeds, assemble, simulate
from mri_aug.training import TrainConfig

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
    full = len(protocols.split(toy_images, "image", seed=Seeds.of(0, 0).split).train)
    assert row["n_real"] == round(arm.real_frac * full)
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
    assert len(set(vars(Seeds.of(0, 0)).values())) == 5


def test_threads_are_given_back(toy_images):
    torch.set_num_threads(2)
    simulate(Condition(real_frac=0.2), toy_images, simulation=0, seed=0, config=QUICK)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("protocol", ["image", "subject"])
def test_a_generator_sees_the_real_sample_and_nothing_else(toy_images, protocol):
    recorder = Recorder()
    arm = Condition(real_frac=0.3, synth_frac=0.7, generator="recorder", protocol=protocol)
    row = simulate(arm, toy_images, simulation=0, seed=0, config=QUICK, generators={"recorder": recorder})
    seen = {image.numpy().tobytes() for batch in recorder.fitted + recorder.varied for image in batch}
    split = protocols.split(toy_images, protocol, seed=row["seed_split"])
    training = toy_images[split.train]
    sample, n_real = assemble(arm, training, Seeds.of(0, 0), {"recorder": Recorder()})
    assert seen == {image.numpy().tobytes() for image in sample.images[:n_real]}
    held_out = toy_images[torch.cat([torch.from_numpy(split.validation), torch.from_numpy(split.test)])]
    assert not seen & {image.numpy().tobytes() for image in held_out.images}


def test_variations_carry_the_labels_people_and_ids_of_their_sources(toy_images):
    arm = Condition(real_frac=0.3, synth_frac=0.7, generator="duplicate")
    images, n_real = assemble(arm, toy_images, Seeds.of(0, 0))
    synthetic = images[n_real:]
    sources = toy_images[synthetic.source_ids]
    assert torch.equal(synthetic.images, sources.images)
    assert torch.equal(synthetic.labels, sources.labels) and torch.equal(synthetic.subjects, sources.subjects)
    assert set(synthetic.source_ids.tolist()) <= set(images.source_ids[:n_real].tolist())


def test_selected_classes_alone_receive_variations(toy_images):
    arm = Condition(real_frac=0.5, synth_frac=0.5, synth_classes=(2, 3), generator="duplicate")
    images, n_real = assemble(arm, toy_images, Seeds.of(0, 0))
    assert images.labels[n_real:].bincount(minlength=4).tolist() == [0, 0, 12, 12]


def test_test_images_do_not_touch_training(toy_images):
    """Blackening the held-out images changes their scores, and not one weight: validation is untouched by test."""
    seed = Seeds.of(0, 0).split
    test = torch.from_numpy(protocols.split(toy_images, "image", seed=seed).test)
    images = toy_images.images.clone()
    images[test] = images[test] // 3
    arm = thesis_arms(0.3)[2]
    changed = replace(toy_images, images=images)
    rows = [simulate(arm, data, simulation=0, seed=0, config=QUICK) for data in (toy_images, changed)]
    assert rows[0]["validation_cross_entropy"] == rows[1]["validation_cross_entropy"]
    assert rows[0]["test_cross_entropy"] != rows[1]["test_cross_entropy"]
