from __future__ import annotations

import copy
import math
from functools import cache
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet18
from torchvision.models.vision_transformer import interpolate_embeddings

from mri_aug.models import networks as models
from mri_aug.models.networks import (
    ARCHITECTURES,
    backbone_and_head,
    count_parameters,
    freeze_backbone,
    highest_learning_rate,
    make_model,
    parameter_groups,
    target_layer,
)

LIGHT = ("cnn", "resnet18", "vit_tiny")  # vit_b_16 takes seconds to build
FEATURES = {"cnn": 64, "resnet18": 512, "vit_tiny": 192, "vit_b_16": 768}


@cache
def built(architecture: str) -> nn.Module:
    """Return the network of seed 0, built once: read it, and change only a deep copy."""
    return make_model(architecture, seed=0).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 1, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def imagenet_resnet18():
    """A stand-in for torchvision's file: its layout, its own weights, running statistics that are not trivial."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = resnet18(weights=None)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def shallow_vit_b_16(*, weights=None, image_size=224, num_classes=1000) -> VisionTransformer:
    """Stand in for torchvision's function: the same network with one of its twelve blocks."""
    return VisionTransformer(image_size, 16, 1, 12, 768, 3072, num_classes=num_classes)


@pytest.mark.parametrize("architecture", LIGHT)
def test_logits_and_features(architecture, images):
    model = make_model(architecture, n_classes=5, seed=0).eval()
    for parameter in model.parameters():  # torchvision's transformers begin with a head of zeros
        nn.init.trunc_normal_(parameter, std=0.05) if parameter.ndim > 1 else None
    backbone, head = backbone_and_head(model)
    with torch.no_grad():
        logits, features = model(images), backbone(images)
        assert logits.shape == (3, 5) and features.shape == (3, FEATURES[architecture])
        assert torch.equal(head(features), logits) and logits.std() > 0
    assert {id(p) for part in (backbone, head) for p in part.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("architecture", LIGHT)
def test_seed_determines_the_weights_and_leaves_the_global_state(architecture):
    state = torch.get_rng_state()
    first, (second, other) = built(architecture), (make_model(architecture, seed=seed) for seed in (0, 2))
    first, second, other = (model.state_dict() for model in (first, second, other))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("architecture", LIGHT)
def test_every_weight_is_reached_by_the_gradient(architecture, images):
    model = copy.deepcopy(built(architecture)).train()
    _, head = backbone_and_head(model)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    model(images).square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for name, p in model.named_parameters() if "bias" not in name
    )


def test_cnn_is_the_function_of_chapter_5(images):
    model = built("cnn")
    conv1, _, _, conv2, _, _ = model.features
    _, hidden1, _, hidden2, _ = model.hidden
    x = nn.functional.max_pool2d(conv1(images).relu(), 2)
    x = nn.functional.max_pool2d(conv2(x).relu(), 2)
    expected = model.head(hidden2(hidden1(x.flatten(1)).relu()).relu())
    torch.testing.assert_close(model(images), expected)
    layers = [tuple(p.shape) for p in model.parameters() if p.ndim > 1]
    assert layers == [(16, 1, 3, 3), (32, 16, 3, 3), (128, 32768), (64, 128), (4, 64)]


def test_cnn_learns_the_same_from_a_batch_in_parts(images):
    model = copy.deepcopy(built("cnn"))
    batch = images.repeat(7, 1, 1, 1) + torch.arange(21)[:, None, None, None] / 10
    expected = torch.autograd.grad(model.eval()(batch).square().sum(), list(model.parameters()))
    calls = []
    model.features.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    found = torch.autograd.grad(model.train()(batch).square().sum(), list(model.parameters()))
    assert calls == [16, 5]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "millions"), [("cnn", 4.21), ("resnet18", 11.17), ("vit_tiny", 2.73), ("vit_b_16", 85.3)]
)
def test_sizes_that_the_docstring_states(architecture, millions):
    with torch.device("meta"):  # shapes without values
        model = models._build(architecture, 4, 128)
    assert count_parameters(model) / 1e6 == pytest.approx(millions, rel=0.01)
    if architecture == "vit_b_16":
        assert target_layer(model) is model.encoder.layers[11].ln_1


