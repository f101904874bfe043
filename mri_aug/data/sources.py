"""What a source gives: pictures with the names of their class, part and person, and a report of what went wrong.

Reads and decodes nothing; :mod:`mri_aug.data.folders` and :mod:`mri_aug.data.tables` find the pictures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mri_aug.data.imageset import CLASS_NAMES

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


def ordinal_label(name: str, class_names: tuple[str, ...] = CLASS_NAMES) -> int:
    """Return the place of a class name among the classes, whatever its spelling.

    Raises
    ------
    ValueError
        If the name is none of the known classes.

    Examples
    --------
    >>> [ordinal_label(name) for name in ("Non_Demented", "VeryMildDemented", "mild impairment", "3_Moderate Dementia")]
    [0, 1, 2, 3]
    >>> ordinal_label("1. mci", ("CN", "MCI", "AD"))
    1
    """
    place = class_place(name, class_names)
    if place is None:
        raise ValueError(unknown_classes([repr(name)], class_names))
    return place


def unknown_classes(names: Sequence[str], class_names: tuple[str, ...]) -> str:
    """Return the sentence on class names that are not known."""
    return (
        f"unknown class{'es' * (len(names) > 1)} {', '.join(names)}: expected the classes {', '.join(class_names)}; "
        "give class_names=(...) from least to most severe for others, with ordered=False if they have no order"
    )


@cache
def class_place(name: str, class_names: tuple[str, ...]) -> int | None:
    """Return the place of a class name, None where it is none of them: spelled the same, or alike, or as a severity."""
    for spell in (str, letters, _severity):
        wanted, known = spell(name), [spell(other) for other in class_names]
        if wanted and known.count(wanted) == 1:
            return known.index(wanted)
    return None


def letters(name: str) -> str:
    """Return the letters and digits of a name in lower case, without a number before it; ``1.0`` becomes ``1``."""
    text = unicodedata.normalize("NFKC", name).casefold().strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return f"{float(text):g}"
    return re.sub(r"[\W_]+", "", re.sub(r"^\d+[\W_]+(?=\D)", "", text))


def _severity(name: str) -> str:
    found = _SEVERITY.fullmatch(letters(name))
    return re.sub("^(non|none)$", "no", found[1]) if found else ""


def part_of(name: str) -> str:
    """Return which part of a source a folder or split is, "" where its name names none.

    Examples
    --------
    >>> [part_of(name) for name in ("Training", "test_data", "valid", "original")]
    ['train', 'test', 'validation', '']
    """
    return _PARTS.get(re.sub(r"(dataset|data|set|images|split)$", "", letters(name)), "")


def person_in(path: str) -> str:
    """Return the id of a person that a path holds, "" where it holds none.

    Examples
    --------
    >>> [person_in(p) for p in ("AD/OAS1_0028_MR1_mpr-1_100.jpg", "002_S_0413/I7.png", "CN/P07_12.png", "AD/12_3.png")]
    ['OAS1_0028', '002_S_0413', 'P07', '']
    """
    found = _PERSON.search(path)
    return found[1].upper() if found else ""


def find_column(kind: str, names: Sequence[str], columns: Mapping[str, str]) -> str | None:
    """Return the column that holds the images, labels or subjects: the given one, else by common names.

    Raises
    ------
    ValueError
        If the given column is not there.
    """
    if kind in columns:
        if columns[kind] not in names:
            raise ValueError(f"there is no column {columns[kind]!r} for the {kind}; there are {', '.join(names)}")
        return columns[kind]
    spelled = {letters(name): name for name in reversed(names)}
    return next((spelled[known] for known in _COLUMNS[kind].split() if known in spelled), None)
