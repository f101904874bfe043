"""Figures show the numbers that they were given, and leave matplotlib's settings unchanged."""

from __future__ import annotations

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mri_aug.book import figures
from mri_aug.book.figures import forest
from mri_aug.book.figures.images import overlaid
from mri_aug.book.report import new_axes
from mri_aug.results.comparison import compare, summarise
from mri_aug.results.deposit import export, load_deposit
from mri_aug.results.people import person_scores, summarise_people, whole_repeats
from tests.results.made_up import made_up_rows, person_condition

METRIC = "test_cross_entropy"
LONG = "30 % real and 70 % synthetic images of the mildly and moderately demented classes, resnet18"
IMAGES = np.random.default_rng(0).integers(0, 255, (3, 16, 12), dtype=np.uint8)

pytestmark = pytest.mark.usefixtures("figures")


def study(n_simulations):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"simulation": r, "condition": name, METRIC: level + 0.02 * rng.normal()}
        for name, level in (("30 % real", 0.6), ("all real", 0.1), (LONG, 0.5))
        for r in range(n_simulations)
    )


def medians(rows):
    return summarise(rows, METRIC).rename(columns={"median": "value"})


def groups(names=("image", "subject"), n=20):
    return pd.DataFrame(
        {"condition": arm, "group": name, "value": k, "low": k - 1, "high": k + 1, "n": n}
        for k, (arm, name) in enumerate((arm, name) for arm in ("flip", "crop", "blur") for name in names)
    )


def texts(ax):
    return [text.get_text() for text in ax.texts]


def markers(ax):
    """Return x, whether it is filled, and the marker of each estimate, from the top."""
    lines = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() not in ("None", "X", None)]
    ordered = sorted(lines, key=lambda line: line.get_ydata()[0])
    return [(line.get_xdata()[0], line.get_markerfacecolor() != "white", line.get_marker()) for line in ordered]


