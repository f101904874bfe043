"""Images from a hub, a folder or the simulator, brought to one form: :class:`~mri_aug.data.imageset.ImageSet`.

Images come out grey and 128 x 128, people known from the source or recovered from the pixels. What was done, passed
over or not known is in the set's notes.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from mri_aug import provenance
from mri_aug.data import sources
from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE, ImageSet, cached_image_set
from mri_aug.data.people import recover_subjects
from mri_aug.data.phantom.anatomy import N_SLICES
from mri_aug.data.phantom.people import load_phantoms
from mri_aug.data.sampling import apportion, repeatable_rng, stratified_sample
from mri_aug.data.sources import VOLUME_SUFFIXES, Item, Report
from mri_aug.data.splits import PROTOCOLS, split

HUB_ID = "Falah/Alzheimer_MRI"
# The commit that holds four classes; a later pull request merges them into three.
HUB_REVISION = "daac24f9597236b45837d82f7eb9c9ad1f8c60c8"
_CACHE_VERSION = 3  # raise when the code would read the same source differently
_MAX_FORMS = 3  # kinds of stored image that notes spell out
_SMALL = 200  # images; from here on every class can be divided
_PLAIN = f"L {IMAGE_SIZE} x {IMAGE_SIZE}"  # how a picture comes that is stored as it is used
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")
_ORIENTATION = 0x0112  # EXIF
# The thesis's 32 slices lie at z = -4 to 27 mm of MNI space, whose brain ends at 80 mm.
_BELOW_TOP = np.arange(84, 52, -1)  # mm


def load_images(
    source: str | Path = "phantom", *, class_names: str | Sequence[str] | None = None,
    subjects: str | Path | None = None, columns: Mapping[str, str] | None = None, ordered: bool = True,
    seed: int = 0, n_subjects: int | None = None, revision: str | None = None,
) -> ImageSet:  # fmt: skip
    """Load an image set, with its classes in order and its people where they are known or can be recovered.

    Parameters
    ----------
    source : str or Path
        ``"phantom"``; a folder of class folders (``<class>/*.jpg``, below ``train/`` and ``test/`` or not), of images
        and a table, of parquet files or of ``save_to_disk``; or a hub id. ``":name"`` after a hub id or a folder of
        tables picks one of its configurations.
    class_names : sequence of str, or str, optional
        The source's classes from least to most severe, for others than the thesis's four; spellings may differ. In a
        text they are separated by commas, or by bars where they have no order: ``"glioma|meningioma|pituitary"``.
    subjects : str or Path, optional
        A regular expression with one group, searched for in each image's path; a column's name; or a table (csv, tsv,
        jsonl). By default a column, a table, ids in names or a folder per person are looked for, and people are
        recovered from the pixels where there are none.
    columns : mapping, optional
        Columns of a table by ``"image"`` and ``"label"``, where they have no common name.
    ordered : bool
        Whether the classes have an order; grades of dementia have, kinds of tumour have not.
    seed : int
        Seeds the phantoms, and the choice of people where ``n_subjects`` asks for fewer.
    n_subjects : int, optional
        Phantoms to simulate (by default 200), or people to keep of a real dataset (all), as :func:`take_subjects` does.
    revision : str, optional
        Commit of a hub dataset. Defaults to the pinned one for the thesis's dataset.

    Raises
    ------
    FileNotFoundError, ConnectionError, ValueError
        If the folder or table does not exist or holds no images; a hub dataset is not cached and the hub cannot be
        reached; or a column or class is missing or unknown, images cannot be read or show nothing, folders hold several
        trees of the same classes, or a parameter is wrong: all faults of a source in one message.
    """
    if isinstance(class_names, str) and "|" in class_names:
        class_names, ordered = class_names.split("|"), False
    names = _check_class_names(class_names)
    if str(source) == "phantom":
        if (subjects, columns, ordered) != (None, None, True) or names != CLASS_NAMES:
            raise ValueError("phantoms have classes and people of their own; leave class_names and others out")
        return load_phantoms(seed=seed, **({} if n_subjects is None else {"n_subjects": n_subjects}))
    folder, hub_id, config = _locate(str(source))
    pattern, table, columns = _who_is_who(subjects, dict(columns or {}))
    report = Report(str(source))
    files = ()
    if folder is not None:
        files, passed = sources.find_files(folder, report)
        kept = [(str(p), (stat := p.stat()).st_size, stat.st_mtime_ns) for p in [*files, *([table] if table else [])]]
        key = [str(folder.resolve()), kept, sorted(passed.items())]
    else:
        revision = revision or (HUB_REVISION if hub_id == HUB_ID else None)
        key = [hub_id, revision]

    def build() -> ImageSet:
        if folder is None or sources.is_table_folder(folder, files):
            if table:
                raise ValueError("a table of people goes with a folder of images; give the column's name, or a pattern")
            options = {"config": config, "revision": revision, "columns": columns}
            items = sources.table_items(str(folder or hub_id), files, report, **options)
        else:
            items = sources.folder_items(folder, files, passed, names, report, columns=columns, people_table=table)
        return _assemble(items, names, report, pattern, required=subjects is not None)

    said = repr([_CACHE_VERSION, key, names, subjects, sorted(columns.items()), config])
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    image_set = cached_image_set(provenance.artifacts("cache", f"images_{digest}.npz"), build)
    if n_subjects is not None:
        image_set = take_subjects(image_set, n_subjects, seed=seed)
    return replace(image_set, notes=(*image_set.notes, *_limits(image_set, ordered)), ordered=ordered)


def take_subjects(image_set: ImageSet, n_subjects: int, *, seed: int) -> ImageSet:
    """Return all images of ``n_subjects`` people drawn at random, class shares kept, two people a class at least.

    Everybody is kept where there are fewer people. Where people are unknown, as many images are drawn as the thesis has
    of that many people, class shares kept. Either is in the set's notes. Raises a ValueError if ``n_subjects`` is too
    small or the seed is negative.
    """
    people, first = np.unique(image_set.subjects.numpy(), return_index=True)
    classes, n_images = image_set.labels.numpy()[first], len(image_set)
    if n_subjects < 2 * image_set.n_classes:
        least = f"at least {2 * image_set.n_classes} (two people in each class)"
        raise ValueError(f"n_subjects must be {least}, got {n_subjects}")
    if people[0] < 0:
        chosen = stratified_sample(image_set.labels.numpy(), min(1, n_subjects * N_SLICES / n_images), seed=seed)
        note = f"People unknown: {len(chosen)} of {n_images} images stand for the {n_subjects} people asked for."
        return replace(image_set[chosen], notes=(*image_set.notes, note))
    if n_subjects > len(people):
        return replace(image_set, notes=(*image_set.notes, f"All {len(people)} people, of {n_subjects} asked for."))
    sizes = np.bincount(classes, minlength=image_set.n_classes)
    counts = np.minimum(apportion(n_subjects, sizes, at_least=2), sizes)
    rng = repeatable_rng(seed)
    kept = [rng.choice(people[classes == c], size=count, replace=False) for c, count in enumerate(counts)]
    return image_set[np.flatnonzero(np.isin(image_set.subjects.numpy(), np.concatenate(kept)))]


def separate_images(image_set: ImageSet) -> ImageSet:
    """Return the set with every image as a person of its own where people are unknown, which its notes say.

    What divides people then divides images: its scores say nothing about new people.
    """
    if (image_set.subjects >= 0).all():
        return image_set
    note = "Every image counts as a person of its own, so that a split by people is one by images."
    return replace(image_set, subjects=torch.arange(len(image_set)), notes=(*image_set.notes, note))


def _check_class_names(class_names: str | Sequence[str] | None) -> tuple[str, ...]:
    if class_names is None:
        return CLASS_NAMES
    given = class_names.split(",") if isinstance(class_names, str) else class_names
    names = tuple(str(name).strip() for name in given)
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"class_names must be two or more different names, such as 'CN,MCI,AD', got {class_names!r}")
    return names


def _locate(source: str) -> tuple[Path | None, str, str | None]:
    """Return a local folder or a hub id, and the configuration asked for."""
    if not source:
        raise ValueError("the dataset is empty; give 'phantom', a hub id or a folder")
    base, _, config = source.rpartition(":")
    for name, chosen in ((source, None), (base, config)):
        if name and Path(name).expanduser().is_dir():
            return Path(name).expanduser(), "", chosen
    path = Path(source).expanduser()
    if path.is_file():
        raise ValueError(f"{source} is a file; unpack it if it is an archive, and give the folder of its images")
    found = re.fullmatch(r"([\w-][\w.-]*/[\w.-]+)(?::([\w.-]+))?", source)
    if found and not Path(path.parts[0]).is_dir():  # an owner on the hub, and no folder with a name mistyped below it
        return None, found[1], found[2]
    beside = [other.name for other in path.parent.glob("*/")] if path.parent.is_dir() else []
    near = "".join(f", did you mean {name!r}?" for name in difflib.get_close_matches(path.name, beside, n=1))
    raise FileNotFoundError(
        f"there is no folder {source!r}{near}; give 'phantom', a hub id such as {HUB_ID!r}, or a folder of images"
    )


