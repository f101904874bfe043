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
# (app-fidelity)=
# # How good are the synthetic images?
#
# Do synthetic images look like slices of people who were scanned? Do several images made from one source differ from each other? And are they new, or
# copies of training images? The first part of this appendix defines the measures, the second gives them for the thesis's dataset, and the
# third for the images of this copy of the book, with pictures.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people to simulate or keep; 0 is everyone
generators: str = "duplicate,morph,simulated,diffusion"  # names of generators, with commas between
real_frac: float = 0.4  # share of the people that generators are fitted on, in (0, 1)
feature_weights: str = "none"  # "none": a network trained on simulated people; "imagenet", or the path of such weights
max_usd: float = 0.0  # dollars that variations of a paid service may cost in all; they are kept in a bank
epochs: int = 3  # passes over the images by the networks that measure
diffusion_steps: int = 40  # of the diffusion model's fine-tuning; a study takes 1,800
seed: int = 0

# %% tags=["remove-cell"]
import time
from dataclasses import replace
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from mri_aug import provenance
from mri_aug.book import figures
from mri_aug.book.record import ABSENT, load_tables
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images, separate_images
from mri_aug.data.sampling import stratified_sample
from mri_aug.fidelity.features import domain_network, imagenet_network
from mri_aug.fidelity.realism import DETECTOR_CONFIG
from mri_aug.fidelity.similarity import memorisation, real_similarity
from mri_aug.fidelity.table import ALL_CLASSES, MEASURES, REAL, fidelity_table, generation_card, make_candidate
from mri_aug.generators.bank import Bank, BankedGenerator
from mri_aug.generators.base import RefusedVariationsError, fit_generator, make_generator
from mri_aug.models.training import TrainConfig
from mri_aug.results.tables import estimate_text

use_book_style(image_format="png")

# %% tags=["remove-cell"]
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=n_subjects or None, seed=seed
)

# %% [markdown]
# ## What is compared with what
#
# Each generator is fitted on a stratified sample of the people, with all their slices, and makes one synthetic image from every slice of
# the sample. Everyone outside the sample is the standard of comparison. Two groups of people differ too, and that is no fault of a
# generator. The sample is therefore compared with the people outside it twice: as it is, people against other people, and as each
# generator's images. Both comparisons are of the same people, so their difference is due to the generator. The generator *duplicate*, which
# returns its sources, is the other extreme: it is perfectly real and has nothing new. *Simulated* makes no variation of a source: where a measure
# compares an image with its source, it is compared with the image whose label it was given, another person's.

# %% [markdown]
# ## The measures
#
# With $x$ and $y$ the features that a network gives two sets of images of one class, and $k(x, y) = (x^\top y / d + 1)^3$ for $d$ features, the
# *squared maximum mean discrepancy* {cite:p}`gretton2012kernel` is
#
# $$
# \mathrm{MMD}^2 = \mathop{\mathrm{mean}}_{i \neq j} k(x_i, x_j) + \mathop{\mathrm{mean}}_{i \neq j} k(y_i, y_j) - 2 \mathop{\mathrm{mean}}_{i, j} k(x_i, y_j) .
# $$ (eq-mmd)
#
# Here $i$ and $j$ are people, and $k$ of two people is the mean over their pairs of slices: slices of one person are so similar that any two
# groups of people would otherwise look different. With this kernel and features of the Inception network the measure is known as kernel
# inception distance {cite:p}`binkowski2018demystifying`; our features come from another network. It is preferred to the better known Fréchet
# distance because that is biased in small samples. The classes are compared separately and averaged in proportion to their people, where
# there are three on each side: the expectation for two random groups of people is then zero, also for groups stratified by class. The
# distance of synthetic images to *their own sources*, where the same people are on both sides and $i \neq j$ in the last mean, too, is more precise, because differences between
# people cancel out.
#
# *Precision* is the share of synthetic images within reach of some real image, *recall* the share of real images within reach of some
# synthetic image {cite:p}`kynkaanniemi2019improved`; *density* and *coverage* are more robust versions, which count how many real images
# reach a synthetic image, and how many real images reach any {cite:p}`naeem2020reliable`. An image reaches as far as its fifth nearest
# neighbour, here among other people's images. *Diversity* is measured by the mean multi-scale structural similarity
# {cite:p}`wang2003multiscale` of several synthetic images of one source, or for the people themselves of neighbouring slices: 1 means that all are the
# same, and lower values mean more diversity. *Label consistency* is the share of synthetic images to which a classifier trained on the people
# outside the sample gives their label; it says little where that classifier is weak, so it is to be read beside its value for the sources themselves. Last, a network is trained to
# tell synthetic images from images of people and evaluated on other people by the area under its curve: 0.5 is chance. Intervals resample people (95 %), not slices.
# They do not cover the training of the networks that measure.
#
# Neighbouring slices of one head are the most similar pairs of images of people. The correlation that 95 % of the neighbours in the sample do
# not exceed is the bound above which a synthetic image counts as a *near copy*, and the filter of that name would drop it.
#
# The features come from the thesis's CNN, trained on phantoms, so that it was trained on none of the people compared. They are no Inception
# features, and the distance is called by its own name for that reason.

