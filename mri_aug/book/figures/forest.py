"""The forest plot: one row per condition, with its estimate, its interval and, where given, every simulation.

It draws what it is given, or the answer of a deposit; statistics are made in :mod:`mri_aug.results`.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mri_aug import provenance
from mri_aug.book.report import FAINT_INK, INK, MARKERS, PALETTE, check_colours, legend_below, new_axes, set_theme
from mri_aug.results.comparison import check_known, require_columns
from mri_aug.results.contrasts import planned_arms
from mri_aug.results.deposit import load_deposit
from mri_aug.results.inference import MIN_SIMULATIONS
from mri_aug.results.people import (
    full_reference,
    person_scores,
    reference_conditions,
    summarise_people,
    whole_repeats,
)
from mri_aug.results.tables import share_text

_LABEL_WIDTH = 30  # characters of a condition's name on one line
_SPREAD = 0.62  # of a row's height, shared by its groups
_GOLDEN = (5**0.5 - 1) / 2
# colour and marker both tell the outcomes apart
_OUTCOMES = {
    "better": (PALETTE[2], "o"),
    "better, equivalent": (PALETTE[2], "^"),
    "worse": (PALETTE[1], "s"),
    "worse, equivalent": (PALETTE[1], "v"),
    "equivalent": (PALETTE[0], "P"),
    "undecided": ("#666666", "D"),
}


def differences(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison, of ``compare`` or ``paired_groups``, as rows of :func:`plot_forest`.

    Differences are in percent where they are log ratios, else in the metric's units; with their outcomes and ``better
    in``, the share of simulations in which the condition is the better one.
    """
    rows = comparison.to_dict("records")
    unit = "percent_" if rows and rows[0]["unit"] == "log ratio" else ""
    kept = comparison[["condition", "n", *(["group"] if "group" in comparison else [])]]
    return kept.assign(
        value=comparison["percent" if unit else "difference"],
        low=comparison[f"{unit}low"],
        high=comparison[f"{unit}high"],
        outcome=comparison["outcome"],
        **{"better in": [share_text(row) for row in rows]},
    )


