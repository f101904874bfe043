"""Where each pixel comes from and what its grey value becomes: warps, rectangles, blur, contrast, noise and bias field.

Every function takes images of shape (n, 1, height, width) in [0, 1] and one parameter per image (a tensor of shape
(n,)), and returns images alike. What comes into view from outside an image is black, like the background of a
skull-stripped slice. Only :func:`rician_noise` draws random numbers, from the given generator; policies draw the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LATTICE_CELLS = 8  # between the control points of an elastic warp, along a side of the image
LATTICE_POINTS = LATTICE_CELLS + 3  # along a side: a cubic spline needs one beyond each edge
BIAS_ORDER = 3  # degree of the bias field's polynomial, as in TorchIO's RandomBiasField
# its terms x^i y^j as (i, j), without the constant one
BIAS_TERMS = tuple((i, j) for i in range(BIAS_ORDER + 1) for j in range(BIAS_ORDER + 1 - i) if i + j > 0)


def affine_matrices(
    n: int,
    *,
    degrees: Tensor | float = 0.0,
    zoom: Tensor | float = 1.0,
    shear_x: Tensor | float = 0.0,
    shear_y: Tensor | float = 0.0,
    shift_x: Tensor | float = 0.0,
    shift_y: Tensor | float = 0.0,
) -> Tensor:
    """Compose one affine map per image, (n, 2, 3), from an output position to the input position shown there.

    Positions run from -1 to 1 over the image, x to the right and y down. The map is the shear (a tangent), then the
    zoom (2 shows a quarter of the image), then the rotation of what is seen (in degrees, anticlockwise), then the shift
    of the part of the input that is shown (in half widths and half heights), so that a whole chain of geometric
    augmentations costs a single interpolation. Each is a tensor of shape (n,) or one number for all images.
    """
    given = (degrees, zoom, shear_x, shear_y, shift_x, shift_y)
    device = next((value.device for value in given if isinstance(value, Tensor)), None)
    degrees, zoom, shear_x, shear_y, shift_x, shift_y = (
        torch.as_tensor(value, dtype=torch.float32, device=device).expand(n) for value in given
    )
    radians = degrees.deg2rad()
    cos, sin = radians.cos(), radians.sin()
    size = 1 / zoom
    x_row = (cos * size - sin * size * shear_y, cos * size * shear_x - sin * size, shift_x)
    y_row = (sin * size + cos * size * shear_y, sin * size * shear_x + cos * size, shift_y)
    return torch.stack((torch.stack(x_row, -1), torch.stack(y_row, -1)), 1)


def warp(images: Tensor, matrices: Tensor, *, displacement: Tensor | None = None) -> Tensor:
    """Resample each image under its own affine map of :func:`affine_matrices`, bilinearly, once.

    A displacement, in x and y (n, 2, height, width), is added to the positions, in half widths and half heights.
    """
    y, x = ((2 * torch.arange(n, device=images.device) + 1) / n - 1 for n in images.shape[-2:])  # pixels' centres
    # Broadcasting three terms is several times faster on a processor than affine_grid's batched matrix product.
    a = matrices[:, :, :, None, None]
    grid = (a[:, :, 0] * x + a[:, :, 2]) + a[:, :, 1] * y[:, None]
    if displacement is not None:
        grid = grid + displacement
    # A view with the coordinates last serves as well as a copy, which would double the memory traffic.
    grid = grid.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def elastic_displacement(control: Tensor, *, image_size: int) -> Tensor:
    """Spread the displacements of a lattice's control points smoothly over the image.

    The field is a uniform cubic B-spline, as in free-form deformation (Rueckert et al. 1999). It cannot fold where
    no control point moves further than 0.48 of the lattice's spacing (Choi and Lee 2000): 7.7 of 128 pixels. Control
    points move in x, then y, (n, 2, LATTICE_POINTS, LATTICE_POINTS); so does the field, (n, 2, image_size, image_size).
    """
    position = (torch.arange(image_size, device=control.device) + 0.5) * LATTICE_CELLS / image_size + 1
    distance = (position[:, None] - torch.arange(LATTICE_POINTS, device=control.device)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    basis = torch.where(distance < 1, near, far)
    return basis @ control @ basis.T


def rectangles(size: tuple[int, int], *, area: Tensor, aspect: Tensor, corner: Tensor) -> Tensor:
    """Mark one rectangle per image, entirely inside it: booleans of shape (n, height, width).

    Parameters
    ----------
    size : tuple of int
        Height and width of the image in pixels.
    area, aspect : Tensor of float32, shape (n,)
        Share of the image, from 0 to 1, to within the rounding to pixels; width over height, from ``area`` to
        ``1 / area``.
    corner : Tensor of float32, shape (2, n), from 0 to below 1
        Where the rectangle starts, down and across, as a share of the room that there is.
    """
    inside = []
    for share, length, at in zip(((area / aspect).sqrt(), (area * aspect).sqrt()), size, corner, strict=True):
        extent = (share * length).round().clamp(max=length)
        start = (at * (length - extent + 1)).floor()
        position = torch.arange(length, device=area.device)
        inside.append((position >= start[:, None]) & (position < (start + extent)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur with a Gaussian of its own standard deviation per image, in pixels, up to 2; 0 changes nothing."""
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

    It is nearly Gaussian in tissue and lifts the background above zero (Gudbjartsson and Patz 1995). ``sigma`` is the
    standard deviation in each channel, in units of the full grey range.
    """
    scale = _per_image(sigma)
    real = torch.randn(images.shape, generator=generator, device=images.device).mul_(scale).add_(images)
    imaginary = torch.randn(images.shape, generator=generator, device=images.device).mul_(scale)
    return torch.hypot(real, imaginary).clamp_(0, 1)


def bias_field(images: Tensor, coefficients: Tensor) -> Tensor:
    """Multiply by a smooth field, as an uneven receive coil does: the exponential of a polynomial in x and y.

    The model is that of Van Leemput et al. 1999, with a coefficient for each of ``BIAS_TERMS`` (n, 9) and x and y from
    -1 to 1 over the image. Each image keeps its brightest value, as after a scanner's export, so that no tissue is
    clipped; the constant term is left out since it would change nothing.
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
