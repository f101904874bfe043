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
# (ch-architectures)=
# # Overview of model architectures
#
# The thesis compares how different networks respond to synthetic images: a small convolutional network (CNN) that is trained from
# scratch, a ResNet-18, and a vision transformer (ViT). They differ in what they assume about images. Convolutions assume that
# patterns are local and may occur anywhere; attention assumes neither. This chapter explains their parts, and then the references without
# a network that all of them have to beat. The diagrams of the networks are drawn from the networks themselves, by running one image
# through them.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a local folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people to look at; 0 is everyone
seed: int = 0  # of the phantoms and the initial weights

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.decomposition import PCA
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mri_aug.book import diagrams, figures
from mri_aug.book.report import glue_values, numbered_table, power_text, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.models.networks import ARCHITECTURES, count_parameters, make_model
from mri_aug.models.references import MAX_COMPONENTS, TISSUE_FEATURES, tissue_features

use_book_style()

# %% tags=["remove-cell"]
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=n_subjects or None, seed=seed
)
n_classes = image_set.n_classes
brightest = int(image_set.images.float().mean(dim=(1, 2, 3)).argmax())  # a slice that shows much of the brain
image = image_set.images[brightest, 0].numpy()
models = {name: make_model(name, n_classes=n_classes, seed=seed) for name in ARCHITECTURES}
rows = {name: diagrams.layer_table(model) for name, model in models.items()}

# %% [markdown]
# (sec-cnn)=
# ## Convolutional neural networks
#
# A fully connected layer has a separate weight for each pixel, and would have to learn the appearance of a sulcus anew for every position.
# A convolutional network {cite:p}`lecun1998gradient` looks for the same local pattern
# everywhere. It is built from three kinds of layer ({numref}`fig-cnn`): *convolutional* layers turn an image into
# maps of where a pattern occurs, *pooling* layers make the maps smaller, and *fully connected* layers at the end turn
# what was found into one logit for each class.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The outline of a typical convolutional network. Maps become smaller and more numerous from left to right; flattened into a vector, they are classified by fully connected layers.", "name": "fig-cnn"}, "image": {"alt": "An image, two pairs of convolution and pooling layers drawn as slabs that shrink and thicken, a flattened column, two fully connected columns and a list of classes"}}
_ = diagrams.plot_cnn_outline(image)

# %% [markdown]
# ### Convolution
#
# A convolutional layer slides a small matrix of weights, the *kernel* $K$, over its input $X$ and writes down, at
# each position, the sum of the products:
#
# $$
# Y_{ij} = b + \sum_{u=0}^{k-1} \sum_{v=0}^{k-1} K_{uv}\, X_{i+u,\,j+v} .
# $$ (eq-convolution)
#
# (Mathematics calls this cross-correlation; a convolution would turn the kernel by 180 degrees. As the kernel is
# learnt, nothing depends on it.) {numref}`fig-convolution` shows the computation for one position of part of a slice. The kernel
# there was chosen by hand and answers to vertical edges: where brightness rises from left to right the result is
# large, where nothing changes it is zero. In a network the kernels are weights, found by gradient descent like all
# others.

# %% tags=["remove-cell"]
sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
grey_levels = image // 26  # ten levels, 0 to 9, so that the numbers fit into the figure
edges = diagrams.convolve(grey_levels.astype(int), sobel)
row, column = np.unravel_index(edges[2:-4, 2:-4].argmax(), edges[2:-4, 2:-4].shape)
window = grey_levels[row + 1 : row + 7, column + 1 : column + 7].astype(int)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A convolution worked out on six by six pixels of a slice, their brightness in ten levels. The framed window times the kernel, element by element, adds up to the framed value of the feature map. Below stand the products whose weight is not zero.", "name": "fig-convolution"}, "image": {"alt": "Three grids of numbers: six by six pixels with a framed three by three window, the three by three kernel, and the four by four feature map with one framed value; the sum of products is written out below"}}
_ = diagrams.plot_convolution(window, sobel, at=(1, 1))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same kernel slid over a whole slice: the slice, its feature map, and the map after ReLU. Grey is zero; bright and dark are vertical edges of opposite sign. ReLU keeps the bright ones.", "name": "fig-feature-map"}, "image": {"alt": "Three panels: an axial slice of a brain, an embossed picture of its vertical edges in bright and dark, and the same with only the bright edges left on black"}}
whole = diagrams.convolve(image.astype(int), sobel)
bound = np.abs(whole).max()
panels = {
    "slice": (image, 0, 255),
    "feature map": (whole, -bound, bound),
    "after ReLU": (np.maximum(whole, 0), 0, bound),
}
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
for ax, (title, (values, low, high)) in zip(axes, panels.items(), strict=True):
    ax.imshow(values, cmap="gray", vmin=low, vmax=high)
    ax.set_title(title, fontsize=9, fontweight="normal")
    ax.set_axis_off()

