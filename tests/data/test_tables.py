"""Tables of a hub, of parquet files and of ``save_to_disk``; what the library says is passed on in one sentence."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from datasets.exceptions import DatasetNotFoundError

from mri_aug.data import loading
from mri_aug.data.imageset import CLASS_NAMES
from mri_aug.data.loading import load_images
from tests.data.made import ALPHABETICAL, FOUR, encoded, hub_folder, parquet, picture, tree

IMAGES = [encoded(picture(i)) for i in range(8)]


pytestmark = pytest.mark.usefixtures("own_cache")


def test_labels_come_out_ordinal_whatever_their_order(tmp_path):
    images = load_images(hub_folder(tmp_path / "hub", {"train": [0, 1, 2, 3, 2], "test": [3, 0]}))
    assert images.labels.tolist() == [2, 3, 0, 1, 0, 1, 2]
    assert images.published_test.tolist() == [False] * 5 + [True] * 2
    assert images.class_names == CLASS_NAMES and images.source_ids.tolist() == list(range(7))
    assert np.array_equal(images.images[2, 0].numpy(), np.asarray(picture(2)))


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ({"image": IMAGES, "label": FOUR * 2}, {}),
        ({"Scan": IMAGES, "Diagnosis": FOUR * 2}, {}),
        ({"img": [image["bytes"] for image in IMAGES], "dx": FOUR * 2}, {}),
        ({"image": [{"bytes": image["bytes"]} for image in IMAGES], "label": FOUR * 2}, {}),
        ({"path": list("abcdefgh"), "x": IMAGES, "label": FOUR * 2, "sex": list("MF") * 4}, {}),
        ({"a": IMAGES, "b": FOUR * 2, "label": [0] * 8}, {"columns": {"image": "a", "label": "b"}}),
        ({"image": IMAGES, "label": [0, 1, 2, 3] * 2}, {"class_names": "0,1,2,3"}),
        ({"image": IMAGES, "CDR": [0.0, 0.5, 1.0, 2.0] * 2}, {"class_names": "0,0.5,1,2"}),
        ({"image": IMAGES, "label": [False, True] * 4}, {"class_names": "false,true"}),
    ],
)
def test_columns_of_many_names_and_types(tmp_path, rows, options):
    features = datasets.Features.from_arrow_schema(datasets.Dataset.from_dict(rows).data.schema)
    features.update({"x": datasets.Image()} if "x" in rows else {})
    images = load_images(parquet(tmp_path / "set", rows, features=features), **options)
    assert images.labels.tolist() == list(range(images.n_classes)) * (8 // images.n_classes)
    assert np.array_equal(images.images[3, 0].numpy(), np.asarray(picture(3)))


@pytest.mark.parametrize(
    ("people", "options", "origin"),
    [
        ({"patient_id": list("AABBCCDD")}, {}, "the column 'patient_id'"),
        ({"Subject ID": [1, 1, 2, 2, 3, 3, 4, 4]}, {}, "the column 'Subject ID'"),
        ({"who": list("AABBCCDD")}, {"subjects": "who"}, "the column 'who'"),
        ({}, {}, "the ids in names"),
        ({}, {"subjects": r"_(\d{4})_"}, r"the pattern '_(\\d{4})_'"),
    ],
)
def test_people_of_columns_and_file_names(tmp_path, people, options, origin):
    images = [{**image, "path": f"OAS1_{i // 2:04d}_{i}.png"} for i, image in enumerate(IMAGES)]
    labels = [name for name in FOUR for _ in range(2)]
    images = load_images(parquet(tmp_path / "set", {"image": images, "label": labels, **people}), **options)
    assert images.subjects.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert f"People: 4, from {origin}." in images.notes


def test_hidden_labels_are_left_out_and_empty_cells_named(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=ALPHABETICAL)})
    folder = parquet(tmp_path / "set", {"image": IMAGES, "label": [0, 1, 2, 3] * 2}, features=features)
    parquet(folder, {"image": IMAGES[:3], "label": [-1] * 3}, features=features, split="test")
    images = load_images(folder)
    assert len(images) == 8 and "3 rows of split 'test' hide their label (-1) and were left out." in images.notes
    with pytest.raises(ValueError, match="2 faults:(.|\n)*image 2 of split 'train' .* has no image; remove the row"):
        load_images(hub_folder(tmp_path / "null", {"train": [0, 1, None, 2, None, 3]}))


def test_the_same_after_save_to_disk(tmp_path):
    rows = datasets.Dataset.from_dict({"image": IMAGES, "label": FOUR * 2})
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=rows, test=rows.select(range(4))).save_to_disk(str(tmp_path / "two"))
    one, two = load_images(tmp_path / "one"), load_images(tmp_path / "two")
    assert len(one) == 8 and one.published_test is None
    assert len(two) == 8 and "left out: 4" in str(two.notes), "test rows that also train are copies"


def card(text: str) -> str:
    return f"---\n{text}\n---\n"


CONFIGS = """configs:
- config_name: original
  data_files: original/*.parquet{}
- config_name: augmented
  data_files: augmented/*.parquet"""


def test_images_beside_a_table_are_counted(tmp_path):
    folder = parquet(tmp_path / "set", {"image": [f"img/{i}.png" for i in range(1, 9)], "label": FOUR * 2})
    assert len(load_images(tree(folder, "img/{p}.png", ["?"], people=8, slices=1))) == 8
    assert "read only if a row names them: 8 (1.png, ...)" in str(load_images(folder).notes)


def test_several_configurations(tmp_path):
    folder = tmp_path / "set"
    for config, n in (("original", 8), ("augmented", 4)):
        parquet(folder, {"image": IMAGES[:n], "label": (FOUR * 2)[:n]}, under=config)
    (folder / "README.md").write_text(card(CONFIGS.format("")))
    assert len(load_images(f"{folder}:original")) == 8 and len(load_images(f"{folder}:augmented")) == 4
    for name, wanted in (("", "Config name is missing"), (":other", "'other' not found")):
        with pytest.raises(
            ValueError, match=f"{wanted}.*'original', 'augmented'.*give one of them as '.*set(:other)?:NAME'"
        ):
            load_images(f"{folder}{name}")
    (folder / "README.md").write_text(card(CONFIGS.format("\n  default: true")))
    images = load_images(folder)
    assert len(images) == 8 and "Of the configurations original, augmented, original was read." in images.notes


def test_a_card_that_announces_other_numbers(tmp_path):
    folder = parquet(tmp_path / "set", {"image": IMAGES, "label": FOUR * 2})
    (folder / "README.md").write_text(card(
        "dataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype: string\n"
        "  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: 5120\n  download_size: 1\n  dataset_size: 1"
    ))  # fmt: skip
    for artifacts in ("first", "second"):  # also where the library has it prepared already
        loading.provenance.artifacts = lambda *parts, to=artifacts: tmp_path.joinpath(to, *parts)
        assert any(
            n.startswith("The card announces 5120 rows of split 'train', and there are 8")
            for n in load_images(folder).notes
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"label": FOUR}, "lacks the column 'image'; it has label: give columns="),
        ({"image": IMAGES, "age": [1] * 8}, "lacks the column 'label'; it has image, age"),
        ({"image": [1, 2], "label": FOUR[:2]}, "the column 'image' of .* holds no encoded images"),
        ({"image": IMAGES, "label": ["a"] * 8}, r"unknown class 'a' \(8 images\).*name them .*, class_names="),
        ({"image": IMAGES, "label": FOUR[:2] * 4}, "no image of the classes 'Mildly demented', 'Moderately demented'"),
    ],
)
def test_tables_that_cannot_serve(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        load_images(parquet(tmp_path / "set", rows))


def test_columns_that_are_not_there(tmp_path):
    folder = parquet(tmp_path / "set", {"image": IMAGES, "label": FOUR * 2})
    for options in ({"columns": {"image": "scan"}}, {"subjects": "scan"}):
        with pytest.raises(ValueError, match="no column 'scan' for the .*; there are image, label"):
            load_images(folder, **options)
    with pytest.raises(ValueError, match=r"columns are given for 'image', 'label' and 'subject', not for \['person'\]"):
        load_images(folder, columns={"person": "label"})
    with pytest.raises(ValueError, match="a table of people goes with a folder of images"):
        load_images(folder, subjects=next(folder.rglob("*.parquet")))


def test_damaged_tables_and_paths_that_read_as_patterns(tmp_path):
    folder = hub_folder(tmp_path / "set", {"train": [0, 1, 2, 3]})
    next(folder.rglob("*.parquet")).write_bytes(b"PAR1" + bytes(200))
    with pytest.raises(ValueError, match="cannot read .*; a file may be damaged, a split empty"):
        load_images(folder)
    with pytest.raises(ValueError, match='cannot read .*"test".*a split empty'):
        load_images(hub_folder(tmp_path / "split", {"train": [0, 1, 2, 3], "test": []}))
    with pytest.raises(ValueError, match=r"takes \[ \] \* \? in its path for a pattern; rename the folder"):
        load_images(hub_folder(tmp_path / "a[b]", {"train": [0, 1, 2, 3]}))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. Log in."),
            ConnectionError,
            "gated .*hf auth login",
        ),
        (ConnectionError("Couldn't reach 'a/b'"), ConnectionError, "neither in the local cache.*use 'phantom'"),
        (
            RuntimeError("Dataset scripts are no longer supported, but found b.py"),
            ValueError,
            "b.py; download its images",
        ),
        (KeyError("feature"), ValueError, "cannot read a/b: KeyError: 'feature'; a file may be damaged"),
        (TypeError(), ValueError, "cannot read a/b: TypeError; "),
    ],
)
def test_what_the_library_says_is_kept_in_one_sentence(monkeypatch, error, kind, message):
    def load_dataset_builder(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    with pytest.raises(kind, match=message) as failed:
        load_images("a/b")
    assert "\n" not in str(failed.value) and failed.value.__cause__ is None
