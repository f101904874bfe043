"""Money and several writers: nothing asked for twice, no limit crossed, nothing that was paid for forgotten."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from paid_service import COST, PaidGenerator, make_images

from mri_aug.generators.bank.bank import Bank, BudgetError, MissingVariationsError
from mri_aug.generators.base import RefusedVariationsError

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def service(tmp_path):
    return PaidGenerator(tmp_path / "requests.log")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bank"


def ask(bank, generator, n, *, number=0, **options):
    images, labels = make_images(n)
    people = {"source_ids": range(100, 100 + n), "subjects": range(n)}
    return bank.vary(generator, images, labels, indices=[number] * n, **people, **options)


def with_seconds(service, seconds, **changes):
    return PaidGenerator(service.log, seconds=seconds, **changes)


def test_every_answer_is_recorded_and_summed(folder, service):
    ask(Bank(folder), service, 6)
    record = next(record for record in Bank(folder).records() if record["source_id"] == 103)
    assert record["subject"] == 3 and record["label"] == 3 and record["index"] == 0 and record["usd"] == COST
    assert {"model", "server", "prompt", "request_id", "usage", "made", "pixels_sha256"} <= set(record)
    account = Bank(folder).account()
    assert account.usd == pytest.approx(6 * COST) and account.n_images == 6
    assert account.n_lost == account.n_in_flight == 0
    ask(Bank(folder), service, 8, chunk_size=1)
    assert Bank(folder).account().usd == pytest.approx(8 * COST) and len(service.requests()) == 8


def test_without_its_ledger_a_bank_knows_what_it_cost(folder, service):
    ask(Bank(folder), service, 5)
    before = Bank(folder).account()
    (folder / "ledger.sqlite").unlink()
    assert Bank(folder, offline=True).account() == before and not (folder / "ledger.sqlite").exists()
    ask(Bank(folder), service, 6)
    assert Bank(folder).account().usd == pytest.approx(6 * COST)


def test_a_damaged_ledger_says_what_to_do(folder, service):
    ask(Bank(folder), service, 1)
    (folder / "ledger.sqlite").write_bytes(b"no database at all" * 500)
    with pytest.raises(ValueError, match="ledger.sqlite is damaged.*remove it"):
        ask(Bank(folder), service, 2)


def test_a_replaced_variation_was_paid_for_too(folder, service):
    ask(Bank(folder), service, 2)
    next(folder.glob("??/*.png")).write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="damaged"):
        ask(Bank(folder), service, 2)
    assert Bank(folder).account().usd == pytest.approx(3 * COST) and len(service.requests()) == 3


@pytest.mark.parametrize(("limits", "kept"), [({"max_usd": 0.33}, 8), ({"max_images": 5}, 5), ({"max_usd": 0.0}, 0)])
def test_a_limit_stops_before_it_is_crossed(folder, service, limits, kept):
    """Seven at 0.04 are 0.28, and another may cost 0.05: 0.33 exactly; a ninth would not fit 0.32 + 0.05."""
    with pytest.raises(BudgetError, match=rf"{next(iter(limits))}=.*{20 - kept} variations short: \$.*higher limit"):
        ask(Bank(folder, **limits), service, 20)
    assert len(service.requests()) == Bank(folder).count() == kept
    with pytest.raises(BudgetError, match=f"spent on {kept} variations"):
        ask(Bank(folder, **limits), service, 20)
    assert len(service.requests()) == kept
    ask(Bank(folder, max_usd=0.9), service, 20)
    assert sorted(Counter(service.requests()).values()) == [1] * 20


def test_limits_hold_under_several_writers(folder, service):
    """Each writer wants other variations; together they must not pass the limit, and must come close to it."""
    bank, slow = Bank(folder, max_usd=1.0), with_seconds(service, 0.01)

    def write(number):
        try:
            ask(bank, slow, 12, number=number, chunk_size=3)
        except BudgetError:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        stopped = list(pool.map(write, range(4)))
    assert any(stopped) and Bank(folder).account().n_in_flight == 0
    assert 1.0 - slow.usd_per_image < Bank(folder).account().usd <= 1.0
    assert len(service.requests()) == Bank(folder).count() == 24  # 23 at 0.04 leave 0.08: one more fits, two do not


def test_bad_limits_are_refused(folder):
    with pytest.raises(ValueError, match="max_usd must be at least 0"):
        Bank(folder, max_usd=float("nan"))
    with pytest.raises(ValueError, match="max_images must be at least 0"):
        Bank(folder, max_images=-1)


def _write(folder, service, n, chunk_size):
    ask(Bank(folder), service, n, chunk_size=chunk_size)


def _start(*arguments):
    process = SPAWN.Process(target=_write, args=arguments)
    process.start()
    return process


def test_two_processes_ask_for_nothing_twice(folder, service):
    slow = with_seconds(service, 0.02)
    writers = [_start(folder, slow, 40, chunk_size) for chunk_size in (3, 5)]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert sorted(Counter(service.requests()).values()) == [1] * 40
    assert Bank(folder).account().usd == pytest.approx(40 * COST) and not list((folder / "owners").iterdir())


def _wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_killed_writer_loses_only_what_was_in_flight(folder, service):
    """Its claims are free at once, and its calls are remembered as possibly billed."""
    slow = with_seconds(service, 0.3)
    writer = _start(folder, slow, 12, 6)
    _wait_for(lambda: Bank(folder).count() >= 2)
    writer.kill()
    writer.join()
    kept, asked = Bank(folder).count(), Counter(service.requests())
    assert writer.exitcode == -9 and 2 <= kept < 12
    ask(Bank(folder), service, 12)
    account, again = Bank(folder).account(), Counter(service.requests())
    assert 1 <= sum(again.values()) - 12 <= slow.concurrency  # asked for again: in flight when it was killed
    assert sum(asked.values()) - kept <= slow.concurrency
    assert account.n_lost == slow.concurrency and account.usd_lost == pytest.approx(account.n_lost * 0.05)
    assert account.usd == pytest.approx(12 * COST) and account.n_in_flight == 0


def test_a_writer_waits_for_a_living_one(folder, service):
    """The second asks for nothing: all it wants is being asked for, however slowly."""
    writer = _start(folder, with_seconds(service, 0.4), 4, 4)
    _wait_for(lambda: len(service.requests()) >= 1)
    made = ask(Bank(folder), service, 4)
    writer.join()
    assert made.shape == (4, 1, 128, 128) and len(service.requests()) == 4


def test_claims_from_another_machine_hold_until_their_lease_ends(folder, monkeypatch):
    files = BankFiles(folder)
    with monkeypatch.context() as patch:
        patch.setattr("mri_aug.generators.bank_ledger.platform.node", lambda: "elsewhere")
        theirs = Ledger(files, usd_per_image=0.05, concurrency=1).__enter__()
        assert theirs.claim(["a"]) == (["a"], False)
        theirs._lock.release()  # another machine's lock may not be seen here
    with Ledger(files, usd_per_image=0.05, concurrency=1) as ours:
        assert ours.claim(["a", "b"]) == (["b"], False) and Bank(folder).account().n_lost == 0
        ours.settle(Bill())
        later = time.time() + 3600
        monkeypatch.setattr("mri_aug.generators.bank_ledger.time.time", lambda: later)
        assert ours.claim(["a"]) == (["a"], False) and Bank(folder).account().n_lost == 1


def test_refusals_are_kept_counted_and_not_asked_again(folder, tmp_path):
    service = PaidGenerator(tmp_path / "log", refused=5)
    with pytest.raises(RefusedVariationsError, match=r"'paid' refuses 1 of 8 variations.*1 of class 1") as error:
        ask(Bank(folder), service, 8)
    assert error.value.positions == (5,) and Bank(folder).count() == 7
    for bank in (Bank(folder), Bank(folder, offline=True)):
        with pytest.raises(RefusedVariationsError):
            ask(bank, service, 8)
    assert len(service.requests()) == 8
    (refusal,) = Bank(folder).refusals()
    assert refusal["refused"] == "moderation_blocked" and refusal["source_id"] == 105 and refusal["label"] == 1


def test_a_refused_image_is_not_asked_for_under_higher_numbers(folder, tmp_path):
    """So that whoever counts occurrences and asks again without the refused ones wants nothing new."""
    service = PaidGenerator(tmp_path / "log", refused=1)
    images, labels = make_images(3)
    rows, numbers = [0, 0, 1, 1, 2], [0, 1, 0, 1, 0]
    with pytest.raises(RefusedVariationsError) as error:
        Bank(folder).vary(service, images[rows], labels[rows], indices=numbers, source_ids=rows)
    assert error.value.positions == (2, 3) and len(service.requests()) == 4


def test_a_damaged_refusal_is_named_and_asked_for_again(folder, tmp_path):
    service = PaidGenerator(tmp_path / "log", refused=0)
    with pytest.raises(RefusedVariationsError):
        ask(Bank(folder), service, 1)
    path = next(folder.glob("??/*.refused.json"))
    path.write_text(path.read_text().replace("moderation", "no"))
    with pytest.warns(RuntimeWarning, match=r"refused.json is damaged"), pytest.raises(MissingVariationsError):
        ask(Bank(folder, offline=True), service, 1)
    with pytest.warns(RuntimeWarning, match="damaged"), pytest.raises(RefusedVariationsError):
        ask(Bank(folder), service, 1)
    assert len(service.requests()) == 2


def test_a_full_disk_loses_what_is_in_flight_and_knows_what_it_cost(folder, service, monkeypatch):
    replace, written = os.replace, []

    def full(*paths):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(paths)
        return replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr("mri_aug.generators.bank_files.os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            ask(Bank(folder), service, 20)
    account = Bank(folder).account()
    assert Bank(folder).count() == 3 and not list(folder.rglob("*.part"))
    assert account.usd == pytest.approx(4 * COST)  # the fourth was paid for, though nothing was left to keep it on
    assert account.n_lost <= service.concurrency and account.n_in_flight == 0
    asked = len(service.requests())
    ask(Bank(folder), service, 20)
    assert len(service.requests()) == asked + 17


class Unanswering(PaidGenerator):
    def stream(self, images, labels, *, seed):
        yield next(super().stream(images, labels, seed=seed))


def test_an_answer_too_few_is_an_error(folder, service):
    with pytest.raises(ValueError, match="'paid' left 2 of 3 unanswered"):
        ask(Bank(folder), Unanswering(service.log), 3)
    assert Bank(folder).count() == 1