# %% [markdown]
# A layer has many kernels. Each spans all maps of its input, $k \times k \times c_{\text{in}}$ weights and a bias,
# and yields one map of the output. Two consequences make convolution suit images:
#
# - **few weights**: their number depends on the kernel, not on the size of the image;
# - **equivariance**: if the input shifts, the feature map shifts with it. Shifting the slice by five pixels and
#   convolving gives, away from the border, the same numbers as convolving and then shifting (largest difference
#   {glue:text}`shift_error:d`).
#
# Stacked layers cover more pixels: each value of the second layer depends on a window of values of the first, and so on a
# larger window of pixels, its *receptive field*. In trained networks, early kernels respond to edges and blobs, later
# ones to textures, parts and whole objects {cite:p}`krizhevsky2012imagenet,yosinski2014transferable`.[^abstract]
#
# ### Pooling
#
# Max pooling divides a map into blocks and keeps the largest value of each ({numref}`fig-pooling`). It has no
# weights. The pooled maps are smaller, so that later layers cost less and cover more of the image, and a small shift of the input often
# leaves the maximum unchanged. The exact position of the pattern is lost.
#
# [^abstract]: The draft has edges learnt by the deeper kernels; it is the reverse.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Max pooling over blocks of two by two pixels, applied to the feature map of the convolution above after ReLU. The framed value of each block is kept.", "name": "fig-pooling"}, "image": {"alt": "A four by four grid of numbers in four coloured blocks, the largest number of each framed, and the two by two grid of these numbers"}}
feature_map = np.maximum(diagrams.convolve(window, sobel), 0)
_ = diagrams.plot_max_pooling(feature_map)

# %% tags=["hide-input"]
shifted = diagrams.convolve(np.roll(image.astype(int), 5, axis=1), sobel)
shift_error = int(np.abs(shifted[:, 5:] - whole[:, :-5]).max())
maps = torch.nn.functional.conv2d(image_set.images[:8].float(), torch.tensor(sobel)[None, None].float())
assert torch.equal(functional.max_pool2d(maps.relu(), 2), functional.max_pool2d(maps, 2).relu())
in_dense = sum(row.n_parameters for row in rows["cnn"] if row.kind == "dense")
largest = max(rows["cnn"], key=lambda row: row.n_parameters)
glue_values(
    shift_error=shift_error,
    cnn_parameters=count_parameters(models["cnn"]),
    cnn64_parameters=count_parameters(make_model("cnn", n_classes=n_classes, image_size=64, seed=seed)),
    parameters_per_image=count_parameters(models["cnn"]) / len(image_set),
    cnn_first_dense_percent=100 * largest.n_parameters / count_parameters(models["cnn"]),
    cnn_convolutions=count_parameters(models["cnn"]) - in_dense,
)

