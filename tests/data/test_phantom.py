import socket

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from mri_aug import provenance
from mri_aug.data.phantom import people as phantom
from mri_aug.data.phantom.anatomy import Slab, load_atlas
from mri_aug.data.phantom.crowd import Crowd, crowd_severity, load_crowd
from mri_aug.data.phantom.people import Scanner, class_shares, load_phantoms, make_phantoms, make_subject, scan
from tests.phantoms import small_crowd

SLICES = 6


@pytest.fixture(scope="module")
def phantoms():
    return make_phantoms(n_subjects=8, n_slices=SLICES, seed=3, n_jobs=1)


@pytest.fixture(scope="module")
def ladder():
    """One person at four severities."""
    return {severity: make_subject(severity=severity, seed=5, n_slices=4) for severity in (0.0, 0.3, 0.6, 0.9)}


def same(a, b):
    return a.fingerprint == b.fingerprint


def fluid_share(images):
    """Share of dark pixels in the middle of the brain."""
    centre = images[:, 35:95, 45:81]
    return float((centre < 60).mean())


@pytest.mark.parametrize(
    ("n_subjects", "expected"),
    [(200, (100, 70, 28, 2)), (8, (2, 2, 2, 2)), (20, (10, 6, 2, 2)), (400, (200, 140, 56, 4))],
)
def test_shares_follow_the_thesis_with_two_people_at_least(n_subjects, expected):
    assert class_shares(n_subjects) == expected


@pytest.mark.parametrize("n_subjects", range(8, 60))
def test_shares_always_add_up(n_subjects):
    shares = class_shares(n_subjects)
    assert sum(shares) == n_subjects
    assert min(shares) >= 2
    assert list(shares) == sorted(shares, reverse=True)


def test_image_set_is_complete_and_ordered_by_subject(phantoms):
    n = 8 * SLICES
    assert phantoms.images.shape == phantoms.atrophy.shape == (n, 1, 128, 128)
    assert phantoms.images.dtype == torch.uint8
    assert phantoms.atrophy.dtype == phantoms.published_test.dtype == torch.bool
    assert phantoms.severity.dtype == torch.float32
    assert phantoms.subjects.tolist() == np.repeat(np.arange(8), SLICES).tolist()
    assert phantoms.source_ids.tolist() == list(range(n))
    assert list(phantoms.class_counts().values()) == [2 * SLICES] * 4
    assert all(len(phantoms.labels[phantoms.subjects == k].unique()) == 1 for k in range(8))
    assert 0 <= phantoms.severity.min() <= phantoms.severity.max() <= 1


def test_images_are_skull_stripped_and_use_the_grey_scale(phantoms):
    images = phantoms.images.float()
    border = torch.cat([images[..., :8, :].flatten(), images[..., -8:, :].flatten(), images[..., :8].flatten()])
    assert border.max() <= 8  # black but for the JPEG's ripples
    assert 0.4 < (images > 25).float().mean() < 0.6
    assert images.flatten(1).quantile(0.99, dim=1).median() > 200


def test_published_test_is_a_stratified_fifth(phantoms):
    counts = torch.bincount(phantoms.labels[phantoms.published_test])
    assert counts.tolist() == [round(0.2 * 2 * SLICES)] * 4


def test_same_seed_same_bytes_whatever_the_number_of_processes(phantoms):
    assert same(phantoms, make_phantoms(n_subjects=8, n_slices=SLICES, seed=3, n_jobs=2))


def test_other_seed_other_bytes(phantoms):
    other = make_phantoms(n_subjects=8, n_slices=SLICES, seed=4, n_jobs=1)
    assert not same(phantoms, other)
    assert (phantoms.images != other.images).flatten(1).any(1).all()


def test_caller_keeps_its_threads_and_random_state():
    threads, drawn, (_, keys, place, *_) = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()
    make_subject(severity=0.5, seed=1, n_slices=1)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), drawn)
    assert np.array_equal(np.random.get_state()[1], keys) and np.random.get_state()[2] == place


def test_templates_need_no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    load_atlas.__wrapped__()


def test_atrophy_grows_with_severity_and_is_nothing_in_health(ladder):
    areas = [scan.atrophy.sum() for scan in ladder.values()]
    assert areas[0] == 0
    assert areas == sorted(set(areas))


