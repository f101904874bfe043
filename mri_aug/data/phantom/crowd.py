"""A crowd of simulated people, kept on disk as tissue, to be scanned again and again with new contrast and shape.

Simulating a person takes a third of a second; scanning one who is kept takes a thirtieth. The crowd's severity is
spread evenly over [0, 1] and divided into ordered grades. That link of grade to atrophy is an assumption: only how far
neighbouring grades overlap was compared on real people, on validation people of the thesis's dataset.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
import torch
from filelock import FileLock
from tqdm.auto import tqdm

from mri_aug import provenance
from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE, ImageSet
from mri_aug.data.phantom import anatomy
from mri_aug.data.phantom.anatomy import N_SLICES, Atlas, Slab, load_atlas
from mri_aug.data.phantom.people import Scanner, one_thread, scan
from mri_aug.data.sampling import check_seed

CROWD_VERSION = 1  # part of the cache's name: raise it whenever the same seed gives other bytes

_PERSON = (N_SLICES, IMAGE_SIZE, IMAGE_SIZE, 3)  # fluid, whiteness and mask of each pixel, uint8
_MAX_PEOPLE = int(2e9 // np.prod(_PERSON))  # in 2 GB


@dataclass(frozen=True, eq=False)
class Crowd:
    """People as tissue: fluid, whiteness and mask of :class:`~mri_aug.data.phantom.anatomy.Slab`, times 255."""

    tissue: np.ndarray  # uint8 (n_people, 32, 128, 128, 3), usually mapped from disk
    severity: np.ndarray  # float (n_people,) in [0, 1]

    def __len__(self) -> int:
        return len(self.severity)

    def grades(self, n_classes: int, rng: np.random.Generator, *, overlap: float = 0.4) -> np.ndarray:
        """Divide the people into ordered grades of equal number, int64 (n_people,); 0 is the least severe.

        People are ranked by severity plus normal noise with a standard deviation of ``overlap / n_classes``, that is,
        ``overlap`` times the range of a grade. Two classes halve the range of severity, four quarter it.
        """
        rank = np.argsort(np.argsort(self.severity + overlap / n_classes * rng.standard_normal(len(self))))
        return rank * n_classes // len(self)

    def draw(
        self, labels: np.ndarray, *, n_classes: int, seed: int, scanner: Scanner | None = None, overlap: float = 0.4
    ) -> ImageSet:
        """Scan people of the given grades, at least 20 people with all slices a second and core.

        The images of a grade are spread over all people of that grade, and over the height of the slab. Where there
        are fewer people than images need, a person comes again, with another shape and contrast, as a new subject.

        ``labels`` holds grades in 0..n_classes-1, one per image. The scanner's strength also sets how far people are
        bent, see :func:`_bend`; ``overlap`` is that of :meth:`grades`. Image i of the set has label i, a source of -1,
        and a subject numbered from 0. Raises a ValueError if a label is out of range, or there are fewer people than
        classes.
        """
        labels, scanner = np.asarray(labels), scanner or Scanner()
        check_seed(seed)
        if n_classes > len(self):
            raise ValueError(f"{n_classes} classes need at least as many simulated people, got n_people={len(self)}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
            raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {np.unique(labels).tolist()}")
        design_seed, scan_seed = np.random.SeedSequence(seed).spawn(2)
        rng = np.random.default_rng(design_seed)
        grade = self.grades(n_classes, rng, overlap=overlap)
        jobs = [job for k in np.unique(labels) for job in _jobs(np.flatnonzero(labels == k), grade == k, rng)]
        images = np.empty((len(labels), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        subjects, severity = np.empty(len(labels), np.int64), np.empty(len(labels), np.float32)
        rngs = map(np.random.default_rng, scan_seed.spawn(len(jobs)))
        for subject, ((rows, person, slices), its_rng) in enumerate(zip(jobs, rngs, strict=True)):
            images[rows] = _scan(self.tissue[person, slices], its_rng, scanner)
            subjects[rows], severity[rows] = subject, self.severity[person]
        return ImageSet(
            images=torch.from_numpy(images)[:, None],
            labels=torch.from_numpy(labels.astype(np.int64)),
            subjects=torch.from_numpy(subjects),
            source_ids=torch.full((len(labels),), -1),
            class_names=CLASS_NAMES if n_classes == len(CLASS_NAMES) else tuple(f"Grade {k}" for k in range(n_classes)),
            severity=torch.from_numpy(severity),
        )


def load_crowd(*, n_people: int = 400, seed: int = 0, n_jobs: int = 2) -> Crowd:
    """Return a crowd from the cache below ``artifacts/``, simulated there the first time; warn of a damaged file.

    400 people take 0.63 GB and, once, about a minute and a half on two cores, whose number ``n_jobs`` changes no byte.
    A smaller crowd of the same seed is the beginning of a larger one.

    Raises a ValueError if ``n_people`` is not in 2..1271 (2 GB), or the seed is negative or not whole.
    """
    if not 2 <= n_people <= _MAX_PEOPLE:
        raise ValueError(f"n_people must lie in 2..{_MAX_PEOPLE} (2 GB of tissue), got {n_people}")
    check_seed(seed)
    severity = crowd_severity(n_people, seed=seed)
    path = provenance.artifacts("cache", f"crowd-v{CROWD_VERSION}-{n_people}-{seed}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        tissue = _read(path, n_people) if path.exists() else None
        if tissue is None:
            _simulate(path, severity, seed, n_jobs)
            tissue = np.load(path, mmap_mode="r")
    return Crowd(tissue, severity)


def crowd_severity(n_people: int, *, seed: int) -> np.ndarray:
    """Return severities that cover [0, 1] evenly, however many are taken: steps of the golden ratio (Weyl 1916)."""
    return (np.random.default_rng(seed).uniform() + (5**0.5 - 1) / 2 * np.arange(n_people)) % 1


def _read(path: Path, n_people: int) -> np.ndarray | None:
    try:
        tissue = np.load(path, mmap_mode="r")
        if tissue.shape == (n_people, *_PERSON) and tissue.dtype == np.uint8:
            return tissue
        fault = f"it has shape {tissue.shape}"
    except (OSError, ValueError, EOFError) as error:
        fault = str(error)
    warnings.warn(f"the cache file {path} is damaged ({fault}) and is being remade", stacklevel=3)
    return None


def _simulate(path: Path, severity: np.ndarray, seed: int, n_jobs: int) -> None:
    """Write everybody's tissue to ``path``, whole or not at all."""
    atlas, n_people = load_atlas(), len(severity)
    jobs = (joblib.delayed(_person_tissue)(atlas, float(s), [seed, person]) for person, s in enumerate(severity))
    with provenance.atomic_write(path) as temporary:
        kept = np.lib.format.open_memmap(temporary, "w+", np.uint8, (n_people, *_PERSON))
        with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
            found = joblib.Parallel(return_as="generator")(jobs)
            for person, tissue in enumerate(tqdm(found, total=n_people, desc="simulated people", unit="person")):
                kept[person] = tissue
        kept.flush()