def plot_forest(
    table: pd.DataFrame,
    *,
    x_label: str,
    order: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    lines: Mapping[str, float] | None = None,
    better: Literal["left", "right"] | None = None,
    points: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one row per condition: an estimate with its interval, or one for each group.

    Filled markers carry a verdict or need none. Hollow ones are undecided, or rest on fewer than ten simulations; the
    latter have a thin line, which is a range and no confidence interval.

    Parameters
    ----------
    table : DataFrame
        ``condition``, ``value``, ``low``, ``high``; a missing value or interval is left out. Optional columns:
        ``group``, told apart by colour and marker, at most seven; ``n``, simulations; ``outcome``, from
        :func:`mri_aug.results.inference.outcome`; ``better in``, text for a column on the right (by default the values,
        where there are no groups); ``draft``, a figure from elsewhere, drawn as a cross.
    x_label : str
        With the unit.
    order, labels : optional
        Conditions to show, from the top (all by default), and other words for them.
    lines : mapping of str to float, optional
        Reference lines: what each is called in the legend, and its place. A line without a name is solid.
    better : {"left", "right"}, optional
        Which side is the better one; written above the Axes.
    points : DataFrame, optional
        ``condition``, ``simulation`` and ``value``: every simulation as a point, joined across the rows.
    ax : Axes, optional
        By default a new figure of the page's width, with a legend; elsewhere that is left to the caller.
    """
    require_columns(table, ("condition", "value", "low", "high"))
    order = list(dict.fromkeys(table["condition"]) if order is None else order)
    for condition in order:
        check_known(condition, set(table["condition"]), "condition", "condition")
    groups = list(dict.fromkeys(table["group"])) if "group" in table else [None]
    check_colours(groups, "group")
    own = ax is None
    names = [textwrap.fill(str((labels or {}).get(name, name)), _LABEL_WIDTH) for name in order]
    n_lines = max(name.count("\n") + 1 for name in names)
    ax = ax or new_axes(1.1 + len(order) * max(0.36 if points is None else 0.55, 0.15 * len(groups), 0.17 * n_lines))
    dashes = itertools.cycle(("--", ":", "-."))
    for name, x in (lines or {}).items():
        ax.axvline(x, color=INK, linewidth=1, zorder=1, **({"linestyle": next(dashes), "label": name} if name else {}))
    if points is not None:
        _draw_points(ax, points, order)
    for place, group in enumerate(groups):
        rows = (table if group is None else table[table["group"] == group]).set_index("condition").reindex(order)
        offset = (place - (len(groups) - 1) / 2) * _SPREAD / len(groups) - (0 if points is None else 0.16)
        _draw_estimates(ax, rows, np.arange(len(order)) + offset, group, place)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    _write_sides(ax, table, order, better)
    ax.set_xlabel(x_label)
    ax.locator_params(axis="x", nbins=6)  # numbers of three decimals and a sign need the room
    _label_artists(ax, table)
    if own:
        legend_below(ax)
    return ax


def draw_answer(deposit: str | Path) -> Path:
    """Draw README's figure of a deposit, ``people.svg`` in its folder: the planned training sets beside the references.

    The file's description is the checksum of the rows that it was drawn from. Raises a ValueError if a deposit holds
    none of the planned training sets.
    """
    rows, manifest = load_deposit(deposit)
    subject = whole_repeats(rows[(rows["images"] == manifest["images"]) & (rows["protocol"] == "subject")])
    arms = {label: name for name, label in planned_arms(subject).items()}
    if not arms:
        raise ValueError(f"{deposit} holds none of the planned training sets: compute the part 'people' first")
    tissue, shares = full_reference(subject), full_reference(subject, "shares")
    subject = subject[subject["condition"].isin([*arms, tissue, shares])]
    scores = summarise_people(person_scores(subject), references=reference_conditions(subject), to_beat=tissue)
    scores = scores.rename(columns={"log_loss": "value"}).set_index("condition", drop=False)
    names = {"tissue fractions, all people": tissue, "class shares": shares}
    lines = {words: scores.loc[name, "value"] for words, name in names.items() if name}
    order = sorted(arms, key=lambda name: scores.loc[name, "value"])
    with mpl.rc_context():
        set_theme()
        label = "Log loss per held-out person, calibrated (nats)"
        ax = plot_forest(scores, order=order, labels=arms, lines=lines, better="left", x_label=label)
        described = {"Date": None, "Description": f"rows {manifest['sha256']}"}
        with provenance.atomic_write(Path(deposit) / "people.svg") as temporary:
            ax.figure.savefig(temporary, format="svg", facecolor="white", metadata=described)
        plt.close(ax.figure)
    return Path(deposit) / "people.svg"


def _draw_points(ax: Axes, points: pd.DataFrame, order: Sequence[str]) -> None:
    wide = points.pivot(index="simulation", columns="condition", values="value").reindex(columns=order).sort_index()
    # multiples of the golden ratio spread any number of points evenly, and always in the same way
    heights = np.arange(len(order)) + 0.08 + 0.3 * ((np.arange(len(wide)) + 1)[:, None] * _GOLDEN % 1)
    alpha = float(np.clip(12 / np.sqrt(len(wide)), 0.15, 0.75))
    ax.plot(wide.T, heights.T, color=FAINT_INK, linewidth=0.5, alpha=0.35 * alpha, zorder=1.5)
    ax.scatter(wide, heights, s=14, color=PALETTE[0], alpha=alpha, linewidths=0, zorder=2)


def _draw_estimates(ax: Axes, rows: pd.DataFrame, heights: np.ndarray, group: str | None, place: int) -> None:
    own = (INK if group is None else PALETTE[place], MARKERS[place])
    for (_, row), height in zip(rows.iterrows(), heights, strict=True):
        if not np.isfinite(row["value"]):
            continue
        found = row.get("outcome")
        few = row.get("n", MIN_SIMULATIONS) < MIN_SIMULATIONS or found == "no verdict"
        found = "undecided" if few and found is not None else found
        colour, marker = own if group is not None else _OUTCOMES.get(found, own)
        face = "white" if few or found == "undecided" else colour
        if np.isfinite([row["low"], row["high"]]).all():
            ax.hlines(height, row["low"], row["high"], color=colour, linewidth=1 if few else 2, alpha=0.85, zorder=3)
        ax.plot(row["value"], height, marker, color=colour, markerfacecolor=face, markersize=5.5, mew=1.3, zorder=4)
        if np.isfinite(row.get("draft", np.nan)):
            ax.plot(row["draft"], height, "X", color=PALETTE[1], markersize=8, mec="white", zorder=5)


def _write_sides(ax: Axes, table: pd.DataFrame, order: Sequence[str], better: str | None) -> None:
    style = {"fontsize": 9, "color": FAINT_INK, "va": "bottom"}
    if better is not None:
        left, right = ("better", "worse") if better == "left" else ("worse", "better")
        ax.text(0, 1.01, f"\N{LEFTWARDS ARROW} {left}", transform=ax.transAxes, ha="left", **style)
        ax.text(0.94, 1.01, f"{right} \N{RIGHTWARDS ARROW}", transform=ax.transAxes, ha="right", **style)
    if "group" not in table:
        rows, is_share = table.set_index("condition").loc[list(order)], "better in" in table
        for height, text in enumerate(rows["better in"] if is_share else rows["value"].map("{:.3f}".format)):
            ax.text(1.015, height, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        ax.text(1.015, 1.01, "better in" if is_share else "value", transform=ax.transAxes, **style)


def _label_artists(ax: Axes, table: pd.DataFrame) -> None:
    """Name colours, markers and fillings for a legend, by artists without data."""
    few = table["n"] < MIN_SIMULATIONS if "n" in table else pd.Series(False, index=table.index)
    if "group" in table:
        for group, colour, marker in zip(dict.fromkeys(table["group"]), PALETTE, MARKERS, strict=False):
            ax.plot([], [], marker=marker, color=colour, label=group)
    elif "outcome" in table:
        for name, (colour, marker) in _OUTCOMES.items():
            if (table.loc[~few, "outcome"] == name).any():
                face = "white" if name == "undecided" else colour
                ax.plot([], [], marker=marker, color=colour, mfc=face, label=name)
    if few.any():
        text = f"hollow, thin: range of fewer than {MIN_SIMULATIONS} simulations"
        ax.plot([], [], marker="D", color=FAINT_INK, mfc="white", linewidth=1, label=text)
    if "draft" in table and table["draft"].notna().any():
        ax.plot([], [], marker="X", color=PALETTE[1], mec="white", markersize=8, linestyle="none", label="draft")
