"""Figures of studies, of images and of curves: each draws what it is given on one Axes, and returns it."""

from mri_aug.book.figures.curves import plot_component_curve, plot_correlations, plot_curves, plot_descent
from mri_aug.book.figures.forest import differences, draw_answer, plot_forest
from mri_aug.book.figures.images import Gallery, SheetRow, plot_sheet

__all__ = [
    "Gallery", "SheetRow", "differences", "draw_answer", "plot_component_curve", "plot_correlations", "plot_curves",
    "plot_descent", "plot_forest", "plot_sheet",
]  # fmt: skip
