"""Features of images under a frozen backbone, computed once per process and kept in memory.

A study that trains only the head sees the same real images in every simulation; each passes the backbone once. Nothing
here trains, and nothing is kept on disk.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import cache

import torch
from torch import Tensor, nn

# A frozen network gets images as in its own training: ImageNet's mean and deviation, averaged over the three colours
# (torchvision's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225). With statistics of the training images instead, an
# image's features would change with every sample.
FROZEN_MEAN, FROZEN_STD = 0.449, 0.226
MAX_BYTES = 256 * 2**20  # limit of one process's features: 131,000 images for resnet18, 87,000 for vit_b_16


class FeatureCache:
    """Feature vectors by key; beyond ``max_bytes`` the least recently used are dropped."""

    def __init__(self, max_bytes: int):
        self.max_bytes, self.n_bytes = max_bytes, 0
        self._vectors: OrderedDict[tuple[bytes, bytes], Tensor] = OrderedDict()

    def get(self, key: tuple[bytes, bytes]) -> Tensor | None:
        """Return the vector of ``key``, now the most recently used, or None."""
        if key in self._vectors:
            self._vectors.move_to_end(key)
        return self._vectors.get(key)

    def put(self, key: tuple[bytes, bytes], vector: Tensor) -> None:
        """Keep ``vector`` under a new key, and drop what no longer fits."""
        self._vectors[key] = vector
        self.n_bytes += vector.nbytes
        while self.n_bytes > self.max_bytes:
            _, dropped = self._vectors.popitem(last=False)
            self.n_bytes -= dropped.nbytes

    def __len__(self) -> int:
        return len(self._vectors)


@cache
def process_cache() -> FeatureCache:
    """Return the cache that this process's simulations share."""
    return FeatureCache(MAX_BYTES)


def frozen_features(backbone: nn.Module, images: Tensor, *, precision: str = "float32") -> Tensor:
    """Return each image's features, from the process's cache where this backbone has seen it.

    Images pass one at a time: the arithmetic of a batch depends on its size, and an image's features must not depend
    on which others were in the cache. On one core about 15 ms an image for ``resnet18``.

    Parameters
    ----------
    backbone : nn.Module
        From :func:`mri_aug.models.networks.backbone_and_head`, in evaluation mode; identified by its weights and
        buffers.
    images : Tensor of uint8, shape (n, 1, size, size)
    precision : {"float32", "bfloat16"}
        Of the backbone's matrix products.

    Returns
    -------
    Tensor of float32, shape (n, d)
        On the processor, whatever the backbone's device.

    Raises
    ------
    ValueError
        If the backbone is in training mode, where features depend on chance or on the rest of a batch.
    """
    if any(module.training for module in backbone.modules()):
        raise ValueError("the backbone is in training mode, where features depend on the batch; call .eval() first")
    store, network = process_cache(), _digest(backbone, precision)
    vectors = []
    for image in images.cpu():
        key = network, hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
        vector = store.get(key)
        if vector is None:
            vector = _features(backbone, image, precision)
            store.put(key, vector)
        vectors.append(vector)
    return torch.stack(vectors) if vectors else torch.empty(0, 0)


def _features(backbone: nn.Module, image: Tensor, precision: str) -> Tensor:
    device = next(backbone.parameters()).device
    batch = image[None].to(device, torch.float32).div_(255).sub_(FROZEN_MEAN).div_(FROZEN_STD)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return backbone(batch.contiguous(memory_format=torch.channels_last))[0].float().cpu()


def _digest(backbone: nn.Module, precision: str) -> bytes:
    digest = hashlib.sha256(f"{precision} {next(backbone.parameters()).device.type} {backbone}".encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