def _who_is_who(subjects, columns: dict[str, str]) -> tuple[re.Pattern | None, Path | None, dict[str, str]]:
    """Return the pattern or the table that names people, and the columns, with theirs."""
    if wrong := set(columns) - {"image", "label", "subject"}:
        raise ValueError(f"columns are given for 'image', 'label' and 'subject', not for {sorted(wrong)}")
    if subjects is None:
        return None, None, columns
    table, text = Path(subjects).expanduser(), str(subjects)
    if table.is_file():
        return None, table, columns
    if isinstance(subjects, Path) or table.suffix in (".csv", ".tsv", ".jsonl"):
        raise FileNotFoundError(f"there is no table {text!r} of people")
    if not set("()[]\\") & set(text):
        return None, None, {**columns, "subject": text}
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"subjects={text!r} is no regular expression: {error}") from None
    if pattern.groups > 1:
        raise ValueError(f"subjects={text!r} may have one group, (...), around a person's id; it has {pattern.groups}")
    return pattern, None, columns


def _assemble(
    items: Iterable[Item], names: tuple[str, ...], report: Report, pattern: re.Pattern | None, *, required: bool
) -> ImageSet:
    """Decode what a source gives and find its people; raise all faults in one error."""
    images, labels, items = _decode(items, names, report)
    ids, origin = _known_people(items, pattern, report, required=required)
    classes = defaultdict(set)
    for who, label in zip(ids, labels, strict=bool(ids)):
        classes[who].add(label)
    if mixed := [who for who, found in classes.items() if len(found) > 1]:
        text = f"{len(mixed)} of the {len(classes)} people from {origin} carry more than one label"
        text += f" ({', '.join(mixed[:3])}), and a person has one: correct the source"
        (report.faults if required else report.notes).append(text + "; until then people are unknown." * (not required))
    report.stop_if_faulty()
    parts = {item.part for item in items}
    held_out = "test" if "test" in parts else "validation" if "validation" in parts else None
    if "validation" in parts:
        use = "its test part" if held_out == "validation" else "training images"
        report.notes.append(f"The source's validation part counts as {use}.")
    number = {who: i for i, who in enumerate(classes)}
    image_set = ImageSet(
        images=torch.from_numpy(np.stack(images)[:, None]),
        labels=torch.tensor(labels),
        subjects=torch.tensor([number[who] for who in ids]) if ids and not mixed else torch.full((len(images),), -1),
        source_ids=torch.arange(len(images)),
        class_names=names,
        published_test=torch.tensor([item.part == held_out for item in items]) if held_out else None,
    )
    if not ids:
        image_set = _recover(image_set, report)
    elif not mixed:
        report.notes += [f"People: {len(number)}, from {origin}.", *_disagreement(image_set, list(number))]
    return replace(image_set, notes=tuple(report.notes))


