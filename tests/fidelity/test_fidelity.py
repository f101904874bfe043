"""Each measure against a reference or a property, and the table that puts them together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.image.kid import KernelInceptionDistance

from mri_aug.fidelity.cards import generation_card
from mri_aug.fidelity.distances import (
    coverage_measures,
    kernel_distance,
    polynomial_kernel,
    similarity_of_neighbours,
    similarity_within_source,
    structural_similarity,
)
from mri_aug.fidelity.features import domain_network, imagenet_network
from mri_aug.fidelity.memorisation import memorisation, memorisation_yardstick
from mri_aug.fidelity.realism import detector_scores, separability
from mri_aug.fidelity.resampling import People, mean_estimate, resample_people
from mri_aug.fidelity.table import Candidate, Parts, divide, fidelity_table, make_candidate
from mri_aug.generators.base import make_generator
from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig
from mri_aug.results.sentences import ALL_CLASSES, MEASURES, YARDSTICK, failures, strengths
from tests.conftest import make_toy_images

FAST = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2)


def one_image_each(n: int, *, seed: int = 0) -> People:
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), 50)
    return People(np.arange(n), draws)


# ---- kernel inception distance -----------------------------------------------------------------------------------


class _Identity(torch.nn.Module):
    """Takes 'images' that are features already."""

    num_features = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_kernel_distance_is_that_of_torchmetrics_where_everyone_has_one_image():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)), rng.normal(0.5, 1, size=(40, 8))
    reference = KernelInceptionDistance(feature=_Identity(), subsets=1, subset_size=40, normalize=True)
    reference.update(torch.from_numpy(x).float()[:, :, None, None], real=True)
    reference.update(torch.from_numpy(y).float()[:, :, None, None], real=False)
    found = kernel_distance(x, y, one_image_each(40), one_image_each(40, seed=1))
    assert found.value == pytest.approx(float(reference.compute()[0]), rel=1e-4)
    assert found.low < found.value < found.high


def test_kernel_distance_averages_pairs_of_different_people_only():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(8, 3))
    person_x, person_y = np.repeat([0, 1, 2], 3), np.repeat([0, 1], 4)
    within = [
        np.mean([
            polynomial_kernel(f[[i]], f[[j]])[0, 0]
            for i in range(len(f)) for j in range(len(f)) if p[i] != p[j]
        ])
        for f, p in ((x, person_x), (y, person_y))
    ]  # fmt: skip
    across = np.mean([polynomial_kernel(x[[i]], y[[j]])[0, 0] for i in range(9) for j in range(8)])
    people = [People(p, np.ones((2, p.max() + 1), dtype=int)) for p in (person_x, person_y)]
    assert kernel_distance(x, y, *people).value == pytest.approx(sum(within) - 2 * across)


def test_people_with_many_alike_slices_are_at_no_distance_from_others_of_their_kind():
    """The plain estimate finds a distance between any two groups of people; this one is right on average."""
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        centres = rng.normal(size=(12, 4))
        features = np.repeat(centres, 5, axis=0) + 0.05 * rng.normal(size=(60, 4))
        people = People(np.repeat(np.arange(6), 5), np.ones((1, 6), dtype=int))
        found.append(kernel_distance(features[:30], features[30:], people, people).value)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_kernel_distance_to_the_sources_sees_what_a_generator_did_and_not_who_the_people_are():
    rng = np.random.default_rng(3)
    sources = np.repeat(rng.normal(size=(8, 4)), 3, axis=0) + 0.05 * rng.normal(size=(24, 4))
    person, draws = np.repeat(np.arange(8), 3), rng.multinomial(8, np.full(8, 1 / 8), 40)
    people = People(person, draws)
    copies = kernel_distance(sources, sources, people, people, same_people=True)
    np.testing.assert_allclose([copies.value, copies.low, copies.high], 0, atol=1e-12)
    shifted = kernel_distance(sources + 1, sources, people, people, same_people=True)
    assert shifted.low > 0 and kernel_distance(sources + 1, sources, people, people).low < shifted.low


def test_kernel_distance_of_a_class_with_one_person_is_not_defined():
    x = np.random.default_rng(0).normal(size=(6, 2))
    people = People(np.repeat([0, 1], 3), np.ones((4, 2), dtype=int))
    found = kernel_distance(x, x, people, people, x_rows=np.arange(6) < 3)
    assert np.isnan([found.value, found.low, found.high]).all()


# ---- precision, recall, density, coverage ------------------------------------------------------------------------


def brute_force(real, synthetic, real_people, synthetic_people, k):
    """The four measures by their definitions, one image at a time."""

    def distance(a, b):
        return float(np.sqrt(((a - b) ** 2).sum()))

    def reach(features, people, i):
        return sorted(distance(features[i], features[j]) for j in range(len(features)) if people[j] != people[i])[k - 1]

    reach_r = [reach(real, real_people, i) for i in range(len(real))]
    reach_s = [reach(synthetic, synthetic_people, j) for j in range(len(synthetic))]
    inside = [[distance(r, s) <= reach_r[i] for s in synthetic] for i, r in enumerate(real)]
    within = [[distance(r, s) <= reach_s[j] for j, s in enumerate(synthetic)] for r in real]
    return (
        np.mean([any(inside[i][j] for i in range(len(real))) for j in range(len(synthetic))]),
        np.sum(inside) / k / len(synthetic),
        np.mean([any(row) for row in within]),
        np.mean([any(row) for row in inside]),
    )


@pytest.mark.parametrize("people", [False, True])
def test_coverage_measures_agree_with_their_definitions(people):
    rng = np.random.default_rng(3)
    real, synthetic = rng.normal(size=(24, 3)), rng.normal(0.8, 0.7, size=(20, 3))
    whose = (np.arange(24) // 3, np.arange(20) // 4) if people else (np.arange(24), np.arange(20))
    given = {"real_people": whose[0], "synthetic_people": whose[1]} if people else {}
    found = coverage_measures(real, synthetic, n_neighbours=3, **given)
    means = [np.mean(getattr(found, name)) for name in ("precision", "density", "recall", "coverage")]
    np.testing.assert_allclose(means, brute_force(real, synthetic, *whose, 3))


def test_a_generator_that_repeats_one_real_image_is_precise_and_covers_nothing():
    real = np.random.default_rng(4).normal(size=(50, 4))
    synthetic = real[0] + 1e-6 * np.random.default_rng(5).normal(size=(50, 4))
    found = coverage_measures(real, synthetic)
    assert found.precision.all() and found.recall.mean() < 0.1 and found.coverage.mean() < 0.3


def test_too_few_neighbours_are_refused():
    features = np.eye(4)
    with pytest.raises(ValueError, match="fewer than 5 images of other people"):
        coverage_measures(features, features)
    with pytest.raises(ValueError, match="4 of 4 images have fewer than 2"):
        coverage_measures(
            features, features, real_people=np.array([0, 0, 0, 1]) // 2, synthetic_people=np.arange(4), n_neighbours=2
        )


# ---- diversity, memorisation, realism ----------------------------------------------------------------------------


def test_diversity_within_a_source(toy_images):
    copies = toy_images.images[:3, None].repeat(1, 4, 1, 1, 1)
    np.testing.assert_allclose(similarity_within_source(copies), 1, atol=1e-5)
    different = toy_images.images[:12].unflatten(0, (3, 4))
    assert (similarity_within_source(different) < 0.999).all()


def test_structural_similarity_does_not_see_the_order_and_falls_with_noise(toy_images):
    images = toy_images.images[:4]
    noise = torch.randint(0, 60, images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (images.int() + noise).clamp(0, 255).to(torch.uint8)
    forth, back = structural_similarity(images, noisy), structural_similarity(noisy, images)
    np.testing.assert_allclose(forth, back, atol=1e-5)
    assert (forth < structural_similarity(images, images) - 0.02).all()


def test_neighbours_are_the_most_correlated_slices_of_the_same_person(toy_images):
    found = similarity_of_neighbours(toy_images[:7])
    assert np.isfinite(found[:6]).all() and np.isnan(found[6])


def test_memorisation_tells_copies_from_other_people(toy_images):
    copies = memorisation(toy_images.images, toy_images)
    assert copies.near_copies.all() and np.allclose(copies.source, 1, atol=1e-5)
    strangers = memorisation_yardstick(make_toy_images(2, seed=9), toy_images)
    assert strangers.nearest.max() < strangers.threshold == copies.threshold and strangers.near_copies.mean() < 0.5
    mirrored = memorisation(toy_images.images.flip(2), toy_images)
    assert (mirrored.nearest >= mirrored.source - 1e-5).all()


def test_the_area_under_the_curve_is_that_of_scikit_learn_with_ties_and_weights():
    rng = np.random.default_rng(6)
    scores, synthetic = rng.integers(0, 8, 40) / 8, rng.random(40) < 0.5
    people = People(np.arange(40) // 4, rng.multinomial(10, np.full(10, 0.1), 30))
    found = separability(scores, synthetic, people, rows=np.ones(40, dtype=bool))
    assert found.value == pytest.approx(roc_auc_score(synthetic, scores))
    resampled = [roc_auc_score(synthetic, scores, sample_weight=draw[people.person]) for draw in people.draws]
    np.testing.assert_allclose([found.low, found.high], np.quantile(resampled, (0.025, 0.975)))


def test_a_detector_finds_noise_and_cannot_find_copies(toy_images):
    noise = torch.randint(0, 90, toy_images.images.shape, generator=torch.Generator().manual_seed(1))
    noisy = replace(toy_images, images=(toy_images.images.int() + noise).clamp(0, 255).to(torch.uint8))
    people = resample_people(toy_images.join(noisy), n_resamples=20, seed=0)
    everything, synthetic = np.ones(192, dtype=bool), np.arange(192) >= 96
    for images, expected in ((noisy, 1.0), (toy_images, 0.5)):
        scores = detector_scores(toy_images, images, seed=0, config=FAST)
        found = separability(scores, synthetic, people, rows=everything)
        assert found.value == pytest.approx(expected, abs=0.02)


# ---- features and resamples --------------------------------------------------------------------------------------


def test_the_domain_network_is_standardised_named_and_repeatable(toy_images):
    network = domain_network(toy_images, seed=0, config=FAST)
    features = network.extract(toy_images.images)
    assert features.shape == (96, 160) and "96 real slices" in network.name
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    assert np.all((np.abs(features.std(0) - 1) < 1e-6) | (features.std(0) < 1e-5))
    again = domain_network(toy_images, seed=0, config=FAST).extract(toy_images.images)
    np.testing.assert_array_equal(features, again)


def test_an_imagenet_network_is_read_from_a_file(tmp_path, toy_images):
    path = tmp_path / "resnet18.pth"
    torch.save(make_model("resnet18", n_classes=1000, seed=0).state_dict(), path)
    network = imagenet_network(path)
    assert network.name == "resnet18 trained on ImageNet" and network.extract(toy_images.images[:2]).shape == (2, 512)


def test_people_are_resampled_within_their_class_with_all_their_images(toy_images):
    people = resample_people(toy_images, n_resamples=40, seed=0)
    assert people.n_people == 16 and (people.draws[:, :4].sum() != 40 * 4 or people.draws.std() > 0)
    labels = toy_images.labels.numpy()[np.unique(people.person, return_index=True)[1]]
    for label in range(4):
        assert (people.draws[:, labels == label].sum(1) == 4).all()
    values = np.random.default_rng(0).normal(size=96)
    rows = toy_images.labels.numpy() < 2
    found = mean_estimate(values, people, rows=rows, confidence_level=0.9)
    reference = [np.average(values[rows], weights=draw[people.person][rows]) for draw in people.draws]
    assert found.value == pytest.approx(values[rows].mean())
    np.testing.assert_allclose([found.low, found.high], np.quantile(reference, (0.05, 0.95)))


# ---- parts, table, words, figures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts() -> Parts:
    everyone = make_toy_images(8)
    return divide(everyone[everyone.subjects < 20], everyone[everyone.subjects >= 20], seed=0)


@pytest.fixture(scope="module")
def candidates(parts) -> dict[str, Candidate]:
    copies = make_candidate(make_generator("duplicate"), parts, seed=0, n_sources=6, n_repeats=2)
    noise = torch.randint(0, 90, parts.training.images.shape, generator=torch.Generator().manual_seed(1))
    bad = (parts.training.images.int() + noise).clamp(0, 255).to(torch.uint8)
    return {"duplicate": copies, "noise": replace(copies, variations=bad)}


@pytest.fixture(scope="module")
def table(parts, candidates):
    network = domain_network(parts.others, seed=0, config=FAST)
    options = {"network": network, "seed": 0, "config": FAST, "n_resamples": 60}
    return fidelity_table(candidates, parts, **options)


def test_parts_are_of_different_people_and_match_in_number(parts):
    groups = [parts.others, parts.training[parts.matched], parts.yardstick, parts.reference]
    people = [set(group.subjects.tolist()) for group in groups]
    assert sum(map(len, people)) == len(set.union(*people)) == 32
    assert parts.training[parts.matched].class_counts() == parts.yardstick.class_counts()
    with pytest.raises(ValueError, match="both in training and held out"):
        divide(parts.training, parts.training, seed=0)


def test_a_candidate_has_a_variation_of_each_image_and_several_of_a_few(parts, candidates):
    candidate = candidates["duplicate"]
    assert torch.equal(candidate.variations, parts.training.images)
    assert candidate.repeats.shape == (6, 2, 1, 128, 128)
    assert torch.equal(candidate.repeats[:, 1], parts.training.images[candidate.repeated])
    assert set(parts.training.labels[candidate.repeated].tolist()) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="two variations"):
        make_candidate(make_generator("duplicate"), parts, seed=0, n_repeats=1)


def test_the_table_holds_every_measure_of_every_generator_in_every_class(table):
    assert len(table) == 3 * 5 * len(MEASURES)
    assert list(table["generator"].unique()) == [YARDSTICK, "duplicate", "noise"]
    assert table["class"].iloc[0] == ALL_CLASSES and set(table["measure"]) == set(MEASURES)
    known = table.dropna()
    assert (known["low"] <= known["high"]).all()
    undefined = (table["generator"] == "real") & (table["measure"] == "kid_sources")
    everyone = table[(table["class"] == "all") & ~undefined]
    assert np.isfinite(everyone[["value", "low", "high"]].to_numpy()).all()


def test_the_table_reads_copies_as_copies_and_noise_as_noise(table):
    value = table[table["class"] == "all"].set_index(["generator", "measure"])["value"]
    assert value["duplicate", "near_copies"] == 1 and value["duplicate", "ms_ssim"] == pytest.approx(1, abs=1e-4)
    assert value["duplicate", "auc"] == pytest.approx(0.5) and value["real", "near_copies"] < 0.5
    assert abs(value["duplicate", "kid_sources"]) < 1e-9 < value["noise", "kid_sources"]
    assert value["duplicate", "consistency"] == value["real", "consistency"]
    assert value["noise", "auc"] > 0.95 and value["noise", "kid"] > value["duplicate", "kid"]
    assert value["noise", "coverage"] < value["duplicate", "coverage"]


def test_the_table_repeats_itself(table, parts, candidates):
    network = domain_network(parts.others, seed=0, config=FAST)
    again = fidelity_table(candidates, parts, network=network, seed=0, config=FAST, n_resamples=60)
    assert again.equals(table)


def test_sentences_follow_the_numbers(table):
    against, favour = failures(table, "duplicate"), strengths(table, "duplicate")
    assert "ore of its images nearly copy another" in against and "have moved" not in against
    assert "is not found to tell its images from real ones (0.500 against 0.500)" in favour
    assert "network that tries can tell its images from real ones" in failures(table, "noise")
    real = table[table["generator"] == "real"].assign(generator="twin")
    real.loc[real["measure"] == "auc", ["low", "high"]] = 0.4, 0.6
    both = type(table)(np.concatenate([table, real]), columns=table.columns).infer_objects()
    assert failures(both, "twin") == "By no measure is it found worse than real people."
    with pytest.raises(ValueError, match="not 'morph'"):
        failures(table, "morph")


def test_a_card_names_cost_and_fingerprint(parts, candidates):
    generator = make_generator("duplicate")
    card = generation_card(generator, candidates["duplicate"], parts, seconds=2, usd=1.5)
    card = card.set_index("item")["what"]
    assert generator.fingerprint in card["fingerprint"] and "1.50 US dollars" in card["cost"]
    assert "clinical" in card["not for"] and card["variations here"] == str(len(parts.training) + 12)
