"""The key of a simulation: a hash of all that its row depends on, so that the same key is the same row.

It runs nothing and stores nothing. What is read from files, such as weights, is read once for all keys of a study.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from mri_aug.conditions import Condition
from mri_aug.generators import ImageGenerator, generator_module
from mri_aug.imageset import ImageSet
from mri_aug.provenance import code_fingerprint, versions
from mri_aug.training import TrainConfig

# a row's digits hang on these
NUMERICAL = ("torch", "torchvision", "numpy", "scipy", "opencv-python-headless", "scikit-learn", "diffusers")


class Keys:
    """The keys of one study's simulations.

    Parameters
    ----------
    conditions : sequence of Condition
        Those that keys will be asked for.
    image_set : ImageSet
    seed : int
    config : TrainConfig
        Resolved, so that keys name the device and the precision that are used.
    generators : mapping of str to ImageGenerator
        Those that the study is given; the others are made by name.
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        image_set: ImageSet,
        *,
        seed: int,
        config: TrainConfig,
        generators: Mapping[str, ImageGenerator],
    ):
        self._shared = {
            "images": image_set.fingerprint,
            "config": asdict(config) | {"device": config.resolved_device().type},  # which of several GPUs is no matter
            "seed": seed,
            "code": _simulation_code(),
            "versions": versions(NUMERICAL),
        }
        self._generators = {
            name: generators[name].fingerprint if name in generators else _generator_code(name)
            for name in {condition.generator for condition in conditions}
        }
        self._weights = {name: _content(name) for name in {condition.weights for condition in conditions}}

    def of(self, condition: Condition, simulation: int) -> str:
        """Return the key of one simulation, 32 hexadecimal digits."""
        parts = self._shared | {
            "condition": asdict(condition),
            "simulation": simulation,
            "generator": self._generators[condition.generator],
            "weights": self._weights[condition.weights],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _simulation_code() -> str:
    return code_fingerprint("mri_aug.simulation")


@cache
def _generator_code(name: str) -> str:
    """Return what a generator made by name depends on: kinds are imported late, so a simulation's code has them not."""
    return name if name == "none" else code_fingerprint(generator_module(name))


def _content(weights: str) -> str:
    """Return a digest of a weights file, which may change under its name; nothing for weights by name."""
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest() if Path(weights).is_file() else ""
