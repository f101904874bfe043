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
# (app-people)=
# # The people behind the slices
#
# The dataset is published as single images. If several of them show one person, and a random split puts some of these into
# training and some into the test part, then a network can be right about a test image because it recognises the *person*, not the
# *disease*. How often does that happen, and how much does it change the scores?

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
dataset_subjects: int = 200  # people to simulate or keep; 0 is everyone
seed: int = 0

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from mri_aug.book import figures
from mri_aug.book.record import ABSENT, load_tables
from mri_aug.book.report import glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.data.people import audit_split, nearest_neighbours, recover_subjects
from mri_aug.data.splits import split

use_book_style(image_format="png")
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=dataset_subjects or None, seed=seed
)
audit, known, copy_note = recover_subjects(image_set.images, labels=image_set.labels), dataset == "phantom", ""
if not audit.found or (image_set.subjects < 0).any():
    reason = "groups of similar images have several labels" if audit.found else audit.reason
    copy_note = (
        f"In the images of this copy the method finds no people ({reason}); what follows shows phantoms in their place."
    )
    image_set, known = load_images(n_subjects=22, seed=seed), True
    audit = recover_subjects(image_set.images, labels=image_set.labels)
record = load_tables("people", "leakage")

# %% tags=["remove-cell"]
said = dict.fromkeys(("people", "low", "high", "twins", "nearest", "random", "unseen", "unseen_low", "unseen_high",
                      "commonest", "phantom_low", "phantom_high"), "–")  # fmt: skip
if record:
    plateau = record["people"].query("low <= threshold < high").groupby("source").first()
    leaks = record["leakage"].groupby("protocol")
    image, subject = (100 * leaks.get_group(name).mean(numeric_only=True) for name in ("image", "subject"))
    low, high = 100 * leaks["accuracy"].agg(["min", "max"]).loc["subject"]
    values = (plateau["groups"]["real"], *plateau.loc["real", ["low", "high"]], image["close_neighbours"], image["accuracy"],
              image["random_label_accuracy"], subject["accuracy"], low, high, subject["majority_accuracy"],
              *plateau.loc["phantoms", ["low", "high"]])  # fmt: skip
    formats = ("d", ".3f", ".3f", *[".1f"] * 7, ".3f", ".3f")
    said = {name: format(value, how) for name, value, how in zip(said, values, formats, strict=True)}
glue_values(
    record_note="" if record else "The record's tables are missing from this copy, and dashes stand for their numbers.",
    **{f"record_{name}": text for name, text in said.items()},
)

# %% tags=["remove-cell"]
truth = image_set.subjects.numpy()
agrees = (
    len(np.unique(np.stack([truth, audit.subjects.numpy()]), axis=1).T) == audit.n_subjects == len(np.unique(truth))
)
glue_values(
    copy_note=copy_note,
    n_images=len(image_set),
    n_people=audit.n_subjects,
    slices=" to ".join(dict.fromkeys([f"{audit.sizes.min()}", f"{audit.sizes.max()}"])),
    threshold=audit.threshold,
    plateau_low=audit.plateau[0],
    plateau_high=audit.plateau[1],
    purity_percent=100 * audit.class_purity,
    check=f"The phantoms' people are known, and the recovered ones {'are exactly these' if agrees else 'differ from them'}."
    if known
    else "",
)

# %% [markdown]
# ## Finding people
#
# Images are averaged to 64 × 64 pixels, mean-centred and normalised, so that the inner product of two of them is the correlation of their
# pixels. Two images are joined if they correlate above a threshold $t$, and the connected components are taken to be people. Components are
# appropriate because a person's slices form a *chain*: each resembles the next, while the first and the last may have little in
# common, which is why perceptual hashes and clusterings by average distance fail here. The number of components is known for every $t$ at
# once from a maximum spanning tree of the correlations. The threshold is the middle, on Fisher's scale, of the longest range over which nothing
# changes, at most 5 % of the images are alone and no group holds more than half of them.
#
# ### In the thesis's dataset
#
# {numref}`tab-people` gives the groups by threshold, in the thesis's dataset and in 200 phantoms, as the record keeps them. The dataset has
# {glue:text}`record_people:s` groups from {glue:text}`record_low:s` to {glue:text}`record_high:s`, the phantoms from
# {glue:text}`record_phantom_low:s` to {glue:text}`record_phantom_high:s`: two phantoms are less alike than two real
# people, and so are the neighbouring slices of one. No list of the people exists to compare with; the evidence is the length of the plateau, the equal sizes of the groups
# and their agreement with the classes, of which the method knows nothing. OASIS-1 itself comes with ids and would test the method, but it
# was not at hand. {glue:text}`record_note:s`

