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
# A network that names the right degree of dementia may have looked at shrunken tissue, at the shape of the head, or at
# who the person is. Its score does not tell which. Gradient-weighted class activation mapping, *Grad-CAM*
# {cite:p}`selvaraju2017gradcam`, draws a heat map over the image that shows where the last convolutional layer found
# what speaks for a class. This chapter explains the method, writes it out, and asks two things of a trained network.
# Does it look at real and synthetic images in the same way? And, where the truth is known, does it look at the tissue that
# the disease has taken?

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
n_subjects: int = 48  # people to simulate or keep; 0 is everyone
epochs: int = 8  # passes over the training images
seed: int = 0

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from mri_aug.dataset import load_images
from mri_aug.generators import fit_generator, make_generator
from mri_aug.gradcam import gradcam_by_hand, heatmaps
from mri_aug.localisation import brain_masks, energy_share
from mri_aug.models import make_model, target_layer
from mri_aug.protocols import split
from mri_aug.report import glue_values, numbered_table
from mri_aug.results.inference import median_interval
from mri_aug.style import PAGE_WIDTH, use_book_style
from mri_aug.training import TrainConfig, predict, train

use_book_style(image_format="png")

# %% [markdown]
# The example throughout is the thesis's convolutional network ({numref}`Chapter %s <ch-architectures>`), trained under the
# *subject* protocol: nobody in the test set was seen in training. Of the test people every fourth slice is kept, since
# neighbouring slices, and their maps, hardly differ.

# %%
image_set = load_images(dataset, n_subjects=n_subjects or None, seed=seed)
shares = {"test_share": 0.3, "validation_share": 0}
parts = split(image_set, "subject", seed=seed, **shares)
training, test = image_set[parts.train], image_set[parts.test[::4]]
network = make_model("cnn", n_classes=image_set.n_classes, seed=seed)
config = TrainConfig(epochs=epochs)
classifier = train(network, training, seed=seed, config=config)
scaling = {"mean": classifier.mean, "std": classifier.std}

# %% tags=["remove-cell"]
predicted = predict(classifier, test.images).argmax(axis=1)
truth = test.labels.numpy()
glue_values(
    gradcam_train_people=len(training.subjects.unique()),
    gradcam_test_people=len(test.subjects.unique()),
    gradcam_test_slices=len(test),
    gradcam_accuracy_percent=100 * (predicted == truth).mean(),
    gradcam_majority_percent=100 * np.bincount(truth).max() / len(truth),
)

# %% [markdown]
# It learned from {glue:text}`gradcam_train_people:d` people and is examined on {glue:text}`gradcam_test_slices:d` slices of
# {glue:text}`gradcam_test_people:d` others, of which it classifies {glue:text}`gradcam_accuracy_percent:.0f` % correctly.
# Always naming the most frequent class of these slices would be right for {glue:text}`gradcam_majority_percent:.0f` %.
#
# ## Overview of Grad-CAM
#
# The input of the method is an image, a class $c$, and a layer whose output still has positions. That output consists of
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
# This is an average over positions, a *global average pooling*, but of gradients. It is easily confused with the layer
# of that name by {cite:t}`lin2014network`, which averages the feature maps themselves and lets the network learn one map
# for each class, an idea on which the class activation maps of {cite:t}`zhou2016learning` rest. Grad-CAM asks for no such
# layer: it works for any network in which the score can be differentiated, and for a network that ends in global average
# pooling and one linear layer its weights are those of the older method, up to a constant.
#
# **Step 3. Weighted sum.** The maps are added with their weights, and the negative part is cut off, because evidence
# *for* the class is asked for:
#
# $$
# L^c_{\text{Grad-CAM}} = \mathrm{ReLU}\Bigl(\sum_k \alpha^c_k A^k\Bigr).
# $$ (eq-gradcam-map)
#
# The result has the size of the feature maps. To lay it over the image it is enlarged bilinearly and stretched to the
# range from 0 to 1. Each map is therefore scaled by itself: one can compare *where* two maps are strong, not *how*
# strong they are.
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
keep = lambda layer, inputs, output: feature_maps.append(output)  # noqa: E731
hook = target_layer(network).register_forward_hook(keep)
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
    gradcam_difference=f"{difference:.0e}",
    gradcam_asked=test.class_names[asked].lower(),
    gradcam_dead_slices=int((~has_map).sum()),
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The three steps on one test slice. From the left: the slice; the two feature maps with the most positive weight for the class asked about; the two with the most negative; their weighted sum, cut off at zero; the same, enlarged, over the slice.", "name": "fig-gradcam-steps"}, "image": {"alt": "The three steps on one test slice"}}
weights, maps = alpha[0, :, 0, 0].detach(), feature_maps[0][0].detach()
order = weights.argsort(descending=True)
figure, axes = plt.subplots(1, 7, figsize=(PAGE_WIDTH, 1.35))
axes[0].imshow(image[0, 0])
axes[0].set_title("slice", fontsize=7)
for axis, k in zip(axes[1:5], [*order[:2].tolist(), *order[-2:].tolist()], strict=True):
    axis.imshow(maps[k], cmap="viridis")
    axis.set_title(rf"$A^{{{k}}}$, $\alpha$ = {weights[k]:.1g}", fontsize=7, fontweight="normal")
