"""Images by diffusion: variations of a slice that noise has partly hidden, and slices drawn from noise alone.

This module joins the parts; the network is in ``network``, its training in ``training``, its pretrained weights come
from ``pretrain``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from mri_aug import provenance
from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE, ImageSet
from mri_aug.data.sampling import check_seed
from mri_aug.generators.base import check_images, image_digests, make_fingerprint, variation_rngs
from mri_aug.generators.diffusion.network import LATENT_SHAPE, N_TIMES, PHANTOM_SHA256, Denoiser, DiffusionConfig
from mri_aug.generators.diffusion.training import train_denoiser
from mri_aug.models.training import Compute
from mri_aug.provenance import versions

_VERSION = 2  # part of the fingerprint: raise it with any change that alters pixels
_BATCH = 8  # images are always made this many at a time, so that none depends on how many were asked for


@dataclass(frozen=True)
class DiffusionGenerator:
    """Make images with a class-conditional diffusion model of the simulation's own training images.

    :meth:`vary` adds noise to a source up to ``strength`` and removes it again under the source's label (SDEdit, Meng
    et al. 2022): what the noise has hidden is drawn anew, the rest is kept. :meth:`draw` starts from noise alone.

    The model starts from weights trained on phantoms, in the package. On one core of an AMD EPYC, ``fit`` then takes 3
    minutes in bfloat16 and 4.6 in float32, whatever the number of images (4 in bfloat16 on a busy machine), and a core
    makes 25 or 17 variations a second. A simulation fits once per real sample; arms that share it share the model.

    Fidelity on the 6,400-image dataset, fitted on 1,094 slices of 114 people (appendix D's table, ``strength`` 0.7):

    =========================  =========  ======  =======  ========  ===========  ====
    training                   precision  recall  density  coverage  consistency  AUC
    =========================  =========  ======  =======  ========  ===========  ====
    1 minute, from phantoms    0.955      0.780   1.15     0.874     0.547        0.95
    4 minutes, from phantoms   0.962      0.797   1.20     0.882     0.548        0.60
    the same, strength 0.6     0.964      0.884   1.19     0.920     0.547        0.69
    4 minutes, from scratch    0.772      0.309   0.42     0.502     0.546        1.00
    real people                0.939      0.966   1.11     0.947     0.550        0.45
    =========================  =========  ======  =======  ========  ===========  ====

    AUC is that of real against synthetic, and varies: 0.76 in a second training at twice the learning rate. The row
    from scratch also lacks the preconditioning of ``predict_velocity`` (1,000 steps of 16 images), so not all of the
    gap is due to phantoms. No variation was a near copy; the median correlation with the source was 0.979 (0.986 at
    0.6). By eye, ventricles and outline follow the source, and the cortex is drawn anew in folds that do not all
    connect. :meth:`draw` is hazier: deep grey matter is often missing.

    ``DiffusionConfig(weights="none", n_steps=8000)`` trains from scratch with some four times the default's cost; how
    good that is was not measured.

    Parameters
    ----------
    strength : float in (0, 1]
        Share of the noising process that a variation passes through. 0 would be the source itself: that is the
        generator ``duplicate``.
    n_denoising : int
        Evaluations of the network per image.
    config : DiffusionConfig
        The model and its training.
    device : str
        "auto" (a CUDA device where there is one), "cpu" or "cuda".
    precision : str
        "auto", "bfloat16" or "float32", as in :class:`~mri_aug.models.training.Compute`.
    folder : Path, optional
        Of all models and checkpoints; ``artifacts/diffusion`` by default.
    progress : bool
        Show a bar with the time left while fitting.
    """

    strength: float = 0.7
    n_denoising: int = 10
    config: DiffusionConfig = DiffusionConfig()
    device: str = "auto"
    precision: str = "auto"
    folder: Path | str | None = None
    progress: bool = False
    _denoiser: Denoiser | None = field(default=None, repr=False)

    name = "diffusion"
    learns_from_study = True
    reproducible = True
    card = MappingProxyType(
        {
            "kind": "generative model: class-conditional diffusion",
            "learns from": "simulated anatomy (phantoms), then the study's training images and nothing else",
            "who sees the images": "nobody: it runs here",
            "licence and limits": "as the dataset; its fitted weights may hold training images, so share them only as "
            "the images may be shared",
        }
    )

    def __post_init__(self):
        if not isinstance(self.config, DiffusionConfig):
            raise TypeError(f"config must be a DiffusionConfig, got {type(self.config).__name__}")
        if not 0 < self.strength <= 1:
            raise ValueError(
                f"strength must be above 0 and at most 1, got {self.strength}; for the source as it is, use the "
                "generator 'duplicate'"
            )
        most = max(1, round(N_TIMES * self.strength))
        if not 1 <= self.n_denoising <= most:
            raise ValueError(
                f"n_denoising must be from 1 to {most} at strength {self.strength}, got {self.n_denoising}"
            )
        _ = self._compute  # checks device and precision

    @property
    def _compute(self) -> Compute:
        return Compute(device=self.device, precision=self.precision)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with its options, this version, or what it was fitted on."""
        compute = self._compute.resolved()
        return make_fingerprint(
            self.name, _VERSION, self.strength, self.n_denoising, compute.resolved_device().type, compute.precision,
            self._denoiser.fingerprint if self._denoiser else self._recipe,
        )  # fmt: skip

    @property
    def _recipe(self) -> tuple:
        return asdict(self.config), PHANTOM_SHA256 if self.config.weights == "phantom" else ""

    def fit(self, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int) -> DiffusionGenerator:
        """Return a generator whose model is trained on these images, or was before and is kept.

        The model's file is named by a hash of configuration, pretrained weights, images, labels and seed. An
        interrupted call continues from its last checkpoint when repeated, and ends with the same weights bit for bit
        on one machine with one thread, as in a study; several threads, or a GPU, may sum in another order.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 1, 128, 128)
        labels, subjects : Tensor of int64, shape (n,)
            People play no part in the training.
        seed : int
            Non-negative.

        Raises
        ------
        ValueError
            If there are no images, the seed is negative, the training diverged, or a file that it needs is damaged.
        FileNotFoundError
            If the pretrained weights are missing.
        """
        check_images(images, labels, subjects)
        check_seed(seed)
        compute = self._compute.resolved()
        key = make_fingerprint(
            self.name, _VERSION, self._recipe, compute.resolved_device().type, compute.precision,
            image_digests(images), labels.tolist(), seed, versions(("torch", "diffusers")),
        )  # fmt: skip
        denoiser = train_denoiser(
            images, labels, seed=seed, config=self.config, compute=compute, fingerprint=key, progress=self.progress,
            path=Path(self.folder or provenance.artifacts("diffusion")) / f"{key}.safetensors",
        )  # fmt: skip
        return replace(self, _denoiser=denoiser)

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return one variation per image, uint8 (n, 1, 128, 128).

        A variation depends on the seed, the image, its label and the trained model, not on the rest of the batch; a
        repeated image gets a new variation each time.

        Raises
        ------
        ValueError
            If not fitted, the seed is negative, or a label is absent from the fitted images.
        """
        check_images(images, labels)
        self._check_fitted(labels)
        rngs = variation_rngs(image_digests(images), labels, seed=seed)
        return self._make(images, labels, rngs, self.strength, self.n_denoising)

    def draw(self, labels: Tensor, *, seed: int) -> ImageSet:
        """Return one image of each label, drawn from noise alone, of no person and from no source (both -1).

        The k-th image of a class depends on the seed, k and the trained model, not on the other labels. It takes
        ``n_denoising / strength`` evaluations, as many for each step of noise as a variation.

        Parameters
        ----------
        labels : Tensor of int64, shape (n,)
        seed : int
            Non-negative.

        Raises
        ------
        ValueError
            As :meth:`vary`.
        """
        self._check_fitted(labels)
        rngs = variation_rngs(["0"] * len(labels), labels, seed=seed)
        images = self._make(None, labels, rngs, 1.0, round(self.n_denoising / self.strength))
        none = torch.full_like(labels, -1)
        n_classes = self._denoiser.classes[-1] + 1
        names = CLASS_NAMES if n_classes <= len(CLASS_NAMES) else tuple(f"class {k}" for k in range(n_classes))
        return ImageSet(images, labels, subjects=none, source_ids=none.clone(), class_names=names)

    def _check_fitted(self, labels: Tensor) -> None:
        if self._denoiser is None:
            raise ValueError("diffusion must be fitted on the training images before use: call fit(...) first")
        if absent := sorted(set(labels.tolist()) - set(self._denoiser.classes)):
            raise ValueError(f"diffusion was fitted on classes {list(self._denoiser.classes)}, got labels {absent}")

    def _make(
        self, images: Tensor | None, labels: Tensor, rngs: list[np.random.Generator], strength: float, n_steps: int
    ) -> Tensor:
        made = torch.empty(len(labels), 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
        for start in range(0, len(labels), _BATCH):
            rows = np.arange(start, start + _BATCH) % len(labels)  # a short last batch is filled up from the front
            fresh = slice(start, min(start + _BATCH, len(labels)))
            noise = np.zeros((_BATCH, *LATENT_SHAPE), np.float32)
            for place, rng in enumerate(rngs[fresh]):
                noise[place] = rng.standard_normal(LATENT_SHAPE, np.float32)
            made[fresh] = self._denoiser.redraw(
                None if images is None else images[rows], labels[rows], torch.from_numpy(noise),
                strength=strength, n_steps=n_steps, compute=self._compute,
            )[: fresh.stop - start]  # fmt: skip
        return made
