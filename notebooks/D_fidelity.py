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
# Could a variation be taken for a slice of a person who was really scanned? Are the variations of one source any
# different from each other? And are they new, or copies of what the generator was shown?

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
n_subjects: int = 22  # people to simulate or keep; 0 is everyone
generators: str = "morph,duplicate"  # names of generators, with commas between
real_frac: float = 0.3  # share of the training images that generators are fitted on, in (0, 1]
feature_weights: str = "none"  # "none": a network of our own; "imagenet", or the path of such weights
max_usd: float = 0.0  # dollars that variations of a paid service may cost in all; they are kept in a bank
epochs: int = 3  # passes over the images by the networks that measure
seed: int = 0

# %% tags=["hide-input"]
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from mri_aug import fidelity, provenance
from mri_aug.book import figures
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.data.sampling import stratified_sample
from mri_aug.data.splits import split
from mri_aug.fidelity.realism import DETECTOR_CONFIG
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
# People are divided once, by the subject protocol. Each generator is fitted on a stratified sample of the training people's images, as in
# {numref}`Chapter %s <ch-results>`, and makes one variation of every image in it. The people held out, whom no generator has seen, are
# about two fifths here, twice as many as there, since they are halved: one half is the *reference*, the other the *yardstick*. What sets one group of real people apart from another is no
# fault of a generator, so each measure is read against the yardstick's. For the distances between groups a generator is represented by
# variations of as many people, in the same classes, as the yardstick has. The generator *duplicate*, which returns its sources, marks the other end: it
# is perfectly real and has nothing new.

# %% tags=["hide-input"]
divided = split(image_set, "subject", seed=seed, fold=(0, 1))
held_out = image_set[np.sort(np.concatenate([divided.validation, divided.test]))]
training, held_out = [
    part[stratified_sample(part.labels.numpy(), real_frac, seed=seed)] for part in (image_set[divided.train], held_out)
]
parts = fidelity.divide(training, held_out, seed=seed)
bank = Bank(provenance.artifacts("bank"), max_usd=max_usd)
fitted, candidates, seconds, usd = {}, {}, {}, {}
for name in names:
    start, spent = time.perf_counter(), bank.account().usd
    generator = make_generator(name)
    if not generator.reproducible:
        generator = BankedGenerator.of(generator, bank, image_set)
    fitted[name] = fit_generator(generator, training.images, training.labels, training.subjects, seed=seed)
    candidates[name] = fidelity.make_candidate(fitted[name], parts, seed=seed)
    seconds[name], usd[name] = time.perf_counter() - start, bank.account().usd - spent

# %% tags=["remove-cell"]
glue_values(
    fidelity_training=len(training),
    fidelity_people=len(training.subjects.unique()),
    fidelity_matched=len(parts.training[parts.matched].subjects.unique()),
    fidelity_yardstick=len(parts.yardstick),
    fidelity_yardstick_people=len(parts.yardstick.subjects.unique()),
    fidelity_reference=len(parts.reference),
    fidelity_reference_people=len(parts.reference.subjects.unique()),
)

# %% [markdown]
# Here the generators know {glue:text}`fidelity_training:d` slices of {glue:text}`fidelity_people:d` people. The yardstick is
# {glue:text}`fidelity_yardstick:d` slices of {glue:text}`fidelity_yardstick_people:d` people and the reference
# {glue:text}`fidelity_reference:d` slices of {glue:text}`fidelity_reference_people:d`.
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
# Neighbouring slices of one head are the most alike that two images can be of which neither was made from the other. {numref}`fig-likeness`
# compares them with each variation and its source. The line marks the correlation that 95 % of the neighbours in the training sample do not exceed; above
# it a variation counts as a near copy, and the filter of the same name would drop it. Neighbours fall in two groups where the sample took
# some slices that lie side by side and others that do not.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Pixel correlation of variations with their sources, of neighbouring slices of one person, and of slices of people held out with the nearest training image. Each curve tells how many per cent of the images are at most so similar.", "name": "fig-likeness"}, "image": {"alt": "Distribution of the similarity of variations to their sources, beside that of neighbouring slices and of other people"}}
real = fidelity.memorisation_yardstick(held_out, training)
curves = {"neighbouring slices of one person": real.source, "other people, nearest training image": real.nearest}
likeness = {name: fidelity.memorisation(candidate.variations, training) for name, candidate in candidates.items()}
curves |= {f"{name} and its source": found.source for name, found in likeness.items()}
_ = figures.plot_similarities(curves, threshold=real.threshold)

