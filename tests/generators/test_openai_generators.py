"""Variations through the real client from a server on loopback: what is sent, what comes back, what is recorded."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import threading
import time
import traceback
from dataclasses import replace

import numpy as np
import pytest
import torch
from openai_server import BAD_KEY, ECHOING, KEY, USAGE, USD, make_sources, source_key

from mri_aug.generators import openai as openai_room
from mri_aug.generators.base import Request, StreamingGenerator, make_generator
from mri_aug.generators.openai import service
from mri_aug.generators.openai.generators import FREE, Prices

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of create_variation
NAMES = ("openai-edits", "openai-variations")
SIZES = {"openai-edits": 816, "openai-variations": 256}  # the smallest are the quickest


def small(name: str, **options):
    return make_generator(name, size=SIZES[name], **options)


def batch(n: int):
    return make_sources(n), torch.arange(n) % 4


def requests(n: int) -> list[Request]:
    return [Request(position, image, position % 4) for position, image in enumerate(make_sources(n))]


@pytest.mark.parametrize("name", NAMES)
def test_each_image_gets_its_own_variation(name, start):
    server = start()
    images, labels = batch(3)
    variations = small(name).vary(images, labels, seed=0)
    assert variations.dtype == torch.uint8 and variations.shape == images.shape
    assert [source_key(image[0].numpy()) for image in variations] == [20, 21, 22]
    assert not torch.equal(variations, images) and (variations[:, :, :6, :6] > 200).all()
    assert server.n_requests == 3 and set(server.requested.values()) == {1}
    assert server.authorisations == {f"Bearer {KEY}"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_is_what_the_service_documents(name, start):
    server = start()
    generator = small(name, extra_body={"seed": 7})
    generator.vary(*batch(1), seed=0)
    fields, side = server.fields[0], SIZES[name]
    same = {"model": generator.model, "n": "1", "size": f"{side}x{side}", "seed": "7"}
    if name == "openai-edits":
        assert fields == same | {"prompt": generator.prompt, "quality": "medium"}
    else:
        assert fields == same | {"response_format": "b64_json"}
    picture = server.pictures[0]
    assert picture.mode == "L" and picture.size == (side, side) and picture.format == "PNG"


def test_record_tells_where_a_variation_is_from(start):
    server = start()
    generator = small("openai-edits", quality="low")
    (answer,) = generator.stream(requests(1), seed=0)
    record = dict(answer.record)
    assert json.loads(json.dumps(record)) == record
    expected = {
        "model": "gpt-image-2", "endpoint": "images.edit", "prompt": generator.prompt, "size": "816x816",
        "quality": "low", "server": server.url, "request_id": "req_42", "resampling": "lanczos, 128 to 816 and back",
        "attempts": 1, "unanswered": 0, "usd": pytest.approx(USD), "usd_at_most": pytest.approx(USD),
    }  # fmt: skip
    assert record | expected == record
    assert record["usage"] == USAGE and record["seconds"] > 0
    assert record["usd_per_million_tokens"] == {"text_in": 5, "image_in": 8, "image_out": 30}
    assert "refused" not in record and "failed" not in record


def test_a_class_may_have_its_own_prompt(start):
    server = start()
    generator = small("openai-edits", prompt=["a", "b", "c", "d"], concurrency=1)
    prompts = [answer.record["prompt"] for answer in generator.stream(requests(2), seed=0)]
    assert prompts == [fields["prompt"] for fields in server.fields] == ["a", "b"]
    found, generator = [], small("openai-edits", prompt=("a", "b"), concurrency=1)
    with pytest.raises(ValueError, match="2 prompts, one per class from 0, got an image of class 2"):
        found.extend(answer.position for answer in generator.stream(requests(4), seed=0))
    assert found == [0, 1] and server.n_requests == 4, "no image of a class without a prompt is sent"


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_at_a_time_than_allowed(concurrency, start):
    server = start(seconds=0.03)
    small("openai-variations", concurrency=concurrency).vary(*batch(9), seed=0)
    assert server.most_at_once == concurrency and server.n_requests == 9


def test_answers_arrive_as_they_are_made_and_keep_their_place(start):
    gate = threading.Event()

    def first_waits(number, source):
        if source == 20:
            gate.wait(10)

    start(first_waits)
    positions = []
    for answer in small("openai-variations", concurrency=2).stream(requests(4), seed=0):
        positions.append(answer.position)
        assert source_key(answer.pixels[0].numpy()) == 20 + answer.position
        if len(positions) == 3:
            gate.set()
    assert positions == [1, 2, 3, 0]


def test_nothing_more_is_sent_while_an_answer_is_being_kept(start):
    server = start()
    answers = small("openai-variations", concurrency=2).stream(requests(8), seed=0)
    next(answers)
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert server.n_requests <= 2
        time.sleep(0.02)
    answers.close()


def test_closing_stops_what_is_not_sent(start):
    server = start()
    answers = small("openai-variations", concurrency=2).stream(requests(40), seed=0)
    for _ in range(3):
        next(answers)
    answers.close()
    n_sent = server.n_requests
    assert n_sent <= 5
    time.sleep(0.1)
    assert server.n_requests == n_sent
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mri-aug")]


def test_an_interruption_keeps_the_answers_in_flight_and_sends_no_more(start, monkeypatch):
    server = start(seconds=0.2)
    waiting, interrupted = service.wait, []

    def interrupt(calls, **options):
        if len(interrupted) < 1:
            interrupted.append(server.wait(lambda server: server.n_requests == 3))
            raise KeyboardInterrupt
        return waiting(calls, **options)

    monkeypatch.setattr(service, "wait", interrupt)
    answers = small("openai-variations", concurrency=3).stream(requests(9), seed=0)
    positions = []
    with pytest.raises(KeyboardInterrupt):
        positions.extend(answer.position for answer in answers)
    assert server.n_requests == 3 == sum(server.delivered.values())


def test_works_where_a_loop_is_running(start):
    start()

    async def cell():
        return small("openai-variations").vary(*batch(3), seed=0)

    assert asyncio.run(cell()).shape == (3, 1, 128, 128)


def test_nothing_is_asked_for_no_images(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name in NAMES:
        assert make_generator(name).vary(*batch(0), seed=0).shape == (0, 1, 128, 128)


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_follows_the_output_and_nothing_else(name, monkeypatch):
    generator = make_generator(name)
    assert isinstance(generator, StreamingGenerator) and not generator.learns_from_study and not generator.reproducible
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    same = replace(generator, timeout_seconds=1.0, concurrency=9, max_retries=0, seconds_per_image=1.0, prices=FREE)
    assert same.fingerprint == generator.fingerprint == pickle.loads(pickle.dumps(generator)).fingerprint
    changes = [{"model": "x"}, {"size": 1024 if generator.size == 512 else 816}, {"resampling": "box"}]
    changes += [{"extra_body": {"seed": 1}}]
    if name == "openai-edits":
        changes += [{"prompt": "x"}, {"prompt": ("x", "x")}, {"quality": "high"}]
    prints = {replace(generator, **change).fingerprint for change in changes}
    assert len(prints | {generator.fingerprint}) == len(changes) + 1
    assert make_generator(name, extra_body={"seed": 1}) == make_generator(name, extra_body=[("seed", 1)])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("openai-variations", {"size": 128}, "256, 512, 1024, got 128"),
        ("openai-variations", {"model": ""}, "name of a model"),
        ("openai-edits", {"size": 512}, "multiple of 16 from 816 to 2880, got 512"),
        ("openai-edits", {"size": 1000}, "multiple of 16"),
        ("openai-edits", {"resampling": "nearest"}, "lanczos, got 'nearest'"),
        ("openai-edits", {"prompt": " "}, "prompt"),
        ("openai-edits", {"prompt": ()}, "prompt"),
        ("openai-edits", {"quality": "max"}, "no price is known for quality 'max'.*low, medium, high"),
        ("openai-edits", {"concurrency": 0}, "concurrency >= 1"),
        ("openai-edits", {"concurrency": 1.5}, "concurrency of generator .*edits' must be a whole number, got 1.5"),
        ("openai-edits", {"prompt": [1]}, r"prompt of .* must be a text or \[a text, ...\], got \[1\]"),
        ("openai-edits", {"prices": {"image": 1}}, "prices of generator .* has no option image; it has text_in, image"),
        ("openai-edits", {"prices": {"image_out": "x"}}, "image_out of prices of .* must be a number, got 'x'"),
        ("openai-edits", {"prices": {"image_out": -1}}, "prices must be non-negative"),
        ("openai-edits", {"prices": "free"}, "must be a mapping with any of text_in, image_in, .*got 'free'"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_generator(name, **options)


def test_price_of_an_answer_and_its_bound():
    prices = Prices()
    assert prices.usd(USAGE) == pytest.approx(0.0551)
    assert prices.usd(None) is None and prices.usd({}) is None and FREE.usd(None) == 0
    assert prices.usd({"input_tokens": 100, "output_tokens": 10}) == pytest.approx((100 * 8 + 10 * 30) / 1e6)
    bounds = [make_generator("openai-edits", quality=quality).usd_per_image for quality in ("low", "medium", "high")]
    assert bounds == sorted(bounds) and prices.usd(USAGE) < bounds[1] < 0.11
    assert make_generator("openai-edits", size=2048).usd_per_image > 3 * bounds[1]
    assert make_generator("openai-variations").usd_per_image == 0
    assert make_generator("openai-edits", quality="max", prices=FREE).usd_per_image == 0


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ({"image_out": 40}, Prices(image_out=40)),
        ({"per_image": {"medium": 0.1}}, Prices(per_image=(("medium", 0.1),))),
        ({"per_image": [["medium", 0.1], [None, 1]]}, Prices(per_image=(("medium", 0.1), (None, 1.0)))),
        ({"per_image": 0.2}, Prices(per_image=((None, 0.2),))),
        ({"text_in": 0, "image_in": 0, "image_out": 0, "per_image": 0}, Prices(0, 0, 0, 0)),
    ],
)
def test_prices_may_be_given_as_json(prices, expected):
    generator = make_generator("openai-edits", prices=json.loads(json.dumps(prices)))
    assert generator.prices == expected and pickle.loads(pickle.dumps(generator)) == generator
    assert (generator.usd_per_image == 0) == expected.is_free
    assert generator.fingerprint == make_generator("openai-edits").fingerprint


def test_a_missing_package_names_the_way_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    for module in ("service", "faults"):
        monkeypatch.delitem(sys.modules, f"mri_aug.generators.openai.{module}", raising=False)
        monkeypatch.delattr(openai_room, module, raising=False)
    generator = make_generator("openai-edits")
    assert len(generator.fingerprint) == 16, "a bank is replayed without the package"
    with pytest.raises(ImportError, match=r"^openai-edits needs the package openai: pip install 'mri-aug\[openai\]'$"):
        generator.vary(*batch(1), seed=0)


@pytest.mark.parametrize("fault", [None, BAD_KEY, ECHOING])
def test_the_key_appears_nowhere(fault, start, monkeypatch, caplog, capfd):
    server = start(lambda number, source: fault)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("http://", "http://user:hush@"))
    caplog.set_level(logging.DEBUG)
    generator = small("openai-edits")
    told = [repr(generator), generator.fingerprint]
    if fault:
        with pytest.raises(RuntimeError) as caught:
            generator.vary(*batch(1), seed=0)
        error = caught.value
        told += [str(error), repr(error), repr(error.failures), *traceback.format_exception(error)]
        assert error.__cause__ is None and error.__context__ is None
    else:
        told += [repr(answer) for answer in generator.stream(requests(1), seed=0)]
    for text in told:
        assert KEY not in text and "hush" not in text and "0123456789" not in text
    logged = [record.getMessage() for record in caplog.records]
    assert logged and not [text for text in [*logged, *capfd.readouterr()] if KEY in text]


def test_resampling_there_and_back_is_close_to_the_image(start):
    start()
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    smooth = torch.from_numpy((200 * np.exp(-2 * (x**2 + y**2))).astype(np.uint8))[None, None]
    variation = small("openai-variations").vary(smooth, torch.tensor([0]), seed=0)
    assert (variation.int() - smooth.int()).abs()[..., 10:, 10:].max() <= 1
