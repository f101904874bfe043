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
# What are the images, who is on them, and how much does an image of the test part resemble one that a network has
# trained on? The first question is answered by counting, the other two by the pixels themselves.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
dataset_subjects: int = 200  # people to simulate or keep; 0 is everyone
seed: int = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from mri_aug import plots
from mri_aug.dataset import load_images
from mri_aug.fidelity import generator_kinds
from mri_aug.generators import fit_generator, make_generator
from mri_aug.protocols import split
from mri_aug.report import glue_values, numbered_table
from mri_aug.sampling import stratified_sample
from mri_aug.style import use_book_style
from mri_aug.subjects import audit_split, recover_subjects

use_book_style(image_format="png")
image_set = load_images(dataset, n_subjects=dataset_subjects or None, seed=seed)
audit = recover_subjects(image_set.images, labels=image_set.labels)
rng = np.random.default_rng(seed)

# %% tags=["remove-cell"]
is_phantom = dataset == "phantom"
glue_values(
    dataset_note=(
        "This copy of the book was computed on phantoms: slices that are simulated from the anatomical templates "
        "of the Montreal Neurological Institute, with the thesis's numbers of people. They need no download, and for "
        "them the truth is known. Appendix B tells how to make the same chapters on the thesis's own images."
        if is_phantom
        else f"This copy of the book was computed on the images of the dataset {dataset.rstrip('/').split('/')[-1]}."
    ),
    largest_share=100 * image_set.labels.bincount().max().item() / len(image_set),
    smallest_share=100 * image_set.labels.bincount().min().item() / len(image_set),
    load_notes=" ".join(image_set.notes) or "No image had to be resized or converted.",
)

# %% [markdown]
# ## Alzheimer MRI Preprocessed Dataset
#
# The thesis works on the *Alzheimer MRI Preprocessed Dataset*: 6,400 axial slices of T1-weighted brain scans, grey,
# skull-stripped and reduced to 128 × 128 pixels, in four classes of dementia from none to moderate. It is published on
# Kaggle and on the Hugging Face hub, from where the `datasets` library fetches it. Its counts of
# demented people suggest that they come from the cross-sectional OASIS-1 study {cite:p}`marcus2007open`, whose clinicians graded people by the
# Clinical Dementia Rating {cite:p}`morris1993clinical`; grades of 0, 0.5, 1 and 2 would then be what the dataset calls non, very mildly,
# mildly and moderately demented.
#
# {glue:text}`dataset_note:s`
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
        "people": [len(np.unique(audit.subjects[labels == c])) if audit.found else None
                   for c in range(image_set.n_classes)],
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
people = [rng.choice(np.unique(owner[labels == c]), size=2, replace=False) for c in range(image_set.n_classes)]
columns = np.array([[rng.choice(np.flatnonzero(owner == person)) for person in pair] for pair in people]).T.ravel()
titles = [*image_set.class_names, *[""] * image_set.n_classes]
_ = plots.plot_image_grid(image_set.images[columns, 0].numpy(), titles=titles, n_columns=image_set.n_classes)

# %% [markdown]
# ### The people behind the slices
#
# The dataset does not say which slices belong to the same person, yet the pixels do. Neighbouring slices of one head
# are nearly the same picture, while slices of two heads differ. If images are joined whose pixels correlate above some
# threshold, the number of groups stays constant over a range of thresholds, and that constant is the number of people.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Groups of slices as the threshold of correlation rises. On the shaded plateau the groups do not change: they are the people.", "name": "fig-components"}, "image": {"alt": "Groups of slices as the threshold of correlation rises"}}
thresholds, n_components = audit.curve
_ = plots.plot_component_curve(thresholds, n_components, chosen=audit.threshold, plateau=audit.plateau)

# %% tags=["remove-cell"]
image_split = split(image_set, "image", seed=seed)
twins = audit_split(image_set, image_split, twin_threshold=audit.threshold, seed=seed) if audit.found else None
smallest, largest = (audit.sizes.min(), audit.sizes.max()) if audit.found else (0, 0)
slices = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
glue_values(
    people_sentence=(
        f"It finds {audit.n_subjects} people of {slices} slices each"
        + (f", and {100 * audit.class_purity:.4g} % of them have all their slices in one class."
           if audit.class_purity is not None else ".")
        if audit.found
        else f"Here it finds no people: {audit.reason}."
    ),
    leak_sentence=(
        f"Of the test images of a stratified random split, {100 * twins.near_twins:.1f} % have a near-twin among the "
        f"training images, and to copy the label of the most similar training image, which is no diagnosis at all, "
        f"is right for {100 * twins.accuracy:.1f} % of them."
        if twins
        else "Without people, how much a random split of images leaks cannot be measured."
    ),
)

