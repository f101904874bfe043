"""Where pictures come from: folders, and tables of a hub or on disk. Each with the names of its class, part and person.

Every file below a folder is found, and given or counted by reason. Decodes no picture.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path, PurePosixPath

from PIL import Image

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_MAX_FAULTS = 10  # faults of a source that one message spells out
_SEVERITY = re.compile(
    r"(no|non|none|verymild|mild|moderate|severe)(ly)?(dement(ed|ia)?|(cognitive)?impair(ed|ment)?|alzheimers?(disease)?)?"
)
_PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
# Studies that number their people (OASIS, ADNI, IXI, NACC, MIRIAD), BIDS, and a word before a number.
_PERSON = re.compile(
    r"(?<![a-z0-9])(OAS[12]_\d{4}|OAS3\d{4}|\d{3}_S_\d{4,5}|IXI\d{3}|NACC\d{6}|miriad_\d{3}|sub-[a-z0-9]+"
    r"|(?:sub|subj|subject|patient|pat|person|participant|case)[-_ ]?\d+|(?:(?<=/)|^)p[-_]?\d+(?=[-_. /]))",
    re.IGNORECASE,
)
# Column names, most telling first.
_COLUMNS = {
    "image": "image img picture scan slice mri imagebytes filename filepath imagepath file path jpg png",
    "label": "label labels class classname diagnosis dx group category target severity stage cdr researchgroup",
    "subject": "subject subjectid patient patientid person personid participant participantid ptid rid",
}
_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}  # and whatever begins with a dot
_SAVED = ("dataset_dict.json", "state.json")  # what ``save_to_disk`` writes
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_NUMBERED = re.compile(r"(s|p|id|sub|subj|subject|pat|patient|person|participant|case)?[-_ ]?\d+", re.IGNORECASE)
_SNIFFED = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")  # recognised by content under any name
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")
_STUBS = {"HDF5", "GRIB", "BUFR", "WMF", "EPS", "MPEG"}  # Pillow names these and needs other programs to read them
_SAME = "they may hold copies or masks of the same images"


@dataclass(frozen=True)
class Item:
    """One undecoded picture, or several in one file."""

    name: str  # for messages
    content: bytes | Path | tuple[Path, ...]  # encoded, a file, or the files of one DICOM series
    label: str  # class, as the source spells it
    part: str = ""  # "train", "validation", "test", or "" where the source has no parts
    path: str = ""  # where it lies in the source; searched for the ids of people
    subject: str = ""  # person, from a column, a table or a file's header
    folder: str = ""  # folder that holds one person's pictures, by the shape of the tree


@dataclass
class Report:
    """What is said about a source: notes go into the image set, faults end the loading."""

    source: str
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    people_from: str = ""  # what the subjects of items were read from

    def stop_if_faulty(self) -> None:
        """Raise one ValueError with all faults."""
        shown, more = self.faults[:_MAX_FAULTS], len(self.faults) - _MAX_FAULTS
        if len(shown) == 1:
            raise ValueError(". ".join([*shown, *self.notes]))
        if shown:
            shown += [f"and {more} more"] * (more > 0) + self.notes
            raise ValueError("\n- ".join([f"{self.source} has {len(self.faults)} faults:", *shown]))


def unknown_classes(names: Sequence[str], class_names: tuple[str, ...]) -> str:
    """Return the sentence on class names that are not known."""
    return (
        f"unknown class{'es' * (len(names) > 1)} {', '.join(names)}: expected the classes {', '.join(class_names)}; "
        "name them from least to most severe, class_names='A,B,C' (CLASSES=A,B,C for make), or 'A|B|C' if unordered"
    )


@cache
def class_place(name: str, class_names: tuple[str, ...]) -> int | None:
    """Return the place of a class name, None where it is none of them: spelled the same, or alike, or as a severity.

    ``VeryMildDemented``, ``very mild impairment`` and ``1_Very mild`` are one class; so are ``1. mci`` and ``MCI``.
    """
    for spell in (str, _letters, _severity):
        wanted, known = spell(name), [spell(other) for other in class_names]
        if wanted and known.count(wanted) == 1:
            return known.index(wanted)
    return None


def _letters(name: str) -> str:
    """Return the letters and digits of a name in lower case, without a number before it; ``1.0`` becomes ``1``."""
    text = unicodedata.normalize("NFKC", name).casefold().strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return f"{float(text):g}"
    return re.sub(r"[\W_]+", "", re.sub(r"^\d+[\W_]+(?=\D)", "", text))


def _severity(name: str) -> str:
    found = _SEVERITY.fullmatch(_letters(name))
    return re.sub("^(non|none)$", "no", found[1]) if found else ""


def _part_of(name: str) -> str:
    """Return the part that a folder or split names: ``Training`` and ``train_data`` are ``train``, others "" ."""
    return _PARTS.get(re.sub(r"(dataset|data|set|images|split)$", "", _letters(name)), "")


def person_in(path: str) -> str:
    """Return the id of a person that a path holds, such as OAS1_0028, 002_S_0413 or P07; "" where it holds none."""
    found = _PERSON.search(path)
    return found[1].upper() if found else ""


def _find_column(kind: str, names: Sequence[str], columns: Mapping[str, str]) -> str | None:
    """Return the column of images, labels or subjects: the given one (or a ValueError), else by common names."""
    if kind in columns:
        if columns[kind] not in names:
            raise ValueError(f"there is no column {columns[kind]!r} for the {kind}; there are {', '.join(names)}")
        return columns[kind]
    spelled = {_letters(name): name for name in reversed(names)}
    return next((spelled[known] for known in _COLUMNS[kind].split() if known in spelled), None)


# ---- folders


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
        hidden = [name for name in folders if _is_hidden(name)]
        passed["hidden or system file"] += sum(len(f) for name in hidden for *_, f in os.walk(os.path.join(here, name)))
        folders[:] = sorted(set(folders) - set(hidden))
        for name in names:
            file = Path(here, name)
            if _is_hidden(name):
                passed["hidden or system file"] += 1
            elif file.is_file():
                files.append(file)
            else:
                passed["broken link" if file.is_symlink() else "special file"] += 1
    return sorted(files), +passed


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HIDDEN


@dataclass(frozen=True)
class _Place:
    """Where a picture lies: its class folder, and the folders above and below that."""

    label: str  # name of the class folder, "" where there is none
    above: tuple[str, ...]
    below: tuple[str, ...]  # all folders where there is no class folder
    part: str


def folder_items(
    folder: Path, files: list[Path], passed: Counter[str], class_names: tuple[str, ...], report: Report,
    *, columns: Mapping[str, str], people_table: Path | None = None,
) -> list[Item]:  # fmt: skip
    """Return every picture among the files below a folder, with its class, part and person.

    Takes the columns of tables by ``"image"``, ``"label"`` and ``"subject"`` where they have no common name. Reports
    what was not read and all that is wrong; raises a FileNotFoundError if there is no picture at all.
    """
    pictures, dicom, tables = _by_kind(files, passed)
    paths = {file: file.relative_to(folder) for file in sorted([*pictures, *dicom])}
    if not paths:
        held = _listed(passed) or "nothing"
        advice = "unpack the archives" if any(kind in held for kind in _ARCHIVES) else "expected <class>/*.jpg below it"
        raise FileNotFoundError(f"{folder} holds neither parquet files nor images (but {held}); {advice}")
    rows: dict[Path, dict[str, str]] = {file: {"label": "", "subject": ""} for file in paths}
    for table in [*([people_table] if people_table else []), *(t for t in tables if t != people_table)]:
        found = _read_table(table, paths, columns, passed, report)
        if not found and table == people_table:
            report.faults.append(f"{table} lacks a column of images or of people; give columns={{'subject': NAME}}")
        for file, row in found.items():
            rows[file] = {kind: rows[file][kind] or value for kind, value in row.items()}
    if passed:
        report.notes.append(f"Not read: {_listed(passed)}.")
    places = {file: _place(file, path.parts[:-1], class_names, report) for file, path in paths.items()}
    _check_labels(folder, places, rows, class_names, report)
    _check_trees(folder, places.values(), class_names, report)
    labels = {file: place.label or rows[file]["label"] for file, place in places.items()}
    people, items = _people_folders(places, labels), []
    for group, who in sorted([*(((file,), "") for file in pictures), *_series(dicom, report)]):
        file, content = group[0], group if group[0] in dicom else group[0]
        person = rows[file]["subject"] or who
        volume = str(file) if file in dicom or file.name.lower().endswith(VOLUME_SUFFIXES) else ""
        place = (places[file].part, paths[file].as_posix(), person, people.get(file, volume))
        items.append(Item(str(file), content, labels[file], *place))
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
        elif suffix in _DICOM_SUFFIXES or (content := _content(file)) == "dicom":
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
    rest = [(i, name) for i, name in enumerate(parents) if i not in classes and not _part_of(name)]
    part = next((_part_of(name) for i, name in enumerate(parents) if i not in classes and _part_of(name)), "")
    above, below = (tuple(name for i, name in rest if (i < last) == before) for before in (True, False))
    return _Place(parents[last] if classes else "", above, below, part)


def _check_labels(folder, places: dict[Path, _Place], rows, class_names, report: Report) -> None:
    """Report pictures without a class, classes that are not known, and parts without a picture."""
    unknown = [file for file, place in places.items() if not place.label and not rows[file]["label"]]
    below = {file: place.below for file, place in places.items() if not place.label}
    if len(below) == len(places):  # a folder around everything names no class
        below = dict(zip(below, _without_common(below.values()), strict=True))
    if counts := Counter(below[file][0] for file in unknown if below[file]):
        names = [f"{name!r} ({n} images)" for name, n in counts.most_common(8)] + ["..."] * (len(counts) > 8)
        report.faults.append(unknown_classes(names, class_names))
    if strays := [file for file in unknown if not below[file]]:
        others = f" (nor {len(strays) - 1} others)" if len(strays) > 1 else ""
        expected = f"{folder}/<class>/{strays[0].name}, or a table with its class beside it"
        report.faults.append(f"{strays[0]} is in no class folder{others}; expected {expected}")
    both = {file: {place.label, rows[file]["label"]} - {""} for file, place in places.items()}
    if differ := [file for file, names in both.items() if len({class_place(n, class_names) for n in names}) > 1]:
        said = f"A table gives another class than the folder for {len(differ)} images ({differ[0]}, ...)"
        report.notes.append(f"{said}: the folder's was taken.")
    holds = {parent for file in places for parent in file.parents}
    empty = [path for path in folder.glob("*/") if _part_of(path.name) and path not in holds]
    report.faults += [f"{path} holds no image; remove it or fill it" for path in empty]


def _check_trees(folder: Path, places: Iterable[_Place], class_names: tuple[str, ...], report: Report) -> None:
    """Refuse several trees of the same classes: copies, augmentations or masks of the same pictures."""
    above, below = defaultdict(set), defaultdict(set)
    for place in (one for one in places if one.label):
        label = class_place(place.label, class_names)
        above[str(Path(*place.above))].add(label)
        below[place.below[0] if place.below else "."].add(label)
    n_single = sum(len(classes) == 1 for classes in above.values())  # a folder per person holds one class
    if len(set().union(*above.values())) < sum(map(len, above.values())) and 2 * n_single <= len(above):
        said = "there are several trees of the same classes, " + ", ".join(str(folder / n) for n in sorted(above)[:5])
        report.faults.append(f"{said}; {_SAME}: give one of them, or move the others out")
    shared = [name for name, classes in below.items() if len(classes) > 1 and not _NUMBERED.fullmatch(name)]
    if len(shared) > max(1, len(below) / 2):
        names = ", ".join(sorted(shared)[:5])
        report.faults.append(f"the classes hold the same folders, {names}; {_SAME}: keep one and move the others out")


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
    paths = list(paths)
    common = list(takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False)))
    return [path[len(common) :] for path in paths]


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
            frame = pd.read_json(table, lines=True, **options).fillna("")
        else:
            frame = pd.read_csv(table, sep=max(",;\t|", key=head.count), keep_default_na=False, **options)
    except Exception as error:  # whatever a parser says of a damaged table
        passed[f"damaged {table.suffix} file ({error})"] += 1
        return {}
    names, given = list(frame.columns), {kind: name for kind, name in columns.items() if name in frame.columns}
    label, subject = (_find_column(kind, names, given) for kind in ("label", "subject"))
    keys = _keys(paths)
    by_column = {name: [_find(value, keys) for value in frame[name]] for name in names if name != label}
    # of columns that name as many pictures the one that tells them best apart: folders are split or class as well
    named = {name: (len(set().union(*files)), -sum(map(len, files))) for name, files in by_column.items()}
    column = given.get("image") or max(named, key=named.get, default=None)
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


# ---- tables


def is_table_folder(folder: Path, files: list[Path]) -> bool:
    """Return whether a folder is read as a table: parquet files, or what ``save_to_disk`` wrote."""
    return any(file.suffix.lower() == ".parquet" or file in map(folder.joinpath, _SAVED) for file in files)


def table_items(
    source: str, files: Sequence[Path], report: Report,
    *, config: str | None, revision: str | None, columns: Mapping[str, str],
) -> Iterator[Item]:  # fmt: skip
    """Yield the rows of a hub dataset, or of a local folder of tables; takes columns as :func:`folder_items`.

    Raises a ConnectionError if the hub cannot be reached, and a ValueError if the source cannot be read, lacks a column
    or has several configurations.
    """
    import datasets  # imported late: it takes a second, and phantoms and class folders do not need it

    if others := [file.name for file in files if file.suffix not in (".parquet", ".arrow", ".json", ".md")]:
        report.notes.append(f"Beside the tables, read only if a row names them: {len(others)} ({others[0]}, ...).")
    for split, table in _splits(source, report, config, revision).items():
        image = _column(table, "image", columns, datasets.Image, source)
        label = _column(table, "label", columns, datasets.ClassLabel, source)
        subject = _find_column("subject", table.column_names, columns)
        report.people_from = f"the column {subject!r}" if subject else ""
        try:
            table = table.cast_column(image, datasets.Image(decode=False))
        except Exception as error:  # kinds of the library and of pyarrow
            raise ValueError(f"the column {image!r} of {source} holds no encoded images ({_said(error)})") from None
        feature, n_hidden = table.features[label], 0
        spell = feature.int2str if isinstance(feature, datasets.ClassLabel) else str
        for index, row in enumerate(table):
            name = f"image {index} of split {split!r} of {source}"
            picture, value, who = row[image], row[label], row.get(subject)
            if picture is None or value is None:
                report.faults.append(f"{name} has no {'image' if picture is None else 'label'}; remove the row")
            elif value == -1:
                n_hidden += 1
            else:
                path, person = str(picture.get("path") or ""), "" if who is None else str(who)
                content = picture["bytes"] or Path(source, path)
                yield Item(name, content, spell(value), _part_of(str(split)), path, person)
        if n_hidden:
            report.notes.append(f"{n_hidden} rows of split {split!r} hide their label (-1) and were left out.")


def _splits(source: str, report: Report, config: str | None, revision: str | None) -> Mapping:
    """Return the tables of a source by split."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    datasets.disable_progress_bars()  # in executed notebooks they leave a line for every update
    folder = Path(source)
    try:
        if any((folder / name).is_file() for name in _SAVED):
            saved = datasets.load_from_disk(source)
            return saved if isinstance(saved, datasets.DatasetDict) else {"": saved}
        if folder.is_dir() and set("[]*?") & set(source):
            raise ValueError("the datasets library takes [ ] * ? in its path for a pattern; rename the folder")
        builder = datasets.load_dataset_builder(source, config, revision=revision)
        info = builder.info
        if folder.is_dir():  # the card itself: what is prepared already has forgotten its numbers
            info = datasets.info.DatasetInfosDict.from_directory(source).get(builder.config.name) or info
        announced = {split: part.num_examples for split, part in (info.splits or {}).items()}
        builder.download_and_prepare(verification_mode="no_checks")
        splits = builder.as_dataset()
    except (ConnectionError, DatasetNotFoundError, OSError) as error:
        raise ConnectionError(
            f"the dataset {source!r} is neither in the local cache nor could it be fetched ({_said(error)}); check the "
            "id and the network, log in for a gated set ('hf auth login'), or download it and give its folder, or use "
            "'phantom'"
        ) from None
    except Exception as error:  # scripts, damaged files, cards that contradict their files: errors of many kinds
        said, advice = _said(error), "a file may be damaged, a split empty, or the card wrong"
        if "config" in said.lower():
            advice = f"give one of them as '{source}:NAME'"
        elif "script" in said:
            advice = "download its images and give their folder"
        raise ValueError(f"cannot read {source}: {said}; {advice}") from None
    if config is None and len(builder.builder_configs) > 1:
        names = ", ".join(builder.builder_configs)
        report.notes.append(f"Of the configurations {names}, {builder.config.name} was read.")
    for split, n in announced.items():
        if n and n != (found := len(splits[split]) if split in splits else 0):
            why = "a subset, or an interrupted download"
            report.notes.append(f"The card announces {n} rows of split {split!r}, and there are {found}: {why}.")
    return splits


def _said(error: BaseException) -> str:
    """Return what an error says, or the one behind it, on one line."""
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).partition("Example of usage")[0].split())
    return f"{type(error).__name__}: {said[:400]}" if said else type(error).__name__


def _column(table, kind: str, columns: Mapping[str, str], feature: type, source: str) -> str:
    """Return the column of images or labels: the given one, one of a common name, or the only one of its type."""
    typed = [name for name, value in table.features.items() if isinstance(value, feature)]
    if kind == "image" and kind not in columns and len(typed) == 1:  # before a column of paths or names
        return typed[0]
    found = _find_column(kind, table.column_names, columns) or (typed[0] if len(typed) == 1 else None)
    if found is None:
        held = ", ".join(table.column_names)
        raise ValueError(f"{source} lacks the column {kind!r}; it has {held}: give columns={{{kind!r}: NAME}}")
    return found
