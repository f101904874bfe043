"""Heat maps of what a network looks at, for one class at a time.

The maps come from pytorch-grad-cam; :func:`gradcam_by_hand` writes the three steps of chapter 3 from their
equations. Nothing here trains a network, draws a picture or judges a map: see :mod:`mri_aug.localisation`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.gradcam.methods import METHODS, channels_last
from mri_aug.models.networks import target_layer


def heatmaps(
    model: nn.Module,
    images: Tensor,
    *,
    method: str = "gradcam",
    target: int | Sequence[int] | Tensor | None = None,
    layer: nn.Module | None = None,
    mean: float = 0.0,
    std: float = 1.0,
    batch_size: int = 16,
) -> NDArray[np.float32]:
    """Return one class activation map per image, at the image's size.

    Each map is scaled to [0, 1] by itself: maps can be compared in shape, not in strength. A map that is zero
    everywhere, because nothing in the layer speaks for the class, stays zero. The model is left as it was found.

    Parameters
    ----------
    model : nn.Module
        Maps normalised images (n, 1, 128, 128) to logits (n, n_classes).
    images : Tensor of uint8, shape (n, 1, 128, 128)
    method : str
        A name of :data:`mri_aug.gradcam.methods.METHODS`.
    target : int or sequence of int of length n, optional
        The class that is asked about, for all images or for each; by default the predicted one.
    layer : nn.Module, optional
        Its output must be feature maps (n, channels, height, width) or the tokens (n, tokens, channels) of a square
        grid, with or without a class token before them. By default the architecture's last such layer.
    mean, std : float
        What the model's inputs are normalised by, of pixels in [0, 1].
    batch_size : int
        Bounds the memory, not the result. At 16 the CNN's feature maps are small enough for the C library to use again;
        larger batches are slower.

    Returns
    -------
    ndarray of float32, shape (n, 128, 128), in [0, 1]

    Raises
    ------
    TypeError, ValueError
        If the images have another type or shape, the method is unknown, a class is out of range, or the layer's
        output has no spatial grid.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    check_images(images)
    if not len(images):
        return np.zeros((0, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    layer = target_layer(model) if layer is None else layer
    with _undisturbed(model):
        inputs = _normalise(model, images, mean, std)
        reshape, n_classes = _probe(model, layer, inputs[:1])
        classes = _classes(target, len(images), n_classes)
        return _library_maps(METHODS[method], model, layer, reshape, inputs, classes, batch_size)


def gradcam_by_hand(
    model: nn.Module,
    images: Tensor,
    target: int | Sequence[int] | Tensor,
    layer: nn.Module,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> NDArray[np.float32]:
    """Return Grad-CAM maps by the three steps of chapter 3 (Selvaraju et al. 2017, eq. 1 and 2).

    The same maps as ``heatmaps(..., method="gradcam")`` to 1e-5, in one batch; parameters and errors are those of
    :func:`heatmaps`.
    """
    check_images(images)
    with _undisturbed(model):
        inputs = _normalise(model, images, mean, std).requires_grad_()
        reshape, n_classes = _probe(model, layer, inputs[:1])
        classes = _classes(target, len(images), n_classes)
        output, scores = _forward(model, layer, inputs)
        # 1. the gradients of the class's score, before softmax, with respect to the feature maps A^k
        chosen = scores.gather(1, classes[:, None].to(scores.device)).sum()
        (gradients,) = torch.autograd.grad(chosen, output)
        feature_maps, gradients = reshape(output), reshape(gradients)
        # 2. each map's weight is the average of its gradients over all Z positions
        alpha = gradients.mean(dim=(2, 3), keepdim=True)
        # 3. the positive part of the weighted sum, brought to the image's size
        maps = functional.relu((alpha * feature_maps).sum(dim=1, keepdim=True)).detach()
        maps = functional.interpolate(maps, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[:, 0]
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return (maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)).cpu().numpy()


def map_grid(model: nn.Module, images: Tensor, *, layer: nn.Module | None = None) -> int:
    """Return how many positions a layer's output has along a side, before it is enlarged to the image's size.

    32 for ``cnn``, 4 for ``resnet18``, 8 for the transformers; parameters and errors are those of :func:`heatmaps`.
    """
    check_images(images)
    layer = target_layer(model) if layer is None else layer
    with _undisturbed(model), torch.no_grad():
        inputs = _normalise(model, images[:1], 0.0, 1.0)
        reshape, _ = _probe(model, layer, inputs)
        return reshape(_forward(model, layer, inputs)[0]).shape[-1]


def check_images(images: Tensor) -> None:
    """Raise TypeError or ValueError unless ``images`` is a uint8 tensor of shape (n, 1, 128, 128)."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a tensor of uint8, as in ImageSet.images, got {kind}")
    if images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"images must have shape (n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}), got {tuple(images.shape)}")


def _normalise(model: nn.Module, images: Tensor, mean: float, std: float) -> Tensor:
    if not std > 0:
        raise ValueError(f"std must be positive, got {std!r}")
    device = next(model.parameters()).device
    return channels_last(images.to(device).to(torch.float32).div_(255).sub_(mean).div_(std))


def _classes(target, n: int, n_classes: int) -> Tensor | None:
    """Return the class asked about for each image, int64 of shape (n,), or None for the predicted ones."""
    if target is None:
        return None
    classes = torch.as_tensor(target)
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise TypeError(f"target must hold whole numbers, got {classes.dtype}")
    if classes.ndim == 0:
        classes = classes.expand(n)
    if tuple(classes.shape) != (n,):
        raise ValueError(f"target must be one class or one for each of the {n} images, got {tuple(classes.shape)}")
    if n and not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ValueError(f"target must lie in 0..{n_classes - 1}, got {sorted(set(classes.tolist()))}")
    return classes.long()


def _probe(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return the function that turns the layer's output into feature maps, and the number of classes."""
    with torch.no_grad():
        output, logits = _forward(model, layer, inputs)
    shape = tuple(output.shape)
    if len(shape) == 4 and min(shape[2:]) > 1:
        return (lambda maps: maps), logits.shape[1]
    if len(shape) == 3:
        side = int(shape[1] ** 0.5)  # a square grid, or one token more: the class token
        if side > 1 and shape[1] - side**2 in (0, 1):
            return (lambda tokens: tokens[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))), logits.shape[1]
    raise ValueError(
        f"layer {type(layer).__name__} gives an output of shape {shape}, which has no spatial grid; choose a layer of "
        "feature maps (n, channels, height, width) or of tokens (n, tokens, channels) on a square grid"
    )


def _forward(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's output and the logits."""
    outputs = []
    handle = layer.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    try:
        logits = model(inputs)
    finally:
        handle.remove()
    if not outputs or not isinstance(outputs[0], Tensor):
        raise ValueError(f"layer {type(layer).__name__} is no part of the model that gives a tensor; choose another")
    return outputs[0], logits


def _library_maps(kind, model, layer, reshape, inputs, classes, batch_size) -> NDArray[np.float32]:
    """Return the library's maps, with its hooks removed afterwards."""
    cam = kind(model=model, target_layers=[layer], reshape_transform=reshape)
    start_here = layer.register_forward_pre_hook(_start_gradients)
    maps = []
    try:
        for start in range(0, len(inputs), batch_size):
            part = slice(start, start + batch_size)
            targets = None if classes is None else [ClassifierOutputTarget(int(c)) for c in classes[part]]
            maps.append(cam(input_tensor=inputs[part], targets=targets))
    finally:
        cam.activations_and_grads.release()
        start_here.remove()
    return np.clip(np.concatenate(maps), 0, 1, dtype=np.float32)


def _start_gradients(layer: nn.Module, inputs: tuple) -> tuple:
    """Record gradients from this layer on only: what lies before it costs a forward pass and no backward one."""
    # cloned, since a layer that works in place may not write to where gradients end
    return tuple(x.detach().requires_grad_().clone() if isinstance(x, Tensor) else x for x in inputs)


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode with frozen weights, and restore modes, flags and gradients afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag, gradient in parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
