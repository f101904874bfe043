"""Any source comes out as one form, and what is wrong with a source is said in one sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from mri_aug.data import loading as dataset
from mri_aug.data.imageset import CLASS_NAMES
from mri_aug.data.loading import load_images, ordinal_label, take_subjects
from mri_aug.results.metrics import evaluate

ALPHABETICAL = ["Mild_Demented", "Moderate_Demented", "Non_Demented", "Very_Mild_Demented"]
KAGGLE = ["Non_Demented", "Very_Mild_Demented", "Mild_Demented", "Moderate_Demented"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset.provenance, "artifacts", lambda *parts: tmp_path.joinpath("artifacts", *parts))


def picture(value: int, *, size=(128, 128), mode="L") -> Image.Image:
    pixels = np.random.default_rng(value).integers(0, 256, size=size[::-1], dtype=np.uint8)
    pixels[:9, :9] = value
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def hub_folder(folder: Path, splits: dict[str, list[int | None]], names=ALPHABETICAL, column="image") -> Path:
    """Write a dataset in the hub's layout, the images of each split given by their labels; None is an empty row."""
    features = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(names=names)})
    (folder / "data").mkdir(parents=True)
    for split, labels in splits.items():
        images = [None if label is None else encoded(picture(10 * label + i)) for i, label in enumerate(labels)]
        rows = {column: images, "label": labels}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def class_folder(folder: Path, names=KAGGLE, *, n=3, **options) -> Path:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            picture(10 * label + i, **options).save(folder / name / f"{name}_{i}.png")
    return folder


def test_hub_layout_comes_out_ordinal_whatever_its_order(tmp_path):
    images = load_images(hub_folder(tmp_path / "hub", {"train": [0, 1, 2, 3, 2], "test": [3, 0]}))
    assert images.labels.tolist() == [2, 3, 0, 1, 0, 1, 2]
    assert images.published_test.tolist() == [False] * 5 + [True] * 2
    assert images.class_names == CLASS_NAMES and images.source_ids.tolist() == list(range(7))
    assert np.array_equal(images.images[2, 0].numpy(), np.asarray(picture(22)))


def test_class_folders_are_read_and_splits_kept(tmp_path):
    flat = load_images(class_folder(tmp_path / "flat"))
    assert flat.labels.tolist() == [2] * 3 + [3] * 3 + [0] * 3 + [1] * 3 and flat.published_test is None
    for split in ("train", "test"):
        class_folder(tmp_path / "split" / split, ["Non", "VeryMild", "Mild", "Moderate"], n=2)
    assert load_images(tmp_path / "split").published_test.sum() == 8


def test_any_size_and_mode_is_brought_to_form_and_said(tmp_path):
    images = load_images(class_folder(tmp_path / "large", size=(200, 180), mode="RGB"))
    assert images.images.shape == (12, 1, 128, 128) and images.images.dtype == torch.uint8
    assert images.notes[0] == "12 images came as RGB 200 x 180 and were brought to grey 128 x 128."
    assert "RGB 200 x 180" in repr(images)


def test_deep_images_keep_their_contrast_and_proportions(tmp_path):
    deep = np.linspace(0, 4000, 64 * 128).reshape(128, 64).astype(np.uint16)
    for name in KAGGLE:
        (tmp_path / "deep" / name).mkdir(parents=True)
        Image.fromarray(deep).save(tmp_path / "deep" / name / "one.png")
    pixels = load_images(tmp_path / "deep").images[0, 0].numpy()
    assert (pixels == 255).mean() < 0.02 and pixels[:, 40:90].mean() == pytest.approx(127, abs=8)
    assert not pixels[:, :30].any() and not pixels[:, 98:].any(), "padded with black, not stretched"


