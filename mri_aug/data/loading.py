"""Images from a hub, a folder or the simulator, brought to one form: :class:`~mri_aug.imageset.ImageSet`.

Whatever the source's class order and spelling, labels come out ordinal; whatever its image size and mode, images come
out grey and 128 x 128; and people come out recovered where the pixels show them. Nothing here splits or augments.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from mri_aug import provenance
from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE, ImageSet, cached_image_set
from mri_aug.data.people import recover_subjects
from mri_aug.data.phantom.people import class_shares, load_phantoms
from mri_aug.data.sampling import repeatable_rng

HUB_ID = "Falah/Alzheimer_MRI"
# The commit that holds four classes; a later pull request merges them into three.
HUB_REVISION = "daac24f9597236b45837d82f7eb9c9ad1f8c60c8"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
_CACHE_VERSION = 2  # raise when the code below would read the same source differently


@dataclass(frozen=True)
class _Item:
    """One undecoded image: its name for messages, its bytes or path, its class name, its split."""

    name: str
    content: bytes | Path
    class_name: str
    split: str


def load_images(
    source: str | Path = "phantom", *, seed: int = 0, n_subjects: int | None = None, revision: str | None = None,
    class_names: tuple[str, ...] | None = None,
) -> ImageSet:  # fmt: skip
    """Load an image set, with ordinal labels and, where they can be recovered, its people.

    Parameters
    ----------
    source : str or Path
        ``"phantom"``; a local folder, either in the hub's layout (a card and parquet files) or
        of class folders (``<class>/*.jpg``, optionally below ``train/`` and ``test/``); or a hub id.
    seed : int
        Seeds the phantoms, and the choice of people where ``n_subjects`` asks for fewer.
    n_subjects : int, optional
        Phantoms to simulate (by default 200), or people to keep of a real dataset (all), class shares kept.
    revision : str, optional
        Commit of a hub dataset. Defaults to the pinned one for the thesis's dataset.
    class_names : tuple of str, optional
        The source's class names from least to most severe, for classes other than the thesis's four.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no images.
    ConnectionError
        If a hub dataset is not cached and the hub cannot be reached.
    ValueError
        If a column or class is missing or unknown, a split is empty, an image cannot be read, is blank (all pixels
        equal) or has pixels that are not finite, ``n_subjects`` exceeds the people there are, or the seed is negative.
    """
    if not str(source):
        raise ValueError("the dataset is empty; give 'phantom', a hub id or a folder")
    if str(source) == "phantom":
        return load_phantoms(seed=seed, **({} if n_subjects is None else {"n_subjects": n_subjects}))
    folder = Path(source).expanduser()
    if folder.is_dir():
        key = [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))]
        key, items = [str(folder.resolve()), *key], lambda: _folder_items(folder)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not str(source).startswith("."):
        revision = revision or (HUB_REVISION if source == HUB_ID else None)
        key, items = [str(source), revision], lambda: _hub_items(str(source), revision)
    else:
        raise FileNotFoundError(
            f"there is no folder {str(source)!r}; give 'phantom', a hub id such as {HUB_ID!r}, or a folder of images"
        )
    digest = hashlib.sha256(repr([_CACHE_VERSION, key, class_names]).encode()).hexdigest()[:16]
    file = provenance.artifacts("cache", f"images_{digest}.npz")
    image_set = cached_image_set(file, lambda: _with_people(_assemble(items(), class_names or CLASS_NAMES)))
    return image_set if n_subjects is None else take_subjects(image_set, n_subjects, seed=seed)


def take_subjects(image_set: ImageSet, n_subjects: int, *, seed: int) -> ImageSet:
    """Return all images of ``n_subjects`` people drawn at random, class shares kept, two people a class at least.

    Raises
    ------
    ValueError
        If people are unknown or fewer than ``n_subjects``, it is below two per class, or the seed is negative.
    """
    people, first = np.unique(image_set.subjects.numpy(), return_index=True)
    classes = image_set.labels.numpy()[first]
    if people[0] < 0:
        raise ValueError("cannot choose people: this dataset's people are not known; leave n_subjects out")
    if n_subjects > len(people):
        raise ValueError(f"n_subjects must be at most {len(people)}, the people in this dataset, got {n_subjects}")
    sizes = np.bincount(classes, minlength=image_set.n_classes)
    counts = np.minimum(class_shares(n_subjects, sizes), sizes)
    rng = repeatable_rng(seed)
    kept = [rng.choice(people[classes == c], size=count, replace=False) for c, count in enumerate(counts)]
    return image_set[np.flatnonzero(np.isin(image_set.subjects.numpy(), np.concatenate(kept)))]


def ordinal_label(name: str, class_names: tuple[str, ...] = CLASS_NAMES) -> int:
    """Return the place of a class name in ordinal order, whatever its spelling.

    Raises
    ------
    ValueError
        If the name is none of the known classes.

    Examples
    --------
    >>> [ordinal_label(name) for name in ("Non_Demented", "VeryMildDemented", "mild", "Moderate Demented")]
    [0, 1, 2, 3]
    """
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    exact = {re.sub(r"[^a-z0-9]", "", known.lower()): label for label, known in enumerate(class_names)}
    if letters in exact:
        return exact[letters]
    if class_names == CLASS_NAMES:
        severity = re.fullmatch(r"(non?|verymild|mild|moderate)(ly)?(dement(ed|ia)?)?", letters)
        if severity:
            return ("no", "verymild", "mild", "moderate").index(re.sub("^non?$", "no", severity[1]))
    raise ValueError(
        f"unknown class {name!r}: expected the classes {', '.join(class_names)}; "
        "give class_names=(...) from least to most severe for others"
    )


def _folder_items(folder: Path) -> Iterator[_Item]:
    if any(folder.rglob("*.parquet")):
        if set("[]*?") & set(str(folder)):  # the datasets library reads them as a pattern and finds nothing
            raise ValueError(f"the path {str(folder)!r} holds one of [ ] * ?; rename the folder or link to it")
        yield from _hub_items(str(folder), None)
        return
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise FileNotFoundError(f"{folder} holds neither parquet files nor images; expected <class>/*.jpg below it")
    holds = {parent for file in files for parent in file.parents}
    for part in ("train", "test"):
        if empty := [path for path in folder.glob("*/") if path.name.lower() == part and path not in holds]:
            raise ValueError(f"{empty[0]} holds no image; remove it or fill it")
    for file in files:
        parents = file.relative_to(folder).parts[:-1]
        if not parents:
            raise ValueError(f"{file} is in no class folder; expected {folder}/<class>/{file.name}")
        split = next((p.lower() for p in parents if p.lower() in ("train", "test")), "")
        yield _Item(str(file), file, parents[-1], split)


def _hub_items(source: str, revision: str | None) -> Iterator[_Item]:
    import datasets  # imported late: it takes a second, and phantoms and class folders do not need it
    from datasets.exceptions import DatasetNotFoundError

    # The bar would end up in executed notebooks as a fragment of text for every update.
    datasets.disable_progress_bars()
    try:
        splits = datasets.load_dataset(source, revision=revision)
    except (ConnectionError, DatasetNotFoundError, OSError) as error:
        raise ConnectionError(
            f"the dataset {source!r} is neither in the local cache nor could it be fetched ({type(error).__name__}); "
            "check the id and the network, or download it and give its folder, or use 'phantom'"
        ) from None
    except ValueError as error:  # how the library reports a split without rows, or a damaged file
        raise ValueError(f"cannot read {source}: {error} A file may be damaged or a split empty.") from None
    for split, table in splits.items():
        missing = {"image", "label"} - set(table.column_names)
        if missing:
            raise ValueError(f"{source} lacks the column {min(missing)!r}; it has {', '.join(table.column_names)}")
        label = table.features["label"]
        names = label.int2str if isinstance(label, datasets.ClassLabel) else str
        for index, row in enumerate(table.cast_column("image", datasets.Image(decode=False))):
            image, name = row["image"], f"image {index} of split {split!r} of {source}"
            if image is None or row["label"] is None:
                raise ValueError(f"{name} has no {'image' if image is None else 'label'}; remove the row")
            yield _Item(name, image["bytes"] or Path(image["path"]), names(row["label"]), split)


def _decode(item: _Item) -> tuple[np.ndarray, str]:
    """Return the image as grey 128 x 128 and the mode and size it came in."""
    try:
        with Image.open(io.BytesIO(item.content) if isinstance(item.content, bytes) else item.content) as image:
            came = f"{image.mode} {image.width} x {image.height}"
            grey = _grey(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read {item.name}: {error}; replace or remove it") from None
    form = (IMAGE_SIZE, IMAGE_SIZE)
    whole = grey if grey.size == form else ImageOps.pad(grey, form, Image.Resampling.LANCZOS)  # black bars, unsquashed
    if any(low == high for low, high in (grey.getextrema(), whole.getextrema())):
        raise ValueError(f"{item.name} is blank (all pixels equal) and shows nothing; replace or remove it")
    return np.asarray(whole), came


def _grey(image: Image.Image) -> Image.Image:
    if image.mode not in ("I", "I;16", "I;16B", "I;16L", "F"):
        return image.convert("L")
    # Pillow would cut such values off at 255.
    values = np.asarray(image, dtype=np.float64)
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{n_bad} of its {values.size} pixels are no finite numbers")
    span = max(float(values.max() - values.min()), 1e-12)
    return Image.fromarray((255 * (values - values.min()) / span).round().astype(np.uint8))


def _assemble(items: Iterable[_Item], class_names: tuple[str, ...]) -> ImageSet:
    images, labels, splits, forms = [], [], [], {}
    for item in items:
        image, came = _decode(item)
        images.append(image)
        labels.append(ordinal_label(item.class_name, class_names))
        splits.append(item.split)
        forms[came] = forms.get(came, 0) + 1
    if missing := [name for label, name in enumerate(class_names) if label not in set(labels)]:
        raise ValueError(f"the dataset has no image of the class {missing[0]!r}; expected {', '.join(class_names)}")
    notes = tuple(
        f"{n} images came as {came} and were brought to grey {IMAGE_SIZE} x {IMAGE_SIZE}."
        for came, n in forms.items()
        if came != f"L {IMAGE_SIZE} x {IMAGE_SIZE}"
    )
    return ImageSet(
        images=torch.from_numpy(np.stack(images)[:, None]),
        labels=torch.tensor(labels),
        subjects=torch.full((len(images),), -1),
        source_ids=torch.arange(len(images)),
        class_names=class_names,
        published_test=torch.tensor([split == "test" for split in splits]) if "test" in splits else None,
        notes=notes,
    )


def _with_people(image_set: ImageSet) -> ImageSet:
    audit = recover_subjects(image_set.images, labels=image_set.labels)
    if audit.found and audit.class_purity == 1:
        return replace(image_set, subjects=torch.as_tensor(audit.subjects, dtype=torch.int64))
    reason = (
        audit.reason
        if not audit.found
        else (
            f"{round((1 - audit.class_purity) * audit.n_subjects)} of the {audit.n_subjects} found carry more than one "
            "label, and a person has one. Without people, use protocol 'image'; for 'subject', correct the labels in the "
            "source, or find people at another threshold (mri_aug.data.people.recover_subjects) and set them."
        )
    )
    return replace(image_set, notes=(*image_set.notes, f"People unknown: {reason}"))
