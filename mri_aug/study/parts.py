"""The study that chapter 7 shows, in parts: each asks one question, with as many simulations as it can afford.

How large the parts are is said by :mod:`mri_aug.profiles`; nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mri_aug.study import conditions
from mri_aug.study.conditions import Condition


@dataclass(frozen=True)
class Part:
    """Conditions that are compared with each other, in equally many simulations.

    Parts share conditions, such as the real sample alone; a study's store computes those once.
    """

    name: str
    conditions: tuple[Condition, ...]
    n_simulations: int
    training: Mapping[str, int | float | str] = field(default_factory=dict)  # values of TrainConfig that it changes
    n_phantoms: int = 0  # it studies so many simulated people instead of the dataset


def chapter_parts(  # noqa: PLR0913  one a parameter of chapter 7
    real_frac: float = 0.3,
    *,
    generator: str = "morph",
    n_simulations: int,
    n_side_simulations: int,
    n_network_simulations: int,
    policies: Sequence[str] = conditions.POLICIES,
    sweep: Sequence[float] = conditions.SWEEP,
    architectures: Sequence[str] = (),
    pretrained: Sequence[str] = (),
    network_controls: bool = True,
    side_protocols: Sequence[str] = ("image",),
) -> list[Part]:
    """Return the parts of chapter 7: ``cnn``, the side questions, and one part for each other network.

    Parameters
    ----------
    real_frac : float in (0, 1)
        X, in every part but ``sweep``.
    generator : str
        Maker of the variations.
    n_simulations : int
        Of ``cnn``: the thesis's arms under the image and the subject protocol.
    n_side_simulations : int
        Of ``policies``, ``controls``, ``filters``, ``classes`` and ``sweep``.
    n_network_simulations : int
        Of the other networks, whose simulations cost ten times the CNN's and more.
    policies : sequence of str
        Names of :mod:`mri_aug.policies`.
    sweep : sequence of float
        Real shares, besides ``real_frac`` and 1.
    architectures : sequence of str
        Trained from random weights.
    pretrained : sequence of str
        Started from ImageNet's weights, which are downloaded: the whole network, and its head alone.
    network_controls : bool
        False leaves to the other networks only the real share alone and the mixed set.
    side_protocols : sequence of str
        Of all parts but ``cnn``. The name of a part that is not under the image protocol says so: ``sweep-subject``.

    Raises
    ------
    ValueError
        If text stands where a sequence is wanted, as papermill's ``-p`` makes of a list, if there is no policy or no
        side protocol, or if a condition is impossible.
    """
    _check_lists(
        needed={"policies": policies, "side_protocols": side_protocols},
        optional={"sweep": sweep, "architectures": architectures, "pretrained": pretrained},
    )
    main = [conditions.thesis_arms(real_frac, generator=generator, protocol=name) for name in ("image", "subject")]
    parts = [_part("cnn", [arm for arms in main for arm in arms], n_simulations)]
    for protocol in side_protocols:
        end, common = "" if protocol == "image" else f"-{protocol}", {"generator": generator, "protocol": protocol}
        arms = conditions.thesis_arms(real_frac, **common)
        side = {
            "policies": [*arms, *conditions.policy_arms(real_frac, policies, protocol=protocol)],
            "controls": [*arms, *conditions.control_arms(real_frac, **common)],
            "filters": [*arms, *conditions.filter_arms(real_frac, **common)],
            "classes": [*arms, *conditions.selective_arms(real_frac, **common)],
            "sweep": conditions.sweep_arms(sorted({*sweep, real_frac, 1.0}), **common),
        }
        parts += [_part(name + end, listed, n_side_simulations) for name, listed in side.items()]
        networks = {name: {"architecture": name} for name in architectures}
        for name in pretrained:
            networks[f"{name}-imagenet"] = {"architecture": name, "weights": "imagenet"}
            networks[f"{name}-imagenet-head"] = {"architecture": name, "weights": "imagenet", "fine_tune": "head"}
        for name, network in networks.items():
            listed = conditions.architecture_arms(real_frac=real_frac, **network, **common)
            kept = listed if network_controls else [listed[0], listed[2]]
            parts.append(_part(name + end, kept, n_network_simulations))
    return parts


def choose_parts(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """Return the parts of those names, in their own order; all of them if no name is given.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    known = [part.name for part in parts]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no part {', '.join(unknown)}; choose from: {', '.join(known)}")
    return [part for part in parts if part.name in names or not names]


def listed_conditions(parts: Sequence[Part]) -> list[Condition]:
    """Return every condition of the parts once, in order."""
    return list(dict.fromkeys(condition for part in parts for condition in part.conditions))


def _check_lists(*, needed: dict[str, Sequence], optional: dict[str, Sequence]) -> None:
    for name, value in {**needed, **optional}.items():
        if isinstance(value, str):
            raise ValueError(f"{name} must be a list, got the text {value!r}; with papermill: -y '{name}: [...]'")
    for name, value in needed.items():
        if not len(value):
            raise ValueError(f"{name} must name at least one, got an empty list: the chapter compares them")


def _part(name: str, listed: Sequence[Condition], n_simulations: int) -> Part:
    return Part(name, tuple(dict.fromkeys(listed)), n_simulations)
