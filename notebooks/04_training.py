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
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-training)=
# # Background on training deep learning models
#
# Every result of this thesis is a difference between two networks that were trained on different images. A difference can be attributed
# to the images only if all other choices are the same. This chapter explains these choices one by one: the network, the loss, the steps
# that reduce the loss, the weights that training starts from, and what is done about overconfidence.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a local folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people to look at; 0 is everyone
dataset_subjects: int = 200  # people of the section on calibration; 0 is everyone
seed: int = 0  # of the phantoms, the initial weights and the batches drawn here

# %% tags=["remove-cell"]
import math
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch.nn import functional

from mri_aug.book import diagrams, figures
from mri_aug.book.figures.curves import descend, descend_with_adam, descend_with_momentum, one_cycle, one_cycle_momentum
from mri_aug.book.report import glue_values, numbered_table, power_text, use_book_style
from mri_aug.data.loading import load_images, separate_images
from mri_aug.data.sampling import stratified_sample
from mri_aug.data.splits import split
from mri_aug.models.networks import count_parameters, freeze_backbone, make_model
from mri_aug.models.training import TrainConfig, calibrate, fit_temperature, predict, train
from mri_aug.results.metrics import evaluate
from mri_aug.study.parts import PEOPLE_TRAINING

use_book_style()

# %% tags=["remove-cell"]
source = {"class_names": class_names or None, "subjects": subjects or None, "seed": seed}
image_set = separate_images(load_images(dataset, n_subjects=n_subjects or None, **source))
config = TrainConfig()
torch.set_num_threads(1)  # the same sums in the same order, however busy the machine
rng = np.random.default_rng(seed)

# %% [markdown]
# (sec-neural-networks)=
# ## Overview of neural networks
#
# A neural network is a function with a great many adjustable numbers {cite:p}`goodfellow2016deep`. Its unit, the neuron, takes the outputs
# $a_0, \dots, a_{n-1}$ of the $n$ neurons of the preceding layer, multiplies them by weights, adds a constant, and applies a fixed function
# $\sigma$ to the sum:
#
# $$
# a = \sigma\left(w_0 a_0 + w_1 a_1 + \dots + w_{n-1} a_{n-1} + b\right)
# $$ (eq-neuron)
#
# The *weights* $w_i$ say how much each input counts and in which direction; the *bias* $b$ shifts the level at which
# the neuron begins to respond.[^neuron] The function, or *activation*, must not be linear: a composition of
# linear layers is one linear layer, however many there are. The networks of this thesis use $\mathrm{ReLU}(z) =
# \max(0, z)$ {cite:p}`nair2010rectified` and, in the vision transformers, its smooth relative GELU
# {cite:p}`hendrycks2016gaussian`.
#
# In a *fully connected* network every neuron reads every neuron of the preceding layer ({numref}`fig-network`). For a
# whole layer {eq}`eq-neuron` is a matrix product, $a^{(l)} = \sigma(W^{(l)} a^{(l-1)} + b^{(l)})$. The last layer has
# one neuron for each class and no activation; its outputs $z_c$, the *logits*, become probabilities through the softmax
#
# $$
# p_c = \frac{e^{z_c}}{\sum_{k=1}^{C} e^{z_k}}.
# $$ (eq-softmax)
#
# [^neuron]: The draft of this thesis {cite:p}`kwon2024draft` prints the first product of this sum three times over.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A fully connected network with two hidden layers. One neuron is picked out: it reads every output of the layer before it, each through a weight of its own.", "name": "fig-network"}, "image": {"alt": "Four columns of circles for input, two hidden layers and output, each circle joined to every circle of the column before; the connections into one hidden neuron are highlighted"}}
_ = diagrams.plot_network((4, 5, 5, 4))

# %% [markdown]
# ### Forward and backward
#
# Training repeats two passes. In the *forward pass* the layers are computed one after the other, and a loss compares the resulting
# probabilities with the label. In the *backward pass* the chain rule is applied from the
# loss to the input, each layer's derivative being built from that of the layer after it. The result is the gradient:
# for every weight and bias, the rate at which the loss would change with it. This is backpropagation
# {cite:p}`rumelhart1986learning`. It costs about twice a forward pass, and works the same way at any depth. The size of the numbers is not
# preserved, however: through many layers a gradient may shrink or grow geometrically {cite:p}`hochreiter1998vanishing`, which is why
# initial weights are scaled to the width of their layer
# {cite:p}`glorot2010understanding,he2015delving` and why the networks of {numref}`Chapter %s <ch-architectures>` have
# normalisation and skip connections.
#
# The following network has one hidden layer. Its gradient takes four lines.

# %%
x, label = rng.normal(size=4), 1
shapes = (5, 4), (5,), (4, 5), (4,)
W1, b1, W2, b2 = (rng.normal(size=shape) for shape in shapes)