def test_atrophied_tissue_turned_dark(ladder):
    healthy, severe = ladder[0.0], ladder[0.9]
    change = severe.images.astype(float) - healthy.images
    assert change[severe.atrophy].mean() < -40
    assert abs(change[~severe.atrophy].mean()) < 12


def test_average_brain_is_whole():
    atlas = load_atlas()
    assert atlas.volumes.shape[0] == 8
    assert np.isfinite(atlas.volumes).all()
    grey, white, t1, inside, ventricle = atlas.volumes[:5]
    assert min(grey.min(), white.min(), t1.min()) >= -1e-6 and max(grey.max(), white.max(), t1.max()) <= 1 + 1e-6
    assert (t1[inside > 3] > 0).mean() > 0.95
    assert (grey + white)[ventricle < -1].mean() < 0.3
    assert np.linalg.norm(atlas.volumes[5:], axis=0).max() <= 1 + 1e-5


def test_every_demented_person_has_atrophy(phantoms):
    lost = phantoms.atrophy.flatten(1).sum(1).view(8, SLICES).sum(1)
    assert (lost[phantoms.labels[::SLICES] > 0] > 0).all()


def test_ventricles_are_larger_in_severe_disease_of_the_same_people():
    for seed in (0, 1):
        healthy, severe = (make_subject(severity=s, seed=seed, n_slices=3).images for s in (0.1, 0.85))
        assert fluid_share(severe) > 1.2 * fluid_share(healthy)


def test_slices_of_a_person_form_a_chain_apart_from_others():
    images = make_phantoms(n_subjects=8, n_slices=10, seed=1, n_jobs=1).images
    pixels = torch.nn.functional.avg_pool2d(images.float(), 2).flatten(1)
    pixels -= pixels.mean(dim=1, keepdim=True)
    pixels /= pixels.norm(dim=1, keepdim=True)
    similarity = (pixels @ pixels.T).numpy()
    for threshold in (0.95, 0.97):
        _, people = connected_components(similarity > threshold)
        assert people.tolist() == np.repeat(np.arange(8), 10).tolist()
    one = similarity[:10, :10]
    assert np.diagonal(one, 1).min() > np.diagonal(one, 3).max() > np.diagonal(one, 9).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_phantoms(n_subjects=7, seed=0), "n_subjects must be at least 8 .* got 7"),
        (lambda: load_phantoms(n_subjects=0), "n_subjects must be at least 8"),
        (lambda: make_phantoms(n_subjects=8, n_slices=0, seed=0), r"n_slices must lie in 1\.\.32, got 0"),
        (lambda: make_phantoms(n_subjects=8, n_slices=33, seed=0), r"n_slices must lie in 1\.\.32, got 33"),
        (lambda: make_subject(severity=1.5, seed=0), r"severity must lie in \[0, 1\], got 1.5"),
        (lambda: make_phantoms(n_subjects=8, seed=-1), "seed must be a non-negative integer, got -1"),
        (lambda: load_phantoms(n_subjects=8, seed=-1), "seed must be a non-negative integer, got -1"),
        (lambda: load_phantoms(n_subjects=8, seed=0.5), "seed must be a non-negative integer, got 0.5"),
        (lambda: make_subject(severity=0.5, seed=-1), "seed must be a non-negative integer, got -1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def cache(tmp_path, monkeypatch, phantoms):
    """A cache below ``tmp_path`` and a list of the simulations that it could not spare."""
    made = []

    def make(*, n_subjects, seed):
        made.append((n_subjects, seed))
        return phantoms

    monkeypatch.setattr(provenance, "artifacts", lambda *parts: tmp_path.joinpath(*parts))
    monkeypatch.setattr(phantom, "make_phantoms", make)
    return tmp_path / "cache", made


def test_cache_returns_the_same_bytes_without_simulating(cache, phantoms):
    folder, made = cache
    first, second = load_phantoms(n_subjects=8, seed=3), load_phantoms(n_subjects=8, seed=3)
    assert made == [(8, 3)]
    assert same(phantoms, first) and same(phantoms, second)
    assert len(list(folder.iterdir())) == 1  # no temporary file is left
    load_phantoms(n_subjects=8, seed=4)
    assert made == [(8, 3), (8, 4)]


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_damaged_cache_is_made_again(cache, phantoms, damage):
    folder, made = cache
    load_phantoms(n_subjects=8, seed=3)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        again = load_phantoms(n_subjects=8, seed=3)
    assert same(again, phantoms)
    assert len(made) == 2
    assert same(load_phantoms(n_subjects=8, seed=3), phantoms)
    assert len(made) == 2


@pytest.fixture
def crowds(tmp_path, monkeypatch):
    """Crowds in a cache below ``tmp_path``."""
    monkeypatch.setattr(provenance, "artifacts", lambda *parts: tmp_path.joinpath(*parts))
    return lambda n_people, **options: load_crowd(n_people=n_people, **options)


def test_a_crowd_is_kept_and_begins_as_a_larger_one_does(crowds):
    three, again, four = crowds(3, n_jobs=1), crowds(3, n_jobs=2), crowds(4, n_jobs=2)
    assert isinstance(three.tissue, np.memmap)
    assert np.array_equal(three.tissue, again.tissue) and np.array_equal(three.tissue, four.tissue[:3])
    assert np.array_equal(three.severity, four.severity[:3])
    assert not np.array_equal(three.tissue, crowds(3, n_jobs=1, seed=1).tissue)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:1000], lambda data: b"x" * 100])
