"""Malformed input of every kind, drawn by a seed: each must end with an answer, or with one clear error.

Some of it is malicious: it may not write outside ``artifacts/``, run what it holds, or read a device.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.faults import children
from benchmarks.faults.engine import ROOT, Campaign, Tally
from mri_aug.models.networks import make_model
from mri_aug.results import deposit
from mri_aug.study.store import _SCHEMA

SMALL = ("study", "--profile", "demo", "--parts", "draft", "--simulations", "1", "--jobs", "1")
LOOK = (*SMALL, "--outlook")
CLASSES = ("Non_Demented", "Very_Mild_Demented", "Mild_Demented", "Moderate_Demented")
TOGETHER = 2  # children at a time
Trial = tuple[Callable, tuple]  # what a child calls


def malformed(campaign: Campaign) -> Tally:
    """Feed malformed images, tables, folders, weights, deposits, stores and parameters."""
    tally, rng = Tally("malformed inputs"), np.random.default_rng(campaign.seed + 7)
    makers = (_images, _table, _folder, _weights, _deposit, _store, _parameters)
    counts, refused, running = dict.fromkeys((maker.__name__[1:] for maker in makers), 0), 0, []
    n = campaign.trials(500, len(makers))
    for number in range(n):
        maker = makers[number % len(makers)]
        home = campaign.place(maker.__name__[1:])
        what, (function, arguments) = maker(home, rng)
        running.append((campaign.start(function, *arguments), home, what, _written(home)))
        counts[maker.__name__[1:]] += 1
        while len(running) >= (TOGETHER if number < n - 1 else 1):
            child, home, what, before = running.pop(0)
            refused += campaign.finish(child, tally, of=what) != 0
            tally.escapes += len(_written(home) - before)
    tally.trials = n
    tally.note = f"{refused} refused; " + ", ".join(f"{count} {name}" for name, count in counts.items())
    return tally


def malicious(campaign: Campaign) -> Tally:
    """Feed paths that lead outside, archives that unpack there, pickles that act, and devices."""
    tally = Tally("malicious archives, paths, parameters")
    outside = campaign.place("outside")
    (outside / "secret.png").write_bytes(_png(np.random.default_rng(0)))
    for number, maker in enumerate(_MALICIOUS):
        home = campaign.place(f"malicious{number}")
        function, arguments = maker(home, outside)
        before, seen = _written(home), set(outside.rglob("*"))
        child = campaign.start(function, *arguments)
        campaign.finish(child, tally, of=maker.__name__)
        escaped = (_written(home) - before) | (set(outside.rglob("*")) - seen)
        for line in child.log.read_text(errors="replace").splitlines():
            if line.startswith("output ") and not Path(line[7:]).is_relative_to(ROOT / "artifacts"):
                escaped.add(Path(line[7:]))
        tally.escapes += len(escaped)
        tally.found += [f"{maker.__name__} wrote {path}" for path in sorted(escaped)]
        tally.trials += 1
    return tally


def _written(home: Path) -> set[Path]:
    """Return the files of a checkout outside ``artifacts/``."""
    return {path for path in home.rglob("*") if path.relative_to(home).parts[0] != "artifacts"}


# ---- bytes


def _damaged(content: bytes, rng) -> bytes:
    """Return bytes cut off, with bits flipped, a stretch overwritten, or something in between."""
    data, kind = bytearray(content), rng.integers(6)
    if kind == 0:
        return bytes(data[: rng.integers(len(data) + 1)])
    if kind == 1:
        for place in rng.integers(len(data), size=rng.integers(1, 20)):
            data[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        place = rng.integers(len(data))
        data[place : place + rng.integers(1, 200)] = rng.bytes(int(rng.integers(0, 200)))
    elif kind == 3:
        data[rng.integers(64) :] = rng.bytes(int(rng.integers(0, 500)))
    elif kind == 4:
        place = int(rng.integers(max(1, len(data) - 4)))
        data[place : place + 4] = struct.pack(">I", rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]))
    else:
        return rng.bytes(int(rng.integers(0, 300)))
    return bytes(data)


def _png(rng, mode: str = "L", size: tuple[int, int] = (128, 128), form: str = "PNG") -> bytes:
    levels = rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    levels[: size[1] // 4] = 0
    file = io.BytesIO()
    Image.fromarray(levels).convert(mode).save(file, format=form)
    return file.getvalue()


# ---- images, tables, folders


def _tree(home: Path, rng, per_class: int = 2) -> Path:
    """Write a folder of class folders and return it."""
    for number, name in enumerate(CLASSES):
        folder = home / "artifacts" / "data" / name
        folder.mkdir(parents=True)
        for k in range(per_class):
            (folder / f"p{number}{k // 2}_{k}.png").write_bytes(_png(rng, size=(32, 32)))
    return home / "artifacts" / "data"


def _a_picture(data: Path, rng) -> Path:
    found = sorted(path for path in data.rglob("*") if path.is_file())
    return found[rng.integers(len(found))]


def _images(home: Path, rng) -> tuple[str, Trial]:
    data = _tree(home, rng)
    kind = rng.integers(5)
    for _ in range(rng.integers(1, 4)):
        path = _a_picture(data, rng)
        if kind <= 2:
            form = rng.choice(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
            path.write_bytes(_damaged(_png(rng, form=str(form), mode="RGB" if form in ("JPEG", "WEBP") else "L"), rng))
        elif kind == 3:
            mode, form = [
                ("1", "PNG"),
                ("P", "GIF"),
                ("RGBA", "PNG"),
                ("CMYK", "JPEG"),
                ("I;16", "PNG"),
                ("F", "TIFF"),
            ][rng.integers(6)]
            size = [(1, 1), (1, 300), (500, 3), (129, 127)][rng.integers(4)]
            path.write_bytes(_png(rng, "L", size) if mode == "I;16" else _png(rng, mode, size, form))
        else:
            header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 0, 0, 0, 0)
            other = [b"", b"GIF89a", b"II*\x00" + b"\xff" * 40, header, b"version https://git-lfs.github.com/spec/v1\n",
                     b"\x5c\x01" * 200, b"DICM".rjust(132, b"\0") + rng.bytes(50)][rng.integers(7)]  # fmt: skip
            suffix = [".png", ".nii", ".nii.gz", ".dcm", ".mgz", ".tif", ""][rng.integers(7)]
            path.with_name("strange" + suffix).write_bytes(other)
    return f"images of kind {kind}", (children.command, (str(home), *LOOK, "--dataset", str(data)))


def _table(home: Path, rng) -> tuple[str, Trial]:
    data = home / "artifacts" / "data"
    (data / "img").mkdir(parents=True)
    names = [f"img/{k}.png" for k in range(8)]
    for name in names:
        (data / name).write_bytes(_png(rng, size=(32, 32)))
    rows = [[name, CLASSES[k % 4], f"s{k}"] for k, name in enumerate(names)]
    for _ in range(rng.integers(1, 5)):
        cell = [
            "",
            "../../x.png",
            "/etc/passwd",
            "/dev/zero",
            "nan",
            "\x00",
            "é" * 300,
            "'); drop table",
            "=1+1",
            "1e999",
        ]
        rows[rng.integers(8)][rng.integers(3)] = cell[rng.integers(len(cell))]
    frame = pd.DataFrame(rows, columns=[["file", "label", "subject"], ["a", "a", "b"], ["image", "dx", "image"]][
        0 if rng.random() < 0.7 else rng.integers(1, 3)])  # fmt: skip
    kind = ("csv", "tsv", "jsonl", "parquet")[rng.integers(4)]
    path = data / f"table.{kind}"
    if kind == "jsonl":
        content = "\n".join(json.dumps(dict(zip(map(str, frame.columns), row, strict=True))) for row in rows).encode()
    elif kind == "parquet":
        content = _parquet(rows, data, rng)
    else:
        content = frame.to_csv(index=False, sep="\t" if kind == "tsv" else ",").encode()
    path.write_bytes(_damaged(content, rng) if rng.random() < 0.6 else content)
    more = ["--subjects", ["subject", "nobody", "(", "(.)(.)", str(path), "s(\\d)"][rng.integers(6)]]
    more = more if rng.random() < 0.4 else []
    return f"{kind} table", (children.command, (str(home), *LOOK, "--dataset", str(data), *more))


def _parquet(rows: list, data: Path, rng) -> bytes:
    pictures = [{"bytes": (data / f"img/{k}.png").read_bytes(), "path": row[0]} for k, row in enumerate(rows)]
    if rng.random() < 0.5:
        pictures[rng.integers(8)]["bytes"] = [None, b"", b"\xff" * 9][rng.integers(3)]
    file = io.BytesIO()
    frame = pd.DataFrame({"image": pictures, "label": [row[1] for row in rows], "subject": [row[2] for row in rows]})
    frame.to_parquet(file)
    return file.getvalue()


def _folder(home: Path, rng) -> tuple[str, Trial]:
    data, kind = _tree(home, rng), rng.integers(9)
    target: Path | str = data
    first = data / CLASSES[0]
    if kind == 0:
        (data / "round").symlink_to(data)
        (first / "gone.png").symlink_to(home / "nowhere.png")
    elif kind == 1:
        os.mkfifo(first / "pipe.png")
    elif kind == 2:
        (first / "folder.png").mkdir()
        (data / CLASSES[1]).rename(data / "Something else")
    elif kind == 3:
        for name in ("a\nb.png", "\x7f.png", "e\u0301\u202e.png", "x" * 200 + ".png", "-rf.png", "%s{}.png"):
            (first / name).write_bytes(_png(rng, size=(32, 32)))
    elif kind == 4:
        os.symlink("/dev/zero", first / "zero.png")
        os.symlink("/dev/full", first / "full.png")
    elif kind == 5:
        for path in list(data.rglob("*.png"))[:: rng.integers(1, 3)]:
            path.unlink()
    elif kind == 6:
        deep = first
        for _ in range(60):
            deep = deep / "deeper"
        deep.mkdir(parents=True)
        (deep / "p.png").write_bytes(_png(rng, size=(32, 32)))
    elif kind == 7:
        target = ["", ".", "/", "/dev/null", "a/b/c", "~nobody/x", "owner/..", "..", "phantom:x", "\x00"][
            rng.integers(1, 10)
        ]
        target = data / "nothing" if target in ("/", ".", "..") else target
    else:
        names = ["CN,MCI", "CN,CN,AD,X", ",,,", "Non_Demented", "a,b,c,d,e,f"][rng.integers(5)]
        return "class names", (children.command, (str(home), *LOOK, "--dataset", str(data), "--classes", names))
    return f"folder of kind {kind}", (children.command, (str(home), *LOOK, "--dataset", str(target)))


# ---- weights, deposits, stores


class _Acts:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _state(rng) -> dict:
    state = {name: tensor.clone() for name, tensor in make_model("cnn", seed=0).state_dict().items()}
    name = list(state)[rng.integers(len(state))]
    changed = [torch.zeros(3), state[name].double(), state[name] * float("nan"), state[name][..., :1], "text", None, {}]
    state[name] = changed[rng.integers(len(changed))]
    return state


def _weights(home: Path, rng) -> tuple[str, Trial]:
    path, kind = home / "artifacts" / "weights.pth", rng.integers(6)
    path.parent.mkdir()
    file = io.BytesIO()
    torch.save(_state(rng) if kind else make_model("cnn", seed=0).state_dict(), file)
    if kind <= 2:
        path.write_bytes(_damaged(file.getvalue(), rng))
    elif kind == 3:
        path.write_bytes(file.getvalue())
    elif kind == 4:
        path.write_bytes(pickle.dumps([{}, [1], {"a": 1}, 7][rng.integers(4)]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../evil", b"x")
            archive.writestr("archive/data.pkl", rng.bytes(30))
    return f"weights of kind {kind}", (children.weights, (str(path),))


def _a_deposit(home: Path, rng) -> Path:
    place, n = home / "artifacts" / "deposit", 5
    table = pd.DataFrame({"key": [f"{k:032x}" for k in range(n)], "condition": "a", "generator": "none",
                          "protocol": "image", "seconds": rng.random(n), "simulation": np.arange(n)})  # fmt: skip
    return deposit.export(table, place, manifest={"date": "2026-01-01"})


def _deposit(home: Path, rng) -> tuple[str, Trial]:
    place, kind = _a_deposit(home, rng), rng.integers(5)
    table, manifest = place / "rows.parquet", place / "manifest.json"
    if kind == 0:
        manifest.write_bytes(_damaged(manifest.read_bytes(), rng))
    else:
        if kind in (1, 2):
            table.write_bytes(_damaged(table.read_bytes(), rng))
        else:
            frame = pd.read_parquet(table)
            changes = (
                lambda: frame.drop(columns="key"),
                lambda: frame.assign(key=frame["simulation"]),
                lambda: frame.assign(key=None),
                lambda: frame.assign(key="one"),
                lambda: frame.assign(more=pd.Timestamp("2020-01-01")),
                lambda: frame.assign(more=[[1], [2], [3], [4], [5]]),
                lambda: frame.iloc[:0],
                lambda: frame.assign(seconds="long"),
                lambda: frame.assign(more=b"\xff"),
                lambda: frame.set_index("key"),
            )
            changes[rng.integers(len(changes))]().to_parquet(table)
        if kind != 1:  # the checksum says nothing then
            content = json.loads(manifest.read_text())
            content["sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
            manifest.write_text(json.dumps(content))
    return f"deposit of kind {kind}", (children.command, (str(home), *LOOK, "--from", str(place)))


def _store(home: Path, rng) -> tuple[str, Trial]:
    path, kind = home / "artifacts" / "store.sqlite", rng.integers(4)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(_SCHEMA)
        texts = ["{}", "[]", "5", "null", '"text"', "{half", "", '{"seconds": "long"}', '{"seconds": null}',
                 '{"a": NaN}', "[" * 5000, '{"key": 3}', b"\xff\xfe", 7,
                 '{"seconds": 1, "condition": [1]}']  # fmt: skip
        for key in _some_keys():
            row = texts[rng.integers(len(texts))] if kind else json.dumps({"seconds": 1.0, "text": "x" * 500})
            connection.execute("insert into simulations values (?, 'now', ?)", (key, row))
    if kind in (0, 1):
        path.write_bytes(_damaged(path.read_bytes(), rng))
    return f"store of kind {kind}", (children.command, (str(home), *LOOK))


def _some_keys() -> list[str]:
    """Return the keys of the study that the command looks for."""
    from mri_aug.models.training import TrainConfig
    from mri_aug.study.parts import chapter_parts, part_sizes, profile_parameters
    from mri_aug.study.run import _prepare

    if not _KEYS:
        sizes = profile_parameters("demo")
        part = chapter_parts(0.3, **part_sizes(sizes | {"n_simulations": 1}))[0]
        study = _prepare(part.conditions, children.toy(), 0, TrainConfig(epochs=sizes["epochs"]), {})
        _KEYS.extend(study.tasks(1))
    return _KEYS


_KEYS: list[str] = []


# ---- parameters

_WORDS = (
    "", "-1", "0", "1e999", "nan", "inf", "x", "10**9", "None", "[]", "{}", "../..", "/dev/null", "é\u202e", "1;ls",
    "9" * 400, "true", "0.3", "\x1b[31m",
)  # fmt: skip
_VALUES = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), "", "x", "../../x", "/dev/zero", [], [[]], {}, {"a": 1},
    10**400, "é", [None], ("a",), 0.3, -0.0,
)  # fmt: skip
_NAMED = {
    "--real-frac": (*_WORDS[:7], "2"), "--simulations": ("-1", "0", "x", "1e3"), "--seed": ("-1", "x", "9" * 40, "1"),
    "--epochs": ("0", "-3", "x"), "--parts": _WORDS, "--generator": _WORDS, "--device": _WORDS, "--from": _WORDS,
    "--option": ("a", "a=", "=1", "n=[1", "model=null", "prices={}"), "--classes": _WORDS, "--subjects": _WORDS,
    "--bank": ("/dev/null", "/proc/x"), "--scheduler": ("", "tcp://", "x", "tcp://127.0.0.1:1", "http://[::1"),
}  # fmt: skip


def _parameters(home: Path, rng) -> tuple[str, Trial]:
    kind, value = rng.integers(4), _VALUES[rng.integers(len(_VALUES))]
    if kind == 0:
        name = list(_NAMED)[rng.integers(len(_NAMED))]
        word = _NAMED[name][rng.integers(len(_NAMED[name]))]
        run = LOOK if name != "--scheduler" else SMALL
        return f"{name} {word[:40]!r}", (children.command, (str(home), *run, f"{name}={word}"))
    if kind == 1:
        fields = list(children.Condition.__dataclass_fields__)
        name = fields[rng.integers(len(fields))]
        return f"condition {name}={str(value)[:40]}", (children.condition, ({name: value},))
    if kind == 2:
        maker = ("openai-edits", "openai-variations", "morph", "diffusion", "hub", "duplicate")[rng.integers(6)]
        name = ("size", "prompt", "prices", "quality", "model", "concurrency", "strength", "path", "extra_body",
                "timeout_seconds")[rng.integers(10)]  # fmt: skip
        return f"{maker} {name}={str(value)[:40]}", (children.options_of, (maker, {name: value}))
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    name = ("real_frac", "dataset", "n_simulations", "policies", "seed", "generator_options", "nobody")[rng.integers(7)]
    text = str(_VALUES[rng.integers(len(_VALUES))]) if rng.random() < 0.7 else "[1, {a: *b"
    notebook = notebooks[rng.integers(len(notebooks))]
    return f"{notebook.name} {name}: {text[:40]}", (children.parameters, (str(notebook), name, text))


# ---- malicious


def _zip_as_dataset(home: Path, outside: Path) -> Trial:
    path = home / "artifacts" / "data.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../../../{outside.name}/evil.png", b"x")
        archive.writestr(str(outside / "evil2.png"), b"x")
    return children.command, (str(home), *LOOK, "--dataset", str(path))


def _zip_in_dataset(home: Path, outside: Path) -> Trial:
    data = _tree(home, np.random.default_rng(0))
    with zipfile.ZipFile(data / CLASSES[0] / "more.zip", "w") as archive:
        archive.writestr(f"../../../../{outside.name}/evil.png", b"x")
    return children.command, (str(home), *LOOK, "--dataset", str(data))


def _zip_in_cache(home: Path, outside: Path) -> Trial:
    """Every cache file is the attacker's: its entries lead outside, and hold a pickle."""
    data = _tree(home, np.random.default_rng(0))
    return children.again_from_cache, (str(home), [*LOOK, "--dataset", str(data)], _Acts(outside / "evil"))


