"""AutoAugment, RandAugment, TrivialAugment and AugMix on grey batches, with operations drawn for each image.

Torchvision's classes draw once per call, which would give a whole batch one operation. Here each step applies every
operation once, to the images of the batch that drew it. The operations and their ranges are torchvision's, except
colour saturation, which does nothing to a grey image: AutoAugment keeps it as an empty step of its learnt table, the
others draw from the remaining ones. Interpolation is bilinear, the fill black. Nothing here is tuned for MRI, on
purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mri_aug.policies import photometric
from mri_aug.policies.geometric import affine_matrices, warp

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
GREY_TABLE = ("AutoContrast", "Equalize", "Posterize", "Solarize")
ENHANCE = ("Brightness", "Contrast", "Sharpness")
OPERATIONS = ("Identity", *GEOMETRIC, *GREY_TABLE, *ENHANCE, "Invert")
RANDOM_CHOICE = OPERATIONS[:-1]  # RandAugment and TrivialAugment do not invert
AUGMIX_CHOICE = GEOMETRIC + GREY_TABLE  # AugMix omits the operations that its robustness benchmark tests


@dataclass(frozen=True)
class Ranges:
    """What magnitude 1 means for each operation; 0 is no change unless said otherwise."""

    degrees: float = 30.0  # of rotation
    shear: float = 0.3  # tangent
    translate: float = 150 / 331  # share of the width
    enhance: float = 0.9  # brightness, contrast and sharpness become 1 plus or minus this
    most_bits: int = 8  # kept by Posterize at magnitude 0
    fewest_bits: int = 4  # and at magnitude 1


WIDE = Ranges(degrees=135.0, shear=0.99, translate=32 / 128, enhance=0.99, fewest_bits=2)
AUGMIX = Ranges(translate=1 / 3, most_bits=4, fewest_bits=1)


def autoaugment(images: Tensor, generator: Generator) -> Tensor:
    """Apply to each image one of the 25 pairs of operations learnt on ImageNet (Cubuk et al. 2019)."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # imported late: a second and a half

    table = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    names = [[name if name in OPERATIONS else "Identity" for name, _, _ in pair] for pair in table]
    operations = torch.tensor([[OPERATIONS.index(name) for name in pair] for pair in names])
    chances = torch.tensor([[chance for _, chance, _ in pair] for pair in table])
    levels = torch.tensor([[(level or 0) / 9 for _, _, level in pair] for pair in table])
    device = images.device
    drawn = torch.randint(len(table), (len(images),), generator=generator, device=device)
    result = images.clone()
    for step in range(2):
        happens = _uniform(len(images), generator) < chances.to(device)[drawn, step]
        operation = torch.where(happens, operations.to(device)[drawn, step], 0)
        apply_operations_(result, operation, levels.to(device)[drawn, step], generator=generator)
    return result


def randaugment(images: Tensor, generator: Generator) -> Tensor:
    """Apply to each image two random operations of magnitude 9/30 (Cubuk et al. 2020; torchvision's defaults)."""
    result = images.clone()
    magnitude = torch.full((len(images),), 9 / 30, device=images.device)
    for _ in range(2):
        operation = _draw_operation(RANDOM_CHOICE, len(images), generator)
        apply_operations_(result, operation, magnitude, generator=generator)
    return result


def trivialaugment(images: Tensor, generator: Generator) -> Tensor:
    """Apply to each image one random operation of any magnitude in the wide ranges (Müller and Hutter 2021)."""
    operation = _draw_operation(RANDOM_CHOICE, len(images), generator)
    magnitude = _uniform(len(images), generator)
    return apply_operations_(images.clone(), operation, magnitude, ranges=WIDE, generator=generator)


