"""How much is computed: the sizes of the book's notebooks and of its study.

A profile holds values of the notebooks' parameters, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_NETWORKS = ("resnet18", "vit_tiny")  # vit_b_16 takes minutes an epoch without a GPU
_ALL_POLICIES = (
    "flip", "rotate", "affine", "crop", "blur", "contrast", "noise", "erase", "bias-field", "elastic", "standard",
    "traditional", "autoaugment", "randaugment", "trivialaugment", "augmix", "mixup", "cutmix",
)  # fmt: skip
_SMALL = {
    "policies": ("traditional", "elastic", "autoaugment"),
    "sweep": (0.1, 0.6),
    "architectures": _NETWORKS,
    "pretrained": (),  # needs a download of torchvision's weights
    "people_generators": (),  # simulated and diffusion need minutes before their first image
}
# smoke: does every line run? Some minutes on two cores; its numbers mean nothing.
# demo: the notebooks' own defaults, at most a quarter of an hour on two slow cores without bfloat16. Half of it is the
# study, and half of that the thesis's own comparison; side questions and networks have too few simulations to decide.
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
            "n_simulations": 5, "n_side_simulations": 1, "n_network_simulations": 1, **_SMALL, "people_steps": 150,
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
    :func:`mri_aug.study.parts.chapter_parts`, sequences as lists.

    Raises
    ------
    ValueError
        If there is no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    sizes = {**PROFILES[profile], **({} if dataset == "phantom" else OTHER_DATASETS[profile])}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}


def part_sizes(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return those of a profile's parameters that are sizes of the study's parts."""
    return {name: value for name, value in parameters.items() if name not in _NOT_OF_PARTS}
