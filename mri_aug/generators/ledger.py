"""A bank on disk: one file per answer, a ledger with a row per paid call, and a lock that one fill at a time holds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image, PngImagePlugin

from mri_aug.provenance import atomic_write, sqlite_fault

_CHUNK = "provenance"  # name of the PNG text chunk that holds the record
_PIXELS, _REFUSED, _LEDGER = ".png", ".refused.json", "ledger.sqlite"


@dataclass(frozen=True)
class BankFiles:
    """The answers kept in a folder, by key; the folder is made on first writing."""

    folder: Path

    def answer(self, key: str, *, warn: bool = True) -> tuple[np.ndarray | None, dict] | None:
        """Return pixels, uint8 (128, 128), and record of an answer; no pixels for a refusal, None where it is missing.

        A damaged file is missing, and named in a warning.
        """
        return _checked(self._path(key, _PIXELS), key, _open_png, warn) or _checked(
            self._path(key, _REFUSED), key, lambda content: (None, json.loads(content)), warn
        )

    def keep(self, record: Mapping[str, object], pixels: np.ndarray | None) -> None:
        """Write a variation, or with no pixels a refusal; nothing of it remains if it cannot be written (OSError)."""
        if pixels is None:
            content, suffix = json.dumps(_sealed(record), indent=1).encode(), _REFUSED
        else:
            text, file = PngImagePlugin.PngInfo(), io.BytesIO()
            text.add_text(_CHUNK, json.dumps(_sealed({**record, "pixels_sha256": _digest(pixels)})))
            Image.fromarray(pixels).save(file, format="PNG", pnginfo=text)
            content, suffix = file.getvalue(), _PIXELS
        with atomic_write(self._path(str(record["key"]), suffix)) as part:
            part.write_bytes(content)

    def identity(self, *, make: bool) -> str:
        """Return sixteen hexadecimal digits drawn when the folder was first used, or "" where it never was."""
        path = self.folder / "identity"
        if make and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.lock():
                if not path.exists():
                    with atomic_write(path) as part:
                        part.write_text(secrets.token_hex(8), encoding="ascii")
        return path.read_text(encoding="ascii") if path.exists() else ""

    def lock(self) -> FileLock:
        """Return the lock of the whole bank; the system releases that of a process that dies."""
        return FileLock(self.folder / "lock")

    def kept_keys(self, *, refused: bool = False) -> Iterator[str]:
        """Yield the key of every variation, or of every refusal, unchecked, in order."""
        suffix = _REFUSED if refused else _PIXELS
        yield from (path.name.removesuffix(suffix) for path in sorted(self.folder.glob(f"??/*{suffix}")))

    def _path(self, key: str, suffix: str) -> str:
        return os.path.join(self.folder, key[:2], key + suffix)


def _checked(path: str, key: str, parse, warn: bool) -> tuple[np.ndarray | None, dict] | None:
    try:
        with open(path, "rb") as file:
            pixels, record = parse(file.read())
        seal = record.pop("record_sha256")
        if record["key"] != key or seal != _record_digest(record):
            raise ValueError("the record's checksum differs")
        if pixels is not None and record["pixels_sha256"] != _digest(pixels):
            raise ValueError("the pixels' checksum differs")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, SyntaxError, EOFError) as error:  # Pillow has no one class
        if warn:
            warnings.warn(f"{path} is damaged ({error}); the bank treats it as missing", RuntimeWarning, stacklevel=4)
        return None
    return pixels, record


def _open_png(content: bytes) -> tuple[np.ndarray, dict]:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return np.array(picture), json.loads(picture.text[_CHUNK])


def _sealed(record: Mapping[str, object]) -> dict:
    dated = {**record, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    dated = json.loads(json.dumps(dated))  # the checksum is of what will be read back, in which tuples are lists
    return {**dated, "record_sha256": _record_digest(dated)}


def _record_digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Account:
    """What a bank has cost."""

    usd: float  # sum over the answers, refusals and replaced variations included
    n_images: int  # variations that were answered, replaced ones included
    n_lost: int  # calls that were sent and not answered, and may have been billed (or, during a fill, are in flight)
    usd_lost: float  # what those, and answers that state no cost, may have cost beyond `usd`


# A call is unanswered as long as it has no cost. One that the client had to send several times may have been answered
# and still count some of its requests as unanswered.
_SCHEMA = """
create table if not exists calls (
    id integer primary key, key text not null, sent text not null default (datetime('now')),
    usd real, usd_at_most real not null, images integer not null, unanswered integer not null
);
create index if not exists calls_by_key on calls (key);
"""
_SUMS = """
select total(usd), cast(total(images) as integer), cast(total(unanswered) as integer),
    total(max(0, usd_at_most - coalesce(usd, 0))) from calls
