"""Phantoms: simulated axial brain slices whose people, severity and atrophied tissue are known.

They replace the thesis's dataset where there is no network, and wherever a test needs the truth. Anatomy is drawn in
:mod:`mri_aug.data.phantom.anatomy`; this module scans it, divides people among the classes and keeps the result.
Phantoms are no evidence on dementia: the link of class to atrophy is an assumption and was not fitted to any image;
framing, brightness and noise were matched to the thesis's images by eye.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
import torch

from mri_aug import provenance
from mri_aug.data.imageset import ImageSet, cached_image_set
from mri_aug.data.phantom import anatomy
from mri_aug.data.phantom.anatomy import N_SLICES, Atlas, Slab, load_atlas, smooth_field
from mri_aug.data.sampling import apportion, check_seed

PHANTOM_VERSION = 2  # part of the cache's name: raise it whenever the same seed gives other bytes

CLASS_SHARES = (100, 70, 28, 2)  # people per class of 200, as in the thesis's dataset
SEVERITY_MEANS = (0.10, 0.36, 0.62, 0.88)  # ordered; neighbouring classes overlap
SEVERITY_SD = 0.10
TEST_SHARE = 0.2  # of the images, in the dataset's own (leaky) split
_JPEG_QUALITY = 90  # read off the quantisation tables of the thesis's images
_LEVELS, _LEVEL_SDS = (28, 112, 219), np.array((3, 6, 5))  # fluid, grey and white matter, between people


@dataclass(frozen=True)
class Scan:
    """One simulated person's slices."""

    images: np.ndarray  # uint8 (n_slices, 128, 128)
    atrophy: np.ndarray  # bool, same shape: the healthy anatomy has tissue (at least half), the atrophied one fluid


