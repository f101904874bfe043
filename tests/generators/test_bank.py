"""The bank: nothing made or paid for twice, nothing lost or forgotten, nothing damaged returned, one fill at a time."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from paid_service import COST, PROCESSES, PaidGenerator, make_images

from mri_aug.generators import bank as bank_module
from mri_aug.generators.bank import Bank, BankedGenerator, BudgetError, MissingVariationsError
from mri_aug.generators.base import RefusedVariationsError, make_generator


@dataclass
class CountingGenerator:
    """Answers with noise that no seed brings back, as a remote service does, and counts what is requested."""

    fingerprint: str = "f0"
    fail_after: int | None = None
    n_asked: int = 0
    seeds: list[int] = field(default_factory=list)
    name = "counting"
    learns_from_study = False
    reproducible = False

    def vary(self, images, labels, *, seed):
        if self.fail_after is not None and self.n_asked >= self.fail_after:
            raise KeyboardInterrupt
        self.n_asked += len(images)
        self.seeds.append(seed)
        return torch.from_numpy(np.random.default_rng().integers(0, 256, tuple(images.shape), dtype=np.uint8))


class SeededGenerator(CountingGenerator):
    reproducible = True

    def vary(self, images, labels, *, seed):
        super().vary(images, labels, seed=seed)
        return (images + seed + 1).to(torch.uint8)


@pytest.fixture
def service(tmp_path):
    return PaidGenerator(tmp_path / "requests.log")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bank"


def ask(bank, generator, n, *, number=0, rows=None, numbers=None):
    """Ask for variation ``number`` of each of n images, or for the numbers of the rows."""
    images, labels = make_images(n)
    rows = list(range(n)) if rows is None else rows
    people = {"source_ids": [100 + row for row in rows], "subjects": rows}
    return bank.vary(generator, images[rows], labels[rows], indices=numbers or [number] * len(rows), **people)


def count(folder):
    return len(list(folder.glob("??/*.png")))


def test_nothing_is_made_twice(folder):
    generator = CountingGenerator()
    first = ask(Bank(folder), generator, 5)
    assert generator.n_asked == 5
    whole = ask(Bank(folder), generator, 8)
    assert generator.n_asked == 8 and torch.equal(whole[:5], first)
    assert torch.equal(ask(Bank(folder), generator, 8), whole)
    assert generator.n_asked == 8 and count(folder) == 8


def test_banks_filled_apart_are_told_apart_and_a_later_look_changes_nothing(tmp_path):
    prints = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        ask(Bank(folder), CountingGenerator(), 2)
        offline, online = (BankedGenerator(CountingGenerator(), Bank(folder, offline=o)) for o in (True, False))
        prints.append(offline.fingerprint)
        assert online.fingerprint == offline.fingerprint
    assert prints[0] != prints[1]


def test_a_repeated_request_in_one_call_is_made_once(folder):
    generator = CountingGenerator()
    made = ask(Bank(folder), generator, 2, rows=[0, 1, 0, 0], numbers=[0, 0, 0, 1])
    assert generator.n_asked == 3 and sorted(set(generator.seeds)) == [0, 1]
    assert torch.equal(made[0], made[2]) and not torch.equal(made[0], made[3])


@pytest.mark.parametrize("change", ["fingerprint", "index", "label", "image"])
def test_what_makes_another_variation(folder, change):
    ask(Bank(folder), CountingGenerator(), 4)
    images, labels = make_images(4)
    generator = CountingGenerator(fingerprint="f1" if change == "fingerprint" else "f0")
    labels = labels.flip(0) if change == "label" else labels
    images = images + 1 if change == "image" else images
    Bank(folder).vary(generator, images, labels, indices=[int(change == "index")] * 4, source_ids=range(4))
    assert generator.n_asked == 4 and count(folder) == 8


def test_kept_variations_equal_those_of_a_reproducible_generator(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bank_module, "_BATCH", 2)
    ask(Bank(folder), SeededGenerator(), 8, rows=[0, 3, 6])
    piecemeal = ask(Bank(folder), SeededGenerator(), 8, number=1)
    assert torch.equal(piecemeal, ask(Bank(tmp_path / "whole"), SeededGenerator(), 8, number=1))


def test_missing_plans_without_asking(folder):
    generator = CountingGenerator()
    ask(Bank(folder), generator, 3)
    assert Bank(folder).look(generator, *make_images(8), indices=[0] * 8) == ([3, 4, 5, 6, 7], [])
    assert generator.n_asked == 3


def test_offline_never_asks_and_says_how_many(folder):
    generator = CountingGenerator()
    made = ask(Bank(folder), generator, 6)
    offline = Bank(folder, offline=True)
    assert torch.equal(ask(offline, generator, 6), made)
    with pytest.raises(MissingVariationsError, match=r"2 of the variations by 'counting'.*offline"):
        ask(offline, generator, 8)
    assert generator.n_asked == 6


def test_an_interruption_loses_only_the_batch_in_flight(folder, monkeypatch):
    monkeypatch.setattr(bank_module, "_BATCH", 2)
    generator = CountingGenerator(fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        ask(Bank(folder), generator, 8)
    assert count(folder) == 4
    generator.fail_after = None
    ask(Bank(folder), generator, 8)
    assert generator.n_asked == 8


def test_a_half_written_file_is_no_variation(folder):
    """What a kill in the middle of writing leaves behind is a .part file, which nothing reads."""
    generator = CountingGenerator()
    ask(Bank(folder), generator, 2)
    victim = next(folder.glob("??/*.png"))
    victim.with_name(f".{victim.name}.1-ab.part").write_bytes(victim.read_bytes()[:200])
    victim.unlink()
    assert count(folder) == 1
    ask(Bank(folder), generator, 2)
    assert generator.n_asked == 3


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _empty(path):
    path.write_bytes(b"")


def _swap(path):
    other = next(p for p in path.parents[1].glob("??/*.png") if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _empty, _swap])
def test_damage_is_named_made_again_and_paid_for_again(folder, service, damage):
    made = ask(Bank(folder), service, 3)
    victim = sorted(folder.glob("??/*.png"))[0]
    damage(victim)
    with pytest.warns(RuntimeWarning, match=f"{victim.name} is damaged"), pytest.raises(LookupError, match="1 of"):
        ask(Bank(folder, offline=True), service, 3)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert len(Bank(folder).records()) == 2
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = ask(Bank(folder), service, 3)
    assert len(service.requests()) == 4 and (again != made).flatten(1).any(1).sum() == 1
    assert torch.equal(ask(Bank(folder, offline=True), service, 3), again)
    assert Bank(folder).account().usd == pytest.approx(4 * COST)


def test_answers_and_requests_are_checked(folder, service):
    class Small(CountingGenerator):
        def vary(self, images, labels, *, seed):
            return images[..., :64]

    class Unanswering(PaidGenerator):
        def stream(self, requests, *, seed):
            yield next(super().stream(requests, seed=seed))

    class Inventing(PaidGenerator):
        def stream(self, requests, *, seed):
            yield from (replace(answer, position=7) for answer in super().stream(requests, seed=seed))

    images, labels = make_images(2)
    with pytest.raises(ValueError, match=r"'counting' answered with torch.uint8 of shape \(2, 1, 128, 64\)"):
        ask(Bank(folder), Small(), 2)
    with pytest.raises(ValueError, match="'paid' left 2 variations unanswered"):
        ask(Bank(folder), Unanswering(service.log), 3)
    with pytest.raises(ValueError, match="'paid' returned 7, which was not requested"):
        ask(Bank(folder), Inventing(service.log), 3)
    with pytest.raises(ValueError, match="indices must be one non-negative integer per image"):
        Bank(folder).vary(CountingGenerator(), images, labels, indices=[0, -1], source_ids=[0, 1])
    with pytest.raises(ValueError, match="source_ids must be one per image, got 1 for 2"):
        Bank(folder).vary(CountingGenerator(), images, labels, indices=[0, 0], source_ids=[0])
    with pytest.raises(ValueError, match="'morph' learns from the study"):
        ask(Bank(folder), make_generator("morph"), 2)
    with pytest.raises(ValueError, match="max_usd must be at least 0"):
        Bank(folder, max_usd=float("nan"))
    with pytest.raises(ValueError, match="max_images must be at least 0"):
        Bank(folder, max_images=-1)


def test_every_answer_is_recorded_and_summed(folder, service):
    ask(Bank(folder), service, 6, number=7)
    record = next(record for record in Bank(folder).records() if record["source_id"] == 103)
    assert record["subject"] == 3 and record["label"] == 3 and record["index"] == 7 and record["usd"] == COST
    assert record["generator"] == record["fingerprint"] == "paid" and record["made"].endswith("+00:00")
    assert len(record["source_sha256"]) == len(record["pixels_sha256"]) == 64
    assert {"model", "server", "prompt", "request_id", "usage"} <= set(record)
    account = Bank(folder).account()
    assert account.usd == pytest.approx(6 * COST) and account.n_images == 6 and account.n_lost == 0
    ask(Bank(folder), service, 8, number=7)
    assert Bank(folder).account().usd == pytest.approx(8 * COST) and len(service.requests()) == 8


def test_without_its_ledger_a_bank_knows_what_it_cost(folder, tmp_path):
    service = PaidGenerator(tmp_path / "log", refused=2)
    with suppress(RefusedVariationsError):
        ask(Bank(folder), service, 5)
    before = Bank(folder).account()
    (folder / "ledger.sqlite").unlink()
    assert Bank(folder, offline=True).account() == before and not (folder / "ledger.sqlite").exists()
    with suppress(RefusedVariationsError):
        ask(Bank(folder), service, 6)
    assert Bank(folder).account().usd == pytest.approx(5 * COST)


def test_a_damaged_ledger_says_what_to_do(folder, service):
    ask(Bank(folder), service, 1)
    (folder / "ledger.sqlite").write_bytes(b"no database at all" * 500)
    for act in (lambda: ask(Bank(folder), service, 2), Bank(folder).account):
        with pytest.raises(ValueError, match="ledger.sqlite is damaged.*remove it"):
            act()
    assert len(service.requests()) == 1


@pytest.mark.parametrize(("limits", "kept"), [({"max_usd": 0.33}, 8), ({"max_images": 5}, 5), ({"max_usd": 0.0}, 0)])
def test_a_limit_stops_before_it_is_crossed(folder, service, limits, kept):
    """Seven at 0.04 are 0.28, and another may cost 0.05: 0.33 exactly; a ninth would not fit 0.32 + 0.05."""
    with pytest.raises(BudgetError, match=rf"{next(iter(limits))}=.*{20 - kept} variations short: \$.*higher limit"):
        ask(Bank(folder, **limits), service, 20)
    assert len(service.requests()) == count(folder) == kept
    with pytest.raises(BudgetError, match=f"spent on {kept} variations"):
        ask(Bank(folder, **limits), service, 20)
    assert len(service.requests()) == kept
    ask(Bank(folder, max_usd=0.9), service, 20)
    assert sorted(Counter(service.requests()).values()) == [1] * 20


def test_fills_take_turns_and_keep_a_common_limit(folder, service):
    """Each fill wants other variations; together they must not pass the limit, and must come close to it."""
    slow = replace(service, seconds=0.01)

    def fill(number):
        try:
            ask(Bank(folder, max_usd=1.0), slow, 12, number=number)
        except BudgetError:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        stopped = list(pool.map(fill, range(4)))
    assert any(stopped) and 1.0 - slow.usd_per_image < Bank(folder).account().usd <= 1.0
    assert len(service.requests()) == count(folder) == 24  # 23 at 0.04 leave 0.08: one more fits, two do not
    limited = Bank(folder, max_images=26)
    with pytest.raises(BudgetError, match="2 variations short"):
        ask(limited, CountingGenerator(), 4)
    assert count(folder) == 26 and not list(folder.rglob("*.part"))


def fill_apart(folder, service, n):
    process = PROCESSES.Process(target=ask, args=(Bank(folder), service, n))
    process.start()
    return process


def wait_for(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_two_processes_ask_for_nothing_twice(folder, service):
    first = fill_apart(folder, replace(service, seconds=0.05), 20)
    wait_for(lambda: len(service.requests()) >= 1)
    second = fill_apart(folder, service, 30)
    assert ask(Bank(folder), service, 20).shape == (20, 1, 128, 128)
    first.join()
    second.join()
    assert [first.exitcode, second.exitcode] == [0, 0]
    assert sorted(Counter(service.requests()).values()) == [1] * 30
    assert Bank(folder).account().usd == pytest.approx(30 * COST) and Bank(folder).account().n_lost == 0


def test_a_kill_loses_only_the_calls_in_flight_and_they_stay_counted(folder, service):
    slow = replace(service, seconds=0.3)
    writer = fill_apart(folder, slow, 12)
    wait_for(lambda: count(folder) >= 2)
    writer.kill()
    writer.join()
    kept, n_asked = count(folder), len(service.requests())
    assert writer.exitcode == -9 and 2 <= kept < 12 and len(Bank(folder).records()) == kept
    lost = Bank(folder).account().n_lost
    assert n_asked - kept <= lost <= slow.concurrency, "each call was entered before it was sent"
    for n in (12, 14):  # whoever fills the bank next
        ask(Bank(folder), service, n)
        account = Bank(folder).account()
        assert account.n_lost == lost and account.usd_lost == pytest.approx(lost * 0.05)
        assert account.usd == pytest.approx(n * COST) and len(service.requests()) == n + n_asked - kept


def test_a_call_is_in_the_ledger_before_it_is_sent(folder, service):
    class Looking(PaidGenerator):
        def _call(self, request, seed):
            found.append(Bank(folder).account())
            return super()._call(request, seed)

    found = []
    ask(Bank(folder), Looking(service.log, concurrency=1), 3)
    assert [(account.n_lost, account.n_images) for account in found] == [(1, 0), (1, 1), (1, 2)]
    assert found[2].usd_lost == pytest.approx(0.05) and Bank(folder).account().n_lost == 0


def test_an_answer_that_was_kept_just_before_a_kill_is_counted_once(folder, service):
    ask(Bank(folder), service, 3)
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:  # as if it had died before entering the last answer
        ledger.execute("update calls set usd = null, usd_at_most = 0.05, images = 0, unanswered = 1 where id = 3")
    ledger.close()
    for _ in range(2):
        account = Bank(folder).account()
        assert account.usd == pytest.approx(3 * COST) and (account.n_images, account.n_lost) == (3, 0)
        ask(Bank(folder), service, 3)
    assert len(service.requests()) == 3


def test_refusals_are_kept_counted_and_not_asked_again(folder, tmp_path):
    service = PaidGenerator(tmp_path / "log", refused=5)
    with pytest.raises(RefusedVariationsError, match=r"'paid' refuses 1 of 8 variations.*1 of class 1") as error:
        ask(Bank(folder), service, 8)
    assert error.value.positions == (5,) and count(folder) == 7
    for bank in (Bank(folder), Bank(folder, offline=True)):
        with pytest.raises(RefusedVariationsError):
            ask(bank, service, 8)
    assert len(service.requests()) == 8
    (refusal,) = Bank(folder).records(refused=True)
    assert refusal["refused"] == "moderation_blocked" and refusal["source_id"] == 105 and refusal["label"] == 1


def test_a_refused_image_is_not_asked_for_under_higher_numbers(folder, tmp_path):
    """So that whoever counts occurrences and asks again without the refused ones wants nothing new."""
    service = PaidGenerator(tmp_path / "log", refused=1)
    with pytest.raises(RefusedVariationsError) as error:
        ask(Bank(folder), service, 3, rows=[0, 0, 1, 1, 2], numbers=[0, 1, 0, 1, 0])
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
    os_replace, written = os.replace, []

    def full(*paths):
        if len(written) == 4:  # the bank's identity and three variations
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(paths)
        return os_replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr("mri_aug.provenance.os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            ask(Bank(folder), service, 20)
    account = Bank(folder).account()
    assert count(folder) == 3 and not list(folder.rglob("*.part"))
    assert account.usd == pytest.approx(4 * COST)  # the fourth was paid for, though nothing was left to keep it on
    assert account.n_lost <= service.concurrency
    asked = len(service.requests())
    ask(Bank(folder), service, 20)
    assert len(service.requests()) == asked + 17
