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
# (app-reproducing)=
# # Reproducing this book
#
# How is every page made again, what does it cost, and what may differ?

# %% tags=["parameters"]
executed: str = ""  # folder of the other notebooks' executed copies; filled in by `make book`
dataset: str = "phantom"  # "phantom", a hub id, or a folder
n_subjects: int = 22  # people in the study; 0 is everyone
n_simulations: int = 3  # repetitions of the thesis's own comparison
n_side_simulations: int = 1  # of the side questions
n_network_simulations: int = 1  # of the larger networks
epochs: int = 3  # passes over the training images

# %% tags=["remove-cell"]
import json
from pathlib import Path

import pandas as pd

from mri_aug.book.figures.curves import one_cycle_momentum
from mri_aug.book.publishing.notebooks import executions
from mri_aug.book.report import glue_values, numbered_table
from mri_aug.models.training import TrainConfig
from mri_aug.provenance import code_fingerprint, machine, project, versions
from mri_aug.study.parts import OTHER_DATASETS, PROFILES

# %% [markdown]
# ## Commands
#
# | command | what it does |
# | :--- | :--- |
# | `make book` | installs into `.venv`, runs the study and every notebook on phantoms, renders these pages |
# | `make book DATASET=Falah/Alzheimer_MRI` | the same chapters on the thesis's images from the hub; a folder works too |
# | `make book PROFILE=thesis` | the same chapters with the draft's hundred simulations |
# | `make test` | runs the tests, executes all notebooks twice and compares their outputs, builds the book with warnings as errors |
# | `make bench` | measures how fast training, statistics and the search for people are, beside other frameworks |
# | `make lab` | opens the notebooks in JupyterLab |
# | `papermill notebooks/07_results.ipynb -p real_frac 0.5` | one chapter with another parameter |
# | `mri-aug study --profile thesis --scheduler tcp://HOST:8786` | the simulations of chapter 7 on a Dask cluster |
# | `mri-aug study --parts sweep filters` | some parts of them alone |
# | `mri-aug study --parts people --dataset FOLDER --export NAME` | one part on a dataset of your own, deposited in `results/NAME` with its manifest |
# | `mri-aug study --pretrained resnet18 vit_b_16` | also networks that start from ImageNet's weights, which are downloaded |
# | `mri-aug vary --generator NAME --plan` | what a generator's images for a study would cost; without `--plan`, makes those that the bank lacks |
# | `mri-aug vary --generator NAME --max-usd 20 --max-images 500` | the same, stopping before either limit is exceeded |
#
# A study may be interrupted at any moment and is resumed by the same command. A second `make book` runs only what changed. The parts of
# this copy's own study ({numref}`Appendix %s <ch-results-copy>`) are `draft`, the thesis's own comparison; `people`, scarce people and the references;
# the side questions `policies`, `controls`, `filters`, `classes` and `sweep`; and `networks`. Parts share conditions, and each condition is
# computed once. `mri-aug study --record` has the parts of the record instead ({numref}`Chapter %s <ch-results>`).
#
# ## Sizes

# %% tags=["hide-input"]
named = {
    "dataset_subjects": "people described", "n_subjects": "people in the study", "epochs": "epochs",
    "n_simulations": "simulations, own comparison",
    "n_side_simulations": "simulations, side questions", "n_network_simulations": "simulations, larger networks", "policies": "policies",
    "sweep": "further shares in the sweep", "architectures": "larger networks", "people_generators": "further generators on people",
    "people_steps": "steps of training on people",
}  # fmt: skip
kinds = {f"{profile}, {kind}": values for profile in PROFILES for kind, values in (
    ("phantoms", PROFILES[profile]), ("real images", {**PROFILES[profile], **OTHER_DATASETS[profile]}))}  # fmt: skip
sizes = pd.DataFrame(
    {
        kind: [len(values[key]) if isinstance(values[key], tuple) else values[key] or "all" for key in named]
        for kind, values in kinds.items()
    }
)
sizes.insert(0, "number of", list(named.values()))
numbered_table(
    sizes,
    "What the profiles compute (smoke: does it run; demo: the default; thesis: as many simulations as the draft). Simulations are counted for each condition.",
    "tab-profiles",
)

# %% tags=["remove-cell"]
config, computer, decays = TrainConfig(), machine(), one_cycle_momentum(100)
glue_values(
    this_run=f"{dataset.rstrip('/').split('/')[-1]}, {n_subjects or 'all'} people in the study, {n_simulations} simulations of each condition of the thesis's comparison, "
    f"{n_side_simulations} of the side questions and {n_network_simulations} of the larger networks, {epochs} epochs",
    batch_size=config.batch_size,
    learning_rate=config.learning_rate,
    decay_high=decays.max(),
    decay_low=decays.min(),
    precision=config.resolved_precision(),
    processor=computer["processor"],
    cores=computer["cores"],
    memory=computer["memory_gib"],
    system=computer["system"],
    library=code_fingerprint("mri_aug.study.simulation"),
)

