"""Put the fidelity table into sentences that read right whichever way a result falls.

It computes no measure. A generator is found worse than the yardstick where their intervals do not overlap; where they
do, a sentence says that it is not found worse, never that the two are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from mri_aug.fidelity.table import ALL_CLASSES, YARDSTICK

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "kid": "kernel inception distance",
        "kid_sources": "kernel inception distance to the sources",
        "precision": "precision",
        "density": "density",
        "recall": "recall",
        "coverage": "coverage",
        "ms_ssim": "MS-SSIM within a source",
        "source_similarity": "correlation with the source",
        "nearest_similarity": "correlation with the nearest training image",
        "near_copies": "share of near copies",
        "consistency": "label consistency",
        "auc": "real or synthetic, area under the curve",
    }
)
# measure: which way is worse (1: higher), what to say if it is found worse, and what if it is not
_SAYINGS = {
    "kid": (
        1,
        "its images lie farther from real people than another group of real people does",
        "its images are not found farther from real people than another group of real people is",
    ),
    "kid_sources": (
        1,
        "its images as a whole have moved away from their sources",
        "its images as a whole are not found to have moved away from their sources",
    ),
    "precision": (
        -1,
        "more of its images lie where no real image does",
        "no more of its images than of real people's are found where no real image lies",
    ),
    "coverage": (
        -1,
        "more of the real images have nothing like them among its own",
        "it is not found to reach less of the real images than another group of people does",
    ),
    "ms_ssim": (
        1,
        "variations of one source differ less among themselves than neighbouring slices of a person do",
        "variations of one source are not found to differ less among themselves than neighbouring slices do",
    ),
    "near_copies": (
        1,
        "more of its images nearly copy another than neighbouring slices of a person do",
        "no more of its images are found nearly to copy another than neighbouring slices of a person do",
    ),
    "consistency": (
        -1,
        "a classifier that never saw a person recognises the label in variations less often than in their sources",
        "a classifier that never saw a person is not found to recognise labels less often in variations",
    ),
    "auc": (
        1,
        "a network that tries can tell its images from real ones",
        "a network that tries is not found to tell its images from real ones",
    ),
}
# where no difference has a known value, that is the better yardstick: small groups of real people scatter about it
_NO_DIFFERENCE = {"kid_sources": 0.0, "auc": 0.5}
_DUST = 1e-6  # rounding, by which copies may miss it


def strengths(table: pd.DataFrame, generator: str) -> str:
    """Return, in one sentence, the measures by which a generator is not found worse than real people.

    Parameters
    ----------
    table : DataFrame
        From :func:`mri_aug.fidelity.fidelity_table`.
    generator : str

    Raises
    ------
    ValueError
        If the table does not hold the generator.
    """
    said = [good for worse, _, good in _judged(table, generator) if not worse]
    return _sentence(said, "It is found worse than real people by every measure.")


def failures(table: pd.DataFrame, generator: str) -> str:
    """Return, in one sentence, the measures by which a generator is found worse; as :func:`strengths`."""
    said = [bad for worse, bad, _ in _judged(table, generator) if worse]
    return _sentence(said, "By no measure is it found worse than real people.")


def _judged(table: pd.DataFrame, generator: str) -> list[tuple[bool, str, str]]:
    """Return, per measure that is defined for both, whether the generator is worse, and both sayings with numbers."""
    if generator not in set(table["generator"]):
        raise ValueError(f"the table holds {', '.join(table['generator'].unique())}, not {generator!r}")
    rows = table[table["class"] == ALL_CLASSES].set_index(["generator", "measure"])
    judged = []
    for measure, (direction, bad, good) in _SAYINGS.items():
        own, real = rows.loc[(generator, measure)], rows.loc[(YARDSTICK, measure)]
        if measure in _NO_DIFFERENCE:
            real = dict.fromkeys(("value", "low", "high"), _NO_DIFFERENCE[measure])
        if not (math.isfinite(own["low"]) and math.isfinite(real["low"])):
            continue
        worse = own["low"] > real["high"] + _DUST if direction > 0 else own["high"] < real["low"] - _DUST
        numbers = f" ({own['value']:.3f} against {real['value']:.3f})"
        judged.append((bool(worse), bad + numbers, good + numbers))
    return judged


def _sentence(said: list[str], otherwise: str) -> str:
    if not said:
        return otherwise
    text = f"{'; '.join(said)}.".replace("(-", "(\N{MINUS SIGN}").replace(" -", " \N{MINUS SIGN}")
    return text[0].upper() + text[1:]
