"""Stratified samples and mixes: counts, nesting, sources."""

import itertools

import numpy as np
import pytest

from mri_aug.data.sampling import mix, stratified_sample

THESIS = np.repeat([0, 1, 2, 3], [2566, 1781, 724, 49])  # Table 2.1
FRACTIONS = (0.001, 0.01, 0.1, 0.3, 1 / 3, 0.5, 0.7, 0.85, 0.999, 1.0)


def random_labels(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10 ** rng.integers(1, 4), size=rng.integers(1, 6))
    return rng.permutation(np.repeat(np.arange(len(sizes)), sizes))


def counts(labels, indices):
    return np.bincount(labels[indices], minlength=labels.max() + 1)


@pytest.mark.parametrize("seed", range(25))
def test_sample_keeps_class_shares_within_one_image(seed):
    labels = random_labels(seed)
    sizes = np.bincount(labels)
    for fraction in FRACTIONS:
        drawn = stratified_sample(labels, fraction, seed=seed)
        got = counts(labels, drawn)
        assert (np.abs(got - fraction * sizes) < 1.5).all()  # one, and half an image of rounding the total
        quota = round(fraction * len(labels)) / len(labels) * sizes
        assert (np.abs(got - quota) <= 1).all() and (got >= 1).all()
        assert (np.diff(drawn) > 0).all() and drawn.dtype == np.int64
        lifted = (np.floor(quota) == 0).sum()  # classes that may owe their one image to being represented
        assert 0 <= len(drawn) - np.floor(fraction * len(labels)) <= 1 + lifted


@pytest.mark.parametrize("seed", range(10))
def test_samples_nest(seed):
    labels = random_labels(100 + seed)
    drawn = [set(stratified_sample(labels, f, seed=seed).tolist()) for f in np.linspace(0.02, 1, 50)]
    assert all(small <= large for small, large in itertools.pairwise(drawn))


def test_thirty_percent_of_the_thesis_data():
    assert counts(THESIS, stratified_sample(THESIS, 0.3, seed=0)).tolist() == [770, 534, 217, 15]


def test_equal_small_classes_do_not_inflate_the_sample():
    assert len(stratified_sample(np.repeat(np.arange(10), 5), 0.5, seed=0)) == 25


def test_same_seed_same_bytes_and_order_of_draws():
    first, again, other = (stratified_sample(THESIS, 0.3, seed=s) for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    by_generator = stratified_sample(THESIS, 0.3, seed=np.random.default_rng(1))
    assert by_generator.tobytes() == first.tobytes()


def test_every_image_is_equally_likely():
    labels = np.repeat([0, 1], [12, 6])
    hits = sum(np.isin(np.arange(18), stratified_sample(labels, 0.5, seed=s)).astype(int) for s in range(2000))
    assert np.abs(hits / 2000 - 0.5).max() < 0.05


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("real_frac", [0.1, 0.3, 0.45, 0.9])
def test_real_and_synthetic_shares_that_add_to_one_refill_every_class(seed, real_frac):
    labels = random_labels(seed)
    mixed = mix(labels, real_frac=real_frac, synth_frac=1 - real_frac, seed=seed)
    assert len(mixed) == len(labels)
    both = np.concatenate([mixed.real, mixed.sources])
    assert counts(labels, both).tolist() == np.bincount(labels).tolist()


@pytest.mark.parametrize("synth_frac", [0.0, 0.2, 0.7, 1.0, 2.4])
def test_sources_are_real_and_evenly_used(synth_frac):
    mixed = mix(THESIS, real_frac=0.3, synth_frac=synth_frac, seed=4)
    assert set(mixed.sources.tolist()) <= set(mixed.real.tolist())
    assert len(mixed) == round((0.3 + synth_frac) * len(THESIS))
    assert np.array_equal(mixed.real, stratified_sample(THESIS, 0.3, seed=4))
    uses = np.bincount(mixed.sources, minlength=len(THESIS))[mixed.real]
    for label in range(4):
        of_class = uses[THESIS[mixed.real] == label]
        assert of_class.max() - of_class.min() <= 1
    pairs = set(zip(mixed.sources.tolist(), mixed.repeats.tolist(), strict=True))
    assert pairs == {(image, r) for image, n in zip(mixed.real, uses, strict=True) for r in range(n)}
    assert len(pairs) == len(mixed.sources)


def test_more_synthetic_images_only_add_variations():
    few, many = (mix(THESIS, real_frac=0.2, synth_frac=y, seed=0) for y in (0.3, 0.8))
    pairs = [set(zip(m.sources.tolist(), m.repeats.tolist(), strict=True)) for m in (few, many)]
    assert pairs[0] < pairs[1]


def test_selected_classes_only():
    mixed = mix(THESIS, real_frac=0.3, synth_frac=0.7, seed=0, synth_classes=(2, 3))
    assert counts(THESIS, mixed.sources).tolist() == [0, 0, 507, 34]
    assert np.array_equal(mixed.real, stratified_sample(THESIS, 0.3, seed=0))


def test_mix_is_deterministic():
    first, again, other = (mix(THESIS, real_frac=0.3, synth_frac=0.3, seed=s) for s in (5, 5, 6))
    assert first.sources.tobytes() == again.sources.tobytes() != other.sources.tobytes()
    assert first.repeats.tobytes() == again.repeats.tobytes()


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_bad_fraction(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\]"):
        stratified_sample(THESIS, fraction, seed=0)
    with pytest.raises(ValueError, match=r"real_frac must be in \(0, 1\]"):
        mix(THESIS, real_frac=fraction, synth_frac=0, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, float("nan"), float("inf")])
def test_bad_synthetic_fraction(fraction):
    with pytest.raises(ValueError, match="synth_frac must be at least 0"):
        mix(THESIS, real_frac=1, synth_frac=fraction, seed=0)


@pytest.mark.parametrize("labels", [[], [[0, 1]], [0.5, 1.0]])
def test_bad_labels(labels):
    with pytest.raises(ValueError, match="non-empty 1-D integer array"):
        stratified_sample(labels, 0.5, seed=0)


def test_bad_class_and_seed():
    with pytest.raises(ValueError, match=r"synth_classes \[7\] have no image"):
        mix(THESIS, real_frac=0.3, synth_frac=0.7, seed=0, synth_classes=(7,))
    for seed in (None, -1, 0.5):
        with pytest.raises(ValueError, match=f"seed must be a whole number from 0 on, .* got {seed}"):
            stratified_sample(THESIS, 0.5, seed=seed)
    with pytest.raises(ValueError, match="seed"):
        stratified_sample(THESIS, 0.5, seed=-1)
