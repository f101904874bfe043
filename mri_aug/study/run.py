"""Many simulations of many conditions: in parallel, resumable, each computed once.

A row has a key (:mod:`mri_aug.study.store`), and a finished key is never run again. Statistics are left to
:mod:`mri_aug.results`.
"""

from __future__ import annotations

import logging
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, islice

import joblib
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from tqdm.auto import tqdm

from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.data.phantom.people import load_phantoms, phantom_file
from mri_aug.generators.base import GENERATORS, ImageGenerator, generator_kind
from mri_aug.models.networks import ARCHITECTURES
from mri_aug.models.training import TrainConfig
from mri_aug.policies.registry import POLICIES
from mri_aug.study.conditions import REFERENCES, Condition
from mri_aug.study.parts import Part, listed_conditions
from mri_aug.study.simulation import divide, simulate
from mri_aug.study.store import Keys, Store

SECONDS_PER_IMAGE = 1 / 233  # of one core, trained on at 128 x 128 by the thesis's CNN; 2 cores without bfloat16
PHANTOM_SEED = 11  # of the simulated people that a part studies: not those of the generator `simulated`
_KEPT = "What is finished is kept, and the same command goes on from there."
_BAR = "{l_bar}{bar}| {elapsed} < {remaining}"
_NETWORK_COSTS = {"vit_tiny": 5, "resnet18": 13, "vit_b_16": 130}  # in trainings of the thesis's CNN on a processor

_Parallel = Callable[[Iterable[tuple], tuple], Iterator[tuple[str, dict]]]  # of calls and of what they share


