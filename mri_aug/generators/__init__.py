"""Generators of synthetic images, by name. It holds no state: a new kind is one more line in ``GENERATORS``.

A kind is imported when it is asked for, so that a study with deformations needs neither ``openai`` nor ``diffusers``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from mri_aug.generators.base import ImageGenerator, LearningGenerator, fit_generator

__all__ = [
    "GENERATORS", "ImageGenerator", "LearningGenerator", "fit_generator", "generator_kind", "generator_module",
    "make_generator",
]  # fmt: skip

GENERATORS: Mapping[str, str] = MappingProxyType(
    {
        "diffusion": "mri_aug.generators.diffusion:DiffusionGenerator",
        "duplicate": "mri_aug.generators.duplicate:DuplicateGenerator",
        "hub": "mri_aug.generators.hub:HubGenerator",
        "morph": "mri_aug.generators.morph:MorphGenerator",
        "openai-edits": "mri_aug.generators.openai_edits:OpenAIEditsGenerator",
        "openai-variations": "mri_aug.generators.openai_variations:OpenAIVariationsGenerator",
    }
)


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
        If the name or an option is unknown (the known ones are listed), or an option's value is out of range or of
        the wrong type.
    ImportError
        If the kind needs a package that is not installed.

    Examples
    --------
    >>> make_generator("duplicate").learns_from_study
    False
    """
    kind = generator_kind(name)
    known = [field.name for field in fields(kind) if field.init and not field.name.startswith("_")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"generator {name!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'no options'}"
        )
    try:
        return kind(**options)
    except (TypeError, AttributeError) as error:  # its checks expect the types that its class documents
        given = ", ".join(f"{option}={value!r}" for option, value in options.items()) or "no options"
        raise ValueError(
            f"generator {name!r} cannot be made with {given} ({error}); give each option the type that "
            f"{kind.__name__} documents"
        ) from error


def generator_kind(name: str) -> type:
    """Return the class of that name in ``GENERATORS``; errors are those of :func:`make_generator`."""
    module = generator_module(name)
    return getattr(importlib.import_module(module), GENERATORS[name].partition(":")[2])


def generator_module(name: str) -> str:
    """Return the dotted name of the module that a kind is in, without importing it.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in GENERATORS:
        raise ValueError(f"no generator is called {name!r}; the known ones are {', '.join(sorted(GENERATORS))}")
    return GENERATORS[name].partition(":")[0]
