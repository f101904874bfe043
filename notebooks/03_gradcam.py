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
# (ch-gradcam)=
# # Exploration using Grad-CAM
#
# A network that predicts the right degree of dementia may have used shrunken tissue, the shape of the head, or the identity of the person.
# Its score does not show which. Gradient-weighted class activation mapping, *Grad-CAM*
# {cite:p}`selvaraju2017gradcam`, draws a heat map over the image that shows where the last convolutional layer found evidence for a class.
# This chapter explains the method, writes it out in code, and asks five questions. Which of the related methods are reliable? Does a
# network use the same places in real and synthetic images? Where the truth is known, does it use the tissue that the disease has removed?
# Does a network that was trained on other slices of its test people use the disease or the person? And does training with synthetic images
# change which places a network uses?
#
# The pictures and numbers of this chapter are of the images of this copy of the book: phantoms, that is
# simulated people ({ref}`chapter 2 <sec-phantoms>`), unless it was made from a dataset. They show what the maps are worth where the truth is known.
# One section has {ref}`the numbers of the thesis's dataset <sec-gradcam-record>`.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people to simulate or keep; 0 is everyone
epochs: int = 3  # passes over the training images
real_frac: float = 0.3  # share of real images in the networks trained with synthetic ones
max_slices: int = 24  # test slices that maps are drawn for, shared among the classes
seed: int = 0

# %% tags=["remove-cell"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from mri_aug.book.figures import Gallery, SheetRow, plot_curves, plot_forest, plot_sheet
from mri_aug.book.record import ABSENT, load_tables
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, power_text, use_book_style
from mri_aug.data.loading import load_images, separate_images
from mri_aug.data.splits import split
from mri_aug.generators.base import fit_generator, make_generator
from mri_aug.gradcam import measures
from mri_aug.gradcam.comparison import measure_networks, train_arms
from mri_aug.gradcam.maps import METHODS, gradcam_by_hand, heatmaps
from mri_aug.models.networks import target_layer
from mri_aug.models.training import TrainConfig, predict
from mri_aug.results.maps import MEASURES, measure_table, over_people, paired
from mri_aug.results.tables import estimate_text
from mri_aug.study.conditions import Condition

# %% [markdown]
# ## The networks
#
# The example throughout is the thesis's convolutional network ({numref}`Chapter %s <ch-architectures>`), trained under the
# *subject* protocol: no person in its test set was in its training set. Beside it stand the same network under the *image* protocol,
# two other architectures, and the three training sets of the thesis's question: a share of the images alone, the same augmented with
# *morph* images, and the same augmented with duplicates. Each training set has one network here, so a difference between two of them may be
# the luck of their initial weights.

