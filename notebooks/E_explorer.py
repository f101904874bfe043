# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (app-explorer)=
# # Explore the record
#
# The chapters show what they need for their argument. Here is the whole record: how did every single simulation end, and which training
# sets would you compare?

# %% tags=["parameters"]
record: str = "record"  # a deposit in results, or the path of one
parts: list = ["references", "people", "generative", "draft"]  # shown at first

# %% tags=["remove-cell"]
import altair as alt
import pandas as pd
from IPython.display import Markdown, display
from itables import options, to_html_datatable
from itables.javascript import generate_init_offline_itables_html

from mri_aug.book.explorer import PERSON_LOSS, estimates, explore
from mri_aug.book.report import PALETTE
from mri_aug.results.deposit import load_deposit
from mri_aug.results.people import reference_conditions
from mri_aug.results.tables import arm_words

try:
    rows, manifest = load_deposit(record)
except FileNotFoundError:
    rows, manifest = None, {}
    display(Markdown(f"There is no deposit *{record}* in this copy of the book, so there is nothing to explore yet."))

# %% [markdown]
# ## Every simulation
#
# Choose a score, the people or images that the networks were tested on, and the training sets, which are listed by part of the record; the
# box of a part stands for all its training sets. Each point is one simulation, and a pointer or a finger on it shows its row. A diamond is
# the median over simulations with its 95 % interval, or with their range where there are fewer than ten. For the log loss per person of
# held-out people it is the mean, with an interval over people and trainings. Dashed lines are the references that know all real images.
# The Tab key reaches every control; the arrow keys and the space bar change it.

# %% tags=["remove-cell"]
metrics = {  # columns of the record: words, and whether less is better
    PERSON_LOSS: ("log loss per person, calibrated (nats)", True),
    "test_cross_entropy": ("cross-entropy per image (nats)", True),
    "test_subject_accuracy": ("accuracy per person", False),
    "test_accuracy": ("accuracy per image", False),
    "test_balanced_accuracy": ("balanced accuracy per image", False),
    "test_subject_kappa": ("quadratic weighted kappa per person", False),
    "test_ece": ("calibration error per image", True),
}
words = {metric: word for metric, (word, _) in metrics.items()}
protocols = {"subject": "held-out people (subject protocol)", "image": "other slices (image protocol)"}
if rows is not None:
    order = [one["part"] for one in manifest["parts"]]
    simulated = rows["images"] != manifest["images"]
    tested = (
        rows["protocol"].map(protocols).where(~simulated, rows["part"].str.removeprefix("power-") + " simulated people")
    )
    name = pd.concat(part["condition"].map(arm_words(part)) for _, part in rows.groupby(tested))
    same = rows["condition"].groupby([tested, name]).transform("nunique") > 1  # words that do not tell sets apart
    rows = rows.assign(tested=tested, name=name.where(~same, rows["condition"]), place=rows["part"].map(order.index))
    by = ["simulated", "protocol", "place", "name", "simulation"]
    rows = rows.assign(simulated=simulated).sort_values(
        by, ascending=[True, False, True, True, True], ignore_index=True
    )
    rows["set"] = rows.groupby(["tested", "name"], sort=False).ngroup()

# %% tags=["remove-cell"]
counts = {
    "simulation": "simulation", "repeat": "repeat", "fold": "fold", "n_train": "images", "n_real_people": "real people",
    "n_synthetic": "synthetic images", "seconds": "seconds",
}  # fmt: skip
estimate = {"value": "estimate", "low": "from", "high": "to", "method": "interval", "n": "simulations"}
tip, row = (
    [alt.Tooltip(f"{column}:N", title=title) for column, title in [("name", "training set"), *one.items()]]
    for one in (estimate, {"score": "score"} | counts)
)

# %% tags=["remove-cell"]
if rows is not None:
    found = estimates(rows, {metric: lower_is_better for metric, (_, lower_is_better) in metrics.items()})
    known = rows[(rows["real_frac"] == 1) & (rows["generator"] == "none")]
    lines = found["set"].isin(known.loc[known["condition"].isin(reference_conditions(known)), "set"])
    found = found.assign(line=found["name"].where(lines, ""), key=found["set"].astype(str) + found["metric"])
    found = found[["key", "set", "name", "tested", "metric", "n", "value", "low", "high", "method", "place", "line"]]
    tables = {"simulations": rows[["set", *counts, *metrics]].round(4), "estimates": found.round(4)}
    simulations_data, estimates_data = (
        alt.NamedData(
            name,
            format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(table.select_dtypes("number"), "number")),
        )
        for name, table in tables.items()
    )

