"""Training of the diffusion model, which survives being killed: it continues from its last checkpoint.

Every draw of a step comes from the seed and the step's number, so only weights, their average and the optimiser's
state are kept. It trains on all the images that it is given and on no others, and reads no score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from filelock import FileLock
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from mri_aug import provenance
from mri_aug.generators.diffusion.network import (
    LATENT_SHAPE,
    N_TIMES,
    Bands,
    Denoiser,
    DiffusionConfig,
    noising_process,
    predict_velocity,
    start_unet,
)
from mri_aug.models.training import Compute, index_batches, keep_freed_memory

CHECKPOINT_STEPS = 200  # from one checkpoint to the next; no result depends on it
_WARM_UP = 100  # steps over which the learning rate rises
_CLIP = 1.0  # largest norm of a gradient


def train_denoiser(
    images: Tensor, labels: Tensor, *, seed: int, config: DiffusionConfig, compute: Compute,
    path: Path, fingerprint: str, progress: bool = False,
) -> Denoiser:  # fmt: skip
    """Return the model kept at ``path``, or train it and keep it there, continuing from a checkpoint if there is one.

    Processes that need the same model wait for the first of them. A killed process loses at most the steps since
    its last checkpoint, 200 apart.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, 128, 128)
    labels : Tensor of int64, shape (n,)
    seed : int
        Of random initial weights, the order of images, noise levels and noise.
    config : DiffusionConfig
    compute : Compute
    path : Path
        Of this training alone: its name must stand for all the arguments above. Ends in ``.safetensors``.
    fingerprint : str
        Kept with the model.
    progress : bool
        Show a bar with the time that is left.

    Raises
    ------
    ValueError
        If there is no image, the training diverged, or the checkpoint is damaged.
    """
    if not len(images):
        raise ValueError("diffusion needs training images, got none")
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = path.with_suffix(".checkpoint")
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            keep_freed_memory()
            bands = Bands.of(images)
            training = _Training(config, seed, compute, n_classes=int(labels.max()) + 1)
            training.resume(checkpoint)
            steps = training.steps(bands, images, labels)
            for step in tqdm(
                steps, initial=training.step, total=config.n_steps, unit="step", disable=not progress,
                desc=f"diffusion, {len(images)} images",
            ):  # fmt: skip
                if step % CHECKPOINT_STEPS == 0:
                    training.keep(checkpoint)
            training.average.copy_to(training.unet.parameters())
            Denoiser(training.unet, bands, tuple(labels.unique().tolist()), config, fingerprint).save(path)
        checkpoint.unlink(missing_ok=True)
    return Denoiser.load(path)


class _Training:
    """The state of a training: weights, their average, the optimiser and the number of steps done."""

    def __init__(self, config: DiffusionConfig, seed: int, compute: Compute, *, n_classes: int):
        self.config, self.seed, self.compute, self.step = config, seed, compute, 0
        self.unet = start_unet(config, n_classes=n_classes, seed=seed).to(compute.resolved_device()).train()
        # Early weights are soon forgotten: the average spans a tenth of the steps so far, at most 1 / (1 - averaging).
        self.average = EMAModel(self.unet.parameters(), decay=config.averaging, foreach=True)
        self.optimiser = torch.optim.Adam(self.unet.parameters(), lr=config.learning_rate, fused=True)

    def steps(self, bands: Bands, images: Tensor, labels: Tensor) -> Iterator[int]:
        """Train from the current step to the last and yield the number of steps done after each."""
        device, process = self.compute.resolved_device(), noising_process()
        order = torch.Generator().manual_seed(self.seed)
        batches = index_batches(labels, self.config.batch_size, n_steps=self.config.n_steps, rng=order)
        for index in islice(batches, self.step, None):
            clean, targets = bands.encode(images[index].to(device)), labels[index].to(device)
            times, noise = self._draw(len(index), device)
            noisy, velocity = process.add_noise(clean, noise, times), process.get_velocity(clean, noise, times)
            predicted = predict_velocity(self.unet, bands, noisy, times, targets, self.compute)
            self._descend(functional.mse_loss(predicted, velocity))
            yield self.step

    def _draw(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the noise levels and the noise of this step; drawn on the CPU, to be the same everywhere."""
        stream = int(np.random.SeedSequence([self.seed, self.step]).generate_state(1, np.uint64)[0] >> 1)
        rng = torch.Generator().manual_seed(stream)
        # One level from each of n equal ranges: every batch sees the whole span, which steadies the loss.
        times = ((torch.arange(n) + torch.rand(n, generator=rng)) / n * N_TIMES).long()
        return times.to(device), torch.randn(n, *LATENT_SHAPE, generator=rng).to(device)

    def _descend(self, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"training of diffusion diverged at step {self.step}; lower learning_rate")
        done, config = self.step / self.config.n_steps, self.config
        decay = (1 + math.cos(math.pi * done)) / 2 if config.decay else 1
        rate = config.learning_rate * min(1, (self.step + 1) / _WARM_UP) * decay
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), _CLIP)
        self.optimiser.step()
        self.average.step(self.unet.parameters())
        self.step += 1

    def keep(self, path: Path) -> None:
        """Write the state whole, or leave the last one."""
        state = {
            "step": self.step, "unet": self.unet.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        with provenance.atomic_write(path) as part:
            torch.save(state, part)

    def resume(self, path: Path) -> None:
        """Take up the state that :meth:`keep` wrote, if there is one."""
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.compute.resolved_device(), weights_only=True)
        except Exception as error:  # torch.load documents no types
            raise ValueError(f"the checkpoint {path} is damaged ({error}); delete it and fit again") from error
        self.unet.load_state_dict(state["unet"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.load_state_dict(state["average"])
        self.step = state["step"]