def test_own_classes_may_be_named(tmp_path):
    folder = class_folder(tmp_path / "own", ["benign", "malignant"])
    assert load_images(folder, class_names=("benign", "malignant")).labels.tolist() == [0] * 3 + [1] * 3
    with pytest.raises(ValueError, match="unknown class 'benign'.*give class_names="):
        load_images(folder)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (ALPHABETICAL, [2, 3, 0, 1]),
        (["NonDemented", "Very Mild Demented", "mildly demented", "MODERATE"], [0, 1, 2, 3]),
        (["No dementia", "very_mild_dementia", "Mild dementia", "Moderately demented"], [0, 1, 2, 3]),
    ],
)
def test_spellings(names, expected):
    assert [ordinal_label(name) for name in names] == expected


def test_the_hub_dataset_is_pinned_and_others_are_not(monkeypatch):
    asked = []

    def load_dataset(source, revision=None):
        asked.append((source, revision))
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for source, revision in (("Falah/Alzheimer_MRI", None), ("some/other", None), ("Falah/Alzheimer_MRI", "main")):
        with pytest.raises(ConnectionError, match="neither in the local cache nor could it be fetched"):
            load_images(source, revision=revision)
    thesis = "Falah/Alzheimer_MRI"
    assert asked == [(thesis, dataset.HUB_REVISION), ("some/other", None), (thesis, "main")]
    assert len(dataset.HUB_REVISION) == 40, "the hub takes full commit hashes only"


def test_without_network_one_sentence_tells_the_way_on(tmp_path):
    code = "from mri_aug.data.loading import load_images; load_images('Falah/Alzheimer_MRI')"
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: the dataset 'Falah/Alzheimer_MRI' is neither")
    assert "use 'phantom'" in done.stderr and "During handling" not in done.stderr


def test_faults_of_a_source_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder 'nowhere'"):
        load_images("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither parquet files nor images"):
        load_images(tmp_path / "empty")
    with pytest.raises(ValueError, match="lacks the column 'image'; it has picture, label"):
        load_images(hub_folder(tmp_path / "column", {"train": [0, 1, 2, 3]}, column="picture"))
    with pytest.raises(ValueError, match="no image of the class 'Moderately demented'"):
        load_images(hub_folder(tmp_path / "three", {"train": [0, 2, 3]}))
    with pytest.raises(ValueError, match='cannot read .*"test".*or a split empty'):
        load_images(hub_folder(tmp_path / "split", {"train": [0, 1, 2, 3], "test": []}))
    broken = class_folder(tmp_path / "broken") / "Mild_Demented" / "Mild_Demented_1.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot read .*Mild_Demented_1.png"):
        load_images(tmp_path / "broken")
    picture(1).save(tmp_path / "broken" / "stray.png")
    broken.unlink()
    with pytest.raises(ValueError, match="stray.png is in no class folder"):
        load_images(tmp_path / "broken")


def test_empty_cells_and_damaged_tables_are_named(tmp_path):
    table = hub_folder(tmp_path / "null", {"train": [0, 1, None, 2, 3]})
    with pytest.raises(ValueError, match="image 2 of split 'train' .* has no image; remove the row"):
        load_images(table)
    next(table.rglob("*.parquet")).write_bytes(b"PAR1" + bytes(200))
    with pytest.raises(ValueError, match="A file may be damaged"):
        load_images(table)


def test_a_path_that_reads_as_a_pattern_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds one of .*rename the folder"):
        load_images(hub_folder(tmp_path / "a[b]", {"train": [0, 1, 2, 3]}))


def test_an_empty_part_of_class_folders_is_named(tmp_path):
    class_folder(tmp_path / "parts" / "train")
    (tmp_path / "parts" / "test" / "Mild_Demented").mkdir(parents=True)
    with pytest.raises(ValueError, match="test holds no image"):
        load_images(tmp_path / "parts")


def test_a_changed_folder_is_read_again(tmp_path):
    folder = class_folder(tmp_path / "flat")
    before = load_images(folder)
    assert load_images(folder).fingerprint == before.fingerprint
    picture(77).save(folder / "Non_Demented" / "another.png")
    assert len(load_images(folder)) == len(before) + 1


def test_people_that_cannot_be_recovered_stay_unknown(tmp_path):
    images = load_images(class_folder(tmp_path / "noise"))
    assert (images.subjects == -1).all() and "People unknown" in images.notes[-1]
    with pytest.raises(ValueError, match="people are not known"):
        load_images(tmp_path / "noise", n_subjects=8)


