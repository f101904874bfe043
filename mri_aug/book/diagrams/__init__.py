"""Diagrams of the networks and of one simulation."""

from mri_aug.book.diagrams.blocks import (
    convolve,
    max_pool,
    patches_of,
    plot_attention,
    plot_convolution,
    plot_encoder_block,
    plot_max_pooling,
    plot_network,
    plot_residual_block,
)
from mri_aug.book.diagrams.networks import (
    layer_table,
    plot_cnn_outline,
    plot_generation_policy,
    plot_layers,
    plot_resnet,
    plot_transfer,
    plot_vision_transformer,
)

__all__ = [
    "convolve", "layer_table", "max_pool", "patches_of", "plot_attention", "plot_cnn_outline", "plot_convolution",
    "plot_encoder_block", "plot_generation_policy", "plot_layers", "plot_max_pooling", "plot_network",
    "plot_residual_block", "plot_resnet", "plot_transfer", "plot_vision_transformer",
]  # fmt: skip
