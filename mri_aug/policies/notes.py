"""What each policy draws for an image and what it may do to a diagnosis, in words, for the table of chapter 6.

Kept apart from the policies: no simulation imports this module, so that a better word does not make a finished study
stale. Tests compare the numbers with what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mri_aug.policies.automated import AUGMIX, AUGMIX_CHOICE, RANDOM_CHOICE, WIDE, Ranges
from mri_aug.policies.transforms import BIAS_TERMS


def _reach(ranges: Ranges, magnitude: float, *, tone: bool = True) -> str:
    """Return how far a magnitude rotates, shears, shifts and changes grey values; other operations have no number."""
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
        "blur": "a Gaussian's standard deviation of 0 to 1.2 % of the width (1.5 of 128 pixels)",
        "contrast": "an exponent of 0.74 to 1.35 and a factor of 0.74 to 1 on the grey values",
        "noise": "a standard deviation of 0 to 9 % of the grey range, for each pixel",
        "erase": "with probability 0.5, a rectangle of 2 to 33 % of the area, its sides in a ratio of 0.3 to 3.3",
        "bias-field": f"{len(BIAS_TERMS)} coefficients within ±0.5 of a cubic polynomial; its exponential shades",
        "elastic": "two shifts within ±4.7 % of the width (6 of 128 pixels) for each point of a lattice, the points an "
        "eighth of the width apart",
        "standard": "affine, then contrast, then bias-field",
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

POLICY_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "none": "Leaves the slice as it was scanned.",
        "flip": "Swaps left and right, so a lateralised atrophy counts the same on either side.",
        "rotate": "Tilts the head by up to 15 degrees, which no diagnosis depends on, and softens edges a little.",
        "affine": "Moves, tilts, shears and scales the head; scaling also changes the apparent size of the ventricles.",
        "crop": "Magnifies a part of the slice, so cortex at the edge may be lost and the ventricles look larger.",
        "blur": "Hides narrow sulci and the hippocampal border, where early atrophy shows.",
        "contrast": "Shifts the tone of grey against white matter, as another scanner would, and keeps black black.",
        "noise": "Adds a magnitude image's Rician noise, under which subtle atrophy disappears before gross atrophy.",
        "erase": "Blacks out a rectangle, which may hide the very region that shows the disease or look like a cyst.",
        "bias-field": "Shades the slice as an uneven coil does; anatomy stays as it is.",
        "elastic": "Bends the anatomy, so sulci and ventricles may widen or shrink as they do between the classes.",
        "standard": "Moves, scales, changes the tone and shades, about as much as scanners and positions differ.",
        "traditional": "Flips, moves, changes the tone and shades, each about as much as repeated scans of a person.",
        "autoaugment": "Equalises, solarises or inverts as learnt on photographs; fluid may outshine tissue.",
        "randaugment": "Draws two photographic operations, under which grey and white matter may look alike.",
        "trivialaugment": "Draws one photographic operation of any force, up to a sheared or upside-down head.",
        "augmix": "Overlays shifted copies of the slice, so sulci may be doubled and their width becomes uncertain.",
        "mixup": "Averages two people and their diagnoses; no such anatomy exists, and the label may be in between.",
        "cutmix": "Pastes a rectangle of another person, labelled by its area and not by whether it shows the disease.",
    }
)
