"""Floating-point operations of a training step, counted from the shapes of a network's layers.

Convolutions and linear layers only: they are all but about 1 % of the arithmetic. Nothing is timed here.
"""

from __future__ import annotations

import torch
from torch import nn


def forward_flops(model: nn.Module, *, image_size: int = 128) -> dict[str, int]:
    """Return 2 x multiply-adds of each layer for one image, by the layer's name, in the order they run.

    A convolution has (output height x width) x (output channels) x (input channels x kernel height x width)
    multiply-adds, a linear layer (inputs x outputs).
    """
    counts: dict[str, int] = {}
    names = {module: name for name, module in model.named_modules()}

    def count(module: nn.Module, _, output: torch.Tensor) -> None:
        per_value = module.weight[0].numel()  # multiply-adds of one output value
        counts[names[module]] = 2 * per_value * output[0].numel()

    kinds = nn.Conv2d | nn.Linear
    hooks = [module.register_forward_hook(count) for module in names if isinstance(module, kinds)]
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 1, image_size, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def training_flops(model: nn.Module, *, image_size: int = 128) -> int:
    """Return the operations of training on one image: forward, weight gradients and input gradients.

    Each of the three costs as much as the forward pass, and the first layer needs no input gradient:
    ``3 x sum(forward) - forward[first]``.
    """
    forward = list(forward_flops(model, image_size=image_size).values())
    return 3 * sum(forward) - forward[0]
