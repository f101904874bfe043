"""Heat maps, and what they are worth."""

from mri_aug.gradcam.maps import gradcam_by_hand, heatmaps
from mri_aug.gradcam.methods import METHODS

__all__ = ["METHODS", "gradcam_by_hand", "heatmaps"]