hidden = np.maximum(W1 @ x + b1, 0)  # forward
probabilities = softmax(W2 @ hidden + b2)
loss = -np.log(probabilities[label])

d_logits = probabilities - np.eye(4)[label]  # backward
d_W2, d_b2 = np.outer(d_logits, hidden), d_logits
d_sum = (W2.T @ d_logits) * (hidden > 0)
d_W1, d_b1 = np.outer(d_sum, x), d_sum

# %% tags=["hide-input"]
weights = [torch.tensor(array, requires_grad=True) for array in (W1, b1, W2, b2)]
logits = weights[2] @ (weights[0] @ torch.tensor(x) + weights[1]).relu() + weights[3]
functional.cross_entropy(logits, torch.tensor(label)).backward()
gradients = zip(weights, (d_W1, d_b1, d_W2, d_b2), strict=True)
gradient_error = max(np.abs(weight.grad.numpy() - ours).max() for weight, ours in gradients)
assert gradient_error < 1e-12, gradient_error
n_toy_parameters = sum(math.prod(shape) for shape in shapes)
glue_values(
    n_toy_parameters=n_toy_parameters,
    n_cnn=count_parameters(make_model("cnn", seed=seed)),
)

# %% [markdown]
# PyTorch's automatic differentiation returns the same {glue:text}`n_toy_parameters:d` numbers to twelve decimals; the
# book does not build otherwise. The convolutional network of this thesis has {glue:text}`n_cnn:,d` of them.
#
# ### Mini-batches, steps and epochs
#
# The loss to be reduced is the mean over all training images. Its exact gradient would need a pass over every one of
# them for a single step. *Stochastic* gradient descent {cite:p}`robbins1951stochastic` takes the mean over a small
# random part instead, a *mini-batch* of $B$ images. The terms matter, because a study that adds images changes one but not the other:
#
# - a **step**, or iteration, is one mini-batch: forward, backward, one update;
# - an **epoch** is one pass over the training set, that is about $n / B$ steps.[^epoch]
#
# With the {glue:text}`n_images:,d` images of this build and $B =$ {glue:text}`batch_size:d`, an epoch has
# {glue:text}`steps_per_epoch:d` steps. Training on twice as many images for the same number of epochs therefore takes
# twice as many steps, and whether a gain then comes from the images or from the steps has to be tested ({numref}`Chapter %s
# <ch-methodology>`).
#
# The gradient of a mini-batch is unbiased: its mean over all possible batches is the exact gradient. That does not make it accurate.
# {numref}`fig-batches` shows its error for a softmax regression on these images. With slices drawn at random the error falls as
# $1/\sqrt{B}$, so that four times the computation halves it; at $B =$ {glue:text}`batch_size:d` it is {glue:text}`batch_error_percent:.0f` % of
# the gradient's length. Training works nevertheless, since small errors in many steps average out {cite:p}`goodfellow2016deep`.
#
# Slices are not independent, however. Those of one person are near copies. A batch of {glue:text}`batch_size:d` slices of as few people as possible
# has an error of {glue:text}`clustered_error_percent:.0f` %. The same holds for the training set as a whole. If other people had been scanned, its
# *exact* gradient would differ by about {glue:text}`people_error_percent:.0f` % (dashed). Random batches of about {glue:text}`batch_as_people:.0f` slices are
# already as accurate as that. More slices of the same people do not lower this floor; only more people do.
#
# [^epoch]: The draft calls a step an epoch.

# %% tags=["remove-cell"]
pixels = functional.avg_pool2d(image_set.images.double(), 8).flatten(1).numpy()  # 16 x 16 values of each image
features = (pixels - pixels.mean()) / pixels.std()
residual = 1 / image_set.n_classes - np.eye(image_set.n_classes)[image_set.labels]  # p - y where all weights are 0

exact = residual.T @ features / len(features)
length = np.linalg.norm(exact)

members = [np.flatnonzero(image_set.subjects == person) for person in image_set.subjects.unique()]
sizes = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256])
errors = {"slices at random": [], "slices of as few people as possible": []}
for size in sizes:
    crowds = [rng.permutation(len(members)) for _ in range(200)]
    few = [np.concatenate([rng.permutation(members[i]) for i in crowd])[:size] for crowd in crowds]
    for name, batches in zip(errors, (rng.integers(len(features), size=(200, size)), few), strict=True):
        noise = [residual[batch].T @ features[batch] / len(batch) - exact for batch in batches]
        errors[name].append(np.sqrt(np.mean(np.square(noise).sum(axis=(1, 2)))) / length)

