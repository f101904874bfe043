"""Phantoms: simulated axial brain slices whose people, severity and atrophied tissue are known.

They replace the thesis's dataset where there is no network, and wherever a test needs the truth. Anatomy is drawn in
:mod:`mri_aug.data.phantom.anatomy`; this module scans it, divides people among the classes and keeps the result.
Phantoms are no evidence on dementia: the link of class to atrophy is an assumption and was not fitted to any image;
framing and brightness were matched to the thesis's images by eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from mri_aug import provenance
from mri_aug.data.imageset import ImageSet, cached_image_set
from mri_aug.data.phantom import anatomy
from mri_aug.data.phantom.anatomy import N_SLICES, Atlas, load_atlas
from mri_aug.data.phantom.scanner import scan
from mri_aug.data.sampling import apportion, check_seed

PHANTOM_VERSION = 2  # part of the cache's name: raise it whenever the same seed gives other bytes

CLASS_SHARES = (100, 70, 28, 2)  # people per class of 200, as in the thesis's dataset
SEVERITY_MEANS = (0.10, 0.36, 0.62, 0.88)  # ordered; neighbouring classes overlap
SEVERITY_SD = 0.10
TEST_SHARE = 0.2  # of the images, in the dataset's own (leaky) split


@dataclass(frozen=True)
class Scan:
    """One simulated person's slices.

    Parameters
    ----------
    images : ndarray of uint8, shape (n_slices, 128, 128)
    atrophy : ndarray of bool, shape (n_slices, 128, 128)
        True where the person's healthy anatomy has tissue (at least half) and the atrophied one fluid.
    """

    images: np.ndarray
    atrophy: np.ndarray


def make_phantoms(
    *, n_subjects: int = 200, n_slices: int = N_SLICES, seed: int, n_jobs: int = 2, progress: bool = False
) -> ImageSet:
    """Simulate people and scan them; 200 take less than a minute on two free cores.

    Parameters
    ----------
    n_subjects : int, at least 8
        Divided among the classes as in the thesis (200: 100, 70, 28 and 2), at least 2 people in each.
    n_slices : int in 1..32
        Neighbouring slices per person, 1 mm apart, from the middle of the thesis's range.
    seed : int
        The same seed gives the same bytes, whatever ``n_jobs``.
    n_jobs : int
        Processes, one thread each.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ImageSet
        Ordered by subject, then from the lowest slice to the highest; class, severity, ``atrophy`` (see
        :class:`Scan`) and a stratified random fifth as ``published_test`` are known.

    Raises
    ------
    ValueError
        If a count is out of range, or the seed is negative or not whole.
    """
    shares = class_shares(n_subjects)
    _check_slices(n_slices)
    check_seed(seed)
    design_seed, people_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(design_seed)
    classes = rng.permutation(np.repeat(np.arange(len(shares)), shares))
    severity = np.clip(rng.normal(np.array(SEVERITY_MEANS)[classes], SEVERITY_SD), 0, 1)
    atlas = load_atlas()
    jobs = (
        joblib.delayed(_scan_person)(atlas, float(s), n_slices, person_seed)
        for s, person_seed in zip(severity, people_seed.spawn(n_subjects), strict=True)
    )
    with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        scans = joblib.Parallel(return_as="generator")(jobs)
        scans = list(tqdm(scans, total=n_subjects, desc="phantoms", unit="person", disable=not progress))
    labels = np.repeat(classes, n_slices)
    return _image_set(
        images=np.concatenate([one.images for one in scans]),
        atrophy=np.concatenate([one.atrophy for one in scans]),
        labels=labels,
        subjects=np.repeat(np.arange(n_subjects), n_slices),
        severity=np.repeat(severity, n_slices).astype(np.float32),
        published_test=_stratified_mask(labels, rng),
    )


def make_subject(*, severity: float, seed: int, n_slices: int = N_SLICES) -> Scan:
    """Simulate one person at a chosen severity: the same seed is the same person, scanned alike.

    Parameters
    ----------
    severity : float in [0, 1]
    seed : int
    n_slices : int in 1..32

    Returns
    -------
    Scan

    Raises
    ------
    ValueError
        If severity or n_slices is out of range, or the seed is negative or not whole.
    """
    if not 0 <= severity <= 1:
        raise ValueError(f"severity must lie in [0, 1], got {severity}")
    _check_slices(n_slices)
    check_seed(seed)
    return _scan_person(load_atlas(), severity, n_slices, np.random.SeedSequence(seed))


def load_phantoms(*, n_subjects: int = 200, seed: int = 0, progress: bool = False) -> ImageSet:
    """Return phantoms from the cache below ``artifacts/``, made there the first time.

    Parameters
    ----------
    n_subjects, seed, progress
        As for :func:`make_phantoms`.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        As :func:`make_phantoms`.

    Warns
    -----
    UserWarning
        If the cached file was damaged and has been made again.
    """
    class_shares(n_subjects)
    check_seed(seed)
    return cached_image_set(
        phantom_file(n_subjects, seed), lambda: make_phantoms(n_subjects=n_subjects, seed=seed, progress=progress)
    )


def phantom_file(n_subjects: int, seed: int) -> Path:
    """Return where these phantoms are kept once they have been made."""
    return provenance.artifacts("cache", f"phantom-v{PHANTOM_VERSION}-{n_subjects}-{seed}.npz")


def class_shares(n_subjects: int, shares: Sequence[int] = CLASS_SHARES) -> tuple[int, ...]:
    """Divide people among the classes in given shares, at least two in each: one to train on and one to test on.

    Parameters
    ----------
    n_subjects : int, at least two per class
    shares : sequence of int
        People per class of the population; the thesis's by default.

    Returns
    -------
    tuple of int
        People per class, in ordinal order.

    Raises
    ------
    ValueError
        If there are too few people.
    """
    least = 2 * len(shares)
    if n_subjects < least:
        raise ValueError(f"n_subjects must be at least {least} (2 people in each class), got {n_subjects}")
    return tuple(apportion(n_subjects, shares, at_least=2).tolist())


def _check_slices(n_slices: int) -> None:
    if not 1 <= n_slices <= N_SLICES:
        raise ValueError(f"n_slices must lie in 1..{N_SLICES}, got {n_slices}")


def _scan_person(atlas: Atlas, severity: float, n_slices: int, seed: np.random.SeedSequence) -> Scan:
    body_seed, scan_seed = seed.spawn(2)
    with one_thread():
        volumes = torch.tensor(atlas.volumes)  # a copy: joblib hands the arrays over read-only
        person = anatomy.draw_person(volumes, atlas.origin, np.random.default_rng(body_seed), n_slices=n_slices)
        healthy = anatomy.tissue(volumes, atlas.origin, person, severity=0.0)
        actual = anatomy.tissue(volumes, atlas.origin, person, severity=severity)
        atrophy = (healthy.fluid < 0.5) & (actual.fluid >= 0.5) & (person.mask > 0.5)
        return Scan(scan(actual, np.random.default_rng(scan_seed)), atrophy.numpy())


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: sums depend on how they are shared among threads, and bytes must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stratified_mask(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mask[rng.choice(members, max(1, round(TEST_SHARE * len(members))), replace=False)] = True
    return mask


def _image_set(*, images, atrophy, **columns) -> ImageSet:
    columns = {name: torch.from_numpy(values) for name, values in columns.items()}
    return ImageSet(
        images=torch.from_numpy(images)[:, None],
        atrophy=torch.from_numpy(atrophy)[:, None],
        source_ids=torch.arange(len(images)),
        **columns,
    )
