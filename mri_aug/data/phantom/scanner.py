"""The scanner and what follows it, up to the JPEG: tissue in, grey values out. Knows no anatomy and no classes.

Grey values and noise were matched to the thesis's images by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from mri_aug.data.phantom.anatomy import Slab, smooth_field

_JPEG_QUALITY = 90  # read off the quantisation tables of the thesis's images
_LEVELS, _LEVEL_SDS = (28, 112, 219), np.array((3, 6, 5))  # fluid, grey and white matter, between people


@dataclass(frozen=True)
class Scanner:
    """How people are scanned, and how much that differs between them.

    With strength x, between people: tissue levels spread 1 + 2 x times as much, receive bias 1 + x times; noise has an
    upper limit 1 + x times as high; gamma varies by a factor of exp(0.2 x) (one standard deviation); and resolution
    falls by a factor of up to 1 + x along each axis.
    """

    strength: float = 0.0  # of the randomisation: 0 is the phantoms' scanner, 1 the most
    blur: float = 0.0  # standard deviation of the point spread, pixels, added for everybody
    tone: tuple[float, ...] = ()  # 256 grey values in place of 0..255; empty: left as they are


def scan(slab: Slab, rng: np.random.Generator, scanner: Scanner | None = None) -> np.ndarray:
    """Turn tissue into grey values: contrast, receive bias, Rician noise, brightness, blur, tone, JPEG.

    Parameters
    ----------
    slab : Slab
        Neighbouring slices of one person.
    rng : numpy.random.Generator
    scanner : Scanner, optional
        The phantoms' own by default.

    Returns
    -------
    ndarray of uint8, shape (n_slices, 128, 128)
    """
    scanner = scanner or Scanner()
    shape, wider = slab.fluid.shape, 1 + 2 * scanner.strength
    fluid, grey, white = rng.normal(_LEVELS, _LEVEL_SDS * wider)
    white = min(white, 235)  # wide spreads neither saturate nor leave the order of T1 weighting
    grey = np.clip(grey, fluid + 40, white - 40)
    signal = torch.lerp(grey + (white - grey) * slab.whiteness, torch.tensor(float(fluid)), slab.fluid)
    mottle = smooth_field(rng, shape, 2.5, 1)[0]
    bias = torch.exp(0.05 * (1 + scanner.strength) * smooth_field(rng, shape, 60.0, 1)[0])
    signal = signal * (1 + 0.02 * mottle) * bias
    sigma = rng.uniform(2.5, 4.5 * (1 + scanner.strength))
    noise = torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32)) * sigma
    # Magnitude images have Rician noise: the length of a complex signal (Gudbjartsson & Patz 1995, eq. 1).
    magnitude = torch.hypot(signal + noise[0], noise[1]) * slab.mask * _brightness(shape[0], rng)
    images = magnitude.clamp(0, 255).numpy()
    gamma, wide = rng.normal(0, 0.2), 1 + scanner.strength * rng.uniform(0, 1, 2)
    # A pixel w times as wide is a box whose variance is (w^2 - 1) / 12 larger.
    images = _soften(images, np.sqrt(scanner.blur**2 + (wide**2 - 1) / 12))
    curve = 255 * np.linspace(0, 1, 256) ** np.exp(gamma * scanner.strength)
    curve = np.interp(curve, np.arange(256), scanner.tone or np.arange(256)).round().astype(np.uint8)
    return np.stack([_jpeg(image) for image in curve[images.round().astype(np.uint8)]])


def _brightness(n_slices: int, rng: np.random.Generator) -> Tensor:
    """Scale each slice; runs of slices with a bright vessel are darker, as each original is scaled to its maximum."""
    vessel = smooth_field(rng, (n_slices, 1, 1), 2.0, 1)[0]
    return rng.normal(1.0, 0.04) / (1 + 0.6 * (vessel - 1.3).clamp(min=0))


def _soften(images: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Blur by Gaussians of ``sigma`` pixels, across and down."""
    if not sigma.any():
        return images
    across, down = np.maximum(sigma, 0.01)
    return np.stack([cv2.GaussianBlur(image, (0, 0), across, sigmaY=down) for image in images])


def _jpeg(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