of_people = np.array([residual[rows].T @ features[rows] / len(rows) for rows in members])
floor = np.sqrt(of_people.var(axis=0, ddof=1).sum() / len(members)) / length

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The error of a mini-batch's gradient, in units of the length of the whole training set's gradient: root mean square over 200 batches of each size, on logarithmic axes. Batches of neighbouring slices of few people are much noisier than batches of random slices. Dashed: how far the gradient of the whole training set would move if as many other people had been scanned.", "name": "fig-batches"}, "image": {"alt": "Log-log plot of gradient error against batch size from 1 to 256. The curve for random slices falls in a straight line; the curve for slices of few people stays high and falls only for larger batches; a dashed horizontal line marks the error from the choice of people"}}
at_random, clustered = errors.values()
people = "the whole set, had other people been scanned"
curves = {name: (sizes, values) for name, values in errors.items()} | {people: (sizes, np.full(len(sizes), floor))}
ax = figures.plot_curves(
    curves, x_label="Images in a mini-batch, B", y_label="Relative error of the gradient", references=[people]
)
ax.set(xscale="log", yscale="log")
ax.set_xticks(sizes, sizes)
ax.set_yticks([0.1, 0.25, 0.5, 1, 2, 4], ["0.1", "0.25", "0.5", "1", "2", "4"])
ax.minorticks_off()
place = list(sizes).index(config.batch_size)
glue_values(
    n_images=len(image_set),
    batch_size=config.batch_size,
    steps_per_epoch=math.ceil(len(image_set) / config.batch_size),
    batch_error_percent=100 * at_random[0] / math.sqrt(config.batch_size),
    clustered_error_percent=100 * clustered[place],
    people_error_percent=100 * floor,
    batch_as_people=(at_random[0] / floor) ** 2,
)

# %% [markdown]
# (sec-loss)=
# ## Loss function
#
# All models here are trained on, and mainly evaluated by, the cross-entropy between the label and the predicted
# probabilities. For one image, with $y_c = 1$ for the true class and 0 for the others,
#
# $$
# L = -\sum_{c=1}^{C} y_c \ln p_c = -\ln p_{\text{true}},
# $$ (eq-cross-entropy)
#
# and the loss of a set of images is the mean. The logarithm is natural. Minimising this loss maximises the likelihood
# of the labels {cite:p}`bishop2006pattern`, and its minimum is reached by the true conditional probabilities: it rewards confidence where
# it is justified, and uncertainty where it is not.
#
# {numref}`tab-priors` gives the losses of three classifiers that never look at an image. One gives each class the same probability; the other
# two predict the shares of the classes. A loss above the shares' is worse than ignoring the images. The shares depend on what is counted: the
# thesis's 200 people have other shares than the images of a small copy, and a score must be read against the shares of its own test
# part.
#
# The usual alternative is the squared residual, which for the true class is $(1 - p)^2$. It, too, distinguishes
# degrees of error: summed over the classes it is the Brier score {cite:p}`brier1950verification`, a proper score in
# its own right, which {numref}`Chapter %s <ch-results>` reports as well. Only accuracy does not distinguish degrees
# ({numref}`tab-losses`).[^residual]

# %% tags=["hide-input"]
counted = {
    f"{image_set.n_classes} classes alike": np.ones(image_set.n_classes),
    "the thesis's people (100, 70, 28, 2)": np.array([100, 70, 28, 2]),
    "images used in this chapter": np.bincount(image_set.labels),
}
rows = [(name, entropy(count), 100 * count.max() / count.sum()) for name, count in counted.items()]
priors = pd.DataFrame(rows, columns=["predicted shares", "cross-entropy (nats)", "accuracy (%)"])
glue_values(n_classes=image_set.n_classes)
numbered_table(priors, "Cross-entropy and accuracy of three classifiers that know the shares of the classes and nothing of the image.",
               "tab-priors", formats={"accuracy (%)": ".1f"})  # fmt: skip

# %% tags=["hide-input"]
cases = [
    ("right, confident", 0.95, 1),
    ("right, barely", 0.40, 1),
    ("wrong, barely", 0.35, 0),
    ("wrong, confident", 0.0001, 0),
]
names = ["prediction", "probability of the true class", "accuracy"]
losses = pd.DataFrame(cases, columns=names)
p = losses["probability of the true class"]
losses.insert(2, "cross-entropy", -np.log(p))
losses.insert(3, "squared residual", (1 - p) ** 2)
wrong = losses.iloc[-1]
glue_values(ce_wrong=wrong["cross-entropy"], squared_wrong=wrong["squared residual"])
numbered_table(losses, "Four predictions for one image whose true class is known, scored by cross-entropy, squared residual and accuracy.", "tab-losses",
               formats={"probability of the true class": "g", "cross-entropy": ".2f", "squared residual": ".4f"})  # fmt: skip

