"""Frozen features: each image has its own, read from memory the second time, never another network's."""

from __future__ import annotations

import pytest
import torch

from mri_aug.models.frozen import FROZEN_MEAN, FROZEN_STD, FeatureCache, frozen_features, process_cache
from mri_aug.models.networks import backbone_and_head, make_model


class Counter(torch.nn.Module):
    """A backbone that counts the images it is shown."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.tensor(weight)), 0

    def forward(self, images):
        self.seen += len(images)
        return images.mean((2, 3)) * self.weight


@pytest.fixture
def images(toy_images):
    return toy_images.images[:8]


@pytest.fixture(autouse=True)
def store():
    """Give each test an empty cache of the process."""
    process_cache.cache_clear()
    yield process_cache()
    process_cache.cache_clear()


@pytest.fixture(scope="module")
def backbone():
    return backbone_and_head(make_model("resnet18", seed=0).eval())[0]


def test_features_are_the_backbones(images, backbone):
    with torch.no_grad():
        expected = backbone((images.float() / 255 - FROZEN_MEAN) / FROZEN_STD)
    found = frozen_features(backbone, images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_an_image_is_computed_once_whatever_its_place(images, store):
    backbone = Counter().eval()
    first = frozen_features(backbone, images)
    again = frozen_features(backbone, images.flip(0))
    assert backbone.seen == len(images) == len(store)
    assert torch.equal(first, again.flip(0))


def test_features_do_not_depend_on_what_was_cached(images, backbone):
    fresh = frozen_features(backbone, images)
    process_cache.cache_clear()
    frozen_features(backbone, images[2:5])
    assert torch.equal(frozen_features(backbone, images), fresh)


def test_other_weights_or_precision_are_never_served(images):
    backbone, other = Counter().eval(), Counter(2.0).eval()
    one = frozen_features(backbone, images)
    assert torch.equal(frozen_features(other, images), 2 * one)
    with torch.no_grad():
        backbone.weight.mul_(3)
    assert torch.equal(frozen_features(backbone, images), 3 * one), "changed in place"
    seen = backbone.seen
    frozen_features(backbone, images, precision="bfloat16")
    assert backbone.seen == seen + len(images)


def test_memory_is_bounded_and_the_least_recently_used_goes_first():
    store, computed = FeatureCache(max_bytes=3 * 8), []

    def compute(image):
        computed.append(int(image))
        return torch.zeros(2)

    for place in (0, 1, 2, 0, 3):
        store.features(torch.tensor([place]), b"", compute)
    assert len(store) == 3 and store.n_bytes == 24
    store.features(torch.tensor([0, 2, 3]), b"", compute)
    assert computed == [0, 1, 2, 3], "nothing that was kept is computed again"
    store.features(torch.tensor([1]), b"", compute)
    assert computed == [0, 1, 2, 3, 1], "the least recently used was dropped"


def test_a_backbone_in_training_mode_is_refused(images):
    with pytest.raises(ValueError, match="training mode"):
        frozen_features(Counter(), images)
