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
# (app-speed)=
# # How fast, and why
#
# A study trains hundreds of networks, so speed decides how many questions can be asked of it. How fast is this library beside what one would
# otherwise write or pick, what is each of its gains worth, and how far is it from what the processor can do?

# %% tags=["parameters"]
record: str = ""  # file that `make bench` wrote; by default the one in results/

# %% tags=["hide-input"]
import json
from pathlib import Path

import pandas as pd

from mri_aug import provenance
from mri_aug.book.figures.forest import new_axes
from mri_aug.book.figures.speed import plot_gains, plot_growth, plot_throughput
from mri_aug.book.report import glue_values, numbered_table, use_book_style

use_book_style()
file = Path(record) if record else provenance.results("benchmarks.json")
content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"sections": {}, "targets": []}
sections, ours = content["sections"], "this library"
tables = {
    f"{section} {name}": pd.DataFrame(rows)
    for section, found in sections.items()
    for name, rows in found["tables"].items()
}

# %% tags=["remove-cell"]
wanted = ["peak", "throughput", "ablation", "profile", "policies", "footprint", "growth", "quality"]
missing = [name for name in wanted if name not in sections]
latest = max(sections.values(), key=lambda section: section["date"], default={})
dates = sorted({section["date"][:10] for section in sections.values()})
when = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}" if dates else ""
computer, run = latest.get("machine", {}), latest.get("run", {})
named = {
    key: latest.get("versions", {}).get(key) for key in ("python", "torch", "lightning", "fastai", "monai", "keras")
}
versions = ", ".join(f"{name} {version}" for name, version in named.items() if version)
glue_values(
    state=f"Measured {when} on {computer['processor']} ({computer['cores']} cores, {computer['memory_gib']:.0f} GiB, "
    f"{computer['system']}) with {versions}, on {run['n_images']} images of {run['n_people']} people ({run['dataset']})"
    + (", at sizes too small to mean anything." if run["quick"] else ".")
    + (f" Not measured: {', '.join(missing)}." if missing else "")
    if sections
    else "Nothing has been measured on this machine yet: run `make bench`, and build the book again.",
)

# %% [markdown]
# {glue:text}`state:s` Every number below is from that record, which is not made with the book, since it means something only on a machine that does
# nothing else. Ratios within one record carry over to other machines far better than its images per second do.
#
# ## What was aimed at

# %% tags=["remove-cell"]
targets = pd.DataFrame(content["targets"], columns=["target", "measured", "bound", "wanted", "unit", "met"])
verdicts = targets["met"].map(lambda met: "not measured" if met is None else "yes" if met else "no")
shown = pd.DataFrame(
    {
        "target": targets["target"],
        "measured": [
            f"{row.measured:,.4g} {row.unit}" if pd.notna(row.measured) else "–" for row in targets.itertuples()
        ],
        "wanted": [f"{row.bound} {row.wanted:,.4g} {row.unit}" for row in targets.itertuples()],
        "met": verdicts,
    }
)
failed = targets.loc[verdicts == "no", "target"].tolist()
missed = f"Missed: {'; '.join(failed)}. The profile below shows where the time goes." if failed else "None was missed."
glue_values(
    summary=f"{(verdicts == 'yes').sum()} of {len(targets)} targets were met. {missed}"
    if len(targets)
    else "No target has been looked at yet.",
)

# %% [markdown]
# {glue:text}`summary:s` The targets that are no ratios, in seconds, megabytes and variations per second, were set on two cores whose plain loop trained some 200
# images per second, in bfloat16 where the library could use it. {glue:text}`plain_pace:s`

# %% tags=["hide-input"]
empty = pd.DataFrame({"result": ["not measured yet: run `make bench`"]})
numbered_table(shown if len(shown) else empty, "What was aimed at, and what was measured.", "tab-speed-targets")

# %% [markdown]
# ## Beside the alternatives
#
# All contenders train the network of chapter 5 with batches of 64 and Adam on the same images. The *plain script* is what most would write: images on disk
# in a folder per class, torchvision's transforms, a `DataLoader` with two workers, ReLU before pooling, PyTorch's initial weights, float32. The *plain loop in memory*
# differs by a `TensorDataset`. The frameworks are used as their own guides do and with their defaults, less progress bars, loggers and
# checkpoints. Each has both cores to itself; ours is one single-threaded process per core, as in every study.