# %% [markdown]
# The two losses differ where a prediction is badly wrong. If the true class is given a probability of 0.0001, the
# squared residual is {glue:text}`squared_wrong:.4f`, hardly more than for any other wrong answer and never above 1,
# whereas the cross-entropy is $-\ln 0.0001 =$ {glue:text}`ce_wrong:.2f` and has no upper bound.[^log] The difference
# in *slope* is what matters for learning. Consider two classes, with $p = 1/(1 + e^{-z})$ for the true one, and
# differentiate with respect to the logit $z$, which is what backpropagation hands to the rest of the network:
#
# $$
# \frac{\partial}{\partial z}\left(-\ln p\right) = -(1 - p),
# \qquad
# \frac{\partial}{\partial z}\,(1 - p)^2 = -2\,p\,(1 - p)^2 .
# $$ (eq-loss-gradients)
#
# Where the network is confidently wrong, $p \to 0$, the first tends to $-1$ and the second to zero
# ({numref}`fig-losses`, right): under the squared residual the worst mistakes contribute least to learning. For $C$ classes the gradient of
# the cross-entropy keeps this simple form, $\partial L / \partial z_c = p_c - y_c$; it is the first line of the backward pass above.
#
# The same property has a disadvantage. A single confident error can outweigh dozens of good predictions in a mean, so a network may
# classify more images correctly and yet have a larger cross-entropy, because it is overconfident in its errors
# {cite:p}`guo2017calibration`. Hence later chapters report accuracy and calibration beside the loss.
#
# [^residual]: The draft ascribes this to the sum of residuals.
# [^log]: The draft gives 4, which is the logarithm to base ten.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Cross-entropy and squared residual against the probability *p* of the true class: the losses (left), their slopes in *p* on a logarithmic axis (middle), and their slopes in the logit (right). As *p* tends to 0 the slope of the cross-entropy in the logit tends to 1, that of the squared residual to 0.", "name": "fig-losses"}, "image": {"alt": "Three panels against the probability of the true class. Cross-entropy rises without bound towards 0, the squared residual to 1; in the logit the slope of cross-entropy is largest at 0, where that of the squared residual vanishes"}}
p = np.linspace(1e-3, 1, 600)
quantities = {
    "loss": (-np.log(p), (1 - p) ** 2),
    "|slope| in the probability": (1 / p, 2 * (1 - p)),
    "|slope| in the logit": (1 - p, 2 * p * (1 - p) ** 2),
}
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
for ax, (y_label, (log_loss, squared)) in zip(axes, quantities.items(), strict=True):
    curves = {"cross-entropy": (p, log_loss), "squared residual": (p, squared)}
    figures.plot_curves(curves, x_label="p of the true class", y_label=y_label, ax=ax)
_ = axes[1].set(yscale="log", ylim=(1e-2, 2e3))

# %% [markdown]
# (sec-gradient-descent)=
# ## Gradient descent
#
# Let $\theta$ hold all weights and biases, $\theta_0$ their initial values, and $\theta_t$ their values after step
# $t$. Write
#
# $$
# g_t = \nabla_\theta L(\theta_{t-1}; \mathcal{B}_t)
# $$ (eq-gradient)
#
# for the gradient of the mean loss over the mini-batch $\mathcal{B}_t$, taken where the step starts. Every method below turns $g_1, g_2,
# \dots$ into steps; they differ in the length of the steps and in their memory of earlier gradients. To compare them, we minimise a loss of
# two parameters that can be drawn: a valley, twenty-five times as steep across as along, rotated so that neither parameter alone points
# along it. In networks, too, curvature differs by orders
# of magnitude between directions {cite:p}`goodfellow2016deep`.
#
# (sec-learning-rate)=
# ### Learning rate
#
# Plain stochastic gradient descent takes steps in proportion to the gradient:
#
# $$
# \theta_t = \theta_{t-1} - \eta\, g_t .
# $$ (eq-sgd)
#
# The factor $\eta > 0$ is the *learning rate*. {numref}`fig-learning-rate` shows how narrow the useful range is. On a
# quadratic loss with largest curvature $\lambda_{\max}$ the path converges only for $\eta < 2/\lambda_{\max}$, here
# {glue:text}`rate_limit:.3f`. Far below the limit progress along the valley is too slow; slightly above it each step across the valley
# overshoots by more than the last.

# %% tags=["remove-cell"]
turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
hessian = turn @ np.diag([1.0, 25.0]) @ turn.T
start = turn @ np.array([-2.2, 0.9])
rate_limit = 2 / np.linalg.eigvalsh(hessian).max()

