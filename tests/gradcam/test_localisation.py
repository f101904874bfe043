"""Shares of energy: known maps, chance, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri_aug.gradcam.measures import (
    brain_masks,
    elsewhere_share,
    energy_share,
    fluid_masks,
    on_common_outline,
)


@pytest.fixture
def brain() -> np.ndarray:
    masks = np.zeros((3, 16, 16), dtype=bool)
    masks[:, 4:12, 4:12] = True
    return masks


def test_share_of_a_map_inside_outside_and_uniform(brain):
    region = np.zeros_like(brain)
    region[:, 4:8, 4:12] = True  # half of the brain
    cams = np.stack([region[0], brain[0] & ~region[0], np.ones((16, 16))]).astype(float)
    np.testing.assert_allclose(energy_share(cams, region, within=brain), [1, 0, 0.5])


def test_what_lies_outside_does_not_count(brain):
    region = np.ones_like(brain)
    cams = np.random.default_rng(0).random(brain.shape)
    np.testing.assert_allclose(energy_share(cams, region, within=brain), 1)


def test_scale_does_not_matter(brain):
    rng = np.random.default_rng(0)
    cams, region = rng.random(brain.shape), rng.random(brain.shape) < 0.3
    np.testing.assert_allclose(energy_share(7 * cams, region, within=brain), energy_share(cams, region, within=brain))


def test_empty_region_and_dead_map_are_undefined(brain):
    region = brain.copy()
    region[0] = False
    cams = np.ones(brain.shape)
    cams[1] = 0
    shares = energy_share(cams, region, within=brain)
    assert np.isnan(shares[:2]).all() and shares[2] == 1


def test_bad_maps_are_refused(brain):
    with pytest.raises(ValueError, match="share one shape"):
        energy_share(np.ones((3, 8, 8)), brain, within=brain)
    with pytest.raises(ValueError, match="negative"):
        energy_share(-np.ones(brain.shape), brain, within=brain)


def test_brain_is_the_largest_bright_region_without_holes():
    images = torch.zeros(2, 1, 128, 128, dtype=torch.uint8)
    images[0, 0, 20:100, 30:90] = 120
    images[0, 0, 50:60, 50:60] = 0  # a dark ventricle belongs to the brain
    images[0, 0, 2:5, 2:5] = 200  # a speck does not
    expected = np.zeros((128, 128), dtype=bool)
    expected[20:100, 30:90] = True
    masks = brain_masks(images)
    np.testing.assert_array_equal(masks[0], expected)
    assert not masks[1].any()


def test_brains_are_brought_to_one_outline():
    masks, maps = np.zeros((3, 64, 64), bool), np.zeros((3, 64, 64))
    masks[0, 10:30, 10:40] = masks[1, 20:60, 22:52] = True
    for mask, one in zip(masks, maps, strict=True):  # each map marks the upper half of its brain
        rows = np.flatnonzero(mask.any(axis=1))
        one[mask] = 0.5
        if len(rows):
            one[rows[: len(rows) // 2]] = 1
    aligned, outline = on_common_outline(maps, masks)
    rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
    assert len(rows) == pytest.approx(30, abs=1) and len(columns) == pytest.approx(30, abs=1)
    inner = np.s_[rows[2] : rows[-2], columns[2] : columns[-2]]
    np.testing.assert_allclose(aligned[0][inner], aligned[1][inner], atol=0.3)
    assert (aligned[0][inner] == aligned[1][inner]).mean() > 0.9
    assert not aligned[2].any()


def test_no_brain_no_outline(brain):
    with pytest.raises(ValueError, match="no mask holds a brain"):
        on_common_outline(np.ones(brain.shape), np.zeros_like(brain))
    with pytest.raises(ValueError, match="share one shape"):
        on_common_outline(np.ones((3, 8, 8)), brain)


def test_fluid_is_what_is_dark_inside_the_brain():
    images = torch.full((2, 1, 16, 16), 100, dtype=torch.uint8)
    images[0, 0, 6:9, 6:9] = 50  # below 0.55 of the median
    images[0, 0, 10, 10] = 60  # above it
    images[0, 0, 0, 0] = 0  # outside
    brain = np.zeros((2, 16, 16), dtype=bool)
    brain[0, 4:12, 4:12] = True
    expected = np.zeros_like(brain)
    expected[0, 6:9, 6:9] = True
    assert (fluid_masks(images, brain) == expected).all()


def test_energy_elsewhere_is_the_mean_over_other_people(brain):
    rng = np.random.default_rng(1)
    cams, regions = rng.random(brain.shape), rng.random(brain.shape) < 0.3
    subjects = np.array([5, 5, 7])
    found = elsewhere_share(cams, regions, subjects, within=brain)
    by_hand = [
        [energy_share(cams[i : i + 1], regions[j : j + 1], within=brain[i : i + 1])[0] for j in range(3)]
        for i in range(3)
    ]
    expected = [by_hand[0][2], by_hand[1][2], np.mean(by_hand[2][:2])]
    np.testing.assert_allclose(found, expected)


def test_a_map_of_one_place_reaches_as_much_in_other_people(brain):
    regions = np.zeros_like(brain)
    regions[:, 5:7, 5:7] = True  # everybody's region lies in one place
    cams = np.ones(brain.shape) * regions
    np.testing.assert_allclose(elsewhere_share(cams, regions, [0, 1, 2], within=brain), 1)
    assert np.isnan(elsewhere_share(cams, regions, [0, 0, 0], within=brain)).all()  # there is nobody else
