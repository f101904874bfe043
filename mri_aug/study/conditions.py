"""Conditions: one training set and network of a study each, and the lists of them that the thesis compares.

A condition is plain data: nothing here trains, samples or reads images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from operator import index

from mri_aug.results.metrics import REFERENCES

# Names of what other rooms implement, so that a condition is read without torch; a test compares them.
PROTOCOLS = ("image", "subject", "published")
BALANCES = ("none", "oversample", "weights")
FILTERS = ("none", "near-copy", "confidence")
BUDGETS = ("epochs", "steps")
POLICIES = ("traditional", "elastic", "autoaugment")  # those that chapter 7 compares at demo size
SWEEP = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))  # real fractions of the sweep at full size
_CHOICES = {
    "protocol": PROTOCOLS, "budget": BUDGETS, "synth_use": ("mixed", "only", "pretrain", "shuffled"),
    "balance": BALANCES, "filter": FILTERS, "fine_tune": ("all", "head"), "scarce": ("images", "subjects"),
    "image_size": (64, 128),
}  # fmt: skip
# How a label says a field that is not at its default, and the words for some values.
_IN_LABEL = {
    "architecture": "{}", "weights": "{}", "fine_tune": "{}", "synth_use": "{}", "filter": "{} filter", "policy": "{}",
    "balance": "{}", "image_size": "{} px",
}  # fmt: skip
_WORDS = {
    "only": "synthetic alone", "pretrain": "synthetic first", "shuffled": "labels shuffled",
    "oversample": "classes oversampled", "weights": "class weights", "head": "head alone",
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One training set and how it is trained on.

    Raises
    ------
    ValueError
        If a field is out of range, of the wrong type or of an unknown name.
    """

    architecture: str = "cnn"  # a network of mri_aug.models, or a reference: "shares", "tissue", "pca"
    weights: str = "none"  # "none", "imagenet", "phantom" (trained on phantoms), or the path of a state dict
    fine_tune: str = "all"  # train "all" weights, or the "head" alone on a frozen backbone's features
    scarce: str = "images"  # what real_frac counts: "images" (the draft) or "subjects", people with all their slices
    real_frac: float = 1.0  # X: share of the training images (people) that is real, in (0, 1]
    synth_frac: float = 0.0  # Y: synthetic images as a share of the full training set, in [0, inf)
    synth_classes: tuple[int, ...] = ()  # ordinal labels that receive synthetic images; () is every class
    synth_use: str = "mixed"  # with the real images; "only" synthetic; synthetic first ("pretrain"); "shuffled" labels
    generator: str = "none"  # a name of mri_aug.generators, or one passed to run_study
    filter: str = "none"  # which synthetic images are dropped, a name of mri_aug.fidelity.filters
    policy: str = "none"  # a name of mri_aug.policies
    balance: str = "none"  # "oversample": each class drawn equally often; "weights": loss weighted by class
    budget: str = "epochs"  # "epochs": more images, more steps; "steps": the full set's steps in every condition
    protocol: str = "image"  # how people are divided: "image" (the thesis), "subject", "published"
    image_size: int = 128  # pixels that a network trains on, 64 or 128

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
                "a condition has both or neither of synthetic images and a generator"
            )
        object.__setattr__(self, "synth_classes", _class_numbers(self.synth_classes))
        if self.generator == "none" and (self.synth_use, self.filter, self.synth_classes) != ("mixed", "none", ()):
            raise ValueError(
                f"synth_use {self.synth_use!r}, filter {self.filter!r} and synth_classes {self.synth_classes} are for "
                "synthetic images; name a generator"
            )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {getattr(self, name)!r}")
        if self.architecture in REFERENCES:
            for name in ("weights", "fine_tune", "policy", "balance"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise ValueError(
                        f"the reference {self.architecture!r} is no network: leave {name} out, "
                        f"got {getattr(self, name)!r}"
                    )
        if self.fine_tune == "head" and self.policy != "none":
            raise ValueError(
                f"fine_tune 'head' computes an image's features once, and policy {self.policy!r} alters the image each "
                "time; give policy 'none' or fine_tune 'all'"
            )

    @property
    def label(self) -> str:
        """A short name; two conditions share it only if they differ in nothing but the protocol."""
        text = f"{100 * self.real_frac:.10g} % {'real' if self.scarce == 'images' else 'of people'}"
        if self.generator != "none":
            classes = f" of classes {'+'.join(map(str, self.synth_classes))}" if self.synth_classes else ""
            text += f" + {100 * self.synth_frac:.10g} % {self.generator}{classes}"
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _IN_LABEL and value != field.default:
                text += ", " + _IN_LABEL[field.name].format(_WORDS.get(value, value))
        return text + (", equal steps" if self.budget == "steps" else "")

    def columns(self) -> dict[str, str | float]:
        """Return the fields as the columns of a study's table."""
        return {**asdict(self), "synth_classes": "+".join(map(str, self.synth_classes)), "condition": self.label}


def _class_numbers(values: Sequence[int]) -> tuple[int, ...]:
    """Sort class numbers, each once, so that conditions which train alike are equal."""
    try:
        return tuple(sorted({int(index(value)) for value in values}))
    except TypeError:
        raise ValueError(f"synth_classes must be whole numbers such as (2, 3), got {values!r}") from None


def thesis_arms(real_frac: float, *, generator: str = "morph", protocol: str = "image") -> list[Condition]:
    """Return the training sets of the thesis's chapter 7 and the controls that its claim needs.

    In order: a share of the real images alone; all of them; the share augmented to the full size with synthetic images;
    the same with duplicates in their place (is it the synthetic images, or only more images?); and the share alone for
    as many steps as the full set (is it only more training?).

    Raises
    ------
    ValueError
        If ``real_frac`` is not below 1, which leaves no room for synthetic images, or ``generator`` is a control; here
        and in the functions below.
    """
    alone, mixed = _alone_and_mixed(real_frac, generator, protocol)
    duplicates, longer = replace(mixed, generator="duplicate"), replace(alone, budget="steps")
    return [alone, Condition(protocol=protocol), mixed, duplicates, longer]


def policy_arms(real_frac: float, policies: Sequence[str], *, protocol: str = "image") -> list[Condition]:
    """Return one condition per policy, on the real share alone, at its epochs and at the full set's steps."""
    alone = Condition(real_frac=real_frac, protocol=protocol)
    return [replace(alone, policy=policy, budget=budget) for budget in BUDGETS for policy in policies]


def control_arms(real_frac: float, *, generator: str = "morph", protocol: str = "image") -> list[Condition]:
    """Return the mixed set and the controls of its gain, each trained for the full set's steps.

    In order: the mixed set; duplicates instead of synthetic images; the real share alone; the same with classes
    oversampled, and with class weights (is it only balance?); synthetic images with shuffled labels (a negative
    control: images without labels); synthetic images alone; and synthetic images first, then the real share.
    """
    alone, mixed = _alone_and_mixed(real_frac, generator, protocol)
    longer = replace(alone, budget="steps")
    return [
        mixed,
        replace(mixed, generator="duplicate"),
        longer,
        replace(longer, balance="oversample"),
        replace(longer, balance="weights"),
        replace(mixed, synth_use="shuffled"),
        replace(mixed, synth_use="only", budget="steps"),
        replace(mixed, synth_use="pretrain"),
    ]


def selective_arms(
    real_frac: float, *, classes: Sequence[int] = (2, 3), generator: str = "morph", protocol: str = "image"
) -> list[Condition]:
    """Return conditions in which only the rare classes (mild and moderate) get synthetic images, at equal steps.

    In order: the real share alone; each class augmented by itself; all of ``classes``; the same with duplicates.
    """
    alone, mixed = _alone_and_mixed(real_frac, generator, protocol)
    longer, every = replace(alone, budget="steps"), replace(mixed, synth_classes=tuple(classes), budget="steps")
    single = [replace(every, synth_classes=(label,)) for label in classes]
    return [longer, *single, every, replace(every, generator="duplicate")]


def filter_arms(real_frac: float, *, generator: str = "morph", protocol: str = "image") -> list[Condition]:
    """Return the mixed set with every synthetic image, and with those that each filter keeps, at equal steps."""
    _, mixed = _alone_and_mixed(real_frac, generator, protocol)
    return [replace(mixed, filter=name, budget="epochs" if name == "none" else "steps") for name in FILTERS]


def sweep_arms(
    fractions: Sequence[float] = SWEEP, *, generator: str = "morph", protocol: str = "image"
) -> list[Condition]:
    """Return conditions over the real share: alone, augmented to full size, and with duplicates instead."""
    alone = [Condition(real_frac=fraction, protocol=protocol) for fraction in fractions]
    room = [arm for arm in alone if arm.real_frac < 1]
    return [*alone, *(_filled(arm, name) for name in (generator, "duplicate") for arm in room)]


def architecture_arms(
    architecture: str, real_frac: float, *, weights: str = "none", fine_tune: str = "all", **options: str
) -> list[Condition]:
    """Return :func:`thesis_arms`, with their ``options``, for another network, trained whole or its head alone."""
    network = {"architecture": architecture, "weights": weights, "fine_tune": fine_tune}
    return [replace(arm, **network) for arm in thesis_arms(real_frac, **options)]


def _alone_and_mixed(real_frac: float, generator: str, protocol: str) -> tuple[Condition, Condition]:
    alone = Condition(real_frac=real_frac, protocol=protocol)
    if generator in ("none", "duplicate"):
        raise ValueError(f"generator must make synthetic images, got {generator!r}, which is a control or nothing")
    if real_frac == 1:
        raise ValueError("real_frac must be below 1: when all images are real there is no room for synthetic ones")
    return alone, _filled(alone, generator)


def _filled(alone: Condition, generator: str) -> Condition:
    return replace(alone, synth_frac=round(1 - alone.real_frac, 10), generator=generator)
