"""Pictures in folders: every file below a folder is found, and gets its class, part and person, or a reason why not.

Classes come from folder names or from a table (csv, tsv, jsonl) beside the pictures. Decodes no picture.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from mri_aug.data.pictures import DICOM_SUFFIXES, VOLUME_SUFFIXES
from mri_aug.data.sources import Item, Report, class_place, find_column, part_of, person_in, unknown_classes

_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}  # and whatever begins with a dot
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_NUMBERED = re.compile(r"(s|p|id|sub|subj|subject|pat|patient|person|participant|case)?[-_ ]?\d+", re.IGNORECASE)
_SNIFFED = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")  # recognised by content under any name
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")
_STUBS = {"HDF5", "GRIB", "BUFR", "WMF", "EPS", "MPEG"}  # Pillow names these and needs other programs to read them


@dataclass(frozen=True)
class _Place:
    """Where a picture lies: its class folder, and the folders above and below that."""

    label: str  # name of the class folder, "" where there is none
    above: tuple[str, ...]
    below: tuple[str, ...]  # all folders where there is no class folder
    part: str


def find_files(folder: Path, report: Report) -> tuple[list[Path], Counter[str]]:
    """Return the files below a folder, sorted, links followed, and how many are passed over, by reason."""
    files, passed, seen = [], Counter(), set()
    walk = os.walk(folder, followlinks=True, onerror=lambda e: report.faults.append(f"cannot open {e.filename}: {e}"))
    for here, folders, names in walk:
        real = os.path.realpath(here)
        if real in seen:  # a link into the same tree, or round in a circle
            passed["folder that a link shows again"] += 1
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in [name for name in folders if _is_hidden(name)]:
            passed["hidden or system file"] += sum(len(inside) for *_, inside in os.walk(os.path.join(here, name)))
            folders.remove(name)
        for name in names:
            file = Path(here, name)
            if _is_hidden(name):
                passed["hidden or system file"] += 1
            elif file.is_file():
                files.append(file)
            else:
                passed["broken link" if file.is_symlink() else "special file"] += 1
    return sorted(files), passed


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HIDDEN


def folder_items(
    folder: Path, files: list[Path], passed: Counter[str], class_names: tuple[str, ...], report: Report,
    *, columns: Mapping[str, str], people_table: Path | None = None,
) -> list[Item]:  # fmt: skip
    """Return every picture below a folder with its class, part and person.

    Takes files as :func:`find_files` returns them, and the columns of tables by ``"image"``, ``"label"`` and
    ``"subject"`` where they have no common name. Reports what was not read and all that is wrong; raises a
    FileNotFoundError if there is no picture at all.
    """
    pictures, dicom, tables = _by_kind(files, passed)
    paths = {file: file.relative_to(folder) for file in sorted([*pictures, *dicom])}
    if not paths:
        held = _listed(passed) or "nothing"
        advice = "unpack the archives" if any(kind in held for kind in _ARCHIVES) else "expected <class>/*.jpg below it"
        raise FileNotFoundError(f"{folder} holds neither parquet files nor images (but {held}); {advice}")
    rows: dict[Path, dict[str, str]] = {}
    for table in [*([people_table] if people_table else []), *(t for t in tables if t != people_table)]:
        found = _read_table(table, paths, columns, passed, report)
        if not found and table == people_table:
            report.faults.append(f"{table} lacks a column of images or of people; give columns={{'subject': NAME}}")
        for file, row in found.items():
            rows[file] = {**row, **rows.get(file, {})}
    if passed:
        report.notes.append(f"Not read: {_listed(passed)}.")
    places = {file: _place(file, path.parts[:-1], class_names, report) for file, path in paths.items()}
    _check_labels(folder, places, rows, class_names, report)
    _check_trees(folder, places.values(), class_names, report)
    labels = {file: place.label or rows.get(file, {}).get("label", "") for file, place in places.items()}
    people = _people_folders(places, labels)
    items, single = [], set(pictures)
    for group, who in sorted([*(((file,), "") for file in pictures), *_series(dicom, report)]):
        file = group[0]
        is_volume = file not in single or file.name.lower().endswith(VOLUME_SUFFIXES)
        items.append(
            Item(
                name=str(file),
                content=file if file in single else group,
                label=labels[file],
                part=places[file].part,
                path=paths[file].as_posix(),
                subject=rows.get(file, {}).get("subject", "") or who,
                folder=people.get(file, str(file) if is_volume else ""),
            )
        )
    return items


def _listed(passed: Counter[str]) -> str:
    plural = {reason: re.sub("(file|folder|link)", r"\1s", reason, count=1) for reason in passed}
    return "; ".join(f"{n} {plural[reason] if n > 1 else reason}" for reason, n in sorted(passed.items()))


def _by_kind(files: list[Path], passed: Counter[str]) -> tuple[list[Path], list[Path], list[Path]]:
    """Return pictures and volumes, DICOM files, and tables."""
    Image.init()
    forms = set(Image.OPEN) - _STUBS
    known = {suffix for suffix, form in Image.registered_extensions().items() if form in forms}
    pictures, dicom, tables = [], [], []
    for file in files:
        suffix, content = file.suffix.lower(), ""
        if suffix in known or file.name.lower().endswith(VOLUME_SUFFIXES):
            pictures.append(file)
        elif suffix in _TABLE_SUFFIXES:
            tables.append(file)
        elif suffix in DICOM_SUFFIXES or (content := _content(file)) == "dicom":
            dicom.append(file)
        elif content == "picture":
            pictures.append(file)
        elif not (suffix == ".img" and file.with_suffix(".hdr").exists()):  # the second half of an Analyze volume
            passed[f"{suffix or 'nameless'} file"] += 1
    return pictures, dicom, tables


def _content(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            if stream.read(132)[128:] == b"DICM":
                return "" if file.name.upper() == "DICOMDIR" else "dicom"
        with Image.open(file, formats=_SNIFFED):
            return "picture"
    except (OSError, SyntaxError, ValueError):
        return ""


def _place(file: Path, parents: tuple[str, ...], class_names: tuple[str, ...], report: Report) -> _Place:
    classes = {i: place for i, name in enumerate(parents) if (place := class_place(name, class_names)) is not None}
    if len(set(classes.values())) > 1:
        report.faults.append(f"{file} lies in folders of two classes; keep one of them")
    last = max(classes, default=-1)
    rest = [(i, name) for i, name in enumerate(parents) if i not in classes and not part_of(name)]
    part = next((part_of(name) for i, name in enumerate(parents) if i not in classes and part_of(name)), "")
    above, below = (tuple(name for i, name in rest if (i < last) == before) for before in (True, False))
    return _Place(parents[last] if classes else "", above, below, part)


def _check_labels(folder, places: dict[Path, _Place], rows, class_names, report: Report) -> None:
    """Report pictures without a class, classes that are not known, and parts without a picture."""
    unknown = [file for file, place in places.items() if not place.label and not rows.get(file, {}).get("label")]
    below = {file: place.below for file, place in places.items() if not place.label}
    if len(below) == len(places):  # a folder around everything names no class
        below = dict(zip(below, _without_common(below.values()), strict=True))
    counts = Counter(below[file][0] for file in unknown if below[file])
    if counts:
        names = [f"{name!r} ({n} images)" for name, n in counts.most_common(8)] + ["..."] * (len(counts) > 8)
        report.faults.append(unknown_classes(names, class_names))
    if strays := [file for file in unknown if not below[file]]:
        others = f" (nor {len(strays) - 1} others)" if len(strays) > 1 else ""
        report.faults.append(
            f"{strays[0]} is in no class folder{others}; expected {folder}/<class>/{strays[0].name}, "
            "or a table with its class beside it"
        )
    differ = [
        file for file, place in places.items() if place.label and (label := rows.get(file, {}).get("label"))
        and class_place(label, class_names) != class_place(place.label, class_names)
    ]  # fmt: skip
    if differ:
        report.notes.append(f"A table gives another class than the folder for {len(differ)} images ({differ[0]}, ...): "
                            "the folder's was taken.")  # fmt: skip
    holds = {parent for file in places for parent in file.parents}
    empty = [path for path in folder.glob("*/") if part_of(path.name) and path not in holds]
    report.faults += [f"{path} holds no image; remove it or fill it" for path in empty]


def _check_trees(folder: Path, places: Iterable[_Place], class_names: tuple[str, ...], report: Report) -> None:
    """Refuse several trees of the same classes: copies, augmentations or masks of the same pictures."""
    above, below = defaultdict(set), defaultdict(set)
    for place in places:
        if place.label:
            label = class_place(place.label, class_names)
            above[str(Path(*place.above))].add(label)
            below[place.below[0] if place.below else "."].add(label)
    n_single = sum(len(classes) == 1 for classes in above.values())  # a folder per person holds one class
    if len(set().union(*above.values())) < sum(map(len, above.values())) and 2 * n_single <= len(above):
        names = ", ".join(str(folder / name) for name in sorted(above)[:5])
        report.faults.append(
            f"there are several trees of the same classes, {names}; they may hold copies or masks of the same images: "
            "give one of them, or move the others out"
        )
    shared = [name for name, classes in below.items() if len(classes) > 1 and not _NUMBERED.fullmatch(name)]
    if len(shared) > max(1, len(below) / 2):
        report.faults.append(
            f"the classes hold the same folders, {', '.join(sorted(shared)[:5])}; they may hold copies or masks of the "
            "same images: keep one in each class and move the others out"
        )


def _people_folders(places: dict[Path, _Place], labels: dict[Path, str]) -> dict[Path, str]:
    """Return the folder that stands for a person, for each picture; empty if the tree shows none."""
    for side in ("below", "above"):
        names = [path[0] if path else "" for path in _without_common([getattr(p, side) for p in places.values()])]
        classes = defaultdict(set)
        for name, label in zip(names, labels.values(), strict=True):
            classes[name].add(label)
        if "" not in classes and (side == "below" or len(classes) > len(set(labels.values()))):
            # numbers that begin again in each class are other people
            again = 2 * sum(len(found) > 1 for found in classes.values()) > len(classes)
            labelled = zip(labels.items(), names, strict=True)
            return {file: f"{label}/{name}" if again else name for (file, label), name in labelled}
    return {}


def _without_common(paths: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return paths without the folders at their beginning that all share."""
    paths, n = list(paths), 0
    while paths and all(len(path) > n for path in paths) and len({path[n] for path in paths}) == 1:
        n += 1
    return [path[n:] for path in paths]


