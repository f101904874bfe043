"""Pictures in tables: a hub dataset, or a local folder of parquet files or of ``save_to_disk``.

Whatever the datasets library says against a source is passed on in one sentence.
"""

from __future__ import annotations

from collections import Counter
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

    Parameters
    ----------
    source : str
        A hub id or a folder.
    report : Report
        Gets rows that hide their label as notes, and rows without image or label as faults.
    config, revision : str, optional
    columns : mapping
        Columns by ``"image"``, ``"label"`` and ``"subject"``, where they have no common name.

    Raises
    ------
    ConnectionError
        If a hub dataset cannot be fetched.
    ValueError
        If the source has several configurations and none is given, a column is missing, or it cannot be read.
    """
    import datasets  # imported late: it takes a second, and phantoms and class folders do not need it

    for split, table in _read(source, report, config, revision).items():
        image = _column(table, "image", columns, datasets.Image, source)
        label = _column(table, "label", columns, datasets.ClassLabel, source)
        subject = find_column("subject", table.column_names, columns if columns.get("subject") != label else {})
        feature = table.features[label]
        is_named = isinstance(feature, datasets.ClassLabel)
        hidden = 0
        for index, row in enumerate(table.cast_column(image, datasets.Image(decode=False))):
            picture, value = row[image], row[label]
            path = str((picture or {}).get("path") or "")
            name = f"image {index} of split {split!r} of {source}"
            if picture is None or value is None:
                report.faults.append(f"{name} has no {'image' if picture is None else 'label'}; remove the row")
            elif value == -1:
                hidden += 1
            else:
                spelled = feature.int2str(value) if is_named else str(value)
                who = str(row[subject]) if subject and row[subject] is not None else ""
                yield Item(name, picture["bytes"] or Path(path), spelled, part_of(str(split)), path, who)
        if hidden:
            report.notes.append(f"{hidden} rows of split {split!r} hide their label (-1) and were left out.")


def _read(source: str, report: Report, config: str | None, revision: str | None) -> Mapping:
    """Return the splits of a source; none of the library's errors comes through as it is."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    # bars would end up in executed notebooks as a fragment of text for every update
    datasets.disable_progress_bars()
    folder = Path(source)
    try:
        if _is_saved(folder):
            saved = datasets.load_from_disk(source)
            return saved if isinstance(saved, datasets.DatasetDict) else {"": saved}
        if config is None and len(names := datasets.get_dataset_config_names(source, revision=revision)) > 1:
            default = datasets.get_dataset_default_config_name(source, revision=revision)
            if default is None:
                raise ValueError(f"it has the configurations {', '.join(names)}; give '{source}:{names[0]}' or another")
            report.notes.append(f"Of the configurations {', '.join(names)}, {default} was read.")
        builder = datasets.load_dataset_builder(source, config, revision=revision)
        announced = builder.info.splits or {}
        if folder.is_dir():  # the card itself: a prepared copy has forgotten what it announced
            infos = datasets.info.DatasetInfosDict.from_directory(source)
            announced = (infos.get(builder.config.name) or builder.info).splits or {}
        announced = {split: info.num_examples for split, info in announced.items()}
        builder.download_and_prepare(verification_mode="no_checks")
        splits = builder.as_dataset()
    except (ConnectionError, DatasetNotFoundError, OSError) as error:
        raise ConnectionError(
            f"the dataset {source!r} is neither in the local cache nor could it be fetched ({_said(error)}); check the "
            "id and the network, log in for a gated set ('hf auth login'), or download it and give its folder, or use "
            "'phantom'"
        ) from None
    except Exception as error:  # scripts, damaged files, cards that contradict the files: the library's kinds are many
        raise ValueError(
            f"cannot read {source}: {_said(error)} (a file may be damaged, a split empty, or the card wrong: correct it, "
            "or give a folder of parquet files or of one folder per class)"
        ) from None
    counts = Counter({split: len(table) for split, table in splits.items()})
    for split, n in announced.items():
        if n and n != counts[split]:
            report.notes.append(
                f"The card announces {n} rows of split {split!r}, and there are {counts[split]}: a subset, or an "
                "interrupted download."
            )
    return splits


def _said(error: BaseException) -> str:
    """Return what an error says, or the error behind it, on one line."""
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:400]}" if said else type(error).__name__


def _column(table, kind: str, columns: Mapping[str, str], feature: type, source: str) -> str:
    """Return the column of images or labels: the given one, one of a common name, or the only one of its type."""
    if (found := find_column(kind, table.column_names, columns)) is not None:
        return found
    typed = [name for name, value in table.features.items() if isinstance(value, feature)]
    if len(typed) == 1:
        return typed[0]
    raise ValueError(
        f"{source} lacks the column {kind!r}; it has {', '.join(table.column_names)}: give columns={{{kind!r}: ...}}"
    )
