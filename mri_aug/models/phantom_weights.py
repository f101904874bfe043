"""Initial weights learnt from simulated people: no real image, made once per architecture and image size, and kept.

Its four grades are those of :meth:`mri_aug.data.phantom.crowd.Crowd.grades`; the link of grade to atrophy is an
assumption that was not fitted.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from mri_aug import provenance
from mri_aug.data.imageset import CLASS_NAMES
from mri_aug.data.phantom.crowd import CROWD_VERSION, load_crowd
from mri_aug.data.phantom.people import Scanner, one_thread
from mri_aug.models.networks import highest_learning_rate, make_model
from mri_aug.models.training import TrainConfig, train

WEIGHTS_VERSION = 1  # part of the cache's name: raise it whenever the same arguments give other weights

N_PEOPLE, N_IMAGES, N_STEPS = 400, 12_800, 1_200  # each of the four grades has as many people and images
STRENGTH = 0.25  # of the scanner's randomisation
_SEED = 0


def phantom_weights(architecture: str, *, image_size: int) -> dict[str, Tensor]:
    """Return a state dict of a network trained to tell four grades of simulated people apart, at 64 or 128 pixels.

    Trained on one thread of the processor in float32, so that a machine always makes the same weights: 1,200 steps of
    64 images under the policy ``standard``. That takes about two minutes for ``cnn`` at 64 x 64 and six at 128 x 128,
    after the crowd has been simulated (a bar shows that), and hours for ``vit_b_16``. Kept below ``artifacts/cache``;
    a damaged file is made again, with a warning.

    Raises
    ------
    ValueError
        If there is no such architecture, or the size is another.
    """
    name = f"phantom-weights-v{WEIGHTS_VERSION}.{CROWD_VERSION}-{architecture}-{image_size}.pt"
    path = provenance.artifacts("cache", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        state = _read(path) if path.exists() else None
        if state is None:
            state = _train(architecture, image_size)
            with provenance.atomic_write(path) as temporary:
                torch.save(state, temporary)
    return state


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        warnings.warn(f"the cache file {path} is damaged ({error}) and is being remade", stacklevel=3)
        return None


def _train(architecture: str, image_size: int) -> dict[str, Tensor]:
    n_classes, rate = len(CLASS_NAMES), highest_learning_rate(architecture)
    config = TrainConfig(device="cpu", precision="float32", learning_rate=min(TrainConfig.learning_rate, rate))
    crowd = load_crowd(n_people=N_PEOPLE)
    drawn = crowd.draw(
        np.arange(N_IMAGES) % n_classes, n_classes=n_classes, seed=_SEED, scanner=Scanner(strength=STRENGTH)
    )
    model = make_model(architecture, n_classes=n_classes, seed=_SEED, image_size=image_size)
    with one_thread():
        classifier = train(
            model, drawn.resized(image_size), seed=_SEED, config=config, n_steps=N_STEPS, policy="standard"
        )
    return {name: value.contiguous() for name, value in classifier.model.state_dict().items()}
