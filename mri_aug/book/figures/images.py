"""Sheets of slices, heat maps and differences, and a gallery of them to step through in a static page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mri_aug.book.report import PAGE_WIDTH, PALETTE, new_axes

_GAP = 4  # pixels between pictures
_OPACITY = 0.8  # of a heat map's strongest place
_LEVELS = 64  # of a heat map, as colours and as opacities: more are not visible and cost bytes
_LIMIT = 100  # grey levels at which the colour of a difference is darkest
_DIVERGING = "RdBu_r"  # told apart under the common colour blindnesses


class SheetRow(NamedTuple):
    """A row of a sheet: slices or differences, with heat maps over them and regions outlined where there are any."""

    label: str
    images: ArrayLike  # (n, height, width): uint8, grey values; a signed type, differences in grey levels
    cams: ArrayLike | None = None  # float in [0, 1], of the same shape
    regions: ArrayLike | None = None  # bool or share in [0, 1], outlined at one half, of the same shape
    titles: Sequence[str] = ()  # above each picture


def plot_sheet(rows: Sequence[SheetRow], *, ax: Axes | None = None) -> Axes:
    """Draw rows of pictures side by side.

    Grey values have one scale, 0 black to 255 white. A difference is red where it is positive and blue where it is
    negative. A heat map is the more opaque the stronger it is. The scale of either stands beside the sheet. A row may
    be shorter than the first; a ValueError says that pictures differ in height or width.
    """
    shapes = {np.shape(part)[1:] for row in rows for part in row[1:4] if part is not None}
    if len(shapes) != 1 or len(height_width := shapes.pop()) != 2:
        raise ValueError(f"the rows of a sheet need pictures of one shape (height, width), got {sorted(shapes)}")
    height, width = height_width
    n_columns = max(len(row.images) for row in rows)
    # a title of 8 points needs as many pixels as these inches of the sheet have
    inches = PAGE_WIDTH - 0.25 - 0.7 * any(row.label for row in rows)
    room = round(0.16 * n_columns * (width + _GAP) / inches)
    tops = np.cumsum([_GAP + room * any(row.titles) + (height if k else 0) for k, row in enumerate(rows)])
    sheet = np.ones((tops[-1] + height, n_columns * (width + _GAP) - _GAP, 3))
    for row, top in zip(rows, tops, strict=True):
        for column, picture in enumerate(_pictures(row)):
            left = column * (width + _GAP)
            sheet[top : top + height, left : left + width] = picture
    scale = _scale(rows)
    if ax is None:
        ax = new_axes((inches - 0.9 * bool(scale)) * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    for row, top in zip(rows, tops, strict=True):
        _annotate(ax, row, top, height, width)
    if scale:
        bar = ax.figure.colorbar(scale[1], ax=ax, shrink=min(1, 2 / ax.figure.get_figheight()), pad=0.02)
        bar.set_label(scale[0], fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return ax


def _scale(rows: Sequence[SheetRow]) -> tuple[str, ScalarMappable] | None:
    """Return what the colours of a sheet mean, and the colours; a heat map's as they are over a middle grey."""
    if any(_is_difference(row) for row in rows):
        return "difference in grey levels", ScalarMappable(Normalize(-_LIMIT, _LIMIT), mpl.colormaps[_DIVERGING])
    if any(row.cams is not None for row in rows):
        colours = overlaid(np.full((1, _LEVELS), 128), np.linspace(0, 1, _LEVELS)[None])[0]
        return "heat map, share of its strongest place", ScalarMappable(Normalize(0, 1), ListedColormap(colours))
    return None


def overlaid(image: ArrayLike, cam: ArrayLike | None) -> NDArray[np.float64]:
    """Return a grey slice with a heat map over it as RGB in [0, 1]: the stronger, the more opaque."""
    grey = np.repeat(np.asarray(image, float)[..., None] / 255, 3, axis=-1)
    if cam is None:
        return grey
    strength = np.clip(np.asarray(cam, float), 0, 1)
    opacity = _OPACITY * strength[..., None]
    return (1 - opacity) * grey + opacity * mpl.colormaps["inferno"](strength)[..., :3]


