"""Plots hold the data that they were given, and leave matplotlib as it was."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mri_aug.book import figures as plots
from mri_aug.results import comparison

METRIC = "test_cross_entropy"
LONG = "30 % real and 70 % synthetic images of the mildly and moderately demented classes, resnet18"


pytestmark = pytest.mark.usefixtures("figures")


def study(n_simulations):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"simulation": r, "condition": name, METRIC: level + 0.02 * rng.normal()}
        for name, level in (("30 % real", 0.6), ("all real", 0.1), (LONG, 0.5))
        for r in range(n_simulations)
    )


def texts(ax):
    return [text.get_text() for text in ax.texts]


def drawn(ax):
    """Return the figure as bytes."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.parametrize("n_simulations", [1, 3, 100])
def test_every_simulation_is_a_point(n_simulations):
    rows = study(n_simulations)
    ax = plots.plot_simulations(rows, METRIC, comparison.summarise(rows, METRIC))
    points = [collection.get_offsets() for collection in ax.collections]
    assert [len(offsets) for offsets in points] == [n_simulations] * 3
    expected = rows.loc[rows["condition"] == "30 % real", METRIC]
    assert np.allclose(points[0][:, 0], expected)
    assert f"{expected.median():.3f}" in texts(ax)
    assert len(drawn(ax)) > 1000


def test_order_labels_and_draft_are_followed():
    rows = study(5)
    ax = plots.plot_simulations(
        rows, METRIC, order=["all real", "30 % real"], labels={"all real": "everything"}, draft={"30 % real": 0.22}
    )
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["everything", "30 % real"]
    (cross,) = [line for line in ax.lines if line.get_label() == "draft"]
    assert cross.get_xdata() == [0.22] and 0.5 < cross.get_ydata()[0] < 1.5


def test_same_data_same_picture_in_any_order():
    rows = study(9)
    order = list(rows["condition"].unique())
    shuffled = rows.sample(frac=1, random_state=0)
    first, again, other = (
        drawn(plots.plot_simulations(table, METRIC, order=order)) for table in (rows, rows, shuffled)
    )
    assert first == again == other


def test_long_names_are_wrapped():
    ax = plots.plot_simulations(study(3), METRIC)
    assert max(len(line) for tick in ax.get_yticklabels() for line in tick.get_text().split("\n")) <= 30


def test_a_summary_of_another_metric_is_refused():
    rows = study(5).assign(test_brier=0.1)
    with pytest.raises(ValueError, match="test_brier"):
        plots.plot_simulations(rows, METRIC, comparison.summarise(rows, "test_brier"))
    with pytest.raises(ValueError, match="'nobody'"):
        plots.plot_simulations(rows, METRIC, order=["nobody"])


def test_forest_shows_estimates_intervals_and_shares():
    contrasts = comparison.compare(study(12), METRIC, baseline="30 % real")
    ax = plots.plot_paired(contrasts, labels={"30 % real": "the sample"})
    lines = [tuple(line.get_xdata()) for line in ax.lines]
    for row in contrasts.itertuples():
        assert (row.percent_low, row.percent_high) in lines and (row.percent,) in lines
    assert "100 %" in texts(ax)
    assert "the sample" in ax.get_xlabel() and "%" in ax.get_xlabel()
    assert any("better" in text and "←" in text for text in texts(ax))
    assert len(drawn(ax)) > 1000


def test_forest_counts_where_simulations_are_few():
    ax = plots.plot_paired(comparison.compare(study(2), METRIC, baseline="30 % real"))
    assert "2 of 2" in texts(ax) and not any("%" in text for text in texts(ax))


def test_forest_turns_with_the_metric():
    rows = study(12).rename(columns={METRIC: "test_accuracy"})
    ax = plots.plot_paired(comparison.compare(rows, "test_accuracy", baseline="30 % real"))
    assert "← worse" in texts(ax) and "median paired difference" in ax.get_xlabel()
    with pytest.raises(ValueError, match="no rows"):
        plots.plot_paired(comparison.compare(rows, "test_accuracy", baseline="30 % real").head(0))


