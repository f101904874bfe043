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
# (ch-methodology)=
# # Methodology
#
# Two ways of enlarging a small training set are compared: transforming its images on the fly, and adding synthetic ones. This chapter
# describes both, what is kept equal between the training sets that are compared, and how the uncertainty of a difference is measured.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people in the study; 0 is everyone
real_frac: float = 0.3  # X: share of the training images that is real, in (0, 1)
seed: int = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch

from mri_aug.book import figures
from mri_aug.book.diagrams import plot_generation_policy
from mri_aug.book.report import glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.data.splits import split
from mri_aug.models.networks import CNN, highest_learning_rate
from mri_aug.models.training import TrainConfig
from mri_aug.policies.notes import POLICY_DRAWS, POLICY_NOTES
from mri_aug.policies.registry import POLICIES, make_policy
from mri_aug.study.conditions import thesis_arms
from mri_aug.study.simulation import Seeds, assemble

use_book_style(image_format="png")
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=n_subjects or None, seed=seed
)
seeds = Seeds.of(seed, 0)
training = image_set[split(image_set, "image", seed=seeds.split).train]

# %% [markdown]
# {numref}`fig-mix` shows one simulation at a glance. The first section below is about its third step, the second
# about the others.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One simulation. Counts are those of this copy of the book.", "name": "fig-mix"}, "image": {"alt": "One simulation"}}
mixed_arm = thesis_arms(real_frac)[2]
arm = assemble(mixed_arm, training, seeds)
shown = [int(arm.variations.labels.eq(c).nonzero()[3]) for c in (0, 1, 2)]
varied = [int(arm.real.source_ids.eq(arm.variations.source_ids[row]).nonzero()[0]) for row in shown]
_ = plot_generation_policy(
    arm.real.images[varied, 0].numpy(),
    arm.variations.images[shown, 0].numpy(),
    n_full=len(training),
    n_real=len(arm.real),
    n_synthetic=len(arm.variations),
)

# %% [markdown]
# ## Traditional Image Augmentation Policies
#
# A *policy* transforms each training image anew every time that it is used. It adds no images and no training steps; it makes every epoch
# different. Augmentation by simple transformations has been standard since
# the first large convolutional networks {cite:p}`krizhevsky2012imagenet,shorten2019survey`, and reviews of medical imaging find
# that it helps more often than not {cite:p}`chlap2021review`. What counts as harmless, however, depends on the question.
# Turning a photograph of a cat upside down leaves a cat; scaling a brain changes the apparent size of the very
# cavities that the diagnosis rests on.
#
# {numref}`tab-policies` lists the policies of this project. The automated ones share a pool of operations on photographs: shear, shift,
# rotation, brightness, contrast, sharpness, and cruder ones that reduce, invert or stretch
# grey values. (One on colours is left out, which grey images do not have.) AutoAugment applies pairs of them that a search on ImageNet found
# {cite:p}`cubuk2019autoaugment`. RandAugment and TrivialAugment need no search and draw single operations from the pool, each as
# often as any other {cite:p}`cubuk2020randaugment,muller2021trivialaugment`. AugMix averages several chains {cite:p}`hendrycks2020augmix`.
# Mixup and CutMix combine two images and their labels {cite:p}`zhang2018mixup,yun2019cutmix`. The ranges of the automated policies are torchvision's, meant
# for photographs. Values are drawn uniformly from the given range; zooms, exponents, factors and ratios log-uniformly.
# {numref}`fig-policies` shows one draw of each on the same slice.

# %% tags=["hide-input"]
notes = pd.DataFrame({"policy": POLICIES, "what it draws": [POLICY_DRAWS[name] for name in POLICIES],
                      "what it may do to a diagnosis": [POLICY_NOTES[name] for name in POLICIES]})  # fmt: skip
