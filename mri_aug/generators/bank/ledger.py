"""The files and the ledger of a bank: which images were asked for, by whom, at what price, and what came back."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import platform
import secrets
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image, PngImagePlugin
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import Answer, ImageGenerator, StreamingGenerator

_CHUNK = "provenance"  # name of the PNG text chunk
_REFUSED = ".refused.json"


@dataclass(frozen=True)
class BankFiles:
    """The answers kept in a folder, by key; the folder is made on first writing."""

    folder: Path

    def variation(self, key: str, *, warn: bool = True) -> tuple[np.ndarray, dict] | None:
        """Return pixels, uint8 (128, 128), and record; None where the file is absent or (with a warning) damaged."""
        path = self._path(key, ".png")
        return _checked(path, key, _open_png, warn)

    def refusal(self, key: str, *, warn: bool = True) -> dict | None:
        """Return the record of a refusal; None where there is none or it is (with a warning) damaged."""
        path = self._path(key, _REFUSED)
        found = _checked(path, key, lambda content: (None, json.loads(content)), warn)
        return found and found[1]

    def record(self, key: str) -> dict | None:
        """Return the record of an intact answer, given or refused, or None; warns of nothing."""
        found = self.variation(key, warn=False)
        return found[1] if found else self.refusal(key, warn=False)

    def keep_variation(self, record: Mapping[str, object], pixels: np.ndarray) -> None:
        """Write one variation, replacing a damaged file of that key.

        Raises
        ------
        OSError
            If it cannot be written; nothing of it then remains.
        """
        text = PngImagePlugin.PngInfo()
        text.add_text(_CHUNK, json.dumps(_sealed({**record, "pixels_sha256": _digest(pixels)})))
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="PNG", pnginfo=text)
        self._write(self._path(str(record["key"]), ".png"), content.getvalue())

    def keep_refusal(self, record: Mapping[str, object]) -> None:
        """Write that a service refuses this variation; errors as in :meth:`keep_variation`."""
        self._write(self._path(str(record["key"]), _REFUSED), json.dumps(_sealed(record), indent=1).encode())

    def identity(self, *, make: bool) -> str:
        """Return sixteen hexadecimal digits drawn when the folder was first used, or "" where it never was."""
        path = self.folder / "identity"
        if make and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another writer was quicker
                part = self.folder / f"identity.{secrets.token_hex(8)}"
                part.write_text(secrets.token_hex(8), encoding="ascii")
                try:
                    os.link(part, path)  # whole at once, and never over another's
                finally:
                    part.unlink()
        return path.read_text(encoding="ascii") if path.exists() else ""

    def keys(self) -> Iterator[str]:
        """Yield the key of every variation, unchecked, in order."""
        yield from (path.stem for path in sorted(self.folder.glob("??/*.png")))

    def refused_keys(self) -> Iterator[str]:
        """Yield the key of every refusal, unchecked, in order."""
        yield from (path.name.removesuffix(_REFUSED) for path in sorted(self.folder.glob(f"??/*{_REFUSED}")))

    def _path(self, key: str, suffix: str) -> str:
        return os.path.join(self.folder, key[:2], key + suffix)

    @staticmethod
    def _write(name: str, content: bytes) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # it may have been paid for: a power cut must not leave an empty file
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _checked(path: str, key: str, parse, warn: bool) -> tuple[np.ndarray | None, dict] | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    try:
        pixels, record = parse(content)
        seal = record.pop("record_sha256")
        if record["key"] != key or seal != _record_digest(record):
            raise ValueError("the record's checksum differs")
        if pixels is not None and record["pixels_sha256"] != _digest(pixels):
            raise ValueError("the pixels' checksum differs")
    except (OSError, ValueError, KeyError, AttributeError, SyntaxError, EOFError) as error:  # Pillow has no one class
        if warn:
            message = f"{path} is damaged ({error}); the bank treats it as missing"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        return None
    return pixels, record


def _open_png(content: bytes) -> tuple[np.ndarray, dict]:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return np.array(picture), json.loads(picture.text[_CHUNK])


def _sealed(record: Mapping[str, object]) -> dict:
    dated = {**record, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    # through JSON first: the seal is of what will be read back, in which tuples are lists
    dated = json.loads(json.dumps(dated))
    return {**dated, "record_sha256": _record_digest(dated)}


def _record_digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


_LEASE = 1800.0  # seconds; far longer than a chunk of slow calls with all their retries


class Ledger:
    """One writer's hold on the ledger, from ``with Ledger(...)`` to its end.

    Parameters
    ----------
    files : BankFiles
    usd_per_image : float
        Upper bound of what one call costs; reserved for each claim until its answer is entered.
    concurrency : int
        Calls in flight at a time: of a dead owner's claims, no more than these can have been sent and not kept.
    """

    def __init__(self, files: BankFiles, *, usd_per_image: float, concurrency: int):
        self.files, self.usd_per_image, self.concurrency = files, usd_per_image, concurrency
        self.owner = secrets.token_hex(8)
        self._lock = FileLock(_lock_path(files, self.owner))

    def __enter__(self) -> Ledger:
        _lock_path(self.files, self.owner).parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(blocking=False)
        try:
            with connect(self.files) as connection:
                connection.executescript(SCHEMA)
            with self._transaction() as connection:
                self._renew(connection)
                enter(connection, unpaid(connection, self.files))
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            with self._transaction() as connection:
                connection.execute("delete from owners where owner = ?", (self.owner,))
        finally:
            self._release()  # where the ledger could not be written, the next writer finds these claims dead

    def claim(
        self, keys: Sequence[str], *, max_usd: float | None = None, max_images: int | None = None
    ) -> tuple[list[str], bool]:
        """Claim what is free and affordable of ``keys``.

        Returns
        -------
        granted : list of str
            Claimed for this writer until :meth:`settle`. An answer may have come from another writer meanwhile.
        by_limit : bool
            True where a limit held something back and no claim in flight stands behind it: waiting would not help.
        """
        with self._transaction() as connection:
            self._bury(connection)
            self._renew(connection)
            taken = {key for (key,) in connection.execute("select key from claims")}
            free = [key for key in keys if key not in taken]
            account = account_of(connection)
            granted = free[: room(account, self.usd_per_image, max_usd, max_images)]
            rows = [(key, self.owner, self.usd_per_image) for key in granted]
            connection.executemany("insert into claims values (?, ?, ?)", rows)
        return granted, bool(free) and not granted and not account.n_in_flight

    def settle(self, bill: Bill) -> None:
        """Enter what a chunk of calls cost and give up this writer's claims."""
        with self._transaction() as connection:
            enter(connection, bill)
            connection.execute("delete from claims where owner = ?", (self.owner,))
            self._renew(connection)

    def _bury(self, connection: sqlite3.Connection) -> None:
        """Give up the claims of owners that are dead: enter what they kept, remember the rest as lost."""
        owners = connection.execute("select * from owners where owner != ?", (self.owner,)).fetchall()
        for owner, host, until, concurrency in owners:
            if self._alive(owner, host, until):
                continue
            claims = connection.execute("select key, usd from claims where owner = ?", (owner,)).fetchall()
            bill = Bill()
            for key, _ in claims:
                if record := self.files.record(key):
                    bill.enter(record, n_images=images_of(record))
            n_open, usd = len(claims) - len(bill.payments), max((usd for _, usd in claims), default=0.0)
            bill.lose(min(n_open, concurrency), usd)
            enter(connection, bill)
            for table in ("claims", "owners"):
                connection.execute(f"delete from {table} where owner = ?", (owner,))
            _lock_path(self.files, owner).unlink(missing_ok=True)

    def _alive(self, owner: str, host: str, until: float) -> bool:
        if host != platform.node():
            return until > time.time()
        path = _lock_path(self.files, owner)
        if not path.exists():
            return False
        try:
            with FileLock(path).acquire(blocking=False):
                return False
        except Timeout:
            return True

    def _renew(self, connection: sqlite3.Connection) -> None:
        row = (self.owner, platform.node(), time.time() + _LEASE, self.concurrency)
        connection.execute("insert or replace into owners values (?, ?, ?, ?)", row)

    def _release(self) -> None:
        _lock_path(self.files, self.owner).unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with connect(self.files) as connection:
            connection.execute("begin immediate")
            with connection:  # commits, or rolls back
                yield connection


