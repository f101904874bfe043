"""What the campaign runs in processes of its own, to be killed, starved or fed with bad input.

Every child has the key's sentinel in its environment and writes what a user would read into a log. The server that the
children are forked from imports this module, so that a child begins in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import openai
import torch
from conftest import make_toy_images
from joblib.externals.loky import get_reusable_executor
from openai_server import KEY, make_sources
from paid_service import PaidGenerator, make_images
from sklearn import metrics  # noqa: F401  a row's scores need it: imported here, once for all children

from benchmarks.processes import resident_megabytes
from mri_aug import cli, provenance
from mri_aug.data import loading
from mri_aug.generators.bank import Bank
from mri_aug.generators.base import RefusedVariationsError, make_generator
from mri_aug.generators.openai import service  # noqa: F401  as above
from mri_aug.generators.openai.faults import ImageServiceError
from mri_aug.models.networks import make_model
from mri_aug.results import deposit
from mri_aug.study import run
from mri_aug.study.conditions import Condition
from mri_aug.study.run import _prepare, run_study
from mri_aug.study.store import Store

REFERENCES = tuple(Condition(architecture="shares", real_frac=share, policy="none") for share in (0.25, 0.5, 0.75, 1.0))
N_IMAGES, N_NUMBERS = 10, 3  # of a bank fill that is killed
MOST_MEMORY = (
    16 * 2**30
)  # bytes of address space, libraries included: a device that never ends must not end the machine
torch.set_num_threads(1)  # no thread may be running when a child is forked


@cache
def toy():
    """Return 96 images of 16 people."""
    return make_toy_images()


def begin(log: str, function, arguments: tuple) -> None:
    """Run a function as the command runs what it calls: a fault is one line, all that is said goes to the log."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.environ["OPENAI_API_KEY"] = KEY
    openai._base_client.INITIAL_RETRY_DELAY = 0.01
    try:
        function(*arguments)
    except cli.FAULTS as error:
        print(f"mri-aug: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def command(folder: str, *words: str) -> None:
    """Run ``mri-aug`` on toy images in place of phantoms, in a checkout of its own."""
    provenance.project = lambda: Path(folder)
    loading.load_phantoms = lambda **_: toy()
    sys.exit(cli.main(words))


def stand_in(condition, image_set, *, simulation, seed, config, generators) -> dict:
    """Return the row of a simulation that takes milliseconds, so that most kills meet the study and its store."""
    time.sleep(0.003)
    value = np.random.default_rng([seed, simulation, round(100 * condition.real_frac)]).random()
    return {**condition.columns(), "simulation": simulation, "value": value, "seconds": time.perf_counter()}


def quick_study(store: str, n_simulations: int, jump: int = 0) -> None:
    """Run a study of stand-ins, which is killed most often; with ``jump`` under a clock that jumps."""
    if jump:
        _jumping_clock(jump)
    run.simulate = stand_in
    study_of_references(store, n_simulations, {"n_jobs": 1})


def study_of_references(store: str, n_simulations: int, options: dict) -> None:
    """Run a study without networks: some hundredths of a second a simulation."""
    run_study(REFERENCES, toy(), n_simulations=n_simulations, seed=0, store=Store(store), **options)


def watched_study(store: str, n_simulations: int, options: dict) -> None:
    """Run a study and print, after a quarter of its rows and after the last, the megabytes and the seconds."""
    append, seen = Store.append, []

    def noted(self, key, row) -> None:
        append(self, key, row)
        seen.append((resident_megabytes() or 0.0, time.perf_counter()))

    Store.append = noted
    study_of_references(store, n_simulations, options)
    print("watched", *seen[len(seen) // 4 - 1], *seen[-1])
    if "n_jobs" in options:
        get_reusable_executor().shutdown(wait=True)  # a forked process waits for its own before joblib ends them


def again_from_cache(folder: str, words: list[str], pickled: object) -> None:
    """Load a dataset twice, with archives that lead outside and hold a pickle in place of what was cached."""
    with contextlib.suppress(SystemExit):
        command(folder, *words)
    for path in Path(folder, "artifacts", "cache").glob("*.npz"):
        np.savez(path, allow_pickle=True, **{"../../../evil": np.zeros(1), "images": np.array([pickled], dtype=object)})
    command(folder, *words)


def keys_of_references(n_simulations: int) -> list[str]:
    """Return the keys of that study."""
    return list(_prepare(REFERENCES, toy(), 0, None, {}).tasks(n_simulations))


def paid_fill(folder: str, log: str, jump: int = 0) -> None:
    """Fill a bank from the service that logs every request."""
    if jump:
        _jumping_clock(jump)
    images, labels = make_images(N_IMAGES)
    rows = np.tile(np.arange(N_IMAGES), N_NUMBERS)
    numbers = np.repeat(np.arange(N_NUMBERS), N_IMAGES)
    generator = PaidGenerator(log, seconds=0.002, concurrency=3)
    Bank(folder).vary(generator, images[rows], labels[rows], indices=numbers, source_ids=rows)


def service_generator(**options):
    """Return the generator whose requests are the smallest, with the prices of the other."""
    given = {"size": 256, "concurrency": 6, "prices": {"per_image": 2.0}, "timeout_seconds": 20.0}
    return make_generator("openai-variations", **given | options)


def service_fill(folder: str, url: str, n: int, n_numbers: int, options: dict) -> None:
    """Fill a bank through the real client, again and again until only refusals are left."""
    os.environ["OPENAI_BASE_URL"] = url
    images, labels, rows = make_sources(n), torch.arange(n) % 4, np.tile(np.arange(n), n_numbers)
    numbers = np.repeat(np.arange(n_numbers), n)
    for _ in range(50 * n * n_numbers):
        try:
            Bank(folder).vary(
                service_generator(**options), images[rows], labels[rows], indices=numbers, source_ids=rows
            )
        except ImageServiceError as error:
            print(f"mri-aug: {error}", file=sys.stderr, flush=True)
            continue
        except RefusedVariationsError:
            pass
        return
    raise AssertionError("a fill must come to an end")


def weights(path: str) -> None:
    """Load a weights file as a simulation does."""
    make_model("cnn", weights=path, seed=0)


def condition(fields: dict) -> None:
    """Check a condition as a study does before it computes."""
    _prepare([Condition(**fields)], toy(), 0, None, {}).tasks(1)


def options_of(name: str, options: dict) -> None:
    """Make a generator with options as given on the command line."""
    make_generator(name, **options)


def parameters(notebook: str, word: str, text: str) -> None:
    """Read a notebook's parameters as ``papermill -y`` gives them, and say where the copy would go."""
    import yaml

    from mri_aug.book.publishing.notebooks import check_parameters, default_parameters, read
    from mri_aug.book.publishing.papermill import default_output

    source = Path(notebook)
    with contextlib.suppress(yaml.YAMLError):  # the entry point says so in a line
        given = yaml.safe_load(text)
        values = check_parameters(source.name, default_parameters(read(source)), {word: given})
        print("output", default_output(source, values).resolve())


def execute(source: str, output: str, url: str) -> None:
    """Execute a notebook beside its copy."""
    os.environ["OPENAI_BASE_URL"] = url
    words = [sys.executable, "-m", "papermill", source, output, "-k", "python3", "--cwd", str(Path(source).parent)]
    subprocess.run([*words, "--no-progress-bar"], check=True)


def export(folder: str, rows: int) -> None:
    """Write a deposit of that many rows."""
    import pandas as pd

    table = pd.DataFrame({"key": [f"{i:032x}" for i in range(rows)], "value": np.arange(rows) / 7, "text": "x" * 50})
    deposit.export(table, Path(folder), manifest={})


def _jumping_clock(seed: int) -> None:
    """Let the wall clock jump by up to a month, forwards and back, whenever it is read."""
    rng, now = random.Random(seed), time.time
    time.time = lambda: now() + rng.uniform(-30, 30) * 86400


def warm() -> None:
    """Compute once what each child would compute again."""
    keys_of_references(1)
    joblib.cpu_count()


warm()