# %% tags=["remove-cell"]
if rows is not None:
    here, best = "datum.tested == tested && indexof(chosen, datum.set) >= 0", [alt.SortField("place")]
    of_metric = alt.Chart(estimates_data).transform_filter("datum.metric == metric")
    middle = "datum.row - 0.28"  # of the place of a training set, whose name is above it
    sets = of_metric.transform_filter(here).transform_window(row="row_number()", sort=best)
    sets = sets.transform_calculate(y=middle, top="datum.row - 0.74")
    references = of_metric.transform_filter("datum.tested == tested && datum.line != ''")
    points = alt.Chart(simulations_data).transform_calculate(key="datum.set + metric", score="datum[metric]")
    points = points.transform_lookup("key", alt.LookupData(estimates_data, "key", ["name", "tested", "place"]))
    points = points.transform_filter(here).transform_window(row="dense_rank()", sort=best)
    spread = "0.3 * ((datum.simulation * 0.618) % 1 - 0.5)"  # the same each time
    points = points.transform_calculate(y=f"{middle} + {spread}")

# %% tags=["remove-cell"]
if rows is not None:
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[alt.ExprRef("length(chosen)"), 0], nice=False))
    blue, *colours = (PALETTE[k] for k in (5, 1, 2, 3))
    ink = "currentColor"  # of the page, be it light or dark
    colour = alt.Color(
        "line:N", scale=alt.Scale(range=colours), legend=alt.Legend(title=None, orient="top", columns=1, labelLimit=380)
    )
    layers = [
        references.mark_rule(strokeDash=[5, 4], strokeWidth=1.5).encode(x, color=colour),
        points.mark_circle(size=22, opacity=0.6, color=blue, aria=False).encode(alt.X("score:Q"), y, tooltip=row),
        sets.mark_rule(strokeWidth=2.5, color=ink).encode(alt.X("low:Q"), y, alt.X2("high:Q"), tooltip=tip),
        sets.mark_point(filled=True, size=70, opacity=1, color=ink, shape="diamond").encode(x, y, tooltip=tip),
        sets.mark_text(align="left", fontSize=12, color=ink).encode(x=alt.value(0), y="top:Q", text="name:N"),
    ]

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Every simulation of the record (points), with the estimate of each training set and its interval, the best first.", "name": "fig-explorer"}, "image": {"alt": "The simulations of each training set as points on a scale of the chosen score, with an estimate and its interval, and lines of the references"}}
if rows is not None:
    chart = alt.layer(*layers, datasets={name: table.to_csv(index=False) for name, table in tables.items()})
    chart = chart.properties(title=alt.Title(alt.ExprRef("words[metric]"), orient="bottom"))
    chart = chart.add_params(alt.param("words", value=words)).configure_view(stroke=None)
    inks = dict.fromkeys(["labelColor", "tickColor", "domainColor", "gridColor"], ink)
    chart = chart.configure_axis(**inks, gridOpacity=0.15).configure_legend(labelColor=ink, labelFontSize=12)
    chart = chart.configure_title(color=ink, fontSize=12, fontWeight="normal")
    display(explore(chart, rows.drop_duplicates("set"), words, parts=parts), raw=True)

# %% [markdown]
# ## Every row
#
# The same simulations as a table. The heading of a column sorts by it, and a word in the field of a column keeps the rows that hold it.

# %% tags=["hide-input"]
if rows is not None:
    columns = {"name": "training set", "part": "part", "protocol": "protocol"} | counts | words
    table = rows[list(columns)].rename(columns=columns).round(4)
    shape = {"classes": "display compact", "scrollX": True, "column_filters": "footer"}
    page = to_html_datatable(
        table,
        connected=False,
        table_id="simulations",
        maxBytes=0,
        showIndex=False,
        format_floats_in_python=False,
        **shape,
    )
    page = generate_init_offline_itables_html(options.dt_bundle) + page
    display(
        {"text/html": page, "text/plain": f"The pages on screen hold a table of all {len(table)} simulations."},
        raw=True,
    )
