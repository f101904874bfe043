"""What a model is made of, found by running it: one row per layer, in the order the data meets them.

The diagrams of chapter 5 are drawn from these rows, so that they follow the model. Nothing here
draws, and nothing here changes the model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

_KINDS = (
    (nn.Conv2d, "convolution"),
    (nn.Linear, "dense"),
    (nn.MultiheadAttention, "attention"),
    ((nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm), "norm"),
    ((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), "pooling"),
    ((nn.ReLU, nn.GELU, nn.SiLU), "activation"),
)


class LayerRow(NamedTuple):
    """One call of one layer.

    Attributes
    ----------
    name : str
        Its path in the model, such as ``layer1.0.conv1``.
    kind : str
        ``convolution``, ``dense``, ``attention``, ``norm``, ``pooling``, ``activation``, else its class's name.
    output_shape : tuple of int
        Without the batch.
    n_parameters : int
        Those that this layer adds; 0 where it was met before.
    detail : str
        Kernel and stride, such as ``3×3/2``, or the name of an activation; may be empty.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    n_parameters: int
    detail: str


def layer_table(model: nn.Module, *, image_size: int = 128, n_channels: int = 1) -> list[LayerRow]:
    """Run one empty image through a model and return what each layer made of it.

    Parameters
    ----------
    model : Module
        Takes a batch of shape (n, n_channels, image_size, image_size). It is left as it was found.
    image_size : int
        Pixels.
    n_channels : int

    Returns
    -------
    list of LayerRow
        Innermost layers only, attention counting as one. Parameters that a container holds
        itself (a class token, position embeddings) are in no row.

    Raises
    ------
    ValueError
        If the model has no layers to run.
    """
    rows: list[LayerRow] = []
    seen: set[int] = set()
    hooks = [module.register_forward_hook(_recorder(name, rows, seen)) for name, module in _layers(model)]
    if not hooks:
        raise ValueError(f"{type(model).__name__} has no layers: give a model of at least one module with an output")
    training = {module: module.training for module in model.modules()}
    like = next(model.parameters(), torch.zeros(()))
    model.eval()
    try:
        with torch.inference_mode():
            model(torch.zeros(1, n_channels, image_size, image_size, dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return rows


def _layers(model: nn.Module):
    for name, module in model.named_modules():
        inside_attention = any(
            isinstance(model.get_submodule(name.rsplit(".", cut)[0]), nn.MultiheadAttention)
            for cut in range(1, name.count(".") + 1)
        )
        is_leaf = not any(module.children()) or isinstance(module, nn.MultiheadAttention)
        if name and is_leaf and not inside_attention:
            yield name, module


def _recorder(name: str, rows: list[LayerRow], seen: set[int]):
    def record(module: nn.Module, _inputs, output) -> None:
        tensor = output if isinstance(output, Tensor) else output[0]
        n_parameters = 0 if id(module) in seen else sum(p.numel() for p in module.parameters())
        seen.add(id(module))
        rows.append(LayerRow(name, _kind(module), tuple(tensor.shape[1:]), n_parameters, _detail(module)))

    return record


def _kind(module: nn.Module) -> str:
    return next((kind for types, kind in _KINDS if isinstance(module, types)), type(module).__name__.lower())


def _detail(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        return f"{height}×{width}" + (f"/{module.stride[0]}" if module.stride[0] > 1 else "")
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        size, stride = (value if isinstance(value, int) else value[0] for value in (module.kernel_size, module.stride))
        return f"{size}×{size}/{stride}"
    return type(module).__name__ if _kind(module) == "activation" else ""
