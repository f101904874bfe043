"""Training of the diffusion model, which survives being killed: it goes on from the last checkpoint to the same bits.

Every draw of a step comes from the seed and the step's number, so that nothing but weights, averages and the
optimiser's state has to be kept. It trains on the images it is given, all of them and no others, and reads no score.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from mri_aug.generators.diffusion.network import (
    LATENT_SHAPE,
    N_TIMES,
    Bands,
    Denoiser,
    DiffusionConfig,
    autocast,
    make_scheduler,
    make_unet,
)
from mri_aug.models.training import TrainConfig, index_batches, keep_freed_memory

_WARM_UP = 100  # steps over which the learning rate rises
_CLIP = 1.0  # largest norm of a gradient
_DIGEST = hashlib.sha256().digest_size


def train_denoiser(
    images: Tensor, labels: Tensor, *, seed: int, config: DiffusionConfig, compute: TrainConfig,
    folder: Path, fingerprint: str, checkpoint_steps: int = 100, progress: bool = False,
) -> Denoiser:  # fmt: skip
    """Return the model kept in ``folder``, or train it there, going on from a checkpoint if there is one.

    Processes that ask for the same folder wait for the first of them. A killed process loses at most the steps since
    its last checkpoint.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 1, 128, 128)
    labels : Tensor of int64, shape (n,)
    seed : int
        Of the initial weights, the order of images, noise levels and noise.
    config : DiffusionConfig
    compute : TrainConfig
        Of which ``device`` and ``precision`` count.
    folder : Path
        Of this training alone: its name must stand for all the arguments above.
    fingerprint : str
        Kept with the model.
    checkpoint_steps : int
        Steps from one checkpoint to the next; no result depends on it.
    progress : bool
        Show a bar with the time that is left.

    Raises
    ------
    ValueError
        If there is no image, or the training diverged.

    Warns
    -----
    RuntimeWarning
        If the checkpoint is damaged; training starts anew.
    """
    if not len(images):
        raise ValueError("diffusion needs training images, got none")
    folder.mkdir(parents=True, exist_ok=True)
    model, checkpoint = folder / "model", folder / "checkpoint.pt"
    with FileLock(folder / "lock"):
        if not model.is_dir():
            keep_freed_memory()
            bands, training = Bands.of(images), _Training(config, seed, compute, n_classes=int(labels.max()) + 1)
            training.resume(checkpoint)
            steps = training.steps(bands, images, labels)
            for step in tqdm(
                steps, initial=training.step, total=config.n_steps, unit="step", disable=not progress,
                desc=f"diffusion, {len(images)} images",
            ):  # fmt: skip
                if step % checkpoint_steps == 0:
                    training.keep(checkpoint)
            training.average_into_unet()
            classes = tuple(labels.unique().tolist())
            Denoiser(training.unet, bands, classes, config, fingerprint).save(model)
        checkpoint.unlink(missing_ok=True)
    return Denoiser.load(model)


class _Training:
    """The state of a training: weights, their average, the optimiser and the number of steps done."""

    def __init__(self, config: DiffusionConfig, seed: int, compute: TrainConfig, *, n_classes: int):
        self.config, self.seed, self.compute, self.step = config, seed, compute, 0
        self.unet = make_unet(config, n_classes=n_classes, seed=seed).to(compute.resolved_device()).train()
        self.average = [weight.detach().clone() for weight in self.unet.parameters()]
        self.optimiser = torch.optim.Adam(self.unet.parameters(), lr=config.learning_rate, fused=True)

    def steps(self, bands: Bands, images: Tensor, labels: Tensor) -> Iterator[int]:
        """Train from the current step to the last and yield the number of steps done after each."""
        device, scheduler = self.compute.resolved_device(), make_scheduler()
        latents, labels = bands.encode(images).to(device), labels.to(device)
        order = torch.Generator().manual_seed(self.seed)
        batches = index_batches(labels.cpu(), self.config.batch_size, n_steps=self.config.n_steps, rng=order)
        for index in islice(batches, self.step, None):
            index, times, noise = index.to(device), *self._draw(len(index), device)
            target = scheduler.get_velocity(latents[index], noise, times)
            noisy = scheduler.add_noise(latents[index], noise, times)
            with autocast(self.compute):
                velocity = self.unet(noisy, times, class_labels=labels[index]).sample
            self._descend(functional.mse_loss(velocity.float(), target))
            yield self.step

    def _draw(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the noise levels and the noise of this step; drawn on the processor, to be the same everywhere."""
        stream = int(np.random.SeedSequence([self.seed, self.step]).generate_state(1, np.uint64)[0] >> 1)
        rng = torch.Generator().manual_seed(stream)
        # One level from each of n equal ranges: every batch sees the whole span, which steadies the loss.
        share = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        times = (share * self.config.max_strength * N_TIMES).long()
        return times.to(device), torch.randn(n, *LATENT_SHAPE, generator=rng).to(device)

    def _descend(self, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"training of diffusion diverged at step {self.step}; lower learning_rate")
        done, config = self.step / self.config.n_steps, self.config
        rate = config.learning_rate * min(1, (self.step + 1) / _WARM_UP) * (1 + math.cos(math.pi * done)) / 2
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), _CLIP)
        self.optimiser.step()
        # Early weights are soon forgotten: the average spans a tenth of the steps so far, at most 1 / (1 - averaging).
        decay = min(config.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.unet.parameters()), 1 - decay)
        self.step += 1

    def average_into_unet(self) -> None:
        with torch.no_grad():
            for weight, mean in zip(self.unet.parameters(), self.average, strict=True):
                weight.copy_(mean)

    def keep(self, path: Path) -> None:
        """Write the state whole, under a checksum, or leave the last one."""
        state = {
            "step": self.step, "unet": self.unet.state_dict(), "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        content = io.BytesIO()
        torch.save(state, content)
        part = path.with_suffix(".part")
        part.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        os.replace(part, path)

    def resume(self, path: Path) -> None:
        """Take up the state that :meth:`keep` wrote, if there is one."""
        if not path.exists():
            return
        kept = path.read_bytes()
        digest, content = kept[:_DIGEST], kept[_DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            warnings.warn(f"{path} is damaged; training starts anew", RuntimeWarning, stacklevel=3)
            return
        state = torch.load(io.BytesIO(content), map_location=self.compute.resolved_device(), weights_only=True)
        self.unet.load_state_dict(state["unet"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