def _decode(items: Iterable[Item], names, report: Report) -> tuple[list[np.ndarray], list[int], list[Item]]:
    """Return the slices that can be used, with label and item of each, and report the rest."""
    images, labels, kept = [], [], []
    forms, unknown, copies, contradictions, seen = Counter(), Counter(), [], [], {}
    for item in items:
        place = sources.class_place(item.label, names)
        if place is None:
            unknown[item.label] += 1
            continue
        try:
            content, digest = _load(item.content)
            earlier, label = seen.get(digest, ("", place))
            if earlier and label == place:
                copies.append(f"{item.name}, a copy of {earlier}")
                continue
            slices = list(read_slices(content))
        except Exception as error:  # decoders raise many kinds on damaged files
            said = "it is in no format that is read here" if isinstance(error, UnidentifiedImageError) else error
            report.faults.append(f"cannot read {item.name}: {said}; replace or remove it")
            continue
        contradictions += [f"{item.name} and {earlier}"] * bool(earlier)
        seen[digest] = (item.name, place)
        for image, came in slices:
            images.append(image)
            labels.append(place)
            kept.append(replace(item, content=b""))
            forms[came] += 1
    if named := [f"{name!r} ({n} images)" for name, n in unknown.most_common(8) if name]:  # "" is reported by folder
        report.faults.append(sources.unknown_classes(named, names))
    elif not unknown and (missing := [repr(name) for label, name in enumerate(names) if label not in set(labels)]):
        classes = "class" + "es" * (len(missing) > 1)
        report.faults.append(f"there is no image of the {classes} {', '.join(missing)}; expected {', '.join(names)}")
    if report.faults:
        return images, labels, kept
    del forms[_PLAIN]
    if forms:
        parts = [f"{n} that came as {came}" for came, n in forms.most_common(_MAX_FORMS)]
        if others := forms.most_common()[_MAX_FORMS:]:
            parts.append(f"{sum(n for _, n in others)} in {len(others)} other forms")
        report.notes.append(f"Images brought to grey {IMAGE_SIZE} x {IMAGE_SIZE}: {', '.join(parts)}.")
    if copies:
        report.notes.append(f"Copies of files of the same class, left out: {len(copies)} ({copies[0]}, ...).")
    if contradictions:
        report.notes.append(f"Images in two classes, kept in both: {len(contradictions)} ({contradictions[0]}, ...).")
    return images, labels, kept


