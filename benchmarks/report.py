"""Write the measured tables into ``README.md`` and draw the plot beside it: ``python -m benchmarks.report``.

Reads the record of :mod:`benchmarks.record`; it measures nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from benchmarks.contenders import OURS
from benchmarks.record import PEERS, Record, Tables

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- written by python -m benchmarks.report -->", "<!-- end -->"


def write(folder: Path = FOLDER) -> None:
    """Renew ``README.md`` and ``throughput.png`` in a folder from its ``benchmarks.json``.

    Raises
    ------
    ValueError
        If the README has no place for the tables.
    """
    record = Record(folder)
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{readme} must hold the lines {BEGIN!r} and {END!r} once")
    before, rest = text.split(BEGIN)
    body = "\n\n".join(parts(record.content))
    readme.write_text(f"{before}{BEGIN}\n{body}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    if "throughput" in record.sections:
        figure = draw_throughput(record.sections["throughput"]["tables"]["throughput"])
        figure.savefig(folder / "throughput.png", dpi=110, metadata={"Software": None})


def parts(content: dict[str, Any]) -> Iterator[str]:
    """Yield the paragraphs of the report: how it was measured, then a table for each section that was."""
    sections = content["sections"]
    if not sections:
        yield "Nothing has been measured yet."
        return
    latest = max(sections.values(), key=lambda section: section["date"])
    run, found, machines = latest["run"], {}, {}
    for name, section in sorted(sections.items(), key=lambda item: item[1]["date"]):
        found |= section["versions"]
        computer = section["machine"]
        words = f"{computer['processor']} ({computer['cores']} cores, {computer['memory_gib']:.0f} GiB)"
        machines.setdefault(words, []).append(name)
    one = len(machines) == 1
    places = "; on ".join(words if one else f"{words}: {', '.join(names)}" for words, names in machines.items())
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", "torch", *PEERS) if name in found)
    yield (
        f"Measured until {latest['date'][:10]} on {places}{'' if one else ';'} with {versions}, "
        f"on {run['n_images']} images of {run['n_people']} people ({run['dataset']})."
    )
    for name, make in _TABLES.items():
        if name in sections:
            yield make(sections[name]["tables"])
    if content["targets"]:
        yield _targets(content["targets"])


def draw_throughput(rows: list[dict[str, Any]]) -> Figure:
    """Draw training images per second of every contender, with the least and the most."""
    rows = sorted((row for row in rows if row["n"]), key=lambda row: -row["images_per_second"])
    names, rates = [row["contender"] for row in rows], [row["images_per_second"] for row in rows]
    ends = np.abs([[row["least"] - row["images_per_second"], row["most"] - row["images_per_second"]] for row in rows]).T
    with mpl.rc_context(sns.axes_style("ticks") | {"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(7.2, 0.7 + 0.33 * len(rows)), layout="constrained")
        ax = figure.subplots()
        sns.barplot(x=rates, y=names, hue=[name == OURS for name in names], palette=["#9a9a9a", "#0072B2"],
                    orient="h", legend=False, ax=ax)  # fmt: skip
        ax.errorbar(rates, range(len(rows)), xerr=ends, fmt="none", ecolor="#222222", elinewidth=1, capsize=3)
        ax.set_xlabel("training images per second (median, least and most)")
        sns.despine(figure)
    return figure


def _throughput(tables: Tables) -> str:
    found = []
    for rows in tables.values():  # of 128, then of 64 pixels
        own = next(row["images_per_second"] for row in rows if row["contender"] == OURS)
        found.append([(f"{row['images_per_second']:,.0f}", f"{own / row['images_per_second']:.1f} ×")
                      if row["n"] else (row["note"], "") for row in rows])  # fmt: skip
    names = [row["contender"] for row in tables["throughput"]]
    cells = ([name, *(cell for pair in pairs for cell in pair)] for name, *pairs in zip(names, *found, strict=True))
    header = ("contender", "training images per second", "ours is", "at 64 x 64 pixels", "ours is")
    return "![Training images per second of every contender](throughput.png)\n\n" + _table(
        header[: 1 + 2 * len(found)], cells
    )


def _quality(tables: Tables) -> str:
    columns = ("contender", "n", "epochs", "median", "least", "most", "simulations_per_hour")
    cells = ([_text(row.get(column)) for column in columns] for row in tables["quality"])
    header = (*columns[:3], "test cross-entropy", "lowest", "highest", "simulations per hour")
    return "Whole simulations, from the split to the evaluated row, on the same splits:\n\n" + _table(header, cells)


def _ablation(tables: Tables) -> str:
    lost = {row["without"]: row["factor"] for row in tables["removed"]}
    cells = ((row["step"], f"{row['images_per_second']:.0f}", f"{row['factor']:.2f}", _text(lost.get(row["step"])))
             for row in tables["cumulative"])  # fmt: skip
    header = ("gain", "images per second, with those above", "factor when added", "factor lost without it")
    return "What each gain is worth:\n\n" + _table(header, cells)


def _growth(tables: Tables) -> str:
    cells = [(f"{row['images']:,} images trained on", f"{1000 * row['seconds_per_step']:.0f} ms a step",
              f"{row['resident_mb']:,.0f} MB resident") for row in tables["training"]]  # fmt: skip
    cells += [(f"{row['images']:,} images searched for people", f"{row['seconds']:.1f} s",
               f"{row['resident_mb']:,.0f} MB resident") for row in tables["people"]]  # fmt: skip
    cells += [(f"{row['rows']:,} rows of chapter 7's statistics", f"{row['seconds']:.1f} s", "")
              for row in tables["statistics"]]  # fmt: skip
    cells += [(f"{row['variations']:,} images made by `morph`", f"{row['variations_per_second']:.0f} per second", "")
              for row in tables["morph"]]  # fmt: skip
    return "How cost grows:\n\n" + _table(("what", "time", "memory"), cells)


def _targets(rows: list[dict[str, Any]]) -> str:
    met = {True: "yes", False: "no", None: "not measured"}
    cells = ((row["target"], f"{_text(row['measured'])} {row['unit']}", f"{row['bound']} {row['wanted']:,.4g}",
              met[row["met"]]) for row in rows)  # fmt: skip
    return "Targets:\n\n" + _table(("target", "measured", "wanted", "met"), cells)


_TABLES = {"throughput": _throughput, "quality": _quality, "ablation": _ablation, "growth": _growth}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
    return "–" if value is None else f"{value}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(re.sub(r"\s*\|\s*", "/", cell) for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(write())
