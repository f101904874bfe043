"""Order, balance and scale of training images, against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from mri_aug.models.training import balanced_pass, class_weights, index_batches, pixel_statistics, random_streams

LABELS = torch.tensor([0] * 50 + [1] * 35 + [2] * 14 + [3])  # the thesis's class shares


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_is_seen_equally_often():
    seen = torch.cat(list(index_batches(torch.zeros(10).long(), 4, n_steps=13, rng=stream()))).bincount(minlength=10)
    assert seen.sum() == 52 and seen.min() == 5 and seen.max() == 6


def test_a_balanced_pass_holds_every_class_equally_often():
    drawn = balanced_pass(LABELS, stream())
    assert LABELS[drawn].bincount().tolist() == [25, 25, 25, 25]
    times = drawn.bincount(minlength=len(LABELS))
    for label in range(4):
        own = times[label == LABELS]
        assert own.max() - own.min() <= 1
    assert not torch.equal(LABELS[drawn], LABELS[drawn].sort().values), "classes are shuffled"


def test_oversampling_draws_classes_equally_over_many_steps():
    drawn = torch.cat(list(index_batches(LABELS, 16, n_steps=50, rng=stream(), balance="oversample")))
    shares = LABELS[drawn].bincount(minlength=4) / len(drawn)
    assert shares.min() > 0.24 and shares.max() < 0.26
    assert drawn.unique().numel() == len(LABELS), "over the passes no image is left out"


def test_a_class_without_images_is_no_class_to_balance():
    labels = torch.tensor([0, 0, 0, 2])
    assert labels[balanced_pass(labels, stream())].bincount(minlength=4).tolist() == [2, 0, 2, 0]
    assert class_weights(labels, 4)[[1, 3]].tolist() == [1, 1]


def test_class_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(4), y=LABELS.numpy())
    np.testing.assert_allclose(class_weights(LABELS, 4), expected, rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "oversample"])
def test_same_seed_same_order_another_seed_another(balance):
    first, again, other = (
        torch.cat(list(index_batches(LABELS, 8, n_steps=30, rng=stream(seed), balance=balance))) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_streams_of_chance_are_independent():
    order, policy = random_streams(3, torch.device("cpu"))
    assert not torch.equal(torch.rand(4, generator=order), torch.rand(4, generator=policy))


def test_pixel_statistics_agree_with_numpy(toy_images):
    pixels = toy_images.images.numpy() / 255
    mean, std = pixel_statistics(toy_images.images)
    assert mean == pytest.approx(pixels.mean(), abs=1e-12) and std == pytest.approx(pixels.std(), abs=1e-12)


def test_unknown_balance_is_named():
    with pytest.raises(ValueError, match="balance must be one of none, oversample, weights, got 'even'"):
        next(index_batches(LABELS, 8, n_steps=1, rng=stream(), balance="even"))
