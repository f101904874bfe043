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
# (ch-dataset)=
# # Dataset
#
# What are the images, which people do they show, and how similar are test images to training images? The first question is answered by
# counting, the other two from the pixels.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
dataset_subjects: int = 200  # people to simulate or keep; 0 is everyone
seed: int = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from scipy.stats import norm

from mri_aug.book import figures
from mri_aug.book.report import glue_values, numbered_table, use_book_style
from mri_aug.data.imageset import CLASS_NAMES
from mri_aug.data.loading import HUB_REVISION, load_images
from mri_aug.data.people import audit_split, recover_subjects
from mri_aug.data.phantom.anatomy import N_SLICES, PIXEL_MM, SLICE_MM
from mri_aug.data.phantom.people import CLASS_SHARES, SEVERITY_MEANS, SEVERITY_SD, TEST_SHARE, make_subject
from mri_aug.data.sampling import stratified_sample
from mri_aug.data.splits import split
from mri_aug.fidelity.table import generator_kinds
from mri_aug.generators.base import fit_generator, make_generator

use_book_style(image_format="png")
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=dataset_subjects or None, seed=seed
)
audit = recover_subjects(image_set.images, labels=image_set.labels)
rng = np.random.default_rng(seed)

# %% tags=["remove-cell"]
is_phantom = dataset == "phantom"
glue_values(
    dataset_note=(
        "This copy of the book was computed on phantoms: slices that are simulated from the anatomical templates "
        "of the Montreal Neurological Institute, with people in each class as in the thesis's dataset. They need no download, and for "
        "them the truth is known. Appendix B describes how to make the same chapters on the thesis's own images."
        if is_phantom
        else f"This copy of the book was computed on the images of the dataset {dataset.rstrip('/').split('/')[-1]}."
    ),
    largest_share=100 * image_set.labels.bincount().max().item() / len(image_set),
    smallest_share=100 * image_set.labels.bincount().min().item() / len(image_set),
    load_notes=" ".join(image_set.notes) or "No image had to be resized or converted.",
    revision=HUB_REVISION[:7],
)

# %% [markdown]
# ## Alzheimer MRI Preprocessed Dataset
#
# The thesis works on the *Alzheimer MRI Preprocessed Dataset*: 6,400 axial slices of T1-weighted brain scans, grey,
# skull-stripped and reduced to 128 × 128 pixels, in four classes of dementia from none to moderate. It is published on
# Kaggle {cite:p}`kumar2022alzheimer` and on the Hugging Face hub {cite:p}`salieh2023alzheimer`, from where the `datasets` library fetches it,
# at the commit {glue:text}`revision:s`. Its page on Kaggle says that the images were collected from several websites, hospitals and public
# repositories, but not which image comes from which source. The counts of demented people suggest the cross-sectional OASIS-1 study
# {cite:p}`marcus2007open`, whose clinicians graded people by the
# Clinical Dementia Rating {cite:p}`morris1993clinical`; grades of 0, 0.5, 1 and 2 would then be what the dataset calls non, very mildly,
# mildly and moderately demented.
#
# {glue:text}`dataset_note:s` How phantoms are made is described [below](sec-phantoms).
#
# The hub numbers the classes alphabetically, so that *moderate* comes before *non*. Dementia is graded, and some of the
# measures of {numref}`Chapter %s <ch-results>` use the order; here labels always run from 0 (non) to 3 (moderate).
# {glue:text}`load_notes:s`

# %% tags=["hide-input"]
published = split(image_set, "published", seed=seed) if image_set.published_test is not None else None
labels = image_set.labels.numpy()
test = image_set.published_test.numpy() if published else np.zeros(len(labels), dtype=bool)
counts = pd.DataFrame(
    {
        "class": image_set.class_names,
        "training images": np.bincount(labels[~test], minlength=image_set.n_classes),
        "test images": np.bincount(labels[test], minlength=image_set.n_classes),
        "people": [
            len(np.unique(audit.subjects[labels == c])) if audit.found else None for c in range(image_set.n_classes)
        ],
    }
)
counts.loc[len(counts)] = ["all", *counts.iloc[:, 1:].sum()]
numbered_table(counts, "Images of each class in the published parts, and the people they show.", "tab-classes")