# %% tags=["remove-cell"]
rates = tables.get("throughput throughput", pd.DataFrame({"contender": [], "images_per_second": [], "note": []}))
numbers = rates.dropna(subset=["images_per_second"]) if "images_per_second" in rates else rates[:0]
pace = dict(zip(numbers["contender"], numbers["images_per_second"], strict=True))
written = ("plain script", "plain loop in memory")
frameworks = {name: rate for name, rate in pace.items() if name not in (ours, *written)}
fastest = max(frameworks, key=frameworks.get, default="")
silent = [f"{row.contender}: {row.note}" for row in rates.itertuples() if row.note]
glue_values(
    pace=f"Here that is {pace[ours]:.0f} images per second, {pace[ours] / pace[written[0]]:.1f} times the plain script and "
    f"{pace[ours] / pace[written[1]]:.1f} times the plain loop in memory"
    + (
        f"; the fastest framework is {fastest}, of which it is {pace[ours] / frameworks[fastest]:.1f} times."
        if fastest
        else "."
    )
    if {ours, *written} <= set(pace)
    else "That has not been measured.",
    plain_pace=f"Here it trains {pace[written[1]]:.0f}."
    if written[1] in pace
    else "That loop has not been measured here.",
    silent="Left out: " + "; ".join(silent) + "." if silent else "None is left out.",
)

# %% [markdown]
# {glue:text}`pace:s` {glue:text}`silent:s`

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Training images per second of every contender, and how many times faster this library is.", "name": "fig-speed-contenders"}, "image": {"alt": "Training images per second of every contender, and how many times faster this library is"}}
_ = plot_throughput(rates, ours=ours) if ours in pace else new_axes(0.8).axis("off")

# %% [markdown]
# Images per second are only a means. What a study pays for is a *simulation*: split, training, evaluated row. The table gives whole simulations per hour
# and the test cross-entropy they end at, over the same splits. The others train for the number of epochs shown, with a peak learning rate of 0.001 where they have
# a schedule. Ours, whose initial weights and layer-wise rates let it learn in fewer, is tried with more and more epochs until its median is no higher than the plain script's.

# %% tags=["hide-input"]
simulations = tables.get("quality quality", empty)
renamed = {"least": "lowest", "most": "highest", "simulations_per_hour": "simulations per hour"}
columns = [column for column in ("contender", "n", "epochs", "median", *renamed) if column in simulations]
quality = simulations[columns].rename(columns=renamed) if columns else empty
formats = {"simulations per hour": ".0f"} if columns else None
numbered_table(
    quality,
    "Final test cross-entropy over seeds (median, lowest, highest), and simulations per hour.",
    "tab-speed-quality",
    formats=formats,
)

# %% tags=["remove-cell"]
hourly = simulations.set_index("contender") if columns else pd.DataFrame()
if {ours, written[0]} <= set(hourly.index):
    own, plain = simulations[simulations["contender"] == ours].iloc[-1], hourly.loc[written[0]]
    better = (
        "no higher than the plain script's"
        if own["median"] <= plain["median"]
        else "still higher than the plain script's"
    )
    verdict = (
        f"With {own['epochs']:.0f} epochs it is {own['simulations_per_hour'] / plain['simulations_per_hour']:.1f} times as many simulations per hour as the plain "
        f"script's with {plain['epochs']:.0f}; the median test cross-entropy, {own['median']:.3f} against {plain['median']:.3f}, is {better}, whose seeds reach from "
        f"{plain['least']:.3f} to {plain['most']:.3f}."
    )
else:
    verdict = "Whole simulations have not been measured."
glue_values(verdict=verdict)

# %% [markdown]
# {glue:text}`verdict:s`
#
# ## Why
#
# {numref}`fig-speed-gains` starts from the plain loop in memory and adds one gain after the other. A factor depends on what is there already, which is why
# {numref}`tab-speed-gains` also takes each gain away from the whole: what would be lost without it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "From the plain loop in memory to the engine: each bar adds one gain to those above it.", "name": "fig-speed-gains"}, "image": {"alt": "From the plain loop in memory to the engine: each bar adds one gain to those above it"}}
gains = tables.get("ablation cumulative")
_ = plot_gains(gains) if gains is not None else new_axes(0.8).axis("off")

