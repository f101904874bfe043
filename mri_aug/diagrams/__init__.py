"""Diagrams of how training and the three architectures work, each drawn by a function from data.

Every function takes what it shows (paths, numbers, rows of a layer table, a slice) and returns
its axes. None imports torch, reads a file or states a number that it was not given.
"""

from mri_aug.diagrams.architectures import plot_layers, plot_residual_block, plot_resnet
from mri_aug.diagrams.convolution import convolve, max_pool, plot_cnn_outline, plot_convolution, plot_max_pooling
from mri_aug.diagrams.methodology import plot_generation_policy
from mri_aug.diagrams.training import plot_curves, plot_descent, plot_network, plot_transfer
from mri_aug.diagrams.transformer import patches_of, plot_attention, plot_encoder_block, plot_vision_transformer

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