@pytest.mark.parametrize("architecture", LIGHT)
def test_head_only_training_changes_the_head_alone(architecture, images):
    model = freeze_backbone(copy.deepcopy(built(architecture)))
    backbone, head = backbone_and_head(model)
    assert count_parameters(model, trainable=True) == count_parameters(head) == FEATURES[architecture] * 4 + 4
    model(images).sum().backward()
    assert all(p.grad is None for p in backbone.parameters()) and all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize(
    ("architecture", "shape"), [("cnn", (3, 32, 32, 32)), ("resnet18", (3, 512, 4, 4)), ("vit_tiny", (3, 65, 192))]
)
def test_target_layer_has_positions(architecture, shape, images):
    model, seen = built(architecture), []
    hook = target_layer(model).register_forward_hook(lambda layer, given, output: seen.append(tuple(output.shape)))
    model(images)
    hook.remove()
    assert seen == [shape]


@pytest.mark.parametrize(
    ("architecture", "shape"), [("cnn", (3, 32, 16, 16)), ("resnet18", (3, 512, 2, 2)), ("vit_tiny", (3, 17, 192))]
)
def test_networks_at_64_pixels(architecture, shape, images):
    model, seen = make_model(architecture, seed=0, image_size=64).eval(), []
    target_layer(model).register_forward_hook(lambda layer, given, output: seen.append(tuple(output.shape)))
    assert model(images[..., ::2, ::2]).shape == (3, 4) and seen == [shape]


@pytest.mark.parametrize("architecture", LIGHT)
def test_own_weights_come_back(architecture, images, tmp_path):
    trained = make_model(architecture, seed=3).eval()
    for parameter in backbone_and_head(trained)[1].parameters():
        nn.init.normal_(parameter)
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    loaded = make_model(architecture, weights=str(tmp_path / "own.pth"), seed=4).eval()
    torch.testing.assert_close(loaded(images), trained(images), rtol=0, atol=0)


