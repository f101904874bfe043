"""Mixup and CutMix on grey batches, each image with its own partner and share.

Both mix targets as they mix images, so they take and return soft labels; how a loss uses them is for training to say.
"""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Generator, Tensor

from mri_aug.policies.geometric import rectangles


def mixup(images: Tensor, targets: Tensor, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Average each image with another of the batch, and their targets alike (Zhang et al. 2018).

    Parameters
    ----------
    images : Tensor of float32, shape (n, 1, height, width), in [0, 1]
    targets : Tensor of float32, shape (n, n_classes)
        Probabilities.
    strength : float
        Above 0. An image's share is drawn from Beta(a, a), a = 0.2 x strength; 0.2 is the paper's for ImageNet.

    Returns
    -------
    images, targets : Tensor
        New ones, of the shapes given.
    """
    share = _beta(len(images), 0.2 * strength, generator)
    partner = torch.randperm(len(images), generator=generator, device=generator.device)
    mixed = torch.lerp(images[partner], images, share[:, None, None, None])
    return mixed.clamp_(0, 1), torch.lerp(targets[partner], targets, share[:, None])


def cutmix(images: Tensor, targets: Tensor, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of another image of the batch, and mix the targets by area (Yun et al. 2019).

    The rectangle has the image's aspect and lies wholly inside it; the share in the target counts the pixels pasted.
    Parameters and return values are those of :func:`mixup`, but a = strength: uniform at 1, as in the paper.
    """
    n = len(images)
    area = 1 - _beta(n, strength, generator)
    corner = torch.rand(2, n, generator=generator, device=generator.device)
    size = (images.shape[-2], images.shape[-1])
    inside = rectangles(size, area=area, aspect=torch.ones_like(area), corner=corner)
    partner = torch.randperm(n, generator=generator, device=generator.device)
    pasted = torch.where(inside[:, None], images[partner], images)
    share = 1 - inside.float().mean((1, 2))
    return pasted, torch.lerp(targets[partner], targets, share[:, None])


def _beta(n: int, alpha: float, generator: Generator) -> Tensor:
    # By inversion: torch's own sampler of this distribution takes no generator.
    uniform = torch.rand(n, generator=generator, device=generator.device).cpu().double()
    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy())).float().to(generator.device)