def test_a_damaged_crowd_is_made_again(crowds, tmp_path, damage):
    before = np.array(crowds(2, n_jobs=1).tissue)
    (file,) = (tmp_path / "cache").glob("crowd-*.npy")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert np.array_equal(crowds(2, n_jobs=1).tissue, before)
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".npy", ".lock"}


@pytest.mark.parametrize("n_people", [8, 100, 1000])
def test_a_crowds_severity_covers_the_range_evenly(n_people):
    severity = crowd_severity(n_people, seed=0)
    assert np.bincount((severity * 4).astype(int)).tolist() == pytest.approx([n_people / 4] * 4, abs=1.5)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 4, 7])
def test_grades_are_of_equal_number_and_in_order(n_classes):
    people = Crowd(np.empty((70, 0)), crowd_severity(70, seed=0))
    sharp = people.grades(n_classes, np.random.default_rng(0), overlap=0)
    assert np.ptp(np.bincount(sharp)) <= 1 and len(np.unique(sharp)) == n_classes
    assert (np.diff(sharp[np.argsort(people.severity)]) >= 0).all()
    blurred = people.grades(n_classes, np.random.default_rng(0), overlap=1.0)
    assert np.array_equal(np.bincount(sharp), np.bincount(blurred))
    assert n_classes == 1 or not np.array_equal(sharp, blurred)


def test_images_are_spread_over_the_people_of_a_grade_and_over_height():
    labels = np.repeat([0, 3], [40, 5])
    drawn = small_crowd().draw(labels, n_classes=4, seed=0)
    assert torch.bincount(drawn.subjects).tolist() == [20, 20, 3, 2]
    assert set(drawn.source_ids.tolist()) == {-1} and drawn.labels.tolist() == labels.tolist()
    more = small_crowd().draw(np.zeros(70, int), n_classes=4, seed=0)  # two people have 64 slices
    assert sorted(torch.bincount(more.subjects).tolist()) == [17, 17, 18, 18]


def test_strength_changes_what_a_scanner_sees_and_an_identical_tone_does_not():
    tissue = small_crowd().tissue[0, :2]
    fluid, whiteness, mask = torch.from_numpy(tissue).float().div(255).movedim(-1, 0)
    images = scan(Slab(fluid, whiteness, mask), np.random.default_rng(0))
    assert not np.array_equal(images, scan(Slab(fluid, whiteness, mask), np.random.default_rng(0), Scanner(0.5)))
    identity = tuple(float(k) for k in range(256))
    assert np.array_equal(images, scan(Slab(fluid, whiteness, mask), np.random.default_rng(0), Scanner(tone=identity)))


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_no_strength_saturates_or_leaves_the_frame(strength):
    drawn = small_crowd().draw(np.arange(32) % 4, n_classes=4, seed=3, scanner=Scanner(strength=strength))
    images = drawn.images.numpy()
    assert (images > 250).mean() < 0.05 and images[..., :3, :].mean() < 2
    assert 0.4 < (images > 25).mean() < 0.65


def test_a_crowds_bad_input_is_named(crowds):
    with pytest.raises(ValueError, match=r"n_people must lie in 2\.\.1271 \(2 GB of tissue\), got 2000"):
        crowds(2000)
    with pytest.raises(ValueError, match="seed must be"):
        crowds(3, seed=-1)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1, got \[0, 2\]"):
        small_crowd().draw(np.array([0, 2]), n_classes=2, seed=0)
