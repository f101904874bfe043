"""Heat maps of models that are not ours: other precisions, outputs and layouts, and the contexts around the call."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer

from mri_aug.gradcam.maps import METHODS, gradcam_by_hand, heatmaps


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 1, 8, 8, generator=rng)
    return nn.functional.interpolate(coarse, size=64, mode="bilinear").mul(255).to(torch.uint8)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 3))
    nn.init.uniform_(model[3].weight)  # every feature map supports every class
    return model


class Wrapped(nn.Module):
    """Returns what Hugging Face's classifiers do, or something else."""

    def __init__(self, model: nn.Module, form):
        super().__init__()
        self.model, self.form = model, form

    def forward(self, x):
        return self.form(self.model(x))


class ChannelsLast(nn.Module):
    """The same network as ``model`` with the feature maps' channels in the last place."""

    def __init__(self, model: nn.Sequential):
        super().__init__()
        self.model, self.turned = model, nn.Identity()

    def forward(self, x):
        maps = self.turned(self.model[1](self.model[0](x)).permute(0, 2, 3, 1))
        return self.model[3](maps.permute(0, 3, 1, 2).flatten(1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_context_around_the_call_changes_nothing(model, images, method, context):
    expected = heatmaps(model, images, method=method, layer=model[1])
    with context():
        found = heatmaps(model, images.clone(), method=method, layer=model[1])
        by_hand = gradcam_by_hand(model, images.clone(), 1, model[1])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(by_hand, gradcam_by_hand(model, images, 1, model[1]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_give_nearly_the_same_maps(model, images, method, dtype):
    expected = heatmaps(model, images, method=method, target=1, layer=model[1])
    found = heatmaps(model.to(dtype), images, method=method, target=1, layer=model[1])
    assert found.dtype == np.float32 and model[0].weight.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=1e-5 if dtype == torch.float64 else 0.06)
    by_hand = gradcam_by_hand(model, images, 1, model[1])
    np.testing.assert_allclose(by_hand, heatmaps(model, images, target=1, layer=model[1]), atol=1e-5)


def test_an_output_with_logits_is_read(model, images):
    expected = heatmaps(model, images, layer=model[1])
    wrapped = Wrapped(model, lambda logits: SimpleNamespace(logits=logits, loss=None))
    np.testing.assert_array_equal(heatmaps(wrapped, images, layer=model[1]), expected)


@pytest.mark.parametrize(
    ("form", "found"), [(lambda logits: (logits,), "tuple"), (lambda logits: logits[:, 0], r"\(1,\)")]
)
def test_an_output_without_logits_is_refused(model, images, form, found):
    with pytest.raises(ValueError, match=rf"Wrapped must return logits of shape \(n, n_classes\).*got {found}; wrap"):
        heatmaps(Wrapped(model, form), images, layer=model[1])


@pytest.mark.parametrize("method", METHODS)
def test_feature_maps_with_channels_last_give_the_same_maps(model, images, method):
    turned = ChannelsLast(model)
    found = heatmaps(turned, images, method=method, target=2, layer=turned.turned)
    assert found.max() > 0.9
    np.testing.assert_allclose(found, heatmaps(model, images, method=method, target=2, layer=model[1]), atol=1e-5)


def test_every_stage_of_a_swin_transformer_has_maps(images):
    torch.manual_seed(0)
    swin = SwinTransformer([4, 4], 16, [2, 2], [2, 4], window_size=[4, 4], num_classes=3)
    stem = swin.features[0][0]
    swin.features[0][0] = nn.Conv2d(1, stem.out_channels, kernel_size=4, stride=4)
    # 16 positions a side and 16 channels: only the LayerNorm says that channels are last
    for layer in (swin.features[0][2], swin.features[3], swin.norm):
        assert max(heatmaps(swin, images, method="layercam", target=c, layer=layer).max() for c in range(3)) > 0.9
        found = heatmaps(swin, images, target=1, layer=layer)
        np.testing.assert_allclose(gradcam_by_hand(swin, images, 1, layer), found, atol=1e-5)


def test_maps_of_a_swin_transformer_follow_the_image():
    """A bright square in one corner: the map stands out there, and turns with the image."""
    torch.manual_seed(0)
    swin = SwinTransformer([4, 4], 16, [2], [2], window_size=[4, 4], num_classes=2)
    swin.features[0][0] = nn.Conv2d(1, 16, kernel_size=4, stride=4)
    image = torch.zeros(1, 1, 64, 96, dtype=torch.uint8)
    image[..., 8:24, 64:88] = 255
    heat = heatmaps(swin, image, method="eigencam", layer=swin.features[1])[0]
    turned = heatmaps(swin, image.flip(3), method="eigencam", layer=swin.features[1])[0]
    assert heat.shape == (64, 96)
    inside = heat[10:22, 66:86].mean()
    assert abs(inside - np.r_[heat[32:].ravel()].mean()) > 0.3
    np.testing.assert_allclose(turned[:, ::-1], heat, atol=0.2)


def test_layers_that_work_in_place_do_not_change_what_was_recorded(images):
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3, stride=4, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 3)]
    apart, in_place = nn.Sequential(*layers), nn.Sequential(layers[0], nn.ReLU(inplace=True), *layers[2:])
    expected = heatmaps(apart, images, target=0, layer=layers[0])
    np.testing.assert_array_equal(heatmaps(in_place, images, target=0, layer=layers[0]), expected)
    np.testing.assert_allclose(gradcam_by_hand(in_place, images, 0, layers[0]), expected, atol=1e-5)


class Registers(nn.Module):
    """Eight-by-eight tokens after a class token and four registers, through a layer that takes keywords."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.patches, self.block, self.head = nn.Conv2d(1, 8, 8, stride=8), Keywords(), nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.block(hidden=nn.functional.pad(tokens, (0, 0, 5, 0))).square().mean(dim=1))


class Keywords(nn.Linear):
    def __init__(self):
        super().__init__(8, 8)

    def forward(self, *, hidden):
        return super().forward(hidden)


def test_registers_before_the_patches_and_keyword_arguments(images):
    model = Registers()
    found = heatmaps(model, images, target=1, layer=model.block)
    assert found.max() > 0.9
    np.testing.assert_allclose(gradcam_by_hand(model, images, 1, model.block), found, atol=1e-5)


def test_layers_without_gradients_are_refused_and_methods_without_gradients_are_not(model, images):
    cut = nn.Sequential(model[0], model[1], Wrapped(nn.Identity(), torch.Tensor.detach), model[2], model[3])
    with pytest.raises(ValueError, match="no gradient of the logits reaches layer ReLU"):
        heatmaps(cut, images, layer=model[1])
    assert heatmaps(cut, images, method="eigencam", layer=model[1]).any()
    assert not model[1]._forward_hooks and not model[1]._forward_pre_hooks


def test_what_cannot_be_explained_is_named(model, images):
    with pytest.raises(ValueError, match="last layer of Sequential that has positions is not known; give it as layer="):
        heatmaps(model, images)
    with pytest.raises(ValueError, match="Flatten has no weights"):
        heatmaps(nn.Flatten(), images, layer=model[1])