def test_people_with_two_labels_are_counted_and_left_unknown(tmp_path, toy_images, monkeypatch):
    monkeypatch.setattr(dataset, "recover_subjects", partial(dataset.recover_subjects, threshold=0.975))
    folder = class_folder(tmp_path / "people", n=0)
    for i, label in enumerate(toy_images.labels.tolist()):
        Image.fromarray(toy_images.images[i, 0].numpy()).save(folder / KAGGLE[label] / f"{i}.png")
    images = load_images(folder)
    assert images.subjects.unique().numel() == 16 and images.notes == ()
    for i in (0, 24):  # one image each of two people of the first class
        (folder / KAGGLE[0] / f"{i}.png").rename(folder / KAGGLE[1] / f"{i}.png")
    images = load_images(folder)
    assert (images.subjects == -1).all() and len(images.notes) == 1
    assert images.notes[0].startswith("People unknown: 2 of the 16 found carry more than one label")
    assert "use protocol 'image'" in images.notes[0] and "correct the labels" in images.notes[0]
    evaluate(np.full((96, 4), 0.25), images.labels, images.subjects)  # as every simulation does


@pytest.mark.parametrize("size", [(128, 128), (60, 128)])
@pytest.mark.parametrize(
    ("mode", "value", "message"),
    [("L", 9, "is blank"), ("I;16", 900, "is blank"), ("RGB", (9, 9, 9), "is blank"), ("F", 0.5, "is blank")]
    + [("F", value, "of its .* are no finite numbers") for value in (np.nan, np.inf, -np.inf)],
)
def test_an_image_that_shows_nothing_is_named(tmp_path, size, mode, value, message):
    image = Image.new(mode, size, value)
    if message != "is blank":
        image.putpixel((5, 7), 0.5)
    image.save(class_folder(tmp_path / "folder") / "Mild_Demented" / "scan.tif")
    with pytest.raises(ValueError, match=f"scan.tif.* {message}.*; replace or remove it"):
        load_images(tmp_path / "folder")


def test_an_image_too_large_to_unpack_is_named(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(class_folder(tmp_path / "folder") / "Mild_Demented" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with pytest.raises(ValueError, match="huge.png: .*decompression bomb.*; replace or remove it"):
        load_images(tmp_path / "folder")


def test_an_image_that_shrinks_to_nothing_is_blank_too(tmp_path):
    dot = Image.fromarray(np.pad(np.uint8([[255]]), 2000))
    dot.save(class_folder(tmp_path / "folder") / "Mild_Demented" / "dot.png")
    with pytest.raises(ValueError, match="dot.png is blank"):
        load_images(tmp_path / "folder")


def test_fewer_people_keep_their_classes_and_all_their_slices(toy_images):
    few = take_subjects(toy_images, 8, seed=0)
    assert few.subjects.unique().numel() == 8 and list(few.class_counts().values()) == [12] * 4
    assert few.fingerprint == take_subjects(toy_images, 8, seed=0).fingerprint
    assert few.fingerprint != take_subjects(toy_images, 8, seed=1).fingerprint
    with pytest.raises(ValueError, match="at most 16"):
        take_subjects(toy_images, 17, seed=0)
    with pytest.raises(ValueError, match="seed must be a whole number from 0 on, .* got -1"):
        take_subjects(toy_images, 8, seed=-1)


def test_phantoms_by_name(monkeypatch, toy_images):
    asked = {}
    monkeypatch.setattr(dataset, "load_phantoms", lambda **options: asked.update(options) or toy_images)
    assert load_images("phantom", n_subjects=12, seed=3) is toy_images and asked == {"n_subjects": 12, "seed": 3}


def test_the_thesis_dataset(thesis_images):
    images = thesis_images
    assert list(images[~images.published_test].class_counts().values()) == [2566, 1781, 724, 49]
    people, sizes = images.subjects.unique(return_counts=True)
    assert len(people) == 200 and (sizes == 32).all() and images.notes == ()