def _is_difference(row: SheetRow) -> bool:
    return np.asarray(row.images).dtype != np.uint8


def _pictures(row: SheetRow) -> NDArray[np.float64]:
    if _is_difference(row):
        return mpl.colormaps[_DIVERGING](Normalize(-_LIMIT, _LIMIT, clip=True)(np.asarray(row.images)))[..., :3]
    return overlaid(row.images, row.cams)


def _annotate(ax: Axes, row: SheetRow, top: int, height: int, width: int) -> None:
    ax.text(-6, top + height / 2, row.label, ha="right", va="center", fontsize=8)
    for column, title in enumerate(row.titles):
        ax.text(column * (width + _GAP) + width / 2, top - 3, title, ha="center", va="bottom", fontsize=8)
    for column, region in enumerate(np.asarray(() if row.regions is None else row.regions, float)):
        if region.max() >= 0.5 > region.min():
            x, y = np.arange(width) + column * (width + _GAP), np.arange(height) + top
            ax.contour(x, y, region, levels=[0.5], colors=PALETTE[5], linewidths=0.4)


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
    """Slices and their heat maps, as the last value of a notebook's cell.

    Plain HTML with native controls and embedded pictures, without a server, by mouse or by keyboard; a page that cannot
    run it, such as a PDF, shows a still sheet.
    """

    title: str  # what a screen reader calls the gallery
    images: NDArray[np.uint8]  # (n, height, width)
    classes: Sequence[str]  # of each slice, by which slices are chosen
    names: Sequence[str]  # of each slice within its class
    cams: Mapping[str, NDArray[np.floating]]  # heat maps of each network, (n, height, width) in [0, 1]
    captions: Mapping[str, Sequence[str]]  # what each network predicts for each slice, as sentences

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        """Return the gallery as HTML, and a still picture for where there is no browser."""
        return {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.still()).decode(),
            "text/plain": f"Gallery of {len(self.images)} slices and {len(self.cams)} networks",
        }

    def html(self) -> str:
        """Return the gallery as one element: about 10 kB per slice and 4 kB per map, the same for the same pictures."""
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
        first = images[0]
        shown = [(k, image["name"]) for k, image in enumerate(images) if image["class"] == first["class"]]
        return _STYLE + _BODY.substitute(
            id=f"cam-gallery-{hashlib.sha256((self.title + data).encode()).hexdigest()[:12]}",
            title=html.escape(self.title),
            classes=_options((name, name) for name in dict.fromkeys(map(str, self.classes))),
            networks=_options((name, name) for name in networks),
            names=_options(shown),
            slice=first["slice"],
            map=first["maps"][networks[0]],
            caption=html.escape(first["captions"][networks[0]]),
            data=data,
        )

    def still(self) -> bytes:
        """Return a sheet as PNG: the first slice of each class, and below it every network's map."""
        firsts = [list(self.classes).index(name) for name in dict.fromkeys(self.classes)]
        rows = [SheetRow("slice", self.images[firsts], titles=[str(self.classes[k]) for k in firsts])]
        rows += [SheetRow(network, self.images[firsts], maps[firsts]) for network, maps in self.cams.items()]
        figure = Figure(figsize=(PAGE_WIDTH, PAGE_WIDTH * len(rows) / max(len(firsts), 4)), layout="constrained")
        plot_sheet(rows, ax=figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def _overlay(cam: NDArray) -> tuple[Image.Image, bytes]:
    """Return a map as an indexed picture, and the opacity of each colour: weak places are transparent."""
    picture = Image.fromarray(np.rint(np.clip(cam, 0, 1) * (_LEVELS - 1)).astype(np.uint8)).convert("L")
    strength = np.linspace(0, 1, _LEVELS)
    colours = mpl.colormaps["inferno"](strength, bytes=True)[:, :3]
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(colours.tobytes())
    return picture, np.rint(255 * strength).astype(np.uint8).tobytes()


def _data_uri(picture: Image.Image, opacities: bytes | None = None) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True, **({} if opacities is None else {"transparency": opacities}))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _options(pairs) -> str:
    return "".join(f'<option value="{html.escape(str(value))}">{html.escape(text)}</option>' for value, text in pairs)
