"""The two methods that are made fast give the library's own maps."""

from __future__ import annotations

import pytest
import pytorch_grad_cam
import torch
from torch import nn

from mri_aug.gradcam import maps, methods
from mri_aug.models.networks import make_model

LIBRARY = {"eigencam": pytorch_grad_cam.EigenCAM, "scorecam": pytorch_grad_cam.ScoreCAM}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    rng = torch.Generator().manual_seed(3)
    coarse = torch.rand(3, 1, 16, 16, generator=rng)
    return nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear").mul(255).to(torch.uint8)


@pytest.mark.parametrize("method", LIBRARY)
@pytest.mark.parametrize("architecture", ["cnn", "vit_tiny"])
def test_fast_methods_agree_with_the_library(images, method, architecture, monkeypatch):
    model, target = make_model(architecture, seed=4), [0, 1, 3]
    if architecture == "vit_tiny":  # 192 channels, each a forward pass of the library's Score-CAM: one image
        images, target = images[:1], 1
        nn.init.normal_(model.heads.head.weight, generator=torch.Generator().manual_seed(5))
    fast = maps.heatmaps(model, images, method=method, target=target, mean=0.4, std=0.3)
    monkeypatch.setattr(maps, "METHODS", {**methods.METHODS, method: LIBRARY[method]})
    library = maps.heatmaps(model, images, method=method, target=target, mean=0.4, std=0.3)
    assert library.max() > 0.9
    assert abs(fast - library).max() < 1e-4


def test_score_cam_leaves_dead_feature_maps_out(images):
    seen = []
    model = nn.Sequential(nn.Conv2d(1, 6, 3, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16 * 16, 4))
    with torch.no_grad():
        model[0].bias[2:] = -100  # four of six never fire
        model[0].weight[:2], model[0].bias[:2] = 0.1, 1.0
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    maps.heatmaps(model, images, method="scorecam", target=1, layer=model[1])
    assert sum(seen) == 1 + 3 + 3 * 2  # the probe, the images, two masked copies of each


def test_channels_last_changes_no_value(images):
    turned = methods.channels_last(images)
    assert torch.equal(turned, images) and turned.stride(1) == 1
    colour = torch.zeros(2, 3, 4, 4)
    assert methods.channels_last(colour) is colour
