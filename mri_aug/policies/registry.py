"""Augmentation policies by name: how a batch of training images is changed each time it is seen.

Each image gets its own draw, in one vectorised pass, from the generator that is passed in. Lengths are shares of the
image's width, so that a policy does the same to a head at 64 pixels as at 128; only the grain of ``noise`` and the
kernel of the automated policies' sharpness are pixels, as the scanner's and the photograph's are. What each policy
draws and what it may do to a diagnosis is in :mod:`mri_aug.policies.notes`. Nothing here keeps an image or trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Generator, Tensor

from mri_aug.policies import automated, transforms
from mri_aug.policies.transforms import affine_matrices, rectangles, warp


@dataclass(frozen=True)
class Policy:
    """A policy, ready to be called on batches; make it with :func:`make_policy`."""

    name: str
    n_classes: int = 4

    def __call__(self, images: Tensor, labels: Tensor, *, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return changed copies of the images, and their targets.

        Parameters
        ----------
        images : floating Tensor, shape (n, 1, size, size), in [0, 1]
            The changed ones have the same shape, type and range. Half precision is computed in float32.
        labels : Tensor of int64, shape (n,)
            The targets; for ``mixup`` and ``cutmix`` these are float32 probabilities of shape (n, n_classes).
        generator : torch.Generator
            The only source of chance, on the images' kind of device.

        Raises
        ------
        ValueError
            If the images are not as described, or on another kind of device than the generator.
        """
        if images.ndim != 4 or images.shape[1] != 1 or not images.is_floating_point():
            raise ValueError(
                f"policy {self.name!r} takes float images of shape (n, 1, size, size) in [0, 1], "
                f"got {images.dtype} of shape {tuple(images.shape)}; divide uint8 images by 255 first"
            )
        if images.device.type != generator.device.type:
            raise ValueError(
                f"policy {self.name!r} got images on {images.device} and a generator on {generator.device}; "
                "make the generator on the images' device"
            )
        if self.name in _MIXERS:
            soft = F.one_hot(labels, self.n_classes).float()
            changed, targets = _MIXERS[self.name](images.float(), soft, generator)
            return changed.to(images.dtype), targets
        return _CHANGES[self.name](images.float(), generator).to(images.dtype), labels


def make_policy(name: str, *, n_classes: int = 4) -> Policy:
    """Return the policy of that name; ``n_classes`` is the width of the soft labels of ``mixup`` and ``cutmix``.

    Raises
    ------
    ValueError
        If there is no such policy.
    """
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; choose one of: {', '.join(POLICIES)}")
    return Policy(name, n_classes)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


def _none(images: Tensor, generator: Generator) -> Tensor:
    return images


def _flip(images: Tensor, generator: Generator) -> Tensor:
    flipped = _uniform(len(images), 0, 1, generator) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def _rotate(images: Tensor, generator: Generator) -> Tensor:
    return warp(images, affine_matrices(len(images), degrees=_uniform(len(images), -15, 15, generator)))


# The three steps of `standard`, and at half their strength of `traditional`: strength scales the ranges drawn from.
def _affine(images: Tensor, generator: Generator, strength: float = 1.0) -> Tensor:
    n = len(images)
    degrees = _uniform(n, -10 * strength, 10 * strength, generator)
    zoom = torch.exp(_uniform(n, -0.1 * strength, 0.1 * strength, generator))
    shear_x, shear_y, shift_x, shift_y = _uniform(4 * n, -0.1 * strength, 0.1 * strength, generator).view(4, n)
    matrices = affine_matrices(
        n, degrees=degrees, zoom=zoom, shear_x=shear_x, shear_y=shear_y, shift_x=shift_x, shift_y=shift_y
    )
    return warp(images, matrices)


def _contrast(images: Tensor, generator: Generator, strength: float = 1.0) -> Tensor:
    # TorchIO's RandomGamma draws the logarithm of gamma from -0.3 to 0.3. A gain above 1 would clip white matter.
    gamma = torch.exp(_uniform(len(images), -0.3 * strength, 0.3 * strength, generator))
    gain = torch.exp(_uniform(len(images), -0.3 * strength, 0.0, generator))
    return transforms.change_tone(images, gamma, gain)


def _bias_field(images: Tensor, generator: Generator, strength: float = 1.0) -> Tensor:
    # TorchIO's RandomBiasField draws its coefficients from -0.5 to 0.5.
    n, terms = len(images), len(transforms.BIAS_TERMS)
    coefficients = _uniform(n * terms, -0.5 * strength, 0.5 * strength, generator).view(n, terms)
    return transforms.bias_field(images, coefficients)


