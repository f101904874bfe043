"""A gallery of slices and heat maps to step through in a static page, without a server and without a mouse.

Plain HTML with native controls and the pictures inside it; a page that cannot run it, such as a PDF, shows a still
sheet. It makes no heat map and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from mri_aug.book.report import PAGE_WIDTH

_LEVELS = 64  # of a heat map, as colours and as opacities: more are not seen and cost bytes

_STYLE = """
<style>
.cam-gallery { margin: 1em 0; }
.cam-gallery .cam-controls { display: flex; flex-wrap: wrap; gap: .6em 1.2em; align-items: end; margin-bottom: .8em; }
.cam-gallery label { display: flex; flex-direction: column; font-size: .85em; gap: .2em; }
.cam-gallery select, .cam-gallery button { font: inherit; padding: .3em .5em; max-width: 100%; }
.cam-gallery :is(select, button, input):focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
.cam-gallery .cam-stage { position: relative; width: min(100%, 26em); aspect-ratio: 1; background: #000; }
.cam-gallery .cam-stage img { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; }
.cam-gallery .cam-caption { min-height: 3em; margin: .5em 0 0; }
</style>
"""

_BODY = Template("""
<div class="cam-gallery" id="$id" role="group" aria-label="$title">
<div class="cam-controls">
<label>Class of the slice <select data-part="class">$classes</select></label>
<label>Network <select data-part="network">$networks</select></label>
<label>Slice <select data-part="image">$names</select></label>
<button type="button" data-step="-1">Previous slice</button>
<button type="button" data-step="1">Next slice</button>
<label>Opacity of the map <input type="range" data-part="opacity" min="0" max="100" step="5" value="70"></label>
</div>
<div class="cam-stage"><img data-part="slice" src="$slice" alt="$caption"><img data-part="map" src="$map" alt=""></div>
<p class="cam-caption" aria-live="polite">$caption</p>
<script type="application/json">$data</script>
<script>
(() => {
  const root = document.getElementById("$id");
  const part = (name) => root.querySelector(`[data-part="$${name}"]`);
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const list = () => {
    part("image").replaceChildren(...data.images.map((image, k) => [image, k])
      .filter(([image]) => image.class === part("class").value).map(([image, k]) => new Option(image.name, k)));
  };
  const show = () => {
    const image = data.images[part("image").value], network = part("network").value;
    const percent = part("opacity").value;
    part("slice").src = image.slice;
    part("map").src = image.maps[network];
    part("map").style.opacity = percent / 100;
    part("opacity").setAttribute("aria-valuetext", percent + " percent");
    root.querySelector(".cam-caption").textContent = part("slice").alt = image.captions[network];
  };
  part("class").addEventListener("change", () => { list(); show(); });
  for (const name of ["network", "image"]) part(name).addEventListener("change", show);
  part("opacity").addEventListener("input", show);
  for (const button of root.querySelectorAll("button")) button.addEventListener("click", () => {
    const menu = part("image"), n = menu.options.length;
    menu.selectedIndex = (menu.selectedIndex + Number(button.dataset.step) + n) % n;
    show();
  });
  for (const name of ["class", "network"]) part(name).selectedIndex = 0;
  part("opacity").value = 70;
  list(); show();
})();
</script>
</div>
""")


@dataclass(frozen=True, eq=False)
class Gallery:
    """Slices and their heat maps, to be shown as the last value of a notebook's cell.

    Parameters
    ----------
    title : str
        What a screen reader calls the gallery.
    images : ndarray of uint8, shape (n, height, width)
    classes, names : sequence of str, length n
        The class of each slice, by which slices are chosen, and what tells it from others of its class.
    cams : mapping of str to ndarray of float, shape (n, height, width), in [0, 1]
        Heat maps of each network.
    captions : mapping of str to sequence of str, length n
        What each network makes of each slice, as sentences; the keys of ``cams``.

    Raises
    ------
    ValueError
        If there is no image, images are not uint8, or lengths, shapes or names of networks disagree.
    """

    title: str
    images: NDArray[np.uint8]
    classes: Sequence[str]
    names: Sequence[str]
    cams: Mapping[str, NDArray[np.floating]]
    captions: Mapping[str, Sequence[str]]

    def __post_init__(self):
        n = len(self.images)
        if not n or self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8 of shape (n, height, width), n at least 1, got {self.images.dtype} of shape "
                f"{self.images.shape}"
            )
        if not self.cams or list(self.cams) != list(self.captions):
            raise ValueError(f"cams and captions must name the same networks, got {[*self.cams]}, {[*self.captions]}")
        for name, maps in self.cams.items():
            if maps.shape != self.images.shape or len(self.captions[name]) != n:
                raise ValueError(f"network {name!r} needs a map and a caption for each of {n} images")
        if not len(self.classes) == len(self.names) == n:
            raise ValueError(f"classes and names must be as many as images, {n}")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        """Return the gallery as HTML, and a still picture for where there is no browser."""
        return {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.still()).decode(),
            "text/plain": f"Gallery of {len(self.images)} slices and {len(self.cams)} networks",
        }

    def html(self) -> str:
        """Return the gallery as one element, some 10 kB per slice and 4 kB per map; the same for the same pictures."""
        networks = list(self.cams)
        images = [
            {
                "class": str(self.classes[k]),
                "name": str(self.names[k]),
                "slice": _data_uri(Image.fromarray(image)),
                "maps": {network: _data_uri(*_overlay(self.cams[network][k])) for network in networks},
                "captions": {network: str(self.captions[network][k]) for network in networks},
            }
            for k, image in enumerate(self.images)
        ]
        # inside a script element "<" could end it
        data = json.dumps({"images": images}, ensure_ascii=False).replace("<", "\\u003c")
        first = next(k for k, image in enumerate(images) if image["class"] == str(self.classes[0]))
        shown = [(k, image["name"]) for k, image in enumerate(images) if image["class"] == images[first]["class"]]
        return _STYLE + _BODY.substitute(
            id=f"cam-gallery-{hashlib.sha256((self.title + data).encode()).hexdigest()[:12]}",
            title=html.escape(self.title),
            classes=_options((name, name) for name in dict.fromkeys(map(str, self.classes))),
            networks=_options((name, name) for name in networks),
            names=_options(shown),
            slice=images[first]["slice"],
            map=images[first]["maps"][networks[0]],
            caption=html.escape(images[first]["captions"][networks[0]]),
            data=data,
        )

    def still(self) -> bytes:
        """Return a sheet as PNG: the first slice of each class, and each network's map over it."""
        firsts = [list(self.classes).index(name) for name in dict.fromkeys(self.classes)]
        rows = [("", None), *self.cams.items()]
        figure = Figure(figsize=(PAGE_WIDTH, PAGE_WIDTH * len(rows) / max(len(firsts), 4)), layout="constrained")
        axes = figure.subplots(len(rows), len(firsts), squeeze=False)
        for row, (network, maps) in zip(axes, rows, strict=True):
            row[0].set_ylabel(network, fontsize=7)
            for axis, k in zip(row, firsts, strict=True):
                axis.imshow(self.images[k], cmap="gray", vmin=0, vmax=255)
                if maps is not None:
                    axis.imshow(maps[k], cmap="inferno", vmin=0, vmax=1, alpha=0.7 * np.clip(maps[k], 0, 1))
                axis.set(xticks=[], yticks=[])
        for axis, k in zip(axes[0], firsts, strict=True):
            axis.set_title(str(self.classes[k]), fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def _overlay(cam: NDArray) -> tuple[Image.Image, bytes]:
    """Return a map as an indexed picture, and the opacity of each colour: what is weak is transparent."""
    picture = Image.fromarray(np.rint(np.clip(cam, 0, 1) * (_LEVELS - 1)).astype(np.uint8)).convert("L")
    strength = np.linspace(0, 1, _LEVELS)
    colours = mpl.colormaps["inferno"](strength, bytes=True)[:, :3]
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(colours.tobytes())
    return picture, np.rint(255 * strength).astype(np.uint8).tobytes()


def _data_uri(picture: Image.Image, opacities: bytes | None = None) -> str:
    buffer = io.BytesIO()
    options = {} if opacities is None else {"transparency": opacities}
    picture.save(buffer, format="PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _options(pairs) -> str:
    return "".join(f'<option value="{html.escape(str(value))}">{html.escape(text)}</option>' for value, text in pairs)
