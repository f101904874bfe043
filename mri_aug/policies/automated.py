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

from mri_aug.policies import transforms

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

    pairs = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    entries = [[(name if name in OPERATIONS else "Identity", *rest) for name, *rest in pair] for pair in pairs]
    rows = [[(OPERATIONS.index(name), chance, (level or 0) / 9) for name, chance, level in pair] for pair in entries]
    table = torch.tensor(rows, device=images.device)
    drawn = torch.randint(len(table), (len(images),), generator=generator, device=images.device)
    result = images.clone()
    for step in range(2):
        operation, chance, level = table[drawn, step].T
        operation = torch.where(_uniform(len(images), generator) < chance, operation, 0).long()
        apply_operations_(result, operation, level, generator=generator)
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

    ``operation`` is the index into ``OPERATIONS`` and ``magnitude`` from 0 to 1, both of shape (n,).
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

    matrices = transforms.affine_matrices(
        len(images),
        degrees=ranges.degrees * drew("Rotate"),
        shear_x=ranges.shear * drew("ShearX"),
        shear_y=ranges.shear * drew("ShearY"),
        shift_x=2 * ranges.translate * drew("TranslateX"),
        shift_y=2 * ranges.translate * drew("TranslateY"),
    )
    return transforms.warp(images, matrices)


def _regrade(name: str, images: Tensor, magnitude: Tensor, sign: Tensor, ranges: Ranges) -> Tensor:
    from torchvision.transforms.v2 import functional as tv  # imported late: a second and a half

    bits = ranges.most_bits - ((ranges.most_bits - ranges.fewest_bits) * magnitude).round()
    factor = 1 + sign * ranges.enhance * magnitude
    changes = {
        "AutoContrast": lambda: tv.autocontrast(images),
        "Equalize": lambda: tv.equalize(images),
        "Invert": lambda: 1 - images,
        "Posterize": lambda: transforms.posterize(images, bits),
        "Solarize": lambda: transforms.solarize(images, 1 - magnitude),
        "Brightness": lambda: transforms.change_brightness(images, factor),
        "Contrast": lambda: transforms.change_contrast(images, factor),
        "Sharpness": lambda: transforms.sharpen(images, factor),
    }
    return changes[name]()


def _draw_operation(names: tuple[str, ...], n: int, generator: Generator) -> Tensor:
    choice = torch.tensor([OPERATIONS.index(name) for name in names], device=generator.device)
    return choice[torch.randint(len(names), (n,), generator=generator, device=generator.device)]


def _uniform(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)
