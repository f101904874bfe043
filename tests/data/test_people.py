"""People are recovered where they exist, not where they do not; leaks are measured."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from torch.nn.functional import interpolate

from mri_aug.data import people as ours
from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import audit_split, nearest_neighbours, recover_subjects
from mri_aug.data.splits import Split, split


def make_people(n_people=12, slices=8, *, seed=0, step=0.06):
    """Smooth random fields that drift from slice to slice, so that a person is a chain; order shuffled."""
    rng = torch.Generator().manual_seed(seed)
    field, drift = (torch.randn(n_people, 1, 1, 8, 8, generator=rng) for _ in range(2))
    chain = field + step * torch.arange(slices).view(1, -1, 1, 1, 1) * drift
    images = interpolate(chain.flatten(0, 1), size=(128, 128), mode="bicubic")
    images = (images * 30 + 128 + torch.randn(images.shape, generator=rng)).clamp(0, 255).to(torch.uint8)
    order = torch.randperm(len(images), generator=rng)
    return images[order], torch.arange(n_people).repeat_interleave(slices)[order]


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize(("seed", "n_people", "slices"), [(0, 12, 8), (1, 3, 32), (2, 40, 5), (3, 2, 10), (4, 25, 3)])
def test_planted_people_are_found(seed, n_people, slices):
    images, truth = make_people(n_people, slices, seed=seed, step=0.15)
    audit = recover_subjects(images, labels=truth % 4)
    assert audit.found and audit.n_subjects == n_people
    assert same_partition(audit.subjects, truth) and set(audit.sizes.tolist()) == {slices}
    assert audit.plateau[0] < audit.threshold < audit.plateau[1] and audit.p_value < 1e-3
    assert audit.class_purity == 1 and audit.subjects[0] == 0 and audit.subjects.dtype == torch.int64
    assert f"{n_people} components" in audit.reason


def test_people_of_unequal_size_and_a_few_strays():
    images, truth = make_people(20, 10, seed=7)
    keep = torch.arange(200) % 3 != 0
    keep[truth < 5] = True
    audit = recover_subjects(images[keep])
    assert audit.found and same_partition(audit.subjects, truth[keep])


def test_curve_and_given_threshold_agree_with_the_choice():
    images, truth = make_people()
    audit = recover_subjects(images)
    for t in (audit.plateau[0] + 1e-6, audit.plateau[1] - 1e-6):
        assert same_partition(recover_subjects(images, threshold=t).subjects, truth)
    thresholds, n_components = audit.curve
    assert (np.diff(thresholds) >= 0).all() and n_components[-1] == len(images)
    for t in (0.5, 0.9, audit.threshold, 0.99):
        expected = n_components[np.searchsorted(thresholds, t, side="right") - 1]
        given = recover_subjects(images, threshold=t)
        assert (given.n_subjects if given.found else expected) == expected


def independent(seed):
    return torch.randint(0, 256, (80, 1, 128, 128), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    "images",
    [independent(0), make_people(80, 1, seed=1)[0], make_people(1, 80, seed=2)[0], independent(3)[:1]],
    ids=["noise", "one slice each", "one long chain", "one image"],
)
def test_no_structure_is_said_not_guessed(images):
    audit = recover_subjects(images)
    assert not audit.found and (audit.subjects == -1).all() and audit.n_subjects == 0
    assert np.isnan(audit.threshold) and audit.reason


@pytest.mark.parametrize("seed", range(40))
def test_continuum_is_not_taken_for_people(seed):
    """Points strewn over a circle join in pairs and triples, at no particular distance."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, 150)
    points = torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], 1)).float()
    k, p_value, reason = ours.longest_plateau(*ours.spanning_tree(points))
    assert k == 0 and (np.isnan(p_value) or p_value >= 1e-3) and reason


def test_copies_are_not_people():
    images, truth = make_people()
    audit = recover_subjects(images.repeat(3, 1, 1, 1))
    assert audit.found and same_partition(audit.subjects, truth.repeat(3)) and audit.n_duplicates == 2 * len(images)


