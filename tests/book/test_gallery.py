"""The gallery's element: self-contained, the same for the same pictures, labelled, and light."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mri_aug.book.figures.images import Gallery


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4, 32, 32), dtype=np.uint8)
    cams = {"cnn": rng.random((4, 32, 32)), "a < b": np.zeros((4, 32, 32))}
    captions = {name: [f"{name} on slice {k} </script>" for k in range(4)] for name in cams}
    return Gallery("Slices & maps", images, ["non", "mild", "non", "mild"], ["1", "2", "3", "4"], cams, captions)


class Elements(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def data(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_pictures_hold_the_slices_and_the_maps(gallery):
    entries = data(gallery.html())["images"]
    assert [entry["class"] for entry in entries] == ["non", "mild", "non", "mild"]
    np.testing.assert_array_equal(np.asarray(picture(entries[1]["slice"])), gallery.images[1])
    overlay = np.asarray(picture(entries[1]["maps"]["cnn"]).convert("RGBA"))
    np.testing.assert_allclose(overlay[..., 3] / 255, gallery.cams["cnn"][1], atol=0.01)  # opacity is strength
    assert not np.asarray(picture(entries[0]["maps"]["a < b"]).convert("RGBA"))[..., 3].any()
    assert entries[2]["captions"]["cnn"] == "cnn on slice 2 </script>"


def test_controls_are_native_and_labelled(gallery):
    elements = Elements(gallery.html()).found
    tags = [tag for tag, _ in elements]
    assert tags.count("select") == 3 and tags.count("button") == 2 and tags.count("label") == 4
    assert all(attributes["type"] == "button" for tag, attributes in elements if tag == "button")
    assert any(attributes.get("type") == "range" for _, attributes in elements)
    assert any(attributes.get("aria-live") == "polite" for _, attributes in elements)
    assert all("alt" in attributes for tag, attributes in elements if tag == "img")
    options = [attributes["value"] for tag, attributes in elements if tag == "option"]
    assert options == ["non", "mild", "cnn", "a < b", "0", "2"]  # the classes, the networks, the first class's slices


def test_nothing_is_loaded_and_no_caption_ends_the_script(gallery):
    text = gallery.html()
    assert "http" not in text and "fetch(" not in text and "import(" not in text
    assert text.count("</script>") == 2
    for tag, attributes in Elements(text).found:
        assert tag != "link" and not (tag == "script" and "src" in attributes)


def test_same_pictures_same_bytes_and_two_galleries_do_not_mix(gallery):
    again = replace(gallery)
    assert gallery._repr_mimebundle_() == again._repr_mimebundle_()
    both = gallery, replace(gallery, title="B")
    first, second = (re.search(r'id="(cam-gallery-\w+)"', one.html())[1] for one in both)
    assert first != second


def test_bundle_has_a_page_and_a_still_picture(gallery):
    bundle = gallery._repr_mimebundle_()
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert still.format == "PNG" and still.width == 720
    assert bundle["text/html"] == gallery.html()
    assert bundle["text/plain"] == "Gallery of 4 slices and 2 networks"


def test_bytes_per_picture_stay_small():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 128, 128), dtype=np.uint8)  # noise: the worst case for PNG
    cams = {"cnn": rng.random((2, 128, 128))}
    text = Gallery("t", images, ["a", "b"], ["1", "2"], cams, {"cnn": ["", ""]}).html()
    assert len(text) < 2 * 2 * 50_000