def _lock_path(files: BankFiles, owner: str) -> Path:
    return files.folder / "owners" / f"{owner}.lock"


SCHEMA = """
create table if not exists payments (key text, usd real, images integer);
create index if not exists payments_by_key on payments (key);
create table if not exists owners (owner text primary key, host text, until real, concurrency integer);
create table if not exists claims (key text primary key, owner text, usd real);
create table if not exists lost (calls integer, usd real, at text default (datetime('now')));
"""


class BudgetError(RuntimeError):
    """The next request could cross a limit of the bank; what was kept stays, and nothing is in flight."""


@dataclass(frozen=True)
class Account:
    """What a bank has cost."""

    usd: float  # sum over the kept records, refusals and replaced variations included
    n_images: int  # variations that were answered, replaced ones included
    n_lost: int  # calls that died in flight, and may have been billed
    usd_lost: float  # what those cost at most
    n_in_flight: int  # claimed at this moment
    usd_in_flight: float  # what those cost at most


@dataclass
class Bill:
    """What a chunk of calls cost."""

    payments: list[tuple[str, float, int]] = field(default_factory=list)  # key, dollars, images
    n_lost: int = 0
    usd_lost: float = 0.0

    def enter(self, record: Mapping[str, object], *, n_images: int) -> None:
        """Enter an answer, and the calls on the way to it that a service says were sent and never answered."""
        usd = cost_of(record)
        self.payments.append((str(record["key"]), usd, n_images))
        self.n_lost += int(record.get("unanswered", 0))
        self.usd_lost += max(0.0, float(record.get("usd_at_most", usd)) - usd)

    def lose(self, n_calls: int, usd_per_image: float) -> None:
        """Enter calls that died in flight; those that nobody bills are merely asked for again."""
        if usd_per_image:
            self.n_lost += n_calls
            self.usd_lost += n_calls * usd_per_image