# %% [markdown]
# {numref}`tab-classes` extends the draft's table 2.1, whose row of training counts is 2566, 1781, 724 and 49. The classes
# are not balanced: {glue:text}`largest_share:.0f` % of the images are of the most frequent class and {glue:text}`smallest_share:.1f` % of the
# rarest. {numref}`fig-real` shows one slice of two people per class.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Two slices of each class, each of another person. Severe atrophy shows as wide ventricles, the dark cavities in the middle, and as wide furrows at the surface.", "name": "fig-real"}, "image": {"alt": "Two slices of each class, each of another person"}}
owner = audit.subjects.numpy() if audit.found else np.arange(len(labels))
pairs = [rng.choice(np.unique(owner[labels == c]), size=2, replace=False) for c in range(image_set.n_classes)]
columns = np.array([[rng.choice(np.flatnonzero(owner == person)) for person in pair] for pair in pairs]).T.ravel()
slices = image_set.images[columns, 0].numpy().reshape(2, image_set.n_classes, *image_set.images.shape[2:])
rows = [figures.SheetRow("", slices[0], titles=image_set.class_names), figures.SheetRow("", slices[1])]
_ = figures.plot_sheet(rows)

# %% [markdown]
# ### The people behind the slices
#
# The dataset does not say which slices belong to the same person, but the pixels do. Neighbouring slices of one head are nearly identical,
# while slices of two heads differ. If images whose pixels correlate above a threshold are joined, the number of groups stays constant over
# a range of thresholds, and this constant is the number of people.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Groups of slices as the threshold of correlation rises. On the shaded plateau the groups do not change: they are the people.", "name": "fig-components"}, "image": {"alt": "Groups of slices as the threshold of correlation rises"}}
thresholds, n_components = audit.curve
_ = figures.plot_component_curve(thresholds, n_components, chosen=audit.threshold, plateau=audit.plateau)

# %% tags=["remove-cell"]
image_split = split(image_set, "image", seed=seed)
twins = audit_split(image_set, image_split, neighbour_threshold=audit.threshold, seed=seed) if audit.found else None
smallest, largest = (audit.sizes.min(), audit.sizes.max()) if audit.found else (0, 0)
slices = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
glue_values(
    people_sentence=(
        f"It finds {audit.n_subjects} people of {slices} slices each"
        + (
            f", and {100 * audit.class_purity:.4g} % of them have all their slices in one class."
            if audit.class_purity is not None
            else "."
        )
        if audit.found
        else f"Here it finds no people: {audit.reason}."
    ),
    leak_sentence=(
        f"Of the test images of a stratified random split, {100 * twins.close_neighbours:.1f} % have a near-twin among the "
        f"training images, and to copy the label of the most similar training image, which is no diagnosis at all, "
        f"is right for {100 * twins.accuracy:.1f} % of them."
        if twins
        else "Without people, how much a random split of images leaks cannot be measured."
    ),
)

# %% [markdown]
# {glue:text}`people_sentence:s` A random split of *images*, as the thesis uses it, therefore
# puts the same people on both sides. {glue:text}`leak_sentence:s` [Appendix A](A_people.ipynb) examines this, with a control in which
# labels carry no information on disease. The consequence for this thesis: the main comparison is computed twice, under
# the thesis's *image* protocol and under a *subject* protocol in which nobody is in both parts. The studies beside it are computed under
# both protocols in the profile *thesis* alone, and under the image protocol in the smaller ones ([Appendix B](B_reproducing.ipynb)).

