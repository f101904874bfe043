"""Heat maps: the library against the equations, a network whose map is known, and everything that may go wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mri_aug.gradcam.maps import METHODS, gradcam_by_hand, heatmaps
from mri_aug.models.networks import make_model, target_layer

NORMALISATION = {"mean": 0.2, "std": 0.3}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (5, 1, 128, 128), generator=rng, dtype=torch.uint8)


@pytest.fixture
def small_cnn() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(), nn.Linear(6 * 16 * 16, 4),
    )  # fmt: skip


def _last_weights(model: nn.Module) -> nn.Parameter:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1].weight


class Tokens(nn.Module):
    """A transformer's shape: a grid of 8 x 8 tokens, after a class token if there is one."""

    def __init__(self, class_token: bool):
        super().__init__()
        torch.manual_seed(2)
        self.patches = nn.Conv2d(1, 8, 16, stride=16)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8)) if class_token else None

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.norm(tokens).square().mean(dim=1))


@pytest.mark.parametrize("target", [0, 3, [0, 1, 2, 3, 0]])
def test_three_steps_agree_with_the_library(small_cnn, images, target):
    layer = small_cnn[2]
    library = heatmaps(small_cnn, images, target=target, layer=layer, **NORMALISATION)
    by_hand = gradcam_by_hand(small_cnn, images, target, layer, **NORMALISATION)
    assert library.max() > 0.9  # not all dead
    np.testing.assert_allclose(by_hand, library, atol=1e-5)


@pytest.mark.parametrize("class_token", [False, True])
def test_three_steps_agree_with_the_library_on_tokens(images, class_token):
    model = Tokens(class_token)
    library = heatmaps(model, images, target=1, layer=model.norm)
    np.testing.assert_allclose(gradcam_by_hand(model, images, 1, model.norm), library, atol=1e-5)
    assert library.max() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_images_size_and_range(small_cnn, images, method, capfd):
    maps = heatmaps(small_cnn, images[:3], method=method, layer=small_cnn[4])
    assert maps.shape == (3, 128, 128) and maps.dtype == np.float32
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    assert capfd.readouterr() == ("", "")  # no progress bars


@pytest.mark.parametrize("method", METHODS)
def test_map_is_where_the_evidence_is(method):
    """A network that only adds up brightness looks at the bright square, and at nothing else."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AvgPool2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 2))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
        model[4].weight[:] = torch.tensor([[1.0], [-1.0]])
    square = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
    square[..., 32:64, 64:96] = 200
    heat = heatmaps(model, square, method=method, target=0, layer=model[2])[0]
    assert heat[40:56, 72:88].min() > 0.9
    assert heat[:24].max() == heat[72:].max() == heat[:, :56].max() == 0


def test_default_target_is_the_predicted_class(small_cnn, images):
    small_cnn.eval()
    predicted = small_cnn((images / 255 - 0.2) / 0.3).argmax(dim=1)
    chosen = heatmaps(small_cnn, images, target=predicted, layer=small_cnn[2], **NORMALISATION)
    np.testing.assert_array_equal(heatmaps(small_cnn, images, layer=small_cnn[2], **NORMALISATION), chosen)


def test_batch_size_does_not_matter(small_cnn, images):
    whole, parts = (heatmaps(small_cnn, images, layer=small_cnn[2], batch_size=size) for size in (5, 2))
    np.testing.assert_allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_dead_map_is_zero_and_not_nan(small_cnn, images, method):
    for parameter in small_cnn.parameters():
        nn.init.zeros_(parameter)
    assert not heatmaps(small_cnn, images[:2], method=method, layer=small_cnn[2]).any()
    assert not gradcam_by_hand(small_cnn, images[:2], 0, small_cnn[2]).any()


def test_model_is_left_as_it_was(small_cnn, images):
    small_cnn.train()
    small_cnn[4].eval()
    small_cnn[0].weight.requires_grad_(False)
    small_cnn[2].weight.grad = gradient = torch.ones_like(small_cnn[2].weight)
    modes = [module.training for module in small_cnn.modules()]
    heatmaps(small_cnn, images, layer=small_cnn[2])
    gradcam_by_hand(small_cnn, images, 0, small_cnn[2])
    assert [module.training for module in small_cnn.modules()] == modes
    assert not small_cnn[0].weight.requires_grad and small_cnn[2].weight.requires_grad
    assert small_cnn[2].weight.grad is gradient and (gradient == 1).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small_cnn.modules())


def test_frozen_model_has_maps_too(small_cnn, images):
    expected = heatmaps(small_cnn, images, target=2, layer=small_cnn[2])
    small_cnn.requires_grad_(False)
    np.testing.assert_array_equal(heatmaps(small_cnn, images, target=2, layer=small_cnn[2]), expected)


def test_no_images_no_maps(small_cnn, images):
    assert heatmaps(small_cnn, images[:0], layer=small_cnn[2]).shape == (0, 128, 128)
    assert gradcam_by_hand(small_cnn, images[:0], 0, small_cnn[2]).shape == (0, 128, 128)


@pytest.mark.parametrize("architecture", ["cnn", "resnet18", "vit_tiny"])
def test_three_steps_agree_for_every_architecture(images, architecture):
    model = make_model(architecture, seed=0).eval()
    with torch.no_grad():  # transformers start with a head of zeros, to which nothing matters
        nn.init.normal_(_last_weights(model), generator=torch.Generator().manual_seed(6))
    maps = heatmaps(model, images[:2], target=1, **NORMALISATION)
    assert maps.shape == (2, 128, 128) and maps.max() > 0.9
    by_hand = gradcam_by_hand(model, images[:2], 1, target_layer(model), **NORMALISATION)
    np.testing.assert_allclose(by_hand, maps, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "lime"}, ValueError, "unknown method 'lime'; choose one of gradcam"),
        ({"target": 4}, ValueError, r"target must lie in 0\.\.3, got \[4\]"),
        ({"target": -1}, ValueError, r"target must lie in 0\.\.3"),
        ({"target": [0, 1]}, ValueError, "one for each of the 5 images"),
        ({"target": 1.0}, TypeError, "target must hold integers"),
        ({"std": 0.0}, ValueError, "std must be positive"),
        ({"images": torch.zeros(2, 1, 128, 128)}, TypeError, "uint8"),
        ({"images": np.zeros((2, 1, 128, 128), np.uint8)}, TypeError, "ndarray"),
        ({"images": torch.zeros(2, 3, 128, 128, dtype=torch.uint8)}, ValueError, r"\(2, 3, 128, 128\)"),
        ({"images": torch.zeros(1, 128, 128, dtype=torch.uint8)}, ValueError, r"\(1, 128, 128\)"),
    ],
)
def test_bad_input_is_named(small_cnn, images, arguments, error, message):
    given = {"images": images, "layer": small_cnn[2]} | arguments
    with pytest.raises(error, match=message):
        heatmaps(small_cnn, given.pop("images"), **given)


@pytest.mark.parametrize("index", [5, 7])
def test_layer_without_a_grid_is_refused(small_cnn, images, index):
    for make in (heatmaps, lambda *given, layer: gradcam_by_hand(*given, 0, layer)):
        with pytest.raises(ValueError, match="no spatial grid"):
            make(small_cnn, images, layer=small_cnn[index])


def test_layer_of_another_model_is_refused(small_cnn, images):
    with pytest.raises(ValueError, match="Conv2d returns no tensor in a forward pass"):
        heatmaps(small_cnn, images, layer=nn.Conv2d(1, 1, 3))
