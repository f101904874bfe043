"""Initial weights from a file or from torchvision, fitted to grey images of our size.

A file is read as plain tensors (``weights_only``), so it cannot run code. Apart from a head of ImageNet's or
phantoms' classes, nothing is loaded in part: what does not fit is an error.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ViT_B_16_Weights
from torchvision.models.vision_transformer import interpolate_embeddings

from mri_aug.data.imageset import CLASS_NAMES

IMAGENET_CLASSES = 1000
_IMAGENET = {"resnet18": ResNet18_Weights.IMAGENET1K_V1, "vit_b_16": ViT_B_16_Weights.IMAGENET1K_V1}
_FIRST = {"cnn": "features.0.weight", "resnet18": "conv1.weight"}  # the rest are transformers: conv_proj.weight
_LAST = {"cnn": "head", "resnet18": "fc"}  # the rest: heads.head
_POSITIONS = "encoder.pos_embedding"


def load_weights(model: nn.Module, architecture: str, weights: str | Path, *, image_size: int) -> None:
    """Copy weights into a model, in place.

    A first layer for three channels is summed over them, which gives for a grey image what the original gives for
    that image repeated. Position embeddings of another image size are interpolated (bicubic, torchvision's
    ``interpolate_embeddings``). A head of ImageNet's 1000 classes is skipped, unless the model has as many, and so is
    the head of four grades of ``"phantom"``: the model then keeps its own first weights there.

    Parameters
    ----------
    model : nn.Module
        Of that architecture, for one channel.
    architecture : str
        One of :data:`mri_aug.models.networks.ARCHITECTURES`.
    weights : str or Path
        ``"imagenet"``; ``"phantom"``, see :func:`mri_aug.models.phantom_weights.phantom_weights`; or the path of a
        state dict.
    image_size : int
        The model's, in pixels.

    Raises
    ------
    ValueError
        If the architecture has no ImageNet weights, or the file is no state dict or does not fit.
    FileNotFoundError
        If there is no such file.
    ConnectionError
        If the ImageNet weights cannot be fetched.
    """
    if str(weights) == "phantom":
        # by name: it builds and trains a network, and networks are started from here
        maker = importlib.import_module("mri_aug.models.phantom_weights")
        state, foreign_classes = maker.phantom_weights(architecture, image_size=image_size), len(CLASS_NAMES)
    else:
        state = _fetch(architecture) if str(weights) == "imagenet" else _read(Path(weights))
        foreign_classes = IMAGENET_CLASSES
    fitted = _fit(state, model, architecture, image_size, foreign_classes)
    _load_fitted(model, architecture, fitted, source=weights)


def _fetch(architecture: str) -> dict[str, Tensor]:
    if architecture not in _IMAGENET:
        raise ValueError(f"there are no ImageNet weights for {architecture!r}, only for: {', '.join(_IMAGENET)}")
    entry = _IMAGENET[architecture]
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


def _fit(
    state: dict[str, Tensor], model: nn.Module, architecture: str, image_size: int, foreign_classes: int
) -> dict[str, Tensor]:
    own = model.state_dict()
    first = _FIRST.get(architecture, "conv_proj.weight")
    if first in state and state[first].ndim == 4 and state[first].shape[1] == 3:
        state[first] = state[first].sum(1, keepdim=True)
    if _POSITIONS in own and _POSITIONS in state and own[_POSITIONS].shape[1] != state[_POSITIONS].shape[1]:
        state = dict(interpolate_embeddings(image_size, own["conv_proj.weight"].shape[-1], state))
    last = _LAST.get(architecture, "heads.head")
    bias = f"{last}.bias"
    if bias in state and len(own[bias]) != len(state[bias]) == foreign_classes:
        state[f"{last}.weight"], state[bias] = own[f"{last}.weight"], own[bias]
    return state


def _load_fitted(model: nn.Module, architecture: str, state: dict[str, Tensor], *, source: str | Path) -> None:
    own = model.state_dict()
    lacking, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    differing = [name for name in own if name in state and own[name].shape != state[name].shape]
    if lacking or foreign:
        raise ValueError(
            f"{source} does not fit {architecture}: it lacks {len(lacking)} tensors (such as {lacking[:2]}) and has "
            f"{len(foreign)} others (such as {foreign[:2]}); give weights of the same architecture"
        )
    if differing:
        name = differing[0]
        raise ValueError(
            f"{source} does not fit {architecture}: {name} has shape {tuple(state[name].shape)} in the file and "
            f"{tuple(own[name].shape)} in the model; check n_classes and image_size"
        )
    model.load_state_dict(state)
