"""The ledger of a bank: who is asking for what at this moment, and the settling of what came of it.

It sends no request, and keeps no variation.

Claiming and the check of the limits are one transaction (``begin immediate``), so that two writers can neither ask for
the same variation nor share the last dollar; a claim file for each key could do the first, but not the second. An owner
of claims holds a lock on a file of its own for as long as it lives. The operating system frees that lock however the
process ends, so on one machine a killed owner is known at once, a slow one is never taken for dead, and a process
number used again deceives nobody. Owners on other machines, where locks may not reach, are believed until their
lease of half an hour has run out; every chunk of answers renews it.
"""

from __future__ import annotations

import platform
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mri_aug.generators.bank_files import BankFiles
from mri_aug.generators.bank_money import SCHEMA, Bill, account_of, connect, enter, images_of, room, unpaid

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
