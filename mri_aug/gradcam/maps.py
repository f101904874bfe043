"""Class activation maps of a network, for one class at a time.

The maps come from pytorch-grad-cam; :func:`gradcam_by_hand` computes them from the equations of chapter 3.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytorch_grad_cam
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from mri_aug.models.networks import target_layer

# Measured for 24 images on the thesis's CNN (one core): 0.1 s, but 0.7 s for Eigen-CAM and 2.8 s for Score-CAM.
METHODS: Mapping[str, type[pytorch_grad_cam.base_cam.BaseCAM]] = MappingProxyType(
    {
        "gradcam": pytorch_grad_cam.GradCAM,  # Selvaraju et al. 2017
        "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,  # Chattopadhay et al. 2018
        "hirescam": pytorch_grad_cam.HiResCAM,  # Draelos and Carin 2020
        "eigencam": pytorch_grad_cam.EigenCAM,  # Muhammad and Yeasin 2020; does not depend on the class
        "layercam": pytorch_grad_cam.LayerCAM,  # Jiang et al. 2021
        "scorecam": pytorch_grad_cam.ScoreCAM,  # Wang et al. 2020; one forward pass per feature map
    }
)
Target = int | Sequence[int] | Tensor  # a class, for all images or for each
_MOST_EXTRA_TOKENS = 5  # before the patches: a class token, one of distillation, or four registers


def heatmaps(
    model: nn.Module,
    images: Tensor,
    *,
    method: str = "gradcam",
    target: Target | None = None,
    layer: nn.Module | None = None,
    mean: float = 0.0,
    std: float = 1.0,
    batch_size: int = 16,
) -> NDArray[np.float32]:
    """Return one class activation map per image, at the image's size: float32 (n, height, width).

    Each map is scaled to [0, 1] on its own, so maps can be compared in shape but not in strength; one that is zero
    everywhere, because nothing in the layer supports the class, stays zero. The model keeps its modes, flags and
    gradients. Maps have the precision of its weights, whatever ``no_grad``, ``inference_mode`` or ``autocast``
    surrounds the call.

    TypeError or ValueError if images have another type or shape, the method is unknown, a class is out of range, the
    layer's output has no spatial grid or does not lead to the logits, or the model returns no logits.

    Parameters
    ----------
    model : nn.Module
        Maps normalised images (n, 1, height, width) to logits (n, n_classes), or to an object with such ``logits``.
    images : Tensor of uint8, shape (n, 1, height, width)
    method : str
        A name of :data:`METHODS`.
    target : int or sequence of int of length n, optional
        The class to explain, for all images or for each; by default the predicted one.
    layer : nn.Module, optional
        Its output must be feature maps, (n, channels, height, width) or (n, height, width, channels), or the tokens
        (n, tokens, channels) of a square grid after up to five other tokens. Channels come last if the first two of
        the three sizes have the image's proportions and the last two do not, or after ``nn.LayerNorm``. By default the
        last such layer of an architecture of :func:`mri_aug.models.networks.make_model`.
    mean, std : float
        Normalisation of the model's inputs, for pixels in [0, 1].
    batch_size : int
        Bounds the memory and does not change the result.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    check_images(images)
    if not len(images):
        return np.zeros((0, *images.shape[2:]), dtype=np.float32)
    layer = _default_layer(model) if layer is None else layer
    with _undisturbed(model):
        inputs = _normalise(model, images, mean, std)
        reshape, n_classes = _probe(model, layer, inputs[:1])
        classes = _classes(target, len(images), n_classes)
        cam = METHODS[method](model=_Logits(model), target_layers=[layer], reshape_transform=reshape)
        return _library_maps(cam, layer, inputs, classes, batch_size)


def gradcam_by_hand(
    model: nn.Module, images: Tensor, target: Target, layer: nn.Module, *, mean: float = 0.0, std: float = 1.0
) -> NDArray[np.float32]:
    """Return Grad-CAM maps by the three steps of chapter 3 (Selvaraju et al. 2017, eq. 1 and 2).

    The same maps as ``heatmaps(..., method="gradcam")`` to 1e-5, in one batch; parameters and errors as there.
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
        # 3. the positive part of the weighted sum, enlarged to the image's size
        maps = functional.relu((alpha * feature_maps).sum(dim=1, keepdim=True)).detach()
        maps = functional.interpolate(maps, size=images.shape[2:], mode="bilinear")[:, 0]
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return (maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)).cpu().numpy()


def map_grid(model: nn.Module, images: Tensor) -> int:
    """Return how many positions a map has along a side, before it is enlarged to the image's size.

    At 128 pixels 32 for ``cnn``, 4 for ``resnet18``, 8 for the transformers. Parameters and errors: :func:`heatmaps`.
    """
    check_images(images)
    layer = _default_layer(model)
    with _undisturbed(model):
        inputs = _normalise(model, images[:1], 0.0, 1.0)
        reshape, _ = _probe(model, layer, inputs)
        return reshape(_forward(model, layer, inputs)[0]).shape[-1]


def check_images(images: Tensor) -> None:
    """Raise TypeError or ValueError unless ``images`` is a uint8 tensor of shape (n, 1, height, width)."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a tensor of uint8, as in ImageSet.images, got {kind}")
    if images.ndim != 4 or images.shape[1] != 1 or 0 in images.shape[2:]:
        raise ValueError(f"images must have shape (n, 1, height, width), got {tuple(images.shape)}")


