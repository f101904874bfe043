"""What a study's processes cost: two against one, memory of each, and seconds until the first training step.

The study is the library's own, run as a user runs it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import torch

from benchmarks import engine
from benchmarks.processes import in_process
from benchmarks.record import Tables
from benchmarks.settings import BATCH_SIZE, Settings, precision, read_images, repeated
from benchmarks.worker import worker_memory
from mri_aug import provenance
from mri_aug.models.networks import count_parameters, make_model


def measure(settings: Settings) -> Tables:
    """Measure throughput by number of processes, resident memory of each worker, and start-up.

    Beside the last two stands what bounds them: a training step's tensors, and the library's import.
    """
    return {
        "workers": _scaling(settings),
        "memory": _memory(settings),
        "step": [in_process(step_tensors, settings.work)],
        "start": _start(settings),
    }


def _scaling(settings: Settings) -> list[dict]:
    rows, n_images = [], settings.size(1024, 2 * BATCH_SIZE)
    for n in (1, joblib.cpu_count()):
        rates = engine.images_per_second(settings.work, processes=n, n_images=n_images, repeats=settings.repeats)
        rows.append({"processes": n, "images_per_second": statistics.median(rates)})
    return [row | {"ratio": row["images_per_second"] / rows[0]["images_per_second"]} for row in rows]


def _memory(settings: Settings) -> list[dict]:
    """Run a simulation in each of joblib's workers on as many images as the thesis has."""
    n = settings.size(6400, len(settings.images()))
    image_set = repeated(settings.images(), n)
    arrays = (image_set.images.numpy(), image_set.labels.numpy(), image_set.subjects.numpy())
    cores = joblib.cpu_count()
    work = [joblib.delayed(worker_memory)(number, *arrays) for number in range(cores)]
    rows = joblib.Parallel(n_jobs=cores, mmap_mode="c")(work)
    return [{"images": n, "dataset_mb": image_set.images.numel() / 1e6} | row for row in rows]


def step_tensors(work: Path) -> dict:
    """Return the MB that a training step of the CNN holds at least.

    ``weights_mb``: the weights, their gradients and Adam's two moments of them; ``saved_mb``: what the forward pass
    leaves to the backward pass, each block once. Layers' scratch space and gradients of activations come on top.
    """
    model = make_model("cnn", seed=0).to(memory_format=torch.channels_last)
    images = repeated(read_images(work), BATCH_SIZE).images.float().div(255)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bfloat16"),
    ):
        loss = model(images.contiguous(memory_format=torch.channels_last)).float().square().sum()
    megabytes = sum(saved.values()) / 1e6
    loss.backward()  # only now may the saved blocks go, and their addresses be used again
    return {"weights_mb": 4 * 4 * count_parameters(model) / 1e6, "saved_mb": megabytes}  # four times, in four bytes


def _start(settings: Settings) -> list[dict]:
    """Start the study in a new interpreter and wait for the mark that its first optimiser step leaves.

    Beside it, the seconds of an interpreter that only imports what a study runs through.
    """
    rows = []
    with tempfile.TemporaryDirectory(dir=settings.work) as folder:
        for repeat in range(settings.size(3, 1)):
            mark = Path(folder, f"mark{repeat}")
            command = [sys.executable, "-m", "benchmarks.first_step", str(settings.work), str(mark)]
            start = time.time()
            done = subprocess.run(command, cwd=provenance.project(), capture_output=True, text=True, check=False)
            if done.returncode or not mark.is_file():
                raise RuntimeError(f"the study in a new process failed: {done.stderr.strip().splitlines()[-1:]}")
            seconds = float(mark.read_text()) - start
            start = time.time()
            subprocess.run([sys.executable, "-c", "import mri_aug.study.run"], cwd=provenance.project(), check=True)
            rows.append({"repeat": repeat, "seconds": seconds, "import_seconds": time.time() - start})
    return rows
