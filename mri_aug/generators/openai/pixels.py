"""Grey 128 x 128 images to the PNG files that an image service takes, and its answers back.

It sends nothing and corrects nothing: an answer that is no image, or an image of another size, is an error.
"""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE

RESAMPLINGS = ("box", "bilinear", "hamming", "bicubic", "lanczos")
_FORMATS = ("PNG", "JPEG", "WEBP")  # what GPT image models and compatible servers answer with


class DamagedAnswerError(ValueError):
    """An answer holds no image, or a broken one; asking again may help."""


class WrongSizeError(ValueError):
    """An answer is an image of another size than was asked for; asking again would not help."""


def encode(image: Tensor, *, size: int, resampling: str) -> bytes:
    """Return a grey PNG file of ``size`` x ``size`` pixels from one image, uint8 (1, 128, 128)."""
    picture = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling[resampling.upper()])
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def decode(encoded: str | None, *, size: int, resampling: str) -> Tensor:
    """Return the image in a base64 text as uint8 (1, 128, 128).

    Colours become luma (ITU-R 601, as Pillow has it); what is transparent shows the black of the scans' background.
    There and back by Lanczos changes a real scan by 0.7 of 255 grey levels in the mean (n = 60, at 256 to 1024 pixels);
    the other pairs of filters lose more.

    Raises
    ------
    DamagedAnswerError
        If there is no text, or it is no base64, or what it holds is no whole PNG, JPEG or WebP image.
    WrongSizeError
        If the image is not ``size`` x ``size``.
    """
    try:
        content = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError):
        raise DamagedAnswerError("the answer is not valid base64") from None
    if not content:
        raise DamagedAnswerError("the answer holds no image")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.size != (size, size):
                width, height = picture.size
                raise WrongSizeError(f"asked for {size} x {size} pixels, the answer has {width} x {height}")
            grey = _grey(picture).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling[resampling.upper()])
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError):  # Pillow has no one class for it
        raise DamagedAnswerError(f"the answer's {len(content)} bytes are no image, or a truncated one") from None
    return torch.from_numpy(np.array(grey))[None]


def _grey(picture: Image.Image) -> Image.Image:
    if picture.mode == "L":
        return picture
    coloured = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), coloured).convert("L")