# %% [markdown]
# ### The network of this thesis
#
# The CNN trained here from scratch has two convolutional layers, each with ReLU and max pooling, two hidden layers,
# and an output layer with a logit for each of the {glue:text}`n_classes:d` classes ({numref}`fig-thesis-cnn`). The
# draft gives this structure but neither the number of maps nor the widths of the hidden layers, which are our choice.
# ReLU comes after pooling here and not before it. Both keep the order of values, so that the result is identical (the
# book checks that it is), at a quarter of the work.
#
# Of its {glue:text}`cnn_parameters:,d` parameters the convolutions hold {glue:text}`cnn_convolutions:,d`;
# {glue:text}`cnn_first_dense_percent:.1f` % are in the first fully connected layer, which has a weight for every place of every
# map. That is {glue:text}`parameters_per_image:,.0f` weights to each image used in this chapter: enough to memorise them.
#
# In the study of held-out people the same network takes slices of 64 × 64 pixels, averaged from the original ones. Only its first fully connected
# layer changes, which then has a quarter of the weights; a training costs a quarter, too. The network has
# {glue:text}`cnn64_parameters:,d` parameters at this size.
#
# Before training, each weight is drawn from a normal distribution with mean 0 and variance $2/n$, where $n$ is the
# number of inputs of its neuron {cite:p}`he2015delving`; the biases are 0. The variance is chosen for ReLU, so that signals neither shrink
# nor grow from layer to layer. The other networks of this chapter are initialised as in torchvision.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The CNN of this thesis, drawn from the model: for each layer the shape of its output, its number of parameters, and its kind. The side of a slab grows with the size of the maps, its thickness and the height of a column with the logarithm of their number.", "name": "fig-thesis-cnn"}, "image": {"alt": "The image and a row of slabs that become smaller and thicker over two convolutions and poolings, then columns for the dense layers, each labelled with the shape of its output and its parameters"}}
_ = diagrams.plot_layers(rows["cnn"], image)

# %% [markdown]
# (sec-resnet)=
# ## ResNet-18
#
# Deeper networks can express more, but beyond some depth plain ones become worse, on the training set too, and so not
# by overfitting {cite:p}`he2016deep`. The optimiser does not find the weights with which the added layers would simply pass on their input,
# although they exist. Residual networks make that easy. A *residual block*
# ({numref}`fig-block`) computes
#
# $$
# z = F(x) + x , \qquad y = \operatorname{ReLU}(z) ,
# $$ (eq-residual)
#
# and its layers learn the residual $F(x) = z - x$, the *change* of $x$.[^relu] To pass $x$ on, they only have to be zero: $x$ comes from a ReLU
# itself and has no negative values that the second ReLU could cut off.
#
# [^relu]: The draft writes $y = F(x) + x$ and leaves the ReLU after the addition out.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A residual block of ResNet-18: two convolutions with batch normalisation, and the skip connection around them. The second ReLU follows the addition.", "name": "fig-block"}, "image": {"alt": "Flow chart: x passes convolution, batch normalisation, ReLU, convolution and batch normalisation; a red line carries x around them to a plus sign, after which ReLU gives y"}}
_ = diagrams.plot_residual_block()

# %% [markdown]
# The path around the block is the *skip connection*. It does not skip any training: both convolutions are computed and updated at every
# step.[^skip] It changes the path of the gradient. By the chain rule
#
# $$
# \frac{\partial L}{\partial x} = \left(\frac{\partial L}{\partial y} \odot [z > 0]\right)
# \left(I + \frac{\partial F}{\partial x}\right),
# $$ (eq-residual-gradient)
#
# where $\odot$ is the product element by element and $[z > 0]$ is 1 where the ReLU after the addition is open. There the identity $I$ passes
# the gradient on, however small $\partial F / \partial x$ may be. Without it, gradients are products of many factors, and may vanish
# {cite:p}`hochreiter1998vanishing`. {numref}`fig-gradient-flow` shows this on a stack of {glue:text}`n_stacked:d` small layers with PyTorch's
# default initial weights. At the first layer of the plain stack the gradient has {glue:text}`plain_gradient:s` of its size at the last. With
# skip connections it does not vanish. In this stack it grows, because nothing normalises the sums; by how much depends on the initial
# weights.
#
# This is not the only reason. The plain networks of {cite:t}`he2016deep` had batch normalisation
# {cite:p}`ioffe2015batch`, their gradients had not vanished, and depth hurt them nevertheless. Skip connections make
# a deep network easier to optimise beyond keeping its gradients alive.
#
# [^skip]: The draft says that skip connections let a network skip the training of a layer.

# %% tags=["remove-cell"]
generator = torch.Generator().manual_seed(seed)
n_stacked, width = 40, 64
bound = width**-0.5  # PyTorch's default: uniform between plus and minus one over the root of the fan-in
stack = [(2 * torch.rand(width, width, generator=generator) - 1) * bound for _ in range(n_stacked)]
inputs = torch.randn(32, width, generator=generator)