def _load(content: bytes | Path | tuple[Path, ...]) -> tuple[bytes | Path | tuple[Path, ...], bytes]:
    """Return what to decode, read from its file where that is one picture, and a digest of its bytes."""
    if isinstance(content, tuple):
        return content, hashlib.sha256(b"".join(file.read_bytes() for file in content)).digest()
    if isinstance(content, Path) and content.exists() and not content.is_file():
        raise ValueError("it is a device, a pipe or a folder")  # a row of a table may name anything
    data = content if isinstance(content, bytes) else content.read_bytes()
    if not data:
        raise ValueError("it is empty")
    if data.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS; fetch the images with 'git lfs pull'")
    is_volume = isinstance(content, Path) and content.name.lower().endswith(VOLUME_SUFFIXES)
    return content if is_volume else data, hashlib.sha256(data).digest()


def _known_people(items: list[Item], pattern, report: Report, *, required: bool) -> tuple[list[str], str]:
    """Return the person of each image and where that is known from; no one where the source does not say."""
    origins = {
        report.people_from: [item.subject for item in items],
        "the ids in names": [sources.person_in(item.path) for item in items],
        "a folder or volume per person": [item.folder for item in items],
    }
    if pattern is not None:
        found = [pattern.search(item.path) for item in items]
        origins = {f"the pattern {pattern.pattern!r}": [one[pattern.groups] if one else "" for one in found]}
    elif required:
        origins = dict([next(iter(origins.items()))])
    for origin, ids in origins.items() if items else ():
        n, n_people = sum(map(bool, ids)), len(set(ids) - {""})
        if n == len(ids) and n_people > 1:
            return ids, origin
        if required:
            without = [f", not in {item.path or item.name}" for item, who in zip(items, ids, strict=True) if not who]
            said = f"{origin or 'nothing'} names {n_people} people in {n} of {len(ids)} images{''.join(without[:1])}"
            report.faults.append(f"subjects: {said}; expected one in each, and several in all")
        elif n_people > 1:
            report.notes.append(f"Not used to tell people apart: {origin}, as only {n} of {len(ids)} images have one.")
    return [], ""


