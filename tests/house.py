"""Measure the house: rooms, files, lines and public names of the library (`make house` prints them)."""

from __future__ import annotations

import ast
from pathlib import Path

from mri_aug.provenance import library_modules

ROOT = "mri_aug"
FILES = library_modules()


def room(module: str) -> str:
    """``mri_aug.generators.ledger`` lies in ``generators``; the package's own file in no room."""
    return module.split(".")[1] if "." in module else ""


def public_names(path: Path) -> list[str]:
    """Return the public functions and classes that a file defines."""
    kinds = ast.FunctionDef | ast.ClassDef
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def measure() -> dict[str, tuple[int, int, int]]:
    """Return files, lines and public functions and classes by room."""
    rooms: dict[str, tuple[int, int, int]] = {}
    for module, path in FILES.items():
        found = (1, len(path.read_text(encoding="utf-8").splitlines()), len(public_names(path)))
        name = room(module)
        rooms[name] = tuple(map(sum, zip(rooms.get(name, (0, 0, 0)), found, strict=True)))
    return rooms


if __name__ == "__main__":
    table = measure()
    print(f"{'room':12} files  lines  public names")
    for name, (files, lines, names) in sorted(table.items()):
        print(f"{name or ROOT:12} {files:5}  {lines:5}  {names:5}")
    files, lines, names = (sum(column) for column in zip(*table.values(), strict=True))
    print(f"{len(table) - 1} rooms {files:9}  {lines:5}  {names:5}")
