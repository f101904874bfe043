"""Figures of a study, of images and of heat maps."""

from mri_aug.book.figures.fidelity import plot_fidelity, plot_similarities, plot_variations
from mri_aug.book.figures.forest import (
    plot_cross_entropy_by_simulation,
    plot_groups,
    plot_paired,
    plot_simulations,
    plot_sweep,
)
from mri_aug.book.figures.images import (
    CamRow,
    plot_cam_sheet,
    plot_cascade,
    plot_class_counts,
    plot_component_curve,
    plot_effects,
    plot_image_grid,
    plot_perturbation,
    plot_twin_correlations,
)

__all__ = [
    "CamRow",
    "plot_cam_sheet",
    "plot_cascade",
    "plot_class_counts",
    "plot_component_curve",
    "plot_cross_entropy_by_simulation",
    "plot_effects",
    "plot_fidelity",
    "plot_groups",
    "plot_image_grid",
    "plot_paired",
    "plot_perturbation",
    "plot_similarities",
    "plot_simulations",
    "plot_sweep",
    "plot_twin_correlations",
    "plot_variations",
]
