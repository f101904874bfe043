"""Each measure against a reference or a property, and the table that puts them together."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.image.kid import KernelInceptionDistance

from mri_aug.data.imageset import ImageSet
from mri_aug.fidelity.features import anatomy_table, domain_network, imagenet_network
from mri_aug.fidelity.realism import detector_scores, separability
from mri_aug.fidelity.resampling import People, mean_estimate, person_ids, resample_people
from mri_aug.fidelity.similarity import (
    coverage_measures,
    memorisation,
    polynomial_kernel,
    real_similarity,
    similarity_of_neighbours,
    similarity_within_source,
    squared_mmd,
    structural_similarity,
)
from mri_aug.fidelity.table import (
    ALL_CLASSES,
    MEASURES,
    REAL,
    Candidate,
    fidelity_table,
    generation_card,
    generator_kinds,
    make_candidate,
)
from mri_aug.generators.base import GENERATORS, make_generator
from mri_aug.models.networks import make_model
from mri_aug.models.references import TISSUE_FEATURES, tissue_features
from mri_aug.models.training import TrainConfig
from tests.conftest import make_toy_images

FAST = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2)


def some_people(person, labels=None, *, n_resamples: int = 50, seed: int = 0) -> People:
    n, person = max(person) + 1, np.asarray(person)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples)
    return People(person, np.zeros(len(person), int) if labels is None else np.asarray(labels), draws)


# ---- squared MMD within class ------------------------------------------------------------------------------------


class _Identity(torch.nn.Module):
    """Takes 'images' that are features already."""

    num_features = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_mmd_is_that_of_torchmetrics_where_everyone_has_one_image():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)), rng.normal(0.5, 1, size=(40, 8))
    reference = KernelInceptionDistance(feature=_Identity(), subsets=1, subset_size=40, normalize=True)
    reference.update(torch.from_numpy(x).float()[:, :, None, None], real=True)
    reference.update(torch.from_numpy(y).float()[:, :, None, None], real=False)
    average, only = squared_mmd(x, y, some_people(range(40)), some_people(range(40), seed=1), n_classes=1)
    assert average == only and average.n_people == 80
    assert average.value == pytest.approx(float(reference.compute()[0]), rel=1e-4)
    assert average.low < average.value < average.high


def test_mmd_averages_pairs_of_different_people_within_each_class():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(13, 3))
    x_person, y_person = np.repeat(range(6), 2), np.r_[np.repeat(range(6), 2), 6]  # class 0: 0 to 2; class 1: the rest
    x_labels, y_labels = (x_person > 2).astype(int), (y_person > 2).astype(int)

    def mean_kernel(a, a_person, p, b, b_person, q):
        return polynomial_kernel(a[a_person == p], b[b_person == q]).mean()

    expected = []
    for x_members, y_members in (([0, 1, 2], [0, 1, 2]), ([3, 4, 5], [3, 4, 5, 6])):
        within = [
            np.mean([mean_kernel(f, person, p, f, person, q) for p, q in product(members, members) if p != q])
            for f, person, members in ((x, x_person, x_members), (y, y_person, y_members))
        ]
        across = np.mean([mean_kernel(x, x_person, p, y, y_person, q) for p, q in product(x_members, y_members)])
        expected.append(sum(within) - 2 * across)
    found = squared_mmd(x, y, some_people(x_person, x_labels), some_people(y_person, y_labels), n_classes=2)
    np.testing.assert_allclose([one.value for one in found[1:]], expected)
    assert found[0].value == pytest.approx(np.average(expected, weights=[6, 7]))


def test_the_null_of_mmd_is_exactly_zero_over_all_halves_stratified_by_class():
    """All ways to halve six people of each of two classes; over all classes pooled the mean would be negative."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 6)
    sizes = rng.integers(1, 4, 12)  # people have different numbers of images
    centres = rng.normal(size=(12, 4)) + 3 * labels[:, None]
    person = np.repeat(np.arange(12), sizes)
    features = centres[person] + 0.05 * rng.normal(size=(len(person), 4))
    found, pooled = [], []
    for first in product(combinations(range(6), 3), combinations(range(6, 12), 3)):
        rows = np.isin(person, np.concatenate(first))
        sides = [np.unique(person[part], return_inverse=True)[1] for part in (rows, ~rows)]
        one_class = [some_people(side, n_resamples=1) for side in sides]
        classes = [some_people(side, labels[person[part]], n_resamples=1) for side, part in
                   zip(sides, (rows, ~rows), strict=True)]  # fmt: skip
        found.append([one.value for one in squared_mmd(features[rows], features[~rows], *classes, n_classes=2)])
        pooled.append(squared_mmd(features[rows], features[~rows], *one_class, n_classes=1)[0].value)
    scale = np.abs(found).mean()
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=1e-10 * scale)
    assert np.mean(pooled) < -scale


