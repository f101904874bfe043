"""A stand-in for OpenAI's image endpoints, on loopback, that answers and fails as the real ones are documented to.

It makes its image from the one it receives, so that a test can tell which source an answer belongs to, and it counts
what a client's account is compared with. It checks requests as strictly as the service: a wrong one is a 400.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch
from PIL import Image

KEY = "sk-sentinel-0123456789abcdef"
USAGE = {
    "input_tokens": 1300,
    "input_tokens_details": {"text_tokens": 100, "image_tokens": 1200},
    "output_tokens": 1500,
    "total_tokens": 2800,
}
USD = (100 * 5 + 1200 * 8 + 1500 * 30) / 1e6  # by the published prices
MODELS = {
    "gpt-image-2": None, "gpt-image-2.6-flare": None, "gpt-image-1-mini": "2099-12-01", "gpt-5": None,
    "gpt-image-1": "2026-10-23",
}  # fmt: skip


def reply(status: int, body: object, **headers: str):
    """Return a fault: this body (JSON, or a text as it is) in place of an image that is made."""
    return "error", status, body, headers


def error(status: int, message: str, code: str | None = None, **headers: str):
    """Return a fault: an answer with OpenAI's error body."""
    return reply(status, {"error": {"message": message, "type": "x", "param": None, "code": code}}, **headers)


def altered(change: Callable[[dict], object]):
    """Return a fault: the image is made and billed, and the answer's body changed in place before it is sent."""
    return "altered", change


RATE_LIMIT = error(429, "Rate limit reached for images per minute. Limit: 5/1min.", "rate_limit_exceeded",
                   **{"Retry-After": "0.05"})  # fmt: skip
NOT_ENTITLED = error(429, "Rate limit exceeded for images per minute. Limit: 0/1min. Current: 1/1min.",
                     "rate_limit_exceeded", **{"Retry-After": "0.05"})  # fmt: skip
NO_CREDIT = error(429, "You exceeded your current quota.", "insufficient_quota")
REFUSAL = error(400, "Your request was rejected by the safety system. safety_violations=[x].", "moderation_blocked")
OVERLOADED = error(503, "The server is overloaded.", None)
RETIRED = error(404, "The model `gpt-image-0` does not exist or you do not have access to it.", "model_not_found")
DEPRECATED = error(400, "The model `dall-e-2` has been deprecated.", "invalid_request_error")
BAD_KEY = error(401, f"Incorrect API key provided: {KEY}.", "invalid_api_key")
FORBIDDEN = error(403, "Your organization must be verified to use the model `gpt-image-2`.")
ECHOING = error(400, f"Bad header Authorization: Bearer {KEY}")
DROP = ("drop",)  # the image is made, and billed, but the connection ends before the answer
HANG = ("hang",)  # as DROP, after a silence that outlasts the client's patience
CUT = ("cut",)  # the connection ends within the answer
TRUNCATED = ("truncated",)  # a whole answer with half an image
NOT_AN_IMAGE = ("text",)
NO_IMAGE = ("empty",)
WEB_PAGE = ("page",)  # a proxy's own page, with status 200
WRONG_SIZE = ("size", 0, 16)  # pixels more than asked for
OWN_SIZE = ("size", -64, -64)
ADDRESS = ("url", "http://{host}/image.png")
RELATIVE = ("url", "/image.png")
ELSEWHERE = ("url", "http://localhost:9/image.png?signature=hush")
GONE = ("url", "http://{host}/gone.png")