# %% [markdown]
# ## In the thesis's dataset
#
# {numref}`tab-fidelity` is of the thesis's dataset, and comes from the record. The sample is the one that the study's first
# simulation draws under the subject protocol: 30 % of the training people of one fold. Everybody else is the standard of comparison. The
# table's first column compares the sample itself, people against other people, which is the mark to measure a generator by. {glue:text}`record_note:s`

# %% tags=["hide-input"]
record = load_tables("fidelity").get("fidelity")
if record is not None:
    overall = record[record["class"] == ALL_CLASSES]
    texts = [estimate_text(row.value, row.low, row.high) for row in overall.itertuples()]
    shown = overall.assign(text=texts).pivot(index="measure", columns="generator", values="text")
    columns = [REAL, "duplicate", "morph", "simulated", "diffusion"]
    shown = shown.loc[[*MEASURES], columns].rename(index=MEASURES, columns={REAL: "sample itself"})
    costs = overall[overall["measure"] == "seconds"].set_index("generator")["value"]
    shown.loc["seconds to fit and to make the images"] = ["–", *(f"{costs[name]:.0f}" for name in columns[1:])]
    shown = shown.reset_index(names="measure")
caption = "Fidelity in the thesis's dataset, with 95 % intervals over people. For the sample itself: neighbouring slices for the correlation with the source and MS-SSIM, the people outside it for the nearest training image."
numbered_table(ABSENT if record is None else shown, caption, "tab-fidelity")

# %% tags=["remove-cell"]
said = dict.fromkeys(("answer", "sample", "others"), "–")
if record is not None:
    found = overall.set_index(["generator", "measure"])
    sizes = found["n_people"].loc[REAL]
    auc = [
        f"{name} {estimate_text(*found.loc[(name, 'auc'), ['value', 'low', 'high']], '.2f')}" for name in columns[1:]
    ]
    copies = [f"{name} {100 * found['value'][name, 'near_copies']:.1f} %" for name in columns[1:]]
    said = {"sample": f"{sizes['consistency']:.0f}", "others": f"{sizes['near_copies']:.0f}",
            "answer": f"The area under the curve of a network that looks for synthetic images is {', '.join(auc)}; "
            f"the shares of near copies are {', '.join(copies)}."}  # fmt: skip
glue_values(
    record_note="The record's table is missing from this copy." if record is None else "",
    **{f"record_{name}": text for name, text in said.items()},
)

# %% [markdown]
# The generators were fitted on the whole sample, and the images that they made for {glue:text}`record_sample:s` of its people are measured;
# {glue:text}`record_others:s` people are outside it. {glue:text}`record_answer:s`
#
# Precision and density say whether the images lie where people are, recall and coverage how much of the people's variety they reach. The distance to the
# sources isolates the generator, since the same people are on both sides. Label consistency means little by itself: where the first column is near the share of the
# most frequent class, the classifier that judges knows little about the labels.
#
# How the tissue of phantoms and of simulated people differs from that of real people, grade by grade, is shown in
# {ref}`chapter 2 <sec-phantoms-real>`.
#
# ## In the images of this copy
#
# The rest of this appendix is of the images of this copy of the book, which are phantoms unless it was made from a dataset. The diffusion model
# is fine-tuned for {glue:text}`copy_steps:d` steps here, not for 1,800 as in a study, so its images are hazier than they need to be.

