"""``mri-aug vary``: the plan costs nothing, limits are kept, and a study then runs from the bank alone."""

from __future__ import annotations

import pytest
from paid_service import PaidGenerator

from mri_aug import cli, provenance
from mri_aug.data import loading as dataset
from mri_aug.generators import base as generators

SIZES = [
    "--profile",
    "smoke",
    "--parts",
    "draft",
    "people",
    "--simulations",
    "1",
    "--real-frac",
    "0.5",
    "--generator",
    "paid",
]


@pytest.fixture
def paid(tmp_path, monkeypatch, toy_images):
    """Toy images in place of phantoms, a service to pay, and the words that name them."""
    monkeypatch.setattr(dataset, "load_phantoms", lambda **_: toy_images)
    monkeypatch.setattr(provenance, "project", lambda: tmp_path)
    known = {**generators.GENERATORS, "paid": "paid_service:PaidGenerator"}
    monkeypatch.setattr(generators, "GENERATORS", known)
    service = PaidGenerator(tmp_path / "requests.log")
    return service, [*SIZES, "--option", f"log={service.log}"]


def test_a_plan_asks_for_nothing(paid, capsys, tmp_path):
    service, words = paid
    assert cli.main(["vary", *words, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "the study needs" in said and "calls" in said and "$" in said and "minutes" in said
    assert not service.requests() and not (tmp_path / "artifacts").exists()


def test_a_bank_is_filled_within_its_limits_and_is_enough_for_the_study(paid, capsys, tmp_path):
    service, words = paid
    assert cli.main(["vary", *words, "--max-usd", "0.5"]) == 1
    said = capsys.readouterr().err
    assert "max_usd=0.5" in said and "higher limit" in said and len(said.strip().splitlines()) == 1
    assert len(service.requests()) == 12  # 0.44 for 11 leave room for one at 0.05 more, 0.48 for 12 do not
    assert cli.main(["vary", *words, "--offline"]) == 1
    assert "which is offline" in capsys.readouterr().err
    assert cli.main(["vary", *words]) == 0
    assert "still to make: 0 calls" in capsys.readouterr().out
    n_requests = len(service.requests())
    assert n_requests == len(set(service.requests())) > 50
    assert cli.main(["vary", *words, "--replay"]) == 0
    assert cli.main(["study", *words, "--jobs", "1"]) == 0
    assert len(service.requests()) == n_requests


def test_a_study_does_not_pay(paid, capsys):
    service, words = paid
    assert cli.main(["study", *words, "--jobs", "1"]) == 1
    assert "mri-aug vary" in capsys.readouterr().err and not service.requests()


def test_one_protocol_needs_less(paid, capsys):
    _, words = paid
    needs = []
    for protocol in ([], ["--protocol", "image"], ["--protocol", "subject"]):
        assert cli.main(["vary", *words, "--plan", *protocol]) == 0
        text = capsys.readouterr().out
        needs.append(int(text.split("needs ")[1].split(" ")[0].replace(",", "")))
    assert max(needs[1:]) < needs[0] <= sum(needs[1:])
    assert cli.main(["vary", *words, "--plan", "--protocol", "scanner"]) == 1
    assert "protocol must be one of" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "value"), [("quality=low", "low"), ("n=3", 3), ("path=[0.5, 1]", [0.5, 1])])
def test_options_of_a_generator(word, value):
    options = cli._parser().parse_args(["vary", "--option", word])
    assert options.option == [(word.partition("=")[0], value)]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ('prices={"image_out": 60}', "at most $"),
        ('prices={"text_in": 0, "image_in": 0, "image_out": 0, "per_image": 0}', "at most $0.00"),
        (
            'prices={"image_out": "much"}',
            "image_out of prices of generator 'openai-edits' must be a number, got 'much'",
        ),
        ("prices=cheap", "prices of generator 'openai-edits' must be a mapping with any of text_in"),
        ("concurrency=2.5", "concurrency of generator 'openai-edits' must be a whole number, got 2.5"),
    ],
)
def test_prices_and_options_are_checked_before_anything_is_loaded(paid, capsys, word, told):
    words = ["--generator", "openai-edits", "--option", word, "--plan"]
    done = cli.main(["vary", *SIZES[:-2], *words])
    said = capsys.readouterr()
    assert told in (said.out if done == 0 else said.err) and (done == 0) == ("at most" in told)
    assert done == 0 or len(said.err.strip().splitlines()) == 1


def test_an_option_without_a_value_ends_with_the_usage(capsys):
    with pytest.raises(SystemExit):
        cli.main(["vary", "--option", "quality"])
    assert "expected NAME=VALUE" in capsys.readouterr().err