# %% [markdown]
# {glue:text}`people_sentence:s` A random split of *images*, as the thesis and most work on this dataset uses, therefore
# puts the same people on both sides. {glue:text}`leak_sentence:s` [Appendix A](A_people.ipynb) follows this up, with a control
# in which labels carry no information on disease. The consequence for this thesis: every claim is computed twice, under
# the thesis's *image* protocol and under a *subject* protocol in which nobody is in both parts.

# %% [markdown]
# ## Synthetic Images
#
# A *variation* is a synthetic image that is made from one real image and stays tied to it: it takes over the source's
# label, and it counts as that person's wherever people are told apart. To ask for variations, rather than for new people
# out of nothing, keeps anatomy and label near something that was really scanned. The price is that no variation can
# be more independent of its source than the generator makes it.
#
# ### The draft's generator
#
# The draft sent each slice to DALL·E 2 {cite:p}`ramesh2022hierarchical`, by a call to OpenAI's endpoint for image variations, and got
# back another image like it. That model encodes an image into a vector of what it shows and draws a new image from the vector, so that layout
# and content survive and details do not. It was made for photographs and art, its training data are not public, and it takes no instruction
# as to what must stay. Model and endpoint were shut down in May 2026: none of the draft's images can be made again, by anyone.
# What can be repeated is the call. Servers that one runs oneself still answer it, and the service's present models take an image together with a
# written request. Both are kinds of generator here.
#
# ### Kinds of generator
#
# Every kind fills the same interface, one real image in and one variation out, and is chosen by its name ({numref}`tab-kinds`). They differ in what
# they know and in whom they have to be trusted with. Models that are pretrained on other data may know what brains or photographs look like, but
# whether they have met the images of a public dataset, test images included, can seldom be ruled out. A service moreover sees every image
# that it varies, which the consent that people gave may not cover, and it may refuse, change or disappear. A model
# that learns from the study's own training images, such as *diffusion* {cite:p}`ho2020denoising,meng2022sdedit`, can leak nothing that the study does not
# hold, yet it may remember what it holds: diffusion models have returned their training images {cite:p}`carlini2023extracting`, medical
# ones among them {cite:p}`dar2024`.

# %% tags=["hide-input"]
caption = "Kinds of generator by name, what each learns from, and who gets to see the images."
numbered_table(generator_kinds(), caption, "tab-kinds")

# %% [markdown]
# The embedded default, *morph*, needs neither network nor training: it registers a
# slice with a similar slice of another person of the same class {cite:p}`kroeger2016fast`, and deforms it part of the way
# along and around the path between the two anatomies, in the spirit of statistical deformation models
# {cite:p}`rueckert2006diffeomorphic`. Pixels are moved, never blended, so variations stay as sharp as their sources.
# {numref}`fig-variations` shows a source of each class and three of its variations. *Duplicate* is no generator
# at all but the control that any other has to beat.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Real slices (left) and three variations of each by the morph generator, which was fitted on 30 % of the training images, the sources among them.", "name": "fig-variations"}, "image": {"alt": "Real slices (left) and three variations of each by the morph generator, which was fitted on 30 % of the training images, the sources among them"}}
sample = image_set[image_split.train[stratified_sample(labels[image_split.train], 0.3, seed=seed)]]
morph = fit_generator(make_generator("morph"), sample.images, sample.labels, sample.subjects, seed=seed)
first = np.array([np.flatnonzero(sample.labels.numpy() == c)[0] for c in range(sample.n_classes)])
sources = sample[np.repeat(first, 3)]
varied = morph.vary(sources.images, sources.labels, seed=seed)[:, 0].numpy().reshape(len(first), 3, 128, 128)
grid = np.concatenate([sample.images[first].numpy(), varied], axis=1).reshape(-1, 128, 128)
titles = ["real", "variation 1", "variation 2", "variation 3", *[""] * (len(grid) - 4)]
_ = plots.plot_image_grid(grid, titles=titles, n_columns=4, row_labels=sample.class_names)

# %% [markdown]
# What a variation may carry is bounded by design. A generator that learns is fitted inside each simulation, on that simulation's real
# sample alone, so no image that the sample leaves out, let alone a test image, can reach training through it. How near variations come to
# real images and to their sources is measured in [Appendix D](D_fidelity.ipynb). Whether they are worth more than copies of
# their sources is not a matter of looks; {numref}`Chapter %s <ch-results>` measures it.

# %% tags=["hide-input"]
assert counts["training images"].iloc[-1] + counts["test images"].iloc[-1] == len(image_set)
assert varied.dtype == np.uint8 and not (varied == grid.reshape(-1, 4, 128, 128)[:, :1]).all(axis=(2, 3)).any()