sizes = {}
for name, skip in {"plain": 0, "with skip connections": 1}.items():
    states = [inputs.clone().requires_grad_()]
    for weight in stack:
        states.append((states[-1] @ weight.T).relu() + skip * states[-1])
    gradients = torch.autograd.grad(states[-1].sum(), states)
    sizes[name] = np.array([float(gradient.norm() / gradients[-1].norm()) for gradient in gradients])

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The size of the gradient on its way back from the loss through a stack of layers, relative to its size at the last layer, on a logarithmic axis, without and with skip connections around each layer. To be read from right to left. How fast the curves fall or rise depends on the initial weights.", "name": "fig-gradient-flow"}, "image": {"alt": "Two curves over the layers on a logarithmic axis: towards the first layer the gradient of the plain stack falls by many powers of ten, that with skip connections does not fall"}}
glue_values(
    n_stacked=n_stacked,
    plain_gradient=power_text(sizes["plain"][0]),
)
assert sizes["with skip connections"][0] > 1
curves = {name: (np.arange(n_stacked + 1), size) for name, size in sizes.items()}
_ = figures.plot_curves(curves, x_label="Layer", y_label="Gradient, relative to the last").set(yscale="log")

# %% [markdown]
# ResNet-18 has a first convolution and pooling, four stages of two residual blocks, global average pooling, and one
# fully connected layer: {glue:text}`resnet_weighted:d` layers with weights, not counting normalisation and the
# {glue:text}`resnet_projections:d` small convolutions on skip connections
# ({numref}`fig-resnet`). From stage to stage the maps halve in height and width and double in number; where the shape
# changes, the skip connection has a $1 \times 1$ convolution to match. Average pooling over the last maps replaces
# the CNN's large fully connected layer: the classifier receives how strongly each pattern occurs, not where. It is these
# maps that Grad-CAM uses in {numref}`Chapter %s <ch-gradcam>`.
#
# The network was designed for colour images of 224 by 224 pixels. Ours are grey, so its first convolution takes one
# channel (a pre-trained one is summed over its three colours, which gives what a grey image in all three would give).
# The size needs no change: at 128 pixels the last maps are {glue:text}`resnet_last_map:s`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "ResNet-18, drawn from the model: every layer with weights and every skip connection. A box reads kernel, stride (after the slash, where it is not one) and number of maps; below each stage, the shape of its output.", "name": "fig-resnet"}, "image": {"alt": "A long row of boxes for the convolutions of ResNet-18 in four stages, arcs for the skip connections above them, and below each stage the shape of its output"}}
weighted = [row for row in rows["resnet18"] if row.kind in ("convolution", "dense")]
projections = [row for row in weighted if "downsample" in row.name]
last_map = [row for row in weighted if row.kind == "convolution"][-1].output_shape
glue_values(
    n_classes=n_classes,
    resnet_weighted=len(weighted) - len(projections),
    resnet_projections=len(projections),
    resnet_last_map=f"{last_map[1]} by {last_map[2]}",
)
_ = diagrams.plot_resnet(rows["resnet18"])

# %% [markdown]
# (sec-vit)=
# ## Vision transformers
#
# The third architecture has no convolution that slides. The transformer was made for sentences
# {cite:p}`vaswani2017attention`: it takes a sequence of vectors, the *tokens*, and lets each gather information from
# all the others. A vision transformer {cite:p}`dosovitskiy2021image` turns an image into such a sequence and leaves
# the rest as it was ({numref}`fig-vit`).
#
# ### Patches, embeddings and positions
#
# The image is cut into $N$ square patches of $P \times P$ pixels. Each is written out as a row vector $x_i$ and
# multiplied by one learnt matrix $E$, which gives its embedding $x_i E$ of length $d$. (This is a convolution with kernel and
# stride $P$, and implemented as one.) Two things are added. The *class token* $x_{\text{class}}$ is a learnt vector
# that belongs to no patch; it comes first, and what becomes of it is used for the classification. And the *position
# embeddings* $p_0, \dots, p_N$ are learnt vectors that tell places apart:
#
# $$
# Z_0 = \left[\,x_{\text{class}};\; x_1 E;\; \dots;\; x_N E\,\right] + \left[\,p_0;\; p_1;\; \dots;\; p_N\,\right].
# $$ (eq-tokens)
#
# Semicolons separate rows: $Z_0$ has $N + 1$ rows, one for each token, and $d$ columns.
#
# A slice of 128 by 128 pixels in patches of {glue:text}`patch_size:d` gives {glue:text}`n_patches:d` tokens and the
# class token. Models trained on ImageNet at 224 by 224 have 196, and a position embedding for each. To use such
# weights here, their grid of 14 by 14 is interpolated to {glue:text}`patch_grid:s`, which preserves their arrangement.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A vision transformer, with the numbers of the small one used in this thesis. Patches become embeddings *xE*, to which positions *p* are added; the class token at the front carries the result to the classifier.", "name": "fig-vit"}, "image": {"alt": "A slice cut into patches; the patches in order, each projected and added to a position, form columns of tokens behind a class token, enter the encoder blocks, and the class token leads to the logits"}}
tiny = models["vit_tiny"]
n_heads = tiny.encoder.layers[0].self_attention.num_heads
patch_size = tiny.patch_size
side = image.shape[0] // patch_size
glue_values(patch_size=patch_size, n_patches=side**2, patch_grid=f"{side} by {side}")
_ = diagrams.plot_vision_transformer(
    image,
    patch_size=patch_size,
    width=tiny.hidden_dim,
    depth=len(tiny.encoder.layers),
    n_heads=n_heads,
    n_classes=n_classes,
)

