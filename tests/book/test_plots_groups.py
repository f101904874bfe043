"""Drawings of groups and of the sweep hold the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mri_aug.book import figures as plots

pytestmark = pytest.mark.usefixtures("figures")


def groups(names=("image", "subject")):
    return pd.DataFrame(
        {"condition": arm, "group": name, "value": value, "low": value - 1, "high": value + 1, "percent": 10 * value,
         "percent_low": 10 * value - 5, "percent_high": 10 * value + 5}
        for value, (arm, name) in enumerate((arm, name) for arm in ("flip", "crop", "blur") for name in names)
    )  # fmt: skip


def segments(ax):
    return {tuple(path.vertices[:, 0]) for collection in ax.collections for path in collection.get_paths()}


@pytest.mark.parametrize("percent", [False, True])
def test_groups_show_values_and_intervals(percent):
    table = groups()
    ax = plots.plot_groups(table, x_label="x", percent=percent)
    value, low, high = ("percent", "percent_low", "percent_high") if percent else ("value", "low", "high")
    drawn = {line.get_label(): list(line.get_xdata()) for line in ax.lines if not line.get_label().startswith("_")}
    assert drawn == {name: part[value].to_list() for name, part in table.groupby("group")}
    assert segments(ax) == set(zip(table[low], table[high], strict=True))
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines) is percent


def test_order_labels_and_missing_values_are_followed():
    table = groups().query("condition != 'crop' or group != 'subject'")
    table.loc[0, ["low", "high"]] = np.nan
    ax = plots.plot_groups(table, x_label="x", order=["crop", "flip"], labels={"flip": "mirror"})
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["crop", "mirror"]
    lines = {line.get_label(): line.get_xdata() for line in ax.lines}
    assert np.isnan(lines["subject"][0]) and lines["image"][1] == 0
    assert (-1, 1) not in segments(ax)
    with pytest.raises(ValueError, match="'nobody'"):
        plots.plot_groups(table, x_label="x", order=["nobody"])
    with pytest.raises(ValueError, match="lacks"):
        plots.plot_groups(table.drop(columns="low"), x_label="x")


def test_long_legends_leave_room_for_the_axes():
    ax = plots.plot_groups(groups([f"{word} mildly demented" for word in ("not", "very", "just", "more")]), x_label="x")
    ax.figure.canvas.draw()
    assert ax.get_position().width > 0.5


def test_groups_must_be_told_apart():
    with pytest.raises(ValueError, match="one to 7 groups"):
        plots.plot_groups(groups([str(k) for k in range(8)]), x_label="x")


def test_sweep_draws_a_line_for_each_group():
    curves = pd.DataFrame(
        {
            "group": ["real alone"] * 3 + ["filled"] * 2, "real_frac": [1.0, 0.1, 0.6, 0.1, 0.6],
            "value": [1.0, 3.0, 2.0, 2.5, np.nan], "low": [0.5, 2.5, np.nan, 2, np.nan],
            "high": [1.5, 3.5, np.nan, 3, np.nan],
        }
    )  # fmt: skip
    ax = plots.plot_sweep(curves, y_label="y")
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines["real alone"].get_ydata()) == [3, 2, 1]
    assert np.allclose(lines["real alone"].get_xdata(), [0.1, 0.6, 1], atol=0.01)
    assert ax.get_ylabel() == "y"
    with pytest.raises(ValueError, match="one to 7"):
        plots.plot_sweep(curves.head(0), y_label="y")