# %% tags=["hide-input"]
if gains is not None:
    added = gains.set_index("step")["factor"].iloc[1:]
    taken = tables["ablation removed"].set_index("without")["factor"]
    worth = pd.DataFrame(
        {
            "gain": added.index,
            "factor when added": added.to_numpy(),
            "factor lost without it": taken[added.index].to_numpy(),
        }
    )
else:
    worth = empty
numbered_table(
    worth,
    "What each gain is worth: added to those before it, and taken away from all.",
    "tab-speed-gains",
    formats=None if gains is None else dict.fromkeys(worth.columns[1:], ".2f"),
)

# %% tags=["remove-cell"]
factor = {} if gains is None else added.to_dict()
glue_values(
    **{
        f"gain_{key}": f"{factor[name]:.2f} x" if name in factor else "not measured"
        for key, name in {
            "indexing": "batches by index",
            "relu": "ReLU after pooling",
            "parts": "convolutions by parts of a batch",
            "adam": "fused Adam",
            "layout": "channels last",
            "bfloat16": "bfloat16 autocast",
            "memory": "freed memory kept",
            "processes": "a process per core",
        }.items()
    }
)

# %% [markdown]
# - **Batches by index** ({glue:text}`gain_indexing:s`). The dataset is one tensor of bytes, and a batch is 64 of its rows: nothing is decoded, and nothing is collated image by
#   image.
# - **ReLU after pooling** ({glue:text}`gain_relu:s`). The maximum of rectified values is the rectified maximum, so the network computes the same function; but a quarter of
#   the values is rectified, kept for the backward pass and read again.
# - **Convolutions by parts of a batch** ({glue:text}`gain_parts:s`). Sixteen of a batch's 64 images at a time pass through the convolutions, so that what one layer writes is still in
#   the processor's cache when the next reads it, and the gradient of only one part is in memory at once. Gradients are sums over images, so they are the same.
# - **Fused Adam** ({glue:text}`gain_adam:s`). The optimiser's dozen passes over four million weights become one.
# - **Channels last** ({glue:text}`gain_layout:s`). Images are laid out as the processor's convolutions read them, so they are not reordered at every layer.
# - **bfloat16** ({glue:text}`gain_bfloat16:s`). Multiplications take half the bytes and, where the processor has instructions for it, less time; weights, loss and optimiser stay
#   in float32. Where it has none, the library stays in float32 altogether.
# - **Freed memory kept** ({glue:text}`gain_memory:s`). A step allocates and frees the same large blocks. By default the C library hands them back to the system and gets them
#   again as zeroed pages, one fault per 4 kB.
# - **A process per core** ({glue:text}`gain_processes:s`). A small network leaves threads waiting for each other at every layer. Simulations are independent, so each gets one
#   core and waits for nobody.
#
# A factor near or below one says that the gain does not pay on this machine, or not in that place of the order.
#
# ## How far from the processor's bound
#
# Training on one image takes three passes of the same size, forward, gradients of the weights, gradients of the inputs, of which the first layer needs no third:
#
# $$ F = 3 \sum_l F_l - F_1, \qquad F_l = 2 \times \text{multiply-adds of layer } l $$ (eq-speed-flops)
#
# A convolution with $C$ input and $K$ output channels and a kernel of $k \times k$ has $H W K C k^2$ multiply-adds on an output of $H \times W$, a linear layer the product of its widths.

# %% tags=["remove-cell"]
widths = {
    "first convolution": 128**2 * 16 * 9,
    "second convolution": 64**2 * 32 * 16 * 9,
    "hidden layers": 32**3 * 128 + 128 * 64,
    "head": 64 * 4,
}
flops = 3 * sum(2 * adds for adds in widths.values()) - 2 * widths["first convolution"]
peaks = tables.get("peak peak")
if peaks is not None and ours in pace:
    best = peaks.loc[peaks.groupby("type")["gflops"].idxmax()].set_index("type")
    modes = {
        name: f"{row.gflops:.0f} GFLOP/s in {name} ({row.processes:.0f} × {row.threads:.0f} threads)"
        for name, row in best.iterrows()
    }
    kind = "bfloat16" if "bfloat16" in best.index else "float32"
    share = 100 * pace[ours] * flops / 1e9 / best.at[kind, "gflops"]
    bound = f"The largest matrix products on this machine reach {' and '.join(modes.values())}; training at {pace[ours]:.0f} images per second is {share:.0f} % of that in {kind}."
    if kind == "float32":
        bound += " Its processor has no instructions for bfloat16, so the library stays in float32 here and makes nothing of that gain."