# %% [markdown]
# ### Attention
#
# The rows of $Z$ are the tokens, as above. Three learnt matrices turn each into a *query* (what am I looking for?), a *key*
# (what do I have to offer?) and a *value* (what do I pass on?): $Q = Z W_Q$, $K = Z W_K$, $V = Z W_V$. Each query is
# compared with all keys, the results become weights by a softmax along each row, and the output for a token is the
# values' mean under its weights:
#
# $$
# \operatorname{Attention}(Q, K, V) = \operatorname{softmax}\left(\frac{Q K^{\top}}{\sqrt{d_k}}\right) V .
# $$ (eq-attention)
#
# Without the division by $\sqrt{d_k}$, where $d_k$ is the length of a query, the products would grow with the dimension until the softmax
# selects a single key and its gradient vanishes. In code the equation has two lines:

# %%
rng = np.random.default_rng(seed)
Q, K, V = rng.normal(size=(3, 5, 8))  # five tokens; queries, keys and values of length eight

attention = softmax(Q @ K.T / np.sqrt(Q.shape[1]), axis=1)
output = attention @ V

tensors = [torch.tensor(array)[None] for array in (Q, K, V)]
reference = functional.scaled_dot_product_attention(*tensors)[0]
np.testing.assert_allclose(output, reference.numpy(), atol=1e-12)

# %% [markdown]
# {numref}`fig-attention` shows such weights on a slice. To have meaningful ones without training, the embedding there
# is not learnt from labels: it consists of the first {glue:text}`n_components:d` principal components of this
# dataset's patches, scaled to unit variance and then, as layer normalisation would, to one length for every token. It
# serves as query and key alike. Each framed patch then attends to similar patches anywhere, whereas a convolution of 3 by 3 would use its
# immediate neighbours only. In a trained network the matrices $W_Q$ and $W_K$ define similarity, and several *heads* do so in parallel,
# each with matrices of its own and $d_k = d / h$
# for $h$ heads; their outputs are joined and mixed by one more matrix.

# %% tags=["remove-cell"]
n_components = 8
patches = [diagrams.patches_of(photo, patch_size=patch_size) for photo in image_set.images[::8, 0].numpy()]
pca = PCA(n_components, whiten=True, random_state=seed).fit(np.concatenate(patches).reshape(-1, patch_size**2))
tokens = pca.transform(diagrams.patches_of(image, patch_size=patch_size).reshape(-1, patch_size**2))
tokens *= np.sqrt(n_components) / np.linalg.norm(tokens, axis=1, keepdims=True)
attention = softmax(tokens @ tokens.T / np.sqrt(n_components), axis=1)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Attention from one patch (framed) to all patches of a slice, for three patches, with principal components of the patches as queries and keys. The stronger the orange, the larger the weight; each panel is scaled to its largest weight.", "name": "fig-attention"}, "image": {"alt": "Three copies of one slice with a framed patch each; orange marks patches that look like the framed one, wherever they are in the slice"}}
glue_values(n_components=n_components)
middle = side // 2
queries = [side * (middle - 1) + middle - 1, side * middle + middle - 2, side + middle]
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
for ax, query in zip(axes, queries, strict=True):
    diagrams.plot_attention(image, attention[query], query=query, patch_size=patch_size, ax=ax)

