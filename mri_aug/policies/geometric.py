"""Where each pixel comes from: affine and elastic warps and rectangles, one per image of a batch.

This module draws no random numbers (:mod:`mri_aug.policies.registry` does) and changes grey values by interpolation
only. What comes into view from outside the image is black, like the background of a skull-stripped slice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LATTICE_CELLS = 8  # between the control points of an elastic warp, along a side of the image
LATTICE_POINTS = LATTICE_CELLS + 3  # along a side: a cubic spline needs one beyond each edge


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
    """Compose one affine map per image, from an output position to the input position shown there.

    Positions run from -1 to 1 over the image, x to the right and y down. The map is the shear, then the zoom, then
    the rotation, then the shift, so that a whole chain of geometric augmentations costs a single interpolation.

    Parameters
    ----------
    n : int
        Number of images; every other argument is a tensor of shape (n,) or one number for all of them.
    degrees : Tensor or float
        Rotation of what is seen, anticlockwise.
    zoom : Tensor or float
        Magnification, above 0; 2 shows a quarter of the image.
    shear_x, shear_y : Tensor or float
        Horizontal and vertical shear, as tangents.
    shift_x, shift_y : Tensor or float
        Offset of the part of the input that is shown, in half widths and half heights.

    Returns
    -------
    Tensor of float32, shape (n, 2, 3)
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
    """Resample each image under its own affine map, bilinearly, once.

    Parameters
    ----------
    images : Tensor of float32, shape (n, 1, height, width)
    matrices : Tensor of float32, shape (n, 2, 3)
        From :func:`affine_matrices`.
    displacement : Tensor of float32, shape (n, 2, height, width), optional
        Added to the positions (x, then y), in half widths and half heights.

    Returns
    -------
    Tensor of float32, shape (n, 1, height, width)
    """
    height, width = images.shape[-2:]
    x = _pixel_centres(width, images.device)
    y = _pixel_centres(height, images.device)[:, None]
    # Broadcasting three terms is several times faster on a processor than affine_grid's batched matrix product.
    a = matrices[:, :, :, None, None]
    grid = (a[:, :, 0] * x + a[:, :, 2]) + a[:, :, 1] * y
    if displacement is not None:
        grid = grid + displacement
    # A view with the coordinates last serves as well as a copy, which would double the memory traffic.
    grid = grid.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def elastic_displacement(control: Tensor, *, image_size: int) -> Tensor:
    """Spread the displacements of a lattice's control points smoothly over the image.

    The field is a uniform cubic B-spline, as in free-form deformation (Rueckert et al. 1999). It cannot fold where
    no control point moves further than 0.48 of the lattice's spacing (Choi and Lee 2000): 7.7 of 128 pixels.

    Parameters
    ----------
    control : Tensor of float32, shape (n, 2, LATTICE_POINTS, LATTICE_POINTS)
        Displacement (x, then y) of each control point.
    image_size : int
        Height and width of the field in pixels.

    Returns
    -------
    Tensor of float32, shape (n, 2, image_size, image_size)
        In the units of ``control``.
    """
    position = (torch.arange(image_size, device=control.device) + 0.5) * LATTICE_CELLS / image_size + 1
    distance = (position[:, None] - torch.arange(LATTICE_POINTS, device=control.device)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    basis = torch.where(distance < 1, near, far)
    return basis @ control @ basis.T


def rectangles(size: tuple[int, int], *, area: Tensor, aspect: Tensor, corner: Tensor) -> Tensor:
    """Mark one rectangle per image, entirely inside it.

    Parameters
    ----------
    size : tuple of int
        Height and width of the image in pixels.
    area : Tensor of float32, shape (n,)
        Share of the image, from 0 to 1; what is marked differs from it by rounding to pixels.
    aspect : Tensor of float32, shape (n,)
        Width over height, from ``area`` to ``1 / area``.
    corner : Tensor of float32, shape (2, n), from 0 to below 1
        Where the rectangle starts, down and across, as a share of the room that there is.

    Returns
    -------
    Tensor of bool, shape (n, height, width)
    """
    inside = []
    for share, length, at in zip(((area / aspect).sqrt(), (area * aspect).sqrt()), size, corner, strict=True):
        extent = (share * length).round().clamp(max=length)
        start = (at * (length - extent + 1)).floor()
        position = torch.arange(length, device=area.device)
        inside.append((position >= start[:, None]) & (position < (start + extent)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _pixel_centres(n: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(n, device=device) + 1) / n - 1