else:
    bound = "The machine's peak has not been measured."
if (layers := tables.get("profile layers")) is not None:
    arithmetic, least, taken = (layers[column].sum() for column in ("arithmetic_ms", "bound_ms", "measured_ms"))
    slowest = layers.loc[(layers["measured_ms"] - layers["bound_ms"]).idxmax(), "layer"]
    roofline = (
        f"With every layer at its bound the layers would take {least:.0f} ms and {100 * arithmetic / least:.0f} % of the peak would be used; one at a time they "
        f"take {taken:.0f} ms, {100 * arithmetic / taken:.0f} %, and the layer that is furthest above its bound is {slowest}."
    )
else:
    roofline = "The layers have not been measured one by one."
glue_values(megaflops=flops / 1e6, bound=bound, roofline=roofline)

# %% [markdown]
# By {eq}`eq-speed-flops` the network of chapter 5 needs {glue:text}`megaflops:.0f` million operations per training image. {glue:text}`bound:s` The rest is
# what is not a matrix product: pooling and its backward pass, rectifying, copying, the optimiser ({numref}`tab-speed-profile`). These move memory and
# multiply nothing, so even perfect products would leave them.
#
# {numref}`tab-speed-layers` says by how much. A layer is bounded by its arithmetic at the peak or by the memory that it must at least move, whichever is slower; the
# first convolution has one input channel, too few to fill the processor's matrix instructions, and pooling has no arithmetic at all. {glue:text}`roofline:s`

# %% tags=["hide-input"]
operators = tables.get("profile operators")
table = (
    empty
    if operators is None
    else operators.assign(operator="`" + operators["operator"] + "`", share=100 * operators["share"]).rename(
        columns={"calls_per_step": "calls per step", "milliseconds": "ms per step", "share": "share, %"}
    )
)
formats = None if operators is None else {"calls per step": ".1f", "ms per step": ".2f", "share, %": ".1f"}
numbered_table(
    table, "Where a training step of 64 images goes, in one thread, by operator.", "tab-speed-profile", formats=formats
)

# %% tags=["hide-input"]
layers = tables.get("profile layers")
renamed = {
    "gflop": "GFLOP",
    "megabytes": "MB",
    "arithmetic_ms": "arithmetic, ms",
    "memory_ms": "memory, ms",
    "measured_ms": "measured, ms",
}
table = empty if layers is None else layers[["layer", *renamed]].rename(columns=renamed)
formats = None if layers is None else {"GFLOP": ".2f", "MB": ".0f", **dict.fromkeys(list(renamed.values())[2:], ".2f")}
numbered_table(
    table,
    "Each layer's forward and backward pass over 64 images in one thread: its least time by arithmetic and by memory, and what it takes.",
    "tab-speed-layers",
    formats=formats,
)

# %% [markdown]
# ## Policies
#
# Policies run on whole batches inside the training process ({numref}`tab-speed-policies`).

# %% tags=["hide-input"]
costs = tables.get("policies policies")
table = (
    empty
    if costs is None
    else costs.sort_values("percent_of_step")[["policy", "milliseconds", "percent_of_step"]].rename(
        columns={"milliseconds": "ms per batch", "percent_of_step": "of a training step, %"}
    )
)
formats = None if costs is None else {"ms per batch": ".2f", "of a training step, %": ".1f"}
numbered_table(table, "Cost of each policy for a batch of 64, in one thread.", "tab-speed-policies", formats=formats)

# %% [markdown]
# ## How cost grows
#
# A training's images are held once, as bytes, and a step touches 64 of them: memory should grow with the data and nothing else, and a step should cost the same at any size
# ({numref}`fig-speed-growth` and {numref}`tab-speed-growth`). People are recovered from all pairs of images, so their cost grows with the square
# ({numref}`tab-speed-others`), without a table of all pairs in memory.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Resident memory of a training process against the number of its images.", "name": "fig-speed-growth"}, "image": {"alt": "Resident memory of a training process against the number of its images"}}
growth = tables.get("growth training")
if growth is not None and growth["resident_mb"].notna().all():
    _ = plot_growth(growth, "images", "resident_mb", x_label="images trained on", y_label="resident memory (MB)")