def run_study(  # noqa: PLR0913  a study has as many independent choices
    conditions: Sequence[Condition],
    image_set: ImageSet,
    *,
    n_simulations: int,
    seed: int,
    store: Store,
    config: TrainConfig | None = None,
    generators: Mapping[str, ImageGenerator] | None = None,
    n_jobs: int = -1,
    scheduler: str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Run what the store lacks of a study and return one row per simulation.

    It may be interrupted or killed at any moment and called again: finished rows stay, the others run. The rows do not
    depend on how many processes ran them, or in which order.

    Parameters
    ----------
    conditions : sequence of Condition
        Duplicates are run once.
    image_set : ImageSet
    n_simulations : int
        Repetitions of each condition; the draft has 100. One of the thesis's CNN on all its 4,864 training images takes
        about 70 seconds of one core at the default 10 epochs.
    seed : int
        Simulation r of every condition shares the seeds that follow from it and r.
    store : Store
        Only this process writes to it.
    config : TrainConfig, optional
    generators : mapping of str to ImageGenerator, optional
        Your own, by the name that conditions give.
    n_jobs : int
        Single-threaded processes; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``"tcp://host:8786"``, to run on its workers instead.
    progress : bool
        Show a bar with an estimate of the time left.

    Returns
    -------
    DataFrame
        Rows of :func:`mri_aug.study.simulation.simulate`, with their ``key``, ordered by condition, then simulation.

    Raises
    ------
    ValueError, ImportError, ConnectionError
        As :func:`check_conditions`; if ``n_simulations`` is not positive; if the scheduler cannot be reached.
    """
    study = _prepare(conditions, image_set, seed, config, generators)
    return _complete(study, n_simulations, store, n_jobs=n_jobs, scheduler=scheduler, progress=progress)


def run_parts(
    parts: Sequence[Part], image_set: ImageSet, *, seed: int, store: Store, **options: object
) -> pd.DataFrame:
    """Run the parts of a study in their order and return the rows of all of them, each once.

    Every part is checked before the first is run. Neighbouring parts of one size and training run as one, so that no
    core waits for the last simulation of each. Parameters and rows are those of :func:`run_study`, but a part on
    phantoms studies those, a part may change values of ``config``, and ``part`` names the first part with that row.
    """
    config, generators = options.pop("config", None) or TrainConfig(), options.pop("generators", None)
    for part in parts:
        check_conditions(part.conditions, image_set, generators or {})
    tables = []
    for _, alike in groupby(parts, key=lambda part: (part.n_simulations, dict(part.training), part.n_phantoms)):
        group = list(alike)
        first = group[0]
        study = _prepare(
            listed_conditions(group), _images(first, image_set), seed, replace(config, **first.training), generators,
            known=store.images_of(first.name) if first.n_phantoms else None,
        )  # fmt: skip
        table = _complete(study, first.n_simulations, store, **options)
        names = {(one.label, one.protocol): part.name for part in reversed(group) for one in part.conditions}
        keys = zip(table["condition"], table["protocol"], strict=True)
        tables.append(table.assign(part=[names[key] for key in keys]))
    return pd.concat(tables).drop_duplicates("key", ignore_index=True)


def finished_rows(
    parts: Sequence[Part],
    image_set: ImageSet,
    *,
    seed: int,
    store: Store,
    config: TrainConfig | None = None,
    generators: Mapping[str, ImageGenerator] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the store holds of the parts of a study, and what is left; parameters as for :func:`run_parts`.

    Returns
    -------
    rows : DataFrame
        As from :func:`run_parts`, but only the finished simulations; may be empty.
    outlook : DataFrame
        One row per part: ``part``, ``n_simulations`` that every condition has, ``finished`` and ``wanted``
        simulations, the ``hours`` of the finished, and the expected ``hours_left``, both of one core.
    """
    rows: dict[str, dict] = {}
    outlook = []
    for part in parts:
        chosen = replace(config or TrainConfig(), **part.training)
        n_images, found = 32 * part.n_phantoms or len(image_set), {}
        costs = {condition: _cost(condition, n_images, chosen) for condition in part.conditions}
        known = store.images_of(part.name) if part.n_phantoms else None
        if known or not part.n_phantoms or phantom_file(part.n_phantoms, PHANTOM_SEED).is_file():
            images = image_set if known else _images(part, image_set)
            study = _prepare(part.conditions, images, seed, chosen, generators, known=known, to_compute=False)
            tasks = study.tasks(part.n_simulations)
            new = store.rows(key for key in tasks if key not in rows)  # parts share conditions
            rows |= {key: {"key": key, **row, "part": part.name} for key, row in new.items()}
            found = {key: rows[key] for key in tasks if key in rows}
        done = Counter(tasks[key][0] for key in found)
        seconds = sum(float(row["seconds"]) for row in found.values())
        trained = sum(costs[one] * n for one, n in done.items())
        left = part.n_simulations * sum(costs.values()) - trained
        outlook.append({
            "part": part.name,
            "n_simulations": min(done[one] for one in part.conditions),
            "finished": len(found),
            "wanted": part.n_simulations * len(part.conditions),
            "hours": seconds / 3600,
            "hours_left": left * (seconds / trained if trained else SECONDS_PER_IMAGE) / 3600,
        })  # fmt: skip
    return pd.DataFrame(list(rows.values())), pd.DataFrame(outlook)


def _images(part: Part, image_set: ImageSet) -> ImageSet:
    return load_phantoms(n_subjects=part.n_phantoms, seed=PHANTOM_SEED) if part.n_phantoms else image_set


def _prepare(conditions, image_set, seed, config, generators, *, known=None, to_compute=True) -> _Study:
    # Phantoms are ``known`` by a deposit's fingerprint: another kind of processor rounds some pixels otherwise, as it
    # does sums. The configuration is resolved here, so that every machine of a cluster trains as the key says.
    shared = {"seed": seed, "config": (config or TrainConfig()).resolved(), "generators": dict(generators or {})}
    check_conditions(conditions, image_set, shared["generators"], to_compute=to_compute)
    keys = Keys(conditions, known or image_set.fingerprint, **shared)
    return _Study(tuple(dict.fromkeys(conditions)), image_set, **shared, keys=keys)


@dataclass(frozen=True, eq=False)
class _Study:
    """The conditions of a study, and what all its simulations share."""

    conditions: tuple[Condition, ...]
    image_set: ImageSet
    seed: int
    config: TrainConfig
    generators: dict[str, ImageGenerator]
    keys: Keys

    def tasks(self, n_simulations: int) -> dict[str, tuple[Condition, int]]:
        """Return each simulation by its key."""
        if n_simulations < 1:
            raise ValueError(f"n_simulations must be at least 1, got {n_simulations}")
        return {self.keys.of(one, r): (one, r) for one in self.conditions for r in range(n_simulations)}


def _complete(
    study: _Study, n_simulations: int, store: Store, *, n_jobs=-1, scheduler=None, progress=False
) -> pd.DataFrame:
    """Run what the store lacks of a study and return all its rows; parameters as of :func:`run_study`."""
    tasks = study.tasks(n_simulations)
    finished = store.rows(tasks)
    # All conditions of a simulation before the next one: an interrupted study is then smaller, and still balanced.
    missing = sorted((key for key in tasks if key not in finished), key=lambda key: tasks[key][1])
    costs = {key: _cost(tasks[key][0], len(study.image_set), study.config) for key in missing}
    shared = (study.image_set, study.seed, study.config, study.generators)
    if missing:
        with (
            _backend(scheduler, n_jobs) as parallel,
            tqdm(total=sum(costs.values()), desc="study", bar_format=_BAR, disable=not progress) as bar,
        ):
            for key, row in parallel(((key, *tasks[key]) for key in missing), shared):
                store.append(key, row | study.keys.versions(row["generator"]))
                bar.update(costs[key])
    return store.table(tasks)


def _run(call, shared):
    (key, condition, simulation), (image_set, seed, config, generators) = call, shared
    row = simulate(condition, image_set, simulation=simulation, seed=seed, config=config, generators=generators)
    if multiprocessing.active_children():
        # Its own processes would wait five minutes for more work, and a process that joblib replaces waits for them.
        get_reusable_executor().shutdown(wait=True)
    return key, row


def check_conditions(
    conditions: Sequence[Condition], image_set: ImageSet, generators: Mapping[str, ImageGenerator], *,
    to_compute: bool = True,
) -> None:  # fmt: skip
    """Raise if a condition cannot be run, before anything has been computed; generators are imported for it alone.

    ValueError if an architecture, policy or generator is unknown, a class or a protocol does not fit these images, or a
    generator that cannot repeat its images is not among ``generators``: a simulation must not spend money. ImportError
    if a generator needs a package that is not installed.
    """
    known = {"architecture": {*ARCHITECTURES, *REFERENCES}, "policy": set(POLICIES)}
    known["generator"] = {"none", *GENERATORS, *generators}
    for condition in conditions:
        if not isinstance(condition.weights, str):
            raise ValueError(f"weights must be a name or the path of a file as text, got {condition.weights!r}")
        for field, names in known.items():
            if not isinstance(value := getattr(condition, field), str) or value not in names:
                raise ValueError(f"there is no {field} {value!r}; choose one of: {', '.join(sorted(names))}")
        if any(not 0 <= label < image_set.n_classes for label in condition.synth_classes):
            raise ValueError(f"synth_classes must lie in 0..{image_set.n_classes - 1}, got {condition.synth_classes}")
    if to_compute:
        for name in sorted({condition.generator for condition in conditions} - {"none", *generators}):
            if not generator_kind(name).reproducible:
                raise ValueError(
                    f"{name!r} cannot make an image again, so a study takes its synthetic images from a bank: fill it "
                    f"by mri-aug vary --generator {name}, and pass generators=study_generators({name!r}) of "
                    "mri_aug.generators.bank"
                )
    for protocol in sorted({condition.protocol for condition in conditions} - {"image"}):
        divide(image_set, protocol, seed=0, simulation=0)  # raises if people or a test part are unknown, for any seed


def _cost(condition: Condition, n_images: int, config: TrainConfig) -> float:
    """Estimate a simulation's cost, in images that the CNN trains on at 128 x 128."""
    n = 0.76 * n_images  # in the training part
    if condition.architecture in REFERENCES:
        return n / 20
    if condition.budget == "steps":
        images = config.steps * config.batch_size or config.epochs * n
    else:
        images = config.epochs * n * (condition.synth_frac + (condition.synth_use != "only") * condition.real_frac)
    network = 1.0 if condition.fine_tune == "head" else _NETWORK_COSTS.get(condition.architecture, 1.0)
    return images * network * (condition.image_size / IMAGE_SIZE) ** 2


@contextmanager
def _backend(scheduler: str | None, n_jobs: int) -> Iterator[_Parallel]:
    """Yield a function of calls and of what they share that yields each result as it is finished."""
    if scheduler is None:
        with warnings.catch_warnings():
            # joblib replaces a process that grew, as keeping freed memory makes it do: no task is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield partial(_in_processes, joblib.cpu_count() if n_jobs == -1 else n_jobs)
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise ImportError("a scheduler needs Dask: pip install 'mri-aug[cluster]'") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it logs of a loss, we raise
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler!r} ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise ConnectionError(f"{scheduler} has no workers; start some: dask worker {scheduler}") from None
        yield partial(_on_cluster, client)