"""


@dataclass
class Ledger:
    """The ledger of a bank during one fill, from :func:`open_ledger`."""

    connection: sqlite3.Connection
    _sent: dict[str, int] = field(default_factory=dict)  # row of each call in flight, by key

    def complete(self, files: BankFiles) -> Ledger:
        """Enter answers that were kept just before a kill, and those of a ledger that was removed."""
        self.connection.executescript(_SCHEMA)
        query = "select key, max(id), usd is not null from calls group by key"
        latest = {key: (row, answered) for key, row, answered in self.connection.execute(query)}
        for key in [*files.kept_keys(), *files.kept_keys(refused=True)]:
            row, answered = latest.get(key, (None, False))
            if not answered and (found := files.answer(key, warn=False)):
                self._sent[key] = row
                self.settle(found[1], n_images=int(found[0] is not None))
        self.connection.commit()
        return self

    def send(self, key: str, usd_at_most: float) -> None:
        """Enter a call before it is made; until :meth:`settle` it counts as lost, whatever happens."""
        sql = "insert into calls (key, usd_at_most, images, unanswered) values (?, ?, 0, 1)"
        self._sent[key] = self.connection.execute(sql, (key, usd_at_most)).lastrowid
        self.connection.commit()

    def settle(self, record: Mapping[str, object], *, n_images: int) -> None:
        """Enter what an answer cost, to be committed with the next call: until then the kept record speaks for it."""
        key, usd = str(record["key"]), float(record.get("usd") or 0.0)
        at_most, unanswered = float(record.get("usd_at_most", usd)), int(record.get("unanswered", 0))
        self.connection.execute(
            "insert into calls (id, key, usd, usd_at_most, images, unanswered) values (?, ?, ?, ?, ?, ?) "
            "on conflict (id) do update set usd = excluded.usd, usd_at_most = excluded.usd_at_most, "
            "images = excluded.images, unanswered = excluded.unanswered",
            (self._sent.pop(key, None), key, usd, at_most, n_images, unanswered),
        )

    def account(self) -> Account:
        """Return the sums, the calls in flight counted as lost."""
        return Account(*self.connection.execute(_SUMS).fetchone())


@contextmanager
def open_ledger(files: BankFiles) -> Iterator[Ledger]:
    """Wait for the lock of the bank, hold it, and yield its ledger, completed from the records.

    ValueError if the ledger is damaged, OSError if it cannot be used, as when the disk is full.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
    with files.lock(), _connection(files, files.folder / _LEDGER) as connection:
        ledger = Ledger(connection).complete(files)
        try:
            yield ledger
        finally:
            connection.commit()


def read_account(files: BankFiles) -> Account:
    """Return what a bank has cost, from its ledger and, for what that lacks, from the records; changes nothing."""
    with _connection(files, ":memory:") as copy:
        if (path := files.folder / _LEDGER).exists():  # this mode never makes the file
            with _connection(files, f"{path.resolve().as_uri()}?mode=rw") as disk:
                disk.backup(copy)
        return Ledger(copy).complete(files).account()


@contextmanager
def _connection(files: BankFiles, name: str | Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(name, uri=True, timeout=60)) as connection:
            yield connection
    except sqlite3.Error as error:
        cure = "remove it: what was spent is then summed from the records"
        raise sqlite_fault(error, files.folder / _LEDGER, kind="the ledger of a bank", cure=cure) from error