else:
    _ = new_axes(0.8).axis("off")

# %% tags=["hide-input"]
table = (
    empty
    if growth is None
    else growth.assign(seconds_per_step=1000 * growth["seconds_per_step"]).rename(
        columns={
            "seconds_per_step": "ms per step",
            "seconds_once": "s once",
            "data_mb": "images, MB",
            "resident_mb": "resident, MB",
        }
    )
)
formats = (
    None if growth is None else {"ms per step": ".1f", "s once": ".1f", "images, MB": ".0f", "resident, MB": ".0f"}
)
numbered_table(
    table,
    "Training against the number of images: a step, what is done once (pixel statistics), and memory.",
    "tab-speed-growth",
    formats=formats,
)

# %% tags=["hide-input"]
rows = []
for key, unit, size in (
    ("growth people", "images searched for people", "images"),
    ("growth statistics", "rows summarised as in chapter 7", "rows"),
):
    for row in tables.get(key, pd.DataFrame()).to_dict("records"):
        rows.append({"what": unit, "how many": row[size], "seconds": row["seconds"]})
for row in tables.get("growth morph", pd.DataFrame()).to_dict("records"):
    rows.append(
        {"what": "images that morph is fitted to", "how many": row["fitted_images"], "seconds": row["fit_seconds"]}
    )
    rows.append(
        {
            "what": "variations made by morph on all cores",
            "how many": row["variations"],
            "seconds": row["variations"] / row["variations_per_second"],
        }
    )
for row in tables.get("quality drift", pd.DataFrame()).to_dict("records"):
    rows.append({"what": "small simulations of one study", "how many": row["simulations"], "seconds": row["seconds"]})
numbered_table(
    pd.DataFrame(rows) if rows else empty,
    "Seconds for growing numbers of everything else.",
    "tab-speed-others",
    formats={"seconds": ".2f"} if rows else None,
)

# %% [markdown]
# ## Processes

# %% tags=["remove-cell"]
if "footprint" in sections:
    scaling, start = tables["footprint workers"].iloc[-1], tables["footprint start"].median()
    worker, step = tables["footprint memory"], tables["footprint step"].iloc[0]
    largest = worker.sort_values("beyond_import_mb").iloc[-1]
    processes = f"{scaling['processes']:.0f} processes train {scaling['ratio']:.2f} times as many images per second as one. The first training step of a study comes {start['seconds']:.1f} seconds after its command. It can be no sooner than two imports of PyTorch and the library, the study's own and then its workers', which take {start['import_seconds']:.1f} seconds each."
    resident = (
        f" On {largest['images']:.0f} images a worker needs at most {largest['beyond_import_mb']:.0f} MB beyond importing PyTorch. Of these {largest['own_mb']:.0f} MB are its own, "
        f"the rest are pages of the libraries and of the dataset, which all workers share. What bounds its own is the training step: {step['weights_mb']:.0f} MB of weights, their gradients and Adam's moments, and {step['saved_mb']:.0f} MB that the forward pass leaves to the backward pass, "
        "to which the layers' scratch space, the images of the simulation and what the allocator keeps between blocks of different sizes are added."
        if pd.notna(largest["beyond_import_mb"])
        else ""
    )
else:
    processes, resident = "Processes have not been measured.", ""
glue_values(processes=processes + resident)

# %% [markdown]
# Images are mapped into every worker from one copy. {glue:text}`processes:s`
#
# ## What follows
#
# None of the gains changes what is learned: indexing and kept memory are bookkeeping, ReLU after pooling is an identity, parts of a batch, fused Adam, channels last and bfloat16 change
# the order and the width of the same sums, and processes only run simulations beside each other. They are in the library's one training loop, {numref}`fig-speed-gains` is their price list, and whoever brings another network
# can see from it which of them to keep.

# %% tags=["hide-input"]
assert set(sections) <= set(wanted)
assert all(
    pd.isna(row.measured)
    or row.met == (row.measured >= row.wanted if row.bound == "at least" else row.measured <= row.wanted)
    for row in targets.itertuples()
)
