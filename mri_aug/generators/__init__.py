"""Generators of synthetic images, by name. It holds no state: a new kind is one more line in ``GENERATORS``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from mri_aug.generators.base import ImageGenerator, LearningGenerator, fit_generator
from mri_aug.generators.duplicate import DuplicateGenerator
from mri_aug.generators.morph import MorphGenerator

__all__ = ["GENERATORS", "ImageGenerator", "LearningGenerator", "fit_generator", "make_generator"]

GENERATORS: Mapping[str, type] = MappingProxyType({kind.name: kind for kind in (DuplicateGenerator, MorphGenerator)})


def make_generator(name: str, **options) -> ImageGenerator:
    """Return the generator of that name.

    Parameters
    ----------
    name : str
        A key of ``GENERATORS``.
    **options
        Of that generator; its class documents them.

    Raises
    ------
    ValueError
        If the name or an option is unknown (the known ones are listed), or an option's value is out of range.

    Examples
    --------
    >>> make_generator("duplicate").learns_from_study
    False
    """
    if name not in GENERATORS:
        raise ValueError(f"no generator is called {name!r}; the known ones are {', '.join(sorted(GENERATORS))}")
    known = [field.name for field in fields(GENERATORS[name]) if field.init and not field.name.startswith("_")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"generator {name!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'no options'}"
        )
    return GENERATORS[name](**options)