def intervals(ax):
    lines = [found for found in ax.collections if hasattr(found, "get_segments")]
    return {tuple(segment[:, 0]) for found in lines for segment in found.get_segments()}


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def drawn(ax):
    """Return the figure as bytes."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png")
    return buffer.getvalue()


# --- the forest ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_simulations", [1, 3, 100])
def test_every_simulation_is_a_point_and_the_median_is_written(n_simulations):
    rows = study(n_simulations)
    points = rows.rename(columns={METRIC: "value"})
    ax = figures.plot_forest(medians(rows), points=points, x_label="loss")
    assert set(rows[METRIC]) <= {x for found in ax.collections for x in found.get_offsets()[:, 0]}
    assert f"{rows[METRIC][rows['condition'] == 'all real'].median():.3f}" in texts(ax)
    assert ax.get_xlabel() == "loss"
    assert max(len(line) for tick in ax.get_yticklabels() for line in tick.get_text().split("\n")) <= 30


def test_same_data_same_picture_in_any_order():
    rows, order = study(9), list(study(1)["condition"])
    pictures = []
    for shuffled in (rows, rows, rows.sample(frac=1, random_state=0)):
        points = shuffled.rename(columns={METRIC: "value"})
        pictures.append(drawn(figures.plot_forest(medians(rows), points=points, order=order, x_label="")))
    assert pictures[0] == pictures[1] == pictures[2]


def test_order_labels_lines_and_draft_are_followed():
    table = medians(study(12)).assign(draft=[0.22, np.nan, np.nan])
    words, lines = {"all real": "everything"}, {"class shares": 1.2}
    ax = figures.plot_forest(table, order=["all real", "30 % real"], labels=words, lines=lines, x_label="")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["everything", "30 % real"]
    (cross,) = [line for line in ax.lines if line.get_marker() == "X" and len(line.get_xdata())]
    assert cross.get_xdata() == [0.22] and cross.get_ydata() == [1]
    assert list(ax.lines[0].get_xdata()) == [1.2, 1.2] and ax.lines[0].is_dashed()
    assert labels(ax) == ["class shares", "draft"]
    with pytest.raises(ValueError, match="'nobody'"):
        figures.plot_forest(table, order=["nobody"], x_label="")
    with pytest.raises(ValueError, match="lacks"):
        figures.plot_forest(table.drop(columns="low"), x_label="")


def test_differences_show_estimates_intervals_verdicts_and_shares():
    contrasts = compare(study(12), METRIC, baseline="30 % real")
    ax = figures.plot_forest(figures.differences(contrasts), lines={"": 0}, better="left", x_label="")
    assert [x for x, *_ in markers(ax)] == contrasts["percent"].tolist()
    assert {tuple(row) for row in contrasts[["percent_low", "percent_high"]].to_numpy()} == intervals(ax)
    assert {"better in", "← better", "worse →"} <= set(texts(ax))
    assert any(text.startswith("100 % [") for text in texts(ax))
    assert all(filled for _, filled, _ in markers(ax)) and labels(ax) == ["better"]
    better = compare(study(12).rename(columns={METRIC: "test_accuracy"}), "test_accuracy", baseline="30 % real")
    assert figures.differences(better)["value"].tolist() == better["difference"].tolist()


def test_few_simulations_are_a_range_without_a_verdict():
    contrasts = compare(study(6), METRIC, baseline="30 % real")
    ax = figures.plot_forest(figures.differences(contrasts), x_label="")
    assert [(filled, marker) for _, filled, marker in markers(ax)] == [(False, "D")] * 2
    assert labels(ax) == ["hollow, thin: range of fewer than 10 simulations"]
    grouped = figures.plot_forest(groups(n=9), x_label="")
    assert not any(filled for _, filled, _ in markers(grouped))


def test_outcomes_have_colours_and_markers_of_their_own():
    names = ("better", "better, equivalent", "worse", "worse, equivalent", "equivalent", "undecided")
    table = groups(["one"]).iloc[[0, 1, 2, 0, 1, 2]].assign(condition=names, outcome=names, n=20).drop(columns="group")
    ax = figures.plot_forest(table, x_label="")
    assert len({marker for *_, marker in markers(ax)}) == len(names) and labels(ax) == list(names)
    assert [filled for _, filled, _ in markers(ax)] == [True] * 5 + [False]


def test_groups_show_values_and_intervals_and_missing_values_are_left_out():
    table = groups().astype({"low": float, "high": float})
    table.loc[0, ["low", "high"]] = np.nan
    table = table[(table["condition"] != "crop") | (table["group"] != "subject")]
    ax = figures.plot_forest(table, order=["crop", "flip"], x_label="x")
    assert labels(ax) == ["image", "subject"]
    assert [x for x, *_ in markers(ax)] == [2, 0, 1]
    assert {(1.0, 3.0), (0.0, 2.0)} <= intervals(ax) and (-1.0, 1.0) not in intervals(ax)
    with pytest.raises(ValueError, match="one to 7 groups"):
        figures.plot_forest(groups([str(k) for k in range(8)]), x_label="")


def test_long_legends_leave_room_for_the_axes():
    names = [f"{word} mildly demented" for word in ("not", "very", "just", "more")]
    ax = figures.plot_forest(groups(names), x_label="x")
    ax.figure.canvas.draw()
    assert ax.get_position().width > 0.5


def test_given_axes_are_used_and_their_legend_is_left_to_the_caller():
    ax = plt.figure().add_subplot()
    assert figures.plot_forest(groups(), x_label="", ax=ax) is ax and not ax.figure.legends


# --- sheets ----------------------------------------------------------------------------------------------------


def test_a_sheet_shows_every_pixel_its_labels_and_titles():
    rows = [figures.SheetRow("a", IMAGES, titles="xyz"), figures.SheetRow("b", IMAGES[:2])]
    ax = figures.plot_sheet(rows)
    sheet = ax.images[0].get_array()
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (16, 12)).reshape(-1, 16, 12)
    for image in IMAGES:
        assert np.isclose(windows, image / 255).all(axis=(1, 2)).any()
    assert texts(ax) == ["a", "x", "y", "z", "b"]
    with pytest.raises(ValueError, match="one shape"):
        figures.plot_sheet([figures.SheetRow("a", IMAGES), figures.SheetRow("b", IMAGES[:, :8])])
    with pytest.raises(ValueError, match="one shape"):
        figures.plot_sheet([])


def test_regions_are_outlined_and_differences_have_a_scale():
    region = np.zeros(IMAGES.shape, bool)
    region[1, 4:8, 4:8] = True
    assert len(figures.plot_sheet([figures.SheetRow("slice", IMAGES, regions=region)]).collections) == 1
    change = np.zeros(IMAGES.shape, int)
    change[0] = 200
    ax = figures.plot_sheet([figures.SheetRow("change", change)])
    red, white = (ax.images[0].get_array()[10, x] for x in (5, 20))
    assert red[0] > 2 * red[2] and white.min() > 0.9
    assert len(ax.figure.axes) == 2


def test_heat_maps_have_a_scale_of_their_colours_over_grey():
    cams = np.zeros(IMAGES.shape)
    cams[0] = 1
    grey = np.full(IMAGES.shape, 128, np.uint8)
    ax = figures.plot_sheet([figures.SheetRow("map", grey, cams)])
    _, bar = ax.figure.axes
    colours = bar.collections[-1].cmap
    np.testing.assert_allclose(colours(1.0)[:3], ax.images[0].get_array()[10, 5])
    np.testing.assert_allclose(colours(0.0)[:3], ax.images[0].get_array()[10, 20])


def test_a_map_of_zero_leaves_the_slice_and_a_strong_one_covers_it():
    grey = overlaid(IMAGES[0], None)
    np.testing.assert_allclose(overlaid(IMAGES[0], np.zeros(IMAGES[0].shape)), grey)
    covered = overlaid(IMAGES[0], np.ones(IMAGES[0].shape))
    assert np.abs(covered - mpl.colormaps["inferno"](1.0)[:3]).max() <= 0.2  # a fifth of the slice shines through
    assert covered.min() >= 0 and covered.max() <= 1


# --- curves ----------------------------------------------------------------------------------------------------


def test_curves_hold_their_values_and_intervals():
    curves = {"a": ([1, 2], [3.0, 4.0], [2.0, 3.0], [4.0, 5.0]), "chance": ([1, 2], [0.0, 1.0])}
    ax = figures.plot_curves(curves, x_label="x", y_label="y", references=["chance"])
    shown = [line for line in ax.lines if len(line.get_xdata()) and line.get_linestyle() != "None"]
    assert [list(line.get_ydata()) for line in shown] == [[3, 4], [0, 1]]
    assert shown[1].get_color() == "#222222" and shown[1].is_dashed()
    assert ax.get_ylim()[0] < 2 and ax.get_ylim()[1] > 5
    assert [segment[:, 1].tolist() for segment in ax.collections[0].get_segments()] == [[2, 4], [3, 5]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "chance"]
    words = figures.plot_curves({"a": (["top", "bottom"], [1, 2])}, x_label="", y_label="")
    assert [tick.get_text() for tick in words.get_xticklabels()] == ["top", "bottom"]
    with pytest.raises(ValueError, match="one to 7 curves"):
        figures.plot_curves({name: ([0], [0]) for name in "abcdefgh"}, x_label="", y_label="")


@pytest.mark.parametrize("cumulative", [False, True])
def test_correlations_are_shares_of_the_images(cumulative):
    values = {"image": [0.99, 0.98, 0.99, np.nan], "subject": [0.91, 0.93]}
    ax = figures.plot_correlations(values, threshold=0.97, cumulative=cumulative, note="near copies")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["image", "subject"]
    assert list(ax.lines[-1].get_xdata()) == [0.97, 0.97] and texts(ax) == ["near copies"]
    if cumulative:
        assert {round(max(line.get_ydata())) for line in ax.lines[:-1]} == {100}
    with pytest.raises(ValueError, match="no correlations of subject"):
        figures.plot_correlations({"image": [0.99], "subject": []}, threshold=0.97)


def test_component_curve_marks_choice_and_plateau():
    ax = figures.plot_component_curve([0.98, 0.95, 0.97], [200, 129, 200], chosen=0.975, plateau=(0.965, 0.98))
    curve, choice = ax.lines
    assert list(curve.get_xdata()) == [0.95, 0.97, 0.98] and list(curve.get_ydata()) == [129, 200, 200]
    assert choice.get_xdata()[0] == 0.975
    assert "200 groups throughout" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_descent_holds_the_path():
    path = np.array([[-2.0, 1.0], [-1.0, 0.5]])
    np.testing.assert_array_equal(figures.plot_descent(np.diag([1.0, 9.0]), path).lines[0].get_xydata(), path)


def test_the_answer_is_drawn_from_whole_repeats_beside_the_references_and_names_its_rows(tmp_path, monkeypatch):
    arms = {
        "30 % of people": person_condition(real_frac=0.3),
        "all real people": person_condition(),
        "tissue": person_condition(architecture="tissue", policy="none", image_size=128),
        "shares": person_condition(architecture="shares", policy="none", image_size=128),
    }
    quality = dict(zip(arms, (0.4, 0.6, 0.8, 0), strict=True))
    rows = made_up_rows(list(arms.values()), n_repeats=2, quality=list(quality.values())).assign(images="these")
    rows = rows[rows["simulation"] < 7]  # a repeat and two folds of the next
    place = export(rows, tmp_path / "record", manifest={"images": "these"})
    drawn = {}
    monkeypatch.setattr(forest, "plot_forest", lambda table, **given: drawn.update(given, table=table) or new_axes(2))
    text = figures.draw_answer(place).read_text(encoding="utf-8")
    assert text.startswith("<?xml") and f"rows {load_deposit(place)[1]['sha256']}" in text
    labels = {condition.label: name for name, condition in arms.items()}
    expected = summarise_people(person_scores(whole_repeats(rows))).set_index("condition")["log_loss"].rename(labels)
    assert whole_repeats(rows)["simulation"].max() == 4
    assert [drawn["labels"][name] for name in drawn["order"]] == ["all real people", "30 % of people"]
    assert drawn["lines"] == pytest.approx(
        {"tissue fractions, all people": expected["tissue"], "class shares": expected["shares"]}
    )
    assert drawn["table"]["value"].rename(labels)["all real people"] == pytest.approx(expected["all real people"])
    begun = made_up_rows([person_condition(real_frac=0.3, synth_frac=0.7, generator="diffusion")], n_repeats=1)
    begun = pd.concat([rows, begun[begun["simulation"] < 3].assign(images="these")])  # a planned set without a repeat
    begun["key"] = [str(i) for i in range(len(begun))]
    export(begun, tmp_path / "begun", manifest={"images": "these"})
    before = list(drawn["order"])
    figures.draw_answer(tmp_path / "begun")
    assert drawn["order"] == before
    export(rows[rows["architecture"] == "shares"], tmp_path / "few", manifest={"images": "these"})
    with pytest.raises(ValueError, match="holds none of the planned training sets"):
        figures.draw_answer(tmp_path / "few")