# %% [markdown]
# Attention alone does not know where a token is: if the tokens are put in another order, the outputs come in that
# order and are otherwise the same. The following lines verify it for one encoder block. Without position embeddings a transformer could not
# distinguish a slice from its shuffled patches.

# %%
with torch.inference_mode():
    block = tiny.eval().encoder.layers[0]
    sequence = torch.randn(1, 10, tiny.hidden_dim, generator=generator)
    order = torch.randperm(10, generator=generator)
    torch.testing.assert_close(block(sequence)[:, order], block(sequence[:, order]))

# %% [markdown]
# ### The encoder
#
# An encoder block ({numref}`fig-encoder`) lets information flow between tokens and then within each token, both as
# residuals in the sense of {eq}`eq-residual`, without a ReLU after the sums:
#
# $$
# \begin{aligned}
# \tilde Z &= Z + \operatorname{MultiHead}(\operatorname{LN}(Z)),\\
# Z' &= \tilde Z + \operatorname{MLP}(\operatorname{LN}(\tilde Z)).
# \end{aligned}
# $$ (eq-encoder)
#
# LN is layer normalisation {cite:p}`ba2016layer`, which standardises each token by its own mean and variance, and MLP
# a network with one hidden layer and GELU {cite:p}`hendrycks2016gaussian`, the same for all tokens. After the last
# block the class token is normalised once more and mapped to the logits by a linear layer.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One encoder block of a vision transformer, its two skip connections in red. Normalisation comes before attention and before the dense layers, inside the skip connections.", "name": "fig-encoder"}, "image": {"alt": "Flow chart: Z passes layer normalisation and multi-head attention and is added to itself, then layer normalisation and two dense layers and is added again; red lines carry the input around both parts"}}
_ = diagrams.plot_encoder_block()

# %% [markdown]
# ### What it costs
#
# In every block, each patch attends to every other. The cost is twofold. The attention weights of $N$ tokens
# are $N^2$ numbers, so that halving the patch size makes sixteen times as many. The transformer also has to *learn* what is built into the
# convolution: that neighbouring pixels belong together, and that a pattern means the same in
# another place. Trained on ImageNet alone, vision transformers were inferior to residual networks of their size;
# trained on 300 million photographs they were superior {cite:p}`dosovitskiy2021image`. Augmentation and
# regularisation can stand in for much of the missing data {cite:p}`steiner2022train`. An MRI dataset of a few
# thousand slices, from two hundred people, is at the lower end of that scale.
#
# We use two: **ViT-B/16** as published, for pre-trained weights, and a small one of the same design, **ViT-Tiny**, that can be trained
# from scratch without a graphics card.

# %% [markdown]
# (sec-references)=
# ## References without a network
#
# Three simple classifiers show what a score means. They are fitted to the same training people as the networks, grade the same held-out
# people, and can be given synthetic images like a network. They grade a *person* from all slices at once.
#
# Class shares (`shares`)
# : Every person receives the shares of the classes among the training people. This classifier knows nothing of the image. On new people
#   its log loss is about the entropy of the classes ({numref}`tab-priors`).
#
# Tissue (`tissue`)
# : Logistic regression on the {glue:text}`n_tissue:d` measures of {numref}`tab-tissue`, each as its mean and its maximum over the slices of a
#   person; *tissue fractions* for short, though not all are fractions. They are found by thresholds alone: the brain is the largest bright region, and *dark* is what has less than 0.55 of the
#   brain's median grey value, which in these images is fluid. Fluid in the core is mostly that of the ventricles, fluid at the rim that of the
#   sulci. Both widen as tissue is lost {cite:p}`frisoni2010clinical`.
#
# Principal components (`pca`)
# : Logistic regression on at most {glue:text}`n_pca:d` principal components of a person's mean slice at 64 × 64 pixels.
#
# Both regressions are penalised strongly, so that few people suffice. Their constants were chosen once, among a few, by cross-validation
# on the thesis's 200 people, which favours them slightly. A network that does not beat the tissue reference adds nothing to a handful of
# measurements. Such networks are marked in {numref}`Chapter %s <ch-results>`.