class ImageServer:
    """Serve from ``with ImageServer() as server``; ``server.url`` is for OPENAI_BASE_URL.

    Parameters
    ----------
    plan : callable, optional
        From the number of the request (from 0, in order of arrival) and its source's key (see :func:`source_key`) to a
        fault, or None for an answer.
    seconds : float
        What making an image takes.
    usage : dict or None
        Stated with each image.
    """

    def __init__(self, plan: Callable = lambda number, source: None, *, seconds: float = 0.0, usage=USAGE):
        self.plan, self.seconds, self.usage = plan, seconds, usage
        self.lock = threading.Lock()
        self.n_requests = self.n_now = self.most_at_once = 0
        self.held: set[int] = set()  # sources whose answers are kept back
        self.broken: Counter[int] = Counter()  # images that were made for a connection that then broke, by source
        self.requested: Counter[int] = Counter()  # by source
        self.delivered: Counter[int] = Counter()  # whole answers with a whole image
        self.n_billed = 0  # images made, delivered or not
        self.made = b""  # the latest image, served at /image.png
        self.fields: list[dict[str, str]] = []
        self.pictures: list[Image.Image] = []
        self.authorisations: set[str] = set()
        self.paths: Counter[str] = Counter()
        self.n_answered = 0  # made, and sent whole to a client that was not known to be gone
        self.gate = threading.Event()  # closed, it holds back the answers to requests
        self.gate.set()
        self.release = threading.Event()  # ends every hang

    def __enter__(self) -> ImageServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"images": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def wait(self, seen: Callable[[ImageServer], bool], seconds: float = 120.0) -> None:
        """Return as soon as that is seen; raise TimeoutError if it never is."""
        deadline = time.monotonic() + seconds
        while not seen(self):
            if time.monotonic() > deadline:
                raise TimeoutError("the server never saw it")
            time.sleep(0.005)

    def hold(self, n: int) -> None:
        """Keep the answers back from now on, and return once n requests wait for theirs and no other is on its way."""
        self.gate.clear()
        self.wait(lambda server: len(server.held) == n == server.n_now)

    def let_go(self) -> None:
        """Make what was asked for by clients that are gone, and go on."""
        self.gate.set()
        self.wait(lambda server: not server.held)

    def __exit__(self, *_) -> None:
        self.gate.set()
        self.release.set()
        self._http.shutdown()
        self._http.server_close()


def make_sources(n: int, *, seed: int = 0) -> torch.Tensor:
    """Return n images of random squares, uint8 (n, 1, 128, 128), each with a flat middle at a level of its own."""
    squares = np.random.default_rng(seed).integers(0, 200, (n, 1, 8, 8), dtype=np.uint8)
    images = squares.repeat(16, axis=2).repeat(16, axis=3)
    images[:, :, 40:88, 40:88] = np.arange(20, 20 + n, dtype=np.uint8)[:, None, None, None]
    return torch.from_numpy(images)


