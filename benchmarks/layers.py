"""How fast each layer could be, and is: its arithmetic at the processor's peak, its memory at the memory's pace.

The roofline of Williams et al. (2009), layer by layer. A layer can be no faster than the slower of the two, as long as
layers are computed one after the other; fusing them is another program, which nothing here tries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import engine
from benchmarks.peak import TYPES, rates
from benchmarks.processes import in_process
from benchmarks.settings import BATCH_SIZE, Settings, precision, read_images, repeated
from mri_aug.models.networks import make_model

N_COPIED = 2**26  # bytes copied to measure the memory's pace: more than any cache holds


def measure(settings: Settings) -> list[dict]:
    """Return one row per layer of the CNN, of a batch in one single-threaded process."""
    return in_process(_layers, settings.work, settings.size(12, 1), settings.size(1024, 64))


def _layers(work: Path, repeats: int, size: int) -> list[dict]:
    engine.one_thread()
    kind = TYPES[precision()]
    gflops = rates(lambda: None, precision(), (size,), 1, 0.5 if repeats > 1 else 0.01)[0]
    gigabytes = _gigabytes_per_second(repeats)
    model = make_model("cnn", seed=0).to(memory_format=torch.channels_last)
    images = repeated(read_images(work), BATCH_SIZE).images.float().div(255)
    value, rows = images.contiguous(memory_format=torch.channels_last).to(kind), []
    for layer in (*model.features, *model.hidden, model.head):
        if isinstance(layer, nn.Flatten):
            value = value.flatten(1)
            continue
        first = not rows  # needs no gradient of its input
        seconds, output = _best_seconds(layer, value, not first, repeats)
        gflop = _gflop(layer, output, first)
        megabytes = _mega_values(layer, value, output, first) * kind.itemsize
        arithmetic, memory = 1000 * gflop / gflops, megabytes / gigabytes
        rows.append(
            {"layer": f"{type(layer).__name__} {tuple(output.shape[1:])}", "gflop": gflop, "megabytes": megabytes,
             "arithmetic_ms": arithmetic, "memory_ms": memory, "bound_ms": max(arithmetic, memory),
             "measured_ms": 1000 * seconds}
        )  # fmt: skip
        value = output
    return rows


def _best_seconds(layer: nn.Module, value: Tensor, with_input: bool, repeats: int) -> tuple[float, Tensor]:
    """Return the least seconds of a forward and backward pass, and the output."""
    best = float("inf")
    for _ in range(repeats + 1):
        value = value.detach().requires_grad_(with_input)
        layer.zero_grad(set_to_none=True)
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=value.dtype == torch.bfloat16):
            output = layer(value)
        forward = time.perf_counter() - start
        gradient = torch.ones_like(output)
        start = time.perf_counter()
        output.backward(gradient)
        best = min(best, forward + time.perf_counter() - start)
    return best, output.detach()


def _gflop(layer: nn.Module, output: Tensor, first: bool) -> float:
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return 0.0
    return (2 if first else 3) * 2 * layer.weight[0].numel() * output.numel() / 1e9


def _mega_values(layer: nn.Module, value: Tensor, output: Tensor, first: bool) -> float:
    """Return the least traffic, in millions of values: what a pass needs is read once, what it makes written once.

    Forward: input, weights, output. Backward: the output's gradient, the input and the weights again, and their
    gradients.
    """
    weights = sum(parameter.numel() for parameter in layer.parameters())
    values = (2 if first else 3) * value.numel() + 2 * output.numel() + 3 * weights
    return values / 1e6


def _gigabytes_per_second(repeats: int) -> float:
    """Return what a copy reads and writes in a second, at best."""
    source = torch.ones(N_COPIED, dtype=torch.uint8)
    target, best = torch.zeros_like(source), float("inf")
    for _ in range(repeats + 1):
        best = min(best, _seconds(lambda: target.copy_(source)))
    return 2 * N_COPIED / best / 1e9


def _seconds(work: Callable) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