# %% tags=["hide-input"]
if record:
    shown = record["people"].query("groups > 0").replace({"source": {"real": "dataset"}})  # 0: all are joined into one
    ends = zip(shown["smallest"], shown["largest"], strict=True)
    shown["size"] = [f"{low}" if low == high else f"{low} to {high}" for low, high in ends]
    shown["pure"] = 100 * shown["of_one_class"]
    shown = shown.pivot(index="threshold", columns="source", values=["groups", "size", "pure"]).reset_index()
    words = {"groups": "groups", "size": "slices in each", "pure": "of one class, %"}
    shown.columns = ["joined above", *(f"{source}: {words[what]}" for what, source in shown.columns[1:])]
caption = "Groups of images by the correlation above which two are joined, in the thesis's dataset and in 200 phantoms."
percent = {name: ".4g" for name in shown if name.endswith("%")} if record else {}
numbered_table(shown if record else ABSENT, caption, "tab-people", formats=percent)

# %% [markdown]
# ### In the images of this copy
#
# The figures show the images of this copy of the book, which are phantoms unless it was made from a dataset. {glue:text}`copy_note:s`

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Connected components against the threshold of correlation. On the shaded plateau the groups do not change.", "name": "fig-people-curve"}, "image": {"alt": "The number of components rises with the threshold, stays level over the shaded plateau, and rises steeply after it"}}
thresholds, n_components = audit.curve
_ = figures.plot_component_curve(thresholds, n_components, chosen=audit.threshold, plateau=audit.plateau)

# %% [markdown]
# In {glue:text}`n_images:,d` images the method finds {glue:text}`n_people:d` people of {glue:text}`slices:s` slices each, for every
# threshold from {glue:text}`plateau_low:.3f` to {glue:text}`plateau_high:.3f`; {glue:text}`purity_percent:.4g` % of them have all their slices in one
# class. {glue:text}`check:s` {numref}`fig-chains` shows three of them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Eight slices of each of three people (rows), ordered by their place in the chain of neighbours.", "name": "fig-chains"}, "image": {"alt": "Three rows of eight slices: along each row the same head changes little by little from its lower to its upper slices"}}
people = np.random.default_rng(seed).choice(audit.n_subjects, size=3, replace=False)
rows = []
for person in people:
    slices = image_set.images[audit.subjects == int(person)]
    flat = slices.flatten(1).float()
    _, _, directions = np.linalg.svd((flat - flat.mean(0)).numpy(), full_matrices=False)
    order = np.argsort((flat - flat.mean(0)).numpy() @ directions[0])
    rows.append(figures.SheetRow("", slices[order[np.linspace(0, len(order) - 1, 8).astype(int)], 0].numpy()))
_ = figures.plot_sheet(rows)

# %% [markdown]
# ## What a split leaks
#
# The simplest classifier copies the label of the training image that correlates best with the test image. Its accuracy on held-out people
# is a reference; what it achieves beyond that under another split is recognition of people. As a control, the labels are then shuffled
# among the *people*, so that they carry no information on disease at all: any accuracy above chance is then recognition of people.
#
# ### In the thesis's dataset
#
# {numref}`tab-leak` is of the thesis's dataset and comes from the record: five random splits of images, the five folds of people that test
# everybody once, and the published split. When images are split, {glue:text}`record_twins:s` % of the test images have a near-twin, a training image above the threshold that tells people apart, and the copied
# label is right for {glue:text}`record_nearest:s` %. Labels drawn at random for each person are still copied rightly for {glue:text}`record_random:s` %: an accuracy of
# this size shows that people are recognised, and nothing about disease. When people are split, the classifier is right for
# {glue:text}`record_unseen:s` % ({glue:text}`record_unseen_low:s` to {glue:text}`record_unseen_high:s` % by fold), as is naming the most frequent class
# ({glue:text}`record_commonest:s` %). The published split divides images, and leaks as much as a random one. {glue:text}`record_note:s`

# %% tags=["hide-input"]
measures = {"close_neighbours": "test images with a near-twin, %", "accuracy": "nearest neighbour, %",
            "majority_accuracy": "majority class, %", "random_label_accuracy": "random labels, %"}  # fmt: skip
if record:
    shown = leaks.agg(splits=("split", "size"), tests=("n_test", "first")).loc[["image", "published", "subject"]]
    for name, words in measures.items():
        ends = 100 * leaks[name].agg(["mean", "min", "max"])
        shown[words] = [
            f"{one.mean:.1f}" if one.min == one.max else f"{one.mean:.1f} ({one.min:.1f} to {one.max:.1f})"
            for one in ends.loc[shown.index].itertuples()
        ]
    shown = shown.reset_index(names="protocol").rename(columns={"tests": "test images of each"})
