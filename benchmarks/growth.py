"""How cost grows: with the number of images, of people to recover, of rows to summarise, of variations to make.

Larger datasets are repeats of the given one; where copies would matter each repeat is jittered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import engine
from benchmarks.processes import in_process, resident_megabytes, side_by_side
from benchmarks.record import Tables
from benchmarks.settings import Settings, read_images, repeated
from mri_aug.data.people import recover_subjects
from mri_aug.generators.morph import MorphGenerator
from mri_aug.results.comparison import compare, summarise
from mri_aug.results.people import SCORES, compare_people, person_scores, summarise_people

N_CONDITIONS = 14  # of chapter 7: five arms under each of two protocols, and four policies
N_PEOPLE = 40  # in a test part


def measure(settings: Settings) -> Tables:
    """Measure the growth of training, of people recovery and of statistics, and the pace of ``morph``."""
    work, size = settings.work, settings.size
    sizes = (10_000, 50_000, 200_000) if not settings.quick else (128, 256)
    people = (6_400, 64_000, 80_000) if not settings.quick else (96, 192, 240)
    rows = (1_000, 10_000, 100_000) if not settings.quick else (140,)
    return {
        "training": [in_process(_training, work, n, size(10, 1)) for n in sizes],
        "people": [in_process(_people, work, n) for n in people],
        "statistics": [in_process(_statistics, n) for n in rows],
        "morph": _morph(settings),
    }


def _training(work: Path, n_images: int, n_steps: int) -> dict:
    engine.one_thread()
    image_set = repeated(read_images(work), n_images)
    per_step, once = engine.step_seconds(image_set, n_steps=n_steps)
    return {
        "images": n_images, "seconds_per_step": per_step, "seconds_once": once,
        "data_mb": image_set.images.numel() / 1e6, "resident_mb": resident_megabytes("VmHWM"),
    }  # fmt: skip


def _people(work: Path, n_images: int) -> dict:
    image_set = read_images(work)
    images = jittered(image_set.images, n_images, seed=0)
    before = resident_megabytes()
    start = time.perf_counter()
    audit = recover_subjects(images)
    return {
        "images": n_images, "seconds": time.perf_counter() - start, "people": audit.n_subjects,
        "data_mb": images.numel() / 1e6, "before_mb": before, "resident_mb": resident_megabytes("VmHWM"),
    }  # fmt: skip


def jittered(images: Tensor, n: int, *, seed: int) -> Tensor:
    """Return ``n`` images, uint8: the given ones, then changed repeats of them (flipped, moved, noisier).

    A repeat is changed as a whole, so that its people still look like one another more than like others.
    """
    rng, more = np.random.default_rng(seed), torch.empty((n, *images.shape[1:]), dtype=torch.uint8)
    for first in range(0, n, len(images)):
        part = images[: n - first]
        if first:
            shift = tuple(rng.integers(-6, 7, 2).tolist())
            part = torch.roll(part.flip(-1) if rng.random() < 0.5 else part, shift, dims=(-2, -1))
            noise = torch.from_numpy(rng.integers(-4, 5, part.shape, dtype=np.int8))
            part = (part.to(torch.int16) + noise).clamp_(0, 255).to(torch.uint8)
        more[first : first + len(part)] = part
    return more


def _statistics(n_rows: int) -> dict:
    """Time chapter 7's tables and intervals on a made-up study of that many rows."""
    rows = made_up_study(n_rows)
    names = rows["condition"].unique().tolist()
    start = time.perf_counter()
    summarise(rows, "test_cross_entropy")
    for baseline in names[:3]:
        compare(rows, "test_cross_entropy", baseline=baseline)
    tables = time.perf_counter() - start
    start = time.perf_counter()
    scores = person_scores(rows[rows["condition"].isin(names[:5])])  # those of the subject protocol
    summarise_people(scores)
    compare_people(scores, baseline=names[0])
    people = time.perf_counter() - start
    return {"rows": n_rows, "seconds": tables + people, "tables_seconds": tables, "people_seconds": people}


def made_up_study(n_rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Return rows as a study's table has them, of random numbers."""
    rng = np.random.default_rng(seed)
    n_simulations = max(3, n_rows // N_CONDITIONS)
    texts = [_by_subject(rng) for _ in range(64)]
    n = N_CONDITIONS * n_simulations
    return pd.DataFrame(
        {
            "condition": np.repeat([f"condition {c}" for c in range(N_CONDITIONS)], n_simulations),
            "simulation": np.tile(np.arange(n_simulations), N_CONDITIONS),
            "repeat": np.tile(np.arange(n_simulations) // 5, N_CONDITIONS),
            "test_cross_entropy": rng.gamma(4, 0.05, n),
            "by_subject": [texts[i % len(texts)] for i in range(n)],
        }
    )


def _by_subject(rng: np.random.Generator) -> str:
    losses = rng.gamma(2, 0.3, (2, N_PEOPLE)).round(5)
    columns = {
        "subject": list(range(N_PEOPLE)),
        "label": [person % 4 for person in range(N_PEOPLE)],
        "n_images": [32] * N_PEOPLE,
        "cross_entropy": losses[0].tolist(),
        "accuracy": rng.random(N_PEOPLE).round(5).tolist(),
        "predicted": rng.integers(0, 4, N_PEOPLE).tolist(),
        "subject_cross_entropy": losses[1].tolist(),
        **{name: rng.dirichlet(np.ones(4), N_PEOPLE).round(4).tolist() for name in SCORES},
    }
    return json.dumps(columns, separators=(",", ":"))


def _morph(settings: Settings) -> list[dict]:
    n_fitted, n_varied = settings.size(5_120, 96), settings.size(512, 8)
    done = side_by_side(_morph_seconds, joblib.cpu_count(), settings.work, n_fitted, n_varied)
    fit, vary = (max(seconds) for seconds in zip(*done, strict=True))
    return [
        {"processes": len(done), "fitted_images": n_fitted, "fit_seconds": fit, "variations": len(done) * n_varied,
         "variations_per_second": len(done) * n_varied / vary}
    ]  # fmt: skip


def _morph_seconds(meet: Callable, work: Path, n_fitted: int, n_varied: int) -> tuple[float, float]:
    import cv2

    engine.one_thread()
    cv2.setNumThreads(1)
    image_set = read_images(work)
    images = jittered(image_set.images, n_fitted, seed=0)
    place = torch.arange(n_fitted) % len(image_set)
    labels, subjects = image_set.labels[place], image_set.subjects[place]
    meet()
    start = time.perf_counter()
    generator = MorphGenerator().fit(images, labels, subjects, seed=0)
    fit = time.perf_counter() - start
    chosen = torch.linspace(0, n_fitted - 1, n_varied).long()  # of every class, as in a study
    generator.vary(images[chosen[:4]], labels[chosen[:4]], seed=1)  # warms up
    meet()
    start = time.perf_counter()
    generator.vary(images[chosen], labels[chosen], seed=0)
    return fit, time.perf_counter() - start
