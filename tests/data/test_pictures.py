"""Each stored form gives the picture that a viewer shows, grey and 128 x 128."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from mri_aug.data.loading import read_slices
from tests.data.made import Header, picture

Y, X = np.mgrid[0:128, 0:128]
PLAIN = np.where(np.hypot(X - 64, Y - 50) < 40, 60 + X, 0).astype(np.uint8)


def stored(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def cut_out() -> Image.Image:
    hidden = np.where(PLAIN > 0, PLAIN, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([hidden] * 3 + [(PLAIN > 0) * 255]).astype(np.uint8))


def palette() -> Image.Image:
    image = Image.fromarray(255 - PLAIN)  # indices whose palette turns them round
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    return image


GREY = Image.fromarray(PLAIN)
TURNED = GREY.transpose(Image.Transpose.ROTATE_90)


@pytest.mark.parametrize(
    ("content", "came", "tolerance"),
    [
        (stored(GREY), "L 128 x 128", 0),
        (stored(GREY, "BMP"), "L 128 x 128", 0),
        (stored(GREY, "JPEG2000"), "L 128 x 128", 0),
        (stored(GREY.convert("RGB"), "WEBP", lossless=True), "RGB 128 x 128", 0),
        (stored(palette()), "P 128 x 128", 0),
        (stored(palette(), "GIF"), "P 128 x 128", 0),
        (stored(TURNED, "JPEG", quality=97, exif=exif(6)), "L 128 x 128 (turned as its EXIF tag says)", 6),
        (stored(TURNED, "PNG", exif=exif(6)), "L 128 x 128 (turned as its EXIF tag says)", 0),
        (stored(cut_out()), "RGBA 128 x 128 (laid over black)", 0),
        (stored(cut_out().convert("LA")), "LA 128 x 128 (laid over black)", 0),
        (stored(GREY.convert("RGBA")), "RGBA 128 x 128", 0),
        (
            stored(Image.fromarray(PLAIN.astype(np.uint16) * 16)),
            "I;16 128 x 128 (stretched from darkest to brightest)",
            95,
        ),
        (
            stored(Image.fromarray(PLAIN / np.float32(255)), "TIFF"),
            "F 128 x 128 (stretched from darkest to brightest)",
            95,
        ),
    ],
)
def test_stored_forms_show_the_same(content, came, tolerance):
    ((image, said),) = read_slices(content)
    assert said == came and image.dtype == np.uint8
    assert np.abs(image.astype(int) - PLAIN).max() <= tolerance
    assert np.corrcoef(image.ravel(), PLAIN.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG"])
def test_every_page_is_a_slice(form):
    pages = [picture(seed) for seed in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    found = list(read_slices(stored(pages[0], form, save_all=True, append_images=pages[1:], **options)))
    assert [came[-11:] for _, came in found] == ["(page of 3)"] * 3
    assert all(np.array_equal(image, page) for (image, _), page in zip(found, pages, strict=True))


def test_deep_images_keep_their_contrast_and_proportions():
    deep = np.linspace(0, 4000, 64 * 128).reshape(128, 64).astype(np.uint16)
    ((pixels, came),) = read_slices(stored(Image.fromarray(deep)))
    assert (pixels == 255).mean() < 0.02 and pixels[:, 40:90].mean() == pytest.approx(127, abs=8)
    assert not pixels[:, :30].any() and not pixels[:, 98:].any(), "padded with black, not stretched"
    assert came.startswith("I;16 64 x 128")


@pytest.mark.parametrize("size", [(128, 128), (60, 128)])
@pytest.mark.parametrize(
    ("mode", "value", "message"),
    [("L", 9, "is blank"), ("I;16", 900, "is blank"), ("RGB", (9, 9, 9), "is blank"), ("F", 0.5, "is blank")]
    + [("F", value, "of its .* are not finite numbers") for value in (np.nan, np.inf, -np.inf)],
)
def test_an_image_that_shows_nothing_is_refused(size, mode, value, message):
    image = Image.new(mode, size, value)
    if message != "is blank":
        image.putpixel((5, 7), 0.5)
    with pytest.raises(ValueError, match=message):
        list(read_slices(stored(image, "TIFF")))


def test_what_is_too_large_damaged_or_shrinks_to_nothing_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="is blank"):
        list(read_slices(stored(Image.fromarray(np.pad(np.uint8([[255]]), 2000)))))
    with pytest.raises(UnidentifiedImageError):
        list(read_slices(b"no picture"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with pytest.raises(Image.DecompressionBombError):
        list(read_slices(stored(Image.new("L", (300, 300)))))


def head(step: float = 1.0, *, empty: int = 20) -> np.ndarray:
    """A volume whose values are the distance below its top in mm, 150 mm high; axes to the right, front, up."""
    n = round(150 / step)
    values = np.zeros((60, 80, n + empty), dtype=np.float32)
    values[10:50, 10:70, :n] = 50 + step * np.arange(n)[::-1]
    values[10:20, 10:70, :n] += 30  # the left side is brighter
    return values


@pytest.mark.parametrize("step", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
def test_volumes_give_the_axial_slices_of_the_thesis_range(tmp_path, step, axes, suffix):
    volume = nibabel.Nifti1Image(head(step), np.diag([2.0, 1.0, step, 1.0]))
    code = nibabel.orientations.axcodes2ornt(axes)
    volume = volume.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(volume.affine), code))
    if suffix == ".mgz":
        volume = nibabel.MGHImage(volume.get_fdata(dtype=np.float32), volume.affine)
    file = tmp_path / f"head{suffix}"
    nibabel.save(volume, file)
    found = list(read_slices(file))
    assert len(found) == (11 if step == 3 else 32)
    values = head(step)
    low, high = np.percentile(values, (0.5, 99.5))
    depth = [low + np.median(image[40:90, 64:90]) / 255 * (high - low) - 50 for image, _ in found]
    assert depth[0] == pytest.approx(84, abs=2 + step) and depth[-1] == pytest.approx(53, abs=2 + step)
    assert (np.diff(depth) < 0).all(), "from the lowest up"
    image, came = found[0]
    columns = np.flatnonzero(image.max(0) > 40)
    assert np.ptp(columns) + 1 == pytest.approx(128 * 80 / 120, abs=3), "pixels twice as wide as high"
    assert image[60, columns[3]] > image[60, columns[-4]], "the left side stays on the left"
    assert "axial slices 53 to 84 mm below the top of the head" in came


def test_volumes_that_cannot_serve_are_refused(tmp_path):
    for name, values, message in (
        ("low", head()[..., 110:], "it is 60 mm high"), ("four", np.stack([head()] * 2, -1), "it has 4 dimensions"),
    ):  # fmt: skip
        file = tmp_path / f"{name}.nii"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)
        with pytest.raises(ValueError, match=message):
            list(read_slices(file))


def test_single_dicom_pictures_are_taken_each(tmp_path, monkeypatch):
    headers = {
        "dark": Header(pixel_array=PLAIN.astype(np.int16), PhotometricInterpretation="MONOCHROME2"),
        "light": Header(pixel_array=PLAIN.max() - PLAIN.astype(np.int16), PhotometricInterpretation="MONOCHROME1"),
        "frames": Header(pixel_array=np.stack([PLAIN, PLAIN.T]), PhotometricInterpretation="MONOCHROME2"),
    }
    monkeypatch.setitem(sys.modules, "pydicom", SimpleNamespace(dcmread=lambda file: headers[file.name]))
    (dark, _), (light, _), (first, _), (second, _) = read_slices(tuple(tmp_path / name for name in headers))
    assert np.array_equal(dark, light) and np.array_equal(first, dark) and np.array_equal(second, dark.T)
