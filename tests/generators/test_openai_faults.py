"""Every fault of an image service, through the real client: what is repeated, what is not, and what the user reads."""

from __future__ import annotations

import base64
import io
import pickle
from types import SimpleNamespace

import openai
import openai_server as fake
import pytest
import torch
from openai_server import KEY, USAGE, USD, altered, error, make_sources, reply, source_key
from PIL import Image

from mri_aug.generators.base import RefusedVariationsError, Request, make_generator
from mri_aug.generators.openai.faults import ImageServiceError, describe_models, is_hopeless, without_secrets

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's, of create_variation
HOUR = {"Retry-After": "3600"}
FILTERED = {"code": "content_filter_result", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Let the client wait for no time between two requests."""
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


def quick(**options):
    """Return the generator whose requests are the smallest, with the prices of the other."""
    return make_generator(
        "openai-variations", **{"size": 256, "concurrency": 2, "prices": {"per_image": 2.0}} | options
    )


def ask(generator, n: int = 1):
    """Return the answers that arrived, by position, and the error that ended them, if one did."""
    requests = [Request(position, image, position % 4) for position, image in enumerate(make_sources(n))]
    answers = {}
    try:
        for answer in generator.stream(requests, seed=0):
            answers[answer.position] = answer
    except ImageServiceError as caught:
        return answers, caught
    return answers, None


def first(fault, times: int = 1):
    """Return a plan: the first requests fail, the others do not."""
    return lambda number, source: fault if number < times else None


def always(fault):
    return lambda number, source: fault


@pytest.mark.parametrize(
    ("fault", "unanswered"),
    [(fake.RATE_LIMIT, 0), (fake.OVERLOADED, 0), (error(500, "x"), 0), (fake.DROP, 1), (fake.CUT, 1), (fake.HANG, 1)],
    ids=["rate", "overload", "500", "drop", "cut", "hang"],
)
def test_what_may_pass_is_tried_again(fault, unanswered, start):
    server = start(first(fault))
    answers, caught = ask(quick(timeout_seconds=1.0 if fault == fake.HANG else 30.0))
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
    server = start(always(error(status, "Limit: 5/1min", **{"Retry-After": "0.01"})))
    answers, caught = ask(quick(max_retries=2))
    assert not answers and server.n_requests == 3 and server.n_billed == 0
    expected = "limits the rate .* lower concurrency" if status == 429 else "status 503 .* try again later"
    assert caught.failures[0].record["usd_at_most"] == 0
    with pytest.raises(ImageServiceError, match=rf"^image 0 of the batch: .*{expected}.*\(tried 3 times\)"):
        raise caught


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (fake.NOT_ENTITLED, r"not entitled to images by 'dall-e-2'.*Limit: 0/1min.*waiting does not help"),
        (fake.NO_CREDIT, "no credit left.*You exceeded your current quota.*waiting does not help"),
        (error(400, "Billing hard limit has been reached", "billing_hard_limit_reached"), "no credit left, or"),
        (reply(402, {"error": {"message": "Insufficient credits"}}), "no credit left.*Insufficient credits"),
        (fake.BAD_KEY, r"does not accept the key in OPENAI_API_KEY \(Incorrect API key provided: \[secret\]"),
        (error(401, "No such organization: org-x.", "invalid_organization"), "organisation.*org-x.*OPENAI_ORG_ID"),
        (error(401, "OpenAI-Organization header should match organization for API key", "mismatched_organization"),
         "organisation or project that goes with the key.*OPENAI_PROJECT_ID"),
        (error(403, "You must be a member of an organization to use the API"), "organisation.*must be a member"),
        (fake.FORBIDDEN, "forbids .*must be verified"),
        (error(429, "Slow down", **HOUR), "asks to wait 60 minutes.*Slow down.*the same command goes on"),
        (error(503, "Maintenance", **{"Retry-After": "Wed, 01 Jan 2098 00:00:00 GMT"}), "asks to wait .* minutes"),
        (error(400, "Invalid value: 'x'.", "invalid_value"), "rejects the request .status 400: Invalid value"),
        (reply(400, {"detail": "size not supported"}), "status 400: size not supported"),
        (reply(422, {"detail": [{"loc": ["body", "size"], "msg": "Input should be 512", "type": "enum"},
                                {"loc": ["body", "n"], "msg": "too many", "type": "x"}]}),
         "status 422: body.size: Input should be 512; body.n: too many"),
        (reply(400, {"message": "plain", "code": 7}), "status 400: plain"),
        (reply(400, {"error": "a word"}), "status 400: a word"),
        (reply(400, "<html><style>x</style><h1>Bad Gateway</h1></html>"), r"status 400: Bad Gateway\)"),
        (error(404, "Invalid URL (POST /v1/images/edits)"), "does not have this endpoint .*openai-edits"),
        (reply(404, {"detail": "Not Found"}), "does not have this endpoint .Not Found"),
        (reply(200, {"error": {"message": "Worker crashed", "code": "x"}}), "rejects the request .Worker crashed"),
        (reply(200, {"detail": "no GPU"}), "rejects the request .no GPU"),
        (reply(200, {"error": {"message": "Billing hard limit has been reached"}, "data": []}), "no credit left"),
        (fake.WEB_PAGE, "answered with a web page .Please log in.; a proxy or a login page"),
        (fake.WRONG_SIZE, "asked for 256 x 256 pixels, the answer has 256 x 272; set a size"),
        (fake.ELSEWHERE, r"address in place of the image \(http://localhost:9/image.png\), .*another server.*b64_json"),
        (fake.GONE, r"which cannot be fetched \(status 404: Not Found\)"),
    ],
)  # fmt: skip
def test_what_cannot_pass_is_not_tried_again(fault, words, start):
    server = start(always(fault))
    answers, caught = ask(quick())
    assert not answers and server.n_requests == 1
    with pytest.raises(ImageServiceError, match=f"^image 0 of the batch: .*{words}"):
        raise caught
    assert caught.failures[0].record["usd"] == pytest.approx(server.n_billed * USD)
    assert "hush" not in str(caught) and KEY not in str(caught)


@pytest.mark.parametrize("fault", [fake.RETIRED, fake.DEPRECATED, reply(400, {"detail": "Model not found, uid: x"})])
def test_a_retired_model_names_the_live_ones(fault, start):
    server = start(always(fault))
    _, caught = ask(quick(model="gpt-image-0"))
    assert server.paths == {"/v1/images/variations": 1, "/v1/models": 1}
    words = "its live models are gpt-image-1-mini (until 2099-12-01), gpt-image-2, gpt-image-2.6-flare"
    assert "does not offer model 'gpt-image-0'" in str(caught) and str(caught).endswith(words)


def test_models_are_described_as_far_as_the_server_tells():
    def models(**ends):
        return [SimpleNamespace(id=name, shutdown_date=end) for name, end in ends.items()]

    assert describe_models([]) == "it lists no model"
    assert describe_models([SimpleNamespace(id="sdxl")]) == "its live models are sdxl"
    found = describe_models(models(image_b="2026-12-01", image_a=None, image_c="2026-10-23"), today="2026-11-22")
    assert found == "its live models are image_a, image_b (until 2026-12-01)"
    assert "image_b" not in describe_models(models(image_b="2026-12-01", image_a=None), today="2026-12-01")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (fake.REFUSAL, "moderation_blocked: Your request was rejected by the safety system"),
        (error(400, "Blocked by our content_policy_violation filter."), "refused: Blocked by"),
        (reply(400, {"error": {"message": "Your task failed as a result of our safety system", **FILTERED}}),
         "ResponsibleAIPolicyViolation: Your task failed"),
        (error(400, "This request has been blocked by our content filters.", "contentFilter"), "contentFilter: This"),
        (reply(200, {"error": {"message": "Blocked", "code": "content_policy_violation"}}), "content_policy_violation"),
        (reply(200, {"created": 1, "data": [{"error": {"code": "content_filter", "message": "No"}}]}), "No"),
    ],
)  # fmt: skip
def test_a_refusal_is_final_and_an_answer(fault, words, start):
    server = start(lambda number, source: fault if source in (21, 23, 25) else None)
    answers, caught = ask(quick(concurrency=3, prices={"per_image": 0.5}), 6)
    assert caught is None and server.n_requests == 6
    assert {position for position, answer in answers.items() if answer.pixels is None} == {1, 3, 5}
    assert words in answers[1].record["refused"]
    assert answers[1].record["usd"] == 0 and answers[1].record["request_id"] == "req_42"


def test_refusals_of_a_batch_are_counted_by_class(start):
    start(lambda number, source: fake.REFUSAL if source in (21, 23, 25) else None)
    with pytest.raises(RefusedVariationsError, match=r"3 of 6 images \(2 of class 1, 1 of class 3\)") as error_:
        quick().vary(make_sources(6), torch.arange(6) % 4, seed=0)
    assert error_.value.positions == (1, 3, 5)


def base64_as(change):
    return altered(lambda body: body["data"][0].update(b64_json=change(body["data"][0]["b64_json"])))


def usage(value):
    return altered(lambda body: body.update(usage=value))


def in_url(body):
    body["data"] = [{"url": "data:image/png;base64," + body["data"][0]["b64_json"]}]


def as_webp(text: str) -> str:
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(text))).save(file, "WEBP", lossless=True)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("fault", "usd"),
    [
        (base64_as(lambda text: "data:image/png;base64," + text), USD),
        (base64_as(lambda text: "\r\n".join(text[k : k + 76] for k in range(0, len(text), 76)) + "\n"), USD),
        (base64_as(lambda text: text.replace("+", "-").replace("/", "_").rstrip("=")), USD),
        (base64_as(as_webp), USD),
        (altered(in_url), USD),
        (altered(lambda body: body.update(data=body["data"][0])), USD),
        (fake.ADDRESS, USD),
        (fake.RELATIVE, USD),
        (fake.OWN_SIZE, USD),
        (usage([1, 2]), None),
        (usage("much"), None),
        (usage({"input_tokens": "many", "output_tokens": None}), None),
        (usage({"input_tokens": -5, "output_tokens": 1e999}), None),
        (usage(None), None),
        (usage({**USAGE, "input_tokens": 1300.0, "input_tokens_details": [1]}), (1300 * 8 + 1500 * 30) / 1e6),
    ],
)
def test_an_unusual_answer_is_kept_and_no_second_one_paid_for(fault, usd, start):
    server = start(always(fault))
    answers, caught = ask(quick())
    assert caught is None and server.n_requests == server.n_billed == 1
    assert source_key(answers[0].pixels[0].numpy()) == 20
    record = answers[0].record
    assert record["usd"] == pytest.approx(usd or 0.0)
    assert record["usd_at_most"] == pytest.approx(quick().usd_per_image if usd is None else usd), (
        "unknown, so the bound"
    )
    assert record.get("received_size") == ("192x192" if fault == fake.OWN_SIZE else None)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (fake.TRUNCATED, r"bytes are no image, or a truncated one, 2 times \(request req_42\)"),
        (fake.NOT_AN_IMAGE, "the answer's 8 bytes are no image"),
        (fake.NO_IMAGE, "the answer holds no image"),
        (base64_as(lambda text: text[:-8] + "?!"), "not valid base64"),
        (reply(200, "no JSON"), "not the JSON that an image endpoint gives"),
    ],
)
def test_a_damaged_answer_is_asked_for_once_more(fault, words, start):
    server = start(first(fault))
    answers, caught = ask(quick())
    assert caught is None and server.n_requests == 2
    assert answers[0].record["usd"] == pytest.approx(server.n_billed * USD), "the damaged one was paid for too"
    server = start(always(fault))
    answers, caught = ask(quick())
    assert not answers and server.n_requests == 2
    assert caught.failures[0].record["usd"] == pytest.approx(server.n_billed * USD)
    with pytest.raises(ImageServiceError, match=f"^image 0 of the batch: .*{words}"):
        raise caught


@pytest.mark.parametrize(("fault", "words"), [(fake.DROP, "dropped"), (fake.HANG, "did not answer within 0.4 s")])
def test_what_may_be_billed_is_tried_three_times_at_most(fault, words, start):
    server = start(always(fault))
    _, caught = ask(quick(max_retries=9, timeout_seconds=0.4 if fault == fake.HANG else 30.0))
    assert server.n_requests == 3
    assert words in str(caught) and "3 requests were sent and not answered, and may have been billed" in str(caught)
    assert caught.failures[0].record["usd"] == 0
    assert caught.failures[0].record["usd_at_most"] == pytest.approx(3 * quick().usd_per_image)


def test_a_server_that_is_not_there_bills_nothing(start):
    start().__exit__()
    _, caught = ask(quick(max_retries=1))
    assert "check the network and OPENAI_BASE_URL" in str(caught) and "billed" not in str(caught)
    assert caught.failures[0].record["usd_at_most"] == 0


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OPENAI_API_KEY", None, "^openai-variations needs a key in the environment variable OPENAI_API_KEY"),
        ("OPENAI_API_KEY", " \n", "needs a key"),
        ("OPENAI_API_KEY", KEY + "\n", "OPENAI_API_KEY holds a line end, .*Nothing was sent"),
        ("OPENAI_API_KEY", KEY + "\r", "OPENAI_API_KEY holds a line end"),
        ("OPENAI_API_KEY", "\ufeff" + KEY, "another character"),
        ("OPENAI_ORG_ID", "org-x\n", "OPENAI_ORG_ID holds a line end"),
        ("OPENAI_BASE_URL", "localhost:8000/v1", "OPENAI_BASE_URL must be an address such as https://host/v1"),
    ],
)
def test_settings_that_cannot_be_meant_send_nothing(variable, value, words, start, monkeypatch):
    server = start()
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    taken = iter([1])
    with pytest.raises(ImageServiceError, match=words) as caught:
        list(quick().stream(taken, seed=0))
    assert KEY not in str(caught.value) and server.n_requests == 0 and list(taken) == [1]


@pytest.mark.parametrize("page", [False, True])
def test_an_address_without_version_is_named(page, start, monkeypatch):
    server = start(always(fake.WEB_PAGE) if page else always(None))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.removesuffix("/v1"))
    _, caught = ask(quick())
    words = "answered with a web page" if page else "does not have this endpoint"
    with pytest.raises(ImageServiceError, match=f"{words}.*OPENAI_BASE_URL should probably end in /v1"):
        raise caught
    assert server.n_requests == 1 and server.n_billed == 0


def test_one_failure_loses_no_answer_in_flight(start):
    server = start(lambda number, source: error(400, "odd image") if source == 20 else None, seconds=0.6)
    answers, caught = ask(quick(concurrency=4), 12)
    assert set(answers) == {1, 2, 3} and set(server.delivered) == {21, 22, 23}
    assert str(caught).startswith("image 0 of the batch: ") and server.n_requests == 4


def test_failures_at_the_same_time_are_all_told(start):
    server = start(always(fake.NO_IMAGE), seconds=0.05)
    answers, caught = ask(quick(concurrency=3), 9)
    assert not answers and len(caught.failures) == 3 and "in flight at the same time, failed too" in str(caught)
    assert sum(failure.record["usd"] for failure in caught.failures) == pytest.approx(server.n_billed * USD)


def test_errors_survive_the_way_from_a_worker_process(start):
    start(always(fake.BAD_KEY))
    _, caught = ask(quick())
    copy = pickle.loads(pickle.dumps(caught))
    assert str(copy) == str(caught) and copy.failures == caught.failures


def test_limits_that_waiting_does_not_help():
    for text in ("Limit: 0/1min. Current: 1/1min", "Limit: 0, Used 0", "limit 0 ", "insufficient_quota"):
        assert is_hopeless(text)
    for text in ("Limit: 5/1min", "Limit: 0.5/1s", "Limit: 05", "Limit: 0,5"):
        assert not is_hopeless(text)


def test_secrets_are_blotted_out(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "plainword0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hush@host/v1?sig=quiet")
    text = without_secrets(
        "plainword0123456789 at http://me:hush@host, sig=quiet, Bearer abcdefgh,\n key sk-proj-ab****yz, "
        "plainw...89 or xy****89 " + "x" * 999
    )
    assert text.startswith(
        "[secret] at http://me:[secret]@host, [secret], [secret], key [secret], [secret] or [secret] xxx"
    )
    assert len(text) < 310
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # any word does for a server of one's own
    assert without_secrets("a nonempty prompt") == "a nonempty prompt"
