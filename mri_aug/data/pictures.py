"""One stored picture, brought to grey slices of 128 x 128: Pillow's formats, NIfTI volumes and DICOM series."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mri_aug.data.imageset import IMAGE_SIZE

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PLAIN = f"L {IMAGE_SIZE} x {IMAGE_SIZE}"  # how a picture comes that is stored as it is used
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")
_ORIENTATION = 0x0112  # EXIF
# The thesis's 32 slices lie at z = -4 to 27 mm of MNI space, whose brain ends at 80 mm.
_BELOW_TOP = np.arange(84, 52, -1)  # mm


def read_slices(content: bytes | Path | tuple[Path, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """Decode a picture: the slices it holds, and how each came.

    Parameters
    ----------
    content : bytes, Path or tuple of Path
        An encoded picture, its file, or the DICOM files of one series.

    Yields
    ------
    grey : ndarray of uint8, shape (128, 128)
        Proportions kept, padded with black; deeper values stretched from the darkest to the brightest.
    came : str
        Mode, size and what was done, such as ``"RGB 200 x 180"``.

    Raises
    ------
    Exception
        A ValueError if a slice is blank or has pixels that are not finite, or a volume does not reach the thesis's
        range; whatever a decoder raises on a damaged file.
    """
    if isinstance(content, tuple):
        yield from _dicom_slices(content)
    elif isinstance(content, Path) and content.name.lower().endswith(VOLUME_SUFFIXES):
        import nibabel  # imported late, as below: most sets need none of these readers

        yield from _volume_slices(nibabel.load(content), "a volume")
    else:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            # the second image of a camera's file is a preview, those of an icon are other sizes
            pages = 1 if image.format in ("MPO", "ICO", "ICNS") else getattr(image, "n_frames", 1)
            for page in range(pages):
                image.seek(page)
                grey, came = _grey(image)
                yield _fit(grey), came + f" (page of {pages})" * (pages > 1)


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    came = f"{image.mode} {image.width} x {image.height}"
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image, came = ImageOps.exif_transpose(image), f"{came} (turned as its EXIF tag says)"
    if image.mode in _DEEP:  # Pillow would cut such values off at 255
        return _stretch(np.asarray(image, dtype=np.float64)), f"{came} (stretched from darkest to brightest)"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            came += " (laid over black)"
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("L"), came


def _stretch(values: np.ndarray, low: float | None = None, high: float | None = None) -> Image.Image:
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{n_bad} of its {values.size} pixels are not finite numbers")
    low, high = (values.min(), values.max()) if low is None else (low, high)
    scaled = 255 * (np.clip(values, low, high) - low) / max(float(high - low), 1e-12)
    return Image.fromarray(scaled.round().astype(np.uint8))


def _fit(grey: Image.Image) -> np.ndarray:
    form = (IMAGE_SIZE, IMAGE_SIZE)
    whole = grey if grey.size == form else ImageOps.pad(grey, form, Image.Resampling.LANCZOS)
    if any(low == high for low, high in (grey.getextrema(), whole.getextrema())):
        raise ValueError("it is blank (all pixels equal) and shows nothing")
    return np.asarray(whole)


def _volume_slices(volume, kind: str) -> Iterator[tuple[np.ndarray, str]]:
    """Take the axial slices of a volume that lie as far below the top of the head as the thesis's."""
    import nibabel

    volume = nibabel.as_closest_canonical(volume)  # axes: to the right, to the front, upwards
    values = np.asarray(volume.dataobj, dtype=np.float32)
    values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if values.ndim != 3:
        raise ValueError(f"it has {values.ndim} dimensions {values.shape}; expected one volume of three")
    across, down, step = (float(size) for size in volume.header.get_zooms()[:3])
    low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
    heights = np.flatnonzero((values > low + 0.1 * (high - low)).mean((0, 1)) > 0.01)
    places = np.unique(np.round(heights.max(initial=0) - _BELOW_TOP / step).astype(int))
    if not len(places := places[places >= 0]):
        raise ValueError(f"it is {values.shape[2] * step:.0f} mm high, and slices are taken 53 to 84 mm below the top")
    came = f"{kind} of {values.shape} voxels (axial slices 53 to 84 mm below the top of the head)"
    pixel = min(across, down)
    for place in places:
        grey = _stretch(values[:, :, place].T, low, high)  # the forehead is below, as in the thesis's images
        size = round(grey.width * across / pixel), round(grey.height * down / pixel)
        yield _fit(grey if size == grey.size else grey.resize(size, Image.Resampling.LANCZOS)), came


def _dicom_slices(files: tuple[Path, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """Take the slices of a series: of a volume as above, of single pictures each."""
    import nibabel
    import pydicom

    read = [pydicom.dcmread(file) for file in files]
    placed = [one for one in read if "ImagePositionPatient" in one and "ImageOrientationPatient" in one]
    if len(placed) < max(3, len(read)):
        for one in read:
            if one.get("SamplesPerPixel", 1) > 1:
                raise ValueError("it is in colour, as no MR image is")
            for page in np.atleast_3d(one.pixel_array.T).T:  # also of a file with several frames
                grey = _stretch(page.astype(np.float64))
                grey = ImageOps.invert(grey) if one.get("PhotometricInterpretation") == "MONOCHROME1" else grey
                yield _fit(grey), f"DICOM {grey.width} x {grey.height} (stretched from darkest to brightest)"
        return
    across, down = np.array(placed[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    placed.sort(key=lambda one: float(np.dot(np.cross(across, down), np.array(one.ImagePositionPatient, dtype=float))))
    first, last = (np.array(one.ImagePositionPatient, dtype=float) for one in (placed[0], placed[-1]))
    down_mm, across_mm = map(float, placed[0].PixelSpacing)
    affine = np.eye(4)  # of rows, columns and slices, in DICOM's axes: to the left, to the back, upwards
    affine[:3] = np.stack([down * down_mm, across * across_mm, (last - first) / (len(placed) - 1), first], axis=1)
    slope = [(float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))) for one in placed]
    stack = np.stack([one.pixel_array * s + i for one, (s, i) in zip(placed, slope, strict=True)], axis=-1)
    volume = nibabel.Nifti1Image(stack.astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    yield from _volume_slices(volume, "a DICOM series")