# %% [markdown]
# ## The measures
#
# With $x$ and $y$ the features that a network gives two sets of images, and $k(x, y) = (x^\top y / d + 1)^3$ for $d$ features, the *kernel inception
# distance* {cite:p}`binkowski2018demystifying` is the squared maximum mean discrepancy {cite:p}`gretton2012kernel`
#
# $$
# \mathrm{KID} = \mathop{\mathrm{mean}}_{i \not\sim j} k(x_i, x_j) + \mathop{\mathrm{mean}}_{i \not\sim j} k(y_i, y_j) - 2 \mathop{\mathrm{mean}}_{i, j} k(x_i, y_j) .
# $$ (eq-kid)
#
# It is preferred to the better known Fréchet distance because that is biased in small samples. The usual estimate leaves out
# the pairs of an image with itself. Ours leaves out all pairs of one *person* ($i \sim j$), whose slices
# are so alike that any two groups of people would otherwise look different; its expectation between two groups of the
# same population is zero. People differ so much that this distance is uncertain; that of variations to *their own sources*, where the same people are
# on both sides, shows the hand of the generator far better.
#
# *Precision* is the share of variations within reach of some real image, *recall* the share of real images within reach of some
# variation {cite:p}`kynkaanniemi2019improved`; *density* and *coverage* are their sturdier kin, which count how many real images reach a
# variation, and how many real images reach one at all {cite:p}`naeem2020reliable`. An image reaches as far as its fifth nearest
# neighbour, here among other people's images. *Diversity* is read off the mean multi-scale structural similarity {cite:p}`wang2003multiscale` of
# several variations of one source, or for the yardstick of neighbouring slices: 1 means that all are the same, and the lower it is, the more they differ. *Label consistency* is the share of variations to which a classifier gives their label
# although it never saw their source's person; for the yardstick, of the sources themselves. Last, a network is trained to tell real from synthetic and judged on people new to it, by the area under
# its curve: at 0.5 it has found nothing. Intervals resample people (95 %), not slices.

# %% tags=["hide-input"]
config = TrainConfig(epochs=epochs)
if feature_weights == "none":
    network = fidelity.domain_network(parts.others, seed=seed, config=config)
else:
    network = fidelity.imagenet_network(feature_weights)
detector = replace(DETECTOR_CONFIG, epochs=epochs)
table = fidelity.fidelity_table(candidates, parts, network=network, seed=seed, config=detector)

# %% tags=["hide-input"]
overall = table[table["class"] == fidelity.ALL_CLASSES]
texts = [estimate_text(row.value, row.low, row.high) for row in overall.itertuples()]
shown = overall.assign(text=texts).pivot(index="measure", columns="generator", values="text")
shown = shown.loc[list(fidelity.MEASURES), [fidelity.YARDSTICK, *names]].rename(index=fidelity.MEASURES)
shown.columns = ["real people", *names]
caption = f"Fidelity with 95 % intervals over people. Features: {network.name}. Real people: another half of those held out; for correlation with the source and MS-SSIM, neighbouring slices; for label consistency, the sources."
numbered_table(shown.reset_index(names="measure"), caption, "tab-fidelity")

# %% [markdown]
# {numref}`tab-fidelity` gives all of them, and {numref}`fig-fidelity` six by class. A class of few people has wide intervals, and where there are not two people
# on each side no distance is defined.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Six measures by class. Black: real people, the yardstick; colours: generators. Bars are 95 % intervals over people.", "name": "fig-fidelity"}, "image": {"alt": "Six measures of every generator by class, beside those of real people"}}
figure, axes = plt.subplots(2, 3, figsize=(PAGE_WIDTH, 5.4), sharey=True, layout="constrained")
for ax, measure in zip(
    axes.flat, ("kid_sources", "coverage", "ms_ssim", "nearest_similarity", "consistency", "auc"), strict=True
):
    figures.plot_fidelity(table, measure, title=fidelity.MEASURES[measure], ax=ax)
handles, legend = axes[0, 0].get_legend_handles_labels()
_ = figure.legend(handles, legend, loc="outside lower center", ncols=len(legend))

# %% tags=["hide-input"]
values = table[(table["class"] != fidelity.ALL_CLASSES) & (table["generator"] != fidelity.YARDSTICK)]
by_class = values.pivot(index=["generator", "class"], columns="measure", values="value")
by_class = by_class[["kid_sources", "precision", "recall", "coverage", "near_copies"]]
by_class = by_class.reindex([(name, c) for name in names for c in training.class_names]).reset_index()
by_class = by_class.rename(columns=fidelity.MEASURES | {"kid_sources": "KID to sources"})
numbered_table(by_class, "Some measures by class, without their intervals.", "tab-fidelity-class")

# %% [markdown]
# ## Strengths and failures
#
# {numref}`tab-verdicts` is written by the program from the measures. A generator is called worse than real people where
# its interval and theirs do not overlap; where they do, the images may still differ, and a larger sample might show it.

# %% tags=["hide-input"]
columns = {"generator": names, "what speaks for it": [fidelity.strengths(table, name) for name in names]}
verdicts = pd.DataFrame(columns | {"what speaks against it": [fidelity.failures(table, name) for name in names]})
numbered_table(verdicts, "Each generator against real people, its value and theirs in brackets.", "tab-verdicts")

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
            f"The area under the curve of a network that hunts for {name} is {row['value']:.2f}"
            f" {interval_text(row['low'], row['high'], '.2f')}."
            for name, row in auc.iterrows()
        )
    ),
)

# %% [markdown]
# What no measure here sees: whether a structure that was moved or drawn is one that disease would change, and whether a physician would believe it.
# No physician has looked at these images.
#
# ## Generation cards
#
# One card per generator tells where its images come from and what they are not for.

# %% tags=["hide-input"]
for name in names:
    card = fidelity.generation_card(fitted[name], candidates[name], parts, seconds=seconds[name], usd=usd[name])
    display(numbered_table(card, f"Generation card of {name}.", f"tab-card-{name}"))

# %% [markdown]
# ## What follows
#
# {glue:text}`fidelity_answer:s` Looking real and being useful are two things: a perfect copy passes every test of looks and adds nothing. The test of use is the comparison with
# duplicates in {numref}`Chapter %s <ch-results>`.

# %% tags=["hide-input"]
assert not set(training.subjects.tolist()) & set(held_out.subjects.tolist())
assert len(table) == (1 + len(names)) * (1 + training.n_classes) * len(fidelity.MEASURES)
