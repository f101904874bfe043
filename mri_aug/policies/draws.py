"""What each policy draws for an image at strength 1, in words, for the table of chapter 6.

It is told beside the policies and not in them: no simulation runs through this module, so that a better word does not
make a finished study stale. Tests hold the numbers against what is drawn. Nothing here changes an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mri_aug.policies.automated import AUGMIX, AUGMIX_CHOICE, RANDOM_CHOICE, WIDE, Ranges
from mri_aug.policies.geometric import LATTICE_PIXELS
from mri_aug.policies.photometric import n_bias_coefficients


def _reach(ranges: Ranges, magnitude: float, *, tone: bool = True) -> str:
    """Return how far a magnitude turns, shears, shifts and retones; the other operations have no such number."""
    moved = (
        f"rotation ±{ranges.degrees * magnitude:.3g}°, shear ±{ranges.shear * magnitude:.2g}, "
        f"shift ±{100 * ranges.translate * magnitude:.2g} % of the width"
    )
    return moved + (f", tone and sharpness ±{100 * ranges.enhance * magnitude:.2g} %" if tone else "")


POLICY_DRAWS: Mapping[str, str] = MappingProxyType(
    {
        "none": "nothing",
        "flip": "a mirror image with probability 0.5",
        "rotate": "an angle within ±15°",
        "affine": "an angle within ±10°, a zoom of 0.90 to 1.11, two shears within ±0.1, two shifts within ±5 % of the "
        "width",
        "crop": "a window of 70 to 100 % of the area, enlarged to the full size",
        "blur": "a Gaussian's standard deviation of 0 to 1.5 pixels",
        "contrast": "an exponent of 0.74 to 1.35 and a factor of 0.74 to 1 on the grey values",
        "noise": "a standard deviation of 0 to 9 % of the grey range",
        "erase": "with probability 0.5, a rectangle of 2 to 33 % of the area, its sides in a ratio of 0.3 to 3.3",
        "bias-field": f"{n_bias_coefficients()} coefficients within ±0.5 of a cubic polynomial; its exponential shades",
        "elastic": f"two shifts within ±6 pixels for each point of a lattice, the points {LATTICE_PIXELS} pixels apart",
        "traditional": "flip, then affine, contrast and bias-field, these three at half their strength",
        "autoaugment": "one of 25 pairs of operations, each operation with a probability and a magnitude of its own",
        "randaugment": f"twice one of {len(RANDOM_CHOICE)} operations, at one magnitude: {_reach(Ranges(), 0.3)}",
        "trivialaugment": f"one of {len(RANDOM_CHOICE)} operations, at any magnitude up to {_reach(WIDE, 1)}",
        "augmix": f"three chains of one to three of {len(AUGMIX_CHOICE)} operations, at any magnitude up to "
        f"{_reach(AUGMIX, 0.3, tone=False)}; averaged with random weights, also with the slice itself",
        "mixup": "a partner in the batch, and its share from Beta(0.2, 0.2)",
        "cutmix": "a partner in the batch, and a rectangle of it of 0 to 100 % of the area",
    }
)
