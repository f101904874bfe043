"""Networks that turn images into features, by name: distances between sets of images are distances between these.

A measure means nothing without the name of its network, so each carries one. It trains a network where asked to and
compares no images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mri_aug.data.imageset import ImageSet
from mri_aug.models.frozen import FROZEN_MEAN, FROZEN_STD
from mri_aug.models.networks import backbone_and_head, make_model
from mri_aug.models.training import Classifier, TrainConfig, train

_BATCH = 128  # images at a time
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A function from images to features, and what to call it in a table.

    Parameters
    ----------
    name : str
        Architecture, and what it was trained on.
    forward : callable
        uint8 images (n, 1, 128, 128) to features (n, d), a float tensor.
    """

    name: str
    forward: Callable[[Tensor], Tensor]

    def extract(self, images: Tensor) -> np.ndarray:
        """Return the features of uint8 images (n, 1, 128, 128), float64 of shape (n, d)."""
        with torch.inference_mode():
            return torch.cat([self.forward(batch).double().cpu() for batch in images.split(_BATCH)]).numpy()


def domain_network(training: ImageSet, *, seed: int, config: TrainConfig | None = None) -> FeatureNetwork:
    """Train the thesis's CNN to tell the classes of real slices, and return what it makes of an image.

    The features are the means and standard deviations of each channel of both convolutions, which see texture, blur
    and noise, and the last hidden layer, which sees anatomy: 160 in all, each brought to mean 0 and variance 1 over
    the training images. Train it on people who are on neither side of a comparison, since a network knows its own.

    Parameters
    ----------
    training : ImageSet
        For example :attr:`mri_aug.fidelity.table.Parts.others`.
    seed : int
        Of the initial weights and the order of images.
    config : TrainConfig, optional
    """
    classifier = train(make_model("cnn", n_classes=training.n_classes, seed=seed), training, seed=seed, config=config)
    raw = FeatureNetwork("", lambda images: _layers(classifier, images)).extract(training.images)
    mean, scale = torch.from_numpy(raw.mean(0)), torch.from_numpy(raw.std(0))
    # a unit that never fires on real training images would otherwise divide by zero
    scale = torch.where(scale > 1e-6, scale, 1.0)
    name = f"CNN trained on {len(training):,} real slices of other people"
    return FeatureNetwork(name, lambda images: (_layers(classifier, images).double().cpu() - mean) / scale)


def imagenet_network(weights: str | Path = "imagenet", *, architecture: str = "resnet18") -> FeatureNetwork:
    """Return a network trained on the photographs of ImageNet, without its last layer.

    Parameters
    ----------
    weights : str or Path
        ``"imagenet"``, which torchvision downloads once, or the path of such a state dict.
    architecture : {"resnet18", "vit_b_16"}

    Raises
    ------
    ConnectionError, FileNotFoundError, ValueError
        As :func:`mri_aug.models.networks.make_model`.
    """
    model = make_model(architecture, n_classes=_IMAGENET_CLASSES, weights=weights, seed=0).eval()
    backbone, _ = backbone_and_head(model)
    return FeatureNetwork(
        f"{architecture} trained on ImageNet",
        lambda images: backbone((images.float() / 255 - FROZEN_MEAN) / FROZEN_STD),
    )


def _layers(classifier: Classifier, images: Tensor) -> Tensor:
    model = classifier.model
    first = model.features[:3](classifier.normalise(images))
    second = model.features[3:](first)
    moments = [moment for maps in (first, second) for moment in (maps.mean((2, 3)), maps.std((2, 3)))]
    return torch.cat([*moments, model.hidden(second)], dim=1)