shares = {"too small": 0.02, "useful": 0.9, "too large": 1.02}
by_rate = {
    f"η = {share * rate_limit:.4f}: {name}": descend(hessian.dot, start, learning_rate=share * rate_limit, n_steps=30)
    for name, share in shares.items()
}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Thirty steps of gradient descent from one start under three learning rates, over the contours of a quadratic loss. The star is the minimum; above each panel stands the factor by which the loss changed.", "name": "fig-learning-rate"}, "image": {"alt": "Three contour plots of a narrow valley with a path of steps: with a small rate it stops far from the minimum, with a useful rate it zigzags to it, with a rate that is too large it jumps ever farther across the valley"}}
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9))
for ax, (name, path) in zip(axes, by_rate.items(), strict=True):
    first, last = (0.5 * theta @ hessian @ theta for theta in path[[0, -1]])
    figures.plot_descent(hessian, path, ax=ax)
    ax.set_title(f"{name}\nloss × {last / first:.2g}", fontsize=9, fontweight="normal")
glue_values(rate_limit=rate_limit)

# %% [markdown]
# The rate need not stay the same. Large steps early cover ground and average over the noise of mini-batches; small
# steps late let the noise die down. All classifiers of this thesis follow the *one-cycle* schedule
# {cite:p}`smith2019superconvergence`, in the form that PyTorch gives it: from a small value the rate rises along a
# cosine to its peak $\eta_{\max}$ during the first 30 % of the steps, and falls to almost nothing over the rest
# ({numref}`fig-one-cycle`, for the {glue:text}`n_steps:,d` steps of the trainings that are tested on held-out people). The CNN's peak is {glue:text}`max_rate:g`, but for some of its layers, which have a fixed
# multiple of that; the larger networks have lower peaks ({numref}`Chapter %s <ch-methodology>` gives them all). The schedule is scaled to
# the number of steps, so that two training sets that are compared at equal steps are trained with equal rates.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The one-cycle schedule over the steps of a training for held-out people: the learning rate of the CNN's layers without a multiple of their own (left), and the decay \u03b2\u2081 of the momentum, which is lowered while the rate is high (right).", "name": "fig-one-cycle"}, "image": {"alt": "Two curves over the steps: the learning rate rises smoothly to its peak at 30 percent of the steps and falls to almost zero; the decay of the momentum falls and rises again at the same places"}}
n_steps = PEOPLE_TRAINING["steps"]
rates = one_cycle(n_steps, max_rate=config.learning_rate)
decays = one_cycle_momentum(n_steps)
glue_values(
    max_rate=config.learning_rate,
    beta_high=decays.max(),
    beta_low=decays.min(),
    n_epochs=config.epochs,
    n_steps=n_steps,
    n_epoch_steps=config.n_steps(len(image_set)),
)
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5))
for ax, name, values in zip(axes, ("learning rate η", "decay β₁"), (rates, decays), strict=True):
    figures.plot_curves(
        {name: (np.arange(1, n_steps + 1), values)}, x_label="step", y_label=name, ax=ax
    ).get_legend().remove()

# %% [markdown]
# (sec-momentum)=
# ### Momentum
#
# Across a narrow valley successive gradients alternate in sign; along it they agree. Momentum
# {cite:p}`polyak1964some,sutskever2013importance` uses this by stepping along a running sum of gradients, the
# *velocity* $u_t$, rather than along the last gradient alone:
#
# $$
# \begin{aligned}
# u_t &= \beta\, u_{t-1} + g_t, \qquad u_0 = 0,\\
# \theta_t &= \theta_{t-1} - \eta\, u_t .
# \end{aligned}
# $$ (eq-momentum)
#
# The momentum $\beta \in [0, 1)$ is the share of the velocity that is kept at each step; $\beta = 0$ is {eq}`eq-sgd`. Alternating
# components cancel, persistent ones accumulate, to at most $1/(1-\beta)$ times a single step.[^momentum]
#
# [^momentum]: The draft evaluates the gradient at $t$ in its formula and at $t-1$ in its explanation, and uses one
#     symbol for this velocity and for Adam's second moment. It also multiplies the gradient by $1-\beta$. With
#     constant $\eta$ that form takes the same path at a learning rate $1/(1-\beta)$ times as large; the form here is
#     the one that PyTorch computes.
#
# (sec-adam)=
# ### Adam optimizer
#
# One learning rate must serve every parameter, though their gradients may differ a thousandfold. Adam, for adaptive
# moment estimation {cite:p}`kingma2015adam`, gives each parameter a scale of its own. It keeps two running means, of
# the gradient and of its square, taken element by element:
#
# $$
# \begin{aligned}
# m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, & m_0 &= 0,\\
# v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, & v_0 &= 0,\\
# \hat m_t &= \frac{m_t}{1 - \beta_1^t}, \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t},\\
# \theta_t &= \theta_{t-1} - \eta\,\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} .
# \end{aligned}
# $$ (eq-adam)
#
# The first mean $m_t$ is momentum. The second, $v_t$, divides each parameter's step by the typical size of its
# gradient, which makes the step independent of the gradient's scale and roughly $\eta$ in length. Because both begin
# at zero, they are too small in the first steps; dividing by $1 - \beta^t$ corrects exactly this bias ($\beta_1^t$ is
# a power, not an index). The published defaults are $\beta_1 = 0.9$, $\beta_2 = 0.999$ and $\epsilon = 10^{-8}$. Adam scales the steps; it
# does not make the gradient cheaper or more exact.
#
# All classifiers in this thesis are trained with Adam. As the one-cycle schedule of PyTorch provides, $\beta_1$ moves from
# {glue:text}`beta_high:.2f` to {glue:text}`beta_low:.2f` and back while the learning rate rises and falls
# ({numref}`fig-one-cycle`).
#
# In {numref}`fig-optimisers` the three methods descend the same valley. The paths come from NumPy functions that
# transcribe {eq}`eq-sgd`, {eq}`eq-momentum` and {eq}`eq-adam`, and that the project's tests compare with `torch.optim` step by step.

