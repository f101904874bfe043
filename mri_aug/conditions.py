"""What an arm of a study is, and the arms that the thesis compares.

A condition is plain data: nothing here trains, samples or reads images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite

from mri_aug.protocols import PROTOCOLS

BUDGETS = ("epochs", "steps")
POLICIES = ("traditional", "elastic", "autoaugment")  # those that chapter 7 compares


@dataclass(frozen=True)
class Condition:
    """One arm of a study.

    Raises
    ------
    ValueError
        If a field is out of range or of an unknown name.
    """

    architecture: str = "cnn"  # a name of mri_aug.models
    weights: str = "none"  # "none", "imagenet", or the path of a state dict
    real_frac: float = 1.0  # X: share of the training images that is real, in (0, 1]
    synth_frac: float = 0.0  # Y: synthetic images as a share of the full training set, in [0, inf)
    synth_classes: tuple[int, ...] = ()  # ordinal labels that receive variations; () is every class
    generator: str = "none"  # a name of mri_aug.generators, or one passed to run_study
    policy: str = "none"  # a name of mri_aug.policies
    budget: str = "epochs"  # "epochs": more images, more steps; "steps": the full set's steps in every arm
    protocol: str = "image"  # how people are divided: "image" (the thesis), "subject", "published"

    def __post_init__(self):
        for name in ("real_frac", "synth_frac"):
            if not isinstance(getattr(self, name), int | float):
                raise ValueError(f"{name} must be a number, got {getattr(self, name)!r}")
        if not 0 < self.real_frac <= 1:
            raise ValueError(f"real_frac must lie in (0, 1], got {self.real_frac!r}")
        if not (isfinite(self.synth_frac) and self.synth_frac >= 0):
            raise ValueError(f"synth_frac must be at least 0, got {self.synth_frac!r}")
        if (self.generator == "none") != (self.synth_frac == 0):
            raise ValueError(
                f"synth_frac {self.synth_frac} and generator {self.generator!r} disagree: "
                "an arm has both or neither of synthetic images and a generator"
            )
        for name, known in (("protocol", PROTOCOLS), ("budget", BUDGETS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def label(self) -> str:
        """A short name; two conditions share it only if they differ in nothing but the protocol."""
        text = f"{100 * self.real_frac:.10g} % real"
        if self.generator != "none":
            classes = f" of classes {'+'.join(map(str, self.synth_classes))}" if self.synth_classes else ""
            text += f" + {100 * self.synth_frac:.10g} % {self.generator}{classes}"
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("architecture", "weights", "policy") and value != field.default:
                text += f", {value}"
        return text + (", equal steps" if self.budget == "steps" else "")

    def columns(self) -> dict[str, str | float]:
        """Return the fields as the columns of a study's table."""
        return {**asdict(self), "synth_classes": "+".join(map(str, self.synth_classes)), "condition": self.label}


def thesis_arms(real_frac: float, *, generator: str = "morph", protocol: str = "image") -> list[Condition]:
    """Return the arms of the thesis's chapter 7 and the controls that its claim needs.

    In order: a share of the real images alone; all of them; the share filled up to the full size with
    variations; the same with copies of the real images in their place (is it the variations, or
    only more images?); and the share alone for as many steps as the full set (is it only more training?).

    Raises
    ------
    ValueError
        If ``real_frac`` is not below 1: there is then nothing to fill up.
    """
    alone = Condition(real_frac=real_frac, protocol=protocol)
    if generator in ("none", "duplicate"):
        raise ValueError(f"generator must make variations, got {generator!r}, which is a control or nothing")
    if real_frac == 1:
        raise ValueError("real_frac must be below 1: when all images are real there is no room for synthetic ones")
    synth_frac = round(1 - real_frac, 10)
    return [
        alone,
        Condition(protocol=protocol),
        replace(alone, synth_frac=synth_frac, generator=generator),
        replace(alone, synth_frac=synth_frac, generator="duplicate"),
        replace(alone, budget="steps"),
    ]


def policy_arms(real_frac: float, policies: Sequence[str], *, protocol: str = "image") -> list[Condition]:
    """Return one arm per augmentation policy, on the real share alone, at its epochs and at the full set's steps."""
    alone = Condition(real_frac=real_frac, protocol=protocol)
    return [replace(alone, policy=policy, budget=budget) for budget in BUDGETS for policy in policies]


def chapter_conditions(real_frac: float = 0.3, *, generator: str = "morph") -> list[Condition]:
    """Return every condition that chapter 7 compares, those of the image protocol first."""
    return [
        *thesis_arms(real_frac, generator=generator, protocol="image"),
        *thesis_arms(real_frac, generator=generator, protocol="subject"),
        *policy_arms(real_frac, POLICIES),
    ]
