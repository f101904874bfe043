"""Features of images: networks that return them, and the tissue of a set in numbers.

A distance depends on its network, so each network has a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mri_aug.data.imageset import ImageSet
from mri_aug.models.frozen import FROZEN_MEAN, FROZEN_STD
from mri_aug.models.networks import backbone_and_head, make_model
from mri_aug.models.references import TISSUE_FEATURES, tissue_features
from mri_aug.models.training import Classifier, TrainConfig, train

_BATCH = 128  # images at a time


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A function from uint8 images (n, 1, height, width) to float features (n, d).

    Its name is the architecture and what it was trained on.
    """

    name: str
    forward: Callable[[Tensor], Tensor]

    def extract(self, images: Tensor) -> np.ndarray:
        """Return the features of uint8 images (n, 1, height, width), float64 of shape (n, d)."""
        with torch.inference_mode():
            return torch.cat([self.forward(batch).double().cpu() for batch in images.split(_BATCH)]).numpy()


def domain_network(
    training: ImageSet, *, seed: int, name: str = "real slices of other people", config: TrainConfig | None = None
) -> FeatureNetwork:
    """Train the thesis's CNN on the classes of a set of slices, and return its features.

    They are the means and standard deviations of each channel of both convolutions, which describe texture, blur and
    noise, and the last hidden layer, which describes anatomy: 160 in all, standardised over the training images. Train
    it on people who are on neither side of a comparison, for example simulated ones; ``name`` says what they are.
    """
    model = make_model("cnn", n_classes=training.n_classes, seed=seed, image_size=training.images.shape[-1])
    classifier = train(model, training, seed=seed, config=config)
    raw = FeatureNetwork("", lambda images: _layers(classifier, images)).extract(training.images)
    mean, scale = torch.from_numpy(raw.mean(0)), torch.from_numpy(raw.std(0))
    scale = torch.where(scale > 1e-6, scale, 1.0)  # of a unit that is never active
    return FeatureNetwork(
        f"CNN trained on {len(training):,} {name}",
        lambda images: (_layers(classifier, images).double().cpu() - mean) / scale,
    )


def imagenet_network(weights: str | Path = "imagenet", *, architecture: str = "resnet18") -> FeatureNetwork:
    """Return a network trained on the photographs of ImageNet, without its last layer.

    ``weights`` are ``"imagenet"``, which torchvision downloads once, or the path of such a state dict; the architecture
    is resnet18 or vit_b_16. Errors are those of :func:`mri_aug.models.networks.make_model`.
    """
    model = make_model(architecture, n_classes=1000, weights=weights, seed=0).eval()
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


def anatomy_table(image_set: ImageSet) -> pd.DataFrame:
    """Return how the tissue of an image set of known subjects looks, grade by grade: real, phantom or simulated.

    One row per grade that has images, and feature of :func:`mri_aug.models.references.tissue_features`; columns
    ``grade``, ``n_people``, ``n_images``, ``feature``, and over the people's means ``mean``, ``sd`` and the percentiles
    ``p10``, ``p50`` and ``p90``.
    """
    table = pd.DataFrame(tissue_features(image_set.images), columns=list(TISSUE_FEATURES))
    grades = pd.Categorical.from_codes(image_set.labels.numpy(), image_set.class_names)
    rows = []
    for grade, members in table.assign(subject=image_set.subjects.numpy()).groupby(grades, observed=True):
        people = members.groupby("subject").mean()
        for feature, values in people.items():
            low, middle, high = np.percentile(values, (10, 50, 90))
            rows.append({
                "grade": grade, "n_people": len(people), "n_images": len(members), "feature": feature,
                "mean": values.mean(), "sd": values.std(ddof=0), "p10": low, "p50": middle, "p90": high,
            })  # fmt: skip
    return pd.DataFrame(rows)
