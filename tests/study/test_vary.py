"""Filling a bank requests exactly what the study's simulations need, and says beforehand what that costs."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from paid_service import PaidGenerator, make_images

from mri_aug.generators.bank import Bank, BankedGenerator, BudgetError, MissingVariationsError
from mri_aug.generators.base import RefusedVariationsError, make_generator
from mri_aug.models.training import TrainConfig
from mri_aug.study.conditions import Condition, thesis_arms
from mri_aug.study.parts import Part
from mri_aug.study.run import run_study
from mri_aug.study.simulation import Seeds, assemble, divide
from mri_aug.study.store import Store
from mri_aug.study.variations import fill, plan, wanted_variations

SEED, PAID = 7, {"generator": "paid"}
PARTS = (
    Part("image", tuple(thesis_arms(0.3, generator="paid")), 2),
    Part("subject", tuple(thesis_arms(0.5, generator="paid", protocol="subject")), 1),
    Part(
        "people",
        (Condition(real_frac=0.6, synth_frac=0.3, scarce="subjects", generator="paid", protocol="subject"),),
        2,
    ),
    Part("classes", (Condition(real_frac=0.3, synth_frac=0.9, synth_classes=(2, 3), **PAID),), 1),
)


@pytest.fixture
def service(tmp_path):
    return PaidGenerator(tmp_path / "requests.log")


@pytest.fixture
def wanted(toy_images):
    return wanted_variations(PARTS, toy_images, generator="paid", seed=SEED)


def simulate_asking(generator, image_set):
    """Assemble every arm of every simulation, as a study does, and return the arms."""
    arms = []
    for part in PARTS:
        for condition in part.conditions:
            for simulation in range(part.n_simulations):
                train = image_set[divide(image_set, condition.protocol, seed=SEED, simulation=simulation).train]
                arms.append(assemble(condition, train, Seeds.of(SEED, simulation), {"paid": generator}))
    return arms


def test_the_plan_equals_what_the_simulations_ask_for(tmp_path, toy_images, wanted, service):
    planned = plan(service, Bank(tmp_path / "planned"), wanted)
    assert not service.requests() and not (tmp_path / "planned").exists()
    simulate_asking(BankedGenerator(service, Bank(tmp_path / "asked")), toy_images)
    asked = service.requests()
    assert planned.n_missing == planned.n_wanted == len(asked) == len(set(asked)) > 50
    assert planned.n_sources == len({line.split()[0] for line in asked})
    assert planned.usd == pytest.approx(len(asked) * 0.05)
    assert planned.minutes == pytest.approx(len(asked) * 3 / 2 / 60)


def test_a_filled_bank_is_all_that_a_study_needs(tmp_path, toy_images, wanted, service):
    filled = fill(service, Bank(tmp_path / "bank"), wanted)
    assert filled.n_missing == 0 and filled.n_kept == filled.n_wanted == len(service.requests())
    banked = BankedGenerator(service, Bank(tmp_path / "bank", offline=True))
    options = {"seed": SEED, "config": TrainConfig(epochs=1), "generators": {"paid": banked}, "n_jobs": 1}
    conditions = [condition for condition in PARTS[0].conditions if condition.generator == "paid"]
    rows = run_study(conditions, toy_images, n_simulations=2, store=Store(tmp_path / "store"), **options)
    assert len(rows) == 2 and (rows["n_synthetic"] > 0).all()
    simulate_asking(banked, toy_images)
    assert len(service.requests()) == filled.n_wanted


def test_refused_images_are_counted_by_class_and_left_out(tmp_path, toy_images, wanted, service):
    images = toy_images.images.clone()
    images[:, 0, 0, 0] = torch.arange(len(images))  # the toy service refuses by the first pixel
    toy_images, refused = replace(toy_images, images=images), int(wanted.images.source_ids[0])
    wanted = wanted_variations(PARTS, toy_images, generator="paid", seed=SEED)
    service = replace(service, refused=refused)
    filled = fill(service, Bank(tmp_path), wanted)
    n_refused = int((wanted.images.source_ids == refused).sum())
    assert n_refused >= 1 and filled.n_kept == filled.n_wanted - n_refused and filled.n_missing == 0
    assert filled.refused == {toy_images.class_names[int(toy_images.labels[refused])]: n_refused}
    assert "refused are" in str(filled)
    arms = simulate_asking(BankedGenerator(service, Bank(tmp_path, offline=True)), toy_images)
    assert max(arm.n_refused for arm in arms) >= 1
    assert all(refused not in arm.variations.source_ids for arm in arms if arm.n_refused)


def test_filling_goes_on_after_a_limit(tmp_path, wanted, service):
    with pytest.raises(BudgetError):
        fill(service, Bank(tmp_path, max_images=10), wanted)
    planned = plan(service, Bank(tmp_path), wanted)
    assert planned.n_kept == 10 and planned.n_missing == planned.n_wanted - 10
    assert f"{planned.n_missing:,} calls" in str(planned) and "$0.40 for 10 images" in str(planned)
    with pytest.raises(MissingVariationsError, match=f"{planned.n_missing} of the variations"):
        fill(service, Bank(tmp_path, offline=True), wanted)
    fill(service, Bank(tmp_path), wanted)
    assert len(service.requests()) == planned.n_wanted


def test_records_name_image_and_person(tmp_path, toy_images, wanted, service):
    fill(service, Bank(tmp_path / "filled"), wanted)
    banked = BankedGenerator.of(service, Bank(tmp_path / "asked"), toy_images)
    banked.vary(toy_images.images[:5], toy_images.labels[:5], seed=0)
    for folder in ("filled", "asked"):
        for record in Bank(tmp_path / folder).records():
            assert record["subject"] == int(toy_images.subjects[record["source_id"]])
            assert record["label"] == int(toy_images.labels[record["source_id"]])


def test_a_study_without_the_generator_wants_nothing(tmp_path, toy_images, service):
    wanted = wanted_variations(PARTS, toy_images, generator="other", seed=SEED)
    assert fill(service, Bank(tmp_path), wanted).n_wanted == 0


def test_variations_follow_their_count_and_not_the_seed(tmp_path, service):
    images, labels = make_images(3)
    banked, rows = BankedGenerator(service, Bank(tmp_path)), [0, 1, 0, 2]
    first = banked.vary(images[rows], labels[rows], seed=1)
    assert not torch.equal(first[0], first[2])
    again = pickle.loads(pickle.dumps(banked)).vary(images[[2, 0, 0]], labels[[2, 0, 0]], seed=2)
    assert torch.equal(again, first[[3, 0, 2]]) and len(service.requests()) == 4
    offline = BankedGenerator(service, Bank(tmp_path, offline=True))
    assert torch.equal(offline.vary(images[rows], labels[rows], seed=3), first)


def test_another_bank_is_another_generator_to_a_store(tmp_path, service):
    """The service would answer the same requests with other pixels, so rows of one bank are not rows of another."""
    fingerprints = {BankedGenerator(service, Bank(tmp_path / name)).fingerprint for name in "ab"}
    assert len(fingerprints) == 2
    assert BankedGenerator(service, Bank(tmp_path / "a", offline=True)).fingerprint in fingerprints


def test_a_generator_that_learns_is_not_banked(tmp_path, toy_images, wanted):
    morph = make_generator("morph")
    with pytest.raises(ValueError, match="'morph' learns from the study"):
        BankedGenerator(morph, Bank(tmp_path))
    fitted = morph.fit(toy_images.images, toy_images.labels, toy_images.subjects, seed=0)
    for act in (plan, fill):
        with pytest.raises(ValueError, match="'morph' learns from the study"):
            act(fitted, Bank(tmp_path), wanted)


def test_refusals_of_a_call_name_its_positions(tmp_path, service):
    images, labels = make_images(4)
    banked = BankedGenerator(replace(service, refused=2), Bank(tmp_path))
    with pytest.raises(RefusedVariationsError) as error:
        banked.vary(images[[0, 2, 3, 2]], labels[[0, 2, 3, 2]], seed=0)
    assert error.value.positions == (1, 3)
    assert banked.vary(images[[0, 3]], labels[[0, 3]], seed=0).shape == (2, 1, 128, 128)