def test_imagenet_resnet18_sees_grey_as_it_saw_three_equal_channels(imagenet_resnet18, images, tmp_path):
    torch.save(imagenet_resnet18.state_dict(), tmp_path / "resnet18.pth")
    model = make_model("resnet18", weights=tmp_path / "resnet18.pth", seed=0).eval()
    assert torch.equal(model.conv1.weight, imagenet_resnet18.conv1.weight.sum(1, keepdim=True))
    assert model.fc.out_features == 4 and torch.equal(model.fc.weight, built("resnet18").fc.weight)
    features = backbone_and_head(imagenet_resnet18)[0](images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(backbone_and_head(model)[0](images), features, rtol=1e-3, atol=1e-4)
    whole = make_model("resnet18", n_classes=1000, weights=tmp_path / "resnet18.pth", seed=0)
    assert torch.equal(whole.fc.weight, imagenet_resnet18.fc.weight)


def test_imagenet_vit_keeps_its_features_at_128_pixels(images, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.models.vit_b_16", shallow_vit_b_16)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        at_224, at_128 = shallow_vit_b_16().eval(), shallow_vit_b_16(image_size=128).eval()
    torch.save(at_224.state_dict(), tmp_path / "vit_b_16.pth")
    model = make_model("vit_b_16", weights=tmp_path / "vit_b_16.pth", seed=0).eval()
    at_128.load_state_dict(interpolate_embeddings(128, 16, at_224.state_dict()))
    assert at_224.encoder.pos_embedding.shape == (1, 197, 768) and model.encoder.pos_embedding.shape == (1, 65, 768)
    assert torch.equal(model.encoder.pos_embedding, at_128.encoder.pos_embedding)
    with torch.no_grad():
        backbone, head = backbone_and_head(model)
        expected = backbone_and_head(at_128)[0](images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(backbone(images), expected, rtol=1e-3, atol=1e-4)
        assert torch.equal(head(backbone(images)), model(images)) and model(images).shape == (3, 4)


@pytest.mark.parametrize("failure", [URLError("no network"), RuntimeError('invalid hash value (expected "f37072fd")')])
def test_weights_that_cannot_be_fetched(failure, monkeypatch):
    def fail(*_, **options):
        assert options["check_hash"]
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(
        ConnectionError, match=r"resnet18 could not be fetched.*resnet18-f37072fd.pth.*path/to/state_dict"
    ):
        make_model("resnet18", weights="imagenet", seed=0)


def test_weights_that_are_fetched(imagenet_resnet18, monkeypatch):
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: imagenet_resnet18.state_dict()
    )
    model = make_model("resnet18", weights="imagenet", seed=0)
    assert torch.equal(model.layer1[0].conv1.weight, imagenet_resnet18.layer1[0].conv1.weight)


@pytest.mark.parametrize("architecture", ["cnn", "vit_tiny"])
def test_no_imagenet_weights(architecture):
    with pytest.raises(ValueError, match=f"no ImageNet weights for '{architecture}', only for: resnet18, vit_b_16"):
        make_model(architecture, weights="imagenet", seed=0)


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match="no weights file .*weights.pth"):
        make_model("cnn", weights=path, seed=0)
    path.write_bytes(b"not a state dict")
    with pytest.raises(ValueError, match="weights.pth is not a state dict"):
        make_model("cnn", weights=path, seed=0)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="weights.pth holds no state dict"):
        make_model("cnn", weights=path, seed=0)
    three = built("cnn").state_dict() | {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}
    torch.save(three, path)
    with pytest.raises(ValueError, match=r"head.weight has shape \(3, 64\) in the file and \(4, 64\) in the model"):
        make_model("cnn", weights=path, seed=0)
    with pytest.raises(ValueError, match=r"does not fit resnet18: it lacks 122 tensors \(such as \['bn1.bias'"):
        make_model("resnet18", weights=path, seed=0)


def test_a_file_cannot_run_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    torch.save({"weight": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth is not a state dict"):
        make_model("cnn", weights=tmp_path / "bad.pth", seed=0)


def test_unknown_names_and_sizes():
    with pytest.raises(
        ValueError, match="unknown architecture 'vit'; choose one of: cnn, resnet18, vit_b_16, vit_tiny"
    ):
        make_model("vit", seed=0)
    with pytest.raises(ValueError, match="image_size of vit_tiny must be a multiple of 16, got 100"):
        make_model("vit_tiny", seed=0, image_size=100)
    for ask in (target_layer, backbone_and_head):
        with pytest.raises(ValueError, match="expected a model made by make_model .* got Linear"):
            ask(nn.Linear(2, 2))
    assert set(FEATURES) == set(ARCHITECTURES)


def test_loaded_weights_learn_more_slowly():
    rates = {name: highest_learning_rate(name) for name in ARCHITECTURES}
    assert rates == {"cnn": math.inf, "resnet18": 1e-3, "vit_b_16": 2e-5, "vit_tiny": 1e-4}
    loaded = [highest_learning_rate(name, "phantom") for name in ("cnn", "resnet18", "vit_tiny")]
    assert loaded == [5e-4, 1e-4, 1e-4] and highest_learning_rate("cnn", "phantom", fine_tune="head") == math.inf


def test_every_parameter_is_in_one_group_at_its_own_rate():
    model = built("cnn")
    groups = parameter_groups(model, 0.01)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(list(model.parameters()))
    assert rates[id(model.features[0].weight)] == pytest.approx(0.02)
    assert rates[id(model.hidden[1].weight)] == pytest.approx(0.003)
    assert rates[id(model.hidden[1].bias)] == rates[id(model.head.weight)] == pytest.approx(0.01)
    assert [group["lr"] for group in parameter_groups(nn.Linear(2, 2), 0.01)] == [0.01]