@contextmanager
def connect(files: BankFiles) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the books; the bank's folder must exist.

    Raises
    ------
    ValueError
        If the file is damaged; it says what to do.
    OSError
        If it cannot be used, as when the disk is full.
    """
    path = _path(files)
    with _clear_errors(path), closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        yield connection


def read_account(files: BankFiles) -> Account:
    """Return what a bank has cost, from its ledger and, for what that lacks, from the records; writes nothing."""
    path = _path(files)
    name = f"file:{path.resolve()}?mode=ro" if path.exists() else ":memory:"
    with _clear_errors(path), closing(sqlite3.connect(name, uri=True, timeout=60)) as connection:
        if not path.exists():
            connection.executescript(SCHEMA)
        account, more = account_of(connection), unpaid(connection, files)
    return replace(
        account,
        usd=account.usd + sum(usd for _, usd, _ in more.payments),
        n_images=account.n_images + sum(images for _, _, images in more.payments),
        n_lost=account.n_lost + more.n_lost,
        usd_lost=account.usd_lost + more.usd_lost,
    )


def cost_of(record: Mapping[str, object]) -> float:
    """Return the dollars that an answer cost."""
    return float(record.get("usd") or 0.0)


def images_of(record: Mapping[str, object]) -> int:
    """Return how many images a kept answer holds: 0 for a refusal."""
    return int("pixels_sha256" in record)


def enter(connection: sqlite3.Connection, bill: Bill) -> None:
    """Enter a bill, in the caller's transaction."""
    connection.executemany("insert into payments values (?, ?, ?)", bill.payments)
    if bill.n_lost:
        connection.execute("insert into lost (calls, usd) values (?, ?)", (bill.n_lost, bill.usd_lost))


def account_of(connection: sqlite3.Connection) -> Account:
    """Return the sums of the books."""
    sums = (
        "select total(usd), count(*) filter (where images) from payments",
        "select cast(total(calls) as integer), total(usd) from lost",
        "select count(*), total(usd) from claims",
    )
    return Account(*(value for query in sums for value in connection.execute(query).fetchone()))


def unpaid(connection: sqlite3.Connection, files: BankFiles) -> Bill:
    """Return the bill of the answers in the folder that the books know nothing of."""
    known = {key for (key,) in connection.execute("select key from payments union select key from claims")}
    bill = Bill()
    for keys in (files.keys(), files.refused_keys()):
        for key in keys:
            if key not in known and (record := files.record(key)):
                bill.enter(record, n_images=images_of(record))
    return bill