# %% [markdown]
# (sec-phantoms)=
# ## Phantoms
#
# The other dataset is simulated. Phantoms let the whole book be computed without a download, and they let methods be tested where the truth
# is known: whom a slice shows, how severe the disease is, and where tissue was lost. They are no evidence on dementia, since class and
# atrophy are linked by construction.
#
# ### Healthy people
#
# All phantoms are deformations of one brain, the average of the Montreal Neurological Institute known as ICBM152 2009a
# {cite:p}`fonov2011unbiased`. Used are its T1-weighted image and its maps of grey and white matter, at 1 mm, which nilearn ships
# {cite:p}`abraham2014machine`. A person is made from them in three steps. A global map changes the size along each axis (standard deviation
# 2.5 %), shears (2 %), tilts by a few degrees and shifts by about a millimetre. Two smooth random deformations follow, one with a standard deviation of
# 2.2 mm and control points 32 mm apart, one with 1.2 mm and 14 mm. Last come sulci, about 13 mm from one to the next, drawn anew for
# every person. Healthy people also differ in the border of their ventricles (standard deviation 0.5 mm), in the width of their sulci (0.24 mm) and
# in the thickness of their cortex (0.2 mm, around a mean of 2.1 mm). Each person is cut into {glue:text}`phantom_slices:d` axial slices,
# {glue:text}`phantom_slice_mm:g` mm apart, from the thalamus to above the ventricles, in pixels of {glue:text}`phantom_pixel_mm:s` mm.
#
# ### Disease
#
# A person's class decides the *severity* of the disease, a number from 0 to 1. It is drawn from a normal distribution around the mean of the class
# ({numref}`tab-phantoms`) with standard deviation {glue:text}`phantom_sd:.2f` and cut to that range. Neighbouring classes overlap: a cut halfway between their means
# leaves {glue:text}`phantom_overlap:.0f` % of either on the wrong side, however well severity is read from an image. All slices of a person have the
# person's class. Smaller numbers of people are divided in the same proportions, with at least two in each class.
#
# At severity $s$ the border of the ventricles has moved outwards by $6s$ mm, by less at the midline, and has pushed the tissue around it. Each sulcus is wider by
# $2.8s$ mm, the cortex is thinner by $25s$ %, and the brain has drawn back a little from its outline. The first two vary from place to
# place by a smooth random factor with standard deviation 20 %. *Atrophy* is known for each pixel: it is where the same person without
# disease has mostly tissue and the simulated one has mostly fluid ({numref}`fig-phantom`).

# %% tags=["hide-input"]
severity = pd.DataFrame(
    {
        "class": CLASS_NAMES,
        f"people of {sum(CLASS_SHARES)}": CLASS_SHARES,
        "mean severity": SEVERITY_MEANS,
    }
)
half_gap = np.diff(SEVERITY_MEANS).min() / 2
glue_values(
    phantom_slices=N_SLICES,
    phantom_slice_mm=SLICE_MM,
    phantom_pixel_mm=" × ".join(map(str, PIXEL_MM)),
    phantom_sd=SEVERITY_SD,
    phantom_overlap=100 * norm.cdf(-half_gap / SEVERITY_SD),
    phantom_test_percent=100 * TEST_SHARE,
)
caption = (
    "Phantoms: how many people each class has, and the mean of the distribution that their severity is drawn from."
)
numbered_table(severity, caption, "tab-phantoms", formats={"mean severity": ".2f"})

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One simulated person without disease and at the mean severity of each class: the same slice, and the tissue that is lost in it.", "name": "fig-phantom"}, "image": {"alt": "One simulated person without disease and at the mean severity of each class, with the tissue that is lost"}}
severities = (0, *SEVERITY_MEANS)
scans = [make_subject(severity=one, seed=seed, n_slices=1) for one in severities]
lost = [255 * scan.atrophy.astype(np.uint8) for scan in scans]
titles = [f"severity {one:.2f}" for one in severities]
slices = figures.SheetRow("slice", np.concatenate([scan.images for scan in scans]), titles=titles)
_ = figures.plot_sheet([slices, figures.SheetRow("tissue lost", np.concatenate(lost))])

# %% [markdown]
# ### Scanner and limits
#
# Fluid, grey and white matter get grey values around 28, 112 and 219 of 255, which vary a little from person to person, and a fine mottle of 2 %. A
# smooth field of 5 % shades the picture, as an uneven coil does. The noise is Rician, as that of magnitude images is
# {cite:p}`gudbjartsson1995rician`, with a standard deviation of 2.5 to 4.5 grey values. Brightness differs between people and between
# runs of slices, and each slice is stored as a JPEG of quality 90, as the thesis's are, and read again. A stratified random {glue:text}`phantom_test_percent:.0f` % of the images is marked as the
# published test part.
#
# The limits of phantoms matter as much. They have no age, no sex, no other disease and no second scanner: only severity sets the classes
# apart. No region is affected first, not even the hippocampus, and the rules of tissue loss are ours. They contain none of the confounders
# of a clinic, and a good score on them says nothing about patients.

