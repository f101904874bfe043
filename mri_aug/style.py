"""How the book's figures look: one size, one palette, and the same bytes for the same data.

It sets matplotlib's defaults and draws nothing.
"""

from __future__ import annotations

import matplotlib as mpl
import seaborn as sns
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Okabe and Ito's colours (2008), told apart under every common colour blindness; the pale yellow is left out
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PAGE_WIDTH = 7.2  # inches: 720 px of page at 100 dots per inch


def use_book_style(*, image_format: str = "svg") -> None:
    """Set the figure style of this session, in a notebook or a script.

    Parameters
    ----------
    image_format : {"svg", "png"}
        ``"svg"`` for charts: sharp, and compared byte by byte when a notebook is executed twice.
        ``"png"`` for sheets of photographs and heat maps, where vector files grow large.

    Raises
    ------
    ValueError
        If ``image_format`` is neither.
    """
    if image_format not in ("svg", "png"):
        raise ValueError(f"image_format must be 'svg' or 'png', got {image_format!r}")
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE), font="DejaVu Sans", font_scale=0.85)
    mpl.rcParams.update(
        {
            "figure.figsize": (PAGE_WIDTH, 3.9),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.linewidth": 0.8,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.7,
            "legend.frameon": False,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same glyphs on every machine
            "svg.hashsalt": "mri_aug",  # else the identifiers inside an SVG differ between runs
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
        }
    )
    metadata = {"metadata": {"Date": None}} if image_format == "svg" else {}
    set_matplotlib_formats(image_format, bbox_inches=None, **metadata)  # no cropping: every figure fills the page