# %% tags=["hide-input"]
every = image_set[:: max(1, len(image_set) // 200)]
measured = pd.DataFrame(tissue_features(every.images), columns=TISSUE_FEATURES)
meanings = (
    "dark share in the central ellipse of the brain", "dark share in the rest of the brain", "brain, as a share of the image",
    "95th percentile of the brain's grey values over the median", "5th percentile over the median", "height over width",
)  # fmt: skip
by_class = measured.groupby(np.take(image_set.class_names, every.labels), sort=False).mean().T
by_class = by_class.reindex(columns=[*image_set.class_names])  # of a rare class, none may be among them
tissue = pd.DataFrame({"measure": meanings} | {name: by_class[name].to_numpy() for name in image_set.class_names})
glue_values(n_tissue=len(TISSUE_FEATURES), n_pca=MAX_COMPONENTS)
numbered_table(tissue, f"The measures of the tissue reference: means of each class over {len(every)} slices of this copy.",
               "tab-tissue", formats=dict.fromkeys(image_set.class_names, ".2f"))  # fmt: skip

# %% [markdown]
# ## The architectures side by side
#
# {numref}`tab-architectures` lists size and computation of each network. The receptive field is that of the last feature
# map, computed from kernels and strides: how many pixels wide a part of the slice one of its values can depend on.
# That is an upper bound, since pixels near its edge contribute little {cite:p}`luo2016understanding`.

# %% tags=["hide-input"]
words = {"cnn": "CNN", "resnet18": "ResNet-18", "vit_tiny": "ViT-Tiny", "vit_b_16": "ViT-B/16"}
sizes, networks = {}, [*((name, 128) for name in words), *((name, 64) for name in list(words)[:3])]
for name, size in networks:
    network = make_model(name, n_classes=n_classes, image_size=size, seed=seed)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(image_set.resized(size).images[:1] / 255)  # the fused forms of attention are not counted
    sizes[name, size] = count_parameters(network) / 1e6, counter.get_total_flops() / 2e6
fields = {}
for name in ("cnn", "resnet18"):
    field, step = 1, 1
    for row in rows[name]:
        if row.detail[:1].isdigit() and "downsample" not in row.name:
            kernel, _, stride = row.detail.partition("×")[2].partition("/")
            field, step = field + (int(kernel) - 1) * step, step * int(stride or 1)
    fields[name] = field
glue_values(cnn_field=fields["cnn"], resnet_field=fields["resnet18"])
glue_values(slice_side=image.shape[0], b16_over_cnn=sizes["vit_b_16", 128][1] / sizes["cnn", 128][1])

# %% tags=["hide-input"]
records = [
    (words[name], f"{size} × {size}", *sizes[name, size], min(fields.get(name, size), size)) for name, size in networks
]
columns = [
    "architecture",
    "pixels",
    "parameters (million)",
    "multiplications per slice (million)",
    "receptive field (pixels)",
]
numbered_table(pd.DataFrame(records, columns=columns), "The networks of this thesis at the two sizes of slices, with the receptive field of the last feature map (never more than the slice).",
               "tab-architectures", formats={columns[2]: ".2f", columns[3]: ",.0f"})  # fmt: skip

# %% [markdown]
# The networks differ in more than size. The CNN's feature maps cover {glue:text}`cnn_field:d` pixels at a time and leave all relations between
# places to its fully connected layers. ResNet-18 could cover {glue:text}`resnet_field:d` pixels, more than the {glue:text}`slice_side:d` of a
# slice, but combines them step by step from neighbours. The transformers relate all places from the start. ViT-B/16 takes
# {glue:text}`b16_over_cnn:.0f` times the CNN's multiplications.
#
# Nothing in their construction tells how augmentation, by synthetic images or otherwise, affects each of them; that has to be measured.
# {numref}`Chapter %s <ch-results>` studies the CNN throughout, and compares it on held-out people with ResNet-18 and ViT-Tiny at 64 × 64 pixels,
# from random weights and in fewer simulations. The draft used networks that were pre-trained on ImageNet. These, and ViT-B/16, can be named in
# a study but are not part of the record ({numref}`Chapter %s <ch-considerations>`).
