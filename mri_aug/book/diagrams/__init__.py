"""Diagrams of the networks and of training."""

from mri_aug.book.diagrams.convolution import (
    convolve,
    max_pool,
    plot_cnn_outline,
    plot_convolution,
    plot_layers,
    plot_max_pooling,
    plot_residual_block,
    plot_resnet,
)
from mri_aug.book.diagrams.training import (
    plot_curves,
    plot_descent,
    plot_generation_policy,
    plot_network,
    plot_transfer,
)
from mri_aug.book.diagrams.transformer import patches_of, plot_attention, plot_encoder_block, plot_vision_transformer

__all__ = [
    "convolve",
    "max_pool",
    "patches_of",
    "plot_attention",
    "plot_cnn_outline",
    "plot_convolution",
    "plot_curves",
    "plot_descent",
    "plot_encoder_block",
    "plot_generation_policy",
    "plot_layers",
    "plot_max_pooling",
    "plot_network",
    "plot_residual_block",
    "plot_resnet",
    "plot_transfer",
    "plot_vision_transformer",
]