def _disagreement(image_set: ImageSet, names: list[str]) -> list[str]:
    """Return a note where groups of similar images hold several of the known people."""
    audit = recover_subjects(image_set.images)
    if not audit.found:
        return ["The pixels alone show no people, so that they could not be compared with the known ones."]
    people = defaultdict(set)
    for group, who in zip(audit.subjects.tolist(), image_set.subjects.tolist(), strict=True):
        people[group].add(who)
    mixed = [" and ".join(names[who] for who in sorted(found)[:2]) for found in people.values() if len(found) > 1]
    said = f"Pixels disagree: {len(mixed)} of {len(people)} groups of similar images hold several people"
    return [f"{said} ({mixed[0]})."] if mixed else []


def _recover(image_set: ImageSet, report: Report) -> ImageSet:
    """Find people in the pixels, or say why there are none and what that means."""
    audit = recover_subjects(image_set.images, labels=image_set.labels)
    if audit.found and audit.class_purity == 1:
        return replace(image_set, subjects=audit.subjects)
    reason = audit.reason
    if audit.found:
        n_mixed = round((1 - audit.class_purity) * audit.n_subjects)
        reason = (
            f"{n_mixed} of the {audit.n_subjects} found carry more than one label, and a person has one; correct the "
            "labels in the source, or name the people (subjects=...)"
        )
    report.notes.append(
        f"People unknown: {reason}. Use protocol 'image', in which slices of one person may both train and test: its "
        "scores then say nothing about new people."
    )
    return image_set


def _limits(image_set: ImageSet, ordered: bool) -> list[str]:
    """Return what is not possible with a set, in sentences."""
    notes = [] if ordered else ["The classes have no order: ordinal measures (kappa, rank correlation) do not apply."]
    small, known = len(image_set) < _SMALL, bool((image_set.subjects >= 0).all())
    checked = {"image": small, "subject": known, "published": small and image_set.published_test is not None}
    for protocol in filter(checked.get, PROTOCOLS):
        try:
            split(image_set, protocol, seed=0)
        except ValueError as error:
            notes.append(f"Protocol {protocol!r} is not possible with this set: {error}.")
    return notes


# ---- pictures: Pillow's formats, NIfTI volumes and DICOM series, brought to grey slices


