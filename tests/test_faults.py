"""A minute of the campaign of faults finds nothing, and the campaign would find what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from mri_aug.book.publishing.notebooks import check_parameters
from mri_aug.provenance import project

sys.path.insert(0, str(project()))  # the benchmarks are not part of the installed package

from benchmarks.faults import __main__ as campaign
from benchmarks.faults import engine
from benchmarks.faults.engine import Campaign, Tally

# killed networks and clusters, which take longest, have tests of their own with the study
SHORT = "studies,fills,service_fills,full_disk,read_only,jumping_clock,two_at_once,calls,malformed,malicious"


def test_a_short_campaign_finds_nothing():
    command = [sys.executable, "-m", "benchmarks.faults", "--scale", "0.02", "--only", SHORT, "--together", "1"]
    done = subprocess.run(command, cwd=project(), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0 and "nothing was found" in done.stdout, done.stdout + done.stderr


def user(what: str) -> None:
    if what == "a traceback":
        raise TypeError("unheard of")
    if what == "a fault":
        raise ValueError("in one line")
    time.sleep(600)


@pytest.mark.parametrize(("what", "found"), [("a traceback", (1, 0)), ("a fault", (0, 0)), ("a hang", (0, 1))])
def test_tracebacks_and_hangs_are_found_and_faults_are_none(tmp_path, monkeypatch, what, found):
    if what == "a hang":
        monkeypatch.setattr(engine, "PATIENCE", 3.0)
    monkeypatch.setattr(engine, "PROCESSES", engine.multiprocessing.get_context("spawn"))  # pytest may have threads
    tally = Tally("x")
    Campaign(tmp_path, 0, 1.0).run(tally, user, what)
    assert (tally.tracebacks, tally.hangs) == found
    assert tally.is_clean == (found == (0, 0))


def test_a_leaked_key_is_found(tmp_path):
    from openai_server import KEY

    (tmp_path / "log").write_text("a line")
    assert campaign.secrets(Campaign(tmp_path, 0, 1.0)).is_clean
    (tmp_path / "log").write_text(f"the key {KEY[3:]} is quoted")
    assert not campaign.secrets(Campaign(tmp_path, 0, 1.0)).is_clean


def test_a_ledger_that_disagrees_is_found():
    from mri_aug.generators.ledger import Account

    for account, off in (
        (Account(1.0, 5, 2, 0.5), 0.0),
        (Account(1.2, 5, 2, 0.5), 0.2),
        (Account(1.0, 5, 2, 0.1), 0.3),
    ):
        tally = Tally("x")
        tally.spent(account, kept=1.0, billed=1.4)
        assert tally.dollars_off == pytest.approx(off)


def test_a_number_that_no_float_holds_is_no_parameter():
    with pytest.raises(ValueError, match="seed must be a whole number"):
        check_parameters("x", {"seed": 0}, {"seed": 10**400})


def test_the_committed_table_is_of_the_committed_record_and_clean():
    rows = json.loads(campaign.RECORD.read_text(encoding="utf-8"))
    text = campaign.README.read_text(encoding="utf-8")
    assert text.split(campaign.BEGIN)[1].split(campaign.END)[0].strip() == campaign.table(rows)
    assert len(rows) >= 14 and all(Tally(**{n: row[n] for n in vars(Tally(""))}).is_clean for row in rows.values())