# %% [markdown]
# This copy: {glue:text}`this_run:s`. Training is Adam in batches of {glue:text}`batch_size:d`, under a one-cycle learning rate
# with its peak at {glue:text}`learning_rate:g` (higher and lower in some layers of the CNN, lower in the larger networks: {numref}`Chapter %s <ch-methodology>`). Its first decay rate
# goes from {glue:text}`decay_high:.2f` to {glue:text}`decay_low:.2f` and back as the learning rate rises and falls, its second stays at Adam's default of 0.999. Numbers are
# {glue:text}`precision:s` (bfloat16 where the processor multiplies in it, else float32). The record
# has taken {glue:text}`../notebooks/07_results.ipynb::core_hours:.1f` hours of one core so far; the profile thesis, with a hundred simulations on
# everyone, takes many days on two cores and needs a cluster.
#
# ## Machine, versions and times
#
# Processor {glue:text}`processor:s`, {glue:text}`cores:d` cores, {glue:text}`memory:.1f` GiB of memory, {glue:text}`system:s`. The code of
# a simulation has the fingerprint {glue:text}`library:s`. Networks are built and trained with PyTorch {cite:p}`paszke2019pytorch`;
# stratified splits, scores and
# principal components are scikit-learn's {cite:p}`pedregosa2011scikit`.

# %% tags=["hide-input"]
numbered_table(
    pd.DataFrame(versions().items(), columns=["package", "version"]), "Versions that made this copy.", "tab-versions"
)

# %% tags=["hide-input"]
times = executions(Path(executed), without=["B_reproducing"]) if executed else pd.DataFrame()
if len(times):
    table = times[["notebook", "seconds"]].assign(**{"library's fingerprint": times["library"].str[:8]})
    table.loc[len(table)] = ["all", table["seconds"].sum(), ""]
else:
    table = pd.DataFrame({"notebook": ["none yet: run `make book`"], "seconds": [None]})
numbered_table(
    table,
    "Seconds that each notebook took, the study's simulations being finished beforehand.",
    "tab-times",
    formats={"seconds": ".0f"} if len(times) else None,
)

# %% tags=["remove-cell"]
measured = json.loads((project() / "benchmarks" / "benchmarks.json").read_text(encoding="utf-8"))["sections"]
tables = {name: section["tables"] for name, section in measured.items()}
pace = {row["contender"]: row["images_per_second"] for row in tables["throughput"]["throughput"] if row["n"]}
ours, others = pace.pop("this library"), pace
searched, statistics = tables["growth"]["people"], tables["growth"]["statistics"][-1]
policy = max(tables["policies"]["policies"], key=lambda row: row["percent_of_step"])
idle = measured["throughput"]["machine"]
glue_values(
    bench_machine=f"{idle['processor']}, {idle['cores']} cores",
    bench_pace=ours,
    bench_plain=ours / others["plain script"],
    bench_fastest=max(others, key=others.get),
    bench_fastest_ratio=ours / max(others.values()),
    bench_policy=policy["policy"],
    bench_policy_percent=policy["percent_of_step"],
    bench_morph=tables["growth"]["morph"][0]["variations_per_second"],
    bench_people=", ".join(f"{row['images']:,} images in {row['seconds']:.0f} s" for row in searched),
    bench_rows=statistics["rows"],
    bench_statistics=statistics["seconds"],
)

# %% [markdown]
# ## Cost
#
# Training is what a study pays for. On an idle machine ({glue:text}`bench_machine:s`) the library trains {glue:text}`bench_pace:.0f` images of
# 128 × 128 pixels per second, {glue:text}`bench_plain:.1f` times as many as a plain PyTorch script that reads a folder of images, and
# {glue:text}`bench_fastest_ratio:.1f` times as many as the fastest of the alternatives measured, {glue:text}`bench_fastest:s`. The gain comes from bookkeeping and
# not from another algorithm: batches are an index into one tensor of bytes, convolutions run on parts of a batch that fit into the processor's cache, the memory layout is the one
# that its convolutions read, freed memory is kept, and each core runs a simulation of its own. Where the processor has an instruction for bfloat16 numbers, products
# are of these; the record's are of float32 everywhere. None of this changes what is learned, but for rounding.
#
# The rest is small beside it. The most expensive policy, *{glue:text}`bench_policy:s`*, adds {glue:text}`bench_policy_percent:.0f` % to a training step, and `morph` makes
# {glue:text}`bench_morph:.0f` images per second. A training holds its images once, as bytes, so memory grows with them and a step costs the same at any
# number of images. People are recovered from all pairs of images, so that this cost grows with the square of their number
# ({glue:text}`bench_people:s`). The statistics of chapter 7 take {glue:text}`bench_statistics:.0f` s for {glue:text}`bench_rows:,d` simulations.
# `make bench` repeats these measurements on an idle machine; `benchmarks/README.md` holds its tables and plot, and says what each gain is worth.
#
# ## What is fixed and what may differ
#
# Every random draw takes a seed: the phantoms, the split, the sample, the initial weights, the order of batches, the policy and the generator.
# Simulation $r$ derives its seeds from the study's seed and $r$ alone, so results do not depend on how many processes ran them or in which order, and the
# same machine repeats every digit. Another processor may round differently, and training amplifies such differences: medians should agree
# within their intervals, not digit by digit. A row of the study is stored under a key made of the images, the condition, the configuration,
# the seeds and the code that it ran through; when any
# of these changes, the row is computed anew.
#
# The hub's dataset is pinned to one commit, because a later one merges its classes. Nothing else is downloaded unless you ask for
# ImageNet's weights or for a
# model from the hub. Images that were bought are kept in a bank and never requested again. The thesis's own synthetic images
# cannot be reproduced, since the service that made them no longer exists.

# %% tags=["remove-cell"]
assert set(PROFILES) == {"smoke", "demo", "thesis"}
