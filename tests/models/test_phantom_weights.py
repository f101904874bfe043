"""Weights learnt from simulated people: made once, the same again, and a start for any architecture and classes."""

from __future__ import annotations

import pytest
import torch

from mri_aug import provenance
from mri_aug.models import phantom_weights as module
from mri_aug.models.networks import make_model
from mri_aug.models.phantom_weights import phantom_weights
from tests.phantoms import small_crowd


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    """A cache below ``tmp_path``, few and small images, and a list of the trainings that were needed."""
    made, train = [], module.train

    def counted(model, image_set, **options):
        made.append((len(image_set), image_set.size, options))
        return train(model, image_set, **options)

    monkeypatch.setattr(provenance, "artifacts", lambda *parts: tmp_path.joinpath(*parts))
    monkeypatch.setattr(module, "load_crowd", lambda **options: small_crowd())
    monkeypatch.setattr(module, "N_IMAGES", 16)
    monkeypatch.setattr(module, "N_STEPS", 2)
    monkeypatch.setattr(module, "train", counted)
    return made


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_made_once_for_each_architecture_and_size_and_the_same_again(trainings, tmp_path):
    first = phantom_weights("cnn", image_size=64)
    assert equal(first, phantom_weights("cnn", image_size=64)) and len(trainings) == 1
    phantom_weights("vit_tiny", image_size=64)
    phantom_weights("cnn", image_size=128)
    assert [size for _, size, _ in trainings] == [64, 64, 128]
    for file in (tmp_path / "cache").glob("*.pt"):
        file.unlink()
    assert equal(first, phantom_weights("cnn", image_size=64)) and len(trainings) == 4


def test_the_recipe_is_the_documented_one(trainings):
    phantom_weights("resnet18", image_size=64)
    _, _, options = trainings[0]
    assert options["policy"] == "standard" and options["config"].learning_rate == 1e-3
    assert (options["config"].device, options["config"].precision) == ("cpu", "float32")


def test_weights_fit_a_network_of_four_classes_and_differ_from_its_first_ones(trainings):
    state = phantom_weights("cnn", image_size=64)
    model = make_model("cnn", seed=0, image_size=64)
    assert not equal(state, model.state_dict())
    model.load_state_dict(state)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_model_starts_from_them_by_name_and_keeps_its_head_for_other_classes(monkeypatch, trainings, n_classes):
    state = phantom_weights("cnn", image_size=64)
    monkeypatch.setattr(module, "phantom_weights", lambda architecture, *, image_size: dict(state))
    fresh, started = (
        make_model("cnn", n_classes=n_classes, seed=3, image_size=64, weights=name).state_dict()
        for name in ("none", "phantom")
    )
    head = [name for name in started if name.startswith("head")]
    assert all(torch.equal(started[name], state[name]) for name in started if name not in head)
    source = state if n_classes == 4 else fresh
    assert all(torch.equal(started[name], source[name]) for name in head)


def test_a_damaged_file_is_made_again(trainings, tmp_path):
    first = phantom_weights("cnn", image_size=64)
    (file,) = (tmp_path / "cache").glob("*.pt")
    file.write_bytes(b"no weights")
    with pytest.warns(UserWarning, match="is damaged"):
        again = phantom_weights("cnn", image_size=64)
    assert equal(first, again) and len(trainings) == 2
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".pt", ".lock"}