caption = "Augmentation policies, what each draws anew for every image that it sees, and what it may do to a diagnosis."
numbered_table(notes, caption, "tab-policies")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One draw of every policy on the same slice. For mixup and cutmix the partner is a slice of another class.", "name": "fig-policies"}, "image": {"alt": "One draw of every policy on the same slice"}}
pair = [int((training.labels == c).nonzero()[12]) for c in (0, 2)]
batch = training.images[pair].float() / 255
drawn = [
    make_policy(name)(batch, training.labels[pair], generator=torch.Generator().manual_seed(seed + 3))[0][0, 0]
    for name in POLICIES
]
pictures = (255 * torch.stack(drawn)).round().to(torch.uint8).numpy()
_ = figures.plot_sheet(
    [figures.SheetRow("", pictures[k : k + 6], titles=POLICIES[k : k + 6]) for k in range(0, len(POLICIES), 6)]
)

# %% [markdown]
# ### Deformation: `morph`
#
# One more transformation is used throughout, `morph`. Its images are made beforehand and added to the training set, so it stands among the generators, but it is no generative model. It
# learns no distribution, and it shows no tissue that its source lacks. What it does is registration-based augmentation: a slice is deformed towards other people's
# slices of its class {cite:p}`rueckert2003automatic`. For a source $x$, three partners are drawn without replacement among the {glue:text}`morph_neighbours:d` training
# images of its class and of other people that correlate most with it. $f_1$, $f_2$ and $f_3$ are the displacement fields that register $x$ to each
# {cite:p}`kroeger2016fast`, smoothed by a Gaussian of 2 pixels. At pixel $p$ the new image is
#
# $$
# v(p) = 255\, g \left( \frac{x(p + s\, u(p))}{255} \right)^{c},
# \qquad u = w\, \bigl( a f_1 + b_2 (f_2 - f_1) + b_3 (f_3 - f_1) + e \bigr) ,
# $$ (eq-morph)
#
# with the random draws
#
# $$
# a \sim \mathcal{U}(\alpha_1, \alpha_2), \quad b_2, b_3 \sim \mathcal{U}(-\beta, \beta), \quad
# \ln c \sim \mathcal{N}(0, \sigma_c^2), \quad \ln g \sim \mathcal{N}(0, \sigma_g^2), \quad e \sim \mathcal{N}(0, \sigma_e^2) .
# $$ (eq-morph-draws)
#
# That is a random point on the path to the first partner and a little off it, in directions in which real brains differ. The jitter $e$ is drawn on a grid of
# 5 × 5 points and interpolated. $w$ fades to zero over the outer 6 pixels, and $s \le 1$ is the largest of 1, 0.9, 0.81 and so on at which nothing
# folds: the Jacobian determinant of $p + s\,u(p)$ is at least {glue:text}`morph_jacobian:g` everywhere. Pixels are moved and never blended between
# images, so the results are as sharp as their sources. Where the sample holds no other person of the class, as with the moderately demented under the
# subject protocol, other slices of the same person take their place; where it holds no other image, $e$ alone is left. {numref}`tab-morph` gives the defaults.
#
# The defaults were chosen by eye and by sharpness, on variations of the whole dataset of 6,400 images, the people whom a study tests on
# included. No classifier's score was looked at, but the choice is not blind to those people.

# %% tags=["hide-input"]
from mri_aug.generators.morph import MorphGenerator

one = MorphGenerator()
glue_values(morph_neighbours=one.n_neighbours, morph_jacobian=one.min_jacobian)
draws = (
    f"a point {one.path[0]:g} to {one.path[1]:g} of the way to a partner (α), ±{one.around:g} towards two others (β), a jitter of {one.jitter:g} "
    f"pixels (σₑ), an exponent and a factor on the grey values (standard deviations of their logarithms: {one.contrast:g} and {one.gain:g})"
)
note = "Moves sulci and ventricles towards those of other people of the class, so what sets the class apart should stay; what sets the person apart does not."
row = pd.DataFrame({"deformation": ["morph"], "what it draws": [draws], "what it may do to a diagnosis": [note]})
numbered_table(
    row, "Morph beside the policies of the table above: what it draws for every image that it makes.", "tab-morph"
)

