"""Simulated people: new anatomy of each label's grade, scanned with randomised contrast and shape. No source image.

Domain randomisation, after SynthSeg (Billot et al. 2023, Med. Image Anal. 86:102789), for grading. Nothing is learnt of
anatomy or of disease: framing and brightness of the phantoms were matched to the thesis's dataset by eye, and the link
of grade to atrophy is an assumption that was not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

import numpy as np
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE, ImageSet
from mri_aug.data.phantom.crowd import CROWD_VERSION, Crowd, load_crowd
from mri_aug.data.phantom.people import Scanner
from mri_aug.generators.base import check_images, image_digests, make_fingerprint

_VERSION = 1  # part of the fingerprint: raise it with any change that alters pixels
_INSIDE = 20  # grey value above which a pixel is taken for brain
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_N_COMPARED = 256  # images of a sample whose statistics are taken
_RADII = (32, 56)  # cycles per image between which sharpness is compared: above anatomy, below the JPEG's corner


@dataclass(frozen=True)
class SimulatedGenerator:
    """Draw people of the labels' grades from a crowd of simulated anatomies.

    Ordered classes share the range of severity evenly: with n classes, class k has the k-th n-th of the people in the
    order of their severity, blurred by ``overlap``. Fitting adapts the scanner to the sample's grey values (quantiles
    inside the brain) and sharpness (power spectrum), and takes nothing else from it. Images must be T1-weighted like
    the thesis's: fluid dark, white matter bright.

    ``strength`` and ``overlap`` were compared on 84 validation people of the thesis's dataset, by a network that was
    trained on simulated people alone (400 steps at 64 x 64), in nats per person: strength 0 0.875 and 0.5 0.892, which
    differ by less than those people can show; overlap 1.2 0.912 and, at strength 0, overlap 2.5 0.944.

    Parameters
    ----------
    strength : float in [0, 1]
        Of the randomisation of contrast, bias field, noise, blur, resolution and shape between people; 0 leaves the
        phantom scanner's own variety. See :class:`mri_aug.data.phantom.people.Scanner`.
    n_people : int
        Size of the crowd, simulated once: a third of a second and 1.6 MB of cache each; see
        :func:`mri_aug.data.phantom.crowd.load_crowd`.
    overlap : float, at least 0
        Standard deviation of severity around a grade's range, as a share of that range.
    people_seed : int
        Of the crowd.
    """

    strength: float = 0.25
    n_people: int = 400
    overlap: float = 0.4
    people_seed: int = 0
    _fitted: _Fitted | None = field(default=None, repr=False)

    name = "simulated"
    learns_from_study = True
    reproducible = True
    makes_people = True
    card = MappingProxyType(
        {
            "kind": "model of anatomy with randomised contrast and shape",
            "learns from": "grey values and sharpness of the study's training images; anatomy is simulated",
            "who sees the images": "nobody: it runs here",
            "licence and limits": "free of any person's data; its link of grade to atrophy is assumed, not learnt",
        }
    )

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise ValueError(f"simulated's strength must lie in [0, 1], got {self.strength}")
        if not 0 <= self.overlap < np.inf:
            raise ValueError(f"simulated's overlap must be a finite number from 0 up, got {self.overlap}")

    @property
    def fingerprint(self) -> str:
        """Digits that change with the options, the crowd, and the sample fitted on."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        return make_fingerprint(self.name, _VERSION, CROWD_VERSION, options, self._fitted and self._fitted.fingerprint)

    def fit(self, images: Tensor, labels: Tensor, subjects: Tensor, *, seed: int) -> SimulatedGenerator:
        """Return a generator whose scanner has the images' grey values and sharpness; a second or two.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 1, 128, 128)
        labels, subjects : Tensor of int64, shape (n,)
            The largest label gives the number of classes; subjects have no effect.
        seed : int
            Of the simulated images that the sample is compared with.

        Raises
        ------
        ValueError
            If the images are blank.
        """
        check_images(images, labels, subjects)
        if not (images > _INSIDE).any():
            raise ValueError(f"simulated takes grey values from brain images, and these have no pixel above {_INSIDE}")
        n_classes = int(labels.max()) + 1
        rows = np.unique(np.linspace(0, len(images) - 1, _N_COMPARED).astype(int))
        simulated = self._crowd().draw(labels[rows].numpy(), n_classes=n_classes, seed=seed, overlap=self.overlap)
        scanner = _adapted(simulated.images[:, 0].numpy(), images[rows, 0].numpy(), self.strength)
        digest = make_fingerprint(image_digests(images[rows]), n_classes, seed)
        return replace(self, _fitted=_Fitted(scanner, n_classes, digest))

    def draw(self, labels: Tensor, *, seed: int) -> ImageSet:
        """Return new people's images with these labels, at least 500 a second and core.

        Raises
        ------
        ValueError
            If not fitted, a label is beyond the classes fitted on, or there are fewer people than classes.
        """
        if self._fitted is None:
            raise ValueError("simulated must be fitted on the training images before use: call fit(...) first")
        return self._crowd().draw(
            labels.numpy(), n_classes=self._fitted.n_classes, seed=seed, scanner=self._fitted.scanner,
            overlap=self.overlap,
        )  # fmt: skip

    def vary(self, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return :meth:`draw` for these labels, uint8 (n, 1, 128, 128); the images have no effect."""
        check_images(images, labels)
        return self.draw(labels, seed=seed).images

    def _crowd(self) -> Crowd:
        return load_crowd(n_people=self.n_people, seed=self.people_seed)


@dataclass(frozen=True)
class _Fitted:
    """What was taken from the training images."""

    scanner: Scanner
    n_classes: int
    fingerprint: str


def _adapted(simulated: np.ndarray, sample: np.ndarray, strength: float) -> Scanner:
    """Return the scanner under which simulated images have the sample's grey values and sharpness."""
    ours, theirs = (np.quantile(x[x > _INSIDE], _QUANTILES) for x in (simulated, sample))
    theirs = np.maximum.accumulate(theirs)
    tone = np.interp(np.arange(256), [0, *ours, 255], [0, *theirs, max(theirs[-1], 255)])
    # A Gaussian of s pixels lowers power at f cycles per pixel by exp(-(2 pi f s)^2).
    (ours, radii), (theirs, _) = (_power(x) for x in (simulated, sample))
    frequency = np.array(radii) / IMAGE_SIZE
    variance = np.median(np.log(ours / theirs) / (2 * np.pi * frequency) ** 2)
    return Scanner(strength=strength, blur=float(np.sqrt(np.clip(variance, 0, 1))), tone=tuple(tone.tolist()))


def _power(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean power at each radius of ``_RADII``, relative to that at 4 to 16 cycles per image."""
    centred = images - images.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fftshift(np.fft.fft2(centred), axes=(1, 2))) ** 2).mean(0)
    middle = IMAGE_SIZE // 2
    radius = np.hypot(*np.mgrid[-middle:middle, -middle:middle]).astype(int)
    radial = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    radii = np.arange(*_RADII)
    return radial[radii] / radial[4:17].mean() + 1e-12, radii
