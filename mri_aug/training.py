"""Train a network on images that sit in memory, and predict with it.

An arm of a study is only an :class:`~mri_aug.imageset.ImageSet` here: this module does not
know which of its images are real, who made the others, or what will be compared with what.
The last step's weights are the result; no epoch is ever chosen by a score.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from mri_aug.imageset import ImageSet
from mri_aug.policies import make_policy


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. The defaults train the thesis's CNN; the draft states none of them.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    epochs: int = 10  # passes over the training images, unless the number of steps is given; more overfit
    batch_size: int = 64  # images per optimisation step
    learning_rate: float = 3e-3  # peak of the one-cycle schedule (Smith and Topin, 2019)
    device: str = "auto"  # "auto": a CUDA device where there is one, else the CPU
    precision: str = "auto"  # "bfloat16", "float32"; "auto": bfloat16 where the processor multiplies in it

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if isinstance(value, str) or not value > 0:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise ValueError(f"precision must be 'auto', 'bfloat16' or 'float32', got {self.precision!r}")
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {self.device!r}")

    def n_steps(self, n_images: int) -> int:
        """Return the optimisation steps of ``epochs`` passes over ``n_images`` images."""
        return max(1, round(self.epochs * n_images / min(self.batch_size, n_images)))

    def resolved(self) -> TrainConfig:
        """Return this configuration with nothing left to this machine's choice."""
        return replace(self, device=self.resolved_device().type, precision=self.resolved_precision())

    def resolved_device(self) -> torch.device:
        """Return the device that ``device`` names."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def resolved_precision(self) -> str:
        """Return ``"bfloat16"`` or ``"float32"``."""
        if self.precision != "auto":
            return self.precision
        if self.resolved_device().type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        # Without the instructions bfloat16 is emulated, and slower than float32.
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if capable else "float32"


@dataclass(frozen=True)
class Classifier:
    """A trained network with the normalisation that it was trained under.

    Parameters
    ----------
    model : nn.Module
        Maps normalised images (n, 1, 128, 128) to logits (n, n_classes); in evaluation mode.
    mean, std : float
        Of the training images' pixels, in [0, 1].
    config : TrainConfig
    losses : ndarray of float, shape (n_steps,)
        Training cross-entropy of each step's batch.
    """

    model: nn.Module
    mean: float
    std: float
    config: TrainConfig
    losses: np.ndarray

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images (n, 1, 128, 128) as the float tensor that the model takes."""
        scaled = images.to(self.config.resolved_device()).to(torch.float32).div_(255)
        return scaled.sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)


def train(
    model: nn.Module,
    image_set: ImageSet,
    *,
    seed: int,
    config: TrainConfig | None = None,
    n_steps: int | None = None,
    policy: str = "none",
    progress: bool = False,
) -> Classifier:
    """Train ``model`` on every image of ``image_set`` with Adam under a one-cycle learning rate.

    Batches are drawn without replacement until the images are used up, then from a new shuffle,
    so that each image is seen equally often, to within one. The cost on two cores is about
    1.5 ms per image and step for the thesis's CNN with one process per core.

    Parameters
    ----------
    model : nn.Module
        From :func:`mri_aug.models.make_model`; it is trained in place.
    image_set : ImageSet
        Training images; ``n`` of at least 2.
    seed : int
        Seeds the order of the images and the policy's draws (not the initial weights).
    config : TrainConfig, optional
    n_steps : int, optional
        Optimisation steps; by default ``config.epochs`` passes over the images.
    policy : str
        A name of :data:`mri_aug.policies.POLICIES`.
    progress : bool
        Show a bar.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        If there are fewer than two images, or all pixels are equal, or the training diverged.
    """
    config = config or TrainConfig()
    if len(image_set) < 2:
        raise ValueError(f"training needs at least 2 images, got {len(image_set)}")
    n_steps = config.n_steps(len(image_set)) if n_steps is None else n_steps
    device = config.resolved_device()
    mean, std = pixel_statistics(image_set.images)
    images, labels = image_set.images.to(device), image_set.labels.to(device)
    augment = make_policy(policy, n_classes=image_set.n_classes)
    order_rng, policy_rng = (
        torch.Generator(device).manual_seed(int(child.generate_state(1)[0]))
        for child in np.random.SeedSequence(seed).spawn(2)
    )
    model.to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=max(n_steps, 2))
    losses = torch.empty(n_steps, device=device)
    batches = _batches(len(image_set), config.batch_size, n_steps, order_rng)
    for step, index in enumerate(tqdm(batches, total=n_steps, disable=not progress, unit="step")):
        batch, targets = augment(images[index].to(torch.float32).div_(255), labels[index], generator=policy_rng)
        batch = batch.sub(mean).div_(std).contiguous(memory_format=torch.channels_last)
        with _autocast(config):
            logits = model(batch)
        loss = functional.cross_entropy(logits.float(), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses[step] = loss.detach()
    if not bool(torch.isfinite(losses).all()):
        raise ValueError(f"training diverged: the loss is not finite; lower learning_rate ({config.learning_rate})")
    return Classifier(model.eval(), mean, std, config, losses.cpu().numpy())


def predict(classifier: Classifier, images: Tensor, *, batch_size: int = 256) -> np.ndarray:
    """Return class probabilities, float64 of shape (n, n_classes), rows summing to one.

    Parameters
    ----------
    classifier : Classifier
    images : Tensor of uint8, shape (n, 1, 128, 128)
    batch_size : int
        Bounds the memory, not the result.
    """
    logits = []
    with torch.inference_mode(), _autocast(classifier.config):
        for batch in images.split(batch_size):
            logits.append(classifier.model(classifier.normalise(batch)).double())
    return torch.cat(logits).softmax(dim=1).cpu().numpy()


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of uint8 images' pixels, scaled to [0, 1].

    Computed exactly from the counts of the 256 grey levels, without a float copy of the images.

    Raises
    ------
    ValueError
        If all pixels are equal, so that there is nothing to normalise by.
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(512):
        counts += torch.bincount(part.reshape(-1).to(torch.int64), minlength=256).cpu()
    levels, weights = torch.arange(256, dtype=torch.float64) / 255, counts.double() / counts.sum()
    mean = float((levels * weights).sum())
    std = float(((levels - mean).square() * weights).sum().sqrt())
    if std == 0:
        raise ValueError("all pixels of the training images are equal; there is nothing to learn from")
    return mean, std


def _batches(n: int, batch_size: int, n_steps: int, rng: torch.Generator):
    """Yield ``n_steps`` index tensors of equal size from a stream of shuffles."""
    size = min(batch_size, n)
    queue = torch.empty(0, dtype=torch.int64, device=rng.device)
    for _ in range(n_steps):
        if len(queue) < size:
            queue = torch.cat([queue, torch.randperm(n, generator=rng, device=rng.device)])
        yield queue[:size]
        queue = queue[size:]


def _autocast(config: TrainConfig):
    if config.resolved_precision() == "float32":
        return nullcontext()
    return torch.autocast(config.resolved_device().type, torch.bfloat16)
