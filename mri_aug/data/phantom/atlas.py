"""The average brain, the frame that slices see it through, and tools to bend it: random fields, interpolation.

The templates are nilearn's MNI152 T1, grey and white matter, which ship inside the package; nothing here
touches the network, draws people or knows of atrophy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from mri_aug.data.imageset import IMAGE_SIZE

# Millimetres of MNI space per pixel. The originals are 176 x 208 mm Talairach slices squeezed into a square,
# so a pixel is taller than wide; the origin puts the brain where the originals have it, forehead down.
PIXEL_MM = (1.42, 1.68)  # across, down
FRAME_CENTRE = (62.5, 63.5)  # column, row of the centre of the brain's outline
BRAIN_CENTRE = (0.0, -17.0)  # the same point in MNI space, x and y
SLICE_MM = 1.0
FIRST_SLICE = -4.0  # z of the lowest of 32 slices: the thalamus; the highest is above the ventricles
N_SLICES = 32

_TEMPLATE_ORIGIN = (-98, -134, -72)  # MNI coordinates of nilearn's voxel (0, 0, 0), voxels of 1 mm
_CROP = (slice(14, 182), slice(16, 218), slice(46, 122))  # voxels kept; z from -26 to 49 mm


@dataclass(frozen=True)
class Atlas:
    """The average brain, cropped to the slab that the slices cross.

    Parameters
    ----------
    volumes : ndarray of float32, shape (8, z, y, x), voxels of 1 mm
        Grey and white matter probability; T1 in [0, 1]; distance in mm inside the brain's outline;
        distance in mm outside the ventricles (negative in them); the unit direction away from them.
    origin : tuple of float
        MNI coordinates (x, y, z) of the first voxel, mm.
    """

    volumes: np.ndarray
    origin: tuple[float, float, float]


@cache
def load_atlas() -> Atlas:
    """Read the templates that nilearn ships (no network) and measure outline and ventricles, in about 4 s.

    Returns
    -------
    Atlas
        Read-only; a second call in a process returns the same one (82 MB).
    """
    from nilearn import datasets  # imported late: it takes a second, and workers do without it

    loaders = (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template, datasets.load_mni152_template)
    grey, white, t1 = (np.asarray(load(resolution=1).dataobj, np.float32)[_CROP].transpose(2, 1, 0) for load in loaders)
    brain = t1 > 0
    # A closing by 8 mm bridges the sulci, as skull stripping does.
    hull = ndimage.distance_transform_edt(ndimage.distance_transform_edt(~brain) < 8) > 8
    hull = ndimage.binary_fill_holes(hull | brain)
    inside = ndimage.distance_transform_edt(hull) - ndimage.distance_transform_edt(~hull)
    inside = ndimage.gaussian_filter(inside.astype(np.float32), 2.0)

    fluid = (grey + white < 0.5) & (inside > 28)
    z, y, x = np.ogrid[tuple(slice(crop.start, crop.stop) for crop in reversed(_CROP))]
    x, y, z = x + _TEMPLATE_ORIGIN[0], y + _TEMPLATE_ORIGIN[1], z + _TEMPLATE_ORIGIN[2]
    fluid &= ~((np.abs(x) < 15) & (y < -24) & (z < 12))  # the cistern behind the midbrain is no ventricle
    outside = ndimage.distance_transform_edt(~fluid) - ndimage.distance_transform_edt(fluid)
    outside = ndimage.gaussian_filter(outside.astype(np.float32), 0.8)
    push = np.stack(np.gradient(ndimage.gaussian_filter(outside, 2.0))[::-1])
    push /= np.maximum(np.linalg.norm(push, axis=0), 0.3)
    origin = tuple(float(o + crop.start) for o, crop in zip(_TEMPLATE_ORIGIN, _CROP, strict=True))
    volumes = np.stack([grey, white, t1, inside, outside, *push]).astype(np.float32)
    volumes.flags.writeable = False
    return Atlas(volumes, origin)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], knot_mm: float, n_channels: int) -> Tensor:
    """Draw smooth random fields: cubic B-splines with independent normal coefficients.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (slices, rows, columns)
    knot_mm : float
        Distance between spline knots, mm: about half the shortest wavelength.
    n_channels : int

    Returns
    -------
    Tensor of float32, shape (n_channels, slices, rows, columns)
        Mean 0 and variance 1 over draws.
    """
    spacings = (SLICE_MM, PIXEL_MM[1], PIXEL_MM[0])
    bases = [_spline_basis(n, spacing / knot_mm) for n, spacing in zip(shape, spacings, strict=True)]
    field = torch.from_numpy(rng.standard_normal((n_channels, *(b.shape[1] for b in bases)), dtype=np.float32))
    return torch.einsum("ckji,zk,yj,xi->czyx", field, *bases)


def _spline_basis(n: int, step: float) -> Tensor:
    """Return the (n, knots) matrix of cubic B-splines at 0, step, 2 step...; rows have unit norm."""
    position = np.arange(n)[:, None] * step
    distance = np.abs(position - (np.arange(int(position[-1, 0]) + 4)[None] - 1))
    basis = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
    return torch.from_numpy((basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32))


def sample(volumes: Tensor, origin, points: Tensor, *, where: Tensor | None = None, spacing: float = 1.0) -> Tensor:
    """Interpolate volumes linearly at points in mm; beyond the border the border's value holds.

    Parameters
    ----------
    volumes : Tensor of float32, shape (c, z, y, x)
    origin : (x, y, z) of the first voxel, mm
    points : Tensor of float32, shape (..., 3), x, y and z in mm
    where : Tensor of bool, shape (...), optional
        Points outside it are not looked up (most of the time goes here) and get 0.
    spacing : float
        Voxel size, mm.

    Returns
    -------
    Tensor of float32, shape (c, ...)
    """
    if where is not None:
        values = torch.zeros(len(volumes), *points.shape[:-1])
        values[:, where] = sample(volumes, origin, points[where], spacing=spacing)
        return values
    last = torch.tensor(volumes.shape[:0:-1], dtype=torch.float32) - 1
    grid = (points - torch.tensor(origin, dtype=torch.float32)) / spacing / last * 2 - 1
    values = F.grid_sample(volumes[None], grid.reshape(1, 1, 1, -1, 3), padding_mode="border", align_corners=True)
    return values.reshape(len(volumes), *points.shape[:-1])


def frame(n_slices: int) -> Tensor:
    """Return where the pixels of the middle ``n_slices`` of the 32 lie in the average brain, (n, 128, 128, 3), mm."""
    first = FIRST_SLICE + SLICE_MM * (N_SLICES - n_slices) / 2
    z = first + SLICE_MM * torch.arange(n_slices, dtype=torch.float32)
    pixels = torch.arange(IMAGE_SIZE, dtype=torch.float32)
    x = (pixels - FRAME_CENTRE[0]) * PIXEL_MM[0] + BRAIN_CENTRE[0]
    y = (pixels - FRAME_CENTRE[1]) * PIXEL_MM[1] + BRAIN_CENTRE[1]
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([x, y, z], dim=-1)
