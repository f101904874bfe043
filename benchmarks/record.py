"""The results file: sections of small tables, each stamped with what made it, written whole or not at all.

It keeps what other sections an earlier run measured on the same images; what the numbers mean is decided in
:mod:`benchmarks.targets`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mri_aug.provenance import machine, versions

Tables = dict[str, list[dict[str, Any]]]
PEERS = ("lightning", "fastai", "monai", "keras")  # whose versions are recorded


class Record:
    """``benchmarks.json`` in a folder, and the same numbers as ``benchmarks.csv``.

    Raises
    ------
    ValueError
        If the file that is there is not one of ours.
    """

    def __init__(self, folder: Path):
        self.file = Path(folder) / "benchmarks.json"
        self.content: dict[str, Any] = {"sections": {}, "targets": []}
        if self.file.is_file():
            try:
                self.content = json.loads(self.file.read_text(encoding="utf-8"))
                self.content["sections"].items()
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{self.file} is not a record of benchmarks; move it away") from None

    @property
    def sections(self) -> dict[str, Any]:
        return self.content["sections"]

    def keep(self, name: str, tables: Tables, *, seconds: float, run: dict[str, Any]) -> None:
        """Keep a section in place of an earlier one of its name, and drop those of other images or of another size.

        Parameters
        ----------
        name : str
        tables : dict of list of dict
            Rows by table; values are numbers, strings or None.
        seconds : float
            What measuring it took.
        run : dict
            The choices of the run, its dataset among them.
        """
        kept = {
            other: section for other, section in self.sections.items()
            if all(section["run"][key] == run[key] for key in ("images", "quick"))
        }  # fmt: skip
        self.content["sections"] = kept
        kept[name] = {"tables": tables, "seconds": round(seconds, 1), **stamp(), "run": run}
        self._write()

    def judge(self, targets: list[dict[str, Any]]) -> None:
        """Keep the table of targets."""
        self.content["targets"] = targets
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.file)
        temporary = self.file.with_suffix(f".csv.{os.getpid()}")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["section", "table", "row", "column", "value"])
            writer.writerows(self._cells())
        os.replace(temporary, self.file.with_suffix(".csv"))

    def _cells(self) -> Iterator[list[Any]]:
        for section, content in self.sections.items():
            for table, rows in content["tables"].items():
                for number, row in enumerate(rows):
                    for column, value in row.items():
                        yield [section, table, number, column, value]


def stamp() -> dict[str, Any]:
    """Return when, on what machine and with which versions, the frameworks' among them."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": now, "machine": machine(), "versions": versions() | versions(PEERS)}