def _pickle_in_weights(home: Path, outside: Path) -> Trial:
    path = home / "artifacts" / "weights.pth"
    path.parent.mkdir()
    torch.save({"a": _Acts(outside / "evil")}, path)
    return children.weights, (str(path),)


def _bare_pickle_as_weights(home: Path, outside: Path) -> Trial:
    path = home / "artifacts" / "weights.pth"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(_Acts(outside / "evil")))
    return children.weights, (str(path),)


def _parquet_of(home: Path, paths: list[str]) -> Trial:
    data, rng = home / "artifacts" / "data", np.random.default_rng(0)
    data.mkdir(parents=True)
    rows = [{"bytes": _png(rng, size=(32, 32)), "path": f"{k}.png"} for k in range(8)]
    rows += [{"bytes": None, "path": path} for path in paths]
    labels = [CLASSES[k % 4] for k in range(len(rows))]
    pd.DataFrame({"image": rows, "label": labels}).to_parquet(data / "train.parquet")
    return children.command, (str(home), *LOOK, "--dataset", str(data))


def _device_in_table(home: Path, outside: Path) -> Trial:
    return _parquet_of(home, ["/dev/zero"])


def _terminal_in_table(home: Path, outside: Path) -> Trial:
    return _parquet_of(home, ["/dev/stdin"])