def make_phantoms(*, n_subjects: int = 200, n_slices: int = N_SLICES, seed: int, n_jobs: int = 2) -> ImageSet:
    """Simulate people and scan them; 200 take less than a minute on two free cores.

    Parameters
    ----------
    n_subjects : int, at least 8
        Divided among the classes as in the thesis (200: 100, 70, 28 and 2), at least 2 people in each.
    n_slices : int in 1..32
        Neighbouring slices per person, 1 mm apart, from the middle of the thesis's range.
    seed, n_jobs : int
        The same seed gives the same bytes, whatever the number of processes (of one thread each).

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
        scans = joblib.Parallel()(jobs)
    labels = np.repeat(classes, n_slices)
    published_test = np.zeros(len(labels), bool)
    for members in (np.flatnonzero(labels == label) for label in range(len(shares))):
        published_test[rng.choice(members, max(1, round(TEST_SHARE * len(members))), replace=False)] = True
    columns = {
        "images": np.concatenate([one.images for one in scans])[:, None],
        "labels": labels,
        "subjects": np.repeat(np.arange(n_subjects), n_slices),
        "source_ids": np.arange(len(labels)),
        "published_test": published_test,
        "severity": np.repeat(severity, n_slices).astype(np.float32),
        "atrophy": np.concatenate([one.atrophy for one in scans])[:, None],
    }
    return ImageSet(**{name: torch.from_numpy(values) for name, values in columns.items()})


def make_subject(*, severity: float, seed: int, n_slices: int = N_SLICES) -> Scan:
    """Simulate one person at a severity in [0, 1]: the same seed is the same person, scanned alike.

    Raises a ValueError if the severity is out of range, or as :func:`make_phantoms`.
    """
    if not 0 <= severity <= 1:
        raise ValueError(f"severity must lie in [0, 1], got {severity}")
    _check_slices(n_slices)
    check_seed(seed)
    return _scan_person(load_atlas(), severity, n_slices, np.random.SeedSequence(seed))


def load_phantoms(*, n_subjects: int = 200, seed: int = 0) -> ImageSet:
    """Return phantoms, as :func:`make_phantoms`, from the cache below ``artifacts/``; made there the first time.

    Warns where the cached file was damaged and has been made again.
    """
    class_shares(n_subjects)
    check_seed(seed)
    return cached_image_set(phantom_file(n_subjects, seed), lambda: make_phantoms(n_subjects=n_subjects, seed=seed))


def phantom_file(n_subjects: int, seed: int) -> Path:
    """Return where these phantoms are kept once they have been made."""
    return provenance.artifacts("cache", f"phantom-v{PHANTOM_VERSION}-{n_subjects}-{seed}.npz")


def class_shares(n_subjects: int) -> tuple[int, ...]:
    """Divide people among the classes as in the thesis, at least two in each: one to train on and one to test on.

    Raises a ValueError if there are too few people.
    """
    if n_subjects < (least := 2 * len(CLASS_SHARES)):
        raise ValueError(f"n_subjects must be at least {least} (2 people in each class), got {n_subjects}")
    return tuple(apportion(n_subjects, CLASS_SHARES, at_least=2).tolist())


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


# ---- the scanner


@dataclass(frozen=True)
class Scanner:
    """How people are scanned, and how much that differs between them.

    With strength x, between people: tissue levels spread 1 + 2 x times as much, receive bias 1 + x times; noise has an
    upper limit 1 + x times as high; gamma varies by a factor of exp(0.2 x) (one standard deviation); and resolution
    falls by a factor of up to 1 + x along each axis.
    """

    strength: float = 0.0  # of the randomisation: 0 is the phantoms' scanner, 1 the most
    blur: float = 0.0  # standard deviation of the point spread, pixels, added for everybody
    tone: tuple[float, ...] = ()  # 256 grey values in place of 0..255; empty: left as they are


def scan(slab: Slab, rng: np.random.Generator, scanner: Scanner | None = None) -> np.ndarray:
    """Turn a person's tissue into grey values, uint8 (n_slices, 128, 128), by the phantoms' own scanner by default.

    In order: contrast, receive bias, Rician noise, brightness, blur, tone, JPEG.
    """
    scanner = scanner or Scanner()
    shape, wider = slab.fluid.shape, 1 + 2 * scanner.strength
    fluid, grey, white = rng.normal(_LEVELS, _LEVEL_SDS * wider)
    white = min(white, 235)  # wide spreads neither saturate nor leave the order of T1 weighting
    grey = np.clip(grey, fluid + 40, white - 40)
    signal = torch.lerp(grey + (white - grey) * slab.whiteness, torch.tensor(float(fluid)), slab.fluid)
    mottle = smooth_field(rng, shape, 2.5, 1)[0]
    bias = torch.exp(0.05 * (1 + scanner.strength) * smooth_field(rng, shape, 60.0, 1)[0])
    signal = signal * (1 + 0.02 * mottle) * bias
    sigma = rng.uniform(2.5, 4.5 * (1 + scanner.strength))
    noise = torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32)) * sigma
    # Each original is scaled to its maximum, so that runs of slices with a bright vessel are darker.
    vessel = smooth_field(rng, (shape[0], 1, 1), 2.0, 1)[0]
    brightness = rng.normal(1.0, 0.04) / (1 + 0.6 * (vessel - 1.3).clamp(min=0))
    # Magnitude images have Rician noise: the length of a complex signal (Gudbjartsson & Patz 1995, eq. 1).
    magnitude = torch.hypot(signal + noise[0], noise[1]) * slab.mask * brightness
    images = magnitude.clamp(0, 255).numpy()
    gamma, wide = rng.normal(0, 0.2), 1 + scanner.strength * rng.uniform(0, 1, 2)
    # A pixel w times as wide is a box whose variance is (w^2 - 1) / 12 larger.
    sigma = np.sqrt(scanner.blur**2 + (wide**2 - 1) / 12)
    if sigma.any():
        across, down = np.maximum(sigma, 0.01)
        images = np.stack([cv2.GaussianBlur(image, (0, 0), across, sigmaY=down) for image in images])
    curve = 255 * np.linspace(0, 1, 256) ** np.exp(gamma * scanner.strength)
    curve = np.interp(curve, np.arange(256), scanner.tone or np.arange(256)).round().astype(np.uint8)
    return np.stack([_jpeg(image) for image in curve[images.round().astype(np.uint8)]])


def _jpeg(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