def augmix(images: Tensor, generator: Generator) -> Tensor:
    """Mix three random chains of one to three operations with the image (Hendrycks et al. 2020), severity 3 of 10.

    The paper's consistency loss is not part of a policy and is left out. Cost: two operations per chain and image.
    """
    n, width = len(images), 3
    chains = images.repeat(width, 1, 1, 1)
    depth = torch.randint(1, 4, (width * n,), generator=generator, device=images.device)
    for step in range(3):
        operation = torch.where(step < depth, _draw_operation(AUGMIX_CHOICE, width * n, generator), 0)
        magnitude = 0.01 + 0.29 * _uniform(width * n, generator)
        apply_operations_(chains, operation, magnitude, ranges=AUGMIX, generator=generator)
    # Three standard exponentials divided by their sum are one draw of the flat Dirichlet distribution.
    share = -torch.log1p(-_uniform(width * n, generator)).view(width, n)
    share = share / share.sum(0).clamp(min=1e-12)
    first, *others = chains.mul_(share.view(-1, 1, 1, 1)).view(width, *images.shape)
    mixed = sum(others, start=first)
    return torch.lerp(images, mixed, _uniform(n, generator).view(-1, 1, 1, 1)).clamp_(0, 1)


def apply_operations_(
    images: Tensor, operation: Tensor, magnitude: Tensor, *, ranges: Ranges = Ranges(), generator: Generator
) -> Tensor:
    """Apply to each image, in place, the operation that it drew, in a random direction where it has two.

    Parameters
    ----------
    images : Tensor of float32, shape (n, 1, height, width), in [0, 1]
    operation : Tensor of int64, shape (n,)
        Index into ``OPERATIONS``.
    magnitude : Tensor of float32, shape (n,)
        From 0 to 1.
    ranges : Ranges
        What magnitude 1 means.

    Returns
    -------
    Tensor
        The same ``images``.
    """
    sign = 2 * torch.randint(2, operation.shape, generator=generator, device=operation.device) - 1
    first, last = OPERATIONS.index(GEOMETRIC[0]), OPERATIONS.index(GEOMETRIC[-1])
    rows = ((first <= operation) & (operation <= last)).nonzero().flatten()
    if len(rows):  # all five geometric operations are one affine map, so they share one interpolation
        moved = _move(images.index_select(0, rows), operation[rows], (sign * magnitude)[rows], ranges)
        images.index_copy_(0, rows, moved)  # copies whole images; images[rows] would copy them value by value
    for index in operation.unique().tolist():
        if index > last:
            rows = (operation == index).nonzero().flatten()
            chosen = images.index_select(0, rows)
            images.index_copy_(0, rows, _regrade(OPERATIONS[index], chosen, magnitude[rows], sign[rows], ranges))
    return images


def _move(images: Tensor, operation: Tensor, level: Tensor, ranges: Ranges) -> Tensor:
    def drew(name: str) -> Tensor:
        return level * (operation == OPERATIONS.index(name))

    matrices = affine_matrices(
        len(images),
        degrees=ranges.degrees * drew("Rotate"),
        shear_x=ranges.shear * drew("ShearX"),
        shear_y=ranges.shear * drew("ShearY"),
        shift_x=2 * ranges.translate * drew("TranslateX"),
        shift_y=2 * ranges.translate * drew("TranslateY"),
    )
    return warp(images, matrices)


def _regrade(name: str, images: Tensor, magnitude: Tensor, sign: Tensor, ranges: Ranges) -> Tensor:
    from torchvision.transforms.v2 import functional as tv  # imported late: a second and a half

    if name == "AutoContrast":
        return tv.autocontrast(images)
    if name == "Equalize":
        return tv.equalize(images)
    if name == "Invert":
        return 1 - images
    if name == "Posterize":
        lost = (ranges.most_bits - ranges.fewest_bits) * magnitude
        return photometric.posterize(images, ranges.most_bits - lost.round())
    if name == "Solarize":
        return photometric.solarize(images, 1 - magnitude)
    factor = 1 + sign * ranges.enhance * magnitude
    if name == "Brightness":
        return photometric.change_brightness(images, factor)
    if name == "Contrast":
        return photometric.change_contrast(images, factor)
    return photometric.sharpen(images, factor)


def _draw_operation(names: tuple[str, ...], n: int, generator: Generator) -> Tensor:
    choice = torch.tensor([OPERATIONS.index(name) for name in names], device=generator.device)
    return choice[torch.randint(len(names), (n,), generator=generator, device=generator.device)]


def _uniform(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)
