"""Every fault of an image service, through the real client: what is tried again, what is not, and what one reads."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import openai
import pytest
import torch
from openai_server import (
    ADDRESS,
    BAD_KEY,
    CUT,
    DEPRECATED,
    DROP,
    FORBIDDEN,
    HANG,
    NO_CREDIT,
    NO_IMAGE,
    NOT_AN_IMAGE,
    NOT_ENTITLED,
    OVERLOADED,
    RATE_LIMIT,
    REFUSAL,
    RETIRED,
    TRUNCATED,
    USD,
    WEB_PAGE,
    WRONG_SIZE,
    error,
    make_sources,
)  # fmt: skip

from mri_aug.generators.base import RefusedVariationsError, Request, make_generator
from mri_aug.generators.openai.faults import ImageServiceError, describe_models, is_hopeless, without_secrets
from mri_aug.generators.openai.generators import Prices

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of create_variation


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Let the client wait for no time between two tries."""
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


def quick(**options):
    """Return the generator whose requests are the smallest, with prices as of the other."""
    prices = Prices(per_image=((None, 2.0),))
    return make_generator("openai-variations", **{"size": 256, "concurrency": 2, "prices": prices} | options)


def requests(n: int) -> list[Request]:
    return [Request(position, image, position % 4) for position, image in enumerate(make_sources(n))]


def ask(generator, n: int = 1):
    """Return the answers that arrived, by position, and the error that ended them, if one did."""
    answers = {}
    try:
        for answer in generator.stream(requests(n), seed=0):
            answers[answer.position] = answer
    except ImageServiceError as caught:
        return answers, caught
    return answers, None


def first(fault, times: int = 1):
    """Return a plan: the first requests fail, the others do not."""
    return lambda number, source: fault if number < times else None


@pytest.mark.parametrize(
    ("fault", "unanswered"),
    [(RATE_LIMIT, 0), (OVERLOADED, 0), (error(500, "x"), 0), (DROP, 1), (CUT, 1), (HANG, 1)],
    ids=["rate", "overload", "500", "drop", "cut", "hang"],
)
def test_what_may_pass_is_tried_again(fault, unanswered, start):
    server = start(first(fault))
    answers, caught = ask(quick(timeout_seconds=1.0 if fault == HANG else 30.0))
    assert caught is None and server.n_requests == 2 and server.delivered == {20: 1}
    record = answers[0].record
    assert (record["attempts"], record["unanswered"]) == (2, unanswered)
    # what is known to be paid, and what may have been paid beside it
    assert record["usd"] == pytest.approx(USD)
    assert record["usd_at_most"] == pytest.approx(USD + unanswered * quick().usd_per_image)
    assert record["usd_at_most"] >= server.n_billed * USD - 1e-9


def test_retry_after_is_waited_for(start):
    start(first(error(429, "Limit: 5/1min", "rate_limit_exceeded", **{"Retry-After": "0.4"})))
    answers, _ = ask(quick())
    assert answers[0].record["seconds"] >= 0.4


@pytest.mark.parametrize("status", [429, 503])
def test_patience_ends_and_says_so(status, start):
    server = start(lambda number, source: error(status, "Limit: 5/1min", **{"Retry-After": "0.01"}))
    answers, caught = ask(quick(max_retries=2))
    assert not answers and server.n_requests == 3 and server.n_billed == 0
    expected = "limits the rate .* lower concurrency" if status == 429 else "status 503 .* try again later"
    assert caught.failures[0].record["usd_at_most"] == 0
    with pytest.raises(ImageServiceError, match=rf"^image 0 of the batch: .*{expected}.*\(tried 3 times\)"):
        raise caught


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NOT_ENTITLED, r"not entitled to images by 'dall-e-2'.*Limit: 0/1min.*waiting does not help"),
        (NO_CREDIT, "no credit left .*waiting does not help"),
        (BAD_KEY, "does not accept the key in OPENAI_API_KEY"),
        (FORBIDDEN, "forbids .*must be verified"),
        (error(400, "Invalid value: 'x'.", "invalid_value"), "rejects the request .status 400: Invalid value"),
        (error(404, "Invalid URL (POST /v1/images/edits)"), "does not have this endpoint"),
        (WRONG_SIZE, "asked for 256 x 256 pixels, the answer has 256 x 272; set the size"),
    ],
    ids=["entitled", "credit", "key", "forbidden", "bad request", "no endpoint", "size"],
)
def test_what_cannot_pass_is_not_tried_again(fault, words, start):
    server = start(lambda number, source: fault)
    answers, caught = ask(quick())
    assert not answers and server.n_requests == 1
    with pytest.raises(ImageServiceError, match=f"^image 0 of the batch: .*{words}"):
        raise caught
    assert caught.failures[0].record["usd"] == pytest.approx(server.n_billed * USD)


@pytest.mark.parametrize("fault", [RETIRED, DEPRECATED], ids=["404", "400"])
def test_a_retired_model_names_the_live_ones(fault, start):
    server = start(lambda number, source: fault)
    _, caught = ask(quick(model="gpt-image-0"))
    assert server.paths == {"/v1/images/variations": 1, "/v1/models": 1}
    words = "its live models are gpt-image-1-mini (until 2099-12-01), gpt-image-2, gpt-image-2.6-flare"
    assert "has no model 'gpt-image-0'" in str(caught) and str(caught).endswith(words)


