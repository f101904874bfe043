"""The bank: nothing made twice, nothing lost, nothing damaged returned, whoever else is writing."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch

from mri_aug.generators.bank.bank import Bank, BankedGenerator
from mri_aug.generators.base import make_generator


@dataclass
class CountingGenerator:
    """Answers with noise that no seed brings back, as a remote service does, and counts what it is asked for."""

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


@pytest.fixture
def request_for():
    """Return the arguments that ask for variation ``index`` of each of n images."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 1, 128, 128), dtype=np.uint8))

    def arguments(n=8, index=0):
        return (images[:n], torch.arange(n) % 4), {"indices": [index] * n, "source_ids": range(100, 100 + n)}

    return arguments


def _ask(bank, generator, request, **options):
    args, kwargs = request
    return bank.vary(generator, *args, **kwargs, **options)


def test_nothing_is_made_twice(tmp_path, request_for):
    generator = CountingGenerator()
    first = _ask(Bank(tmp_path), generator, request_for(5))
    assert generator.n_asked == 5
    whole = _ask(Bank(tmp_path), generator, request_for(8))
    assert generator.n_asked == 8 and torch.equal(whole[:5], first)
    assert torch.equal(_ask(Bank(tmp_path), generator, request_for(8)), whole)
    assert generator.n_asked == 8 and Bank(tmp_path).count() == 8


def test_banks_filled_apart_are_told_apart_and_a_later_look_changes_nothing(tmp_path, request_for):
    prints = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        _ask(Bank(folder), CountingGenerator(), request_for(2))
        offline, online = (BankedGenerator(CountingGenerator(), Bank(folder, offline=o)) for o in (True, False))
        prints.append(offline.fingerprint)
        assert online.fingerprint == offline.fingerprint
    assert prints[0] != prints[1]


def test_a_repeated_request_in_one_call_is_made_once(tmp_path, request_for):
    (images, labels), _ = request_for(2)
    generator, rows = CountingGenerator(), [0, 1, 0, 0]
    made = Bank(tmp_path).vary(generator, images[rows], labels[rows], indices=[0, 0, 0, 1], source_ids=[0, 1, 0, 0])
    assert generator.n_asked == 3 and sorted(set(generator.seeds)) == [0, 1]
    assert torch.equal(made[0], made[2]) and not torch.equal(made[0], made[3])


@pytest.mark.parametrize("change", ["fingerprint", "index", "label", "image"])
def test_what_makes_another_variation(tmp_path, request_for, change):
    _ask(Bank(tmp_path), CountingGenerator(), request_for(4))
    (images, labels), kwargs = request_for(4, index=int(change == "index"))
    generator = CountingGenerator(fingerprint="f1" if change == "fingerprint" else "f0")
    labels = labels.flip(0) if change == "label" else labels
    images = images + 1 if change == "image" else images
    Bank(tmp_path).vary(generator, images, labels, **kwargs)
    assert generator.n_asked == 4 and Bank(tmp_path).count() == 8


def test_kept_variations_equal_those_of_a_reproducible_generator(tmp_path, request_for):
    (images, labels), kwargs = request_for(8)
    morph = make_generator("morph").fit(images, labels, torch.arange(8), seed=0)
    Bank(tmp_path / "a").vary(morph, images[::3], labels[::3], indices=[0] * 3, source_ids=range(3))
    piecemeal = Bank(tmp_path / "a").vary(morph, images, labels, **kwargs, chunk_size=2)
    assert torch.equal(piecemeal, Bank(tmp_path / "b").vary(morph, images, labels, **kwargs))


def test_records_say_where_each_came_from(tmp_path, request_for):
    _ask(Bank(tmp_path), CountingGenerator(), request_for(3, index=7))
    records = Bank(tmp_path).records()
    assert [record["source_id"] for record in sorted(records, key=lambda r: r["source_id"])] == [100, 101, 102]
    for record in records:
        assert record["generator"] == "counting" and record["fingerprint"] == "f0" and record["index"] == 7
        assert record["label"] == record["source_id"] - 100
        assert len(record["source_sha256"]) == len(record["pixels_sha256"]) == 64 and record["made"].endswith("+00:00")


def test_missing_plans_without_asking(tmp_path, request_for):
    generator = CountingGenerator()
    _ask(Bank(tmp_path), generator, request_for(3))
    (images, labels), kwargs = request_for(8)
    assert Bank(tmp_path).missing(generator, images, labels, indices=kwargs["indices"]) == [3, 4, 5, 6, 7]
    assert generator.n_asked == 3


def test_offline_never_asks_and_says_how_many(tmp_path, request_for):
    generator = CountingGenerator()
    made = _ask(Bank(tmp_path), generator, request_for(6))
    offline = Bank(tmp_path, offline=True)
    assert torch.equal(_ask(offline, generator, request_for(6)), made)
    with pytest.raises(LookupError, match=r"2 of the variations by 'counting'.*offline"):
        _ask(offline, generator, request_for(8))
    assert generator.n_asked == 6


