"""How training images are put before a network: on which scale, in which order, and what each class counts.

Nothing here trains (:mod:`mri_aug.training` does) or changes what an image shows (policies do).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

BALANCES = ("none", "oversample", "weights")  # what is done about classes of different sizes


def index_batches(
    labels: Tensor, batch_size: int, *, n_steps: int, rng: Generator, balance: str = "none"
) -> Iterator[Tensor]:
    """Yield the positions of each step's images, in batches of equal size from a stream of shuffles.

    Parameters
    ----------
    labels : Tensor of int64, shape (n,)
        Class of each training image.
    batch_size : int
        No batch is larger than ``n``.
    n_steps : int
    rng : torch.Generator
        The only source of chance.
    balance : str, default "none"
        ``"oversample"`` draws from :func:`balanced_pass`; otherwise each image is seen equally often, to within one.

    Raises
    ------
    ValueError
        If there is no such balance.
    """
    if balance not in BALANCES:
        raise ValueError(f"balance must be one of {', '.join(BALANCES)}, got {balance!r}")
    size = min(batch_size, len(labels))
    queue = torch.empty(0, dtype=torch.int64, device=rng.device)
    for _ in range(n_steps):
        if len(queue) < size:
            queue = torch.cat([queue, balanced_pass(labels, rng) if balance == "oversample" else _shuffle(labels, rng)])
        yield queue[:size]
        queue = queue[size:]


def balanced_pass(labels: Tensor, rng: Generator) -> Tensor:
    """Return positions that hold each class equally often, shuffled: a pass over the images with classes oversampled.

    As many as there are images, rounded up to a multiple of the number of classes. Within a class each image comes
    equally often, to within one; of a class larger than its share, another part is drawn in every pass.
    """
    classes = labels.unique()
    share = -(-len(labels) // len(classes))
    drawn = []
    for label in classes:
        members = (labels == label).nonzero()[:, 0]
        rounds = -(-share // len(members))
        drawn += [torch.cat([members[_shuffle(members, rng)] for _ in range(rounds)])[:share]]
    pool = torch.cat(drawn)
    return pool[_shuffle(pool, rng)]


def class_weights(labels: Tensor, n_classes: int) -> Tensor:
    """Return a weight for each class, inversely proportional to its number of images; 1 where it has none.

    Scikit-learn's ``"balanced"``: ``n / (n_classes_present * n_images_of_class)``, float32 of shape (n_classes,).
    """
    counts = labels.bincount(minlength=n_classes)
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 1.0).float()


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of uint8 images' pixels, scaled to [0, 1].

    Computed exactly from the counts of the 256 grey levels, without a float copy of the images.

    Raises
    ------
    ValueError
        If all pixels are equal, so that there is nothing to normalise by.
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(64):
        counts += torch.bincount(part.reshape(-1), minlength=256).cpu()
    levels, weights = torch.arange(256, dtype=torch.float64) / 255, counts.double() / counts.sum()
    mean = float((levels * weights).sum())
    std = float(((levels - mean).square() * weights).sum().sqrt())
    if std == 0:
        raise ValueError("all pixels of the training images are equal; there is nothing to learn from")
    return mean, std


def random_streams(seed: int, device: torch.device) -> list[torch.Generator]:
    """Return two independent streams of chance: for the images' order and for the policy's draws."""
    children = np.random.SeedSequence(seed).spawn(2)
    return [torch.Generator(device).manual_seed(int(child.generate_state(1)[0])) for child in children]


def _shuffle(items: Tensor, rng: Generator) -> Tensor:
    return torch.randperm(len(items), generator=rng, device=rng.device)
