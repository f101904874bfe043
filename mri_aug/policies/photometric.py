"""What each pixel's grey value becomes: blur, contrast, noise, bias field and the grey operations of AutoAugment.

Every function takes float images of shape (n, 1, height, width) in [0, 1] with one parameter per image and returns
images of the same shape in [0, 1]. Nothing here draws its own parameters or moves a pixel; only :func:`rician_noise`
draws at all, and from the given generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BIAS_ORDER = 3  # degree of the bias field's polynomial, as in TorchIO's RandomBiasField
# its terms x^i y^j as (i, j), without the constant one
BIAS_TERMS = tuple((i, j) for i in range(BIAS_ORDER + 1) for j in range(BIAS_ORDER + 1 - i) if i + j > 0)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur with a Gaussian of its own width per image.

    Parameters
    ----------
    sigma : Tensor of float32, shape (n,)
        Standard deviations in pixels, up to 2; 0 leaves an image as it is.
    """
    radius = 4  # pixels: more than two and a half of the largest standard deviation that is drawn
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None].clamp(min=1e-3)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    return _filter_each(_filter_each(padded, kernel[:, None, None, :]), kernel[:, None, :, None])


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed copy: factor 0 is the copy, 1 the image, above 1 is sharper (PIL's ``Sharpness``)."""
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    smooth = images.clone()  # the outermost pixels are left as they are, as PIL does
    smooth[..., 1:-1, 1:-1] = _filter_each(images, (kernel / kernel.sum()).expand(len(images), 1, 3, 3))
    return _blend(smooth, images, factor)


def change_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the grey values by one factor per image."""
    return (images * _per_image(factor)).clamp(0, 1)


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey (PIL's ``Contrast``); below 1, a black background turns grey."""
    return _blend(images.mean((1, 2, 3), keepdim=True), images, factor)


def change_tone(images: Tensor, gamma: Tensor, gain: Tensor) -> Tensor:
    """Return ``gain * images ** gamma``: contrast and brightness change while black stays black."""
    return (images.pow(_per_image(gamma)) * _per_image(gain)).clamp(0, 1)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the given number of bits of each grey value, with torchvision's rounding for float images."""
    levels = _per_image(2.0**bits)
    return torch.minimum((images * levels).floor(), levels - 1) / levels


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the grey values at or above one threshold per image."""
    return torch.where(images >= _per_image(threshold), 1 - images, images)


def rician_noise(images: Tensor, sigma: Tensor, *, generator: torch.Generator) -> Tensor:
    """Add the noise of a magnitude image: the modulus of a signal with Gaussian noise in both its channels.

    It is nearly Gaussian in tissue and lifts the background above zero (Gudbjartsson and Patz 1995).

    Parameters
    ----------
    sigma : Tensor of float32, shape (n,)
        Standard deviation in each of the two channels, in units of the full grey range.
    """
    scale = _per_image(sigma)
    real = torch.randn(images.shape, generator=generator, device=images.device).mul_(scale).add_(images)
    imaginary = torch.randn(images.shape, generator=generator, device=images.device).mul_(scale)
    return torch.hypot(real, imaginary).clamp_(0, 1)


def bias_field(images: Tensor, coefficients: Tensor) -> Tensor:
    """Multiply by a smooth field, as an uneven receive coil does: the exponential of a polynomial in x and y.

    The model is that of Van Leemput et al. 1999. Each image keeps its brightest value, as after a
    scanner's export, so that no tissue is clipped; the constant term is left out since it would change nothing.

    Parameters
    ----------
    coefficients : Tensor of float32, shape (n, len(BIAS_TERMS))
        Of each term, with x and y from -1 to 1 over the image.
    """
    height, width = images.shape[-2:]
    size = BIAS_ORDER + 1
    matrix = torch.zeros(len(images), size, size, device=images.device)
    for column, (i, j) in enumerate(BIAS_TERMS):
        matrix[:, j, i] = coefficients[:, column]
    powers = torch.arange(size, device=images.device)
    x = torch.linspace(-1, 1, width, device=images.device)[:, None] ** powers
    y = torch.linspace(-1, 1, height, device=images.device)[:, None] ** powers
    field = (y @ matrix @ x.T).exp_()
    shaded = images * field[:, None]
    brightest = shaded.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return shaded.mul_(images.amax((1, 2, 3), keepdim=True) / brightest).clamp_(0, 1)


def _per_image(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other.expand_as(images), images, _per_image(factor)).clamp_(0, 1)


def _filter_each(images: Tensor, kernels: Tensor) -> Tensor:
    # The batch becomes channels of one image: a grouped convolution gives each its own kernel, and on a processor
    # is tens of times faster than a one-channel convolution of a batch.
    return F.conv2d(images.transpose(0, 1), kernels, groups=len(images)).transpose(0, 1)
