"""Where a training step of the engine goes, operator by operator and layer by layer.

Read from PyTorch's profiler, which slows a step a little: shares are meant, not seconds.
"""

from __future__ import annotations

from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks import engine, layers
from benchmarks.processes import in_process
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings, read_images, repeated
from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig, train

N_OPERATORS = 12  # rows; the rest is summed up in one more


def measure(settings: Settings) -> Tables:
    """Profile a few steps in one single-threaded process, and set each layer beside its bound."""
    operators = in_process(_operators, settings.work, settings.size(20, 2))
    return {"operators": operators, "layers": layers.measure(settings)}


def _operators(work: Path, n_steps: int) -> list[dict]:
    engine.one_thread()
    image_set, config = repeated(read_images(work), 2 * BATCH_SIZE), TrainConfig(batch_size=BATCH_SIZE)
    model = make_model("cnn", seed=0)
    train(model, image_set, seed=0, config=config, n_steps=3)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train(model, image_set, seed=0, config=config, n_steps=n_steps)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [
        {"operator": event.key, "calls_per_step": event.count / n_steps,
         "milliseconds": event.self_cpu_time_total / 1000 / n_steps, "share": event.self_cpu_time_total / total}
        for event in events[:N_OPERATORS]
    ]  # fmt: skip
    rest = sum(event.self_cpu_time_total for event in events[N_OPERATORS:])
    last = {"operator": "all others", "calls_per_step": None, "milliseconds": rest / 1000 / n_steps}
    return [*rows, last | {"share": rest / total}]
