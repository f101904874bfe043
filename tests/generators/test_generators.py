"""The seam: names, options, fitting, the duplicate control, and the helpers that every generator shares."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from mri_aug.generators.base import (
    GENERATORS,
    ImageGenerator,
    LearningGenerator,
    RefusedVariationsError,
    check_images,
    fit_generator,
    image_digests,
    make_fingerprint,
    make_generator,
    variation_rngs,
)


@pytest.fixture(scope="module")
def batch():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 1, 128, 128), dtype=np.uint8))
    return images, torch.tensor([0, 0, 1, 1, 2, 3]), torch.arange(6)


# a service needs a key and a hub model its weights: they have tests of their own; so has training a diffusion model
EMBEDDED = sorted(set(GENERATORS) - {"openai-edits", "openai-variations", "hub", "diffusion"})


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_generator_keeps_the_protocol(name, batch):
    images, labels, subjects = batch
    generator = make_generator(name)
    assert isinstance(generator, ImageGenerator) and generator.name == name
    assert generator.learns_from_study == isinstance(generator, LearningGenerator)
    ready = fit_generator(generator, images, labels, subjects, seed=0)
    variations = ready.vary(images, labels, seed=1)
    assert variations.dtype == torch.uint8 and variations.shape == images.shape
    assert (ready.fingerprint != generator.fingerprint) == generator.learns_from_study
    if ready.reproducible:
        assert torch.equal(variations, ready.vary(images, labels, seed=1))
    assert ready.vary(images[:0], labels[:0], seed=1).shape == (0, 1, 128, 128)


def test_fingerprint_follows_options_and_survives_remaking():
    assert make_generator("morph").fingerprint == make_generator("morph").fingerprint
    assert make_generator("morph").fingerprint != make_generator("morph", jitter=0.1).fingerprint


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="'dall-e'.*duplicate, .*morph"):
        make_generator("dall-e")


def test_unknown_option_lists_the_known():
    with pytest.raises(ValueError, match="no option strength.*path, around"):
        make_generator("morph", strength=1)
    with pytest.raises(ValueError, match="no option _training"):
        make_generator("morph", _training=None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("diffusion", {"config": {"n_steps": 10}}, r"config=\{'n_steps': 10\} .*must be a DiffusionConfig, got dict"),
        ("diffusion", {"strength": "high"}, "'diffusion' cannot be made with strength='high' .*not supported"),
        ("morph", {"path": 0.5}, "'morph' cannot be made with path=0.5 .*MorphGenerator documents"),
        ("openai-edits", {"prices": "free"}, "'openai-edits' .* prices='free' .*'str' object has no attribute"),
        ("openai-edits", {"concurrency": "x"}, "'openai-edits' .* concurrency='x' .*not supported"),
        ("morph", {"gain": -1}, "^morph's around, jitter, contrast and gain are spreads"),
    ],
)
def test_an_option_of_the_wrong_type_is_told_and_clear_words_are_kept(name, options, message):
    with pytest.raises(ValueError, match=message) as fault:
        make_generator(name, **options)
    assert (fault.value.__cause__ is None) == ("cannot be made" not in str(fault.value))


def test_duplicate_is_an_equal_copy(batch):
    images, labels, _ = batch
    generator = make_generator("duplicate")
    variations = generator.vary(images, labels, seed=3)
    assert torch.equal(variations, images)
    assert variations.data_ptr() != images.data_ptr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, k, s: (i.float(), k, s), "images must be uint8.*float32"),
        (lambda i, k, s: (i[..., :64], k, s), r"shape \(6, 1, 128, 64\)"),
        (lambda i, k, s: (i, k[:3], s), "labels must be one integer per image, 6 in all"),
        (lambda i, k, s: (i, k.float(), s), "labels.*float32"),
        (lambda i, k, s: (i, k, s[:, None]), "subjects"),
    ],
)
def test_bad_input_is_named(batch, change, message):
    with pytest.raises(ValueError, match=message):
        check_images(*change(*batch))


def test_streams_follow_content_not_place(batch):
    images, labels, _ = batch
    digests = image_digests(images)
    alone = [rng.random() for rng in variation_rngs(digests, labels, seed=0)]
    backwards = [rng.random() for rng in variation_rngs(digests[::-1], labels.flip(0), seed=0)]
    assert alone == backwards[::-1]
    assert len(set(alone)) == 6
    assert alone != [rng.random() for rng in variation_rngs(digests, labels, seed=1)]


def test_copies_of_an_image_get_streams_of_their_own(batch):
    images, labels, _ = batch
    rows = [0, 1, 0, 0]
    values = [rng.random() for rng in variation_rngs(image_digests(images[rows]), labels[rows], seed=0)]
    assert len(set(values)) == 4


def test_negative_seed_is_refused(batch):
    with pytest.raises(ValueError, match="non-negative.*-1"):
        variation_rngs(image_digests(batch[0]), batch[1], seed=-1)


def test_make_fingerprint_separates_parts():
    assert make_fingerprint("a", "b") != make_fingerprint("ab")
    assert make_fingerprint({"x": 1, "y": 2}) == make_fingerprint({"y": 2, "x": 1})


def test_a_refusal_keeps_its_positions_on_the_way_between_processes():
    refusal = pickle.loads(pickle.dumps(RefusedVariationsError("refused 2", [1, 4])))
    assert refusal.positions == (1, 4) and str(refusal) == "refused 2"
