"""The anatomy of a simulated brain: which tissue lies where, before and after atrophy.

The average brain, from nilearn's MNI152 templates (T1, grey and white matter, which ship inside the package), is bent
into a person by a global map, a smooth deformation and folds of their own. The frame, and how far people differ, were
matched to the thesis's images by eye. Nothing here knows of grey values, classes or files.
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
_VISIBLE = 1e-3  # of the mask: what lies below leaves no grey value


@dataclass(frozen=True)
class Atlas:
    """The average brain, cropped to the slab that the slices cross.

    The volumes are grey and white matter probability; T1 in [0, 1]; distance in mm inside the brain's outline; distance
    in mm outside the ventricles (negative in them); and the unit direction away from them, x, y and z.
    """

    volumes: np.ndarray  # float32 (8, z, y, x), voxels of 1 mm
    origin: tuple[float, float, float]  # MNI coordinates (x, y, z) of the first voxel, mm


@cache
def load_atlas() -> Atlas:
    """Read the templates that nilearn ships (no network) and measure outline and ventricles, in about 4 s.

    A second call in a process returns the same atlas (82 MB, read-only).
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
    """Draw smooth random fields, float32 (n_channels, slices, rows, columns), mean 0 and variance 1 over draws.

    They are cubic B-splines with independent normal coefficients; ``shape`` is (slices, rows, columns), and
    ``knot_mm``, the distance between knots, is about half the shortest wavelength.
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
    """Interpolate volumes (c, z, y, x) linearly at points (..., 3) in mm; beyond the border the border's value holds.

    ``origin`` is (x, y, z) of the first voxel and ``spacing`` the size of a voxel, mm. Points outside ``where`` are not
    looked up (most of the time goes here) and get 0. Returns a Tensor of float32, shape (c, ...).
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


@dataclass(frozen=True)
class Slab:
    """Tissue of neighbouring slices; every tensor is float32 of shape (slices, 128, 128) in [0, 1]."""

    fluid: Tensor  # share of cerebrospinal fluid
    whiteness: Tensor  # of the rest, in T1: 0 as cortex, 1 as white matter
    mask: Tensor  # what the skull stripping kept


@dataclass(frozen=True)
class Person:
    """A person's anatomy, drawn once; atrophy is applied to it afterwards."""

    points: Tensor  # (slices, 128, 128, 3), where each pixel lies in the atlas, mm
    mask: Tensor  # (slices, 128, 128), skull stripping
    ventricle: Tensor  # (slices, 128, 128), mm outside the atlas's ventricles
    push: Tensor  # (slices, 128, 128, 3), the unit direction away from them
    folds: Tensor  # (slices, 128, 128), mm to the nearest sulcal sheet
    sulcus_depth: Tensor  # (slices, 128, 128), mm that sulci reach into the brain
    ripple: Tensor  # (slices, 128, 128), unit noise: wanders the tissue borders
    unevenness: Tensor  # (slices, 128, 128), around 1: where atrophy is stronger and weaker
    ventricle_mm: float  # ventricles' growth without disease
    sulcus_mm: float  # half width of a sulcus without disease
    cortex_mm: float  # thickness of the cortex without disease


def draw_person(atlas: Tensor, origin, rng: np.random.Generator, *, n_slices: int) -> Person:
    """Draw one person's healthy anatomy from ``Atlas.volumes``, as a tensor, and ``Atlas.origin``.

    The same number of draws is taken whatever they give.
    """
    grid = frame(n_slices)
    shape = grid.shape[:-1]
    bend = 2.2 * smooth_field(rng, shape, 32.0, 3) + 1.2 * smooth_field(rng, shape, 14.0, 3)
    bend[0] *= 0.3 + 0.7 * torch.tanh((grid[..., 0] / 25) ** 2)  # the falx keeps the midline straight
    bend = bend.movedim(0, -1)
    points = _global_map(grid, rng) + bend
    # Originals are cut to an atlas's outline, so the mask follows the person only a little.
    outline = sample(atlas[3:4], origin, grid + 0.15 * (points - grid))[0]
    mask = torch.sigmoid((outline + 0.8) / 0.35)
    ventricle, *push = sample(atlas[4:], origin, points, where=mask > _VISIBLE)
    return Person(
        points=points,
        mask=mask,
        ventricle=ventricle,
        push=torch.stack(push, dim=-1),
        folds=_fold_distance(points, mask > _VISIBLE, rng),
        sulcus_depth=(13 + 6 * smooth_field(rng, shape, 14.0, 1)[0]).clamp(2, 26),
        ripple=smooth_field(rng, shape, 3.5, 1)[0],
        unevenness=(1 + 0.2 * smooth_field(rng, shape, 28.0, 1)[0]).clamp(0.4, 1.6),
        ventricle_mm=float(np.clip(rng.normal(1.2, 0.5), -0.3, 2.7)),
        sulcus_mm=float(np.clip(rng.normal(0.45, 0.12), 0.1, 0.8)),
        cortex_mm=float(np.clip(rng.normal(2.1, 0.2), 1.6, 2.6)),
    )


