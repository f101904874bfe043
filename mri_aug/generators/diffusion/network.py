"""The denoising network of the diffusion model, and the bands of noise that it learns.

Training lives in :mod:`mri_aug.generators.diffusion.training`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.models.training import TrainConfig

BLOCK = 4  # pixels per side: an image of 128 x 128 becomes 16 bands of 32 x 32
_TISSUE = 25  # grey level that no background reaches and all tissue but the darkest fluid exceeds
_REACH = 8  # pixels around tissue where JPEG leaves traces in real images; beyond, they are black


@dataclass(frozen=True, eq=False)
class Bands:
    """The frequency bands of 4 x 4 blocks, shifted to mean 0 and scaled towards equal spread over the training images.

    A convolution on 16 bands of 32 x 32 costs a sixteenth of one on 128 x 128 pixels. Each band is divided by the
    square root of its spread, half-way between pixels and whitening. In pixels, noise drowns fine detail long before
    it touches the coarse shape, and a small error of the model is visible noise; with all bands whitened (tried, four
    minutes of training), the coarsest, whose spread is 140 times that of the finest, was left with errors that showed
    as blocks.

    Parameters
    ----------
    mean, scale : Tensor of float32, shape (1, 16, 1, 1)
        Of each band, in units of half the grey scale. Scaled bands have a mean square of 1 together.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Bands:
        """Measure the bands of images, uint8 (n, 1, 128, 128)."""
        sums, squares, n = torch.zeros(BLOCK**2).double(), torch.zeros(BLOCK**2).double(), 0
        for part in images.split(256):
            bands = _to_bands(part).double()
            sums += bands.sum((0, 2, 3))
            squares += bands.square().sum((0, 2, 3))
            n += bands[:, 0].numel()
        mean = sums / n
        # A band without spread, as in blank images, must not be divided by 0.
        std = (squares / n - mean.square()).clamp(min=1e-6).sqrt()
        scale = (std * std.mean()).sqrt()
        return cls(*(values.float()[None, :, None, None] for values in (mean, scale)))

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images (n, 1, 128, 128) as float32 bands (n, 16, 32, 32)."""
        return (_to_bands(images) - self.mean.to(images.device)) / self.scale.to(images.device)

    def decode(self, bands: Tensor) -> Tensor:
        """Return bands (n, 16, 32, 32) as uint8 images (n, 1, 128, 128), rounded and clipped to 0..255."""
        bands = bands.float() * self.scale.to(bands.device) + self.mean.to(bands.device)
        blocks = torch.einsum("kp,nkhw->nphw", _cosines(bands.device), bands)
        pixels = functional.pixel_shuffle(blocks, BLOCK)
        return pixels.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def blacken_background(images: Tensor) -> Tensor:
    """Return uint8 images (n, 1, height, width) with all pixels further than 8 from tissue set to 0, as real ones."""
    near = functional.max_pool2d((images >= _TISSUE).float(), 2 * _REACH + 1, stride=1, padding=_REACH)
    return images * near.to(torch.uint8)


def _to_bands(images: Tensor) -> Tensor:
    blocks = functional.pixel_unshuffle(images.float() / 127.5 - 1, BLOCK)
    return torch.einsum("kp,nphw->nkhw", _cosines(images.device), blocks)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal two-dimensional DCT-II of a block, (16, 16): one row per band, one column per pixel."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi * k[:, None] * (2 * k[None] + 1) / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).float().to(device)


try:
    from diffusers import DDIMScheduler, UNet2DModel
except ImportError as error:
    raise ImportError(
        "the generator 'diffusion' needs the package diffusers: pip install 'mri-aug[diffusion]'"
    ) from error

N_TIMES = 1000  # steps of the noising process, of which a variation takes a share
LATENT_SHAPE = (BLOCK**2, IMAGE_SIZE // BLOCK, IMAGE_SIZE // BLOCK)


@dataclass(frozen=True)
class DiffusionConfig:
    """How a model is built and trained. The defaults take a quarter of an hour on one core (0.31 s a step).

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    n_steps: int = 3000  # optimisation steps; the schedule of learning rates spans exactly these
    batch_size: int = 16  # images per step
    learning_rate: float = 1e-3  # peak; reached after 100 steps, then falls to 0 along a cosine
    channels: tuple[int, ...] = (64, 96, 128)  # of the U-Net at 32, 16 and 8 positions a side; multiples of 8
    layers: int = 1  # residual blocks per level
    max_strength: float = 0.8  # only noise levels up to this share are trained on: no variation needs others
    averaging: float = 0.995  # of the weights over the last steps: decay of the exponential moving average

    def __post_init__(self):
        if min(self.n_steps, self.batch_size, self.layers) < 1 or not self.learning_rate > 0:
            raise ValueError(f"n_steps, batch_size, layers and learning_rate must be positive, got {self}")
        if not self.channels or any(width < 8 or width % 8 for width in self.channels):
            raise ValueError(f"channels must be multiples of 8, one for each level, got {self.channels}")
        if not 0 < self.max_strength <= 1 or not 0 <= self.averaging < 1:
            raise ValueError(
                "max_strength must be in (0, 1] and averaging in [0, 1), "
                f"got max_strength={self.max_strength} and averaging={self.averaging}"
            )


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A trained model with all that is needed to apply it.

    Parameters
    ----------
    unet : UNet2DModel
        Predicts the velocity of bands (n, 16, 32, 32) at a time in 0..999 for a class.
    bands : Bands
    classes : tuple of int
        Those of the training images.
    config : DiffusionConfig
    fingerprint : str
        Of what it was trained on and how.
    """

    unet: UNet2DModel
    bands: Bands
    classes: tuple[int, ...]
    config: DiffusionConfig
    fingerprint: str

    @torch.inference_mode()
    def redraw(
        self, images: Tensor, labels: Tensor, noise: Tensor, *,
        strength: float, n_denoising: int, compute: TrainConfig,
    ) -> Tensor:  # fmt: skip
        """Noise images up to ``strength`` and remove the noise again, step by step.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 1, 128, 128)
        labels : Tensor of int64, shape (n,)
        noise : Tensor of float32, shape (n, 16, 32, 32)
            Standard normal.
        strength : float in (0, max_strength]
            Share of the noising process that is passed through (Meng et al. 2022, SDEdit).
        n_denoising : int
            Evaluations of the U-Net.
        compute : TrainConfig
            Of which ``device`` and ``precision`` count.

        Returns
        -------
        Tensor of uint8, shape (n, 1, 128, 128)
        """
        device, scheduler = compute.resolved_device(), make_scheduler()
        scheduler.set_timesteps(min(N_TIMES, round(n_denoising / strength)))
        times = scheduler.timesteps[scheduler.timesteps < strength * N_TIMES]
        start, unet, labels = times[:1].expand(len(images)), self.unet.to(device).eval(), labels.to(device)
        latents = scheduler.add_noise(self.bands.encode(images.to(device)), noise.to(device), start.to(device))
        for time in times:
            with autocast(compute):
                velocity = unet(latents, time, class_labels=labels).sample
            latents = scheduler.step(velocity.float(), time, latents).prev_sample
        return blacken_background(self.bands.decode(latents)).cpu()

    def save(self, folder: Path) -> None:
        """Write the model to a new folder, which appears whole or not at all; one writer at a time."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a writer that was killed
        self.unet.save_pretrained(part)
        make_scheduler().save_pretrained(part)
        kept = {
            "mean": self.bands.mean.flatten().tolist(),
            "scale": self.bands.scale.flatten().tolist(),
            "classes": self.classes,
            "config": asdict(self.config),
            "fingerprint": self.fingerprint,
        }
        (part / "bands.json").write_text(json.dumps(kept, indent=1))
        os.replace(part, folder)

    @classmethod
    def load(cls, folder: Path) -> Denoiser:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no such model.
        """
        if not (folder / "bands.json").is_file():
            raise FileNotFoundError(f"{folder} holds no model of the generator 'diffusion': it has no bands.json")
        kept = json.loads((folder / "bands.json").read_text())
        config = DiffusionConfig(**{**kept["config"], "channels": tuple(kept["config"]["channels"])})
        mean, scale = (torch.tensor(kept[name])[None, :, None, None] for name in ("mean", "scale"))
        unet = UNet2DModel.from_pretrained(folder, low_cpu_mem_usage=False)
        return cls(unet.eval(), Bands(mean, scale), tuple(kept["classes"]), config, kept["fingerprint"])


def make_unet(config: DiffusionConfig, *, n_classes: int, seed: int) -> UNet2DModel:
    """Build a U-Net whose initial weights are determined by the seed; the global random state stays as it is."""
    n_levels = len(config.channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return UNet2DModel(
            sample_size=LATENT_SHAPE[1],
            in_channels=LATENT_SHAPE[0],
            out_channels=LATENT_SHAPE[0],
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            down_block_types=("DownBlock2D",) * n_levels,
            up_block_types=("UpBlock2D",) * n_levels,
            add_attention=False,  # at 32 x 32 positions two levels down see the whole slice
            norm_num_groups=8,
            num_class_embeds=n_classes,
        )


def make_scheduler() -> DDIMScheduler:
    """Return the noising process: cosine (Nichol and Dhariwal 2021), velocity (Salimans and Ho 2022), DDIM steps.

    Nothing is clipped on the way: bands, unlike pixels, have no bounds.
    """
    return DDIMScheduler(
        num_train_timesteps=N_TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
    )


def autocast(compute: TrainConfig) -> torch.autocast:
    """Return the context in which a U-Net is evaluated."""
    wanted = compute.resolved_precision() == "bfloat16"
    return torch.autocast(compute.resolved_device().type, torch.bfloat16, enabled=wanted)