def test_models_are_described_as_far_as_the_server_tells():
    def models(**ends):
        return [SimpleNamespace(id=name, shutdown_date=end) for name, end in ends.items()]

    assert describe_models([]) == "it lists no model"
    assert describe_models([SimpleNamespace(id="sdxl")]) == "its live models are sdxl"
    found = describe_models(models(image_b="2026-12-01", image_a=None, image_c="2026-10-23"), today="2026-11-22")
    assert found == "its live models are image_a, image_b (until 2026-12-01)"
    assert "image_b" not in describe_models(models(image_b="2026-12-01", image_a=None), today="2026-12-01")


def test_a_refusal_is_final_and_an_answer(start):
    server = start(lambda number, source: REFUSAL if source in (21, 23, 25) else None)
    answers, caught = ask(quick(concurrency=3), 6)
    assert caught is None and server.n_requests == 6
    refused = {position for position, answer in answers.items() if answer.pixels is None}
    assert refused == {1, 3, 5}
    assert answers[1].record["refused"].startswith("moderation_blocked: Your request was rejected")
    assert answers[1].record["usd"] == 0 and answers[1].record["request_id"] == "req_42"
    with pytest.raises(RefusedVariationsError, match=r"3 of 6 images \(2 of class 1, 1 of class 3\)") as error_:
        quick().vary(make_sources(6), torch.arange(6) % 4, seed=0)
    assert error_.value.positions == (1, 3, 5)


def test_older_servers_refuse_in_other_words(start):
    start(lambda number, source: error(400, "Blocked by our content_policy_violation filter."))
    answers, caught = ask(quick())
    assert caught is None and answers[0].pixels is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TRUNCATED, r"bytes are no image, or a truncated one, 2 times \(request req_42\)"),
        (NOT_AN_IMAGE, "the answer's 8 bytes are no image"),
        (NO_IMAGE, "the answer holds no image"),
        (ADDRESS, "holds an address in place of the image"),
        (WEB_PAGE, "not the JSON that an image endpoint gives"),
    ],
)
def test_a_damaged_answer_is_asked_for_once_more(fault, words, start):
    server = start(first(fault))
    answers, caught = ask(quick())
    assert caught is None and server.n_requests == 2
    assert answers[0].record["usd"] == pytest.approx(server.n_billed * USD), "the damaged one was paid for too"
    server = start(lambda number, source: fault)
    answers, caught = ask(quick())
    assert not answers and server.n_requests == 2
    assert caught.failures[0].record["usd"] == pytest.approx(server.n_billed * USD)
    with pytest.raises(ImageServiceError, match=f"^image 0 of the batch: .*{words}"):
        raise caught


@pytest.mark.parametrize(("fault", "words"), [(DROP, "dropped"), (HANG, "did not answer within 0.4 s")])
def test_what_may_be_billed_is_tried_three_times_at_most(fault, words, start):
    server = start(lambda number, source: fault)
    _, caught = ask(quick(max_retries=9, timeout_seconds=0.4 if fault == HANG else 30.0))
    assert server.n_requests == 3
    assert words in str(caught) and "3 requests were sent and not answered, and may have been billed" in str(caught)
    assert caught.failures[0].record["usd"] == 0
    assert caught.failures[0].record["usd_at_most"] == pytest.approx(3 * quick().usd_per_image)


def test_a_server_that_is_not_there_bills_nothing(monkeypatch, start):
    start(None).__exit__()
    _, caught = ask(quick(max_retries=1))
    assert "check the network and OPENAI_BASE_URL" in str(caught) and "billed" not in str(caught)
    assert caught.failures[0].record["usd_at_most"] == 0


def test_one_failure_loses_no_answer_in_flight(start):
    server = start(lambda number, source: error(400, "odd image") if source == 20 else None, seconds=0.1)
    answers, caught = ask(quick(concurrency=4), 12)
    assert set(answers) == {1, 2, 3} and set(server.delivered) == {21, 22, 23}
    assert str(caught).startswith("image 0 of the batch: ") and server.n_requests == 4


def test_failures_at_the_same_time_are_all_told(start):
    server = start(lambda number, source: NO_IMAGE, seconds=0.05)
    answers, caught = ask(quick(concurrency=3), 9)
    assert not answers and len(caught.failures) == 3 and "under way at the same time, failed too" in str(caught)
    assert sum(failure.record["usd"] for failure in caught.failures) == pytest.approx(server.n_billed * USD)


def test_errors_survive_the_way_from_a_worker_process(start):
    start(lambda number, source: BAD_KEY)
    _, caught = ask(quick())
    copy = pickle.loads(pickle.dumps(caught))
    assert str(copy) == str(caught) and copy.failures == caught.failures


@pytest.mark.parametrize(
    ("text", "hopeless"),
    [
        ("Limit: 0/1min. Current: 1/1min", True),
        ("Limit: 0, Used 0", True),
        ("limit 0 ", True),
        ("insufficient_quota", True),
        ("Limit: 5/1min", False),
        ("Limit: 0.5/1s", False),
        ("Limit: 05", False),
        ("Limit: 0,5", False),
    ],
)
def test_limits_that_waiting_does_not_help(text, hopeless):
    assert is_hopeless(text) == hopeless


def test_secrets_are_blotted_out(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "plainword")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hush@host/v1")
    text = without_secrets("plainword at http://me:hush@host, Bearer abcdefgh,\n key sk-proj-ab****yz " + "x" * 999)
    assert text.startswith("[secret] at http://me:[secret]@host, [secret], key [secret] xxx") and len(text) < 310