class _Logits(nn.Module):
    """Returns float32 logits for inputs of any precision, which is what pytorch-grad-cam expects."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.dtype = model, _weight(model).dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, (n, n_classes); ValueError if the model returns something else."""
        output = self.model(inputs.to(self.dtype))
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{type(self.model).__name__} must return logits of shape (n, n_classes), as a tensor or as an "
                f"attribute 'logits', got {found}; wrap it in a module that does"
            )
        return logits.float()


def _default_layer(model: nn.Module) -> nn.Module:
    try:
        return target_layer(model)
    except ValueError as error:
        raise ValueError(
            f"the last layer of {type(model).__name__} that has positions is not known; give it as layer="
        ) from error


def _weight(model: nn.Module) -> Tensor:
    weight = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if weight is None:
        raise ValueError(f"{type(model).__name__} has no weights, so there is no class to explain")
    return weight


def _normalise(model: nn.Module, images: Tensor, mean: float, std: float) -> Tensor:
    if not std > 0:
        raise ValueError(f"std must be positive, got {std!r}")
    scaled = images.to(_weight(model).device).to(torch.float32).div_(255).sub_(mean).div_(std)
    # With one channel both memory layouts are the same and PyTorch assumes the slower one: for the thesis's CNN a
    # forward pass would take three times as long.
    return scaled.squeeze(1).unsqueeze(3).permute(0, 3, 1, 2)


def _classes(target: Target | None, n: int, n_classes: int) -> Tensor | None:
    if target is None:
        return None
    classes = torch.as_tensor(target)
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise TypeError(f"target must hold integers, got {classes.dtype}")
    if classes.ndim == 0:
        classes = classes.expand(n)
    if tuple(classes.shape) != (n,):
        raise ValueError(f"target must be one class or one for each of the {n} images, got {tuple(classes.shape)}")
    if n and not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ValueError(f"target must lie in 0..{n_classes - 1}, got {sorted(set(classes.tolist()))}")
    return classes.long()


def _probe(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return the function from the layer's output to float32 feature maps, and the number of classes."""
    with torch.no_grad():
        output, logits = _forward(model, layer, inputs)
    shape, (height, width) = tuple(output.shape), inputs.shape[2:]
    if len(shape) == 4:
        normalises_channels = type(layer) is nn.LayerNorm and len(layer.normalized_shape) == 1
        in_proportion = shape[1] * width == shape[2] * height and shape[2] * width != shape[3] * height
        if normalises_channels or in_proportion:  # channels are last
            if min(shape[1:3]) > 1:
                return (lambda maps: maps.movedim(3, 1).float()), logits.shape[1]
        elif min(shape[2:]) > 1:
            return Tensor.float, logits.shape[1]
    side = int(shape[1] ** 0.5) if len(shape) == 3 else 0
    if side > 1 and shape[1] - side**2 <= _MOST_EXTRA_TOKENS:
        return (lambda tokens: tokens[:, -(side**2) :].mT.unflatten(2, (side, side)).float()), logits.shape[1]
    raise ValueError(
        f"layer {type(layer).__name__} gives an output of shape {shape}, which has no spatial grid; choose a layer of "
        "feature maps (n, channels, height, width) or of tokens (n, tokens, channels) on a square grid"
    )


def _forward(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's output and the logits."""
    outputs = []

    def keep(module: nn.Module, arguments: tuple, output: object) -> object:
        outputs.append(output)
        return _separate(module, arguments, output)

    handle = layer.register_forward_hook(keep)
    try:
        logits = _Logits(model)(inputs)
    finally:
        handle.remove()
    if not outputs or not isinstance(outputs[0], Tensor):
        raise ValueError(
            f"layer {type(layer).__name__} returns no tensor in a forward pass of the model; choose another layer"
        )
    return outputs[0], logits


def _library_maps(cam, layer: nn.Module, inputs: Tensor, classes: Tensor | None, batch_size: int) -> NDArray:
    """Return the library's maps, float32 (n, height, width), and remove its hooks."""
    hooks = (
        layer.register_forward_pre_hook(_start_gradients, with_kwargs=True),
        layer.register_forward_hook(_separate),  # after the library's own
    )
    maps, recorded = [], cam.activations_and_grads
    try:
        if cam.uses_gradients and (logits := recorded(inputs[:1])).requires_grad:
            logits.sum().backward()
        if cam.uses_gradients and not recorded.gradients:
            raise ValueError(f"no gradient of the logits reaches layer {type(layer).__name__}; choose another layer")
        for start in range(0, len(inputs), batch_size):
            part = slice(start, start + batch_size)
            targets = None if classes is None else [ClassifierOutputTarget(int(c)) for c in classes[part]]
            with contextlib.redirect_stderr(io.StringIO()):  # Score-CAM draws a progress bar for every image
                maps.append(cam(input_tensor=inputs[part], targets=targets))
    finally:
        recorded.release()
        for hook in hooks:
            hook.remove()
    return np.clip(np.concatenate(maps), 0, 1, dtype=np.float32)


def _start_gradients(layer: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
    """Record gradients from this layer on only: what lies before it needs a forward pass and no backward one."""

    def start(x: object) -> object:
        # cloned, since a layer that works in place may not write to where gradients end
        return x.detach().requires_grad_().clone() if isinstance(x, Tensor) and x.is_floating_point() else x

    return tuple(start(x) for x in inputs), {name: start(x) for name, x in options.items()}


def _separate(layer: nn.Module, inputs: tuple, output: object) -> object:
    """Pass on a copy of the output, so that a later layer that works in place does not change what was kept."""
    return output.clone() if isinstance(output, Tensor) else output


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode with frozen weights and gradients recorded; restore everything afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(_weight(model).device.type, enabled=False),
        ):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag, gradient in parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