@pytest.mark.parametrize("block", [7, 50, 4096])
def test_merges_equal_scipys_single_linkage(monkeypatch, block):
    monkeypatch.setattr(ours, "BLOCK", block)
    images, _ = make_people(10, 7, seed=5)
    audit = recover_subjects(images)
    pooled = images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)).flatten(1)
    reference = 1 - linkage(pooled.numpy(), method="single", metric="correlation")[:, 2]
    np.testing.assert_allclose(audit.merges, reference, atol=2e-6)


def test_black_margin_changes_no_correlation():
    images, _ = make_people(3, 4)
    images[:, :, :40] = 0
    (features,) = ours.unit_features(images)
    pooled = images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)).flatten(1)
    assert features.shape[1] == 64 * 44 + 1
    np.testing.assert_allclose(features @ features.T, np.corrcoef(pooled), atol=1e-5)


def test_nearest_neighbours_against_a_loop(monkeypatch):
    monkeypatch.setattr("mri_aug.data.people.BLOCK", 11)
    images, _ = make_people(6, 6)
    index, correlation = nearest_neighbours(images[:15], images[15:])
    pooled = images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)).flatten(1)
    expected = np.corrcoef(pooled)[:15, 15:]
    assert np.array_equal(index, expected.argmax(1))
    np.testing.assert_allclose(correlation, expected.max(1), atol=1e-5)


def test_audit_shows_the_leak_of_image_splits_only():
    images, truth = make_people(40, 8, seed=9)
    labels = torch.arange(40).remainder(2)[truth]
    image_set = ImageSet(images, labels, truth, torch.arange(len(images)))
    threshold = recover_subjects(images).threshold
    parts = [split(image_set, protocol, seed=0) for protocol in ("image", "subject")]
    leaky, clean = (audit_split(image_set, p, neighbour_threshold=threshold, seed=0) for p in parts)
    assert leaky.shared_subjects > 0.95 and leaky.close_neighbours > 0.9
    assert leaky.accuracy > 0.95 and leaky.random_label_accuracy > 0.95
    assert clean.shared_subjects == 0 and clean.close_neighbours == 0
    assert clean.accuracy < 0.9 and 0.4 < clean.random_label_accuracy < 0.6
    assert clean.random_label_interval[0] <= clean.random_label_accuracy <= clean.random_label_interval[1]
    again, other = (audit_split(image_set, parts[1], neighbour_threshold=threshold, seed=s) for s in (0, 1))
    assert again == clean and other.random_label_accuracy != clean.random_label_accuracy
    assert leaky.n_test == clean.n_test == 64 and (leaky.protocol, clean.protocol) == ("image", "subject")


def test_audit_by_hand():
    images, truth = make_people(8, 4, seed=3)
    order = torch.argsort(truth)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]).repeat_interleave(4)
    image_set = ImageSet(images[order], labels, truth[order], torch.arange(32))
    # persons 0-3 train whole, 4 and 5 half and half, 6 and 7 only test
    parts = Split(np.r_[0:18, 20:22], np.arange(0), np.r_[18:20, 22:32], "image")
    audit = audit_split(image_set, parts, neighbour_threshold=0.9, seed=0)
    assert audit.shared_subjects == audit.close_neighbours == 4 / 12
    assert audit.majority_accuracy == 0 and audit.accuracy >= 4 / 12


def test_bad_input():
    images, _ = make_people(2, 2)
    with pytest.raises(ValueError, match="uint8 of shape"):
        recover_subjects(images.float())
    with pytest.raises(ValueError, match="n > 0"):
        recover_subjects(images[:0])
    with pytest.raises(ValueError, match="cannot be compared"):
        nearest_neighbours(images, images[..., :64])
    with pytest.raises(ValueError, match="threshold is a correlation"):
        recover_subjects(images, threshold=1.5)
    with pytest.raises(ValueError, match="labels has 3 entries for 4 images"):
        recover_subjects(images, labels=[0, 1, 2])
    images[2] = 77
    with pytest.raises(ValueError, match="image 2 is blank"):
        recover_subjects(images)


def test_thesis_dataset_shows_200_people_of_32_slices(thesis_images):
    audit = recover_subjects(thesis_images.images, labels=thesis_images.labels)
    assert audit.n_subjects == 200 and set(audit.sizes.tolist()) == {32} and audit.class_purity == 1
    assert audit.plateau[0] <= 0.965 and audit.plateau[1] >= 0.98