def _series(dicom: list[Path], report: Report) -> list[tuple[tuple[Path, ...], str]]:
    """Return DICOM files by series, with the person whom their header names."""
    if not dicom:
        return []
    try:
        import pydicom  # an extra: only these files need it
    except ImportError:
        report.faults.append(f"{len(dicom)} DICOM files ({dicom[0]}, ...) need pydicom: pip install 'mri-aug[medical]'")
        return []
    series, people = defaultdict(list), {}
    for file in dicom:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:
            report.faults.append(f"cannot read {file}: {error}; replace or remove it")
            continue
        key = (file.parent, str(header.get("SeriesInstanceUID", file)))
        series[key].append(file)
        people[key] = str(header.get("PatientID", ""))
    report.people_from = report.people_from or "the headers of DICOM files"
    return [(tuple(group), people[key]) for key, group in series.items()]


def _read_table(table: Path, paths: dict[Path, Path], columns, passed: Counter[str], report: Report) -> dict:
    """Return label and subject by picture, from a table that names pictures, their folders or their people."""
    import pandas as pd  # imported late: most folders hold no table

    try:
        with open(table, encoding="utf-8-sig", errors="replace") as stream:
            head = stream.readline()
        options = {"dtype": str, "encoding": "utf-8-sig", "encoding_errors": "replace"}
        if table.suffix.lower() == ".jsonl":
            frame = pd.read_json(table, lines=True, **options)
        else:
            frame = pd.read_csv(table, sep=max(",;\t|", key=head.count), keep_default_na=False, **options)
    except Exception as error:  # whatever a parser says of a damaged table
        passed[f"damaged {table.suffix} file ({error})"] += 1
        return {}
    names, given = list(frame.columns), {kind: name for kind, name in columns.items() if name in frame.columns}
    label, subject = (find_column(kind, names, given) for kind in ("label", "subject"))
    keys = _keys(paths)
    by_column = {name: [_find(value, keys) for value in frame[name]] for name in names if name != label}
    column = given.get("image") or max(by_column, key=lambda n: len(set().union(*by_column[n])), default=None)
    matched = by_column.get(column, [])
    if 2 * len(set().union(*matched)) < len(paths) or not (label or subject):
        passed[f"{table.suffix} file (names neither classes nor people of the images)"] += 1
        return {}
    is_person = subject is None and any(len(files) > 1 for files in matched)  # a row for several pictures is a person
    found: dict[Path, dict[str, str]] = {}
    for files, (_, row) in zip(matched, frame.iterrows(), strict=True):
        who = row[column] if is_person else row[subject] if subject else ""
        values = {"label": str(row[label]) if label else "", "subject": str(who)}
        for file in files:
            if found.setdefault(file, values)["label"] != values["label"]:
                report.faults.append(f"{table} gives {file} two classes, {found[file]['label']} and {values['label']}")
    report.people_from = f"the table {table.name}" if subject or is_person else report.people_from
    said = " and ".join(["classes"] * bool(label) + ["people"] * bool(subject or is_person))
    unused = sum(not files for files in matched)
    report.notes.append(f"The {said} of {len(found)} images are from {table.name}"
                        + f" ({unused} of its rows name no image here)" * (unused > 0) + ".")  # fmt: skip
    return found


def _keys(paths: dict[Path, Path]) -> dict[str, set[Path]]:
    """Return pictures by whatever may name them in a table: path, name, folder or person."""
    keys = defaultdict(set)
    names = Counter(spelling for path in paths.values() for spelling in {path.name.lower(), _stem(path.name.lower())})
    for file, path in paths.items():
        own = {key for key in (path.name.lower(), _stem(path.name.lower())) if names[key] == 1}
        whole = path.as_posix().lower()
        for key in {whole, *own, *whole.split("/")[:-1], person_in(whole).lower()} - {""}:
            keys[key].add(file)
    return dict(keys)


def _find(value, keys: dict[str, set[Path]]) -> set[Path]:
    text = str(value).strip().lower().replace("\\", "/")
    name = PurePosixPath(text).name
    return next((keys[key] for key in (text, name, _stem(name)) if key in keys), set())


def _stem(name: str) -> str:
    return name.removesuffix(".gz").rpartition(".")[0] or name
