"""The parts of a study: chapter 7 at the size of a profile, and the record, which is the study that the book reads.

Each part asks one question, with as many simulations as it can afford. A profile holds values of the notebooks'
parameters. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mri_aug.study import conditions
from mri_aug.study.conditions import REFERENCES, Condition

REAL_FRAC = 0.3  # X of the draft's main comparison
MANY = 2.6  # of the full training set: 12,800 simulated images of 400 people beside the thesis's 4,900
# One training for people: equal steps in every condition, chosen on validation people and on phantoms (settings_parts).
# float32 everywhere, so that a machine with another precision continues from the same rows.
PEOPLE_TRAINING = {"steps": 1000, "precision": "float32"}
FINE_TUNING = {"steps": 250, "learning_rate": 5e-4, "precision": "float32"}  # from weights learnt on phantoms
DRAFT_TRAINING = {"epochs": 6, "precision": "float32"}
NETWORK_TRAINING = {"steps": 600, "precision": "float32"}
DRAFT_POLICIES = ("traditional", "autoaugment", "randaugment", "elastic", "affine")
PEOPLE_NUMBERS = (50, 100, 200, 400, 800)  # simulated people of the part on power
EVERYBODY = Condition(protocol="subject", scarce="subjects", image_size=64, policy="standard", budget="steps")
SOME = replace(EVERYBODY, real_frac=REAL_FRAC)
_NETWORKS = ("resnet18", "vit_tiny")  # vit_b_16 takes minutes an epoch without a GPU
_SMALL = {
    "policies": conditions.POLICIES,
    "sweep": (0.1, 0.6),
    "architectures": _NETWORKS,
    "pretrained": (),  # needs a download of torchvision's weights
    "people_generators": (),  # simulated and diffusion need minutes before their first image
}
_ALL_POLICIES = (
    "flip", "rotate", "affine", "crop", "blur", "contrast", "noise", "erase", "bias-field", "elastic", "standard",
    "traditional", "autoaugment", "randaugment", "trivialaugment", "augmix", "mixup", "cutmix",
)  # fmt: skip
# smoke: does every line run? Some minutes on two cores; its numbers mean nothing.
# demo: the notebooks' own defaults, minutes of two cores: it shows that everything works, and decides nothing.
# thesis: the draft's hundred simulations on everyone, every policy, every tenth of real images:
# many days on two cores, so use a cluster (--scheduler); one command, resumable.
PROFILES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "smoke": {
            "dataset_subjects": 16, "n_subjects": 16, "epochs": 1, "max_slices": 12,
            "n_simulations": 3, "n_side_simulations": 1, "n_network_simulations": 1, **_SMALL, "sweep": (0.6,),
            "people_steps": 20,
        },
        "demo": {
            "dataset_subjects": 200, "n_subjects": 22, "epochs": 3, "max_slices": 24,
            "n_simulations": 3, "n_side_simulations": 1, "n_network_simulations": 1, **_SMALL, "people_steps": 100,
            "architectures": ("vit_tiny",),  # ResNet-18 would take two fifths of the time; chapter 3 trains one
        },
        "thesis": {
            "dataset_subjects": 200, "n_subjects": 0, "epochs": 14, "max_slices": 40,
            "n_simulations": 100, "n_side_simulations": 20, "n_network_simulations": 10, **_SMALL,
            "policies": _ALL_POLICIES, "sweep": tuple(tenth / 10 for tenth in range(1, 10)),
            "people_generators": ("simulated", "diffusion"), "people_steps": 1000,
        },
    }
)  # fmt: skip
# A real dataset has a given size: all its people take part, so that demo takes some hours on the thesis's.
OTHER_DATASETS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "smoke": {"dataset_subjects": 0},
        "demo": {"dataset_subjects": 0, "n_subjects": 0, "epochs": 5, "max_slices": 40},
        "thesis": {"dataset_subjects": 0},
    }
)
_NOT_OF_PARTS = ("dataset_subjects", "n_subjects", "epochs", "max_slices")  # sizes of anything but the study's parts


def profile_parameters(profile: str, dataset: str = "phantom") -> dict[str, object]:
    """Return the notebooks' parameters of a profile, for a dataset as in :func:`mri_aug.data.loading.load_images`.

    They are ``dataset_subjects``, people described in the chapters on the data, and ``n_subjects``, people in the study
    (0 is everyone); ``epochs`` of training; ``max_slices`` of the heat maps in chapter 3; and the keywords of
    :func:`chapter_parts`, sequences as lists. ValueError if there is no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    sizes = {**PROFILES[profile], **({} if dataset == "phantom" else OTHER_DATASETS[profile])}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}