def source_key(picture: np.ndarray) -> int:
    """Return what tells the tests' sources apart: the level of the middle, which resampling leaves alone."""
    n = len(picture)
    return round(float(picture[3 * n // 8 : 5 * n // 8, 3 * n // 8 : 5 * n // 8].mean()))


class _Handler(BaseHTTPRequestHandler):
    images: ImageServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.images.paths[self.path] += 1
        if self.path == "/image.png":
            return self._send(200, self.images.made, {"Content-Type": "image/png"})
        if self.path != "/v1/models":
            return self._answer(404, {"detail": "Not Found"})
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "x"} | ({"shutdown_date": end} if end else {})
            for name, end in MODELS.items()
        ]
        return self._answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        server, body = self.images, self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            number, server.n_requests = server.n_requests, server.n_requests + 1
            server.n_now += 1
            server.most_at_once = max(server.most_at_once, server.n_now)
            server.paths[self.path] += 1
            server.authorisations.add(self.headers.get("Authorization", ""))
        try:
            self._respond(number, *_parts(self.headers["Content-Type"], body))
        finally:
            with server.lock:
                server.n_now -= 1

    def _respond(self, number: int, fields: dict[str, str], file: bytes) -> None:
        server = self.images
        with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
            picture.load()
        source = source_key(np.asarray(picture.convert("L")))
        with server.lock:
            server.requested[source] += 1
            server.fields.append(fields)
            server.pictures.append(picture)
        fault = server.plan(number, source)
        if fault != WEB_PAGE:  # which something before the service sends
            fault = _complaint(self.path, fields, picture) or fault
        if fault and fault[0] == "error":
            status, body, headers = fault[1:]
            if isinstance(body, str):
                return self._send(status, body.encode(), {"Content-Type": "text/html"} | headers)
            return self._answer(status, body, headers)
        time.sleep(server.seconds)
        held = self._wait_at_gate(source)
        with server.lock:
            server.n_billed += fault != WEB_PAGE
            server.broken[source] += fault in (DROP, HANG, CUT)
        return self._hang_up() if held else self._deliver(fault, picture, fields, source)

    def _wait_at_gate(self, source: int) -> bool:
        server = self.images
        if server.gate.is_set():
            return False
        with server.lock:
            server.held.add(source)
        server.gate.wait()
        with server.lock:
            server.held.discard(source)
        return True

    def _deliver(self, fault, picture: Image.Image, fields: dict[str, str], source: int) -> None:
        side, kind = int(fields["size"].partition("x")[0]), fault[0] if fault else None
        width, height = fault[1:] if kind == "size" else (0, 0)
        made = self.images.made = _variation(picture, (side + width, side + height))
        if fault == TRUNCATED:
            made = made[: len(made) // 2]
        image = {"b64_json": base64.b64encode(b"no image" if fault == NOT_AN_IMAGE else made).decode()}
        if kind == "url":
            image = {"url": fault[1].format(host=self.headers["Host"])}
        body = {"created": 1, "data": [] if fault == NO_IMAGE else [image]}
        if self.images.usage:
            body["usage"] = self.images.usage
        if kind == "altered":
            fault[1](body)
        if fault in (DROP, HANG):
            if fault == HANG:
                self.images.release.wait(30)
            return self._hang_up()
        if fault == WEB_PAGE:
            return self._send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        # counted before it is sent: a client may act on an answer before this thread runs again
        with self.images.lock:
            self.images.n_answered += fault != CUT
            self.images.delivered[source] += kind in (None, "altered")
        self._answer(200, body, cut=fault == CUT)

    def _answer(self, status: int, body: object, headers=None, *, cut: bool = False) -> None:
        self._send(status, json.dumps(body).encode(), headers or {}, cut=cut)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(content)), "x-request-id": "req_42"}
        for name, value in (sent | headers).items():
            self.send_header(name, value)
        with suppress(OSError):
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.wfile.flush()
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            self.connection.close()


def _parts(content_type: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Return the fields of a multipart form, and its one file."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields, file = {}, b""
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        if part.get_filename():
            file = content
        else:
            fields[part.get_param("name", header="content-disposition")] = content.decode()
    return fields, file


def _complaint(path: str, fields: dict[str, str], picture: Image.Image):
    """Return what the service finds wrong with a request."""
    width, height = picture.size
    if width != height:
        return error(400, "Uploaded image must be square")
    if not fields.get("model"):
        return error(400, "you must provide a model parameter")
    if path == "/v1/images/variations":
        allowed = fields.get("size") in ("256x256", "512x512", "1024x1024")
        return None if allowed else error(400, "size is not allowed")
    if path != "/v1/images/edits":
        return error(404, f"Invalid URL (POST {path})")
    if unknown := {"response_format", "input_fidelity"} & set(fields):
        return error(400, f"Unknown parameter: {unknown.pop()!r}", "unknown_parameter")
    if not fields.get("prompt"):
        return error(400, "Missing required parameter: 'prompt'")
    side, other = map(int, fields["size"].split("x"))
    if side % 16 or other % 16 or not 655_360 <= side * other <= 8_294_400:
        return error(400, f"Invalid size {fields['size']!r}")
    return None


def _variation(picture: Image.Image, size: tuple[int, int]) -> bytes:
    """Return a coloured PNG of the source: bright spots tell it from the source, the middle stays."""
    made = picture.convert("RGB").resize(size)
    made.paste((255, 255, 255), (0, 0, size[0] // 16, size[1] // 16))
    file = io.BytesIO()
    made.save(file, format="PNG", compress_level=1)
    return file.getvalue()
