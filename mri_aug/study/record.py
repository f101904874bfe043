"""The record: the study of the thesis's own images that the book reads, as parts in the order in which they matter.

Each part answers one question and is useful before it is complete. What is computed and how it is decided was written
down beforehand (chapter 6); nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mri_aug.study import conditions
from mri_aug.study.conditions import REFERENCES, Condition
from mri_aug.study.parts import Part

REAL_FRAC = 0.3  # X of the draft's main comparison
MANY = 2.6  # of the full training set: 12,800 simulated images of 400 people beside the thesis's 4,900
# One training for people: equal steps in every condition, chosen on validation people and on phantoms (SETTINGS below).
# float32 everywhere, so that a machine with another precision goes on from the same rows.
PEOPLE_TRAINING = {"steps": 1000, "precision": "float32"}
FINE_TUNING = {"steps": 250, "learning_rate": 5e-4, "precision": "float32"}  # from weights learnt on phantoms
DRAFT_TRAINING = {"epochs": 6, "precision": "float32"}
NETWORK_TRAINING = {"steps": 600, "precision": "float32"}
POLICIES = ("traditional", "autoaugment", "randaugment", "elastic", "affine")
PEOPLE_NUMBERS = (50, 100, 200, 400, 800)  # simulated people of the part on power
_CORE = {"protocol": "subject", "scarce": "subjects", "image_size": 64, "policy": "standard", "budget": "steps"}


def record_parts() -> list[Part]:
    """Return the parts of the record, with the simulations that they should have in the end.

    Under the subject protocol five simulations test everybody once: a repeat.

    Returns
    -------
    list of Part
        ``references``, ``people``, ``generative``, ``draft``, ``policies``, ``people-more``, ``fine-tuning``,
        ``controls``, ``classes``, ``filters``, ``sweep``, ``networks`` and, on simulated people, ``power-50`` ...
    """
    return [
        Part("references", tuple(_references()), 100, PEOPLE_TRAINING),
        Part("people", tuple(_people()), 100, PEOPLE_TRAINING),
        Part("generative", tuple(_generative()), 25, PEOPLE_TRAINING),
        Part("draft", tuple(conditions.thesis_arms(REAL_FRAC)[:4]), 100, DRAFT_TRAINING),
        Part("policies", tuple(_policies()), 20, DRAFT_TRAINING),
        Part("people-more", tuple(_people_more()), 25, PEOPLE_TRAINING),
        Part("fine-tuning", tuple(_fine_tuning()), 25, FINE_TUNING),
        Part("controls", tuple(conditions.control_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("classes", tuple(conditions.selective_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("filters", tuple(conditions.filter_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("sweep", tuple(conditions.sweep_arms()), 10, DRAFT_TRAINING),
        Part("networks", tuple(_networks()), 10, NETWORK_TRAINING),
        *(Part(f"power-{n}", tuple(_power()), 10, PEOPLE_TRAINING, n) for n in PEOPLE_NUMBERS),
    ]


def settings_parts(n_simulations: int = 5, *, n_phantoms: int = 0) -> list[Part]:
    """Return the settings that were tried for training on people, one change at a time, for validation people to judge.

    Parameters
    ----------
    n_simulations : int
    n_phantoms : int
        On simulated people instead of the dataset's.
    """
    some, everybody = _some(), _everybody()
    changes = {f"{steps} steps": {"steps": steps} for steps in (500, 1000, 2000)}
    changes |= {f"decay {decay:g}": {"weight_decay": decay} for decay in (0.01, 0.1)}
    changes |= {f"rate {rate:g}": {"learning_rate": rate} for rate in (1e-3,)}
    parts = [
        Part(f"settings: {name}", (some, everybody), n_simulations, PEOPLE_TRAINING | change, n_phantoms)
        for name, change in changes.items()
    ]
    policies = [
        replace(one, policy=policy) for policy in ("none", "affine", "traditional") for one in (some, everybody)
    ]
    return [*parts, Part("settings: policies", tuple(policies), n_simulations, PEOPLE_TRAINING, n_phantoms)]


def _some() -> Condition:
    return Condition(real_frac=REAL_FRAC, **_CORE)


def _everybody() -> Condition:
    return Condition(**_CORE)


def _with(
    base: Condition, generator: str, synth_frac: float = round(1 - REAL_FRAC, 10), use: str = "mixed"
) -> Condition:
    return replace(base, generator=generator, synth_frac=synth_frac, synth_use=use)


def _references() -> list[Condition]:
    # at full size: the openings that find the brain are in pixels, and a weaker reference would flatter the networks
    core = {name: value for name, value in _CORE.items() if name != "policy"} | {"image_size": 128}
    listed = []
    for name in REFERENCES:
        everybody = Condition(architecture=name, **core)
        some = replace(everybody, real_frac=REAL_FRAC)
        listed += [everybody, some]
        if name != "shares":
            listed += [_with(some, "simulated"), _with(some, "simulated", MANY, "only")]
    return listed


def _people() -> list[Condition]:
    some, everybody = _some(), _everybody()
    return [
        some,
        everybody,
        _with(some, "duplicate"),
        _with(some, "morph"),
        _with(some, "simulated"),
        _with(some, "simulated", MANY),
        _with(everybody, "simulated", MANY),
        _with(some, "simulated", MANY, "only"),
        _with(some, "simulated", use="shuffled"),
        replace(some, scarce="images"),
    ]


def _generative() -> list[Condition]:
    return [_with(_some(), "diffusion"), _with(_everybody(), "diffusion")]


def _policies() -> list[Condition]:
    alone = Condition(real_frac=REAL_FRAC)
    return [replace(alone, budget="steps"), *conditions.policy_arms(REAL_FRAC, POLICIES)]


def _people_more() -> list[Condition]:
    some, everybody = _some(), _everybody()
    return [
        _with(everybody, "morph"),
        _with(everybody, "duplicate"),
        replace(some, policy="none"),
        replace(everybody, policy="none"),
        replace(some, image_size=128),
        replace(everybody, image_size=128),
        replace(_with(some, "simulated"), image_size=128),
    ]


def _fine_tuning() -> list[Condition]:
    return [replace(one, weights="phantom") for one in (_some(), _everybody())]


def _networks() -> list[Condition]:
    arms = [_some(), _with(_some(), "duplicate"), _with(_some(), "simulated")]
    return [replace(arm, architecture=name) for name in ("resnet18", "vit_tiny") for arm in arms]


def _power() -> Sequence[Condition]:
    some = _some()
    return [some, _everybody(), _with(some, "duplicate"), _with(some, "simulated")]
