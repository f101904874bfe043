"""Pictures in tables: a hub dataset, or a local folder of parquet files or of ``save_to_disk``.

Whatever the datasets library has against a source is passed on in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mri_aug.data.sources import Item, Report, find_column, part_of


def is_table_folder(folder: Path, files: list[Path]) -> bool:
    """Return whether a folder is read as a table: parquet files, or what ``save_to_disk`` wrote."""
    return any(file.suffix.lower() == ".parquet" for file in files) or _is_saved(folder)


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def table_items(
    source: str, report: Report, *, config: str | None, revision: str | None, columns: Mapping[str, str]
) -> Iterator[Item]:
    """Yield the rows of a hub dataset or of a local folder of tables.

    Columns are given by ``"image"``, ``"label"`` and ``"subject"`` where they have no common name. Reports rows without
    image or label, and those that hide their label. Raises a ConnectionError if the hub cannot be reached, and a
    ValueError if the source cannot be read, lacks a column or has several configurations and none is chosen.
    """
    import datasets  # imported late: it takes a second, and phantoms and class folders do not need it

    for split, table in _splits(source, report, config, revision).items():
        image = _column(table, "image", columns, datasets.Image, source)
        label = _column(table, "label", columns, datasets.ClassLabel, source)
        subject = find_column("subject", table.column_names, columns)
        report.people_from = f"the column {subject!r}" if subject else ""
        try:
            table = table.cast_column(image, datasets.Image(decode=False))
        except Exception as error:  # kinds of the library and of pyarrow
            raise ValueError(f"the column {image!r} of {source} holds no encoded images ({_said(error)})") from None
        feature, n_hidden = table.features[label], 0
        spell = feature.int2str if isinstance(feature, datasets.ClassLabel) else str
        for index, row in enumerate(table):
            picture, value, who = row[image], row[label], row[subject] if subject else None
            if picture is None or value is None:
                missing = "image" if picture is None else "label"
                report.faults.append(f"image {index} of split {split!r} of {source} has no {missing}; remove the row")
            elif value == -1:
                n_hidden += 1
            else:
                path = str(picture.get("path") or "")
                yield Item(
                    name=f"image {index} of split {split!r} of {source}",
                    content=picture["bytes"] or Path(source, path),
                    label=spell(value),
                    part=part_of(str(split)),
                    path=path,
                    subject="" if who is None else str(who),
                )
        if n_hidden:
            report.notes.append(f"{n_hidden} rows of split {split!r} hide their label (-1) and were left out.")


def _splits(source: str, report: Report, config: str | None, revision: str | None) -> Mapping:
    """Return the tables of a source by split."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    datasets.disable_progress_bars()  # in executed notebooks they leave a line for every update
    folder = Path(source)
    try:
        if _is_saved(folder):
            saved = datasets.load_from_disk(source)
            return saved if isinstance(saved, datasets.DatasetDict) else {"": saved}
        if folder.is_dir() and set("[]*?") & set(source):
            raise ValueError("the datasets library takes [ ] * ? in its path for a pattern; rename the folder")
        builder = datasets.load_dataset_builder(source, config, revision=revision)
        card = dict(builder.info.splits or {})
        if folder.is_dir():  # the card itself: what is prepared already has forgotten its numbers
            infos = datasets.info.DatasetInfosDict.from_directory(source)
            card = dict((infos.get(builder.config.name) or builder.info).splits or {})
        announced = {split: info.num_examples for split, info in card.items()}
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
            report.notes.append(
                f"The card announces {n} rows of split {split!r}, and there are {found}: a subset, or an interrupted "
                "download."
            )
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
    found = find_column(kind, table.column_names, columns) or (typed[0] if len(typed) == 1 else None)
    if found is None:
        raise ValueError(
            f"{source} lacks the column {kind!r}; it has {', '.join(table.column_names)}: give "
            f"columns={{{kind!r}: NAME}}"
        )
    return found
