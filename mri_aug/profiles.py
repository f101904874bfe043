"""How much is computed: the sizes that the book's notebooks and its study run at.

A profile is nothing but values for the notebooks' parameters; it decides nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# smoke: does every line run? About two minutes on two cores, and no number in it means anything.
# demo: the notebooks' own defaults; at most a quarter of an hour on two cores, on phantoms.
# thesis: the draft's hundred simulations on everyone; a day and more on two cores, or a cluster (--scheduler).
PROFILES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "smoke": {"dataset_subjects": 16, "n_subjects": 16, "n_simulations": 3, "epochs": 1},
        "demo": {"dataset_subjects": 200, "n_subjects": 48, "n_simulations": 5, "epochs": 8},
        "thesis": {"dataset_subjects": 200, "n_subjects": 0, "n_simulations": 100, "epochs": 10},
    }
)
# A real dataset is not simulated to size: all its people take part, and demo takes some 40 minutes on the thesis's.
OTHER_DATASETS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "smoke": {"dataset_subjects": 0},
        "demo": {"dataset_subjects": 0, "n_subjects": 0},
        "thesis": {"dataset_subjects": 0},
    }
)


def profile_parameters(profile: str, dataset: str = "phantom") -> dict[str, int]:
    """Return the notebooks' parameters of a profile.

    Parameters
    ----------
    profile : {"smoke", "demo", "thesis"}
    dataset : str
        As in :func:`mri_aug.dataset.load_images`.

    Returns
    -------
    dict
        ``dataset_subjects``, people described in the chapters on the data; ``n_subjects``, people in the study; 0 is
        everyone; ``n_simulations`` of each condition; ``epochs`` of training.

    Raises
    ------
    ValueError
        If there is no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    return {**PROFILES[profile], **({} if dataset == "phantom" else OTHER_DATASETS[profile])}