axes[5].imshow(cam, cmap="inferno")
axes[5].set_title("ReLU of sum", fontsize=7)
enlarged = heatmaps(network, image, target=asked, **scaling)[0]
axes[6].imshow(image[0, 0])
axes[6].imshow(enlarged, cmap="inferno", alpha=0.8 * enlarged)
axes[6].set_title("heat map", fontsize=7)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# {numref}`fig-gradcam-steps` shows the steps for one slice and the class *{glue:text}`gradcam_asked:s`*. On 32 test slices the
# maps computed from the equations and those of the library differ by at most {glue:text}`gradcam_difference:s`.
#
# **A weakness to keep in mind.** {eq}`eq-gradcam-alpha` gives all positions of a map the same weight. In the thesis's network
# the last feature maps are flattened into a dense layer, which has a weight of its own for every position; averaging
# forgets it. In consequence the weights of all active maps can come out negative although parts of them speak for the class;
# step 3 then leaves nothing. Among the {glue:text}`gradcam_test_slices:d` test slices the map for the predicted class is zero
# everywhere in {glue:text}`gradcam_dead_slices:d`. HiResCAM {cite:p}`draelos2020hirescam` multiplies each value by its own derivative before summing,
# $\mathrm{ReLU}(\sum_k \frac{\partial y^c}{\partial A^k} \odot A^k)$, and loses nothing there. Both are shown below. Relatives
# with other weights are available by name: Grad-CAM++ {cite:p}`chattopadhay2018gradcampp`, LayerCAM
# {cite:p}`jiang2021layercam`, Eigen-CAM {cite:p}`muhammad2020eigencam` and Score-CAM {cite:p}`wang2020scorecam`.
#
# ## Exploratory results
#
# ### Real and synthetic slices
#
# A variation of each test slice is made by the *morph* generator ({numref}`Chapter %s <ch-dataset>`), fitted on the training
# people. The network has seen neither the slice nor its variation. If the variations resemble real slices in what
# matters to the network, its maps of both should resemble each other. HiResCAM is used for the comparison, because
# plain Grad-CAM can vanish on this network, as seen above.

