"""Any source comes out as one form; sources and parameters that cannot serve are named at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from mri_aug.data import loading
from mri_aug.data.imageset import CLASS_NAMES
from mri_aug.data.loading import load_images, separate_images, take_subjects
from mri_aug.data.splits import split
from mri_aug.results.metrics import evaluate
from tests.data.made import FOUR, picture, tree

pytestmark = pytest.mark.usefixtures("own_cache")


def test_any_size_and_mode_is_brought_to_form_and_said(tmp_path):
    images = load_images(tree(tmp_path / "large", "{c}/{p}_{k}.png", size=(200, 180), mode="RGB"))
    assert images.images.shape == (16, 1, 128, 128) and images.images.dtype == torch.uint8
    assert images.class_names == CLASS_NAMES and images.source_ids.tolist() == list(range(16))
    assert images.notes[0] == "Images brought to grey 128 x 128: 16 that came as RGB 200 x 180."
    assert "RGB 200 x 180" in repr(images)
    for i in range(5):
        picture(90 + i, size=(130 + i, 100)).save(tmp_path / "large" / FOUR[0] / f"other_{i}.png")
    assert "3 in 3 other forms" in load_images(tmp_path / "large").notes[0]


def test_the_hub_dataset_is_pinned_and_others_are_not(monkeypatch):
    asked = []

    def load_dataset_builder(source, config, revision=None):
        asked.append((source, config, revision))
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    thesis = "Falah/Alzheimer_MRI"
    for source, revision in ((thesis, None), ("some/other:config", None), (thesis, "main")):
        with pytest.raises(ConnectionError, match="neither in the local cache nor could it be fetched"):
            load_images(source, revision=revision)
    assert asked == [(thesis, None, loading.HUB_REVISION), ("some/other", "config", None), (thesis, None, "main")]
    assert len(loading.HUB_REVISION) == 40, "the hub takes full commit hashes only"


def test_without_network_one_sentence_names_the_way_on(tmp_path):
    code = "from mri_aug.data.loading import load_images; load_images('Falah/Alzheimer_MRI')"
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: the dataset 'Falah/Alzheimer_MRI' is neither")
    assert "use 'phantom'" in done.stderr and "During handling" not in done.stderr


def test_a_mistyped_folder_fails_at_once(tmp_path, monkeypatch):
    (tmp_path / "data" / "Alzheimer_MRI").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: pytest.fail("the hub was asked"))
    for wrong in ("data/Alzheimer_MRY", "./data/Alzheimer_MRY", str(tmp_path / "data" / "Alzheimer_MRY")):
        with pytest.raises(FileNotFoundError, match="no folder '.*MRY', did you mean 'Alzheimer_MRI'?"):
            load_images(wrong)
    for wrong in ("nowhere", "../nowhere/at/all", "/nowhere", "a/b/c", "phantoms"):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            load_images(wrong)
    with pytest.raises(ValueError, match="the dataset is empty"):
        load_images("")
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="data.zip is a file; unpack it"):
        load_images("data.zip")


def test_a_changed_folder_is_read_again(tmp_path):
    folder = tree(tmp_path / "flat", "{c}/{p}_{k}.png")
    before = load_images(folder)
    assert load_images(folder).fingerprint == before.fingerprint
    picture(77).save(folder / FOUR[0] / "another.png")
    assert len(load_images(folder)) == len(before) + 1


def test_people_that_cannot_be_recovered_stay_unknown(tmp_path):
    images = load_images(tree(tmp_path / "noise", "{c}/{p}_{k}.png"))
    assert (images.subjects == -1).all() and any("People unknown" in note for note in images.notes)
    drawn = load_images(tree(tmp_path / "more", "{c}/{p}_{k}.png", people=40, slices=2), n_subjects=8)
    assert list(drawn.class_counts().values()) == [64] * 4 and (drawn.subjects == -1).all()
    assert "People unknown: 256 of 320 images stand for the 8 people asked for." in drawn.notes


def test_images_of_unknown_people_may_count_as_people(toy_images):
    assert separate_images(toy_images) is toy_images
    unknown = replace(toy_images, subjects=torch.full((len(toy_images),), -1))
    alone = separate_images(unknown)
    assert alone.subjects.unique().numel() == len(alone) and alone.notes[-1].startswith(
        "Every image counts as a person"
    )
    parts = split(alone, "subject", seed=0)
    assert len(parts.train) + len(parts.validation) + len(parts.test) == len(alone)


def test_people_found_with_two_labels_are_counted_and_left_unknown(tmp_path, toy_images, monkeypatch):
    monkeypatch.setattr(loading, "recover_subjects", partial(loading.recover_subjects, threshold=0.975))
    folder = tmp_path / "people"
    for i, label in enumerate(toy_images.labels.tolist()):
        (folder / FOUR[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(toy_images.images[i, 0].numpy()).save(folder / FOUR[label] / f"{i}.png")
    images = load_images(folder)
    assert images.subjects.unique().numel() == 16
    for i in (0, 24):  # one image each of two people of the first class
        (folder / FOUR[0] / f"{i}.png").rename(folder / FOUR[1] / f"{i}.png")
    images = load_images(folder)
    assert (images.subjects == -1).all()
    assert images.notes[0].startswith("People unknown: 2 of the 16 found carry more than one label")
    assert "Use protocol 'image'" in images.notes[0] and "correct the labels" in images.notes[0]
    evaluate(np.full((96, 4), 0.25), images.labels, images.subjects)  # as every simulation does


def test_small_sets_say_which_protocol_they_are_too_small_for(tmp_path):
    small = load_images(tree(tmp_path / "small", "{c}/P{p}_{k}.png", people=1))
    assert len(small) == 8
    assert any(note.startswith("Protocol 'image' is not possible with this set") for note in small.notes)
    assert any(note.startswith("Protocol 'subject' is not possible with this set") for note in small.notes)
    enough = load_images(tree(tmp_path / "enough", "{c}/P{p}_{k}.png", people=6, slices=5))
    assert not any(note.startswith("Protocol") for note in enough.notes)


def test_fewer_people_keep_their_classes_and_all_their_slices(toy_images):
    few = take_subjects(toy_images, 8, seed=0)
    assert few.subjects.unique().numel() == 8 and list(few.class_counts().values()) == [12] * 4
    assert few.fingerprint == take_subjects(toy_images, 8, seed=0).fingerprint
    assert few.fingerprint != take_subjects(toy_images, 8, seed=1).fingerprint
    everybody = take_subjects(toy_images, 17, seed=0)
    assert everybody.fingerprint == toy_images.fingerprint and everybody.notes[-1] == "All 16 people, of 17 asked for."
    with pytest.raises(ValueError, match="n_subjects must be at least 8 .*, got 7"):
        take_subjects(toy_images, 7, seed=0)
    with pytest.raises(ValueError, match="seed must be a non-negative integer.* got -1"):
        take_subjects(toy_images, 8, seed=-1)


def test_phantoms_by_name(monkeypatch, toy_images):
    asked = {}
    monkeypatch.setattr(loading, "load_phantoms", lambda **options: asked.update(options) or toy_images)
    assert load_images("phantom", n_subjects=12, seed=3) is toy_images and asked == {"n_subjects": 12, "seed": 3}
    with pytest.raises(ValueError, match="phantoms have classes and people of their own"):
        load_images("phantom", class_names="CN,AD")
    with pytest.raises(ValueError, match="phantoms have classes and people of their own"):
        load_images("phantom", ordered=False)


def test_the_thesis_dataset(thesis_images):
    images = thesis_images
    assert list(images[~images.published_test].class_counts().values()) == [2566, 1781, 724, 49]
    people, sizes = images.subjects.unique(return_counts=True)
    assert len(people) == 200 and (sizes == 32).all() and images.notes == ()
