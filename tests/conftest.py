"""Data that several test files share, made in milliseconds and without the phantoms."""

from __future__ import annotations

import datasets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mri_aug import provenance
from mri_aug.data.imageset import ImageSet
from mri_aug.data.loading import load_images
from mri_aug.provenance import project

SLICES = 6


@pytest.fixture(scope="session")
def thesis_images() -> ImageSet:
    """Return the thesis's dataset where a copy is beside the checkout; a test that needs it is skipped elsewhere."""
    folder = project().parent / "shared" / "data" / "Alzheimer_MRI"
    if not folder.is_dir():
        pytest.skip(f"the thesis's dataset is not beside the checkout ({folder})")
    return load_images(folder)


def make_toy_images(people_per_class: int = 4, *, seed: int = 0) -> ImageSet:
    """Make discs with a cavity that grows with the class, six drifting slices of each person."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    images, labels, subjects = [], [], []
    for subject in range(4 * people_per_class):
        label = subject % 4
        head, cavity = 0.72 + 0.05 * rng.normal(), 0.12 + 0.1 * label + 0.02 * rng.normal()
        texture = rng.normal(size=(8, 8)).repeat(16, axis=0).repeat(16, axis=1)
        for place in range(SLICES):
            radius = np.hypot(x * (1 + 0.02 * place), y)
            image = (radius < head) * (170 + 25 * texture) * (radius > cavity)
            images.append(np.clip(image + rng.normal(0, 3, image.shape) * (radius < head), 0, 255))
            labels.append(label)
            subjects.append(subject)
    return ImageSet(
        images=torch.from_numpy(np.stack(images).astype(np.uint8)[:, None]),
        labels=torch.tensor(labels),
        subjects=torch.tensor(subjects),
        source_ids=torch.arange(len(images)),
    )


@pytest.fixture(scope="session")
def toy_images() -> ImageSet:
    """96 images of 16 people, 4 to a class."""
    return make_toy_images()


@pytest.fixture
def figures():
    """Draw off screen; settings must come out as they went in."""
    plt.switch_backend("Agg")
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


@pytest.fixture(scope="module")
def one_thread():
    """Compute on one thread, as a study does: several may sum in another order from one time to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Keep what is computed, and what the hub's library prepares, in the test's own folder."""
    monkeypatch.setattr(provenance, "artifacts", lambda *parts: tmp_path.joinpath("artifacts", *parts))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")


@pytest.fixture
def start(monkeypatch):
    """Return a function that starts a server of images and points the client at it."""
    from openai_server import KEY, ImageServer

    running = []

    def begin(*args, **options) -> ImageServer:
        running.append(ImageServer(*args, **options).__enter__())
        monkeypatch.setenv("OPENAI_BASE_URL", running[-1].url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        return running[-1]

    yield begin
    for server in running:
        server.__exit__()
