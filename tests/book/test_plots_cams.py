"""Plots of heat maps hold what they were given, and leave matplotlib as it was."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from mri_aug.book.figures.images import CamRow, overlaid, plot_cam_sheet, plot_cascade, plot_effects, plot_perturbation

pytestmark = pytest.mark.usefixtures("figures")


IMAGES = np.random.default_rng(0).integers(0, 255, (3, 16, 16), dtype=np.uint8)


def test_a_map_of_zero_leaves_the_slice_and_a_strong_one_covers_it():
    grey = overlaid(IMAGES[0], None)
    np.testing.assert_allclose(overlaid(IMAGES[0], np.zeros((16, 16))), grey)
    covered = overlaid(IMAGES[0], np.ones((16, 16)))
    assert np.abs(covered - mpl.colormaps["inferno"](1.0)[:3]).max() <= 0.2  # a fifth of the slice shines through
    assert covered.min() >= 0 and covered.max() <= 1


def test_sheet_has_a_picture_for_each_cell_and_lines_around_regions():
    region = np.zeros((3, 16, 16), bool)
    region[1, 4:8, 4:8] = True
    rows = [CamRow("slice", IMAGES, regions=region), CamRow("map", IMAGES, np.full((3, 16, 16), 0.5))]
    ax = plot_cam_sheet(rows, ["a", "b", "c"])
    assert len(ax.images) == 6 and len(ax.collections) == 1
    assert {text.get_text() for text in ax.texts} == {"slice", "map", "a", "b", "c"}


@pytest.mark.parametrize("rows", [[], [CamRow("a", IMAGES[:2])], [CamRow("a", IMAGES), CamRow("b", IMAGES[:2])]])
def test_sheets_that_do_not_fit_are_refused(rows):
    with pytest.raises(ValueError, match="row"):
        plot_cam_sheet(rows, ["a", "b", "c"])


def effects(names=("a", "b")) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": name, "weights": weights, "layer": weights, "effect": k, "low": k - 0.5, "high": k + 0.5}
        for k, name in enumerate(names)
        for weights in ("trained", "random")
    )


def test_effects_are_points_with_their_intervals_and_the_level():
    ax = plot_effects(effects(), by="method", group="weights", level=1, xlabel="energy", order=["b", "a"])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "a"]
    level, *points = ax.lines
    assert list(level.get_xdata()) == [1, 1]
    assert sorted(points[0].get_xdata()) == [0, 1]
    spans = [segment[:, 0].tolist() for lines in ax.collections for segment in lines.get_segments()]
    assert sorted(spans) == [[-0.5, 0.5]] * 2 + [[0.5, 1.5]] * 2
    with pytest.raises(ValueError, match="'c'"):
        plot_effects(effects(), by="method", level=1, xlabel="energy", order=["c"])


def test_missing_intervals_leave_the_point():
    table = effects().assign(low=np.nan, high=np.nan)
    assert len(plot_effects(table, by="method", group="weights", level=1, xlabel="energy").lines) == 3


def test_curves_in_percent_and_dashed_standards():
    ax = plot_perturbation([0, 0.5, 1], {"a": [1, 0.5, 0], "random": [1, 0.8, 0]}, xlabel="Replaced", dashed=["random"])
    assert list(ax.lines[0].get_xdata()) == [0, 50, 100]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    with pytest.raises(ValueError, match="'b'"):
        plot_perturbation([0, 1], {"a": [1, 0]}, xlabel="Replaced", dashed=["b"])


def test_cascade_runs_over_the_layers_in_their_order():
    ax = plot_cascade(effects())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["trained", "random"]
    assert [line.get_label() for line in ax.lines[:2]] == ["a", "b"]


def test_more_than_seven_cannot_be_told_apart():
    many = effects(names="abcdefgh")
    with pytest.raises(ValueError, match="at most 7 methods"):
        plot_cascade(many)
    with pytest.raises(ValueError, match="at most 7 groups"):
        plot_effects(many, by="layer", group="method", level=0, xlabel="")
    with pytest.raises(ValueError, match="at most 7 curves"):
        plot_perturbation([0, 1], {name: [1, 0] for name in "abcdefgh"}, xlabel="Replaced")
