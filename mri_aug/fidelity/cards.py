"""Generation cards: for each generator what it learns from, who sees the images, what it cost, and what it is not for.

The facts about a kind are written here; numbers and fingerprints are taken from the generator and its variations.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from mri_aug.fidelity.table import Candidate, Parts
from mri_aug.generators.bank.bank import BankedGenerator
from mri_aug.generators.base import ImageGenerator

_SERVICE = "a service on a network: every source image is sent to it"
# name: what it learns from, who sees the images, licence and limits
_KINDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "duplicate": (
            "nothing",
            "nobody: it runs here",
            "as the dataset; a control, no synthetic image at all",
        ),
        "morph": (
            "shapes of other people's slices of the same class, from the study's training images",
            "nobody: it runs here",
            "as the dataset; draws no tissue that the source lacks, so it cannot add or remove a lesion",
        ),
        "diffusion": (
            "the study's training images and nothing else",
            "nobody: it runs here",
            "as the dataset; its weights may hold training images, so share them only as the images may be shared",
        ),
        "hub": (
            "a pretrained model's own data, mostly photographs",
            "nobody: the model is downloaded and runs here",
            "the model's licence, beside the dataset's; what it was trained on is seldom fully known",
        ),
        "openai-variations": (
            "data of the service's, not public",
            _SERVICE,
            "the service's terms; models are retired, and the same call does not give the same image again",
        ),
        "openai-edits": (
            "data of the service's, not public",
            _SERVICE,
            "the service's terms; models are retired, and the same call does not give the same image again",
        ),
    }
)
_UNKNOWN = ("not stated", "not stated", "not stated")


def generator_kinds() -> pd.DataFrame:
    """Return what is known of each kind beforehand: columns ``generator``, ``learns from``, ``who sees the images``."""
    rows = [(name, learns, sees) for name, (learns, sees, _) in _KINDS.items()]
    return pd.DataFrame(rows, columns=["generator", "learns from", "who sees the images"])


def generation_card(
    generator: ImageGenerator, candidate: Candidate, parts: Parts, *, seconds: float, usd: float = 0.0
) -> pd.DataFrame:
    """Return the card of a generator as a table of two columns, ``item`` and ``what``.

    Parameters
    ----------
    generator : ImageGenerator
        As fitted.
    candidate : Candidate
    parts : Parts
    seconds : float
        Spent on fitting and varying, on this machine.
    usd : float
        Paid for them.
    """
    learns, sees, limits = _KINDS.get(generator.name, _UNKNOWN)
    n_people = len(parts.training.subjects.unique())
    repeatable = generator.reproducible and not isinstance(generator, BankedGenerator)
    rows = {
        "learns from": learns,
        "fitted on": f"{len(parts.training):,} slices of {n_people} people" if generator.learns_from_study else "–",
        "who sees the images": sees,
        "variations here": f"{len(candidate.variations) + candidate.repeats.shape[:2].numel():,}",
        "cost": f"{seconds:,.0f} s on this machine, {usd:.2f} US dollars",
        "fingerprint": generator.fingerprint,
        "the same again": "yes, by its seed" if repeatable else "no: only what the bank has kept",
        "licence and limits": limits,
        "not for": "clinical use, or any statement on a person",
    }
    return pd.DataFrame({"item": rows.keys(), "what": rows.values()})
