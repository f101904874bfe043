"""Augmentation policies by name: how a batch of training images is changed each time it is seen.

Each image gets its own draw, in one vectorised pass, from the generator that is passed in. What a policy may do to a
diagnosis is data here (``POLICY_NOTES``), and what it draws is told in :mod:`mri_aug.policies.draws`; whether it helps
is for :mod:`mri_aug.study` to say. The kernels are in the package's other modules. Nothing here makes an image for
keeps (generators do) or knows about training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mri_aug.policies import automated, mixing, photometric
from mri_aug.policies.geometric import affine_matrices, elastic_displacement, lattice_points, rectangles, warp

MAX_STRENGTH = 2.0

POLICY_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "none": "Leaves the slice as it was scanned.",
        "flip": "Swaps left and right, so a lateralised atrophy counts the same on either side.",
        "rotate": "Tilts the head by up to 15 degrees, which no diagnosis depends on, and softens edges a little.",
        "affine": "Moves, tilts, shears and scales the head; scaling also changes the apparent size of the ventricles.",
        "crop": "Magnifies a part of the slice, so cortex at the edge may be lost and the ventricles look larger.",
        "blur": "Hides narrow sulci and the hippocampal border, where early atrophy shows.",
        "contrast": "Shifts the tone of grey against white matter, as another scanner would, and keeps black black.",
        "noise": "Adds a magnitude image's Rician noise, under which subtle atrophy drowns before gross atrophy.",
        "erase": "Blacks out a rectangle, which may hold the very region that shows the disease or look like a cyst.",
        "bias-field": "Shades the slice as an uneven coil does; anatomy stays as it is.",
        "elastic": "Bends the anatomy, so sulci and ventricles may widen or shrink as they do between the classes.",
        "traditional": "Flips, moves, retones and shades, each about as much as repeated scans of one person differ.",
        "autoaugment": "Equalises, solarises or inverts as learnt on photographs; fluid may outshine tissue.",
        "randaugment": "Draws two photographic operations, under which grey and white matter may look alike.",
        "trivialaugment": "Draws one photographic operation of any force, up to a sheared or upside-down head.",
        "augmix": "Overlays shifted copies of the slice, so sulci may be doubled and their width becomes uncertain.",
        "mixup": "Averages two people and their diagnoses; no such anatomy exists, and the label may be in between.",
        "cutmix": "Pastes a rectangle of another person, labelled by its area and not by whether it shows the disease.",
    }
)
POLICIES = tuple(POLICY_NOTES)


@dataclass(frozen=True)
class Policy:
    """A policy with its strength, ready to be called on batches; make it with :func:`make_policy`."""

    name: str
    strength: float = 1.0  # 0 changes nothing, 1 is the documented default, 2 the most
    n_classes: int = 4  # width of the soft labels of mixup and cutmix

    def __call__(self, images: Tensor, labels: Tensor, *, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return changed copies of the images, and their targets.

        Parameters
        ----------
        images : floating Tensor, shape (n, 1, size, size), in [0, 1]
            On the generator's kind of device. Half precision is computed in float32.
        labels : Tensor of int64, shape (n,)
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        images : Tensor
            As given: same shape, type and range.
        targets : Tensor
            The labels, or for ``mixup`` and ``cutmix`` float32 probabilities of shape (n, n_classes).

        Raises
        ------
        ValueError
            If the images are not as described, or live on another kind of device than the generator.
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
            if self.strength == 0:
                return images, soft
            changed, targets = _MIXERS[self.name](images.float(), soft, self.strength, generator)
            return changed.to(images.dtype), targets
        if self.strength == 0:
            return images, labels
        return _CHANGES[self.name](images.float(), self.strength, generator).to(images.dtype), labels


def make_policy(name: str, *, strength: float = 1.0, n_classes: int = 4) -> Policy:
    """Return the policy of that name.

    Parameters
    ----------
    name : str
        One of ``POLICIES``.
    strength : float, default 1.0
        From 0 (nothing changes) to 2. It scales the range that parameters are drawn from; for ``flip`` the chance
        (0.5 at 1), for ``mixup`` and ``cutmix`` the parameter of the beta distribution, and for the automated
        policies the magnitude of an operation, not how often it is drawn.
    n_classes : int, default 4
        Width of the soft labels of ``mixup`` and ``cutmix``.

    Raises
    ------
    ValueError
        If there is no such policy, or the strength is out of range.
    """
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; choose one of: {', '.join(POLICIES)}")
    if not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"strength of policy {name!r} must lie in 0..{MAX_STRENGTH:g}, got {strength}")
    return Policy(name, float(strength), n_classes)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


def _none(images: Tensor, strength: float, generator: Generator) -> Tensor:
    return images


def _flip(images: Tensor, strength: float, generator: Generator) -> Tensor:
    flipped = _uniform(len(images), 0, 1, generator) < 0.5 * strength
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def _rotate(images: Tensor, strength: float, generator: Generator) -> Tensor:
    degrees = _uniform(len(images), -15 * strength, 15 * strength, generator)
    return warp(images, affine_matrices(len(images), degrees=degrees))


def _affine(images: Tensor, strength: float, generator: Generator) -> Tensor:
    n = len(images)
    degrees = _uniform(n, -10 * strength, 10 * strength, generator)
    zoom = torch.exp(_uniform(n, -0.1 * strength, 0.1 * strength, generator))
    shear_x, shear_y, shift_x, shift_y = _uniform(4 * n, -0.1 * strength, 0.1 * strength, generator).view(4, n)
    matrices = affine_matrices(
        n, degrees=degrees, zoom=zoom, shear_x=shear_x, shear_y=shear_y, shift_x=shift_x, shift_y=shift_y
    )
    return warp(images, matrices)


def _crop(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # At strength 1 a window of at least 70 % of the area, resized: RandomResizedCrop without its distortion,
    # since the aspect of a head is anatomy.
    n = len(images)
    side = _uniform(n, 1 - 0.3 * strength, 1, generator).sqrt()
    shift_x, shift_y = _uniform(2 * n, -1, 1, generator).view(2, n) * (1 - side)
    return warp(images, affine_matrices(n, zoom=1 / side, shift_x=shift_x, shift_y=shift_y))


def _blur(images: Tensor, strength: float, generator: Generator) -> Tensor:
    return photometric.blur(images, _uniform(len(images), 0, 1.5 * strength, generator))


def _contrast(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # TorchIO's RandomGamma draws the logarithm of gamma from -0.3 to 0.3. A gain above 1 would clip white matter.
    gamma = torch.exp(_uniform(len(images), -0.3 * strength, 0.3 * strength, generator))
    gain = torch.exp(_uniform(len(images), -0.3 * strength, 0.0, generator))
    return photometric.change_tone(images, gamma, gain)


def _noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # 9 % of the brightest tissue is the noisiest level of BrainWeb's simulated scans (Cocosco et al. 1997).
    return photometric.rician_noise(images, _uniform(len(images), 0, 0.09 * strength, generator), generator=generator)


def _erase(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # Zhong et al. 2020, torchvision's RandomErasing: half of the images, 2 to 33 % of the area, aspect 0.3 to 3.3.
    n = len(images)
    erased = _uniform(n, 0, 1, generator) < 0.5
    area = _uniform(n, 0.02, max(0.02, 0.33 * strength), generator)
    aspect = (3.3 ** _uniform(n, -1, 1, generator)).clamp(area, 1 / area)
    corner = _uniform(2 * n, 0, 1, generator).view(2, n)
    inside = rectangles(tuple(images.shape[-2:]), area=area, aspect=aspect, corner=corner)
    return images.masked_fill((inside & erased[:, None, None])[:, None], 0.0)


def _bias_field(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # TorchIO's RandomBiasField draws its coefficients from -0.5 to 0.5.
    n, terms = len(images), photometric.n_bias_coefficients()
    coefficients = _uniform(n * terms, -0.5 * strength, 0.5 * strength, generator).view(n, terms)
    return photometric.bias_field(images, coefficients)


def _elastic(images: Tensor, strength: float, generator: Generator) -> Tensor:
    # 6 pixels at most, below the 7.7 at which a fold becomes possible.
    n, size = len(images), images.shape[-1]
    points = lattice_points(size)
    reach = 2 * 6.0 * strength / size  # in half widths
    control = _uniform(2 * n * points**2, -reach, reach, generator).view(n, 2, points, points)
    displacement = elastic_displacement(control, image_size=size)
    return warp(images, affine_matrices(n).to(images.device), displacement=displacement)


def _traditional(images: Tensor, strength: float, generator: Generator) -> Tensor:
    moved = _affine(_flip(images, strength, generator), 0.5 * strength, generator)
    return _bias_field(_contrast(moved, 0.5 * strength, generator), 0.5 * strength, generator)


_CHANGES: Mapping[str, Callable[[Tensor, float, Generator], Tensor]] = MappingProxyType(
    {
        "none": _none,
        "flip": _flip,
        "rotate": _rotate,
        "affine": _affine,
        "crop": _crop,
        "blur": _blur,
        "contrast": _contrast,
        "noise": _noise,
        "erase": _erase,
        "bias-field": _bias_field,
        "elastic": _elastic,
        "traditional": _traditional,
        "autoaugment": automated.autoaugment,
        "randaugment": automated.randaugment,
        "trivialaugment": automated.trivialaugment,
        "augmix": automated.augmix,
    }
)
_MIXERS = MappingProxyType({"mixup": mixing.mixup, "cutmix": mixing.cutmix})
