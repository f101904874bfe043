"""The classifiers, by name, and their initial weights: the thesis's CNN, ResNet-18 and two vision transformers.

Each takes normalised float images of shape (n, 1, size, size) and returns logits of shape (n, n_classes). Nothing here
trains (:mod:`mri_aug.models.training` does) or normalises. torchvision is imported late: it takes seconds, and the CNN
does not need it.
"""

from __future__ import annotations

import copy
import importlib
import math
import pickle
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE

ARCHITECTURES = ("cnn", "resnet18", "vit_b_16", "vit_tiny")
PATCH_SIZE = 16  # pixels, of both transformers
IMAGENET_CLASSES = 1000
_IMAGENET = {"resnet18": "ResNet18_Weights", "vit_b_16": "ViT_B_16_Weights"}  # torchvision's, by architecture
# the first and the last layer
_ENDS = {"cnn": ("features.0", "head"), "resnet18": ("conv1", "fc"), "vit": ("conv_proj", "heads.head")}
_POSITIONS = "encoder.pos_embedding"


class CNN(nn.Module):
    """The thesis's network (chapter 5.4): two convolutions, each with ReLU and pooling, and two hidden layers.

    Adam moves every weight by about the learning rate, so a unit with many inputs moves most. The rates are therefore
    scaled by layer, in the spirit of Yang et al. (2022, arXiv 2203.03466): lower for the 32,768 inputs of the first
    hidden layer (8,192 at 64 pixels, under the same factors), higher for the convolutions. Expect a test cross-entropy
    of 0.03 to 0.07 on the thesis's images, by split (image protocol, all 5,120 training images, 14 epochs).
    """

    # by prefix of a parameter's name; 1 for the others
    learning_rate_factors: ClassVar[dict[str, float]] = {"features": 2.0, "hidden.1.weight": 0.3}
    part_size = 16  # images that pass the convolutions together in training on a processor

    def __init__(self, *, n_classes: int, image_size: int = IMAGE_SIZE):
        super().__init__()
        # ReLU comes after pooling, not before it: the maximum of rectified values is the rectified maximum, so the
        # function is the same, with a quarter of the values to rectify and to keep for the backward pass.
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(32 * (image_size // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.head = nn.Linear(64, n_classes)
        # He et al. (2015), eq. 10. PyTorch's own default is smaller by a factor of sqrt(6) and needs more epochs.
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of normalised images (n, 1, size, size)."""
        # Parts of a batch stay in a processor's cache from layer to layer, forward and backward, and take a tenth less
        # memory (measured in benchmarks). A GPU gains nothing by it, and in evaluation a hook, such as Grad-CAM's, must
        # see all images at once.
        in_parts = self.training and images.device.type == "cpu"
        parts = images.split(self.part_size) if in_parts else [images]
        return self.head(self.hidden(torch.cat([self.features(part) for part in parts])))


def make_model(
    architecture: str, *, n_classes: int = 4, weights: str | Path = "none", seed: int, image_size: int = IMAGE_SIZE
) -> nn.Module:
    """Build a classifier, in training mode on the processor; the arguments determine all its initial weights.

    Parameters
    ----------
    architecture : str
        One of ``ARCHITECTURES``. Parameters at four classes: ``cnn`` 4.2 million, ``resnet18`` 11.2 million,
        ``vit_b_16`` 85.3 million, ``vit_tiny`` 2.7 million (six layers of width 192 and three heads, half the depth
        of DeiT-Ti, Touvron et al. 2021).
    n_classes : int, default 4
    weights : str or Path, default "none"
        ``"none"``; ``"imagenet"`` (torchvision's first version, which is downloaded once; ``resnet18`` and
        ``vit_b_16`` only); ``"phantom"``, see :func:`mri_aug.models.phantom_weights.phantom_weights`; or the path of a
        state dict saved by ``torch.save``: one of this function's models or torchvision's for ImageNet.
    seed : int
        Of the weights that are not loaded. The global random state is neither used nor changed.
    image_size : int, default 128
        Height and width in pixels; a multiple of 16 for the transformers and of 4 for ``cnn``. At 64 ``cnn`` has 1.1
        million parameters and the transformers see 16 patches in place of 64.

    Raises
    ------
    ValueError
        If the architecture or its weights are unknown, the size is unsuitable, or a file is no state dict or does not
        fit the network.
    FileNotFoundError
        If there is no such file.
    ConnectionError
        If the ImageNet weights cannot be fetched.

    Notes
    -----
    A file is read as plain tensors, so it cannot run code, and what does not fit is an error. Only the head of
    ImageNet's 1000 classes or the four grades of ``"phantom"`` may differ: a model of other classes keeps its own.
    A first layer for three channels is summed over them, which gives for a grey image what the original gives for that
    image repeated. Position embeddings of another image size are interpolated (bicubic).
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}; choose one of: {', '.join(ARCHITECTURES)}")
    multiple = {"cnn": 4, "resnet18": 1}.get(architecture, PATCH_SIZE)
    if image_size < multiple or image_size % multiple:
        raise ValueError(f"image_size of {architecture} must be a multiple of {multiple}, got {image_size}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would reseed the GPUs too
        model = _build(architecture, n_classes, image_size)
    if str(weights) != "none":
        _load_weights(model, architecture, weights, image_size)
    return model


def highest_learning_rate(architecture: str, weights: str | Path = "none", *, fine_tune: str = "all") -> float:
    """Return the highest peak rate of Adam at which an architecture learns well; a study caps its own at it.

    Measured by training accuracy on phantom slices of 128 pixels. ``resnet18`` on 176: 83 % after 5 passes at 3e-3, 98
    % after 4 at 1e-3. ``vit_tiny`` on 86 in batches of 8: at 3e-4 some initial weights do not learn (98 and 77 % for
    two seeds after 35 passes, 99 and 70 % after 75), at 1e-4 all of six do (88 to 99 % after 50). ``vit_b_16`` on 200
    in batches of 8: at 1e-4 the loss reaches 1.18, as from the classes' shares alone, and stays there (1.17 after 24
    passes); at 2e-5 it is 1.08 after 6 passes, 0.38 after 30 (accuracy 90 %) and 0.17 after 50 (100 %). At 64 pixels,
    on 200 slices in batches of 8, the same rates reach 99.5 % (``cnn``, 6 passes at 3e-3), 100 % (``resnet18``, 5) and
    100 % (``vit_tiny``, 36).

    The CNN from random weights and a head on frozen features learn at any rate that a study uses. The rates for loaded
    weights, which should change little, are choices: 5e-4 for the CNN and 1e-4 for the others.
    """
    if fine_tune == "head":
        return math.inf
    if str(weights) != "none":
        return 5e-4 if architecture == "cnn" else 1e-4
    return {"cnn": math.inf, "resnet18": 1e-3, "vit_b_16": 2e-5}.get(architecture, 1e-4)


def parameter_groups(model: nn.Module, learning_rate: float) -> list[dict[str, object]]:
    """Return a model's parameters in groups for an optimiser, each at a peak rate by its ``learning_rate_factors``."""
    factors = getattr(model, "learning_rate_factors", {})
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = next((value for prefix, value in factors.items() if name.startswith(prefix)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "lr": learning_rate * factor} for factor, parameters in groups.items()]


def backbone_and_head(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Split a model of :func:`make_model`, so that ``head(backbone(images))`` is ``model(images)``.

    Features have the shape (n, d): d is 64 for ``cnn``, 512 for ``resnet18``, 768 for ``vit_b_16`` and 192 for
    ``vit_tiny``. Both parts share their weights with the model, which is left as it is.
    """
    name = _ENDS[_family(model)][1].split(".")[0]
    backbone = copy.copy(model)
    # A shallow copy shares the table of layers with the original, and needs its own before one is replaced.
    backbone._modules = dict(model._modules)
    setattr(backbone, name, nn.Identity().train(model.training))
    return backbone, getattr(model, name)


def freeze_backbone(model: nn.Module) -> nn.Module:
    """Exclude all weights but the head's from training, in place, and return the model.

    Batch normalisation keeps updating its running statistics in training mode; call ``backbone.eval()`` to stop it.
    """
    backbone, head = backbone_and_head(model)
    backbone.requires_grad_(False)
    head.requires_grad_(True)
    return model


def target_layer(model: nn.Module) -> nn.Module:
    """Return the layer whose output Grad-CAM weighs: the last that still has positions.

    At 128 pixels its map is 32 x 32 for ``cnn``, 4 x 4 for ``resnet18``, and 8 x 8 patches (after the class token, in
    a sequence of shape (n, 65, d)) for the transformers, where it is the last block's first normalisation: beyond
    that block's attention only the class token reaches the head. At 64 pixels its sides are half as long.
    """
    family = _family(model)
    if family == "vit":
        return model.encoder.layers[-1].ln_1
    return model.features[-1] if family == "cnn" else model.layer4[-1]


def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """Return the number of a model's parameters, or of those that training would change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def _build(architecture: str, n_classes: int, image_size: int) -> nn.Module:
    if architecture == "cnn":
        return CNN(n_classes=n_classes, image_size=image_size)
    from torchvision.models import VisionTransformer, resnet18, vit_b_16

    if architecture == "resnet18":
        model = resnet18(weights=None, num_classes=n_classes)
        model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        return model
    if architecture == "vit_b_16":
        model = vit_b_16(weights=None, image_size=image_size, num_classes=n_classes)
    else:
        model = VisionTransformer(
            image_size, PATCH_SIZE, num_layers=6, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=n_classes
        )
    model.conv_proj = nn.Conv2d(1, model.hidden_dim, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)
    nn.init.trunc_normal_(model.conv_proj.weight, std=1 / PATCH_SIZE)  # as torchvision: one over the root of fan-in
    nn.init.zeros_(model.conv_proj.bias)
    return model


def _family(model: nn.Module) -> str:
    if isinstance(model, CNN):
        return "cnn"
    from torchvision.models import ResNet, VisionTransformer

    for kind, name in ((ResNet, "resnet18"), (VisionTransformer, "vit")):
        if isinstance(model, kind):
            return name
    raise ValueError(f"expected a model made by make_model ({', '.join(ARCHITECTURES)}), got {type(model).__name__}")


def _load_weights(model: nn.Module, architecture: str, weights: str | Path, image_size: int) -> None:
    foreign_classes = IMAGENET_CLASSES
    if str(weights) == "phantom":
        # by name: it builds and trains a network of this module
        maker = importlib.import_module("mri_aug.models.phantom_weights")
        state, foreign_classes = maker.phantom_weights(architecture, image_size=image_size), len(CLASS_NAMES)
    else:
        state = _fetch(architecture) if str(weights) == "imagenet" else _read(Path(weights))
    own = model.state_dict()
    first, last = _ENDS[_family(model)]
    first, last, bias = f"{first}.weight", f"{last}.weight", f"{last}.bias"
    if first in state and state[first].ndim == 4 and state[first].shape[1] == 3:
        state[first] = state[first].sum(1, keepdim=True)
    if _POSITIONS in own and _POSITIONS in state and own[_POSITIONS].shape[1] != state[_POSITIONS].shape[1]:
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = dict(interpolate_embeddings(image_size, PATCH_SIZE, state))
    if bias in state and len(own[bias]) != len(state[bias]) == foreign_classes:
        state[last], state[bias] = own[last], own[bias]
    lacking, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if lacking or foreign:
        raise ValueError(
            f"{weights} does not fit {architecture}: it lacks {len(lacking)} tensors (such as {lacking[:2]}) and has "
            f"{len(foreign)} others (such as {foreign[:2]}); give weights of the same architecture"
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{weights} does not fit {architecture}: {name} has shape {tuple(state[name].shape)} in the file and "
                f"{tuple(tensor.shape)} in the model; check n_classes and image_size"
            )
    model.load_state_dict(state)


def _fetch(architecture: str) -> dict[str, Tensor]:
    if architecture not in _IMAGENET:
        raise ValueError(f"there are no ImageNet weights for {architecture!r}, only for: {', '.join(_IMAGENET)}")
    from torchvision import models

    entry = getattr(models, _IMAGENET[architecture]).IMAGENET1K_V1
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, no room, or a download whose hash is wrong
        raise ConnectionError(
            f"ImageNet weights for {architecture} could not be fetched from {entry.url} ({error}); download that file "
            'where there is a network and give its path: weights="path/to/state_dict.pth"'
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f'no weights file {str(path)!r}; give "none", "imagenet" or the path of a state dict')
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a state dict of tensors; save model.state_dict() by torch.save") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict (names of tensors); save model.state_dict() by torch.save")
    return dict(state)
