"""Train a classifier on an image set, predict with it, and calibrate its probabilities.

A training set is only an :class:`~mri_aug.data.imageset.ImageSet`: nothing here knows of generators, studies or test
parts.
"""

from __future__ import annotations

import copy
import ctypes
import math
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Generator, Tensor, nn
from torch.nn import functional

from mri_aug.data.imageset import ImageSet
from mri_aug.models.frozen import FROZEN_MEAN, FROZEN_STD, frozen_features
from mri_aug.models.networks import backbone_and_head, freeze_backbone, parameter_groups
from mri_aug.policies.registry import make_policy

BALANCES = ("none", "oversample", "weights")  # what is done about classes of different sizes
LOOKING_SHARE = 0.05  # of a training's cost, for looks at the validation part
TEMPERATURES = (0.05, 50.0)  # searched; one at either end says that the network learnt nothing, or everything
# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_GIB = 2**30


def keep_freed_memory() -> bool:
    """Tell glibc to serve every block from a heap that it keeps; return whether that was possible.

    The heap grows in steps of 256 MiB of address space (not of memory, until touched) and is given back only when more
    than 1 GiB at its top is free.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _GIB), (_M_TOP_PAD, _GIB // 4))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])


def index_batches(
    labels: Tensor, batch_size: int, *, n_steps: int, rng: Generator, balance: str = "none"
) -> Iterator[Tensor]:
    """Yield the positions of each step's images, in batches of equal size from a stream of shuffles.

    A batch has at most as many images as there are ``labels`` (int64, shape (n,)), each seen equally often, to within
    one; under the balance ``"oversample"`` they come from :func:`balanced_pass`.

    Raises
    ------
    ValueError
        If there is no such balance.
    """
    if balance not in BALANCES:
        raise ValueError(f"balance must be one of {', '.join(BALANCES)}, got {balance!r}")
    size = min(batch_size, len(labels))
    queue = torch.empty(0, dtype=torch.int64, device=rng.device)
    for _ in range(n_steps):
        if len(queue) < size:
            queue = torch.cat([queue, balanced_pass(labels, rng) if balance == "oversample" else _shuffle(labels, rng)])
        yield queue[:size]
        queue = queue[size:]


def balanced_pass(labels: Tensor, rng: Generator) -> Tensor:
    """Return positions that hold each class equally often, shuffled: a pass over the images with classes oversampled.

    As many as there are images, rounded up to a multiple of the number of classes. Within a class each image comes
    equally often, to within one; of a class larger than its share, another part is drawn in every pass.
    """
    classes = labels.unique()
    share = -(-len(labels) // len(classes))
    drawn = []
    for label in classes:
        members = (labels == label).nonzero()[:, 0]
        rounds = range(0, share, len(members))
        drawn.append(torch.cat([members[_shuffle(members, rng)] for _ in rounds])[:share])
    pool = torch.cat(drawn)
    return pool[_shuffle(pool, rng)]


def class_weights(labels: Tensor, n_classes: int) -> Tensor:
    """Return a weight for each class, inversely proportional to its number of images; 1 where it has none.

    Scikit-learn's ``"balanced"``: ``n / (n_classes_present * n_images_of_class)``, float32 of shape (n_classes,).
    """
    counts = labels.bincount(minlength=n_classes)
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 1.0).float()


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of uint8 images' pixels, scaled to [0, 1], exactly.

    Raises
    ------
    ValueError
        If all pixels are equal, so that there is nothing to normalise by.
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(64):  # without a float copy of the images
        counts += torch.bincount(part.reshape(-1), minlength=256).cpu()
    levels, weights = torch.arange(256, dtype=torch.float64) / 255, counts.double() / counts.sum()
    mean = float((levels * weights).sum())
    std = float(((levels - mean).square() * weights).sum().sqrt())
    if std == 0:
        raise ValueError("all pixels of the training images are equal; there is nothing to learn from")
    return mean, std


def random_streams(seed: int, device: torch.device) -> list[torch.Generator]:
    """Return two independent streams of chance: for the images' order and for the policy's draws."""
    children = np.random.SeedSequence(seed).spawn(2)
    return [torch.Generator(device).manual_seed(int(child.generate_state(1)[0])) for child in children]


def _shuffle(items: Tensor, rng: Generator) -> Tensor:
    return torch.randperm(len(items), generator=rng, device=rng.device)


@dataclass(frozen=True)
class Compute:
    """Where and in which precision a network runs. A value out of range, here or in a subclass, is a ValueError."""

    device: str = "auto"  # "cpu", "cuda", "cuda:1"; "auto": a CUDA device where there is one, else the CPU
    precision: str = "auto"  # "bfloat16", "float32"; "auto": bfloat16 where the processor multiplies in it

    def __post_init__(self):
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise ValueError(f"precision must be 'auto', 'bfloat16' or 'float32', got {self.precision!r}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or one of several as 'cuda:1', got {self.device!r}")

    def resolved(self) -> Self:
        """Return the same with nothing left to this machine's choice; the number of a GPU stays as given."""
        return replace(self, device=str(self.resolved_device()), precision=self.resolved_precision())

    def resolved_device(self) -> torch.device:
        """Return the device that ``device`` names."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def resolved_precision(self) -> str:
        """Return ``"bfloat16"`` or ``"float32"``."""
        if self.precision != "auto":
            return self.precision
        if self.resolved_device().type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        # Without the instructions bfloat16 is emulated, and slower than float32.
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if capable else "float32"

    def autocast(self) -> torch.autocast:
        """Return a context in which the operations that allow bfloat16 use it, where that is the precision."""
        wanted = self.resolved_precision() == "bfloat16"
        return torch.autocast(self.resolved_device().type, torch.bfloat16, enabled=wanted)


@dataclass(frozen=True)
class TrainConfig(Compute):
    """How a network is trained. The defaults train the thesis's CNN; the draft states none of them."""

    epochs: int = 14  # passes over the training images, unless the number of steps is given
    steps: int = 0  # optimisation steps of a full training set, in place of its epochs; 0: as many as the epochs
    batch_size: int = 64  # images per optimisation step
    learning_rate: float = 3e-3  # peak of the one-cycle schedule (Smith and Topin, 2019), times a layer's factor
    weight_decay: float = 0.0  # decoupled, per unit of learning rate (AdamW, Loshchilov and Hutter 2019)
    n_looks: int = 12  # at the validation part, evenly over the steps, where there is one

    def __post_init__(self):
        super().__post_init__()
        for name in ("epochs", "batch_size", "learning_rate", "n_looks", "steps", "weight_decay"):
            value, may_be_zero = getattr(self, name), name in ("steps", "weight_decay")
            if isinstance(value, str) or not (value >= 0 if may_be_zero else value > 0):
                allowed = "number of at least 0" if may_be_zero else "positive number"
                raise ValueError(f"{name} must be a {allowed}, got {value!r}")

    def n_steps(self, n_images: int) -> int:
        """Return the optimisation steps of ``epochs`` passes over ``n_images`` images."""
        return max(1, round(self.epochs * n_images / min(self.batch_size, n_images)))


