"""The scanner and what follows it, up to the JPEG: tissue in, grey values out. Knows no anatomy and no classes."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from mri_aug.data.phantom.anatomy import Tissue
from mri_aug.data.phantom.atlas import smooth_field

_JPEG_QUALITY = 90  # read off the quantisation tables of the thesis's images


def scan(tissue: Tissue, rng: np.random.Generator) -> np.ndarray:
    """Turn tissue into grey values: contrast, receive bias, Rician noise, brightness per slice, JPEG."""
    shape = tissue.fluid.shape
    fluid, grey, white = rng.normal((28, 112, 219), (3, 6, 5))
    cortex = grey + (white - grey) * tissue.white
    nuclei = ((tissue.t1 - 0.70) / 0.14).clamp(-0.3, 1)  # T1 of thalamus to white matter, in the template
    core = grey + (white - grey) * (0.35 + 0.65 * nuclei)
    signal = torch.lerp(torch.lerp(cortex, core, tissue.deep), torch.tensor(float(fluid)), tissue.fluid)
    mottle = smooth_field(rng, shape, 2.5, 1)[0]
    bias = torch.exp(0.05 * smooth_field(rng, shape, 60.0, 1)[0])
    signal = signal * (1 + 0.02 * mottle) * bias
    sigma = rng.uniform(2.5, 4.5)
    noise = torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32)) * sigma
    # Magnitude images have Rician noise: the length of a complex signal (Gudbjartsson & Patz 1995, eq. 1).
    magnitude = torch.hypot(signal + noise[0], noise[1]) * tissue.mask * _brightness(shape[0], rng)
    return np.stack([_jpeg(image) for image in magnitude.clamp(0, 255).round().byte().numpy()])


def _brightness(n_slices: int, rng: np.random.Generator) -> Tensor:
    """Scale each slice; runs of slices with a bright vessel are darker, as each original is scaled to its maximum."""
    vessel = smooth_field(rng, (n_slices, 1, 1), 2.0, 1)[0]
    return rng.normal(1.0, 0.04) / (1 + 0.6 * (vessel - 1.3).clamp(min=0))


def _jpeg(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