def _person_tissue(atlas: Atlas, severity: float, seed: list[int]) -> np.ndarray:
    with one_thread():
        volumes = torch.tensor(atlas.volumes)  # a copy: joblib hands the arrays over read-only
        person = anatomy.draw_person(volumes, atlas.origin, np.random.default_rng(seed), n_slices=N_SLICES)
        slab = anatomy.tissue(volumes, atlas.origin, person, severity=severity)
        return torch.stack([slab.fluid, slab.whiteness, slab.mask], dim=-1).mul(255).round().byte().numpy()


def _jobs(rows: np.ndarray, members: np.ndarray, rng: np.random.Generator):
    """Yield (rows, person, slices): images spread evenly over people, and each person's over the slab."""
    people = rng.permutation(np.flatnonzero(members))
    rounds = -(-len(rows) // (N_SLICES * len(people)))
    for part, person in zip(np.array_split(rows, rounds * len(people)), np.tile(people, rounds), strict=True):
        if len(part):
            heights = (np.arange(len(part)) + rng.uniform()) * N_SLICES / len(part)
            yield part, person, heights.astype(int)


def _scan(tissue: np.ndarray, rng: np.random.Generator, scanner: Scanner) -> np.ndarray:
    body_rng, scan_rng = rng.spawn(2)
    if scanner.strength > 0:
        places = _bend(body_rng, scanner.strength)
        tissue = np.stack([cv2.remap(image, places, None, cv2.INTER_LINEAR) for image in tissue])
    fluid, whiteness, mask = torch.from_numpy(tissue).movedim(-1, 0).float().div(255).contiguous()
    with one_thread():
        return scan(Slab(fluid, whiteness, mask), scan_rng, scanner)


def _bend(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draw a person's shape: where each pixel is looked up, float32 (128, 128, 2) as (x, y).

    Standard deviations at strength 1: scale 3 % along each axis, shear 2 %, rotation 3 degrees, shift 1.5 pixels, and
    1.2 pixels of a smooth displacement with knots 26 pixels apart.
    """
    angle = np.deg2rad(rng.normal(0, 3 * strength))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.eye(2) + strength * np.array([[rng.normal(0, 0.03), rng.normal(0, 0.02)], [0, rng.normal(0, 0.03)]])
    knots = rng.normal(0, 1.2 * strength, (5, 5, 2)).astype(np.float32)
    middle = (IMAGE_SIZE - 1) / 2
    grid = np.stack(np.meshgrid(*[np.arange(IMAGE_SIZE) - middle] * 2), axis=-1)
    places = grid @ (turn @ stretch).T + middle + rng.normal(0, 1.5 * strength, 2)
    return (places + cv2.resize(knots, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)).astype(np.float32)
