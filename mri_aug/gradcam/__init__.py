"""Heat maps of networks, and measures of what the maps are worth."""

from mri_aug.gradcam.maps import METHODS, gradcam_by_hand, heatmaps

__all__ = ["METHODS", "gradcam_by_hand", "heatmaps"]