# %% tags=["remove-cell"]
names = [name.strip() for name in generators.split(",")]
known = bool((image_set.subjects >= 0).all())  # where people are unknown, images are drawn and count as people
groups = image_set.subjects.numpy() if known else None
chosen = stratified_sample(image_set.labels.numpy(), real_frac, seed=seed, subjects=groups)
training, others = image_set[chosen], image_set[np.setdiff1d(np.arange(len(image_set)), chosen)]
bank = Bank(provenance.artifacts("bank"), max_usd=max_usd)
fitted, candidates, seconds, usd, refusals = {}, {}, {}, {}, []
quick = {"diffusion": {"config": {"n_steps": diffusion_steps}}, "simulated": {"n_people": 24}}
for name in names:
    start, spent = time.perf_counter(), bank.account().usd
    generator = make_generator(name, **quick.get(name, {}))
    if not generator.reproducible:
        generator = BankedGenerator.of(generator, bank, image_set)
    fitted[name] = fit_generator(generator, training.images, training.labels, training.subjects, seed=seed)
    try:
        candidates[name] = make_candidate(fitted[name], training, seed=seed)
    except RefusedVariationsError as refused:  # each measure would need the missing images
        refusals.append(f"{name} is left out: {refused}")
    seconds[name], usd[name] = time.perf_counter() - start, bank.account().usd - spent

# %% tags=["remove-cell"]
names = [*candidates]
n_people, n_others = (len(separate_images(part).subjects.unique()) for part in (training, others))
glue_values(
    copy_steps=diffusion_steps,
    fidelity_training=len(training),
    fidelity_people=n_people,
    fidelity_others=len(others),
    fidelity_other_people=n_others,
    fidelity_refused=" ".join(refusals),
    fidelity_unknown="" if known else "The people are unknown, so that every image counts as one.",
)