# %% tags=["remove-cell"]
rate = 0.5 * rate_limit
by_method = {
    "gradient descent": descend(hessian.dot, start, learning_rate=rate, n_steps=80),
    "momentum, β = 0.7": descend_with_momentum(hessian.dot, start, learning_rate=rate, momentum=0.7, n_steps=80),
    "Adam, η = 0.2": descend_with_adam(hessian.dot, start, learning_rate=0.2, n_steps=80),
}
valley_loss = {name: 0.5 * np.sum(path @ hessian * path, axis=1) for name, path in by_method.items()}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gradient descent, momentum and Adam from one start: the first thirty steps over the contours of the loss (top), and the loss over eighty steps on a logarithmic axis (bottom). Gradient descent and momentum have the same learning rate.", "name": "fig-optimisers"}, "image": {"alt": "Three paths through a narrow valley and, below, three falling loss curves: momentum ends lowest by far, gradient descent falls steadily, Adam oscillates as it falls"}}
figure, axes = plt.subplot_mosaic([list("abc"), list("ddd")], figsize=(7.2, 5.2), height_ratios=(1.25, 1))
for panel, (name, path) in zip("abc", by_method.items(), strict=True):
    figures.plot_descent(hessian, path[:31], ax=axes[panel])
    axes[panel].set_title(name, fontsize=9, fontweight="normal")
curves = {name: (np.arange(len(values)), values) for name, values in valley_loss.items()}
_ = figures.plot_curves(curves, x_label="step", y_label="loss", ax=axes["d"]).set(yscale="log")
plain, heavy, adam = (values[-1] / values[0] for values in valley_loss.values())
glue_values(plain_left=power_text(plain, 1), heavy_left=power_text(heavy, 1), adam_left=power_text(adam, 1))

# %% [markdown]
# After 80 steps gradient descent has {glue:text}`plain_left:s` of the initial loss left, momentum {glue:text}`heavy_left:s` and Adam
# {glue:text}`adam_left:s`. This order holds for this valley and these rates, not in general: Adam scales each parameter separately, which
# cannot straighten a rotated valley, and under a constant rate its loss oscillates, as the steps keep a length of about $\eta$ even where
# the slope has
# become small. That is one more reason to let the rate fall towards the end.
#
# (sec-fine-tuning)=
# ## Fine-tuning pre-trained models
#
# Training may also begin from weights that were learnt on another task. The usual source is ImageNet
# {cite:p}`deng2009imagenet`, in the version of the 2012 challenge {cite:p}`russakovsky2015imagenet`: 1,281,167
# training, 50,000 validation and 100,000 test photographs in 1,000 classes. The early layers of such a network detect
# edges, blobs and textures that serve other tasks nearly as well; later layers are more specific, and transfer less, the further the new
# task is from the old one {cite:p}`yosinski2014transferable`. Grey slices of a brain are very different from colour photographs of dogs and
# lorries. For medical images the gain is often small, and part of it comes from
# the well-scaled weights rather than from the features {cite:p}`raghu2019transfusion`. It is an empirical question,
# and one that depends on how few images there are.
#
# The classifier for 1,000 classes is removed, a new one for {glue:text}`n_classes:d` is put in its place with random
# weights, and one of two things follows ({numref}`fig-transfer`):
#
# - **fine-tuning**: training continues on the new images, and every weight may move;
# - **feature extraction**: the old weights are frozen, and only the new head learns. The frozen network is then a
#   fixed function, its output for each image may be computed once and kept, and a training takes seconds. Random
#   augmentation of the images gives up that advantage, since each augmented image needs a pass of its own.
#
# The draft fine-tunes pre-trained models. In this book networks start from random weights, except where a training set is said to start from weights
# that were learnt on phantoms. Weights from ImageNet are supported and are not part of the record ({numref}`Chapter %s <ch-considerations>`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Three ways to train one model, here a ResNet-18: from scratch, fine-tuning and feature extraction. Blue parts start from weights learnt on another task; hatched parts are frozen. Under each part's name stands its number of parameters, counted in the model.", "name": "fig-transfer"}, "image": {"alt": "Table of boxes, one row for each way and one column for each part of the network: from scratch all parts are new and trained; in fine-tuning all but the head start from old weights and all are trained; in feature extraction all but the head are frozen"}}
resnet = make_model("resnet18", n_classes=image_set.n_classes, seed=seed)
sizes = {name: weight.numel() for name, weight in resnet.named_parameters()}
names = {"conv1": "stem", "bn1": "stem", "fc": "head"} | {f"layer{i}": f"stage {i}" for i in range(1, 5)}
parts = pd.Series(sizes).groupby([names[name.split(".")[0]] for name in sizes], sort=False).sum()
_ = diagrams.plot_transfer(list(parts.items()))

