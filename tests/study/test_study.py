"""A study's rows depend on nothing but its arguments: not on workers, order, kills or clusters."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import joblib
import pandas as pd
import pytest
import torch
from study_script import N_SIMULATIONS, small_study

from mri_aug.generators.base import make_generator
from mri_aug.models.training import TrainConfig
from mri_aug.policies.registry import POLICIES
from mri_aug.study import run
from mri_aug.study.conditions import Condition, architecture_arms, thesis_arms
from mri_aug.study.run import check_conditions, run_study
from mri_aug.study.store import Keys, Store

QUICK = TrainConfig(epochs=1, batch_size=16)


def stable(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="seconds").reset_index(drop=True)


def count(path: Path) -> int:
    return len(Store(path)) if path.exists() else 0


def wait_for(condition, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The table of the small study, run in this process without interruption."""
    return small_study(tmp_path_factory.mktemp("reference") / "store.sqlite", n_jobs=1)


def test_one_row_per_condition_and_simulation_in_that_order(reference):
    arms = [arm.label for arm in thesis_arms(0.3)]
    assert reference["condition"].tolist() == [label for label in arms for _ in range(N_SIMULATIONS)]
    assert reference["simulation"].tolist() == list(range(N_SIMULATIONS)) * len(arms)
    assert reference["key"].is_unique


def test_arms_are_paired(reference):
    seeds = [column for column in reference if column.startswith("seed_")]
    assert len(seeds) == 6
    assert (reference.groupby("simulation")[seeds].nunique() == 1).all(axis=None)
    assert (reference.groupby("condition")[seeds].nunique() == N_SIMULATIONS).all(axis=None)


def test_rows_do_not_depend_on_the_number_of_workers(reference, tmp_path):
    parallel = small_study(tmp_path / "store.sqlite", n_jobs=2)
    pd.testing.assert_frame_equal(stable(parallel), stable(reference), check_exact=True)


