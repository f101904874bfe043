"""Shuffled weights, the likeness of maps, shifts, and maps that follow a person."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from mri_aug.gradcam.measures import own_and_other, randomised, rank_correlation, shift_equivariance, weighted_layers
from mri_aug.models.networks import make_model

EVERYWHERE = np.ones((2, 32, 32), bool)


def test_layers_are_named_from_the_input_to_the_output():
    assert weighted_layers(make_model("cnn", seed=0)) == ("features.0", "features.3", "hidden.1", "hidden.3", "head")
    names = weighted_layers(make_model("vit_tiny", seed=0))
    assert names[0] == "" and names[-1] == "heads.head"  # the class token belongs to the model itself


@pytest.mark.parametrize("architecture", ["cnn", "resnet18", "vit_tiny"])
def test_weights_are_drawn_anew_at_their_spread_and_the_rest_is_shuffled(architecture):
    model = make_model(architecture, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = randomised(model, seed=1).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])  # the model itself is left as it is
        if tensor.ndim < 2:
            assert torch.equal(random[name].sort().values if tensor.ndim else random[name], tensor.sort().values)
        elif tensor.any():
            assert abs(float(torch.corrcoef(torch.stack([tensor.flatten(), random[name].flatten()]))[0, 1])) < 0.25
            assert float(random[name].square().mean() / tensor.square().mean()) == pytest.approx(1, abs=0.4)


def test_the_last_layers_go_first_and_alike():
    model = make_model("cnn", seed=0)
    one, two, again = (randomised(model, seed=3, last=last).state_dict() for last in (1, 2, 2))
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(one[name], tensor)]
    assert changed == ["head.weight"]  # biases start at zero
    assert torch.equal(one["head.weight"], two["head.weight"])
    assert not torch.equal(two["hidden.3.weight"], model.hidden[3].weight)
    assert all(torch.equal(two[name], again[name]) for name in two)
    assert not torch.equal(randomised(model, seed=4, last=1).head.weight, one["head.weight"])
    with pytest.raises(ValueError, match=r"last must lie in 0\.\.5"):
        randomised(model, seed=0, last=6)


def test_rank_correlation_of_equal_opposite_and_unrelated_maps():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 32, 32)).astype(np.float32)
    for second, expected, tolerance in ((maps, 1, 1e-6), (1 - maps, -1, 1e-6), (rng.random(maps.shape), 0, 0.1)):
        np.testing.assert_allclose(rank_correlation(maps, second, within=EVERYWHERE), expected, atol=tolerance)
    np.testing.assert_allclose(rank_correlation(maps, maps**5, within=EVERYWHERE), 1)


def test_rank_correlation_is_that_of_scipy_with_ties():
    rng = np.random.default_rng(1)
    first, second = (rng.integers(0, 6, (2, 32, 32)) for _ in range(2))
    within = rng.random((2, 32, 32)) < 0.5
    expected = [stats.spearmanr(first[k][within[k]], second[k][within[k]]).statistic for k in range(2)]
    np.testing.assert_allclose(rank_correlation(first, second, within=within), expected)


def test_constant_maps_and_empty_regions_have_no_correlation():
    maps = np.random.default_rng(1).random((2, 32, 32))
    within = EVERYWHERE.copy()
    within[1] = False
    constant = maps.copy()
    constant[0] = 0
    assert np.isnan(rank_correlation(maps, constant, within=within)).all()
    with pytest.raises(ValueError, match="share one shape"):
        rank_correlation(maps, maps[:, :8], within=EVERYWHERE)
    assert rank_correlation(maps[:0], maps[:0], within=EVERYWHERE[:0]).shape == (0,)


def test_a_map_that_moves_along_is_steady_and_one_that_stays_is_not():
    images = torch.zeros(2, 1, 128, 128, dtype=torch.uint8)
    rng = np.random.default_rng(0)
    images[:, 0, 40:80, 40:80] = torch.from_numpy(rng.integers(0, 255, (2, 40, 40), dtype=np.uint8))
    within = np.zeros((2, 128, 128), bool)
    within[:, 40:80, 40:80] = True
    fixed = rng.random((2, 128, 128))
    moving = shift_equivariance(lambda pictures: pictures[:, 0].numpy() / 255, images, within=within)
    staying = shift_equivariance(lambda pictures: fixed, images, within=within)
    np.testing.assert_allclose(moving, 1)
    assert np.abs(staying).max() < 0.1
    assert np.isnan(shift_equivariance(lambda pictures: 0 * fixed, images, within=within)).all()


def test_own_and_other_people():
    rng = np.random.default_rng(0)
    faces = rng.random((3, 16, 16))
    subjects, classes = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 1])
    maps = faces[subjects] + 0.05 * rng.random((5, 16, 16))
    found = own_and_other(maps, maps, subjects, classes)
    assert found["own"][:4].min() > 0.9 and found["other"][:4].abs().max() < 0.3
    assert np.isnan(found.loc[4]).all()  # one map only, and nobody else of that class
    pairs = own_and_other(maps, maps + 0, subjects, classes)  # another array: each map has a counterpart
    np.testing.assert_allclose(pairs["own"], 1)
    expected = np.mean([np.corrcoef(maps[0].ravel(), maps[k].ravel())[0, 1] for k in (2, 3)])
    assert found["other"][0] == pytest.approx(expected)
    flat = maps.copy()
    flat[0] = 0.5
    assert np.isnan(own_and_other(flat, maps, subjects, classes)["own"][0])


def test_buffers_of_batch_normalisation_are_shuffled_too():
    layer = nn.BatchNorm1d(50)
    layer.running_mean.copy_(torch.arange(50))
    random = randomised(nn.Sequential(layer), seed=0)
    assert sorted(random[0].running_mean.tolist()) == list(range(50))
    assert random[0].running_mean.tolist() != list(range(50))