# %% [markdown]
# ## Synthetic Images
#
# The thesis's synthetic images are *variations*: each is made from one real image, its source. It takes over the source's label and counts
# as an image of the same person wherever people are distinguished. Compared with new people generated from nothing, a variation keeps
# anatomy and label close to a real scan. The price is that it is only as independent of its source as the generator makes it.
#
# ### The draft's generator
#
# The draft sent each slice to DALL·E 2 {cite:p}`ramesh2022hierarchical`, by a call to OpenAI's endpoint for image variations, and got
# back another image like it. That model encodes an image into a vector of what it shows and draws a new image from the vector, so that layout
# and content survive and details do not. It was made for photographs and art, its training data are not public, and it cannot be told what
# must be preserved. Model and endpoint were shut down in May 2026: none of the draft's images can be made again, by anyone.
# What can be repeated is the call. Self-hosted servers still answer it, and the service's present models take an image together with a
# prompt. Both are kinds of generator here.
#
# ### Kinds of generator
#
# Every kind has the same interface, one real image in and one synthetic image out, and is chosen by its name ({numref}`tab-kinds`). They
# differ in what they have learned and in who sees the images. Models that are pretrained on other data may know what brains or photographs
# look like, but whether their training data included the images of a public dataset, test images among them, can seldom be ruled out. A
# service moreover sees every image that it is sent, which the consent of the scanned people may not cover, and it may refuse, change or
# disappear. A model that learns from the study's own training images, such as *diffusion* {cite:p}`ho2020denoising,meng2022sdedit`, can
# leak nothing from outside the study, but it may memorise its training images: diffusion models have returned their training images
# {cite:p}`carlini2023extracting`, medical
# ones among them {cite:p}`dar2024`.

# %% tags=["hide-input"]
caption = "Kinds of generator by name, what each learns from, and who gets to see the images."
numbered_table(generator_kinds(), caption, "tab-kinds")

# %% [markdown]
# The embedded default, *morph*, needs neither network nor training. It registers a
# slice with three similar slices of other people of the same class {cite:p}`kroeger2016fast`, and deforms it to a random point on the path to the
# first of them ({glue:text}`morph_path:s` of the way) and a little off that path, in the directions of the other two, in the spirit of statistical
# deformation models {cite:p}`rueckert2003automatic`. Contrast and brightness change by a few per cent. Pixels are moved, and never blended
# between images, so the results are as sharp as their sources. Where the sample holds no other person of the class, as with the moderately
# demented
# under the subject protocol, other slices of the same person take their place.
# {numref}`fig-variations` shows a source of each class and three synthetic images made from it. *Duplicate* is not a generator but the
# control that every generator has to beat.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Real slices (left) and three synthetic images made from each by the morph generator, which was fitted on 30 % of the training images, the sources among them.", "name": "fig-variations"}, "image": {"alt": "Real slices (left) and three synthetic images made from each by the morph generator, which was fitted on 30 % of the training images, the sources among them"}}
sample = image_set[image_split.train[stratified_sample(labels[image_split.train], 0.3, seed=seed)]]
morph = fit_generator(make_generator("morph"), sample.images, sample.labels, sample.subjects, seed=seed)
first = np.array([np.flatnonzero(sample.labels.numpy() == c)[0] for c in range(sample.n_classes)])
sources = sample[np.repeat(first, 3)]
varied = morph.vary(sources.images, sources.labels, seed=seed)[:, 0].numpy()
pictures = [
    np.stack([real[0], *made])
    for real, made in zip(sample.images[first].numpy(), np.split(varied, len(first)), strict=True)
]
rows = [figures.SheetRow(name, shown) for name, shown in zip(sample.class_names, pictures, strict=True)]
rows[0] = rows[0]._replace(titles=["real", "synthetic 1", "synthetic 2", "synthetic 3"])
glue_values(morph_path=" to ".join(f"{100 * end:.0f} %" for end in morph.path))
_ = figures.plot_sheet(rows)

# %% [markdown]
# The information in a synthetic image is limited by design. A generator that learns is fitted inside each simulation, on that simulation's
# real sample alone, so no image outside the sample, and no test image, can reach training through it. How close synthetic images are to
# real images and to their sources is measured in [Appendix C](C_fidelity.ipynb). Whether they are worth more than duplicates of their
# sources is not a question of realism; {numref}`Chapter %s <ch-results>` measures it.

# %% tags=["hide-input"]
assert counts["training images"].iloc[-1] + counts["test images"].iloc[-1] == len(image_set)
assert not any((made == shown[0]).all() for shown in pictures for made in shown[1:])