def test_a_killed_worker_is_explained(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise BrokenProcessPool("A process was terminated.\nA long report.")

    monkeypatch.setattr(joblib.Parallel, "__call__", killed)
    with pytest.raises(
        RuntimeError, match="^A process was terminated. With fewer processes each has more memory. What"
    ):
        small_study(tmp_path / "store.sqlite", n_jobs=2)


def test_finished_simulations_are_read_and_not_run(reference, tmp_path, monkeypatch, toy_images):
    store = Store(tmp_path / "store.sqlite")
    options = dict(seed=0, store=store, config=QUICK, n_jobs=1)
    short = run_study([Condition(real_frac=0.3)], toy_images, n_simulations=1, **options)
    longer = run_study([Condition(real_frac=0.3), Condition(real_frac=0.5)], toy_images, n_simulations=2, **options)
    assert longer["seconds"].iloc[0] == short["seconds"].iloc[0]
    monkeypatch.setattr(run, "simulate", lambda *_, **__: pytest.fail("run again"))
    again = run_study([Condition(real_frac=0.5), Condition(real_frac=0.3)], toy_images, n_simulations=2, **options)
    assert sorted(again["key"]) == sorted(longer["key"]) and again["real_frac"].tolist() == [0.5, 0.5, 0.3, 0.3]


def test_every_policy_runs_in_a_study(toy_images, tmp_path):
    config = TrainConfig(epochs=1, batch_size=16, learning_rate=3e-4)
    options = dict(seed=0, store=Store(tmp_path / "store.sqlite"), config=config, n_jobs=1)
    arms = [Condition(real_frac=0.3, policy=policy) for policy in POLICIES]
    table = run_study(arms, toy_images, n_simulations=1, **options)
    assert table["policy"].tolist() == list(POLICIES)
    assert table["test_cross_entropy"].between(0, 20).all() and table["test_cross_entropy"].nunique() == len(POLICIES)


@pytest.mark.parametrize(
    ("architecture", "fine_tune"),
    [("resnet18", "all"), ("vit_tiny", "all"), ("resnet18", "head"), ("vit_b_16", "head")],  # vit_b_16 whole: 2 GB
)
def test_every_architecture_runs_in_a_study(toy_images, tmp_path, architecture, fine_tune):
    options = dict(seed=0, store=Store(tmp_path / "store.sqlite"), config=QUICK, n_jobs=1)
    arm = architecture_arms(architecture, 0.3, fine_tune=fine_tune)[3]
    table = run_study([arm], toy_images, n_simulations=1, **options)
    assert table["condition"].tolist() == [arm.label] and table["architecture"].tolist() == [architecture]
    assert table["test_cross_entropy"].between(0, 20).all()


def test_a_key_changes_with_everything_that_a_row_depends_on(toy_images, tmp_path, monkeypatch):
    base = dict(images=toy_images.fingerprint, seed=0, config=QUICK, generators={})

    sample = Condition(real_frac=0.3)

    def key(arm=sample, simulation=0, **changes):
        return Keys([arm], **{**base, **changes}).of(arm, simulation)

    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    of_file = Condition(real_frac=0.3, weights=str(weights))
    keys = [key(), key(Condition(real_frac=0.4)), key(simulation=1), key(seed=1), key(config=TrainConfig())]
    keys += [key(images=toy_images[:-1].fingerprint), key(of_file)]
    weights.write_bytes(b"2")
    keys.append(key(of_file))
    filled = thesis_arms(0.3)[2]
    keys += [key(filled), key(filled, generators={"morph": make_generator("morph", path=(0.1, 0.2))})]
    monkeypatch.setattr("mri_aug.study.store._fingerprint", lambda _: "other code")
    keys.append(key())
    monkeypatch.setattr("mri_aug.study.store._versions", lambda _: {"torch": "0"})
    keys.append(key())
    assert len(set(keys)) == len(keys)
    first, second = (TrainConfig(device=f"cuda:{number}", precision="float32") for number in range(2))
    assert key(config=first) == key(config=second), "which of several GPUs computed it makes no difference"


def test_a_generator_is_asked_for_its_fingerprint_once(toy_images):
    class Counting:
        asked = 0

        @property
        def fingerprint(self):
            Counting.asked += 1  # of a folder of weights, this is a second per gigabyte
            return "0"

    arm = thesis_arms(0.3)[2]
    keys = Keys([arm, arm], toy_images.fingerprint, seed=0, config=QUICK, generators={"morph": Counting()})
    assert len({keys.of(arm, r) for r in range(50)}) == 50 and Counting.asked == 1


def test_what_cannot_be_run_is_named_before_anything_is(toy_images, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "simulate", lambda *_, **__: pytest.fail("run"))
    unknown = replace(toy_images, subjects=torch.full_like(toy_images.subjects, -1))
    subject = Condition(protocol="subject")
    for images, arm, message in (
        (unknown, subject, "people behind 96 of 96 images are unknown"),
        (toy_images, Condition(protocol="published"), "publishes no test part"),
        (toy_images, replace(thesis_arms(0.3)[2], generator="openai-edits"), "takes its synthetic images from a bank"),
    ):
        with pytest.raises(ValueError, match=message):
            run_study([Condition(), arm], images, n_simulations=1, seed=0, store=Store(tmp_path / "s.sqlite"), n_jobs=1)
    check_conditions([Condition()], unknown, {})


def test_a_study_killed_again_and_again_ends_with_the_same_table(reference, tmp_path):
    path = tmp_path / "store.sqlite"
    kept: dict[str, dict] = {}
    for target in (2, 9):
        process = subprocess.Popen(
            [sys.executable, Path(__file__).parents[1] / "study_script.py", path], start_new_session=True
        )
        wait_for(lambda target=target: count(path) >= target, f"{target} rows")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        rows = Store(path).rows(reference["key"])
        assert len(rows) >= target
        assert {key: rows[key] for key in kept} == kept, "a finished row was lost or run again"
        kept = rows
    assert len(kept) < len(reference), "the study ended before it could be killed; make it longer"
    finished = small_study(path, n_jobs=2)
    pd.testing.assert_frame_equal(stable(finished), stable(reference), check_exact=True)
    assert finished.set_index("key").loc[list(kept), "seconds"].tolist() == [row["seconds"] for row in kept.values()]


@contextmanager
def dask_cluster():
    """Start a scheduler and two single-threaded workers on loopback, as a user would."""
    dask, loopback = str(Path(sys.executable).with_name("dask")), ["--host", "127.0.0.1", "--no-dashboard"]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scheduler = subprocess.Popen([dask, "scheduler", *loopback, "--port", "0"], stderr=subprocess.PIPE, text=True)
    processes = [scheduler]
    try:
        address = next(found[0] for line in scheduler.stderr if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        options = [*loopback, "--nthreads", "1", "--no-nanny"]
        processes += [subprocess.Popen([dask, "worker", address, *options], **quiet) for _ in range(2)]
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        scheduler.stderr.close()


def test_a_dask_cluster_gives_the_same_rows_though_a_worker_dies(reference, tmp_path, monkeypatch):
    path, killed = tmp_path / "store.sqlite", []
    with dask_cluster() as (address, workers):
        append = Store.append

        def kill_one(store, key, row):
            append(store, key, row)
            if len(store) == 4:
                workers[0].kill()
                killed.append(workers[0].wait())

        monkeypatch.setattr(Store, "append", kill_one)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        table = small_study(path, scheduler=address)
    assert killed == [-signal.SIGKILL]
    pd.testing.assert_frame_equal(stable(table), stable(reference), check_exact=True)


def test_processes_that_a_simulation_started_end_with_it(toy_images, tmp_path, monkeypatch):
    def start_two(condition, image_set, **_):
        pids = joblib.Parallel(2, backend="loky")(joblib.delayed(os.getpid)() for _ in range(2))
        return {**condition.columns(), "elsewhere": os.getpid() not in pids}

    monkeypatch.setattr(run, "simulate", start_two)
    store = Store(tmp_path / "store.sqlite")
    table = run_study([Condition()], toy_images, n_simulations=2, seed=0, store=store, config=QUICK, n_jobs=1)
    assert table["elsewhere"].all() and not multiprocessing.active_children()


def test_a_cluster_of_one_thread_computes_there_and_not_here(toy_images, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def where(condition, image_set, **_):
        return {**condition.columns(), "thread": threading.current_thread().name, "images": len(image_set)}

    monkeypatch.setattr(run, "simulate", where)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:  # fmt: skip
        table = run_study(
            [Condition()], toy_images, n_simulations=7, seed=0, store=Store(tmp_path / "store.sqlite"), config=QUICK,
            scheduler=cluster.scheduler_address,
        )  # fmt: skip
    assert len(table) == 7 and table["thread"].str.contains("Dask").all()


def test_a_study_survives_the_only_worker_that_held_the_images(toy_images, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    append, lost = Store.append, []

    def lose_the_first(store, key, row):
        append(store, key, row)
        if len(store) == 3:
            cluster.scale(2)
            wait_for(lambda: len(cluster.scheduler.workers) == 2, "second worker")
            lost.append(cluster.sync(cluster.workers[0].close, executor_wait=False))

    monkeypatch.setattr(run, "simulate", lambda condition, image_set, **_: condition.columns())
    monkeypatch.setattr(Store, "append", lose_the_first)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:  # fmt: skip
        options = dict(store=Store(tmp_path / "store.sqlite"), config=QUICK, scheduler=cluster.scheduler_address)
        assert len(run_study([Condition()], toy_images, n_simulations=20, seed=0, **options)) == 20
    assert lost


def test_bad_input_is_named(toy_images, tmp_path):
    options = dict(seed=0, store=Store(tmp_path / "store.sqlite"), config=QUICK)
    with pytest.raises(ValueError, match="n_simulations must be at least 1"):
        run_study([Condition()], toy_images, n_simulations=0, **options)
    for arm, message in (
        (Condition(real_frac=0.5, synth_frac=0.5, generator="dalle"), "no generator 'dalle'; .*duplicate"),
        (Condition(policy="shear"), "no policy 'shear'"),
        (Condition(architecture="unet"), "no architecture 'unet'; choose one of: cnn"),
        (Condition(architecture=["cnn"]), "no architecture .'cnn'.; choose one of: cnn"),
        (Condition(weights=0.3), "weights must be a name or the path of a file as text, got 0.3"),
        (Condition(real_frac=0.5, synth_frac=0.5, generator="morph", synth_classes=(9,)), "synth_classes must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            run_study([Condition(real_frac=0.3), arm], toy_images, n_simulations=1, **options)
    assert len(options["store"]) == 0, "nothing is computed before every condition has been looked at"
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        run_study([Condition()], toy_images, n_simulations=1, scheduler="tcp://127.0.0.1:9", **options)
