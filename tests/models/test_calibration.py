"""Temperatures: the least loss, the same order, and what was put in is found again."""

import numpy as np
import pytest

from mri_aug.models.training import TEMPERATURES, calibrate, fit_temperature


def overconfident(n=4000, factor=3.0, seed=0):
    """Draw labels from probabilities, and return those of logits that are ``factor`` too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(4, p=p) for p in true])
    stretched = np.exp(factor * logits)
    return stretched / stretched.sum(1, keepdims=True), labels, true


def cross_entropy(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


def test_the_factor_of_stretched_logits_is_found_again():
    probabilities, labels, true = overconfident()
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(calibrate(probabilities, 3.0), true, atol=1e-9)
    grid = np.geomspace(0.2, 20, 400)
    best = min(cross_entropy(calibrate(probabilities, t), labels) for t in grid)
    assert cross_entropy(calibrate(probabilities, temperature), labels) <= best + 1e-6


def test_order_stays_and_rows_sum_to_one():
    probabilities, *_ = overconfident(50)
    cooled = calibrate(probabilities, 2.5)
    assert (cooled.argmax(1) == probabilities.argmax(1)).all()
    np.testing.assert_allclose(cooled.sum(1), 1)
    np.testing.assert_allclose(calibrate(probabilities, 1.0), probabilities)


def test_extremes_are_bounded_and_zeros_are_allowed():
    sure = np.eye(3)[[0, 1, 2, 0]]
    wrong = fit_temperature(sure, np.array([1, 2, 0, 2]))
    assert wrong >= TEMPERATURES[1] * 0.99
    assert np.isfinite(np.log(calibrate(sure, wrong))).all()
    with pytest.raises(ValueError, match="validation images, got none"):
        fit_temperature(sure[:0], np.array([], dtype=int))