caption = "Leakage in the thesis's dataset: mean over the splits, and their range. Random labels are drawn 100 times for each split."
numbered_table(shown if record else ABSENT, caption, "tab-leak")

# %% [markdown]
# ### In the images of this copy

# %% tags=["hide-input"]
protocols = ["image", *(["published"] if image_set.published_test is not None else []), "subject"]
audits = {
    protocol: audit_split(
        image_set, split(image_set, protocol, seed=seed), neighbour_threshold=audit.threshold, seed=seed
    )
    for protocol in protocols
}
percent = "test images with a near-twin, %", "nearest neighbour, %", "majority class, %", "random labels, %"
table = pd.DataFrame(
    [
        [
            name,
            a.n_test,
            100 * a.close_neighbours,
            100 * a.accuracy,
            100 * a.majority_accuracy,
            f"{100 * a.random_label_accuracy:.1f} [{100 * a.random_label_interval[0]:.1f}, {100 * a.random_label_interval[1]:.1f}]",
        ]
        for name, a in audits.items()
    ],
    columns=["protocol", "test images", *percent],
)
caption = "Leakage in the images of this copy, one split of each protocol: near-twins, and accuracy of copying the nearest training image's label, with true labels and with random labels per person (95 % range of 100 draws)."
numbered_table(table, caption, "tab-leak-copy", formats=dict.fromkeys(percent[:3], ".1f"))

# %% tags=["remove-cell"]
image, subject = audits["image"], audits["subject"]
glue_values(
    twin_share_percent=100 * image.close_neighbours,
    nn_accuracy_image_percent=100 * image.accuracy,
    nn_accuracy_subject_percent=100 * subject.accuracy,
    majority_percent=100 * subject.majority_accuracy,
    random_label_accuracy_percent=100 * image.random_label_accuracy,
    twin_share_subject_percent=100 * subject.close_neighbours,
)

# %% [markdown]
# In the images of this copy ({numref}`tab-leak-copy`) the classifier is right under the image protocol for {glue:text}`nn_accuracy_image_percent:.1f` % of the test images, under the subject
# protocol for
# {glue:text}`nn_accuracy_subject_percent:.1f` %, where always predicting the most frequent class reaches {glue:text}`majority_percent:.1f` %. With random labels
# the image protocol still awards {glue:text}`random_label_accuracy_percent:.1f` %.
#
# {numref}`fig-twins` shows the similarities: {glue:text}`twin_share_percent:.1f` % of the test images have a twin above the threshold when
# images are split, and {glue:text}`twin_share_subject_percent:.1f` % when people are.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Correlation of each test image with its most similar training image, under both protocols; the dashed line is the threshold that tells people apart.", "name": "fig-twins"}, "image": {"alt": "Two histograms: nearly all images lie right of the threshold under the image protocol, and nearly all left of it under the subject protocol"}}
curves = {}
for protocol in ("image", "subject"):
    parts = split(image_set, protocol, seed=seed)
    curves[f"{protocol} protocol"] = nearest_neighbours(image_set.images[parts.test], image_set.images[parts.train])[
        1
    ].numpy()
_ = figures.plot_correlations(curves, threshold=audit.threshold)

# %% [markdown]
# ## What follows
#
# {cite:t}`yagis2021effect` measured the effect in experiments of their own: on OASIS, from which these slices seem to come too, a split by slices raised the accuracy by
# about thirty points over a split by people. A review found
# that more than half of the surveyed work on Alzheimer's disease and convolutional networks may be affected {cite:p}`wen2020convolutional`.
# A result under the image protocol is not wrong. It answers the question how well a network classifies further slices of *known people*.
# For *new* people the subject protocol is needed, and its precision is limited by the number of people.
#
# Groups found in this way are used to keep people apart and for nothing else. They name nobody, but they tell which images belong together,
# which the publishers of the dataset did not say; whoever uses them with other data should have the permission that re-linking needs.

# %% tags=["remove-cell"]
assert subject.shared_subjects == 0 and (subject.close_neighbours == 0 or not agrees)
assert image.n_test + len(split(image_set, "image", seed=seed).train) < len(image_set)
if record:
    assert float(said["random"]) > 95 and abs(float(said["unseen"]) - float(said["commonest"])) < 2
    assert (
        float(said["phantom_low"]) < float(said["low"])
        and plateau.loc["real", "smallest"] == plateau.loc["real", "largest"]
    )