def test_mmd_to_the_sources_measures_the_generator_and_not_the_people():
    rng = np.random.default_rng(3)
    sources = np.repeat(rng.normal(size=(8, 4)), 3, axis=0) + 0.05 * rng.normal(size=(24, 4))
    people = some_people(np.repeat(np.arange(8), 3))
    same = squared_mmd(sources, sources, people, people, n_classes=1, same_people=True)[0]
    np.testing.assert_allclose([same.value, same.low, same.high], 0, atol=1e-12)
    shifted = squared_mmd(sources + 1, sources, people, people, n_classes=1, same_people=True)[0]
    assert shifted.low > 0 and squared_mmd(sources + 1, sources, people, people, n_classes=1)[0].low < shifted.low
    assert shifted.n_people == 8


def test_mmd_of_few_people_has_no_interval_or_no_value():
    x = np.random.default_rng(0).normal(size=(18, 2))
    person, labels = np.repeat(range(6), 3), np.repeat([0, 1, 2], [3, 6, 9])
    average, one, two, three = squared_mmd(x, x + 1, *[some_people(person, labels)] * 2, n_classes=3)
    assert np.isnan([one.value, one.low, two.low]).all() and np.isfinite([two.value, three.low]).all()
    assert (average.value, average.n_people) == (three.value, 6)  # two people have a value, three enter the average
    nobody = squared_mmd(x[:3], x[:3], *[some_people(person[:3])] * 2, n_classes=1)
    assert np.isnan([nobody[0].value, nobody[1].value]).all()


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
    seven = toy_images[:7]  # six slices of one person, one of another
    found = similarity_of_neighbours(seven, np.array([0, 3, 6]))
    for row, similarity in zip((0, 3), found, strict=False):
        others = [k for k in range(6) if k != row]
        correlations = [np.corrcoef(*(seven.images[[row, k]].float().view(2, 1, 64, 2, 64, 2).mean((3, 5)).flatten(1)))
                        [0, 1] for k in others]  # fmt: skip
        nearest = others[int(np.argmax(correlations))]
        expected = structural_similarity(seven.images[row : row + 1], seven.images[nearest : nearest + 1])
        assert similarity == pytest.approx(expected[0], abs=1e-6)
    assert np.isnan(found[2])


def test_memorisation_tells_copies_from_other_people(toy_images):
    copies = memorisation(toy_images.images, toy_images)
    assert copies.near_copies.all() and np.allclose(copies.source, 1, atol=1e-5)
    others = real_similarity(make_toy_images(2, seed=9), toy_images)
    assert others.nearest.max() < others.threshold == copies.threshold and others.near_copies.mean() < 0.5
    mirrored = memorisation(toy_images.images.flip(2), toy_images)
    assert (mirrored.nearest >= mirrored.source - 1e-5).all()


