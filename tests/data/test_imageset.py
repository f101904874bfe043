"""An image set keeps its parts together and refuses what does not fit."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mri_aug.data.imageset import ImageSet, cached_image_set


def test_a_subset_takes_every_part_along(toy_images):
    index = torch.tensor([5, 1, 40])
    subset = toy_images[index]
    assert subset.labels.tolist() == toy_images.labels[index].tolist()
    assert torch.equal(subset.images, toy_images.images[index])
    assert subset.source_ids.tolist() == [5, 1, 40]
    assert len(toy_images[toy_images.labels == 2]) == 24 and len(toy_images[:7]) == 7


def test_a_single_number_is_no_subset(toy_images):
    with pytest.raises(IndexError, match="1-D"):
        toy_images[3]


def test_class_counts_are_in_ordinal_order(toy_images):
    assert list(toy_images.class_counts().values()) == [24, 24, 24, 24]
    assert "96 images of 16 people" in repr(toy_images)


def test_fingerprint_sees_every_part(toy_images):
    assert toy_images.fingerprint == replace(toy_images).fingerprint
    labels = toy_images.labels.clone()
    labels[0] = 1
    images = toy_images.images.clone()
    images[-1, 0, 0, 0] += 1
    parts = {
        "labels": labels,
        "images": images,
        "subjects": toy_images.subjects.flip(0),
        "source_ids": toy_images.source_ids + 1,
        "class_names": toy_images.class_names[::-1],
        "published_test": toy_images.labels == 0,
        "severity": toy_images.labels.float(),
        "atrophy": toy_images.images > 0,
    }
    changed = [toy_images[:-1], *(replace(toy_images, **{name: part}) for name, part in parts.items())]
    assert len({toy_images.fingerprint, *(other.fingerprint for other in changed)}) == 2 + len(parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(96, 1, 65, 65, dtype=torch.uint8)}, "images must be uint8"),
        ({"images": torch.zeros(96, 1, 128, 128)}, "images must be uint8"),
        ({"subjects": torch.zeros(3, dtype=torch.int64)}, "subjects has 3 entries for 96 images"),
        ({"labels": torch.full((96,), 4)}, "labels must lie in 0..3"),
        ({"labels": torch.zeros(96)}, r"labels must be int64 of shape \(n,\), got torch.float32 of shape \(96,\)"),
        ({"labels": torch.tensor(1)}, r"labels must be int64 of shape \(n,\), got torch.int64 of shape \(\)"),
        ({"labels": [0] * 96}, r"labels must be int64 of shape \(n,\), as a tensor, got list"),
        ({"subjects": torch.zeros(96, 2, dtype=torch.int64)}, r"subjects must be int64.* got .* of shape \(96, 2\)"),
        ({"subjects": None}, "subjects must be int64 .*got NoneType"),
        ({"source_ids": torch.zeros(96, dtype=torch.bool)}, "source_ids must be int64 .*got torch.bool"),
        ({"published_test": torch.zeros(96, dtype=torch.int64)}, "published_test must be bool .*got torch.int64"),
        ({"severity": torch.zeros(96, 1)}, r"severity must be float32 of shape \(n,\), got .*\(96, 1\)"),
        ({"atrophy": torch.zeros(96, 1, 128, 128)}, r"atrophy must be bool of shape \(n, 1, 128, 128\), got torch"),
        ({"atrophy": torch.zeros(96, 128, 128, dtype=torch.bool)}, r"atrophy must be bool .*got .*\(96, 128, 128\)"),
    ],
)
def test_what_does_not_fit_is_named(toy_images, change, message):
    with pytest.raises(ValueError, match=message):
        replace(toy_images, **change)


def test_cache_returns_the_same_set_without_building_it_again(toy_images, tmp_path):
    path = tmp_path / "deep" / "images.npz"
    known = replace(toy_images, notes=("as it came",), atrophy=toy_images.images > 9)
    first = cached_image_set(path, lambda: known)
    second = cached_image_set(path, lambda: pytest.fail("built twice"))
    assert first.fingerprint == second.fingerprint == known.fingerprint
    assert second.notes == known.notes and isinstance(second, ImageSet)
    assert [p.name for p in path.parent.iterdir()] == ["images.npz"]


def test_classes_without_an_order_stay_so(toy_images, tmp_path):
    without = replace(toy_images, ordered=False)
    assert toy_images.ordered and without.fingerprint != toy_images.fingerprint
    assert replace(without, ordered=True).fingerprint == toy_images.fingerprint
    path = tmp_path / "images.npz"
    cached_image_set(path, lambda: without)
    kept = cached_image_set(path, lambda: pytest.fail("built twice"))
    others = [kept, without[:3], without.join(toy_images), without.resized(64), pickle.loads(pickle.dumps(without))]
    assert not any(other.ordered for other in others) and kept.fingerprint == without.fingerprint


def test_a_cache_file_that_says_nothing_of_order_is_read(toy_images, tmp_path):
    state = {name: value for name, value in toy_images.__getstate__().items() if value is not None}
    del state["ordered"]
    np.savez(tmp_path / "images.npz", **state)
    read = cached_image_set(tmp_path / "images.npz", lambda: pytest.fail("built again"))
    assert read.ordered and read.fingerprint == toy_images.fingerprint


def test_a_damaged_cache_file_is_named_and_remade(toy_images, tmp_path):
    path = tmp_path / "images.npz"
    cached_image_set(path, lambda: toy_images)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.warns(UserWarning, match="images.npz is damaged"):
        assert cached_image_set(path, lambda: toy_images).fingerprint == toy_images.fingerprint
    assert cached_image_set(path, lambda: pytest.fail("not remade")).fingerprint == toy_images.fingerprint


def test_a_quarter_of_the_pixels_are_means_of_four(toy_images):
    small = toy_images.resized(64)
    expected = toy_images.images.double().reshape(-1, 1, 64, 2, 64, 2).mean((3, 5)).round()
    assert small.size == 64 and torch.equal(small.images.double(), expected)
    assert torch.equal(small.labels, toy_images.labels) and toy_images.resized(128) is toy_images
    assert len(toy_images[:0].resized(64)) == 0
    for wrong in (32, 96):
        with pytest.raises(ValueError, match=r"image_size must be one of \(64, 128\) and at most 128"):
            toy_images.resized(wrong)
    with pytest.raises(ValueError, match="at most 64, got 128"):
        small.resized(128)


def test_pickling_hands_over_the_same_arrays(toy_images):
    again = pickle.loads(pickle.dumps(toy_images))
    assert again.fingerprint == toy_images.fingerprint and again.class_names == toy_images.class_names
    first, second = toy_images.__getstate__(), toy_images.__getstate__()
    assert first["images"] is second["images"]
    assert sys.getsizeof(toy_images) > toy_images.images.nbytes