def _global_map(grid: Tensor, rng: np.random.Generator) -> Tensor:
    """Scale (2.5 %), shear (2 %), tilt (2 degrees) and shift (1 mm) about the slab's centre; standard deviations."""
    matrix = np.eye(3) + np.diag(rng.normal(0, 0.025, 3)) + np.triu(rng.normal(0, 0.02, (3, 3)), 1)
    a, b, c = np.deg2rad(rng.normal(0, 2.0, 3) * (1.3, 0.5, 0.5))
    spin = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])  # a rotation to first order
    shift = rng.normal(0, 1.0, 3) * (0.8, 0.8, 1.5)
    centre = torch.tensor([*BRAIN_CENTRE, FIRST_SLICE + SLICE_MM * N_SLICES / 2], dtype=torch.float32)
    matrix = torch.tensor(matrix + spin, dtype=torch.float32)
    return (grid - centre) @ matrix.T + centre + torch.tensor(shift, dtype=torch.float32)


def _fold_distance(points: Tensor, visible: Tensor, rng: np.random.Generator) -> Tensor:
    """Distance in mm to sulcal sheets: the zeros of a random field drawn on the surface and extended inwards."""
    knot = 5.4
    coefficients = rng.standard_normal((1, 40, 46, 36), dtype=np.float32)
    # The narrow band of a difference of Gaussians spaces the sheets evenly, like gyri, about 13 mm apart.
    field = ndimage.gaussian_filter(coefficients[0], 0.9) - ndimage.gaussian_filter(coefficients[0], 1.3)
    field = torch.from_numpy(field / field.std())[None]
    # Radial projection to an ellipsoid makes sheets run inwards; a third of the depth is kept so that they curve.
    centre, radii = torch.tensor([0.0, -17.0, 8.0]), torch.tensor([68.0, 86.0, 70.0])
    ray = (points - centre) / radii
    radius = ray.norm(dim=-1, keepdim=True)
    surface = ray * (0.68 / radius.clamp(min=0.2) + 0.32) * radii
    values = sample(field, (-92.0, -124.0, -108.0), surface, where=visible, spacing=knot)
    return values[0].abs() * 4.5 + 60 * (0.45 - radius[..., 0]).clamp(min=0)  # no folds in the brain's core


def tissue(atlas: Tensor, origin, person: Person, *, severity: float) -> Slab:
    """Apply atrophy to a person: ventricles grow, the cortex thins, sulci widen.

    Takes the atlas as :func:`draw_person`, and a severity in [0, 1]; 0 is the healthy anatomy.
    """
    midline = 0.2 + 0.8 * torch.tanh((person.points[..., 0] / 9) ** 2)  # the septum and third ventricle yield less
    growth = (person.ventricle_mm + 6.0 * severity * person.unevenness) * midline
    reach = torch.exp(-((person.ventricle.clamp(min=0) / 13) ** 2))
    moved = person.points - (growth * reach)[..., None] * person.push
    grey, white, t1, depth = sample(atlas[:4], origin, moved, where=person.mask > _VISIBLE)

    half_width = person.sulcus_mm + 1.4 * severity * person.unevenness
    cortex = person.cortex_mm * (1 - 0.25 * severity)
    overshoot = (depth - person.sulcus_depth).clamp(min=0)
    sheet = torch.sqrt(person.folds**2 + overshoot**2).minimum(depth + 2.2)
    core = torch.sigmoid((depth - 27) / 2.0)
    sheet = sheet + 40 * core + 3 * (white - 0.3).clamp(min=0)

    # The templates' rim is part fluid everywhere; a person's cortex mostly touches the outline.
    spread = (1 - grey - white) * torch.sigmoid(depth - 3) + 0.07 * person.ripple
    fluid_mm = torch.minimum(sheet - half_width, 9 * (0.30 - 0.04 * severity - spread))
    fluid_mm = torch.minimum(fluid_mm, person.ventricle - growth)
    fluid_mm = torch.minimum(fluid_mm, depth + 2.5 - 2.2 * severity)
    threshold = -0.15 + 0.40 * torch.sigmoid((depth - 11) / 2) + 0.22 * core
    white_mm = torch.minimum(sheet - half_width - cortex, 7 * (white + 0.07 * person.ripple - threshold))
    white_mm = torch.minimum(white_mm, 14 * (0.17 - spread))
    # In the core the T1 template describes nuclei, from thalamus to white matter, better than two tissues do.
    nuclei = 0.35 + 0.65 * ((t1 - 0.70) / 0.14).clamp(-0.3, 1)
    whiteness = torch.lerp(torch.sigmoid(white_mm / 0.8), nuclei, core)
    return Slab(fluid=torch.sigmoid(-fluid_mm / 0.55), whiteness=whiteness, mask=person.mask)