def test_medians_by_simulation():
    rows = study(4)
    ax = plots.plot_cross_entropy_by_simulation(rows, conditions=["30 % real", "all real"])
    medians = rows.groupby("condition")[METRIC].median()
    assert [line.get_ydata()[0] for line in ax.lines] == [medians["30 % real"], medians["all real"]]
    assert list(ax.collections[0].get_offsets()[:, 0]) == [1, 2, 3, 4]
    assert f"{medians['all real']:.3f}" in ax.get_legend().get_texts()[1].get_text()
    many = pd.concat(rows.assign(condition=str(k)).drop_duplicates("simulation") for k in range(8))
    with pytest.raises(ValueError, match="at most 7"):
        plots.plot_cross_entropy_by_simulation(many)


def test_given_axes_are_used():
    ax = plt.figure().add_subplot()
    assert plots.plot_simulations(study(3), METRIC, ax=ax) is ax
    assert plots.plot_class_counts({"Non": 3}, ax=ax) is ax


def test_image_grid_shows_every_pixel():
    images = np.random.default_rng(0).integers(0, 256, size=(5, 1, 16, 12), dtype=np.uint8)
    ax = plots.plot_image_grid(images, n_columns=3, row_labels=["a", "b"])
    sheet = ax.images[0].get_array()
    _height, _width = sheet.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (16, 12)).reshape(-1, 16, 12)
    for image in images[:, 0]:
        assert (windows == image).all(axis=(1, 2)).any()
    assert ax.images[0].get_clim() == (0, 255)
    assert texts(ax) == ["a", "b"]
    assert texts(plots.plot_image_grid(images, list("vwxyz"))) == list("vwxyz")


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 8, 8)), {}, "uint8"),
        (np.zeros((8, 8), np.uint8), {}, "shape"),
        (np.zeros((0, 8, 8), np.uint8), {}, "shape"),
        (np.zeros((2, 8, 8), np.uint8), {"titles": ["one"]}, "titles must have 2"),
        (np.zeros((2, 8, 8), np.uint8), {"row_labels": ["a", "b"]}, "row_labels must have 1"),
        (np.zeros((2, 8, 8), np.uint8), {"n_columns": 0}, "n_columns"),
    ],
)
def test_bad_images_are_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_image_grid(images, **options)


def test_class_counts_are_labelled():
    table = pd.DataFrame({"Training": [2566, 49], "Test": [634, 15]}, index=["Non", "Moderate"])
    ax = plots.plot_class_counts(table)
    assert [bar.get_width() for bar in ax.patches] == [2566, 49, 634, 15]
    assert {"2,566", "15"} <= set(texts(ax))
    with pytest.raises(ValueError, match="non-negative"):
        plots.plot_class_counts({"Non": -1})


def test_component_curve_marks_choice_and_plateau():
    ax = plots.plot_component_curve([0.98, 0.95, 0.97], [200, 129, 200], 0.975, (0.965, 0.98))
    curve, choice = ax.lines
    assert list(curve.get_xdata()) == [0.95, 0.97, 0.98] and list(curve.get_ydata()) == [129, 200, 200]
    assert choice.get_xdata()[0] == 0.975
    assert "200 groups throughout" in [text.get_text() for text in ax.get_legend().get_texts()]
    with pytest.raises(ValueError, match="one length"):
        plots.plot_component_curve([0.9], [1, 2], 0.9)


def test_intervals_are_bands_around_the_medians():
    rows = study(12)
    summary = comparison.summarise(rows, METRIC)
    ax = plots.plot_cross_entropy_by_simulation(rows, summary=summary)
    bands = sorted(tuple(patch.get_extents().transformed(ax.transData.inverted()).intervaly) for patch in ax.patches)
    assert np.allclose(bands, sorted(zip(summary["low"], summary["high"], strict=True)))


def test_twin_correlations_are_shares_of_the_test_images():
    ax = plots.plot_twin_correlations({"image": [0.99, 0.98, 0.99], "subject": [0.91, 0.93]}, threshold=0.97)
    assert ax.get_legend_handles_labels()[1] == ["image protocol", "subject protocol"]
    assert ax.lines[0].get_xdata()[0] == 0.97
    with pytest.raises(ValueError, match="no test images under subject"):
        plots.plot_twin_correlations({"image": [0.99], "subject": []}, threshold=0.97)
