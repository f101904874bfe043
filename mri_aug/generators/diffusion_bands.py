"""Images as a diffusion model sees them: blocks of pixels turned into frequency bands of equal spread.

The transform is fixed, orthonormal and without loss up to rounding. It learns nothing but the mean and the spread of
each band, looks at no label, and does not smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 4  # pixels per side: an image of 128 x 128 becomes 16 bands of 32 x 32
_TISSUE = 25  # grey level that no background reaches and all tissue but the darkest fluid exceeds
_REACH = 8  # pixels around tissue where JPEG leaves traces in real images; beyond, they are black


@dataclass(frozen=True, eq=False)
class Bands:
    """The frequency bands of 4 x 4 blocks, shifted to mean 0 and scaled towards equal spread over the training images.

    A convolution on 16 bands of 32 x 32 costs a sixteenth of one on 128 x 128 pixels. Each band is divided by the
    square root of its spread, half-way between pixels and whitening. In pixels, noise drowns fine detail long before
    it touches the coarse shape, and a small error of the model is visible noise; with all bands whitened (tried, four
    minutes of training), the coarsest, whose spread is 140 times that of the finest, was left with errors that showed
    as blocks.

    Parameters
    ----------
    mean, scale : Tensor of float32, shape (1, 16, 1, 1)
        Of each band, in units of half the grey scale. Scaled bands have a mean square of 1 together.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Bands:
        """Measure the bands of images, uint8 (n, 1, 128, 128)."""
        sums, squares, n = torch.zeros(BLOCK**2).double(), torch.zeros(BLOCK**2).double(), 0
        for part in images.split(256):
            bands = _to_bands(part).double()
            sums += bands.sum((0, 2, 3))
            squares += bands.square().sum((0, 2, 3))
            n += bands[:, 0].numel()
        mean = sums / n
        # A band without spread, as in blank images, must not be divided by 0.
        std = (squares / n - mean.square()).clamp(min=1e-6).sqrt()
        scale = (std * std.mean()).sqrt()
        return cls(*(values.float()[None, :, None, None] for values in (mean, scale)))

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images (n, 1, 128, 128) as float32 bands (n, 16, 32, 32)."""
        return (_to_bands(images) - self.mean.to(images.device)) / self.scale.to(images.device)

    def decode(self, bands: Tensor) -> Tensor:
        """Return bands (n, 16, 32, 32) as uint8 images (n, 1, 128, 128), rounded and clipped to 0..255."""
        bands = bands.float() * self.scale.to(bands.device) + self.mean.to(bands.device)
        blocks = torch.einsum("kp,nkhw->nphw", _cosines(bands.device), bands)
        pixels = functional.pixel_shuffle(blocks, BLOCK)
        return pixels.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def blacken_background(images: Tensor) -> Tensor:
    """Return uint8 images (n, 1, height, width) with all pixels further than 8 from tissue set to 0, as real ones."""
    near = functional.max_pool2d((images >= _TISSUE).float(), 2 * _REACH + 1, stride=1, padding=_REACH)
    return images * near.to(torch.uint8)


def _to_bands(images: Tensor) -> Tensor:
    blocks = functional.pixel_unshuffle(images.float() / 127.5 - 1, BLOCK)
    return torch.einsum("kp,nphw->nkhw", _cosines(images.device), blocks)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal two-dimensional DCT-II of a block, (16, 16): one row per band, one column per pixel."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi * k[:, None] * (2 * k[None] + 1) / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).float().to(device)