def read_slices(content: bytes | Path | tuple[Path, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """Decode an encoded picture, its file, or the DICOM files of one series: yield its slices, and how each came.

    A slice is grey, uint8 (128, 128), in its proportions, padded with black, deeper values stretched from the darkest
    to the brightest; and came by mode, size and what was done, such as ``"RGB 200 x 180"``.

    Raises a ValueError if a slice is blank or has pixels that are not finite, or a volume does not reach the thesis's
    range; and whatever a decoder raises on a damaged file.
    """
    if isinstance(content, tuple):
        yield from _dicom_slices(content)
    elif isinstance(content, Path) and content.name.lower().endswith(VOLUME_SUFFIXES):
        import nibabel  # imported late, as below: most sets need none of these readers

        yield from _volume_slices(nibabel.load(content), "a volume")
    else:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            # the second image of a camera's file is a preview, those of an icon are other sizes
            pages = 1 if image.format in ("MPO", "ICO", "ICNS") else getattr(image, "n_frames", 1)
            for page in range(pages):
                image.seek(page)
                grey, came = _grey(image)
                yield _fit(grey), came + f" (page of {pages})" * (pages > 1)


def _grey(image: Image.Image) -> tuple[Image.Image, str]:
    came = f"{image.mode} {image.width} x {image.height}"
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image, came = ImageOps.exif_transpose(image), f"{came} (turned as its EXIF tag says)"
    if image.mode in _DEEP:  # Pillow would cut such values off at 255
        return _stretch(np.asarray(image, dtype=np.float64)), f"{came} (stretched from darkest to brightest)"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            came += " (laid over black)"
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("L"), came


def _stretch(values: np.ndarray, low: float | None = None, high: float | None = None) -> Image.Image:
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{n_bad} of its {values.size} pixels are not finite numbers")
    low, high = (values.min(), values.max()) if low is None else (low, high)
    scaled = 255 * (np.clip(values, low, high) - low) / max(float(high - low), 1e-12)
    return Image.fromarray(scaled.round().astype(np.uint8))


def _fit(grey: Image.Image) -> np.ndarray:
    form = (IMAGE_SIZE, IMAGE_SIZE)
    whole = grey if grey.size == form else ImageOps.pad(grey, form, Image.Resampling.LANCZOS)
    if any(low == high for low, high in (grey.getextrema(), whole.getextrema())):
        raise ValueError("it is blank (all pixels equal) and shows nothing")
    return np.asarray(whole)


def _volume_slices(volume, kind: str) -> Iterator[tuple[np.ndarray, str]]:
    """Take the axial slices of a volume that lie as far below the top of the head as the thesis's."""
    import nibabel

    volume = nibabel.as_closest_canonical(volume)  # axes: to the right, to the front, upwards
    values = np.asarray(volume.dataobj, dtype=np.float32)
    values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if values.ndim != 3:
        raise ValueError(f"it has {values.ndim} dimensions {values.shape}; expected one volume of three")
    across, down, step = (float(size) for size in volume.header.get_zooms()[:3])
    low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
    heights = np.flatnonzero((values > low + 0.1 * (high - low)).mean((0, 1)) > 0.01)
    places = np.unique(np.round(heights.max(initial=0) - _BELOW_TOP / step).astype(int))
    if not len(places := places[places >= 0]):
        raise ValueError(f"it is {values.shape[2] * step:.0f} mm high, and slices are taken 53 to 84 mm below the top")
    came = f"{kind} of {values.shape} voxels (axial slices 53 to 84 mm below the top of the head)"
    pixel = min(across, down)
    for place in places:
        grey = _stretch(values[:, :, place].T, low, high)  # the forehead is below, as in the thesis's images
        size = round(grey.width * across / pixel), round(grey.height * down / pixel)
        yield _fit(grey if size == grey.size else grey.resize(size, Image.Resampling.LANCZOS)), came


def _dicom_slices(files: tuple[Path, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """Take the slices of a series: of a volume as above, of single pictures each."""
    import nibabel
    import pydicom

    read = [pydicom.dcmread(file) for file in files]
    placed = [one for one in read if "ImagePositionPatient" in one and "ImageOrientationPatient" in one]
    if len(placed) < max(3, len(read)):
        for one in read:
            if one.get("SamplesPerPixel", 1) > 1:
                raise ValueError("it is in colour, as no MR image is")
            for page in np.atleast_3d(one.pixel_array.T).T:  # also of a file with several frames
                grey = _stretch(page.astype(np.float64))
                grey = ImageOps.invert(grey) if one.get("PhotometricInterpretation") == "MONOCHROME1" else grey
                yield _fit(grey), f"DICOM {grey.width} x {grey.height} (stretched from darkest to brightest)"
        return
    across, down = np.array(placed[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    placed.sort(key=lambda one: float(np.dot(np.cross(across, down), np.array(one.ImagePositionPatient, dtype=float))))
    first, last = (np.array(one.ImagePositionPatient, dtype=float) for one in (placed[0], placed[-1]))
    down_mm, across_mm = map(float, placed[0].PixelSpacing)
    affine = np.eye(4)  # of rows, columns and slices, in DICOM's axes: to the left, to the back, upwards
    affine[:3] = np.stack([down * down_mm, across * across_mm, (last - first) / (len(placed) - 1), first], axis=1)
    slope = [(float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))) for one in placed]
    stack = np.stack([one.pixel_array * s + i for one, (s, i) in zip(placed, slope, strict=True)], axis=-1)
    volume = nibabel.Nifti1Image(stack.astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    yield from _volume_slices(volume, "a DICOM series")
