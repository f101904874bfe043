"""The books of a bank: what was spent, what may have been billed for nothing, and how much room a limit leaves.

One SQLite file beside the variations. It holds no variation: remove it and what was spent is summed again from the
kept records, while calls that died with their writer are forgotten. Who may write to it is the business of
:mod:`mri_aug.generators.bank_ledger`.
"""

from __future__ import annotations

import errno
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mri_aug.generators.bank_files import BankFiles

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
