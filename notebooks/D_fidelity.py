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
# Could a variation be a slice of a person who was really scanned? Do the variations of one source differ from each other? And are they
# new, or copies of the training images?

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
n_subjects: int = 22  # people to simulate or keep; 0 is everyone
generators: str = "morph,duplicate"  # names of generators, with commas between
real_frac: float = 0.4  # share of the people that generators are fitted on, in (0, 1)
feature_weights: str = "none"  # "none": a network trained on simulated people; "imagenet", or the path of such weights
max_usd: float = 0.0  # dollars that variations of a paid service may cost in all; they are kept in a bank
epochs: int = 3  # passes over the images by the networks that measure
seed: int = 0

# %% tags=["hide-input"]
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from mri_aug import fidelity, provenance
from mri_aug.book import figures
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.data.sampling import stratified_sample
from mri_aug.fidelity.realism import DETECTOR_CONFIG
from mri_aug.fidelity.similarity import memorisation, real_similarity
from mri_aug.fidelity.table import ALL_CLASSES, REAL
from mri_aug.generators.bank.bank import Bank, BankedGenerator
from mri_aug.generators.base import fit_generator, make_generator
from mri_aug.models.training import TrainConfig
from mri_aug.results.sentences import estimate_text, interval_text

use_book_style(image_format="png")
image_set = load_images(dataset, n_subjects=n_subjects or None, seed=seed)
names = [name.strip() for name in generators.split(",")]

# %% [markdown]
# ## What is compared with what
#
# A stratified sample of the people, with all their slices, is what each generator is fitted on, and it makes one variation of every slice of the sample.
# Everyone outside the sample is the standard of comparison. Two groups of real people differ, too, and that is no fault of a generator. The sample is
# therefore compared with the people outside it twice: as it is, real people against real people, and as each generator's variations. Both
# comparisons are of the same people, so what sets them apart is the generator. The generator *duplicate*, which returns its sources, marks one
# end: it is perfectly real and has nothing new.

# %% tags=["hide-input"]
known = bool((image_set.subjects >= 0).all())  # where people are unknown, images are drawn and count as people
groups = image_set.subjects.numpy() if known else None
chosen = stratified_sample(image_set.labels.numpy(), real_frac, seed=seed, subjects=groups)
training, others = image_set[chosen], image_set[np.setdiff1d(np.arange(len(image_set)), chosen)]
bank = Bank(provenance.artifacts("bank"), max_usd=max_usd)
fitted, candidates, seconds, usd = {}, {}, {}, {}
for name in names:
    start, spent = time.perf_counter(), bank.account().usd
    generator = make_generator(name)
    if not generator.reproducible:
        generator = BankedGenerator.of(generator, bank, image_set)
    fitted[name] = fit_generator(generator, training.images, training.labels, training.subjects, seed=seed)
    candidates[name] = fidelity.make_candidate(fitted[name], training, seed=seed)
    seconds[name], usd[name] = time.perf_counter() - start, bank.account().usd - spent

# %% tags=["remove-cell"]
glue_values(
    fidelity_training=len(training),
    fidelity_people=len(training.subjects.unique()),
    fidelity_others=len(others),
    fidelity_other_people=len(others.subjects.unique()),
)

