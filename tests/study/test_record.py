"""The plan of the record: the conditions that were written down beforehand, each once, and how settings are chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mri_aug import provenance
from mri_aug.models.training import TrainConfig
from mri_aug.study import run
from mri_aug.study.parts import PEOPLE_TRAINING, Part, record_parts, settings_parts
from mri_aug.study.store import Store

PARTS = {part.name: part for part in record_parts()}


def test_parts_stand_in_the_order_in_which_they_matter():
    assert list(PARTS)[:5] == ["references", "people", "generative", "draft", "draft-generative"]
    sizes = {"references": 100, "people": 100, "generative": 25, "draft": 100}
    assert {name: PARTS[name].n_simulations for name in sizes} == sizes
    (diffused,) = PARTS["draft-generative"].conditions
    assert replace(diffused, generator="morph") in PARTS["draft"].conditions and diffused.generator == "diffusion"
    assert PARTS["draft-generative"].training == PARTS["draft"].training


def test_people_train_equally_long_at_a_quarter_of_the_pixels():
    for name in ("people", "generative"):
        for one in PARTS[name].conditions:
            assert (one.protocol, one.image_size, one.policy, one.budget) == ("subject", 64, "standard", "steps")
    assert PARTS["people"].training["steps"] == PARTS["generative"].training["steps"] == 1000


def test_planned_contrasts_have_their_arms():
    arms = {one for name in ("people", "generative") for one in PARTS[name].conditions}
    some = {(one.generator, one.synth_frac, one.synth_use) for one in arms if one.real_frac == 0.3}
    for generator in ("diffusion", "duplicate", "simulated", "morph"):
        assert (generator, 0.7, "mixed") in some
    assert ("simulated", 2.6, "only") in some and ("simulated", 2.6, "mixed") in some
    assert {one.scarce for one in arms} == {"subjects", "images"}
    everybody = {one.generator for one in arms if one.real_frac == 1}
    assert everybody == {"none", "simulated", "diffusion"}


def test_a_condition_has_one_training_and_a_part_its_conditions_once():
    trainings = {}
    for part in PARTS.values():
        assert max(Counter(part.conditions).values()) == 1
        TrainConfig(**part.training)
        for one in part.conditions:
            trainings.setdefault((one, part.n_phantoms), set()).add(tuple(sorted(part.training.items())))
    assert all(len(found) == 1 for found in trainings.values())


def test_another_machine_goes_on_with_a_part_on_phantoms_that_it_has_not_made(tmp_path, monkeypatch, toy_images):
    monkeypatch.setattr(provenance, "project", lambda: tmp_path)
    monkeypatch.setattr(run, "load_phantoms", lambda **_: toy_images)
    parts = [Part("power-16", PARTS["references"].conditions[:2], 1, PEOPLE_TRAINING, 16)]
    rows = run.run_parts(parts, toy_images, seed=0, store=Store(tmp_path / "here.sqlite"))
    there = Store(tmp_path / "there.sqlite")
    # its processor rounds a pixel otherwise, or it has not made the phantoms yet
    elsewhere = replace(toy_images, images=toy_images.images ^ 1)
    monkeypatch.setattr(run, "load_phantoms", lambda **_: elsewhere)
    assert run.finished_rows(parts, toy_images, seed=0, store=there)[1]["finished"].tolist() == [0]
    there.add(rows)
    found, outlook = run.finished_rows(parts, toy_images, seed=0, store=there)
    assert set(found["key"]) == set(rows["key"]) and outlook["finished"].tolist() == [2]
    more = run.run_parts([replace(parts[0], n_simulations=2)], toy_images, seed=0, store=there)
    assert len(more) == len(there) == 4 and set(rows["key"]) < set(more["key"])
    assert more["images"].unique().tolist() == [toy_images.fingerprint], "or the deposit would refuse them"


def test_settings_change_one_thing_at_a_time():
    parts = settings_parts(3)
    changed = [set((PEOPLE_TRAINING | dict(part.training)).items()) - set(PEOPLE_TRAINING.items()) for part in parts]
    assert all(len(change) <= 1 for change in changed) and sum(map(bool, changed)) >= 4
    assert {one.policy for part in parts for one in part.conditions} > {"standard", "none"}