def test_an_interruption_loses_only_the_chunk_in_flight(tmp_path, request_for):
    generator = CountingGenerator(fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        _ask(Bank(tmp_path), generator, request_for(8), chunk_size=2)
    assert Bank(tmp_path).count() == 4
    generator.fail_after = None
    _ask(Bank(tmp_path), generator, request_for(8))
    assert generator.n_asked == 8


def test_a_half_written_file_is_no_variation(tmp_path, request_for):
    """What a kill in the middle of writing leaves behind is a .part file, which nothing reads."""
    generator = CountingGenerator()
    _ask(Bank(tmp_path), generator, request_for(2))
    victim = next(tmp_path.glob("??/*.png"))
    victim.with_suffix(".1-ab.part").write_bytes(victim.read_bytes()[:200])
    victim.unlink()
    assert Bank(tmp_path).count() == 1
    _ask(Bank(tmp_path), generator, request_for(2))
    assert generator.n_asked == 3


def test_a_failed_write_leaves_nothing(tmp_path, request_for, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mri_aug.generators.bank_files.os.replace", full)
        with pytest.raises(OSError, match="No space"):
            _ask(Bank(tmp_path), CountingGenerator(), request_for(2))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["identity", "ledger.sqlite"]


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
def test_damage_is_named_and_made_again(tmp_path, request_for, damage):
    generator = CountingGenerator()
    made = _ask(Bank(tmp_path), generator, request_for(3))
    victim = sorted(tmp_path.glob("??/*.png"))[0]
    damage(victim)
    with pytest.warns(RuntimeWarning, match=f"{victim.name} is damaged"), pytest.raises(LookupError, match="1 of"):
        _ask(Bank(tmp_path, offline=True), generator, request_for(3))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert len(Bank(tmp_path).records()) == 2
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = _ask(Bank(tmp_path), generator, request_for(3))
    assert generator.n_asked == 4 and (again != made).flatten(1).any(1).sum() == 1
    assert torch.equal(_ask(Bank(tmp_path, offline=True), generator, request_for(3)), again)


def test_what_the_generator_answers_is_checked(tmp_path, request_for):
    class Small(CountingGenerator):
        def vary(self, images, labels, *, seed):
            return images[..., :64]

    with pytest.raises(ValueError, match=r"'counting' answered with torch.uint8 of shape \(8, 1, 128, 64\)"):
        _ask(Bank(tmp_path), Small(), request_for(8))


def test_bad_requests_are_refused(tmp_path, request_for):
    (images, labels), _ = request_for(2)
    with pytest.raises(ValueError, match="indices must be one number from 0 upwards"):
        Bank(tmp_path).vary(CountingGenerator(), images, labels, indices=[0, -1], source_ids=[0, 1])
    with pytest.raises(ValueError, match="source_ids must be one per image, got 1 for 2"):
        Bank(tmp_path).vary(CountingGenerator(), images, labels, indices=[0, 0], source_ids=[0])


class SlowGenerator(CountingGenerator):
    def vary(self, images, labels, *, seed):
        time.sleep(0.02)
        return super().vary(images, labels, seed=seed)


def test_several_writers_share_a_folder(tmp_path, request_for):
    with ThreadPoolExecutor(4) as pool:
        ask = partial(pool.submit, _ask, Bank(tmp_path))
        writers = [ask(SlowGenerator(), request_for(), chunk_size=size) for size in (1, 2, 3, 4)]
        assert all(writer.result().shape == (8, 1, 128, 128) for writer in writers)
    assert len(Bank(tmp_path).records()) == Bank(tmp_path).count() == 8 and not list(tmp_path.rglob("*.part"))
    _ask(Bank(tmp_path, offline=True), CountingGenerator(), request_for())


def _fill(folder, request):
    _ask(Bank(folder), SlowGenerator(), request, chunk_size=1)


def test_a_killed_process_leaves_only_whole_variations(tmp_path, request_for):
    (images, labels), _ = request_for()
    request = (images.repeat(20, 1, 1, 1), labels.repeat(20)), {"indices": np.arange(160) // 8, "source_ids": [0] * 160}
    writer = multiprocessing.get_context("spawn").Process(target=_fill, args=(tmp_path, request))
    writer.start()
    while Bank(tmp_path).count() < 3 and writer.is_alive():
        time.sleep(0.01)
    writer.kill()
    writer.join()
    kept = Bank(tmp_path).count()
    assert writer.exitcode == -9 and 3 <= kept < 160
    assert len(Bank(tmp_path).records()) == kept
    generator = CountingGenerator()
    _ask(Bank(tmp_path), generator, request)
    assert generator.n_asked == 160 - kept
