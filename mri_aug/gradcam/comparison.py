"""Train the networks whose maps chapter 3 compares, and collect every measure of their maps in one table.

Unlike a study, this keeps the trained networks. :mod:`mri_aug.results.maps` adds means and intervals over people.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mri_aug.data.imageset import ImageSet
from mri_aug.gradcam import measures
from mri_aug.gradcam.maps import heatmaps, map_grid
from mri_aug.models.training import Classifier, TrainConfig, keep_freed_memory
from mri_aug.study.conditions import Condition
from mri_aug.study.simulation import Seeds, train_arm


def train_arms(
    conditions: Mapping[str, Condition],
    training: Mapping[str, ImageSet],
    *,
    seed: int,
    configs: Mapping[str, TrainConfig],
    n_jobs: int = 2,
) -> dict[str, Classifier]:
    """Train one network per condition, in parallel, and return them in that order.

    All use the seeds of one simulation: the same sample, initial weights and order of images. At the defaults the
    thesis's CNN takes about 1.5 ms per image and epoch on one core.

    Parameters
    ----------
    conditions : mapping of str to Condition
    training, configs : mapping of str to ImageSet and of str to TrainConfig
        By the protocols and the architectures that the conditions name; ValueError if one is missing. An architecture's
        highest learning rate applies (:func:`mri_aug.models.networks.highest_learning_rate`).
    seed : int
    n_jobs : int
        Processes of one thread each; their number does not change the networks.
    """
    for name, condition in conditions.items():
        if condition.protocol not in training or condition.architecture not in configs:
            raise ValueError(
                f"condition {name!r} needs protocol {condition.protocol!r} and architecture "
                f"{condition.architecture!r}; training has {', '.join(training)}, configs {', '.join(configs)}"
            )
    seeds = Seeds.of(seed, 0)
    train = joblib.delayed(_train)
    jobs = (train(one, training[one.protocol], seeds, configs[one.architecture]) for one in conditions.values())
    return dict(zip(conditions, _in_parallel(jobs, n_jobs), strict=True))


def measure_maps(
    classifier: Classifier,
    test: ImageSet,
    *,
    target: ArrayLike,
    method: str = "hirescam",
    n_steps: int = 8,
    n_draws: int = 4,
    seed: int,
) -> pd.DataFrame:
    """Return every measure of a network's maps, one row per test image.

    Parameters
    ----------
    classifier : Classifier
    test : ImageSet of n images
    target : array of int, shape (n,)
        The class that the maps explain.
    method : str
        As for :func:`mri_aug.gradcam.maps.heatmaps`.
    n_steps : int
        Of the deletion and insertion curves, which cost four times as many forward passes per image.
    n_draws : int
        Of random weights, to average over: the maps of one draw may favour dark tissue, those of the next bright.
    seed : int
        Of the random weights and the random orders.

    Returns
    -------
    DataFrame
        ``image`` (its position), ``subject``, ``label``, ``target``; ``brain`` (share of the energy in the brain),
        ``energy`` (in the atrophied tissue within the brain; NaN where it is unknown), ``fluid`` (in the dark fluid
        within the brain), ``elsewhere`` (in other people's atrophied tissue, or their fluid), ``shift``,
        ``rank`` (correlation with the map of the same network with random weights), ``deletion`` and ``insertion``
        (areas). ``..._chance`` is the value of a uniform map or a random order, ``..._random`` the mean of networks
        with random weights.
    """
    explain = partial(heatmaps, method=method, target=target, mean=classifier.mean, std=classifier.std)
    draws = np.random.SeedSequence(seed).generate_state(n_draws).tolist()
    cams = explain(classifier.model, test.images)
    random = [explain(measures.randomised(classifier.model, seed=draw), test.images) for draw in draws]
    brain = measures.brain_masks(test.images)
    everywhere = np.ones_like(brain)
    lesion = np.zeros_like(brain) if test.atrophy is None else test.atrophy[:, 0].numpy()
    fluid = measures.fluid_masks(test.images, brain)
    region = fluid if test.atrophy is None else lesion
    columns = {"image": np.arange(len(test)), "subject": test.subjects.numpy(), "label": test.labels.numpy(),
               "target": np.asarray(target)}  # fmt: skip
    for ending, maps in (("", [cams]), ("_random", random), ("_chance", [everywhere])):
        columns[f"brain{ending}"] = _average(measures.energy_share(one, brain, within=everywhere) for one in maps)
        columns[f"energy{ending}"] = _average(measures.energy_share(one, lesion, within=brain) for one in maps)
        columns[f"fluid{ending}"] = _average(measures.energy_share(one, fluid, within=brain) for one in maps)
        shares = (measures.elsewhere_share(one, region, test.subjects.numpy(), within=brain) for one in maps)
        columns[f"elsewhere{ending}"] = _average(shares)
    columns["shift"] = measures.shift_equivariance(partial(explain, classifier.model), test.images, within=brain)
    columns["rank"] = _average(measures.rank_correlation(cams, one, within=brain) for one in random)
    grid = map_grid(classifier.model, test.images[:1])
    noise = measures.random_maps(len(test), grid=grid, size=test.images.shape[-1], seed=seed)
    for ending, order in (("", cams), ("_chance", noise)):
        curves = measures.perturbation_curves(
            classifier, test.images, order, columns["target"], within=brain, n_steps=n_steps
        )
        columns[f"deletion{ending}"], columns[f"insertion{ending}"] = curves.areas()
    constant = np.ptp(cams, axis=(1, 2)) == 0  # such a map orders nothing
    columns |= {name: np.where(constant, np.nan, columns[name]) for name in ("deletion", "insertion")}
    return pd.DataFrame(columns)


def measure_networks(
    networks: Mapping[str, Classifier],
    test: ImageSet,
    *,
    targets: Mapping[str, NDArray],
    methods: Sequence[str] = ("hirescam",),
    seed: int,
    n_jobs: int = 2,
) -> pd.DataFrame:
    """Return the rows of :func:`measure_maps` for several networks and methods, computed in parallel.

    ``targets`` holds the classes to explain, (n,), for each network; further columns are ``network`` and ``method``.
    """
    names = [(network, method) for network in networks for method in methods]
    measure = partial(joblib.delayed(measure_maps), test=test, seed=seed)
    jobs = (measure(networks[network], target=targets[network], method=method) for network, method in names)
    named = zip(names, _in_parallel(jobs, n_jobs), strict=True)
    return pd.concat([table.assign(network=name, method=method) for (name, method), table in named], ignore_index=True)


def _train(condition: Condition, training: ImageSet, seeds: Seeds, config: TrainConfig) -> Classifier:
    keep_freed_memory()
    return train_arm(condition, training, seeds, config=config).classifier


def _in_parallel(jobs: Iterable, n_jobs: int) -> list:
    with warnings.catch_warnings():
        # loky replaces a process that has grown by 300 MB; this costs a second and loses nothing
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
        with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
            return joblib.Parallel()(jobs)


def _average(values: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """Return the mean over draws for each image, leaving out NaN."""
    return pd.DataFrame(np.stack([np.asarray(one, float) for one in values])).mean(axis=0).to_numpy()