def room(account: Account, usd: float, max_usd: float | None, max_images: int | None) -> int | None:
    """Return how many more calls no limit can be crossed by, None for any number."""
    rooms = []
    if max_usd is not None and usd > 0:
        # 0.6 / 0.2 is 2.9999999999999996: a limit is meant as it is written
        rooms.append((max_usd - account.usd - account.usd_lost - account.usd_in_flight) / usd + 1e-9)
    if max_images is not None:
        rooms.append(max_images - account.n_images - account.n_lost - account.n_in_flight)
    return max(0, math.floor(min(rooms))) if rooms else None


def _path(files: BankFiles) -> Path:
    return files.folder / "ledger.sqlite"


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            advice = "remove it: what was spent is then summed from the records"
            raise ValueError(f"{path} is damaged ({error}); {advice}") from None
        raise OSError(f"{path} cannot be used ({error})") from error


_POLL = 0.2  # seconds between looks for another writer's answers
_SHAPE = (1, IMAGE_SIZE, IMAGE_SIZE)


@dataclass
class Requests:
    """One writer's requests to one generator, under a bank's limits."""

    files: BankFiles
    generator: ImageGenerator
    max_usd: float | None  # of the whole bank, as in Bank
    max_images: int | None
    bar: tqdm
    usd: float = 0.0  # spent by these requests so far

    @property
    def usd_per_image(self) -> float:
        return self.generator.usd_per_image if self._streams else 0.0

    @property
    def concurrency(self) -> int:
        return self.generator.concurrency if self._streams else 1

    @property
    def _streams(self) -> bool:
        return isinstance(self.generator, StreamingGenerator)

    def make(
        self, images: Tensor, labels: Tensor, records: Sequence[dict], rows: Sequence[int], *,
        kept: dict[str, np.ndarray], ends: dict[tuple[str, int], int], chunk_size: int | None = None,
    ) -> None:  # fmt: skip
        """Ask for the variations at ``rows``; add pixels to ``kept`` by key and refused numbers to ``ends`` by source.

        Errors are those of :meth:`mri_aug.generators.bank.bank.Bank.vary`.
        """
        size = chunk_size or (8 * self.concurrency if self._streams else 32)
        waiting = list(rows)
        with Ledger(self.files, usd_per_image=self.usd_per_image, concurrency=self.concurrency) as ledger:
            while waiting:
                for chunk in _chunks(waiting, records, size):
                    # a number may have been refused since the chunks were cut
                    keys = {records[row]["key"]: row for row in chunk if not is_refused(records[row], ends)}
                    granted, by_limit = ledger.claim(list(keys), max_usd=self.max_usd, max_images=self.max_images)
                    if by_limit:
                        short = [row for row in waiting if records[row]["key"] not in kept]
                        raise BudgetError(self._limit_message(len(short)))
                    mine = [keys[key] for key in granted]
                    try:
                        mine = [row for row in mine if not self._take(records[row], kept, ends)]
                    except BaseException:
                        ledger.settle(Bill())
                        raise
                    self._ask(ledger, images, labels, records, mine, kept, ends)
                before = len(waiting)
                waiting = [row for row in waiting if not self._is_settled(records[row], kept, ends)]
                if len(waiting) == before:
                    time.sleep(_POLL)

    def _is_settled(self, record: dict, kept: dict, ends: dict) -> bool:
        return record["key"] in kept or is_refused(record, ends) or self._take(record, kept, ends)

    def _take(self, record: dict, kept: dict, ends: dict) -> bool:
        """Take over what another writer was answered, if it was."""
        if found := self.files.variation(record["key"], warn=False):
            kept[record["key"]] = found[0]
        elif self.files.refusal(record["key"], warn=False):
            refuse(record, ends)
        else:
            return False
        self.bar.update()
        return True

    def _ask(self, ledger, images, labels, records, rows, kept, ends) -> None:
        """Stream the variations of claimed rows, all of one number, into the bank; leave nothing claimed."""
        bill, open_rows = Bill(), set(rows)
        try:
            with closing(self._answers(images, labels, rows, records)) as answers:
                for answer in answers:
                    row = self._row_of(answer, rows, open_rows)
                    pixels = None if answer.pixels is None else self._pixels(answer.pixels)
                    record = {"usd": self.usd_per_image, **answer.record, **records[row]}
                    # entered even if the disk turns out to be full: it was paid for
                    bill.enter(record, n_images=int(pixels is not None))
                    open_rows.discard(row)
                    if pixels is None:
                        self.files.keep_refusal(record)
                        refuse(record, ends)
                    else:
                        self.files.keep_variation(record, pixels)
                        kept[record["key"]] = pixels
                    self._show(cost_of(record))
            if open_rows:
                raise ValueError(f"generator {self.generator.name!r} left {len(open_rows)} of {len(rows)} unanswered")
        except BaseException as error:
            # A stream that accounts for its failed calls is believed; else all that can have been in flight is lost.
            failures = getattr(error, "failures", None)
            if failures is None:
                bill.lose(min(len(open_rows), self.concurrency), self.usd_per_image)
            for answer in failures or ():
                bill.enter({"usd": 0.0, **answer.record, **records[rows[answer.position]]}, n_images=0)
            raise
        finally:
            ledger.settle(bill)

    def _answers(self, images: Tensor, labels: Tensor, rows: list[int], records: Sequence[dict]) -> Iterator[Answer]:
        if not rows:
            return
        number = records[rows[0]]["index"]
        if self._streams:
            with closing(self.generator.stream(images[rows], labels[rows], seed=number)) as answers:
                yield from answers
            return
        made = self.generator.vary(images[rows], labels[rows], seed=number)
        if made.dtype != torch.uint8 or tuple(made.shape) != (len(rows), *_SHAPE):
            raise ValueError(self._wrong(made, (len(rows), *_SHAPE)))
        yield from (Answer(position, pixels) for position, pixels in enumerate(made))

    def _row_of(self, answer: Answer, rows: list[int], open_rows: set[int]) -> int:
        if not 0 <= answer.position < len(rows) or rows[answer.position] not in open_rows:
            raise ValueError(f"generator {self.generator.name!r} answered for {answer.position}, which nobody awaits")
        return rows[answer.position]

    def _pixels(self, pixels: Tensor) -> np.ndarray:
        if pixels.dtype != torch.uint8 or tuple(pixels.shape) != _SHAPE:
            raise ValueError(self._wrong(pixels, _SHAPE))
        return pixels[0].numpy()

    def _wrong(self, tensor: Tensor, shape: tuple[int, ...]) -> str:
        return (
            f"generator {self.generator.name!r} answered with {tensor.dtype} of shape {tuple(tensor.shape)}, "
            f"expected uint8 of shape {shape}"
        )

    def _show(self, usd: float) -> None:
        self.usd += usd
        if self.usd_per_image:
            self.bar.set_postfix_str(f"${self.usd:.2f}", refresh=False)
        self.bar.update()

    def _limit_message(self, n_missing: int) -> str:
        account = read_account(self.files)
        limits = {"max_usd": self.max_usd, "max_images": self.max_images}
        named = " and ".join(f"{name}={value}" for name, value in limits.items() if value is not None)
        lost = f", {account.n_lost} calls lost in flight (up to ${account.usd_lost:.2f})" if account.n_lost else ""
        return (
            f"stopped before {named} could be crossed, {n_missing} variations short: ${account.usd:.2f} spent on "
            f"{account.n_images} variations{lost}, and one more may cost ${self.usd_per_image:.2f}. All are kept in "
            f"{self.files.folder}; the same command with a higher limit goes on from there"
        )


def _chunks(rows: Sequence[int], records: Sequence[dict], size: int) -> Iterator[list[int]]:
    """Yield positions, at most ``size`` at a time and of one variation number, which is the seed; low numbers first."""
    for number in sorted({records[row]["index"] for row in rows}):
        same = [row for row in rows if records[row]["index"] == number]
        yield from (same[start : start + size] for start in range(0, len(same), size))


def is_refused(record: Mapping, ends: Mapping[tuple[str, int], int]) -> bool:
    """Return whether a number of this source, up to the record's, is refused."""
    end = ends.get((record["source_sha256"], record["label"]))
    return end is not None and record["index"] >= end


def refuse(record: Mapping, ends: dict[tuple[str, int], int]) -> None:
    """Enter that the variation of this record is refused; ``ends`` holds the first refused number of each source."""
    source = record["source_sha256"], record["label"]
    ends[source] = min(record["index"], ends.get(source, record["index"]))