# %% [markdown]
# What *frozen* means can be observed. Below, the same network takes one step of Adam on a mini-batch in either way, and the changed numbers
# are counted. The initial weights are random here, so that this page needs no download;
# which weights move does not depend on where they start.

# %% tags=["remove-cell"]
batch = image_set[rng.choice(len(image_set), 32, replace=False)]
rows = []
for way in ("fine-tuning", "feature extraction"):
    model = make_model("resnet18", n_classes=image_set.n_classes, seed=seed)
    model = freeze_backbone(model) if way == "feature extraction" else model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    functional.cross_entropy(model(batch.images / 255), batch.labels).backward()
    optimiser.step()
    changed = {name: int((value != before[name]).sum()) for name, value in model.state_dict().items()}
    statistics = sum(count for name, count in changed.items() if "running" in name)
    learnt = sum(count for name, count in changed.items() if name in dict(model.named_parameters()))
    rows.append((way, count_parameters(model, trainable=True), learnt, statistics))

# %% tags=["hide-input"]
moved = pd.DataFrame(
    rows,
    columns=[
        "way",
        "trainable parameters",
        "parameters changed",
        "normalisation statistics changed",
    ],
)
glue_values(
    frozen_moved=moved["parameters changed"].iloc[1],
    statistics_moved=moved["normalisation statistics changed"].iloc[1],
)
numbered_table(moved, "What one step of Adam on 32 images changes, in two ways of training one ResNet-18.", "tab-one-step",
               formats=dict.fromkeys(moved.columns[1:], ",d"))  # fmt: skip

# %% [markdown]
# Feature extraction changes {glue:text}`frozen_moved:,d` parameters, those of the head. {numref}`tab-one-step` also
# shows a trap: the running means and variances of batch normalisation {cite:p}`ioffe2015batch` are not parameters,
# have no gradient, and move all the same ({glue:text}`statistics_moved:,d` of them) as long as the network is in
# training mode. A backbone is frozen only if it is also put into evaluation mode.

# %% [markdown]
# (sec-confidence)=
# ## Overfitting and calibration
#
# A network with far more weights than images can reduce its training loss almost to zero. By then it has long ceased to learn what holds for
# other people. Its accuracy on them may hardly change while its loss rises, because it becomes confident where it is wrong
# {cite:p}`guo2017calibration`. With few training people this effect can be larger than the differences that this thesis looks for. Two
# networks may then differ in loss and agree in what they see. Three means address it.
#
# **Weight decay** pulls every weight towards zero at each step. Adam with *decoupled* decay, AdamW {cite:p}`loshchilov2019decoupled`, subtracts
# $\eta \lambda \theta_{t-1}$ besides the step of {eq}`eq-adam`; with $\lambda = 0$ it is Adam. The decay was among the settings that were
# compared on validation people; the study's networks are trained without it ({numref}`Chapter %s <ch-methodology>`).
#
# **Early stopping** keeps the weights of the step with the least loss on people who are used neither for training nor for the test
# {cite:p}`prechelt1998early`. The training itself runs to its end; the network is looked at about a dozen times. We call the result the
# *validated* network, beside the *last* one.
#
# **Temperature scaling** {cite:p}`guo2017calibration` divides all logits by one number $T > 0$ before the softmax,
#
# $$
# p_c(T) = \frac{e^{z_c / T}}{\sum_k e^{z_k / T}} ,
# $$ (eq-temperature)
#
# and fits $T$ to the validation people. With $T > 1$ the network becomes less confident. The order of the classes does not change, and so
# neither does the accuracy. A loss after scaling therefore depends far less on confidence; the difference to the loss before measures how
# far its confidence was wrong.
#
# As an example the CNN is trained at 64 × 64 pixels on 30 % of the training people of this copy, without a policy, and scored on the people
# of the test part. {numref}`tab-confidence` holds all scores of two trainings, {numref}`fig-temperature` the loss as a function of $T$.