# %% [markdown]
# Here the sample has {glue:text}`fidelity_training:d` slices of {glue:text}`fidelity_people:d` people, and outside it are
# {glue:text}`fidelity_others:d` slices of {glue:text}`fidelity_other_people:d`.
#
# ## Seen side by side
#
# {numref}`fig-side-by-side` shows a source of each class, its variation by every generator, and what was changed. Where a generator moves anatomy, differences are pairs of
# thin lines of opposite colours along edges; where it invents texture, they are speckled all over.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A source of each class, a variation of it by each generator, and the difference between the two (red: brighter than the source, blue: darker).", "name": "fig-side-by-side"}, "image": {"alt": "A source of each class, a variation of it by each generator, and the difference between the two"}}
labels = training.labels.numpy()
rows = [int(np.flatnonzero(labels == c)[(labels == c).sum() // 2]) for c in range(training.n_classes)]
_ = figures.plot_variations(
    training.images[rows, 0].numpy(),
    {name: candidate.variations[rows, 0].numpy() for name, candidate in candidates.items()},
    row_labels=training.class_names,
)

# %% [markdown]
# ## New images, or copies?
#
# Neighbouring slices of one head are as similar as two images can be of which neither derives from the other. {numref}`fig-likeness`
# compares them with each variation and its source. The line marks the correlation that 95 % of the neighbours in the sample do not exceed; above
# it a variation counts as a near copy, and the filter of the same name would drop it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Pixel correlation of variations with their sources, of neighbouring slices of one person, and of slices of people outside the sample with the nearest training image. Each curve gives the percentage of images that are at most so similar.", "name": "fig-likeness"}, "image": {"alt": "Distribution of the similarity of variations to their sources, beside that of neighbouring slices and of other people"}}
real = real_similarity(others, training)
curves = {"neighbouring slices of one person": real.source, "other people, nearest training image": real.nearest}
likeness = {name: memorisation(candidate.variations, training) for name, candidate in candidates.items()}
curves |= {f"{name} and its source": found.source for name, found in likeness.items()}
_ = figures.plot_similarities(curves, threshold=real.threshold)

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
# Here $i$ and $j$ are people, and $k$ of two people is the mean over their pairs of slices: slices of one person are so similar that any two groups
# of people would otherwise look different. With this kernel and features of the Inception network the measure is known as kernel inception
# distance {cite:p}`binkowski2018demystifying`; our features come from another network. It is preferred to the better known Fréchet distance because that is biased in small
# samples. The classes are compared separately and averaged by their people, where there are three on each side: then the
# expectation between two random groups of people is zero, also if the groups were stratified by class. The distance of variations to *their own sources*, where
# the same people are on both sides, is more precise, because differences between people cancel out.
#
# *Precision* is the share of variations near some real image, *recall* the share of real images near some
# variation {cite:p}`kynkaanniemi2019improved`; *density* and *coverage* are more robust versions, which count how many real images a
# variation is near to, and how many real images have a variation near them {cite:p}`naeem2020reliable`. An image's neighbourhood ends at its fifth nearest
# neighbour, here among other people's images. *Diversity* is measured by the mean multi-scale structural similarity {cite:p}`wang2003multiscale` of
# several variations of one source, or for real people of neighbouring slices: 1 means that all are the same. *Label consistency* is the share of variations to which a classifier trained on the people outside
# the sample gives their label; for real people, of the sources themselves. Last, a network is trained to separate real from synthetic images and judged on other
# people by the area under its curve: at 0.5 it has found nothing. Intervals resample people (95 %), not slices.
#
# The features come from the thesis's CNN, trained on simulated people, so that it knows none of the people who are compared.

# %% tags=["hide-input"]
config = TrainConfig(epochs=epochs)
if feature_weights == "none":
    simulated = load_images("phantom", n_subjects=22, seed=seed + 1)
    network = fidelity.domain_network(simulated, seed=seed, name="slices of simulated people", config=config)
else:
    network = fidelity.imagenet_network(feature_weights)
detector = replace(DETECTOR_CONFIG, epochs=epochs)
table = fidelity.fidelity_table(candidates, training, others, network=network, seed=seed, config=detector)

# %% tags=["hide-input"]
overall = table[table["class"] == ALL_CLASSES]
texts = [estimate_text(row.value, row.low, row.high) for row in overall.itertuples()]
shown = overall.assign(text=texts).pivot(index="measure", columns="generator", values="text")
shown = shown.loc[list(fidelity.MEASURES), [REAL, *names]].rename(index=fidelity.MEASURES)
shown.columns = ["real people", *names]
people = f"{len(training.subjects.unique())} people of the sample, {len(others.subjects.unique())} outside it"
caption = f"Fidelity with 95 % intervals over people ({people}). Features: {network.name}. Real people: the sources themselves; for correlation with the source and MS-SSIM, neighbouring slices; for the nearest training image, the people outside the sample."
numbered_table(shown.reset_index(names="measure"), caption, "tab-fidelity")

# %% [markdown]
# {numref}`tab-fidelity` gives all of them, and {numref}`fig-fidelity` six by class. A class of few people has wide intervals; with fewer than two people
# on a side it has no distance, and with fewer than three no interval.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Six measures by class. Black: real people; colours: generators. Bars are 95 % intervals over people.", "name": "fig-fidelity"}, "image": {"alt": "Six measures of every generator by class, beside those of real people"}}
figure, axes = plt.subplots(2, 3, figsize=(PAGE_WIDTH, 5.4), sharey=True, layout="constrained")
for ax, measure in zip(
    axes.flat, ("mmd_sources", "coverage", "ms_ssim", "nearest_similarity", "consistency", "auc"), strict=True
):
    figures.plot_fidelity(table, measure, title=fidelity.MEASURES[measure], ax=ax)
handles, legend = axes[0, 0].get_legend_handles_labels()
_ = figure.legend(handles, legend, loc="outside lower center", ncols=len(legend))

# %% tags=["hide-input"]
values = table[(table["class"] != ALL_CLASSES) & (table["generator"] != REAL)]
by_class = values.pivot(index=["generator", "class"], columns="measure", values="value")
by_class = by_class[["mmd_sources", "precision", "recall", "coverage", "near_copies"]]
by_class = by_class.reindex([(name, c) for name in names for c in training.class_names]).reset_index()
by_class = by_class.rename(columns=fidelity.MEASURES | {"mmd_sources": "MMD to sources"})
numbered_table(by_class, "Some measures by class, without their intervals.", "tab-fidelity-class")

# %% [markdown]
# ## Strengths and failures
#
# {numref}`tab-verdicts` lists by which measures a generator is worse than real people: its interval and theirs do not overlap. Distance to the
# sources and area under the curve are compared with their known values 0 and 0.5. Where intervals overlap the images may still differ, and a larger sample might show it.

# %% tags=["hide-input"]
verdicts = fidelity.compared_with_real(table).rename(index=fidelity.MEASURES).reset_index(names="measure")
numbered_table(verdicts, "Where each generator is worse than real people.", "tab-verdicts")

# %% tags=["remove-cell"]
copies = {name: 100 * float(found.near_copies.mean()) for name, found in likeness.items()}
fewest = min(copies, key=copies.get)
auc = overall[overall["measure"] == "auc"].set_index("generator").loc[names]
glue_values(
    fidelity_answer=(
        f"Of the generators compared here, {fewest} makes the fewest near copies ({copies[fewest]:.1f} % of its variations)"
        + (f", {max(copies, key=copies.get)} the most ({max(copies.values()):.1f} %)" if len(names) > 1 else "")
        + ". "
        + " ".join(
            f"A classifier of real against {name} images reaches an area under the curve of {row['value']:.2f}"
            f" {interval_text(row['low'], row['high'], '.2f')}."
            for name, row in auc.iterrows()
        )
    ),
)

# %% [markdown]
# No measure here shows whether a structure that was moved or drawn is one that disease would change, or whether a physician would believe it.
# No physician has looked at these images.
#
# ## Generation cards
#
# One card per generator says where its images come from and what they are not for.

# %% tags=["hide-input"]
for name in names:
    card = fidelity.generation_card(fitted[name], candidates[name], training, seconds=seconds[name], usd=usd[name])
    display(numbered_table(card, f"Generation card of {name}.", f"tab-card-{name}"))

# %% [markdown]
# ## What follows
#
# {glue:text}`fidelity_answer:s` To look real is not to be useful: a duplicate passes every test of realism and adds nothing. The test of use is the comparison with
# duplicates in {numref}`Chapter %s <ch-results>`.

# %% tags=["hide-input"]
assert not set(training.source_ids.tolist()) & set(others.source_ids.tolist())
assert not known or not set(training.subjects.tolist()) & set(others.subjects.tolist())
assert len(table) == (1 + len(names)) * (1 + training.n_classes) * len(fidelity.MEASURES)