def _standard(images: Tensor, generator: Generator) -> Tensor:
    return _bias_field(_contrast(_affine(images, generator), generator), generator)


def _traditional(images: Tensor, generator: Generator) -> Tensor:
    moved = _affine(_flip(images, generator), generator, 0.5)
    return _bias_field(_contrast(moved, generator, 0.5), generator, 0.5)


def _crop(images: Tensor, generator: Generator) -> Tensor:
    # RandomResizedCrop without its distortion, since the aspect of a head is anatomy.
    n = len(images)
    side = _uniform(n, 0.7, 1, generator).sqrt()
    shift_x, shift_y = _uniform(2 * n, -1, 1, generator).view(2, n) * (1 - side)
    return warp(images, affine_matrices(n, zoom=1 / side, shift_x=shift_x, shift_y=shift_y))


def _blur(images: Tensor, generator: Generator) -> Tensor:
    return transforms.blur(images, _uniform(len(images), 0, 1.5 * images.shape[-1] / 128, generator))


def _noise(images: Tensor, generator: Generator) -> Tensor:
    # 9 % of the brightest tissue is the noisiest level of BrainWeb's simulated scans (Cocosco et al. 1997).
    return transforms.rician_noise(images, _uniform(len(images), 0, 0.09, generator), generator=generator)


def _erase(images: Tensor, generator: Generator) -> Tensor:
    # Zhong et al. 2020, torchvision's RandomErasing: half of the images, 2 to 33 % of the area, aspect 0.3 to 3.3.
    n = len(images)
    erased = _uniform(n, 0, 1, generator) < 0.5
    area = _uniform(n, 0.02, 0.33, generator)
    aspect = (3.3 ** _uniform(n, -1, 1, generator)).clamp(area, 1 / area)
    corner = _uniform(2 * n, 0, 1, generator).view(2, n)
    inside = rectangles(tuple(images.shape[-2:]), area=area, aspect=aspect, corner=corner)
    return images.masked_fill((inside & erased[:, None, None])[:, None], 0.0)


def _elastic(images: Tensor, generator: Generator) -> Tensor:
    n, points = len(images), transforms.LATTICE_POINTS
    reach = 2 * 6 / 128  # in half widths: 6 of 128 pixels, below the 7.7 at which a fold becomes possible
    control = _uniform(2 * n * points**2, -reach, reach, generator).view(n, 2, points, points)
    displacement = transforms.elastic_displacement(control, image_size=images.shape[-1])
    return warp(images, affine_matrices(n).to(images.device), displacement=displacement)


def _mixup(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    # Zhang et al. 2018. The share is drawn from Beta(0.2, 0.2), the paper's for ImageNet, by inversion: torch's own
    # sampler of this distribution takes no generator.
    uniform = _uniform(len(images), 0, 1, generator).cpu().double()
    share = torch.from_numpy(betaincinv(0.2, 0.2, uniform.numpy())).float().to(generator.device)
    partner = torch.randperm(len(images), generator=generator, device=generator.device)
    mixed = torch.lerp(images[partner], images, share[:, None, None, None])
    return mixed.clamp_(0, 1), torch.lerp(targets[partner], targets, share[:, None])


def _cutmix(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    # Yun et al. 2019. The rectangle's area is uniform, as in the paper. It has the image's aspect and lies entirely
    # inside it; the target counts the pixels pasted.
    n = len(images)
    area = 1 - _uniform(n, 0, 1, generator)
    corner = _uniform(2 * n, 0, 1, generator).view(2, n)
    inside = rectangles(tuple(images.shape[-2:]), area=area, aspect=torch.ones_like(area), corner=corner)
    partner = torch.randperm(n, generator=generator, device=generator.device)
    pasted = torch.where(inside[:, None], images[partner], images)
    share = 1 - inside.float().mean((1, 2))
    return pasted, torch.lerp(targets[partner], targets, share[:, None])


_CHANGES: Mapping[str, Callable[[Tensor, Generator], Tensor]] = MappingProxyType(
    {
        "none": _none, "flip": _flip, "rotate": _rotate, "affine": _affine, "crop": _crop, "blur": _blur,
        "contrast": _contrast, "noise": _noise, "erase": _erase, "bias-field": _bias_field, "elastic": _elastic,
        "standard": _standard, "traditional": _traditional, "autoaugment": automated.autoaugment,
        "randaugment": automated.randaugment, "trivialaugment": automated.trivialaugment, "augmix": automated.augmix,
    }
)  # fmt: skip
_MIXERS = MappingProxyType({"mixup": _mixup, "cutmix": _cutmix})
POLICIES = (*_CHANGES, *_MIXERS)