def _path_in_table(home: Path, outside: Path) -> Trial:
    return _parquet_of(home, [f"../../../{outside.name}/secret.png", str(outside / "secret.png")])


def _pickle_in_deposit(home: Path, outside: Path) -> Trial:
    place = _a_deposit(home, np.random.default_rng(0))
    content = pickle.dumps(_Acts(outside / "evil"))
    (place / "rows.parquet").write_bytes(content)
    manifest = json.loads((place / "manifest.json").read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return children.command, (str(home), *LOOK, "--from", str(place))


def _name_of_deposit(home: Path, outside: Path) -> Trial:
    return children.command, (str(home), *LOOK, "--export", "..")


def _name_with_classes(home: Path, outside: Path) -> Trial:
    data = _tree(home, np.random.default_rng(0))
    classes = f"../../{outside.name},{outside}/x,/dev/full,.."
    return children.command, (str(home), *LOOK, "--dataset", str(data), "--classes", classes)


def _parameter(word: str, text: str) -> Callable[[Path, Path], Trial]:
    def parameter_of_a_notebook(home: Path, outside: Path) -> Trial:
        return children.parameters, (str(ROOT / "notebooks" / "07_results.ipynb"), word, text)

    return parameter_of_a_notebook


_MALICIOUS = (
    _zip_as_dataset, _zip_in_dataset, _zip_in_cache, _pickle_in_weights, _bare_pickle_as_weights, _device_in_table,
    _terminal_in_table, _path_in_table, _pickle_in_deposit, _name_of_deposit, _name_with_classes,
    _parameter("dataset", "../../../../evil"), _parameter("dataset", "/dev/full"), _parameter("dataset", "/" * 300),
    _parameter("dataset", "!!python/object/apply:os.system ['true']"),
)  # fmt: skip
