"""Run the campaign, print its table, and keep it in ``benchmarks/README.md``: ``python -m benchmarks.faults``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing import connection
from pathlib import Path

from benchmarks.faults.engine import PROCESSES, Campaign, Tally, import_path

README = Path(__file__).parents[1] / "README.md"
RECORD = Path(__file__).parents[1] / "faults.json"
BEGIN, END = "<!-- written by python -m benchmarks.faults -->", "<!-- end of faults -->"
COLUMNS = ("trials", "rows_lost_or_doubled", "images_paid_twice", "dollars_off", "tracebacks", "hangs", "escapes")
LARGE = 32 << 20  # bytes of a file that is searched for the key; none is larger


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that are named and return 0, or 1 if anything was found."""
    options = _parser().parse_args(arguments)
    import_path()
    home = tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True)
    os.environ["HF_HOME"] = f"{home.name}/hub"
    parts = _parts()
    names = options.only.split(",") if options.only else list(parts)
    if unknown := [name for name in names if name not in parts]:
        raise SystemExit(f"there is no part {', '.join(unknown)}; choose from {', '.join(parts)}")
    with home:
        campaign, start = Campaign(Path(home.name), options.seed, options.scale), time.monotonic()
        tallies = [*_run([(name, parts[name]) for name in names], campaign, options.together), secrets(campaign)]
        print(_line(tallies[-1]))
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    run = {"seed": options.seed, "scale": options.scale, "date": date}
    rows = {tally.part: {**asdict(tally), **run} for tally in tallies}
    clean = all(tally.is_clean for tally in tallies)
    print(f"\n{table(rows)}\n\n{(time.monotonic() - start) / 60:.0f} minutes; "
          f"{'nothing was found' if clean else 'SOMETHING WAS FOUND'}")  # fmt: skip
    if options.write:
        keep(rows)
    return 0 if clean else 1


def keep(rows: dict[str, dict]) -> None:
    """Keep rows in ``faults.json`` in place of earlier ones of the same parts, and renew the table in the README."""
    kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    kept |= rows
    RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{table(kept)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def table(rows: dict[str, dict]) -> str:
    """Return the table of a campaign in Markdown."""
    names = [*COLUMNS, "seed", "scale", "date"]
    lines = ["| part | " + " | ".join(name.replace("_", " ") for name in names) + " | note |"]
    lines.append("| --- " * (len(names) + 2) + "|")
    for part, row in rows.items():
        values = [f"{row[name]:,}" if name == "trials" else str(row[name]) for name in names]
        notes = "; ".join(filter(None, [row["note"], f"{len(row['found'])} findings" * bool(row["found"])]))
        lines.append(f"| {part} | " + " | ".join(values) + f" | {notes} |")
    return "\n".join(lines)


def _run(parts: list[tuple], campaign: Campaign, together: int) -> list[Tally]:
    """Run the parts, some side by side, each in a process and a folder of its own; return their tallies in order."""
    waiting, running, tallies = list(parts), {}, {}
    while waiting or running:
        while waiting and len(running) < together:
            name, part = waiting.pop(0)
            receiver, sender = PROCESSES.Pipe(duplex=False)
            inner = Campaign(campaign.folder / name, campaign.seed, campaign.scale)
            inner.folder.mkdir()
            process = PROCESSES.Process(target=_one, args=(part, inner, sender))
            process.start()
            sender.close()
            running[receiver] = name, process, time.monotonic()
        for receiver in connection.wait(list(running)):
            name, process, begun = running.pop(receiver)
            try:
                tallies[name] = receiver.recv()
            except EOFError:
                tallies[name] = Tally(name, found=["the campaign itself failed"])
            process.join()
            print(f"{_line(tallies[name])} ({time.monotonic() - begun:.0f} s)", flush=True)
            for found in tallies[name].found:
                print(f"    {found}", flush=True)
    return [tallies[name] for name, _ in parts]


def _one(part, campaign: Campaign, sender) -> None:
    os.setsid()
    sender.send(part(campaign))


def secrets(campaign: Campaign) -> Tally:
    """Search every store, bank, log, deposit and notebook of the campaign for the key that all children had."""
    import pandas as pd
    from openai_server import KEY

    tally = Tally("files searched for the key")
    for path in campaign.folder.rglob("*"):
        if not path.is_file() or path.stat().st_size > LARGE:
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":  # compressed
            with contextlib.suppress(Exception):  # the campaign damages some
                content += pd.read_parquet(path).to_csv().encode()
        tally.trials += 1
        if KEY.encode() in content or KEY[3:19].encode() in content:
            tally.found.append(f"{path.relative_to(campaign.folder)} holds the key")
    return tally


def _parts() -> dict:
    from benchmarks.faults import fuzz, kills, places, service

    functions = (
        kills.networks, kills.studies, kills.fills, kills.service_fills, kills.joblib_workers, kills.dask_workers,
        kills.dask_sizes,
        places.full_disk, places.read_only, places.jumping_clock, places.two_at_once, service.calls, fuzz.malformed,
        fuzz.malicious, service.notebook,
    )  # fmt: skip
    return {function.__name__: function for function in functions}


def _line(tally: Tally) -> str:
    numbers = asdict(tally)
    wrong = [f"{numbers[name]} {name.replace('_', ' ')}" for name in COLUMNS[1:] if numbers[name]]
    return f"{tally.part}: {tally.trials} trials, {', '.join(wrong) or ('clean' if tally.is_clean else 'not clean')}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="What breaks, and what is lost?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of trials (default: 1, half an hour)")
    parser.add_argument("--only", default="", metavar="A,B", help="these parts alone")
    parser.add_argument("--together", type=int, default=2, metavar="N", help="parts side by side (default: 2)")
    parser.add_argument("--write", action="store_true", help="keep the results in benchmarks/faults.json and README.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