def part_sizes(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return those of a profile's parameters that are sizes of the study's parts."""
    return {name: value for name, value in parameters.items() if name not in _NOT_OF_PARTS}


@dataclass(frozen=True)
class Part:
    """Conditions that are compared with each other, in equally many simulations.

    Parts may share conditions, such as the real sample alone; a study's store computes those once.
    """

    name: str
    conditions: tuple[Condition, ...]
    n_simulations: int
    training: Mapping[str, int | float | str] = field(default_factory=dict)  # values of TrainConfig that it changes
    n_phantoms: int = 0  # number of simulated people that it studies instead of the dataset

    def __post_init__(self):
        object.__setattr__(self, "conditions", tuple(dict.fromkeys(self.conditions)))


def chapter_parts(  # noqa: PLR0913  one a parameter of chapter 7
    real_frac: float = REAL_FRAC,
    *,
    generator: str = "morph",
    n_simulations: int,
    n_side_simulations: int,
    n_network_simulations: int,
    policies: Sequence[str] = conditions.POLICIES,
    sweep: Sequence[float] = conditions.SWEEP,
    people_generators: Sequence[str] = ("simulated",),
    people_steps: int = PEOPLE_TRAINING["steps"],
    architectures: Sequence[str] = (),
    pretrained: Sequence[str] = (),
    rare: Sequence[int] = (2, 3),
    known_people: bool = True,
    n_slices: int = 32,
) -> list[Part]:
    """Return the parts of chapter 7 for any images: the record's questions at sizes of one's own, or a profile's.

    ValueError if a sequence is text (as papermill's ``-p`` gives it), there is no policy, or a condition is impossible.

    Parameters
    ----------
    real_frac : float in (0, 1)
        X, in every part but ``sweep``.
    generator : str
        Makes the synthetic images.
    n_simulations : int
        Of ``draft``, the thesis's training sets under the image protocol, and of ``people``, scarce people with the
        references under the subject protocol.
    n_side_simulations : int
        Of ``policies``, ``controls``, ``filters``, ``classes`` and ``sweep``.
    n_network_simulations : int
        Of the other networks, whose simulations cost at least five times the CNN's; under the subject protocol.
    policies, sweep, people_generators : sequences of str, float and str
        What those parts compare: policies; real shares, besides ``real_frac`` and 1; and generators on people, besides
        ``generator`` and duplicates.
    people_steps : int
        Optimisation steps of ``people`` and of the other networks.
    architectures, pretrained : sequence of str
        Networks trained from random weights; and from ImageNet's, which are downloaded, whole or their heads alone.
    rare : sequence of int
        The classes of ``classes``, as from :func:`rare_classes`; without any there is no such part.
    known_people : bool
        False, where nobody can be held out: without the parts under the subject protocol.
    n_slices : int
        Of the person with the fewest. Below three there is no part ``filters``: near copies need neighbouring slices.
    """
    given = {"policies": policies, "sweep": sweep, "people_generators": people_generators}
    for name, value in {**given, "architectures": architectures, "pretrained": pretrained}.items():
        if isinstance(value, str):
            raise ValueError(f"{name} must be a list, got the text {value!r}; with papermill: -y '{name}: [...]'")
    if not len(policies):
        raise ValueError("policies must name at least one, got an empty list: the chapter compares them")
    common = {"generator": generator}
    arms = conditions.thesis_arms(real_frac, **common)
    kinds = tuple(dict.fromkeys(["duplicate", generator, *people_generators]))
    sample = replace(EVERYBODY, real_frac=real_frac)
    filled = [_with(sample, kind, round(1 - real_frac, 10)) for kind in kinds]
    alone = [_with(sample, kind, 1.0, "only") for kind in kinds if kind == "simulated"]
    training = {"steps": people_steps}
    side = {
        "policies": [*arms, *conditions.policy_arms(real_frac, policies)],
        "controls": [*arms, *conditions.control_arms(real_frac, **common)],
        **({"filters": conditions.filter_arms(real_frac, **common)} if n_slices > 2 else {}),
        **({"classes": conditions.selective_arms(real_frac, classes=rare, **common)} if len(rare) else {}),
        "sweep": conditions.sweep_arms(sorted({*sweep, real_frac, 1.0}), **common),
    }
    networks = [replace(one, architecture=name) for name in architectures for one in (sample, *filled[:2])]
    for name in pretrained:
        whole = replace(sample, architecture=name, weights="imagenet", image_size=128)
        for one in (whole, replace(whole, fine_tune="head", policy="none")):
            networks += [one, *(_with(one, kind, round(1 - real_frac, 10)) for kind in kinds[:2])]
    parts = [
        Part("draft", tuple(arms), n_simulations),
        Part("people", (*map(_reference, REFERENCES), sample, EVERYBODY, *filled, *alone), n_simulations, training),
        *(Part(name, tuple(listed), n_side_simulations) for name, listed in side.items()),
        *([Part("networks", tuple(networks), n_network_simulations, training)] if networks else []),
    ]
    return [part for part in parts if known_people or part.conditions[0].protocol != "subject"]


def rare_classes(counts: Sequence[int]) -> list[int]:
    """Return the classes with fewer than half as many images as the largest, by their numbers of images.

    >>> rare_classes([3200, 2240, 896, 64])
    [2, 3]
    """
    return [label for label, count in enumerate(counts) if 0 < 2 * count < max(counts)]


def choose_parts(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """Return the parts of those names, in their own order, or all; ValueError if there is no such part."""
    known = [part.name for part in parts]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no part {', '.join(unknown)}; choose from: {', '.join(known)}")
    return [part for part in parts if part.name in names or not names]


def listed_conditions(parts: Sequence[Part]) -> list[Condition]:
    """Return every condition of the parts once, in order."""
    return list(dict.fromkeys(condition for part in parts for condition in part.conditions))


def record_parts() -> list[Part]:
    """Return the parts of the record, the most important first, with the simulations that they should have in the end.

    Each is useful before it is complete. Under the subject protocol five simulations, a repeat, test everybody once.
    What is computed and how it is decided was written down beforehand (chapter 6).
    """
    longer = Condition(real_frac=REAL_FRAC, budget="steps")
    simulated, duplicate, diffusion = (_with(SOME, name) for name in ("simulated", "duplicate", "diffusion"))
    both = (SOME, EVERYBODY)
    networks = [replace(one, architecture=name) for name in _NETWORKS for one in (SOME, duplicate, simulated)]
    return [
        Part("references", tuple(_references()), 100, PEOPLE_TRAINING),
        Part("people", tuple(_people()), 100, PEOPLE_TRAINING),
        Part("generative", (diffusion, _with(EVERYBODY, "diffusion")), 25, PEOPLE_TRAINING),
        Part("draft", tuple(conditions.thesis_arms(REAL_FRAC)[:4]), 100, DRAFT_TRAINING),
        Part("draft-generative", (_with(Condition(real_frac=REAL_FRAC), "diffusion"),), 25, DRAFT_TRAINING),
        Part("policies", (longer, *conditions.policy_arms(REAL_FRAC, DRAFT_POLICIES)), 20, DRAFT_TRAINING),
        Part("people-more", tuple(_people_more()), 25, PEOPLE_TRAINING),
        Part("fine-tuning", tuple(replace(one, weights="phantom") for one in both), 25, FINE_TUNING),
        Part("controls", tuple(conditions.control_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("classes", tuple(conditions.selective_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("filters", tuple(conditions.filter_arms(REAL_FRAC)), 10, DRAFT_TRAINING),
        Part("sweep", tuple(conditions.sweep_arms()), 10, DRAFT_TRAINING),
        Part("networks", tuple(networks), 10, NETWORK_TRAINING),
        *(Part(f"power-{n}", (*both, duplicate, simulated), 10, PEOPLE_TRAINING, n) for n in PEOPLE_NUMBERS),
    ]


def settings_parts(n_simulations: int = 5) -> list[Part]:
    """Return the settings tried for training on people, one change at a time, to be judged by validation people."""
    changes = {f"{steps:,} steps": {"steps": steps} for steps in (500, 1000, 2000)}
    changes |= {f"decay {decay:g}": {"weight_decay": decay} for decay in (0.01, 0.1)}
    changes["rate 0.001"] = {"learning_rate": 1e-3}
    both = (SOME, EVERYBODY)
    policies = [replace(one, policy=policy) for policy in ("none", "affine", "traditional") for one in both]
    parts = [
        Part(f"settings: {name}", both, n_simulations, PEOPLE_TRAINING | change) for name, change in changes.items()
    ]
    return [*parts, Part("settings: policies", tuple(policies), n_simulations, PEOPLE_TRAINING)]


def _with(
    base: Condition, generator: str, synth_frac: float = round(1 - REAL_FRAC, 10), use: str = "mixed"
) -> Condition:
    return replace(base, generator=generator, synth_frac=synth_frac, synth_use=use)


def _reference(name: str) -> Condition:
    # at full size: finding the brain depends on sizes in pixels, and a weaker reference would flatter the networks
    return replace(EVERYBODY, architecture=name, policy="none", image_size=128)


def _references() -> list[Condition]:
    listed = []
    for name in REFERENCES:
        everybody = _reference(name)
        some = replace(everybody, real_frac=REAL_FRAC)
        listed += [everybody, some]
        if name != "shares":
            listed += [_with(some, "simulated"), _with(some, "simulated", MANY, "only")]
    return listed


def _people() -> list[Condition]:
    return [
        SOME,
        EVERYBODY,
        *(_with(SOME, name) for name in ("duplicate", "morph", "simulated")),
        _with(SOME, "simulated", MANY),
        _with(EVERYBODY, "simulated", MANY),
        _with(SOME, "simulated", MANY, "only"),
        _with(SOME, "simulated", use="shuffled"),
        replace(SOME, scarce="images"),
    ]


def _people_more() -> list[Condition]:
    return [
        *(_with(EVERYBODY, name) for name in ("morph", "duplicate")),
        *(replace(one, policy="none") for one in (SOME, EVERYBODY)),
        *(replace(one, image_size=128) for one in (SOME, EVERYBODY, _with(SOME, "simulated"))),
    ]
