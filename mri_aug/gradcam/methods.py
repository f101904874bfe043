"""The methods of class activation mapping, by name: pytorch-grad-cam's, two of them made fast.

The two give the library's maps to 1e-4, which a test checks. Images, classes and layers are the business of
:mod:`mri_aug.gradcam`; nothing here knows what a class is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytorch_grad_cam
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


class FastEigenCAM(pytorch_grad_cam.EigenCAM):
    """Eigen-CAM from a thin decomposition.

    The library asks for all left singular vectors of a matrix of positions x channels, 1,024 squared numbers for a
    map of 32 x 32, and uses none of them. LAPACK finds the right ones, signs included, by the same steps either way.
    """

    def get_cam_image(self, input_tensor, target_layer, target_category, activations, grads, eigen_smooth):
        """Return the projection of every position on the first principal component, shape (n, height, width)."""
        n, n_channels, height, width = activations.shape
        positions = np.nan_to_num(activations).reshape(n, n_channels, -1).transpose(0, 2, 1)
        positions = positions - positions.mean(axis=1, keepdims=True)
        _, _, components = np.linalg.svd(positions, full_matrices=False)
        return (positions @ components[:, 0, :, None]).reshape(n, height, width)


class FastScoreCAM(pytorch_grad_cam.ScoreCAM):
    """Score-CAM whose masked copies of several images share a forward pass.

    A feature map that is zero everywhere adds nothing to the weighted sum, whatever its weight, and a common factor of
    the weights is lost when the map is scaled to [0, 1]: such maps are not scored. What remains is one forward pass
    per live feature map and image, which is the method.
    """

    batch_size = 16  # masked copies in a forward pass; larger ones are slower, as in heatmaps

    def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads) -> NDArray[np.float32]:
        """Return the softmax, over an image's feature maps, of the class's score of the image seen through each."""
        maps = torch.from_numpy(activations).to(self.device)
        live = (maps != 0).flatten(2).any(dim=2)
        image_of, map_of = live.nonzero(as_tuple=True)
        scores = torch.full(live.shape, -torch.inf, device=self.device)
        with torch.no_grad():
            for part in torch.arange(len(image_of), device=self.device).split(self.batch_size):
                chosen, channels = image_of[part], map_of[part]
                masked = input_tensor[chosen] * _masks(maps[chosen, channels], input_tensor.shape[-2:])
                for k, channel, output in zip(chosen, channels, self.model(channels_last(masked)), strict=True):
                    scores[k, channel] = targets[k](output)
        # an image without a live map has no score at all: its weights are undefined, and its map is zero
        return torch.softmax(scores, dim=1).nan_to_num(0.0).cpu().numpy()


def channels_last(images: Tensor) -> Tensor:
    """Return images (n, 1, height, width) strided so that convolutions run channel by channel in the last place.

    With a single channel both layouts are the same memory and PyTorch assumes the slower one: for the thesis's CNN
    a forward pass takes three times as long.
    """
    return images.squeeze(1).unsqueeze(3).permute(0, 3, 1, 2) if images.shape[1] == 1 else images


def _masks(maps: Tensor, size: torch.Size) -> Tensor:
    """Return feature maps (n, height, width) enlarged to the image's size and stretched to [0, 1], (n, 1, ...)."""
    # corners aligned, as the library's torch.nn.UpsamplingBilinear2d has them
    enlarged = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=True)
    low, high = enlarged.amin(dim=(2, 3), keepdim=True), enlarged.amax(dim=(2, 3), keepdim=True)
    return (enlarged - low) / (high - low + 1e-8)


METHODS: Mapping[str, type[pytorch_grad_cam.base_cam.BaseCAM]] = MappingProxyType(
    {
        "gradcam": pytorch_grad_cam.GradCAM,  # Selvaraju et al. 2017
        "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,  # Chattopadhay et al. 2018
        "hirescam": pytorch_grad_cam.HiResCAM,  # Draelos and Carin 2020
        "eigencam": FastEigenCAM,  # Muhammad and Yeasin 2020; does not depend on the class
        "layercam": pytorch_grad_cam.LayerCAM,  # Jiang et al. 2021
        "scorecam": FastScoreCAM,  # Wang et al. 2020; one forward pass per feature map
    }
)