# %% tags=["hide-input"]
people_to_learn_from = training.images, training.labels, training.subjects
generator = fit_generator(make_generator("morph"), *people_to_learn_from, seed=seed)
variations = generator.vary(test.images, test.labels, seed=seed)
real_maps = heatmaps(network, test.images, method="hirescam", target=predicted, **scaling)
synthetic_maps = heatmaps(network, variations, method="hirescam", target=predicted, **scaling)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A slice of each class from test people, its Grad-CAM and HiResCAM maps, a synthetic variation of the slice, and the HiResCAM map of the variation. The maps ask for the class that the network predicts for the real slice, named above the second row. Brighter is stronger; each map is scaled by itself, and one that is zero everywhere leaves the slice as it is. Thin lines enclose the tissue lost to atrophy, where it is known.", "name": "fig-gradcam-examples"}, "image": {"alt": "A slice of each class from test people, its Grad-CAM and HiResCAM maps, a synthetic variation of the slice, and the HiResCAM map of the variation"}}
of_class = [np.flatnonzero(truth == c) for c in np.unique(truth)]
middle = [members[len(members) // 2] for members in of_class]
rows = [(test.images, None, "slice"), (test.images, plain_maps, "Grad-CAM"), (test.images, real_maps, "HiResCAM")]
rows += [(variations, None, "variation"), (variations, synthetic_maps, "HiResCAM")]
figure, axes = plt.subplots(5, len(middle), figsize=(PAGE_WIDTH, 9.1), squeeze=False)
for row, (pictures, overlay, title) in zip(axes, rows, strict=True):
    for axis, k in zip(row, middle, strict=True):
        axis.imshow(pictures[k, 0])
        if overlay is not None:
            axis.imshow(overlay[k], cmap="inferno", alpha=0.8 * overlay[k], vmin=0, vmax=1)
        if overlay is plain_maps and test.atrophy is not None and test.atrophy[k].any():
            axis.contour(test.atrophy[k, 0], levels=[0.5], colors="#56B4E9", linewidths=0.5)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    row[0].set_ylabel(title)
for top, below, k in zip(axes[0], axes[1], middle, strict=True):
    top.set_title(test.class_names[truth[k]], fontsize=8)
    below.set_title(f"for: {test.class_names[predicted[k]].lower()}", fontsize=7, fontweight="normal")
plt.show()

# %% tags=["hide-input"]
subjects = test.subjects.numpy()
alive = (np.ptp(real_maps, axis=(1, 2)) > 0) & (np.ptp(synthetic_maps, axis=(1, 2)) > 0)
n, person, classes = int(alive.sum()), subjects[alive], predicted[alive]
pixels = [maps[alive].reshape(n, -1) for maps in (real_maps, synthetic_maps)]
correlations = np.corrcoef(*pixels)[:n, n:] if n else np.zeros((0, 0))
comparable = (person[:, None] != person) & (classes[:, None] == classes)
others = np.where(comparable, correlations, np.nan)
slices = pd.DataFrame({"own": np.diag(correlations), "other": pd.DataFrame(others).mean(axis=1)})
likeness = slices.groupby(person).mean()
gap = (likeness["own"] - likeness["other"]).dropna()
interval = median_interval(gap, seed=seed)
verdict = (
    "The network thus looks at a variation more as it looks at its source than as it looks at another person."
    if interval.low > 0
    else "The network thus looks at a variation less as it looks at its source than as it looks at another person."
    if interval.high < 0
    else "With these people the two cannot be told apart."
)

# %% tags=["remove-cell"]
glue_values(
    gradcam_left_out=int((~alive).sum()),
    gradcam_own=likeness["own"].median(),
    gradcam_gap=gap.median(),
    gradcam_gap_low=interval.low,
    gradcam_gap_high=interval.high,
    gradcam_gap_sentence=verdict,
)

# %% [markdown]
# {numref}`fig-gradcam-examples` shows one slice of each class. Over all test slices, the map of a slice and the map of its
# variation correlate by {glue:text}`gradcam_own:.2f` in the median person. Brains are alike, and so are maps of different
# brains: compared with the variations of *other* people for whom the network predicts the same class, the
# correlation differs by {glue:text}`gradcam_gap:+.2f` (95 % interval over people {glue:text}`gradcam_gap_low:.2f` to
# {glue:text}`gradcam_gap_high:.2f`). {glue:text}`gradcam_gap_sentence:s` Slices whose map, or whose variation's map, is zero
# everywhere are left out; there are {glue:text}`gradcam_left_out:d`.
#
# ### Does it look at the disease?
#
# A heat map over a brain always looks meaningful, since whatever lights up is anatomy. A number needs a standard of
# comparison. We call the sum of a map's values its *energy*, take the share of the energy that falls inside a region, and
# divide it by the share that a uniform map would place there, which is the region's share of the area. The ratio is 1 for a map
# that knows nothing of the region. The regions are the brain within the picture and, where it is known, the tissue lost
# to atrophy within the brain. The second standard is the same network *before* training: a map that survives random
# weights explains nothing of what was learned {cite:p}`adebayo2018sanity`.

# %%
brain = brain_masks(test.images)
regions = {"brain": (brain, np.ones_like(brain))}
if test.atrophy is not None:
    regions["atrophied tissue"] = (test.atrophy[:, 0].numpy(), brain)
untrained = make_model("cnn", n_classes=test.n_classes, seed=seed)
networks = {"trained": network, "untrained": untrained}
methods = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
records = []
for name, model in networks.items():
    for method, written in methods.items():
        cams = heatmaps(model, test.images, method=method, **scaling)
        for region, (inside, within) in regions.items():
            share = energy_share(cams, inside, within=within)
            chance = energy_share(np.ones_like(cams), inside, within=within)
            key = {"network": name, "map": written, "region": region, "subject": subjects}
            records.append(pd.DataFrame({**key, "share": share, "chance": chance}).dropna())
by_person = pd.concat(records).groupby(["region", "map", "network", "subject"], sort=False)
people = by_person[["share", "chance"]].mean()
people["ratio"] = people["share"] / people["chance"]

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Energy of the heat maps inside a region, relative to a uniform map (line at 1), for the trained and the untrained network. Each dot is a test person, the mean of their slices; the dark mark is the median with its 95 % bootstrap interval over people. The atrophied tissue is known for phantoms only.", "name": "fig-gradcam-energy"}, "image": {"alt": "Energy of the heat maps inside a region, relative to a uniform map (line at 1), for the trained and the untrained network"}}
use_book_style()
drawn = people.reset_index()
figure, axes = plt.subplots(1, len(regions), figsize=(PAGE_WIDTH, 3.4), squeeze=False)
for axis, region in zip(axes[0], regions, strict=True):
    part = drawn[drawn["region"] == region]
    jitter = np.random.default_rng(seed).uniform(-0.09, 0.09, size=len(part))
    for shift, (name, colour) in enumerate(zip(networks, sns.color_palette(), strict=False)):
        for place, written in enumerate(methods.values()):
            dots = (part["network"] == name).to_numpy() & (part["map"] == written).to_numpy()
            ratios, x = part["ratio"].to_numpy()[dots], place + 0.36 * shift - 0.18
            label = f"{name} network" if place == 0 else None
            axis.plot(x + jitter[dots], ratios, "o", color=colour, alpha=0.45, markersize=4, label=label)
            spread = median_interval(ratios, seed=seed)
            axis.vlines(x, spread.low, spread.high, color="black", linewidth=1.6)
            axis.hlines(pd.Series(ratios).median(), x - 0.1, x + 0.1, color="black", linewidth=2)
    axis.axhline(1, color="grey", linewidth=0.9, linestyle="--")
    axis.set_xticks(range(len(methods)), list(methods.values()))
    axis.set(title=region, ylabel="energy relative to a uniform map")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% tags=["hide-input"]
table = []
for (region, written, name), part in people.groupby(level=["region", "map", "network"], sort=False):
    spread = median_interval(part["ratio"], seed=seed)
    row = {"region": region, "map": written, "network": name, "people": len(part)}
    row |= {"energy (%)": 100 * part["share"].median(), "chance (%)": 100 * part["chance"].median()}
    table.append(row | {"ratio": part["ratio"].median(), "low": spread.low, "high": spread.high})
table = pd.DataFrame(table).sort_values(["region", "map"], ascending=[False, True], kind="stable")
numbered_table(
    table,
    "Share of a map's energy in a region, its chance level, and their ratio: medians over test people, with the ratio's "
    "95 % interval. A person's slices are averaged first.",
    "tab-gradcam-energy",
    formats={column: ".1f" for column in ("energy (%)", "chance (%)")} | {c: ".2f" for c in ("ratio", "low", "high")},
)

# %% tags=["remove-cell"]
wide = people["ratio"].unstack("network").reset_index()
sentences = []
for row in table[table["network"] == "trained"].itertuples():
    pairs = wide[(wide["region"] == row.region) & (wide["map"] == row.map)].dropna()
    change = median_interval(pairs["trained"] - pairs["untrained"], seed=seed)
    side = "more than" if row.low > 1 else "less than" if row.high < 1 else "neither demonstrably more nor less than"
    moved = "raised it" if change.low > 0 else "lowered it" if change.high < 0 else "did not demonstrably change it"
    sentences.append(
        f"The {row.map} maps of the trained network put {side} a uniform map's share of their energy into the "
        f"{row.region} (ratio {row.ratio:.2f}, 95 % interval {row.low:.2f} to {row.high:.2f}); training {moved}."
    )
if test.atrophy is None:
    sentences.append("Where tissue was lost is not known for this dataset: the question of the disease stays open.")
glue_values(gradcam_energy_sentences=" ".join(sentences))

# %% [markdown]
# {numref}`tab-gradcam-energy` and {numref}`fig-gradcam-energy` give the measures.
# {glue:text}`gradcam_energy_sentences:s`
#
# ### What one may conclude, and what not
#
# - That energy falls inside the brain means little: the background of these images is black and gives a convolution
#   nothing to respond to.
# - A ratio above 1 in the atrophied tissue says that the network's evidence lies where the disease is *more than chance
#   would place it*. It does not say that the network measures atrophy. Fluid is dark and lies in typical places, and
#   a network may respond to both in healthy people too. A ratio above 1 that is
#   no higher than before training is explained by the architecture and the anatomy, without any learning.
# - A ratio near or below 1 does not prove that the network ignores the disease. Enlarged ventricles can be seen from
#   the bright tissue at their border as well as from the fluid inside, and {eq}`eq-gradcam-map` shows evidence *for* a class only:
#   the absence of fluid, which speaks for a healthy person, has no place of its own.
# - Maps describe one layer of one network. Networks trained from other initial weights may look elsewhere and score
#   equally well; the intervals here cover people, not networks.
