"""Networks, their weights, and training."""

from mri_aug.models.networks import ARCHITECTURES, make_model, target_layer
from mri_aug.models.training import Classifier, TrainConfig, predict, train, train_head

__all__ = ["ARCHITECTURES", "Classifier", "TrainConfig", "make_model", "predict", "target_layer", "train", "train_head"]