def _in_processes(n_jobs: int, calls: Iterable[tuple], shared: tuple) -> Iterator[tuple[str, dict]]:
    # mmap_mode "c" shares the pages of the images between processes; a write would copy its page.
    parallel = joblib.Parallel(n_jobs, mmap_mode="c", return_as="generator_unordered", pre_dispatch="2*n_jobs")
    try:
        yield from parallel(joblib.delayed(_run)(call, shared) for call in calls)
    except BrokenProcessPool as error:
        why = str(error).partition("\n")[0]
        raise RuntimeError(f"{why} With fewer processes each has more memory. {_KEPT}") from None


def _on_cluster(client, calls: Iterable[tuple], shared: tuple) -> Iterator[tuple[str, dict]]:
    """Keep two calls a thread on the way, also for workers that come later.

    joblib's own way to Dask would compute everything here if one thread is all that the cluster has at the beginning.
    """
    from dask.distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    calls, running, sent, held = iter(calls), as_completed(), {}, None
    try:
        while True:
            held = held or client.scatter([shared], broadcast=True, hash=False)[0]  # once, to every worker
            for call in islice(calls, max(0, 2 * sum(client.nthreads().values()) - running.count())):
                future = client.submit(_run, call, held, pure=False)
                sent[future.key] = call
                running.add(future)
            if running.is_empty():
                return
            call = sent.pop((future := next(running)).key)
            try:
                result = future.result()
            except CancelledError:
                if client.status != "running":
                    raise
                calls, held = chain([call], calls), None  # lost with the only worker that held what calls share
            else:
                yield result
    except (CancelledError, CommClosedError, KilledWorker) as error:
        why = str(error).partition("\n")[0]
        raise ConnectionError(f"the cluster lost its scheduler, or several workers ({why}). {_KEPT}") from None
