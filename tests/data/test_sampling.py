"""Stratified samples and mixes: counts, nesting, sources."""

import itertools

import numpy as np
import pytest

from mri_aug.data.sampling import apportion, mix, stratified_sample

THESIS = np.repeat([0, 1, 2, 3], [2566, 1781, 724, 49])  # Table 2.1
FRACTIONS = (0.001, 0.01, 0.1, 0.3, 1 / 3, 0.5, 0.7, 0.85, 0.999, 1.0)


def random_labels(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10 ** rng.integers(1, 4), size=rng.integers(1, 6))
    return rng.permutation(np.repeat(np.arange(len(sizes)), sizes))


def counts(labels, indices):
    return np.bincount(labels[indices], minlength=labels.max() + 1)


@pytest.mark.parametrize("seed", range(25))
def test_sample_keeps_class_shares_to_the_nearest_image(seed):
    labels = random_labels(seed)
    sizes = np.bincount(labels)
    for fraction in FRACTIONS:
        drawn = stratified_sample(labels, fraction, seed=seed)
        got = counts(labels, drawn)
        assert (got >= 1).all()
        assert (np.abs(got - fraction * sizes) <= np.where(fraction * sizes < 0.5, 1, 0.5 + 1e-9)).all()
        assert (np.diff(drawn) > 0).all() and drawn.dtype == np.int64


@pytest.mark.parametrize("seed", range(10))
def test_samples_nest(seed):
    labels = random_labels(100 + seed)
    drawn = [set(stratified_sample(labels, f, seed=seed).tolist()) for f in np.linspace(0.02, 1, 50)]
    assert all(small <= large for small, large in itertools.pairwise(drawn))


def test_thirty_percent_of_the_thesis_data():
    assert counts(THESIS, stratified_sample(THESIS, 0.3, seed=0)).tolist() == [770, 534, 217, 15]


def test_people_are_drawn_with_all_their_images_and_nest():
    rng = np.random.default_rng(0)
    subjects = rng.permutation(np.repeat(np.arange(30) * 7, 4))
    labels = np.array([0] * 18 + [1] * 10 + [2] * 2)[subjects // 7]
    samples = {f: stratified_sample(labels, f, seed=3, subjects=subjects) for f in (0.1, 0.3, 0.7, 1.0)}
    for fraction, drawn in samples.items():
        people = np.unique(subjects[drawn])
        assert np.isin(subjects, people).sum() == len(drawn) == 4 * len(people)
        of_class = [len(np.unique(subjects[drawn][labels[drawn] == c])) for c in range(3)]
        assert of_class == [max(1, int(fraction * n + 0.5)) for n in (18, 10, 2)]
    people = [set(subjects[drawn]) for drawn in samples.values()]
    assert all(small <= large for small, large in itertools.pairwise(people))
    filled = mix(labels, real_frac=0.3, synth_frac=0.7, seed=3, subjects=subjects)
    assert np.array_equal(filled.real, samples[0.3]) and set(filled.sources) <= set(filled.real)
    assert counts(labels, np.concatenate([filled.real, filled.sources])).tolist() == np.bincount(labels).tolist()
    with pytest.raises(ValueError, match="people are unknown for 1 images"):
        stratified_sample(labels, 0.3, seed=0, subjects=np.where(np.arange(len(labels)) == 5, -1, subjects))


@pytest.mark.parametrize("n", [8, 22, 50, 200])
def test_apportionment_is_exact_and_close_to_the_shares(n):
    weights = (100, 70, 28, 2)
    got = apportion(n, weights, at_least=2)
    assert got.sum() == n and got.min() >= 2
    free = got > 2
    assert (np.abs(got - np.array(weights) * n / 200)[free] < 2.5).all()
    with pytest.raises(ValueError, match=r"expected at least 8 \(2 in each of 4 classes\), got 7"):
        apportion(7, weights, at_least=2)


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
    assert abs(len(mixed) - (0.3 + synth_frac) * len(THESIS)) <= 2  # half an image a class
    assert np.array_equal(mixed.real, stratified_sample(THESIS, 0.3, seed=4))
    uses = np.bincount(mixed.sources, minlength=len(THESIS))[mixed.real]
    for label in range(4):
        of_class = uses[THESIS[mixed.real] == label]
        assert of_class.max() - of_class.min() <= 1


def test_more_synthetic_images_only_add_sources():
    few, many = (mix(THESIS, real_frac=0.2, synth_frac=y, seed=0) for y in (0.3, 0.8))
    uses = [np.bincount(m.sources, minlength=len(THESIS)) for m in (few, many)]
    assert (uses[0] <= uses[1]).all() and uses[0].sum() < uses[1].sum()


def test_selected_classes_only():
    mixed = mix(THESIS, real_frac=0.3, synth_frac=0.7, seed=0, synth_classes=(2, 3))
    assert counts(THESIS, mixed.sources).tolist() == [0, 0, 507, 34]
    assert np.array_equal(mixed.real, stratified_sample(THESIS, 0.3, seed=0))


def test_mix_is_deterministic():
    first, again, other = (mix(THESIS, real_frac=0.3, synth_frac=0.3, seed=s) for s in (5, 5, 6))
    assert first.sources.tobytes() == again.sources.tobytes() != other.sources.tobytes()


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
        with pytest.raises(ValueError, match=f"seed must be a non-negative integer, .* got {seed}"):
            stratified_sample(THESIS, 0.5, seed=seed)
    with pytest.raises(ValueError, match="seed"):
        stratified_sample(THESIS, 0.5, seed=-1)