# %% tags=["hide-input"]
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=n_subjects or None, seed=seed
)
load_notes, image_set = image_set.notes, separate_images(image_set)  # changes nothing where people are known
parts = {
    "subject": split(image_set, "subject", seed=seed, fold=(0, 1)),
    "image": split(image_set, "image", seed=seed, test_share=0.4, validation_share=0),
}
training = {protocol: image_set[part.train] for protocol, part in parts.items()}
full = Condition(protocol="subject")
part = replace(full, real_frac=real_frac)
filled = replace(part, synth_frac=round(1 - real_frac, 10), generator="morph")
arms = {
    "CNN": full,
    "CNN (image protocol)": replace(full, protocol="image"),
    "ResNet-18": replace(full, architecture="resnet18"),
    "ViT": replace(full, architecture="vit_tiny"),
    "part": part,
    "part + morph": filled,
    "part + duplicates": replace(filled, generator="duplicate"),
}
passes = max(epochs, 2048 * epochs // len(training["subject"]))  # few images need more passes to be learnt at all
shares = {"cnn": 1, "vit_tiny": 2, "resnet18": 4}  # a pass costs the others 5 and 13 times as much
configs = {name: TrainConfig(epochs=max(1, passes // share)) for name, share in shares.items()}
classifiers = train_arms(arms, training, seed=seed, configs=configs)

# %% [markdown]
# All networks are examined on the same slices: those that belong to the test parts of both protocols, equally many of each class where
# there are enough. No network was trained on them. The network under the image protocol was trained on *other slices of the same people*,
# some of them nearly identical ({numref}`Chapter %s <ch-dataset>`); the others were not.

# %% tags=["hide-input"]
common = np.intersect1d(parts["subject"].test, parts["image"].test)
members = [common[image_set.labels.numpy()[common] == c] for c in range(image_set.n_classes)]
per_class = -(-max_slices // image_set.n_classes)
spread = [one[np.linspace(0, len(one) - 1, min(per_class, len(one))).astype(int)] for one in members]
test = image_set[np.sort(np.concatenate(spread))]
truth, subjects, brain = test.labels.numpy(), test.subjects.numpy(), measures.brain_masks(test.images)
predictions = {name: predict(one, test.images).argmax(axis=1) for name, one in classifiers.items()}
classifier, predicted = classifiers["CNN"], predictions["CNN"]
degrees = [name if name.isupper() else name.lower() for name in test.class_names]  # in a sentence
network, scaling = classifier.model, {"mean": classifier.mean, "std": classifier.std}

# %% tags=["remove-cell"]
glue_values(
    gradcam_unknown=" ".join(image_set.notes[len(load_notes) :]),  # where people are
    gradcam_train_people=len(training["subject"].subjects.unique()),
    gradcam_test_people=len(np.unique(subjects)),
    gradcam_test_slices=len(test),
    gradcam_accuracy_percent=100 * (predicted == truth).mean(),
    gradcam_leaky_percent=100 * (predictions["CNN (image protocol)"] == truth).mean(),
    gradcam_majority_percent=100 * np.bincount(truth).max() / len(truth),
    gradcam_real_percent=100 * real_frac,
)

# %% [markdown]
# The CNN learned from {glue:text}`gradcam_train_people:d` people and is examined on {glue:text}`gradcam_test_slices:d` slices of
# {glue:text}`gradcam_test_people:d` others, of which it classifies {glue:text}`gradcam_accuracy_percent:.0f` % correctly; under the
# image protocol it is {glue:text}`gradcam_leaky_percent:.0f` %. Always predicting the most frequent class of these slices would be right
# for {glue:text}`gradcam_majority_percent:.0f` %. {glue:text}`gradcam_unknown:s`
#
# ## Overview of Grad-CAM
#
# The input of the method is an image, a class $c$, and a layer whose output still has spatial positions. That output consists of
# *feature maps*: $A^k$ is the $k$-th map of the layer (not the output of a $k$-th layer), and $A^k_{ij}$ its value at row $i$
# and column $j$. The network turns the maps into a score $y^c$ for each class; the score is taken before the
# softmax, so that it does not depend on the scores of the other classes.
#
# **Step 1. Gradients.** How would the score change if a value of a feature map changed a little? The answer is the
# partial derivative
#
# $$
# \frac{\partial y^c}{\partial A^k_{ij}},
# $$ (eq-gradcam-gradient)
#
# which backpropagation supplies for all maps and positions at once.
#
# **Step 2. Weights.** The derivatives of a map are averaged over its $Z$ positions, height times width, to one
# number, the importance of map $k$ for class $c$:
#
# $$
# \alpha^c_k = \frac{1}{Z} \sum_i \sum_j \frac{\partial y^c}{\partial A^k_{ij}}.
# $$ (eq-gradcam-alpha)
#
# This is an average over positions, a *global average pooling*, but of gradients. It must not be confused with the layer of that name by
# {cite:t}`lin2014network`, which averages the feature maps themselves and lets the network learn one map
# for each class, an idea on which the class activation maps of {cite:t}`zhou2016learning` rest. Grad-CAM needs no such layer: it works for
# any network in which the score can be differentiated, and for a network that ends in global average
# pooling and one linear layer its weights are those of the older method, up to a constant.
#
# **Step 3. Weighted sum.** The maps are added with their weights, and the negative part is cut off, because only evidence *for* the class
# is wanted:
#
# $$
# L^c_{\text{Grad-CAM}} = \mathrm{ReLU}\Bigl(\sum_k \alpha^c_k A^k\Bigr).
# $$ (eq-gradcam-map)
#
# The result has the size of the feature maps. To lay it over the image it is enlarged bilinearly and scaled to the range from 0 to 1. Each
# map is therefore scaled separately: one can compare *where* two maps are strong, not *how* strong they are.
#
# Written as code, the three steps are three lines. The hook before them keeps the feature maps while the image passes
# through; `heatmaps`, which the rest of the chapter uses, gets its maps from the library pytorch-grad-cam
# {cite:p}`gildenblat2021pytorch`.

# %%
plain_maps = heatmaps(network, test.images, target=predicted, **scaling)
has_map = plain_maps.any(axis=(1, 2))
chosen = int(np.argmax(2.0 * has_map + (predicted == truth)))  # rightly classified, if possible
image, asked = test.images[chosen : chosen + 1], int(predicted[chosen])

feature_maps = []
hook = target_layer(network).register_forward_hook(lambda layer, inputs, output: feature_maps.append(output))
score = network(classifier.normalise(image))[0, asked]
hook.remove()
gradients = torch.autograd.grad(score, feature_maps[0])[0]  # step 1
alpha = gradients.mean(dim=(2, 3), keepdim=True)  # step 2
cam = torch.relu((alpha * feature_maps[0]).sum(dim=1))[0].detach()  # step 3

# %% tags=["remove-cell"]
asked_of = test.labels[:32].tolist()
by_hand = gradcam_by_hand(network, test.images[:32], asked_of, target_layer(network), **scaling)
by_library = heatmaps(network, test.images[:32], target=asked_of, **scaling)
difference = np.abs(by_hand - by_library).max()
assert difference < 1e-5
glue_values(
    gradcam_compared=len(asked_of),
    gradcam_difference=power_text(difference),
    gradcam_asked=degrees[asked],
    gradcam_dead_slices=int((~has_map).sum()),
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The three steps on one test slice. From the left: the slice; the two feature maps with the most positive weight for the class asked about; the two with the most negative; their weighted sum, cut off at zero; the same, enlarged, over the slice.", "name": "fig-gradcam-steps"}, "image": {"alt": "The three steps on one test slice"}}
use_book_style(image_format="png")
weights, maps = alpha[0, :, 0, 0].detach(), feature_maps[0][0].detach()
order = [k for k in weights.argsort(descending=True).tolist() if maps[k].any()]
figure, panels = plt.subplot_mosaic("AABBCCDD\n.EEFFGG.", figsize=(PAGE_WIDTH, 3.9))
axes = list(panels.values())
axes[0].imshow(image[0, 0])
axes[0].set_title("slice", fontsize=8)
for axis, k in zip(axes[1:5], order[:2] + order[-2:], strict=True):
    axis.imshow(maps[k], cmap="viridis")
    axis.set_title(rf"$A^{{{k}}}$, $\alpha$ = {power_text(weights[k])}", fontsize=8, fontweight="normal")
axes[5].imshow(cam, cmap="inferno")
axes[5].set_title("ReLU of sum", fontsize=8)
enlarged = heatmaps(network, image, target=asked, **scaling)[0]
axes[6].imshow(image[0, 0])
axes[6].imshow(enlarged, cmap="inferno", alpha=0.8 * enlarged)
axes[6].set_title("heat map", fontsize=8)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# {numref}`fig-gradcam-steps` shows the steps for one slice and the class *{glue:text}`gradcam_asked:s`*. On
# {glue:text}`gradcam_compared:d` test slices, each asked about its true class, the maps computed from the equations and those of the library differ by at most
# {glue:text}`gradcam_difference:s`.
#
# **A weakness.** {eq}`eq-gradcam-alpha` gives all positions of a map the same weight. In the thesis's network
# the last feature maps are flattened into a dense layer, which has a separate weight for every position; averaging discards it. In
# consequence the weights of all active maps can be negative although parts of them are evidence for the class; step 3 then leaves nothing.
# Among the {glue:text}`gradcam_test_slices:d` test slices the map for the predicted class is zero
# everywhere in {glue:text}`gradcam_dead_slices:d`. HiResCAM {cite:p}`draelos2020hirescam` multiplies each value by its own
# derivative before summing,
#
# $$
# L^c_{\text{HiResCAM}} = \mathrm{ReLU}\Bigl(\sum_k \frac{\partial y^c}{\partial A^k} \odot A^k\Bigr),
# $$ (eq-gradcam-hirescam)
#
# and so keeps the weight of each position. Before its ReLU the values of such a map add up to the score $y^c$, except for the contribution
# of the biases of the later layers. That holds in any network that is piecewise linear from this layer on, as the thesis's is with its
# three dense layers and their ReLUs. The values of a Grad-CAM map do so where the derivatives of each feature map are the same at all positions,
# as before global average pooling and one linear layer, and not in general. In both, the ReLU at the end removes evidence against the
# class. Relatives with other weights are available by name: Grad-CAM++ {cite:p}`chattopadhay2018gradcampp`,
# LayerCAM {cite:p}`jiang2021layercam`, Eigen-CAM {cite:p}`muhammad2020eigencam` and Score-CAM {cite:p}`wang2020scorecam`.
#
# ## Measuring heat maps
#
# A heat map over a brain always looks meaningful, since whatever lights up is anatomy. A number needs a reference. We use these measures,
# each averaged over a person's slices and then over people, with 95 % intervals that
# resample people, never slices.
#
# - *Brain* and *atrophy*: the sum of a map's values is its *energy*. The share of the energy in a region is divided by
#   the share that a uniform map would place there, the region's share of the area: an uninformative map has 1. The regions are the brain
#   within the picture and, where it is known, the tissue lost to atrophy within
#   the brain. A third region can be had of every slice: its *fluid*, the pixels inside the brain that are darker than 0.55 of its median.
# - *Others' region*: the same share in the atrophied tissue (or, where that is not known, the fluid) of the *other* test people. Fluid lies in typical places, and a map
#   that always lights up the middle of the head reaches as much there as in the person's own tissue.
# - *Deletion* and *insertion* {cite:p}`petsiuk2018rise`: pixels of the brain are replaced by those of a blurred copy, in the order of
#   the map, and the area under the probability of the class is taken; or they are put back into the blurred copy. From both,
#   the area for a random order as coarse as the map is subtracted. A map that ranks what the network uses has a
#   deletion below 0 and an insertion above 0.
# - *Shift*: the correlation of a map with that of the picture moved by three pixels, moved back.
# - *Randomised*: the rank correlation of a map with that of the same network after all its weights have been drawn
#   anew at random, averaged over four draws. A map that does not change explains nothing that was learned {cite:p}`adebayo2018sanity`.
#
# The maps are for the class that the network predicts.

# %% tags=["hide-input"]
by_method = measure_networks({"CNN": classifier}, test, targets=predictions, methods=list(METHODS), seed=seed)
others = {name: one for name, one in classifiers.items() if name != "CNN"}
by_network = measure_networks(others, test, targets=predictions, seed=seed)
by_network = pd.concat([by_method[by_method["method"] == "hirescam"], by_network], ignore_index=True)

# %% tags=["hide-input"]
names = {
    "gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM",
    "eigencam": "Eigen-CAM", "layercam": "LayerCAM", "scorecam": "Score-CAM",
}  # fmt: skip
by_method["method"] = by_method["method"].map(names)
known = bool(by_method["energy"].notna().any())
unshown = ["fluid"] if known else []  # the disease's own region is the better one
numbered_table(
    measure_table(by_method, by="method", seed=seed).drop(columns=unshown),
    "The measures of the trained CNN's maps, with 95 % intervals over people in brackets. For an uninformative map "
    "brain, atrophy or fluid, and others' region are 1, deletion and insertion 0.",
    "tab-gradcam-methods",
)

# %% tags=["remove-cell"]
measure, region = ("energy", "atrophied tissue") if known else ("fluid", "dark fluid")
chance = f"{measure}_chance"
parts_of = {
    "own": (measure, chance),
    "random": (f"{measure}_random", chance),
    "others": ("elsewhere", "elsewhere_chance"),
}
for rows in (by_method, by_network):
    for name, (value, level) in parts_of.items():  # 1 is a uniform map, however large a person's region
        rows[name] = 1 + (rows[value] - rows[level]) / rows[level].mean()
levels = pd.concat(
    over_people(by_method, name, by=["method"], seed=seed).assign(group=words)
    for name, words in (("own", "trained"), ("random", "random weights"), ("others", "others' region"))
)
beyond = {
    words: over_people(by_method, "own", name, by=["method"], seed=seed).set_index("method")
    for name, words in (("random", "own region, trained minus random weights"), ("others", "own minus others' region"))
}

# %% tags=["hide-input"]
better_than = {words: [name for name in table.index if table["low"][name] > 0] for words, table in beyond.items()}
controls = pd.DataFrame(
    {
        words: [estimate_text(*row, ".2f") for row in table[["effect", "low", "high"]].itertuples(index=False)]
        for words, table in beyond.items()
    },
    index=beyond["own minus others' region"].index,
)
caption = f"How much more energy the CNN's maps put into the {region}, relative to a uniform map: paired differences over people with 95 % intervals. A method whose intervals both lie above 0 shows something learned that is not a typical place."
numbered_table(controls.reset_index(), caption, "tab-gradcam-controls")

# %% tags=["remove-cell"]
proven = [name for name in names.values() if all(name in found for found in better_than.values())]
glue_values(
    gradcam_learned=", ".join(proven) or "none of the methods",
    gradcam_region=region,
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Energy of the CNN's maps relative to a uniform map (dashed line): in the person's own region by the trained network and by the same network with random weights (four draws), and by the trained network in other people's region. The region is the atrophied tissue within the brain or, where that is not known, the dark fluid. Means over test people with 95 % intervals.", "name": "fig-gradcam-energy"}, "image": {"alt": "Energy of the maps of each method in the person's own region, with random weights, and in other people's region"}}
use_book_style()
in_region = f"Energy in the {region}, relative to a uniform map"
table = levels.drop(columns="value").rename(columns={"method": "condition", "effect": "value"})
_ = plot_forest(table, lines={"uniform map": 1}, x_label=in_region)

# %% [markdown]
# {numref}`tab-gradcam-methods` gives the measures and {numref}`fig-gradcam-energy` the one that matters most, with two controls. A map
# may lie in the {glue:text}`gradcam_region:s` because the architecture draws it there, whatever the weights, or because that place is typical. {numref}`tab-gradcam-controls`
# tests both as paired differences. The methods that pass both here: {glue:text}`gradcam_learned:s`. For the others, the position of a map is no
# evidence. The next figure randomises one layer after the other, beginning at the output.

# %% tags=["remove-cell"]
shown = {key: names[key] for key in ("gradcam", "hirescam", "layercam", "eigencam")}
whole = {key: heatmaps(network, test.images, method=key, target=predicted, **scaling) for key in shown}
person = {"subject": subjects, "label": truth}
tables = []
for last, layer in enumerate(reversed(measures.weighted_layers(network)), start=1):
    random = measures.randomised(network, seed=seed, last=last)
    for key, name in shown.items():
        cams = heatmaps(random, test.images, method=key, target=predicted, **scaling)
        ranks = pd.DataFrame({"rank": measures.rank_correlation(whole[key], cams, within=brain), **person})
        tables.append(over_people(ranks, "rank", seed=seed).assign(method=name, layer=layer))
cascade = pd.concat(tables, ignore_index=True)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How alike the CNN's maps stay while its layers are randomised one after the other, from the output on: rank correlation within the brain with the trained network's map of the same class; means over test people with 95 % intervals. Maps that become zero everywhere are left out.", "name": "fig-gradcam-cascade"}, "image": {"alt": "Rank correlation of maps with those of the trained network while layers are randomised"}}
columns = ["layer", "effect", "low", "high"]
likenesses = {method: part[columns].to_numpy().T for method, part in cascade.groupby("method", sort=False)}
_ = plot_curves(
    likenesses,
    x_label="Randomised, from the output up to and including",
    y_label="Rank correlation with the map before",
)

# %% tags=["remove-cell"]
curves = {
    names[key]: measures.perturbation_curves(classifier, test.images, cams, predicted, within=brain)
    for key, cams in whole.items()
}
noise = measures.random_maps(len(test), grid=32, seed=seed)
curves["random order"] = measures.perturbation_curves(classifier, test.images, noise, predicted, within=brain)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Deletion and insertion curves of four methods. On the left the probability of the predicted class while the brain's pixels are replaced by a blurred copy's, strongest of the map first; on the right while the same pixels are put back into the blurred copy. Means over test slices. A map that ranks what the network uses falls faster than the random order on the left and rises faster on the right.", "name": "fig-gradcam-curves"}, "image": {"alt": "Deletion and insertion curves of four methods and of a random order"}}
figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4), sharey=True)
for axis, way, xlabel in zip(axes, ("deletion", "insertion"), ("Replaced", "Put back"), strict=True):
    means = {name: getattr(one, way).mean(axis=0) for name, one in curves.items()}
    places = curves["random order"].replaced
    drawn = {name: (100 * places, mean) for name, mean in means.items()}
    plot_curves(
        drawn,
        x_label=f"{xlabel} (% of the brain)",
        y_label="Probability of the class",
        references=["random order"],
        ax=axis,
    )
    axis.get_legend().remove()
_ = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)

# %% tags=["remove-cell"]
fall, rise = (
    over_people(by_method, way, f"{way}_chance", by=["method"], seed=seed).set_index("method")
    for way in ("deletion", "insertion")
)
better = [name for name in names.values() if name in fall.index and fall["high"][name] < 0 < rise["low"][name]]
steady = over_people(by_method, "shift", by=["method"], seed=seed).set_index("method")["effect"]
glue_values(
    gradcam_faithful=", ".join(better) or "none of the methods",
    gradcam_steadiest=str(steady.idxmax()),
    gradcam_steadiest_shift=steady.max(),
    gradcam_shakiest=str(steady.idxmin()),
    gradcam_shakiest_shift=steady.min(),
)

# %% [markdown]
# By both curves together, deletion below and insertion above the random order with their intervals
# ({numref}`fig-gradcam-curves`, {numref}`tab-gradcam-methods`), the order of pixels is better than a random one for
# {glue:text}`gradcam_faithful:s`. When the picture is moved by three pixels, {glue:text}`gradcam_steadiest:s` changes least
# (correlation {glue:text}`gradcam_steadiest_shift:.2f`) and {glue:text}`gradcam_shakiest:s` most
# ({glue:text}`gradcam_shakiest_shift:.2f`). In what follows HiResCAM is used. It is the only method that divides this network's score among
# the positions, before the ReLU and except for the biases (a vision transformer is not piecewise linear, and no method does so there), and
# {numref}`fig-gradcam-energy` shows how far to trust it here.
#
# ## Exploratory results
#
# ### Slices and their synthetic images
#
# A synthetic image is made from each test slice by the *morph* generator ({numref}`Chapter %s <ch-dataset>`), fitted on the training
# people. The network was trained on neither. If the synthetic images resemble their sources in what matters to the network, its maps of both
# should be similar.

# %% tags=["remove-cell"]
learn_from = training["subject"]
generator = fit_generator(make_generator("morph"), learn_from.images, learn_from.labels, learn_from.subjects, seed=seed)
variations = generator.vary(test.images, test.labels, seed=seed)
real_maps = whole["hirescam"]
synthetic_maps = heatmaps(network, variations, method="hirescam", target=predicted, **scaling)
lesion = np.zeros_like(brain) if test.atrophy is None else test.atrophy[:, 0].numpy()
slices, varied = test.images[:, 0].numpy(), variations[:, 0].numpy()

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A slice of each class from test people, its Grad-CAM and HiResCAM maps, a synthetic image made from the slice, and its HiResCAM map. The maps are for the class that the network predicts for the slice, named after the arrow. Brighter is stronger; each map is scaled by itself, and one that is zero everywhere leaves the slice as it is. Thin lines enclose the tissue lost to atrophy, where it is known.", "name": "fig-gradcam-examples"}, "image": {"alt": "A slice of each class from test people, its Grad-CAM and HiResCAM maps, a synthetic image made from the slice, and its HiResCAM map"}}
use_book_style(image_format="png")
right_of = [
    np.flatnonzero((truth == c) & (predicted == c)) for c in np.unique(truth)
]  # rather those that it gets right
k = [
    (right if len(right) else np.flatnonzero(truth == c))[max(len(right), 1) // 2 - (len(right) == 1)]
    for c, right in zip(np.unique(truth), right_of, strict=True)
]
short = [name.removesuffix("demented").strip() for name in degrees]
titles = [f"{short[truth[i]]}\n→ {short[predicted[i]]}" for i in k]
rows = [
    SheetRow("slice", slices[k], regions=lesion[k], titles=titles),
    SheetRow("Grad-CAM", slices[k], whole["gradcam"][k]),
    SheetRow("HiResCAM", slices[k], real_maps[k]),
    SheetRow("synthetic", varied[k]),
    SheetRow("HiResCAM", varied[k], synthetic_maps[k]),
]
_ = plot_sheet(rows)

# %% tags=["remove-cell"]
likeness = measures.own_and_other(real_maps, synthetic_maps, subjects, predicted).assign(**person)
gap = over_people(likeness, "own", "other", seed=seed).iloc[0]
glue_values(
    gradcam_left_out=int(likeness["own"].isna().sum()),
    gradcam_own=gap["value"],
    gradcam_gap=estimate_text(*gap[["effect", "low", "high"]], ".2f"),
)

# %% [markdown]
# {numref}`fig-gradcam-examples` shows one slice of each class. Over all test slices, the map of a slice and the map of its synthetic image
# have a mean correlation of {glue:text}`gradcam_own:.2f`. Maps of different brains are similar too: the correlation is therefore compared
# with that of synthetic images of *other* people for whom the network predicts the same class. The difference is {glue:text}`gradcam_gap:s`. Slices
# whose map, or whose synthetic image's map, is zero everywhere are left out; there are {glue:text}`gradcam_left_out:d`.
#
# ### Evidence for the disease
#
# A map belongs to one class. Maps of the same slices are drawn for each class in turn. Where classes are degrees of a disease, evidence for a severe one should
# lie where tissue was lost more than evidence for the mildest does.

# %% tags=["hide-input"]
tables = []
for c, name in enumerate(test.class_names):
    cams = heatmaps(network, test.images, method="hirescam", target=c, **scaling)
    inside = lesion if known else measures.fluid_masks(test.images, brain)
    columns = {"share": measures.energy_share(cams, inside, within=brain), "asked": name, **person}
    tables.append(pd.DataFrame({**columns, "chance": measures.energy_share(np.ones_like(cams), inside, within=brain)}))
by_class = pd.concat(tables, ignore_index=True)
by_class["true class"] = [test.class_names[c] for c in by_class["label"]]
by_asked = over_people(by_class, "share", "chance", by=["asked"], effect="ratio", seed=seed)
both = over_people(by_class, "share", "chance", by=["asked", "true class"], effect="ratio", seed=seed)
table = both.pivot(index="asked", columns="true class", values="effect").reindex(test.class_names)
table = table[[name for name in test.class_names if name in table]].reset_index()
table["all slices"] = by_asked.set_index("asked").loc[table["asked"], "effect"].to_numpy()
table["low"], table["high"] = by_asked.set_index("asked").loc[table["asked"], ["low", "high"]].to_numpy().T
numbered_table(
    table,
    f"Energy of the CNN's HiResCAM maps in the {region}, relative to a uniform map, by the class asked about (rows) "
    "and the true class of the slice (columns); over all slices with its 95 % interval.",
    "tab-gradcam-asked",
    formats={column: ".2f" for column in table.columns if column != "asked"},
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The CNN's HiResCAM maps for the last class, which is the most severe of classes with an order, averaged over the test slices of each true class after every brain was brought to one outline; below, the average slice. Each average map is scaled by itself. Thin lines: the common outline; in the lower row, where at least half of the slices have lost tissue, if that is known and there is such a place.", "name": "fig-gradcam-average"}, "image": {"alt": "Average heat maps of each class on a common brain outline"}}
severe = heatmaps(network, test.images, method="hirescam", target=test.n_classes - 1, **scaling)
aligned, outline = measures.on_common_outline(severe, brain)
pictures, tissue = measures.on_common_outline(slices, brain)[0], measures.on_common_outline(lesion, brain)[0]
groups = {short[c]: truth == c for c in np.unique(truth)}
average = {name: np.stack([part[members].mean(axis=0) for members in groups.values()]) for name, part in
           (("map", aligned), ("slice", pictures), ("tissue", tissue))}  # fmt: skip
strength = average["map"] / np.maximum(average["map"].max(axis=(1, 2), keepdims=True), 1e-12)
titles = [f"{name} ({members.sum()} slices)" for name, members in groups.items()]
grey = average["slice"].astype(np.uint8)
outlines = np.stack([outline] * len(groups))
rows = [SheetRow("map", grey, strength, outlines, titles), SheetRow("slice", grey, regions=average["tissue"])]
_ = plot_sheet(rows)

# %% [markdown]
# The rows of {numref}`tab-gradcam-asked` should differ: evidence for a severe degree should lie in the {glue:text}`gradcam_region:s` more, and evidence
# for the mildest less, than chance would place it. {numref}`fig-gradcam-average` shows where the evidence for the last class lies on average.
#
# ### Right and wrong predictions
#
# Does a network use other places when it is wrong? {numref}`fig-gradcam-right-wrong` shows examples, and
# {numref}`tab-gradcam-right-wrong` the measures.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test slices that the CNN classifies rightly and wrongly (true class \u2192 predicted class), with its HiResCAM maps for the predicted and for the true class.", "name": "fig-gradcam-right-wrong"}, "image": {"alt": "Slices classified rightly and wrongly with their heat maps"}}
first_of_person = ~pd.Series(subjects).duplicated().to_numpy()
right, wrong = ([*np.flatnonzero(first_of_person & (hits == (predicted == truth)))[:3]] for hits in (True, False))
if not wrong:
    wrong = [*np.flatnonzero(predicted != truth)[:3]]
k = right + wrong
titles = [f"{short[truth[i]]}\n→ {short[predicted[i]]}" for i in k]
for_truth = heatmaps(network, test.images[k], method="hirescam", target=truth[k], **scaling)
rows = [SheetRow("slice", slices[k], titles=titles), SheetRow("for predicted", slices[k], real_maps[k])]
_ = plot_sheet([*rows, SheetRow("for true", slices[k], for_truth)])

# %% tags=["hide-input"]
answered = by_network[by_network["network"] == "CNN"].copy()
answered["prediction"] = np.where(answered["target"] == answered["label"], "right", "wrong")
numbered_table(
    measure_table(answered, by="prediction", seed=seed).drop(columns=unshown),
    "The measures of the CNN's HiResCAM maps where its prediction is right and where it is wrong, with 95 % intervals.",
    "tab-gradcam-right-wrong",
)

# %% [markdown]
# ### The same person under two protocols
#
# Under the image protocol the network was trained on neighbouring slices of every test person; recognising the person is enough. If it uses
# identity rather than disease, its maps should be specific to the person: maps of one person's slices should be more similar, relative to
# maps of others with the same predicted class, than under the subject protocol.

# %% tags=["remove-cell"]
leaky_maps, tables = {}, []
for name in ("CNN", "CNN (image protocol)"):
    one = classifiers[name]
    leaky_maps[name] = heatmaps(
        one.model, test.images, method="hirescam", target=predictions[name], mean=one.mean, std=one.std
    )
    likeness = measures.own_and_other(leaky_maps[name], leaky_maps[name], subjects, predictions[name])
    tables.append(likeness.assign(network=name, image=np.arange(len(test)), **person))
following = pd.concat(tables, ignore_index=True)
following["gap"] = following["own"] - following["other"]

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same slices of the same people, and the HiResCAM maps of the CNN trained without these people (subject protocol) and with other slices of them (image protocol), each for the class that it predicts.", "name": "fig-gradcam-protocols"}, "image": {"alt": "Heat maps of the same slices under the subject and the image protocol"}}
k = [members[len(members) // 2] for members in (np.flatnonzero(truth == c) for c in np.unique(truth))]
labels = {"CNN": "subject", "CNN (image protocol)": "image"}
rows = [SheetRow("slice", slices[k], regions=lesion[k], titles=[short[truth[i]] for i in k])]
rows += [SheetRow(f"{label} protocol", slices[k], leaky_maps[name][k]) for name, label in labels.items()]
_ = plot_sheet(rows)

# %% tags=["remove-cell"]
leaky = "CNN (image protocol)"
follows = paired(following, "gap", leaky, "CNN", by="network", seed=seed)
looks = paired(by_network, "own", leaky, "CNN", by="network", seed=seed)
glue_values(
    gradcam_follows=estimate_text(*follows[["effect", "low", "high"]], ".2f"),
    gradcam_looks=estimate_text(*looks[["effect", "low", "high"]], ".2f"),
)

# %% [markdown]
# Image minus subject protocol, over the same slices: the excess of the correlation with the person's other maps over that with other people's changes by
# {glue:text}`gradcam_follows:s`, and the energy in the {glue:text}`gradcam_region:s`, in multiples of chance, by {glue:text}`gradcam_looks:s`.
# An interval that holds 0 does not show that the network is free of leakage: two slices of one person differ so little that a network that
# recognises the person and one that recognises the disease can use the same places.
#
# ### Architectures, and training with synthetic images

# %% tags=["hide-input"]
share = f"{100 * real_frac:g} % of the images"
by_network["network"] = by_network["network"].str.replace("part", share)
accuracy = {name.replace("part", share): (found == truth).mean() for name, found in predictions.items()}
table = measure_table(by_network, by="network", seed=seed).drop(columns=unshown)
table.insert(1, "accuracy", [f"{100 * accuracy[name]:.0f} %" for name in table["network"]])
numbered_table(
    table,
    "The measures of every network's HiResCAM maps on the same test slices, with 95 % intervals over people, and the "
    "share of these slices that it classifies rightly. All but the second are trained under the subject protocol.",
    "tab-gradcam-networks",
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Energy of every network's HiResCAM maps in a region relative to a uniform map (dashed line), trained and with random weights (four draws). The region is the atrophied tissue within the brain or, where that is not known, the dark fluid. Means over test people with 95 % intervals.", "name": "fig-gradcam-networks"}, "image": {"alt": "Energy of the heat maps of every network in a region"}}
use_book_style()
trained, lost = (
    over_people(by_network, f"{measure}{ending}", chance, by=["network"], effect="ratio", seed=seed)
    for ending in ("", "_random")
)
both = pd.concat([trained.assign(weights="trained"), lost.assign(weights="random")])
columns = {"network": "condition", "weights": "group", "effect": "value"}
table = both.drop(columns="value").rename(columns=columns)
_ = plot_forest(table, lines={"uniform map": 1}, x_label=in_region)

# %% tags=["remove-cell"]
contrasts = {
    "morph": (f"{share} + morph", share),
    "duplicates": (f"{share} + duplicates", share),
    "control": (f"{share} + morph", f"{share} + duplicates"),
}
effects = {
    name: paired(by_network, "own", *pair, by="network", seed=seed)[["effect", "low", "high"]]
    for name, pair in contrasts.items()
}
glue_values(**{f"gradcam_effect_{name}": estimate_text(*effect, ".2f") for name, effect in effects.items()})

# %% tags=["remove-cell"]
majority = np.bincount(truth).max() / len(truth)
idle = [name for name, share_right in accuracy.items() if share_right <= majority]
untrained = (
    f"These networks do not exceed the {100 * majority:.0f} % of always predicting the most frequent class: {', '.join(idle)}. "
    "Their maps show that they have not learned yet, and nothing about their architecture."
)
glue_values(
    gradcam_untrained_sentence=untrained if idle else "All of them score better than always predicting one class.",
)

# %% [markdown]
# {numref}`tab-gradcam-networks` and {numref}`fig-gradcam-networks` compare the networks. The maps of ResNet-18 have
# 4 × 4 positions and those of the vision transformer 8 × 8, against the CNN's 32 × 32: a coarse map cannot follow a sulcus, so each
# architecture is compared with its own reference, random weights.
# {glue:text}`gradcam_untrained_sentence:s`
# Adding morph images to the sample changes the energy in the {glue:text}`gradcam_region:s`, in multiples of chance, by
# {glue:text}`gradcam_effect_morph:s`, adding duplicates by {glue:text}`gradcam_effect_duplicates:s`; between the two, which train for equally many
# steps, lie {glue:text}`gradcam_effect_control:s`. These are differences between single networks.
#
# (sec-gradcam-record)=
# ## In the thesis's dataset
#
# The same measures were taken on the thesis's dataset for the record: the CNN at 128 × 128 after three passes over its training set, in two folds of people, on two slices of each
# test person that no network was trained on. *All* was trained on all training people, and beside it stand the same network under the image protocol and 30 %
# of the training people augmented to full size with morph images or with duplicates. Where tissue was lost is not known here, so the region is the dark fluid.
# The intervals cover people; two networks of each kind show little of what other initial weights would do. {glue:text}`record_note:s`

# %% tags=["hide-input"]
record = load_tables("heatmaps").get("heatmaps")
if record is not None:
    wanted = [name for one in MEASURES for name in (one.value, one.reference) if name]
    record = record.reindex(columns=[*record, *(name for name in wanted if name not in record)])
    record = record.assign(image=record["subject"], map=record["method"].map(names))
    for name in ("fluid", "fluid_random", "elsewhere"):
        level = record["elsewhere_chance" if name == "elsewhere" else "fluid_chance"]
        record[f"{name}_level"] = 1 + (record[name] - level) / level.mean()
    arms = record[record["method"] == "hirescam"]
    people = arms["subject"].nunique()
    right = arms.groupby("network")["right"].mean()
    table = measure_table(arms, by="network", seed=seed)
    table.insert(1, "accuracy", [f"{100 * right[name]:.0f} %" for name in table["network"]])
caption = "The measures of HiResCAM maps in the thesis's dataset by training set, with 95 % intervals over people, and the share of the slices that the networks classify rightly."
numbered_table(ABSENT if record is None else table, caption, "tab-gradcam-record")

# %% tags=["hide-input"]
if record is not None:
    table = measure_table(record[record["network"] == "all"], by="map", seed=seed).sort_values("map")
caption = "The measures by method in the thesis's dataset, for the networks trained on all training people under the subject protocol."
numbered_table(ABSENT if record is None else table, caption, "tab-gradcam-record-methods")

# %% tags=["remove-cell"]
said = dict.fromkeys(
    ("people", "accuracy", "leaky", "commonest", "untrained", "typical", "leaky_typical", "own", "leaky_own", "morph"),
    "–",
)
if record is not None:
    differences = {
        "untrained": over_people(arms[arms["network"] == "all"], "fluid_level", "fluid_random_level"),
        "typical": over_people(arms[arms["network"] == "all"], "fluid_level", "elsewhere_level"),
        "leaky_typical": over_people(arms[arms["network"] == "all, image protocol"], "fluid_level", "elsewhere_level"),
        "own": over_people(arms[arms["network"] == "all"], "own", "other"),
        "leaky_own": over_people(arms[arms["network"] == "all, image protocol"], "own", "other"),
        "morph": paired(arms, "fluid_level", "30 % + morph", "30 % + duplicates", by="network").to_frame().T,
    }
    effects = {name: one.iloc[0][["effect", "low", "high"]].astype(float) for name, one in differences.items()}
    said |= {name: estimate_text(*one, ".2f") for name, one in effects.items()}
    said |= {"people": f"{people}", "accuracy": f"{100 * right['all']:.0f}",
             "leaky": f"{100 * right['all, image protocol']:.0f}"}  # fmt: skip
    commonest = arms.drop_duplicates("subject")["label"].value_counts(normalize=True).max()
    said["commonest"] = f"{100 * commonest:.0f}"
    assert right["all"] < commonest + 0.05 < right["all, image protocol"]
    assert min(effects[name]["low"] for name in ("untrained", "typical", "leaky_typical")) > 0
glue_values(
    record_note="The record's table is missing from this copy." if record is None else "",
    **{f"record_{name}": text for name, text in said.items()},
)

# %% [markdown]
# On {glue:text}`record_people:s` people the networks trained without them are right for {glue:text}`record_accuracy:s` % of the slices, and those
# trained on other slices of the same people for {glue:text}`record_leaky:s` %. Paired differences over people, with 95 % intervals, in multiples of a uniform map:
#
# - energy in the fluid, trained minus random weights: {glue:text}`record_untrained:s`;
# - energy in the person's own fluid minus in other people's: {glue:text}`record_typical:s`, and under the image protocol {glue:text}`record_leaky_typical:s`;
# - energy in the fluid, morph minus duplicates: {glue:text}`record_morph:s`.
#
# The networks that know none of these people do no better than naming the most frequent class, which is right for
# {glue:text}`record_commonest:s` %. Their maps nevertheless lie in the person's own fluid: more than a uniform map, more than with random weights, and more than in
# other people's fluid. A map that lies where the disease shows is therefore no evidence that a network can tell the disease. Nor does it separate the
# protocols: the networks that recognise the people use the fluid as well.
#
# The correlation of a slice's map with that of the person's other slice exceeds that with other people's of the same predicted class by
# {glue:text}`record_own:s`, and under the image protocol by {glue:text}`record_leaky_own:s`. An interval that holds 0 shows neither a difference nor equality.
#
# (sec-gradcam-gallery)=
# ## A gallery
#
# On a screen you choose a class, a network and a slice, and how opaque the map is; on paper stand the first slice of each class and the maps of all four networks.
# The controls can be reached with the Tab key; arrow keys change a list or the slider, and the buttons step through the slices of the class. Each slice is
# followed by the synthetic image that *morph* made from it.

# %% tags=["remove-cell"]
use_book_style(image_format="png")
chosen = np.concatenate([np.flatnonzero(truth == c)[:: -(-int((truth == c).sum()) // 3)] for c in np.unique(truth)])
pictures = torch.stack([test.images[chosen], variations[chosen]], dim=1).flatten(0, 1)
owner = np.repeat(chosen, 2)
kinds = [f"person {subjects[i]}, slice {n}{', synthetic' if j % 2 else ''}"
         for j, (i, n) in enumerate(zip(owner, np.repeat(np.arange(len(chosen)) + 1, 2), strict=True))]  # fmt: skip
maps, captions = {}, {}
for name in ("CNN", "CNN (image protocol)", "ResNet-18", "ViT"):
    one = classifiers[name]
    found = predict(one, pictures).argmax(axis=1)
    maps[name] = heatmaps(one.model, pictures, method="hirescam", target=found, mean=one.mean, std=one.std)
    captions[name] = [
        f"{name}: the person is {degrees[truth[i]]}, the prediction {degrees[c]}. HiResCAM for the prediction."
        for c, i in zip(found, owner, strict=True)
    ]

# %% tags=["hide-input"]
classes = [test.class_names[truth[i]] for i in owner]
Gallery("Slices and heat maps", pictures[:, 0].numpy(), classes, kinds, maps, captions)

# %% tags=["remove-cell"]
glue_values(
    gradcam_answer=(
        f"In the {region}, the maps of these methods pass both controls, random weights and other people's region: "
        f"{', '.join(proven) or 'none'}. Better than a random order in deletion and insertion: {', '.join(better) or 'none'}."
    ),
    gradcam_gap_sentence=(
        "The map of a slice resembles that of its synthetic image more than that of another person's by "
        f"{estimate_text(*gap[['effect', 'low', 'high']], '.2f')} (difference in correlation)."
    ),
)

# %% [markdown]
# ## What may be concluded
#
# In the images of this copy: {glue:text}`gradcam_answer:s` {glue:text}`gradcam_gap_sentence:s`
#
# - A method that highlights a place equally well with random weights shows anatomy and architecture. Its maps are no evidence of what was
#   learned, however plausible they look. That holds for the thesis's plain Grad-CAM wherever
#   {numref}`fig-gradcam-energy` shows it above chance with random weights.
# - That energy falls inside the brain means little: the background of these images is black and gives a convolution
#   little to respond to.
# - A ratio above 1 in the atrophied tissue says that the network's evidence lies where the disease is *more than chance
#   would place it*. It does not say that the network measures atrophy. Fluid is dark and lies in typical places, and
#   a network may respond to both in healthy people too.
# - A ratio near or below 1 does not prove that the network ignores the disease. Enlarged ventricles can be seen from
#   the bright tissue at their border as well as from the fluid inside, and {eq}`eq-gradcam-map` shows evidence *for* a class only:
#   the absence of fluid, which is evidence for a healthy person, has no position.
# - Deletion and insertion show the network pictures that no scanner makes. A blurred patch is unusual input, and a fall of the probability
#   may be a response to the patch itself.
# - Maps describe one layer of one network. Networks trained from other initial weights may use other places and score equally well; the
#   intervals here cover people, not networks.