# %% [markdown]
# Here the sample has {glue:text}`fidelity_training:d` slices of {glue:text}`fidelity_people:d` people, and outside it are
# {glue:text}`fidelity_others:d` slices of {glue:text}`fidelity_other_people:d`. {glue:text}`fidelity_unknown:s`
# {glue:text}`fidelity_refused:s`
#
# ### Side by side
#
# {numref}`fig-side-by-side` shows a source of each class, the image that every generator made for it, and, of the variations, their difference. Where a
# generator moves anatomy, differences are pairs of
# thin lines of opposite colours along edges; where it generates texture, they are spread over the whole image.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A source of each class, the image that each generator made for it, and the difference between variation and source (red is brighter than the source, blue darker). Duplicates differ in nothing, and simulated people have no source.", "name": "fig-side-by-side"}, "image": {"alt": "Columns of a source and the images made from it: morph moves edges, diffusion changes texture everywhere, simulated shows another head"}}
labels = training.labels.numpy()
rows = [int(np.flatnonzero(labels == c)[(labels == c).sum() // 2]) for c in range(training.n_classes)]
sources = training.images[rows, 0].numpy()
sheet = [figures.SheetRow("source", sources, titles=training.class_names)]
for name, candidate in candidates.items():
    made = candidate.variations[rows, 0].numpy()
    sheet.append(figures.SheetRow(name, made))
    if name != "duplicate" and not getattr(fitted[name], "makes_people", False):
        sheet.append(figures.SheetRow("difference", made.astype(int) - sources))
_ = figures.plot_sheet(sheet)

# %% [markdown]
# ### New images or copies
#
# {numref}`fig-likeness` compares neighbouring slices of one head with each synthetic image and its source. The line is the bound of near copies.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Pixel correlation of synthetic images with their sources, of neighbouring slices of one person, and of slices of people outside the sample with the nearest training image. Each curve shows the percentage of images up to a correlation.", "name": "fig-likeness"}, "image": {"alt": "Distribution of the similarity of synthetic images to their sources, beside that of neighbouring slices and of other people"}}
people = real_similarity(others, training)
curves = {"neighbouring slices of one person": people.source, "other people, nearest training image": people.nearest}
likeness = {name: memorisation(candidate.variations, training) for name, candidate in candidates.items()}
curves |= {f"{name} and its source": found.source for name, found in likeness.items()}
_ = figures.plot_correlations(curves, threshold=people.threshold, cumulative=True, note="near copies →")

# %% tags=["remove-cell"]
config = TrainConfig(epochs=epochs)
if feature_weights == "none":
    simulated = load_images("phantom", n_subjects=22, seed=seed + 1)
    network = domain_network(simulated, seed=seed, name="slices of phantoms", config=config)
else:
    network = imagenet_network(feature_weights)
detector = replace(DETECTOR_CONFIG, epochs=epochs)
table = fidelity_table(candidates, training, others, network=network, seed=seed, config=detector)

# %% tags=["hide-input"]
overall = table[table["class"] == ALL_CLASSES]
texts = [estimate_text(row.value, row.low, row.high) for row in overall.itertuples()]
shown = overall.assign(text=texts).pivot(index="measure", columns="generator", values="text")
shown = shown.loc[list(MEASURES), [REAL, *names]].rename(index=MEASURES)
shown.columns = ["sample itself", *names]
people = f"{n_people} people of the sample, {n_others} outside it"
caption = f"Fidelity in the images of this copy, with 95 % intervals over people ({people}). Features: {network.name}. Columns and rows as in the table of the thesis's dataset."
numbered_table(shown.reset_index(names="measure"), caption, "tab-fidelity-copy")

# %% [markdown]
# {numref}`tab-fidelity-copy` gives all measures, and {numref}`fig-fidelity` six by class. So few people decide little: the intervals are wide.
# A class with fewer than two people on a side has no distance, and with fewer than three no interval.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Six measures by class, of the people of the sample (real) and of each generator, in the images of this copy. Bars are 95 % intervals over people.", "name": "fig-fidelity"}, "image": {"alt": "Six measures of every generator by class, beside those of the people of the sample; most intervals overlap"}}
figure, axes = plt.subplots(2, 3, figsize=(PAGE_WIDTH, 5.4), sharey=True, layout="constrained")
for ax, measure in zip(
    axes.flat, ("mmd_sources", "coverage", "ms_ssim", "nearest_similarity", "consistency", "auc"), strict=True
):
    rows = table[table["measure"] == measure].replace({"generator": {REAL: "sample itself"}})
    rows = rows.rename(columns={"class": "condition", "generator": "group"})
    figures.plot_forest(rows, x_label="", ax=ax).set_title(fill(MEASURES[measure], 24), fontsize=9, fontweight="normal")
handles, legend = axes[0, 0].get_legend_handles_labels()
_ = figure.legend(handles, legend, loc="outside lower center", ncols=len(legend))

# %% tags=["hide-input"]
values = table[(table["class"] != ALL_CLASSES) & (table["generator"] != REAL)]
by_class = values.pivot(index=["generator", "class"], columns="measure", values="value")
by_class = by_class[["mmd_sources", "precision", "recall", "coverage", "near_copies"]]
by_class = by_class.reindex([(name, c) for name in names for c in training.class_names]).reset_index()
by_class = by_class.rename(columns=MEASURES | {"mmd_sources": "MMD to sources"})
numbered_table(
    by_class, "Some measures by class in the images of this copy, without their intervals.", "tab-fidelity-class"
)

# %% [markdown]
# No measure shows whether a structure that was moved or generated is one that disease would change, or whether a physician would find
# it plausible. No physician has examined these images.
#
# ### Generation cards
#
# One card per generator states where its images come from and what they must not be used for.

# %% tags=["hide-input"]
for name in names:
    card = generation_card(fitted[name], candidates[name], training, seconds=seconds[name], usd=usd[name])
    display(numbered_table(card, f"Generation card of {name}.", f"tab-card-{name}"))

# %% [markdown]
# ## What follows
#
# Realism and usefulness are different: a perfect copy passes every test of realism and adds nothing.
# Usefulness is tested by the comparison with duplicates in {numref}`Chapter %s <ch-results>`.

# %% tags=["remove-cell"]
likely = [f"{name} {100 * found.near_copies.mean():.1f} %" for name, found in likeness.items()]
glue_values(
    fidelity_answer=said["answer"] if record is not None else f"The shares of near copies are {', '.join(likely)}."
)

# %% tags=["remove-cell"]
assert not set(training.source_ids.tolist()) & set(others.source_ids.tolist())
assert not known or not set(training.subjects.tolist()) & set(others.subjects.tolist())
assert len(table) == (1 + len(names)) * (1 + training.n_classes) * len(MEASURES)
