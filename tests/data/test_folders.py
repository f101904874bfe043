"""Every file below a folder is read, or counted by reason; classes and people come from where users write them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mri_aug.data import loading
from mri_aug.data.loading import load_images
from mri_aug.data.sources import Report, find_files, folder_items
from mri_aug.provenance import project
from tests.data.made import FOUR, Header, picture, tree

AD = ("CN", "MCI", "AD")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "set"


def note(images, start: str) -> str:
    """Return the only note that begins so, "" where there is none."""
    found = [text for text in images.notes if text.startswith(start)]
    assert len(found) <= 1
    return "".join(found)


@pytest.mark.parametrize(
    ("folders", "class_names"),
    [
        (("0_Non-Demented", "1_Very-Mild", "2_Mild", "3_Moderate"), None),
        (("No Impairment", "Very Mild Impairment", "Mild Impairment", "Moderate Impairment"), None),
        (("non demented", "Very mild Dementia", "Mild Dementia", "MODERATE"), None),
        (AD, "CN,MCI,AD"),
        (("cn", "Mci", "1. AD"), ["CN", "MCI", "AD"]),
        (("no", "yes"), "no, yes"),
        (("NonDemented", "Demented"), ("Non demented", "Demented")),
        (("0", "0.5", "1.0", "2"), "0,0.5,1,2"),
        (("正常", "軽度", "重度"), "正常,軽度,重度"),
        (tuple(f"stage {i}" for i in range(12)), [f"Stage {i}" for i in range(12)]),
    ],
)
def test_classes_of_any_number_and_spelling(folder, folders, class_names):
    images = load_images(tree(folder, "{c}/{p}_{k}.png", folders), class_names=class_names)
    assert list(images.class_counts().values()) == [4] * len(folders)
    first = load_images(
        tree(folder.with_name("one"), "{c}/x.png", folders, people=1, slices=1), class_names=class_names
    )
    by_class = {int(label): image for label, image in zip(first.labels, first.images[:, 0].numpy(), strict=True)}
    assert all(np.array_equal(by_class[i], np.asarray(picture(i))) for i in range(len(folders)))


def test_the_readme_loads_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "ADNI", "{c}/{p}_{k}.png", AD)
    tree(tmp_path / "tumours", "{c}/{p}_{k}.png", ("none", "glioma", "meningioma"))
    tree(tmp_path / "scans", "{c}/pat{p}_{k}.png")
    text = (project() / "README.md").read_text(encoding="utf-8")
    calls = re.findall(r"^load_images\((?!\"owner)[^#\n]*", text, re.M)
    assert [len(eval(call, {"load_images": load_images})) for call in calls] == [12, 12, 16]


def test_classes_without_an_order_load_and_say_so(folder):
    images = load_images(tree(folder, "{c}/{p}_{k}.png", ("none", "glioma")), class_names="none,glioma", ordered=False)
    assert not images.ordered and note(images, "The classes have no order")
    assert load_images(folder, class_names="none|glioma").fingerprint == images.fingerprint
    ordered = load_images(folder, class_names="none,glioma")
    assert ordered.ordered and not note(ordered, "The classes have no order")


@pytest.mark.parametrize("wrong", ["CN", "CN,CN", "CN,,AD", ()])
def test_class_names_that_are_none_are_refused(folder, wrong):
    with pytest.raises(ValueError, match="two or more different names, such as 'CN,MCI,AD'"):
        load_images(tree(folder, "{c}/{p}.png"), class_names=wrong)


@pytest.mark.parametrize(
    ("template", "origin"),
    [
        ("{c}/OAS1_{p:04d}_MR1_mpr-{k}_100.png", "the ids in names"),
        ("{c}/{p:03d}_S_{p:04d}/slice_{k}.png", "the ids in names"),
        ("{c}/sub-{p:02d}_{k}.png", "the ids in names"),
        ("{c}/axial_patient {p}_{k}.png", "the ids in names"),
        ("{c}/P{p:03d}_{k}.png", "the ids in names"),
        ("images/{c}/jpg/A{p}B/scan{k}/one.png", "a folder or volume per person"),
        ("{c}/{q}/{k}.png", "a folder or volume per person"),  # numbers that begin again in each class
        ("raw/A{p}/{c}/{k}.png", "a folder or volume per person"),
        ("train/{c}/A{p}/{k}.png", "a folder or volume per person"),
    ],
)
def test_people_are_known_from_names_and_folders(folder, template, origin):
    images = load_images(tree(folder, template))
    assert images.subjects.unique(return_counts=True)[1].tolist() == [2] * 8
    assert note(images, "People") == f"People: 8, from {origin}."
    assert note(images, "The pixels alone show no people")


def test_a_volume_is_a_person_where_nothing_else_is_known(folder):
    import nibabel

    for i, name in enumerate(FOUR):
        values = np.zeros((40, 40, 100), dtype=np.float32)
        values[5:35, 5:35] = np.random.default_rng(i).normal(100, 20, (30, 30, 100))
        (folder / name).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name / f"{i}.nii.gz")
    images = load_images(folder)
    assert images.subjects.unique(return_counts=True)[1].tolist() == [32] * 4
    assert "a volume of (40, 40, 100) voxels (axial slices 53 to 84 mm" in note(images, "Images brought to grey")


@pytest.mark.parametrize("template", ["{c}/{p}_{k}.png", "{c}/slice{k}_x{p}.png", "impaired/{c}/{p}_{k}.png"])
def test_people_that_nothing_names_stay_unknown(folder, template):
    images = load_images(tree(folder, template))
    assert (images.subjects == -1).all() and "its scores then say nothing about new people" in note(images, "People")


def test_people_by_a_given_pattern_column_or_table(folder, tmp_path):
    tree(folder, "{c}/x{p}y{k}.png")
    assert load_images(folder, subjects=r"x(\d+)y").subjects.unique().numel() == 8
    with pytest.raises(ValueError, match=r"subjects: the pattern 'x\(1\)y' names 1 people in 2 of 16 images, not in M"):
        load_images(folder, subjects="x(1)y")
    for wrong, message in (("(", "no regular expression"), ("(x)(y)", "may have one group")):
        with pytest.raises(ValueError, match=message):
            load_images(folder, subjects=wrong)
    rows = [f"{file.name};{file.name[:2]}" for file in folder.rglob("*.png")]
    table = tmp_path / "who.csv"
    table.write_text("\n".join(["image;who", *rows]))
    images = load_images(folder, subjects=table, columns={"subject": "who"})
    assert images.subjects.unique().numel() == 8 and "from the table who.csv" in note(images, "People")
    shutil.copy(table, folder)
    assert load_images(folder, subjects="who").subjects.unique().numel() == 8
    assert "1 .csv file (names neither classes nor people of the images)" in note(load_images(folder), "Not read")
    with pytest.raises(ValueError, match="subjects: nothing names 0 people"):
        load_images(folder, subjects="whom")
    with pytest.raises(FileNotFoundError, match="no table 'nowhere.csv' of people"):
        load_images(folder, subjects="nowhere.csv")


def test_ids_in_some_names_only_are_not_used(folder):
    tree(folder, "{c}/P{p}_{k}.png")
    tree(folder, "{c}/{p}_{k}.png", seed=100)
    images = load_images(folder)
    assert (images.subjects == -1).all() and "only 16 of 32 images" in note(images, "Not used to tell people apart")


def test_a_person_of_two_classes_is_named(folder):
    tree(folder, "{c}/P{p}_{k}.png")
    (folder / FOUR[0] / "P1_0.png").rename(folder / FOUR[1] / "P1_0.png")
    images = load_images(folder)
    assert (images.subjects == -1).all()
    assert any("1 of the 8 people from the ids in names carry more than one label (P1)" in n for n in images.notes)
    with pytest.raises(ValueError, match=r"1 of the 8 people from the pattern .* more than one label \(P1\)"):
        load_images(folder, subjects=r"(P\d+)")


def test_names_and_pixels_that_disagree_are_named(folder, toy_images, monkeypatch):
    for i, (label, who) in enumerate(zip(toy_images.labels.tolist(), toy_images.subjects.tolist(), strict=True)):
        file = (
            folder / FOUR[label] / f"P{who // 8}{label}_{i}.png"
        )  # two people under one name, which pixels cannot contradict
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toy_images.images[i, 0].numpy()).save(file)
    monkeypatch.setattr(loading, "recover_subjects", partial(loading.recover_subjects, threshold=0.975))
    assert [n for n in load_images(folder).notes if "disagree" in n] == []
    first = sorted((folder / FOUR[0]).glob("P00_*.png"))[0]
    first.rename(first.with_name("P99_0.png"))
    assert "1 of 16 groups of similar images hold several people (P00 and P99)" in note(load_images(folder), "Pixels")


def test_a_table_beside_gives_classes_and_people(folder):
    tree(folder, "images/{p}_{k}.png", ["?"], people=8)
    rows = [f"images/{p}_{k}.png,{FOUR[p % 4]},{p}" for p in range(1, 9) for k in range(2)]
    (folder / "labels.csv").write_text("\n".join(["file,Diagnosis,Patient ID", *rows, "gone.png,Mild,9"]))
    images = load_images(folder)
    assert list(images.class_counts().values()) == [4] * 4 and images.subjects.unique().numel() == 8
    assert (
        images.notes[0] == "The classes and people of 16 images are from labels.csv (1 of its rows name no image here)."
    )
    (folder / "labels.csv").write_text("\n".join(["file,Diagnosis,Patient ID", *rows[:-1], f"1_0.png,{FOUR[0]},1"]))
    with pytest.raises(ValueError, match="2 faults") as failed:
        load_images(folder)
    assert "8_1.png is in no class folder" in str(failed.value)
    assert f"1_0.png two classes, {FOUR[1]} and {FOUR[0]}" in str(failed.value)


def test_one_table_may_hold_the_classes_and_another_the_people(folder, tmp_path):
    tree(folder, "{p}_{k}.png", ["?"], people=8)
    rows = [(f"{p}_{k}.png", FOUR[p % 4], f"who{p}") for p in range(1, 9) for k in range(2)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *(f"{file},{label}" for file, label, _ in rows)]))
    table = tmp_path / "people.csv"
    table.write_text("\n".join(["file,subject", *(f"{file},{who}" for file, _, who in rows)]))
    images = load_images(folder, subjects=table)
    assert list(images.class_counts().values()) == [4] * 4 and images.subjects.unique().numel() == 8


def test_a_table_names_images_by_the_column_that_tells_them_apart(folder):
    tree(folder, "train/{c}/{p}_{k}.png", people=2)
    files = sorted(folder.rglob("*.png"))
    rows = [f"train,{file.parent.name},{file.name},who{file.name.split('_')[0]}" for file in files]
    (folder / "who.csv").write_text("\n".join(["split,folder,file_name,patient_id", *rows]))
    images = load_images(folder)
    assert images.subjects.unique().numel() == 8
    assert f"The people of {len(files)} images are from who.csv." in images.notes


@pytest.mark.parametrize("name", ["who.jsonl", "who.csv"])
def test_people_that_a_table_leaves_out_have_no_name(folder, name):
    tree(folder, "{c}/{p}_{k}.png")
    whose = {file.name: file.name[0] if i else None for i, file in enumerate(sorted(folder.rglob("*.png")))}
    lines = [json.dumps({"file_name": file, "patient_id": who}) for file, who in whose.items()]
    if name.endswith("csv"):
        lines = ["file_name,patient_id", *(f"{file},{who or ''}" for file, who in whose.items())]
    (folder / name).write_text("\n".join(lines))
    report = Report(str(folder))
    items = folder_items(folder, *find_files(folder, report), FOUR, report, columns={})
    assert {Path(item.name).name: item.subject or None for item in items} == whose


def test_a_table_of_people_gives_classes_to_all_their_slices(folder):
    tree(folder, "ADNI/{p:03d}_S_{p:04d}/MPRAGE/I{p}{k}/a.png", ["?"], people=6)
    rows = [f"{p:03d}_S_{p:04d},{AD[p % 3]}" for p in range(1, 7)]
    (folder / "ADNI.csv").write_text("\n".join(["Subject,Group", *rows]))
    images = load_images(folder, class_names=AD)
    assert images.subjects.unique(return_counts=True)[1].tolist() == [2] * 6
    assert list(images.class_counts().values()) == [4] * 3


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "Testing"), ("train", "val"), ("TRAIN_SET", "valid")]
)
def test_parts_by_their_names(folder, train, test):
    tree(folder, train + "/{c}/{p}_{k}.png")
    tree(folder, test + "/{c}/{p}_{k}.png", people=1, seed=50)
    images = load_images(folder)
    assert images.published_test.sum() == 8
    assert bool(note(images, "The source's validation part counts as its test part")) == (test[0] == "v")


def test_three_parts_and_an_empty_one(folder):
    for seed, part in enumerate(("train", "val", "test")):
        tree(folder, part + "/{c}/{p}_{k}.png", people=1, seed=100 * seed)
    images = load_images(folder)
    assert images.published_test.sum() == 8 and note(images, "The source's validation part counts as training images.")
    shutil.rmtree(folder / "test")
    (folder / "test" / FOUR[0]).mkdir(parents=True)
    with pytest.raises(ValueError, match="test holds no image"):
        load_images(folder)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("OriginalDataset/{c}/{p}_{k}.png", "AugmentedDataset/{c}/{p}_{k}.png", "AugmentedDataset, .*OriginalDataset"),
        ("images/{c}/{p}_{k}.png", "masks/{c}/{p}_{k}.png", "images, .*masks"),
        ("{c}/images/{p}_{k}.png", "{c}/masks/{p}_{k}.png", "images, masks"),
        ("{c}/{p}_{k}.png", "{c}/augmented/{p}_{k}.png", "., augmented"),
        ("{c}/{p}_{k}.png", "more/{c}/{p}_{k}.png", "set, .*more"),
        ("{c}/T1/{p}_{k}.png", "{c}/T2/{p}_{k}.png", "T1, T2"),
    ],
)
def test_trees_of_the_same_classes_are_refused_with_both_named(folder, first, second, named):
    tree(folder, first)
    tree(folder, second, seed=100)
    with pytest.raises(ValueError, match=f"{named}; they may hold copies or masks"):
        load_images(folder)


def test_what_is_not_read_is_counted_by_reason(folder):
    tree(folder, "{c}/{p}_{k}.png")
    for litter in (
        ".DS_Store",
        f"{FOUR[0]}/Thumbs.db",
        f"__MACOSX/{FOUR[0]}/._1_0.png",
        f"{FOUR[1]}/.ipynb_checkpoints/a.png",
    ):
        (folder / litter).parent.mkdir(parents=True, exist_ok=True)
        (folder / litter).write_bytes(b"litter")
    (folder / "readme.txt").write_text("hello")
    (folder / FOUR[2] / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / FOUR[2] / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    images = load_images(folder)
    assert len(images) == 16
    assert note(images, "Not read") == (
        "Not read: 1 .txt file; 1 broken link; 1 folder that a link shows again; 4 hidden or system files; "
        "1 special file."
    )


def test_links_are_followed(folder, tmp_path):
    tree(tmp_path / "store", "{c}/{p}_{k}.png")
    folder.mkdir()
    for name in FOUR:
        (folder / name).symlink_to(tmp_path / "store" / name, target_is_directory=True)
    assert len(load_images(folder)) == 16


def test_copies_are_left_out_once_and_contradictions_kept(folder):
    tree(folder, "{c}/{p}_{k}.png")
    file = folder / FOUR[3] / "7_0.png"
    for i in range(3):
        shutil.copy(file, file.with_name(f"7_0 - Copy ({i}).png"))
    shutil.copy(folder / FOUR[0] / "1_0.png", folder / FOUR[1])
    images = load_images(folder)
    assert len(images) == 17
    assert note(images, "Copies of files of the same class, left out: 3 (")
    assert note(images, "Images in two classes, kept in both: 1 (")


def test_all_faults_are_in_one_report(folder):
    tree(folder, "{c}/{p}_{k}.png", FOUR[:3])
    (folder / FOUR[0] / "1_0.png").write_bytes(b"\x89PNG broken")
    (folder / FOUR[0] / "1_1.png").write_bytes(b"")
    (folder / FOUR[1] / "lfs.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    picture().point(lambda _: 9).save(folder / FOUR[2] / "blank.png")
    picture().save(folder / "stray.png")
    tree(folder, "{c}/{p}_{k}.png", ["Benign"], seed=50)
    (folder / "test").mkdir()
    with pytest.raises(ValueError, match="has 7 faults") as failed:
        load_images(folder)
    for expected in (
        "unknown class 'Benign' (4 images)", "stray.png is in no class folder", "test holds no image", "lfs pull",
        "1_0.png: it is in no format", "1_1.png: it is empty", "blank.png: it is blank (all pixels equal)",
    ):  # fmt: skip
        assert expected in str(failed.value)


def test_many_faults_are_counted(folder):
    for i, file in enumerate(sorted(tree(folder, "{c}/{p}_{k}.png").rglob("*.png"))):
        file.write_bytes(bytes([i]))
    with pytest.raises(ValueError, match=r"has 17 faults:(.|\n)*and 7 more"):
        load_images(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [([], "but nothing"), (["a.zip"], "1 .zip file.*unpack"), ([".hidden/x.png"], "1 hidden or system file")],
)
def test_a_folder_without_images_says_what_it_holds(folder, files, message):
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=f"holds neither parquet files nor images .*{message}"):
        load_images(folder)


def test_dicom_without_its_reader_is_one_sentence(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    tree(folder, "{c}/{p}_{k}.png")
    (folder / FOUR[0] / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ValueError, match=r"1 DICOM files .*IM0001.* pip install 'mri-aug\[medical\]'"):
        load_images(folder)


def test_dicom_series_are_read_by_series_and_person(folder, monkeypatch):
    """Against a stand-in for pydicom's reader: 100 sagittal slices of a head 100 mm high, one series each class."""
    z, y = np.mgrid[0:100, 0:60]
    pixels = ((100 + z + 60 * (y < 30)) * (y < 50)).astype(np.uint16)  # deeper is brighter, the front brighter still
    for c in FOUR:
        for i in range(40):
            (folder / c).mkdir(parents=True, exist_ok=True)
            (folder / c / f"{i}.dcm").write_bytes(f"{c} {i}".encode())

    def dcmread(file, stop_before_pixels=False):
        c, i = file.read_text().split()
        # sagittal: columns run to the back, rows downwards; the position is in DICOM's left, back, up
        return Header(
            SeriesInstanceUID=c, PatientID=f"person {c}", ImagePositionPatient=[float(i), 0.0, 99.0],
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1], PixelSpacing=[1.0, 1.0], pixel_array=pixels,
        )  # fmt: skip

    monkeypatch.setitem(sys.modules, "pydicom", SimpleNamespace(dcmread=dcmread))
    images = load_images(folder)
    assert images.subjects.unique().numel() == 4 and "from the headers of DICOM files" in note(images, "People")
    assert list(images.class_counts().values()) == [32] * 4
    assert "a DICOM series" in note(images, "Images brought")
    first, last = (images.images[i, 0].float().numpy() for i in (0, 31))
    assert first.max() > last.max() > 150, "from the lowest up"
    assert first[90:120].max() > first[40:60].max() + 40 and first[:15].max() < 20, "the forehead is below"
