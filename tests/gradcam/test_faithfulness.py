"""Deletion and insertion against a network whose only evidence is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mri_aug.gradcam.measures import blurred, perturbation_curves, random_maps
from mri_aug.models.training import Classifier, TrainConfig

SQUARE = np.s_[40:56, 64:80]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Says class 1 where the square is bright, and looks at nothing else."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(128 * 128, 2))
    weight = torch.zeros(2, 128, 128)
    weight[1][SQUARE] = 12 / 256
    with torch.no_grad():
        model[1].weight.copy_(weight.flatten(1))
        model[1].bias.copy_(torch.tensor([6.0, 0.0]))
    return Classifier(model.eval(), 0.0, 1.0, TrainConfig(device="cpu", precision="float32"), np.zeros(1))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    images = torch.full((2, 1, 128, 128), 40, dtype=torch.uint8)
    images[:, 0, SQUARE[0], SQUARE[1]] = 255
    return images


BRAIN = np.zeros((2, 128, 128), bool)
BRAIN[:, 16:112, 16:112] = True


def map_of_the_square() -> np.ndarray:
    cams = np.zeros((2, 128, 128), np.float32)
    cams[:, SQUARE[0], SQUARE[1]] = 1
    return cams


def test_true_map_beats_random_and_inverted_ones(classifier, images):
    orders = {"true": map_of_the_square(), "random": random_maps(2, grid=16, seed=0), "wrong": 1 - map_of_the_square()}
    areas = {
        name: perturbation_curves(classifier, images, cams, [1, 1], within=BRAIN, n_steps=10).areas()
        for name, cams in orders.items()
    }
    deletion, insertion = ({name: found[k].mean() for name, found in areas.items()} for k in (0, 1))
    assert deletion["true"] < deletion["random"] < deletion["wrong"]
    assert insertion["true"] > insertion["random"] > insertion["wrong"]


def test_curves_start_and_end_at_the_picture_and_its_fill(classifier, images):
    curves = perturbation_curves(classifier, images, map_of_the_square(), [1, 0], within=BRAIN, n_steps=4)
    assert curves.replaced.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curves.deletion.shape == curves.insertion.shape == (2, 5)
    np.testing.assert_allclose(curves.deletion[:, 0], curves.insertion[:, -1])
    np.testing.assert_allclose(curves.deletion[:, -1], curves.insertion[:, 0])
    assert curves.deletion[0, 0] > 0.99 and curves.deletion[1, 0] < 0.01  # the probability of the class asked about


def test_pixels_outside_are_never_touched(classifier, images):
    outside = np.zeros_like(BRAIN)
    outside[:, 90:110, 20:110] = True  # does not hold the square
    curves = perturbation_curves(classifier, images, map_of_the_square(), [1, 1], within=outside)
    assert np.ptp(curves.deletion) == 0 and np.ptp(curves.insertion) == 0


def test_curves_of_smaller_images_are_blurred_as_much():
    rng = torch.Generator().manual_seed(0)
    large = torch.randint(0, 255, (1, 1, 8, 8), generator=rng).repeat_interleave(16, 2).repeat_interleave(16, 3)
    small = blurred(large[..., ::2, ::2].to(torch.uint8))
    np.testing.assert_allclose(blurred(large.to(torch.uint8))[..., ::2, ::2].float(), small.float(), atol=6)
    assert random_maps(2, grid=8, size=64, seed=0).shape == (2, 64, 64)


def test_random_maps_follow_their_seed_and_grid():
    first, again, other = (random_maps(3, grid=8, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 128, 128) and (first != other).any()
    assert 0 <= first.min() < first.max() <= 1
    roughness = [np.abs(np.diff(random_maps(3, grid=grid, seed=0))).mean() for grid in (4, 32)]
    assert roughness[0] < roughness[1] / 3


def test_blurring_keeps_brightness_and_loses_detail(images):
    soft = blurred(images)
    assert soft.dtype == torch.uint8 and soft.shape == images.shape
    assert abs(float(soft.float().mean() - images.float().mean())) < 1.5
    assert soft.max() < 0.8 * images.max()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_steps": 0}, ValueError, "n_steps"),
        ({"cams": np.ones((2, 64, 64))}, ValueError, "cams and within must have shape"),
        ({"target": [1]}, ValueError, r"and target \(2,\)"),
        ({"images": torch.zeros(2, 1, 128, 128)}, TypeError, "uint8"),
    ],
)
def test_bad_input_is_named(classifier, images, changes, error, message):
    given = {"images": images, "cams": map_of_the_square(), "target": [1, 1], "within": BRAIN} | changes
    with pytest.raises(error, match=message):
        perturbation_curves(classifier, given.pop("images"), given.pop("cams"), given.pop("target"), **given)