# %% [markdown]
# ## Synthetic Image Generation Policy
#
# Let $n$ be the number of training images. A fraction $X$ of them is kept as the *real sample*; the rest is treated as if it did not exist.
# A fraction $Y$, also of $n$, is added as synthetic images made from that sample. With
# $X + Y = 1$ the mixed set has exactly the size of the full one, class by class to within one image, so that a comparison with
# the full set is about the origin of images and not about their number. One simulation runs as in {numref}`fig-mix`:
#
# 1. A stratified sample of the training images is drawn without replacement: each class keeps its share, and no class is lost.
# 2. A generator makes synthetic images from those in the sample. A generator that learns is fitted in this step, on this sample; the
#    sources within a class are used equally often, to within one. A filter may drop some of the synthetic images.
# 3. A policy, where there is one, is applied to the mixed set on the fly.
# 4. The network is trained, and its cross-entropy is measured on the test part.
# 5. Steps 1 to 4 are repeated with new seeds, which yields a distribution of the loss instead of one number.

# %% [markdown]
# ### Generators side by side
#
# {numref}`tab-cards` is what every generator says of itself: a generator carries its card, and one that a reader adds is
# listed by its own words, too. {numref}`fig-generators` shows two images of every class by each of those that run here without a download or a bill.
# *Duplicate* is the control. *Morph* deforms. *Diffusion* is generative: it redraws what noise has hidden in its source. *Simulated*
# draws new anatomy of the class, and its people are nobody's neighbours. [Appendix C](C_fidelity.ipynb) measures them.

# %% tags=["hide-input"]
from mri_aug.fidelity.table import generator_kinds

caption = "The generators' cards, as each carries its own."
numbered_table(generator_kinds(), caption, "tab-cards")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Two images of each class by every generator that runs without a download, fitted on the real sample of one simulation in the images of this copy (phantoms, unless it was made from a dataset). The first row, duplicates, shows the sources of the two rows below it; simulated people have no source. The diffusion model was fine-tuned for 40 steps here, for 1,800 in a study, and its images are hazier than a study's.", "name": "fig-generators"}, "image": {"alt": "Rows of slices by generator, two for each class: morph moves the sources' anatomy, diffusion redraws it with coarser texture, simulated shows other heads"}}
from mri_aug.generators.base import fit_generator, make_generator

options = {"duplicate": {}, "morph": {}, "diffusion": {"config": {"n_steps": 40}}, "simulated": {"n_people": 24}}
sample = arm.real
rows = [int(row) for c in range(image_set.n_classes) for row in (sample.labels == c).nonzero()[[0, -1]]]
titles = [name.replace("demented", "") for name in image_set.class_names for _ in range(2)]
sheet = []
for name, chosen in options.items():
    made = fit_generator(make_generator(name, **chosen), sample.images, sample.labels, sample.subjects, seed=seed)
    pictures = made.vary(sample.images[rows], sample.labels[rows], seed=seed)[:, 0].numpy()
    sheet.append(figures.SheetRow(name, pictures, titles=() if sheet else titles))
_ = figures.plot_sheet(sheet)

# %% [markdown]
# {numref}`tab-mix` counts the images of such a simulation by class.

# %% tags=["hide-input"]
names = ("full set", "real sample", "synthetic", "mixed set")
parts = (training.labels, arm.real.labels, arm.variations.labels, arm.images.labels)
table = pd.DataFrame({"class": image_set.class_names})
for name, labels in zip(names, parts, strict=True):
    table[name] = np.bincount(labels.numpy(), minlength=image_set.n_classes)
table.loc[len(table)] = ["all", *table.iloc[:, 1:].sum()]
numbered_table(table, "Images of each class in one simulation.", "tab-mix")