@dataclass(frozen=True)
class Classifier:
    """A trained network with the normalisation that it was trained under."""

    model: nn.Module  # maps normalised images (n, 1, size, size) to logits (n, n_classes); in evaluation mode
    mean: float  # of the training images' pixels, in [0, 1]
    std: float
    config: TrainConfig
    losses: np.ndarray  # training cross-entropy of each step's batch, shape (n_steps,)
    frozen: bool = False  # True where the head alone was trained, so that features of images may come from memory
    step: int = 0  # the optimisation step after which these are the weights
    validated: Classifier | None = None  # the same training at the look with the least validation loss, if any

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images (n, 1, size, size) as the float tensor that the model takes."""
        scaled = images.to(self.config.resolved_device()).to(torch.float32).div_(255)
        return scaled.sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)


def train(
    model: nn.Module,
    image_set: ImageSet,
    *,
    seed: int,
    config: TrainConfig | None = None,
    n_steps: int | None = None,
    policy: str = "none",
    balance: str = "none",
    validation: ImageSet | None = None,
) -> Classifier:
    """Train ``model`` on every image of ``image_set`` with AdamW under a one-cycle learning rate.

    Batches are drawn without replacement until the images are used up, then from a new shuffle. The cost on two cores
    is about 1.5 ms per image and step for the thesis's CNN with one process per core.

    Parameters
    ----------
    model : nn.Module
        From :func:`mri_aug.models.networks.make_model`; it is trained in place, from the weights that it has.
    image_set : ImageSet
        At least two training images.
    seed : int
        Of the order of the images and the policy's draws (not of the initial weights).
    config : TrainConfig, optional
    n_steps : int, optional
        Optimisation steps; by default ``config.epochs`` passes over the images.
    policy : str
        A name of :data:`mri_aug.policies.registry.POLICIES`.
    balance : str
        ``"oversample"`` draws each class equally often, ``"weights"`` weighs the loss by :func:`class_weights`.
    validation : ImageSet, optional
        Looked at ``config.n_looks`` times, through every k-th of its images so that the looks cost about 5 % of the
        training at most; the weights of the look with the least loss come back as ``validated``. The training itself
        does not depend on it.

    Raises
    ------
    ValueError
        If there are fewer than two images, or all pixels are equal, or the training diverged.
    """
    config = config or TrainConfig()
    device = config.resolved_device()
    mean, std = pixel_statistics(image_set.images)
    images, labels = image_set.images.to(device), image_set.labels.to(device)
    augment = make_policy(policy, n_classes=image_set.n_classes)
    order_rng, policy_rng = random_streams(seed, device)

    def draw(index: Tensor) -> tuple[Tensor, Tensor]:
        batch, targets = augment(images[index].to(torch.float32).div_(255), labels[index], generator=policy_rng)
        return batch.sub(mean).div_(std).contiguous(memory_format=torch.channels_last), targets

    model.to(device, memory_format=torch.channels_last).train()
    classifier = Classifier(model, mean, std, config, np.empty(0))
    return _optimise(classifier, model, draw, image_set, n_steps, order_rng, balance, validation)


def train_head(
    model: nn.Module,
    image_set: ImageSet,
    *,
    seed: int,
    config: TrainConfig | None = None,
    n_steps: int | None = None,
    balance: str = "none",
    validation: ImageSet | None = None,
) -> Classifier:
    """Train a model's head alone, on features that its frozen backbone computes once (feature extraction).

    Parameters and errors are those of :func:`train`. There is no policy: an image that is changed each time it is
    seen has no features to keep. Where the features are in memory, ten epochs of 5,000 images take a second.
    """
    config = config or TrainConfig()
    device = config.resolved_device()
    backbone, head = backbone_and_head(freeze_backbone(model.to(device).eval()))
    features, labels = _features(backbone, image_set.images, config), image_set.labels.to(device)
    order_rng, _ = random_streams(seed, device)
    classifier = Classifier(model, FROZEN_MEAN, FROZEN_STD, config, np.empty(0), frozen=True)

    def draw(index: Tensor) -> tuple[Tensor, Tensor]:
        return features[index], labels[index]

    return _optimise(classifier, head, draw, image_set, n_steps, order_rng, balance, validation)


class _Looks:
    """Looks at the validation part during a training; ``best`` has the weights of the one with the least loss."""

    def __init__(self, classifier: Classifier, n_steps: int, validation: ImageSet):
        config = classifier.config
        n_looks = min(config.n_looks, n_steps)
        self.steps = set(np.linspace(n_steps / n_looks, n_steps, n_looks).round().astype(int).tolist())
        # An image costs about three times as much to train on as to look at.
        affordable = LOOKING_SHARE * n_steps * config.batch_size * 3 / n_looks
        thinned = validation[:: max(1, math.ceil(len(validation) / max(affordable, 1)))]
        self._images, self._labels = thinned.images, thinned.labels.numpy()
        self._classifier, self._loss, self.best = classifier, math.inf, None

    def look(self, step: int) -> None:
        model = self._classifier.model
        model.eval()
        probabilities = predict(self._classifier, self._images)
        model.train(not self._classifier.frozen)
        loss = -float(_logarithms(probabilities)[np.arange(len(self._labels)), self._labels].mean())
        if loss < self._loss or self.best is None:
            self._loss, self.best = loss, replace(self._classifier, model=copy.deepcopy(model).eval(), step=step)


def _optimise(
    classifier: Classifier, learner: nn.Module, draw: Callable[[Tensor], tuple[Tensor, Tensor]], image_set: ImageSet,
    n_steps: int | None, rng: torch.Generator, balance: str, validation: ImageSet | None,
) -> Classifier:  # fmt: skip
    """Train the learner, the classifier's model or a part of it, in place on what is drawn for each batch."""
    config = classifier.config
    if len(image_set) < 2:
        raise ValueError(f"training needs at least 2 images, got {len(image_set)}")
    n_steps = config.n_steps(len(image_set)) if n_steps is None else n_steps
    looks = None if validation is None or not len(validation) else _Looks(classifier, n_steps, validation)
    labels = image_set.labels.to(rng.device)
    weights = class_weights(labels, image_set.n_classes) if balance == "weights" else None
    groups = parameter_groups(learner, config.learning_rate)
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
    peaks = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=max(n_steps, 2))
    losses = torch.empty(n_steps, device=rng.device)
    batches = index_batches(labels, config.batch_size, n_steps=n_steps, rng=rng, balance=balance)
    for step, index in enumerate(batches, start=1):
        inputs, targets = draw(index)
        with config.autocast():
            logits = learner(inputs)
        loss = functional.cross_entropy(logits.float(), targets, weight=weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses[step - 1] = loss.detach()
        if looks and step in looks.steps:
            looks.look(step)
    if not bool(torch.isfinite(losses).all()):
        raise ValueError(f"training diverged: the loss is not finite; lower learning_rate ({config.learning_rate})")
    classifier.model.eval()
    losses = losses.cpu().numpy()
    return replace(classifier, losses=losses, step=n_steps, validated=looks and replace(looks.best, losses=losses))


def predict(classifier: Classifier, images: Tensor, *, batch_size: int = 16) -> np.ndarray:
    """Return class probabilities of uint8 images (n, 1, size, size), float64 of shape (n, n_classes).

    The batch size bounds the memory, not the result: 16 images of the CNN take far less of it than a training step.
    """
    model, take = classifier.model, classifier.normalise
    if classifier.frozen:
        backbone, model = backbone_and_head(classifier.model)
        images, take = _features(backbone, images, classifier.config), nn.Identity()
    with torch.inference_mode(), classifier.config.autocast():
        logits = [model(take(batch)).double() for batch in images.split(batch_size)]
    return torch.cat(logits).softmax(dim=1).cpu().numpy()


def _features(backbone: nn.Module, images: Tensor, config: TrainConfig) -> Tensor:
    return frozen_features(backbone, images, precision=config.resolved_precision()).to(config.resolved_device())


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature at which the mean cross-entropy is least (Guo et al. 2017, section 4.2).

    Parameters
    ----------
    probabilities : ndarray of float, shape (n, n_classes)
        Of validation images.
    labels : ndarray of int, shape (n,)

    Returns
    -------
    float
        Within ``TEMPERATURES``; 1 leaves probabilities as they are, more makes them less sure.

    Raises
    ------
    ValueError
        If there are no images to fit on.
    """
    if not len(labels):
        raise ValueError("a temperature is fitted on validation images, got none")
    logits, rows = _logarithms(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities at a temperature: the softmax of their logarithms divided by it, in the same order."""
    return np.exp(log_softmax(_logarithms(probabilities) / temperature, axis=1))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, np.finfo(float).tiny, None))
