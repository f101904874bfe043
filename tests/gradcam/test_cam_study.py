"""Measures of trained networks pass a positive control, and fail it with random weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from mri_aug.data.imageset import ImageSet
from mri_aug.data.phantom.people import make_subject
from mri_aug.gradcam.comparison import measure_maps, measure_networks, train_arms
from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig, predict, train
from mri_aug.results.maps import MEASURES, over_people
from mri_aug.study.conditions import Condition

N_SLICES = 4
CONFIG = TrainConfig(epochs=10, batch_size=16, learning_rate=1e-3, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def phantoms() -> ImageSet:
    """Healthy people and people with severe atrophy, in turn; 28 of them, four slices each."""
    severity = np.resize([0.0, 0.9], 28)
    scans = [make_subject(severity=float(s), seed=k, n_slices=N_SLICES) for k, s in enumerate(severity)]
    person = torch.arange(28).repeat_interleave(N_SLICES)
    return ImageSet(
        images=torch.from_numpy(np.concatenate([scan.images for scan in scans]))[:, None],
        labels=person % 2,
        subjects=person,
        source_ids=torch.arange(len(person)),
        class_names=("healthy", "atrophied"),
        atrophy=torch.from_numpy(np.concatenate([scan.atrophy for scan in scans]))[:, None],
    )


@pytest.fixture(scope="module")
def networks(phantoms):
    """Two of the thesis's networks that differ in their initial weights, trained on 12 people."""
    fit = partial(train, image_set=phantoms[phantoms.subjects < 12], config=CONFIG)
    return {f"{seed}": fit(make_model("cnn", n_classes=2, seed=seed), seed=seed) for seed in range(2)}


@pytest.fixture(scope="module")
def rows(phantoms, networks) -> pd.DataFrame:
    """Grad-CAM for the disease, measured on eight ill people outside the training set."""
    test = phantoms[(phantoms.subjects >= 12) & (phantoms.labels == 1)]
    target = dict.fromkeys(networks, np.ones(len(test), int))
    return measure_networks(networks, test, targets=target, methods=["gradcam"], seed=0, n_jobs=1)


def test_trained_networks_look_at_the_atrophied_tissue_and_random_ones_do_not(phantoms, networks, rows):
    unseen = phantoms[phantoms.subjects >= 12]
    for classifier in networks.values():
        assert (predict(classifier, unseen.images).argmax(axis=1) == unseen.labels.numpy()).mean() > 0.9
    found = over_people(rows, "energy", "energy_chance", by=["network"], effect="ratio")
    assert found["n_people"].tolist() == [8, 8]
    assert found["low"].min() > 1.2  # each network, not only their mean
    lost = over_people(rows, "energy_random", "energy_chance", effect="ratio").iloc[0]
    assert lost["low"] <= 1 and lost["effect"] < 1.1
    change = over_people(rows, "energy", "energy_random", effect="ratio").iloc[0]
    assert change["low"] > 1.2


def test_every_measure_has_its_columns(rows):
    assert rows["network"].unique().tolist() == ["0", "1"] and (rows["method"] == "gradcam").all()
    for measure in MEASURES:
        assert rows[measure.value].notna().any()
        assert measure.reference is None or rows[measure.reference].notna().any()
    shares = rows[
        [name for name in rows if name.startswith(("brain", "energy", "fluid", "elsewhere", "deletion", "insertion"))]
    ]
    assert shares.min().min() >= 0 and shares.max().max() <= 1
    assert rows[["shift", "rank"]].abs().max().max() <= 1


def test_same_seed_same_measures(phantoms, networks):
    test = phantoms[-2 * N_SLICES :]
    measure = partial(measure_maps, networks["0"], test, target=test.labels.numpy(), method="hirescam", n_draws=2)
    first, again, other = measure(seed=0), measure(seed=0), measure(seed=1)
    pd.testing.assert_frame_equal(first, again)
    assert (first["rank"] != other["rank"]).all()
    pd.testing.assert_series_equal(first["energy"], other["energy"])


def test_unknown_atrophy_is_missing_and_not_zero(phantoms, networks):
    test = ImageSet(**{name: getattr(phantoms[:3], name) for name in ("images", "labels", "subjects", "source_ids")})
    rows = measure_maps(networks["0"], test, target=[0, 1, 1], n_draws=1, n_steps=2, seed=0)
    assert rows[["energy", "energy_random"]].isna().all(axis=None)
    assert rows[["brain", "deletion", "insertion"]].notna().all(axis=None)


def test_arms_are_trained_as_their_conditions_say(phantoms):
    training = {"subject": phantoms[phantoms.subjects < 12]}
    part = Condition(real_frac=0.5, protocol="subject")
    arms = {"whole": Condition(protocol="subject"), "part": part, "copies": Condition(
        real_frac=0.5, synth_frac=0.5, generator="duplicate", protocol="subject")}  # fmt: skip
    config = TrainConfig(epochs=1, batch_size=8, device="cpu", precision="float32")
    fit = partial(train_arms, arms, training, configs={"cnn": config}, n_jobs=1)
    trained, again = fit(seed=0), fit(seed=0)
    assert list(trained) == list(arms)
    assert [len(one.losses) for one in trained.values()] == [6, 3, 6]
    for name, one in trained.items():
        np.testing.assert_array_equal(one.losses, again[name].losses)
    assert (fit(seed=1)["whole"].losses != trained["whole"].losses).all()
    with pytest.raises(ValueError, match="'leaky' needs protocol 'image'.*training has subject"):
        train_arms({"leaky": Condition()}, training, seed=0, configs={"cnn": config})