# %% tags=["remove-cell"]
config, factors = TrainConfig(), CNN.learning_rate_factors
glue_values(
    batch_size=config.batch_size,
    learning_rate=config.learning_rate,
    learning_rate_convolutions=factors["features"] * config.learning_rate,
    learning_rate_dense=factors["hidden.1.weight"] * config.learning_rate,
    **{f"learning_rate_{name}": min(config.learning_rate, highest_learning_rate(name))
       for name in ("resnet18", "vit_tiny", "vit_b_16")},
    learning_rate_imagenet=min(config.learning_rate, highest_learning_rate("resnet18", "imagenet")),
)  # fmt: skip

# %% [markdown]
# ### Images from services
#
# Some generators take a prompt. The prompt is then part of the condition: another prompt is another generator with another fingerprint, and
# its images are never mixed with those of the first. A prompt may differ by class; it must not contain anything that was learnt from a test
# image. A service returns large square images, which are reduced to 128 × 128 grey pixels in a way that is recorded with them. Such images
# cannot be made again, so each is kept in a *bank* as soon as it arrives, under the content of its source
# and the fingerprint of its generator, with model, server, prompt, date and cost. A study that finds its images there sends no request,
# needs no network and gives the same result on any machine; one that was interrupted requests only what is missing. Before anything is
# bought, `mri-aug vary --plan` prints how many images, dollars and minutes a study still needs, and `--max-usd` and `--max-images` end a
# run before it
# exceeds them. Where a service refuses an image, the refusal is final, recorded, and counted by class: if the severe cases are missing, the
# sample is no longer the one that was drawn.
#
# ### Filters
#
# A classifier can guide what is generated {cite:p}`askarihemmat2024feedback`; the simplest form is to generate first and to keep a part. A
# filter is part of the condition, too, and obeys the same rule as a generator: it uses the real sample of its simulation and nothing else.
# Dropped images are counted and not replaced, so a training set with a filter is smaller, and has to be compared with care.
#
# Near copies (`near-copy`)
# : A synthetic image is dropped if its pixels correlate more with its source, or with any real training image, than neighbouring slices of
#   one person do with each other. The threshold is the 95 % quantile, over the sample, of each image's correlation with the most similar
#   other image of
#   the same person.
#
# Confidence (`confidence`)
# : A synthetic image is dropped if a classifier gives its label a probability no higher than the share of the class among the classifier's
#   training images: the image is no evidence for its label. People are divided into folds, so that the classifier has been trained on the
#   real images of other people only. Where one person holds all images of a class, no such classifier exists and the image is kept.
#
# ### What is kept equal
#
# A mixed set of full size differs from its real sample in three ways at once: it holds synthetic images, it holds *more* images,
# and, at a fixed number of epochs, it trains for more steps. The draft's comparison cannot separate the three. Two controls do.
#
# Duplicate control
# : The sample is augmented with exact duplicates of its own images instead of synthetic images. Count and steps equal those of the mixed
#   set; only new content is missing.
#
# Step control
# : The sample alone is trained for as many steps as the full set. Only the number of steps is raised.
#
# A gain that these controls reach as well is not due to synthetic images. A study of chest radiographs with both controls found no gain of
# synthetic images over duplicates {cite:p}`pink2026`.
#
# ### Protocols
#
# Under the *image* protocol, which is the draft's, a stratified fifth of the images is held out for testing and a twentieth of the rest
# for validation. Under the *subject* protocol no person is in two parts; [Appendix A](A_people.ipynb) shows how people are found and how
# large the difference is. Generators, samples and normalisation use training images only.
#
# The people are divided into five folds, stratified by class. One simulation tests one fold and trains on the others, so five simulations
# test every person exactly once. We call these five a *repeat*: simulation $r$ tests fold $r \bmod 5$ of repeat $\lfloor r / 5 \rfloor$,
# and each repeat divides the people anew. A sixth of the training people are set aside for validation. Every person thus receives one
# prediction per repeat, from a network that has never seen any of that person's slices.
#
# ### What is scarce
#
# The draft keeps a share $X$ of everybody's *slices*. Neighbouring slices look alike, so a sample of 30 % of the slices still shows every
# person and most of the anatomy. In practice it is people who are scarce: a scan costs money, and its slices come with it. A condition
# therefore states what its share refers to. `images` is the draft's way; `subjects` keeps a share of the training people, at least one of
# each class, with all their slices. The two questions have different answers, and only the second one asks whether synthetic images can
# stand in for people who were not scanned.
#
# ### Training
#
# Every network is trained with Adam {cite:p}`kingma2015adam` on batches of {glue:text}`batch_size:d` images under a one-cycle learning
# rate {cite:p}`smith2019superconvergence`, on images normalised by the mean and standard
# deviation of its own training images (where a backbone is frozen, by ImageNet's). The CNN's rate peaks at {glue:text}`learning_rate:g`, but at {glue:text}`learning_rate_convolutions:g` in its convolutions and at
# {glue:text}`learning_rate_dense:g` for the weights of its first dense layer: Adam moves every weight by about the rate, so a neuron with many inputs
# moves most, and rates are scaled by layer in the spirit of {cite:t}`yang2022tensor`. The larger networks learn less well at that rate, or
# not at all. ResNet-18 peaks at {glue:text}`learning_rate_resnet18:g`, ViT-Tiny at {glue:text}`learning_rate_vit_tiny:g`, ViT-B/16 at
# {glue:text}`learning_rate_vit_b_16:g`, and a network that starts from ImageNet's weights and is trained whole at {glue:text}`learning_rate_imagenet:g`. The first three
# were chosen by the accuracy on training images, the last without a measurement. The draft does not state its epochs, learning rate or batch size; ours are
# in [Appendix B](B_reproducing.ipynb).
#
# ### Two networks from one training
#
# A network that trains too long on few images becomes too sure of itself, and its cross-entropy then measures mainly that. Each training
# therefore yields two networks: the *last*, with the weights after the final step, and the *validated* one, with the weights that had the
# least loss on the validation part at about a dozen looks during the training. Each is scored as it is and again after *temperature
# scaling* {cite:p}`guo2017calibration`: its logits are divided by one number, fitted on the validation part, which changes how sure the
# network is but not which class it prefers. Nothing is trained twice for this, and neither the step nor the temperature depends on a test
# image. The image protocol is judged by the last network without calibration, as in the draft; the subject protocol by the validated and
# calibrated one.
#
# ### References
#
# The loss of a network means little by itself. Three references, which are scored on the same people and which use no network, show what
# simple means achieve:
#
# Class shares (`shares`)
# : Every person receives the shares of the classes among the training people. It knows nothing of the image.
#
# Tissue (`tissue`)
# : Logistic regression on a few measures of a person's slices: dark fluid in the core and at the rim of the brain, its area and shape, and
#   the contrast of its tissue.
#
# Principal components (`pca`)
# : Logistic regression on the principal components of a person's mean slice.
#
# A network that does not beat the tissue reference has learnt less than a handful of measurements by hand would show. It is marked in the
# tables, and a difference between two such networks should not be read as progress.
#
# ### Measures
#
# With $p_{ic}$ the predicted probability of class $c$ for image $i$ and $c_i$ its label, the primary measure is the thesis's,
#
# $$
# L = -\frac{1}{n} \sum_{i=1}^{n} \ln p_{i c_i} ,
# $$ (eq-test-cross-entropy)
#
# the mean cross-entropy on the test part. Accuracy, balanced accuracy, macro F1, the Brier score {cite:p}`brier1950verification`, quadratic
# weighted kappa {cite:p}`cohen1968weighted`, which penalises a confusion of *non* with *moderate* more than one with *very mild*, and, as
# a diagnostic, the expected calibration error {cite:p}`guo2017calibration` accompany it. Each is computed per image and per person, the
# probability of a person being the mean over that person's slices.
#
# ### Uncertainty
#
# Simulation $r$ of every condition shares its split, its sample and its initial weights; all of these vary between simulations, so that a
# conclusion does not depend on one split {cite:p}`bouthillier2021accounting`. Conditions are therefore compared in pairs. If $a_r$ and
# $b_r$ are the losses of two conditions in simulation $r$, the image protocol compares them by the mean of $\ln (a_r / b_r)$ over the $R$
# simulations, given in percent, and by
#
# $$
# P(A > B) = \frac{1}{R} \sum_{r=1}^{R} \left( [a_r < b_r] + \tfrac{1}{2} [a_r = b_r] \right) ,
# $$ (eq-probability)
#
# the share of simulations in which the first condition has the lower loss, ties counted half, with Wilson's interval. The subject
# protocol compares the losses of each person, in nats: the difference is averaged over people and repeats.
#
# All intervals are at 95 % and have a closed form. Under the image protocol the interval of a mean is Student's, that of a median lies
# between two of the values, and both say what other splits, samples and initial weights would give on these same people. Under the
# subject protocol the test people are themselves a sample. There, people and simulations are crossed, and two variances add
# {cite:p}`owen2007pigeonhole`: that of drawing other people within each class, each with all slices, and that of drawing other
# simulations or repeats, whichever is greater. A class of fewer than five people is merged with its neighbour for this, so the two
# moderately demented people count with the mildly demented. A difference that is decided in this way is decided for other test people,
# too. For other people in *training* it is decided only as far as the simulations vary them, and all of them come from one collection.
#
# Two one-sided tests {cite:p}`schuirmann1987comparison` turn an interval into an outcome. A condition is *better* or *worse* where the
# interval leaves out zero, *equivalent* where the interval lies inside a margin fixed in advance, both where both hold, and *undecided*
# otherwise. The margin is 10 % of the loss under the image protocol and 0.05 nats per person under the subject protocol; the latter is
# about half of what the tissue reference gains over the class shares. Fewer than ten simulations have a range, from the least to the
# greatest value, and no verdict.
#
# The simulations overlap in their training images, so their mean varies more than the spread between them suggests. The p values beside
# the intervals allow for this: the corrected resampled t test {cite:p}`nadeau2003inference` replaces the variance $s^2 / R$ of a mean by
# $(1/R + n_\mathrm{test} / n_\mathrm{train}) \, s^2$, here with a ratio of one quarter. They ask about another dataset of the same kind,
# which is a harder question than that of the interval, and more simulations hardly help to answer it. Intervals are not adjusted for
# their number: of twenty differences that are truly zero, about one would be called decided. The p values are adjusted within each table
# and protocol by Holm's method {cite:p}`holm1979simple`; where a table holds the mixed set and its real sample, this contrast was named
# beforehand and is left out of the adjustment. What an interval decides and the adjusted p value does not confirm should be read as a
# suggestion for a further study.
#
# ### Planned contrasts
#
# The main study on the thesis's dataset was planned before it was computed. All of its contrasts belong to the subject protocol with
# scarce people, equal steps and the log loss per person of the validated, calibrated network. There is one *primary* contrast: 30 % of
# the people filled up with 70 % images of a diffusion model, against the same people filled up with duplicates. Four *secondary*
# contrasts are adjusted together by Holm's method: simulated anatomy against duplicates, deformations against duplicates, 30 % of the
# people with simulated anatomy against all real people, and simulated anatomy alone against all real people. A planned contrast that has
# not been computed still counts in the adjustment. Every other comparison in this book is exploratory.

# %% tags=["hide-input"]
assert table["mixed set"].iloc[-1] == len(arm) and not arm.n_filtered
assert abs(table["mixed set"] - table["full set"]).iloc[:-1].max() <= 1