def test_the_area_under_the_curve_is_that_of_scikit_learn_with_ties_and_weights():
    rng = np.random.default_rng(6)
    scores, synthetic = rng.integers(0, 8, 40) / 8, rng.random(40) < 0.5
    people = some_people(np.arange(40) // 4, n_resamples=30)
    found = separability(scores, people, synthetic=synthetic, rows=np.ones(40, dtype=bool))
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
        found = separability(scores, people, synthetic=synthetic, rows=everything)
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
    people = resample_people(toy_images, n_resamples=40, seed=0, within_class=True)
    assert people.draws.shape == (40, 16) and (people.draws[:, :4].sum() != 40 * 4 or people.draws.std() > 0)
    labels = toy_images.labels.numpy()[np.unique(people.person, return_index=True)[1]]
    for label in range(4):
        assert (people.draws[:, labels == label].sum(1) == 4).all()
    values = np.random.default_rng(0).normal(size=96)
    rows = toy_images.labels.numpy() < 2
    found = mean_estimate(values, people, rows=rows)
    reference = [np.average(values[rows], weights=draw[people.person][rows]) for draw in people.draws]
    assert found.value == pytest.approx(values[rows].mean())
    np.testing.assert_allclose([found.low, found.high], np.quantile(reference, (0.025, 0.975)))


def test_a_rare_class_is_not_known_exactly(toy_images):
    """One person of sixteen has a near copy: the share could as well be none, or that of two."""
    people = resample_people(toy_images, n_resamples=400, seed=0)
    assert (people.draws.sum(1) == 16).all()
    everyone, has_copy = np.ones(96, bool), (toy_images.subjects.numpy() == 3).astype(float)
    found = mean_estimate(has_copy, people, rows=everyone)
    assert found.low == 0 and found.high >= 2 / 16 and found.n_people == 16
    few = mean_estimate(has_copy, people, rows=toy_images.subjects.numpy() < 2)
    assert few.n_people == 2 and np.isnan([few.low, few.high]).all()


def test_people_have_the_same_number_in_every_set(toy_images):
    unknown = replace(toy_images, subjects=torch.full_like(toy_images.subjects, -1))
    assert person_ids(toy_images[3:9]).tolist() == toy_images.subjects[3:9].tolist()
    assert (person_ids(unknown[3:9]) < 0).all() and set(person_ids(unknown[3:9])) < set(person_ids(unknown))
    assert len(set(person_ids(toy_images.join(unknown)))) == 16 + 96


# ---- anatomy -----------------------------------------------------------------------------------------------------


def test_a_row_for_each_grade_and_feature_over_the_people(toy_images):
    table = anatomy_table(toy_images)
    assert len(table) == 4 * len(TISSUE_FEATURES) and set(table["n_people"]) == {4} and set(table["n_images"]) == {24}
    row = table[(table["grade"] == toy_images.class_names[1]) & (table["feature"] == "dark_core")].iloc[0]
    members = toy_images[toy_images.labels == 1]
    values = tissue_features(members.images)[:, 0]
    means = [values[members.subjects == subject].mean() for subject in members.subjects.unique()]
    assert row["mean"] == pytest.approx(np.mean(means)) and row["sd"] == pytest.approx(np.std(means))
    assert row["p10"] <= row["p50"] <= row["p90"]
    assert table[table["feature"] == "dark_core"]["mean"].is_monotonic_increasing  # the toys' cavity grows


def test_a_grade_without_images_has_no_row(toy_images):
    assert set(anatomy_table(toy_images[toy_images.labels != 2])["grade"]) == set(np.delete(toy_images.class_names, 2))


# ---- table, comparison with real people, cards -------------------------------------------------------------------


@pytest.fixture(scope="module")
def everyone() -> ImageSet:
    """18 people of two classes; four of each class are the sample that generators are fitted on."""
    images = make_toy_images(9)
    images = images[images.labels < 2]
    return replace(images, class_names=images.class_names[:2])


@pytest.fixture(scope="module")
def training(everyone) -> ImageSet:
    return everyone[everyone.subjects < 16]


@pytest.fixture(scope="module")
def others(everyone) -> ImageSet:
    return everyone[everyone.subjects >= 16]


@pytest.fixture(scope="module")
def candidates(training) -> dict[str, Candidate]:
    copies = make_candidate(make_generator("duplicate"), training, seed=0, n_sources=6, n_repeats=2)
    noise = torch.randint(0, 90, training.images.shape, generator=torch.Generator().manual_seed(1))
    bad = (training.images.int() + noise).clamp(0, 255).to(torch.uint8)
    return {"duplicate": copies, "noise": replace(copies, variations=bad)}


@pytest.fixture(scope="module")
def network(toy_images):
    return domain_network(toy_images, seed=0, config=FAST)


@pytest.fixture(scope="module")
def table(candidates, training, others, network):
    return fidelity_table(candidates, training, others, network=network, seed=0, config=FAST, n_resamples=60)


def test_a_candidate_has_a_variation_of_each_image_and_several_of_a_few(training, candidates):
    candidate = candidates["duplicate"]
    assert torch.equal(candidate.variations, training.images)
    assert candidate.repeats.shape == (6, 2, 1, 128, 128)
    assert torch.equal(candidate.repeats[:, 1], training.images[candidate.repeated])
    assert set(training.labels[candidate.repeated].tolist()) == {0, 1}
    with pytest.raises(ValueError, match="two variations"):
        make_candidate(make_generator("duplicate"), training, seed=0, n_repeats=1)


def test_the_table_holds_every_measure_of_every_generator_in_every_class(table):
    assert len(table) == 3 * 3 * len(MEASURES)
    assert list(table["generator"].unique()) == [REAL, "duplicate", "noise"]
    assert table["class"].iloc[0] == ALL_CLASSES and set(table["measure"]) == set(MEASURES)
    known = table.dropna()
    assert (known["low"] <= known["high"]).all()
    undefined = (table["generator"] == REAL) & (table["measure"] == "mmd_sources")
    assert np.isfinite(table.loc[~undefined, ["value", "low", "high"]].to_numpy()).all()


def test_the_table_compares_with_everyone_outside_the_sample(table):
    n_people = table[table["class"] == ALL_CLASSES].set_index(["generator", "measure"])["n_people"]
    assert n_people[REAL, "mmd"] == n_people["noise", "mmd"] == n_people[REAL, "auc"] == 8 + 10
    assert n_people["noise", "mmd_sources"] == n_people["noise", "precision"] == n_people["noise", "consistency"] == 8
    assert n_people["noise", "recall"] == n_people[REAL, "nearest_similarity"] == 10


def test_the_table_recognises_duplicates_and_noise(table):
    value = table[table["class"] == ALL_CLASSES].set_index(["generator", "measure"])["value"]
    assert value["duplicate", "near_copies"] == 1 and value["duplicate", "ms_ssim"] == pytest.approx(1, abs=1e-4)
    assert value["duplicate", "auc"] == pytest.approx(0.5) and value[REAL, "near_copies"] < 0.5
    assert abs(value["duplicate", "mmd_sources"]) < 1e-9 < value["noise", "mmd_sources"]
    for measure in ("mmd", "precision", "density", "recall", "coverage", "consistency"):
        assert value["duplicate", measure] == pytest.approx(value[REAL, measure])
    assert value["noise", "auc"] > 0.95 and value["noise", "mmd"] > value["duplicate", "mmd"]
    assert value["noise", "coverage"] < value["duplicate", "coverage"]


def test_the_table_repeats_itself(table, training, others, network, candidates):
    noise = {"noise": candidates["noise"]}
    again = fidelity_table(noise, training, others, network=network, seed=0, config=FAST, n_resamples=60)
    assert again.equals(table[table["generator"] != "duplicate"].reset_index(drop=True))


def test_nobody_may_be_in_both_sets(training, network):
    with pytest.raises(ValueError, match="8 people are both in training and in others"):
        fidelity_table({}, training, training, network=network, seed=0)


def test_a_card_names_cost_and_fingerprint(training, candidates):
    generator = make_generator("duplicate")
    card = generation_card(generator, candidates["duplicate"], training, seconds=2, usd=1.5)
    card = card.set_index("item")["what"]
    assert generator.fingerprint in card["fingerprint"] and "1.50 US dollars" in card["cost"]
    assert "clinical" in card["not for"] and card["variations here"] == str(len(training) + 12)


def test_a_card_says_what_a_generator_states_and_what_it_does_not(training, candidates):
    own = {"name": "mine", "fingerprint": "0", "learns_from_study": True, "reproducible": True}
    facts = {"learns from": "atlases", "licence and limits": "CC-BY"}
    for card, expected in (({}, ["not stated"] * 3), ({"card": facts}, ["atlases", "not stated", "CC-BY"])):
        generator = SimpleNamespace(**own, **card)
        shown = generation_card(generator, candidates["noise"], training, seconds=0).set_index("item")["what"]
        assert shown[["learns from", "who sees the images", "licence and limits"]].tolist() == expected
        assert shown["generator"] == "mine" and shown["fitted on"] == "48 slices of 8 people"


def test_every_kind_of_generator_is_listed():
    kinds = generator_kinds()
    assert kinds["generator"].tolist() == list(GENERATORS)
    assert kinds.columns.tolist() == ["generator", "learns from", "who sees the images", "licence and limits"]