# %% tags=["remove-cell"]
everyone = separate_images(load_images(dataset, n_subjects=dataset_subjects or None, **source))
division = split(everyone, "subject", seed=seed)
training = everyone[division.train]
sample = stratified_sample(training.labels, 0.3, subjects=training.subjects, seed=seed)
held_out = {part: everyone[getattr(division, part)].resized(64) for part in ("validation", "test")}
trained = {}
for decay in (0.0, 0.1):
    network = make_model("cnn", n_classes=everyone.n_classes, image_size=64, seed=seed)
    options = {"n_steps": 120, "validation": held_out["validation"], "seed": seed}
    training_rule = TrainConfig(weight_decay=decay, precision="float32")
    trained[decay] = train(network, training[sample].resized(64), config=training_rule, **options)

# %% tags=["remove-cell"]
test, rows, predicted = held_out["test"], [], {}
for decay, last in trained.items():
    for name, network in {"last": last, "validated": last.validated}.items():
        found = {part: predict(network, images.images) for part, images in held_out.items()}
        temperature = fit_temperature(found["validation"], held_out["validation"].labels.numpy())
        raw, scaled = (
            evaluate(probabilities, test.labels.numpy(), test.subjects.numpy())
            for probabilities in (found["test"], calibrate(found["test"], temperature))
        )
        losses = [score["subject_cross_entropy"] for score in (raw, scaled)]
        rows.append((f"{decay:g}", name, network.step, temperature, *losses, 100 * raw["accuracy"]))
        predicted[decay, name] = found

# %% tags=["hide-input"]
columns = ["weight decay", "network", "step", "temperature", "log loss", "log loss at T", "accuracy of slices (%)"]
confidence = pd.DataFrame(rows, columns=columns)
glue_values(
    n_few_people=len(training.subjects[sample].unique()),
    n_test_people=len(test.subjects.unique()),
    **{f"{name}_{when}": value for name, values in zip(("last", "validated"), confidence.iloc[:2, 4:6].to_numpy(), strict=True)
       for when, value in zip(("raw", "scaled"), values, strict=True)},
)  # fmt: skip
numbered_table(confidence, "Two trainings of the CNN on the same people, each scored at its last and its validated step, per held-out person as trained and at the temperature T fitted to validation people (nats).",
               "tab-confidence", formats=dict.fromkeys(columns[3:6], ".2f") | {columns[6]: ".1f"})  # fmt: skip

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Mean cross-entropy of slices against the temperature that divides the logits, for the last and the validated network of the training without weight decay, on validation people and on test people. At temperature 1 the network is as it was trained; the lowest point of a validation curve is the temperature that is used.", "name": "fig-temperature"}, "image": {"alt": "Four curves of cross-entropy against temperature on a logarithmic axis. Those of the last network fall steeply to a minimum well above temperature 1, those of the validated network are nearly flat with a minimum near 1"}}
temperatures, curves = np.geomspace(0.4, 12, 40), {}
for name, part in product(("last", "validated"), ("validation", "test")):
    labels = held_out[part].labels.numpy()
    scaled = [calibrate(predicted[0.0, name][part], value)[np.arange(len(labels)), labels] for value in temperatures]
    curves[f"{name} network, {part} people"] = (temperatures, -np.log(scaled).mean(axis=1))
ax = figures.plot_curves(curves, x_label="temperature T", y_label="cross-entropy (nats)")
ax.set(xscale="log")
ax.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
ax.minorticks_off()
_ = ax.axvline(1, color="0.5", linewidth=0.8)

# %% [markdown]
# The networks were trained on {glue:text}`n_few_people:d` people and tested on {glue:text}`n_test_people:d`. Without weight decay, the last network
# has a log loss of {glue:text}`last_raw:.2f` nats per person as it is and of {glue:text}`last_scaled:.2f` after scaling; the validated one has
# {glue:text}`validated_raw:.2f` and {glue:text}`validated_scaled:.2f`. Where the two losses of one network differ as much as those of
# two training sets, a comparison by the raw loss of the last step, as in the draft, is to a large part a comparison of confidence. Which of the two networks is better after scaling differs from case to case. Therefore every training of the study is scored in all four ways, and held-out people are
# judged by the validated network at its temperature.
#
# ## What a comparison must keep fixed
#
# Between two training sets we keep fixed the architecture, the initial weights, the loss, the optimiser with its constants, the batch size, the shape
# of the schedule, and the rule by which a step and a temperature are chosen. Two quantities cannot both be kept: in {glue:text}`n_epochs:d` epochs,
# say, {glue:text}`n_images:,d` images are trained on for {glue:text}`n_epoch_steps:,d` steps, and a set of another size for a number of steps in
# proportion. Equal epochs are the draft's choice; what content adds we judge at equal steps. Random choices, such as the order of the mini-batches,
# are repeated in many simulations, paired by seed. {numref}`Chapter %s <ch-methodology>` turns this list into a protocol.
