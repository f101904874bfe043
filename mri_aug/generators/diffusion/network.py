"""The denoising network of the diffusion model, the frequency bands that it works on, and sampling from it.

Training lives in :mod:`mri_aug.generators.diffusion.training`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mri_aug import provenance
from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.models.training import Compute

try:
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError as error:
    raise ImportError(
        "the generator 'diffusion' needs the package diffusers: pip install 'mri-aug[diffusion]'"
    ) from error

BLOCK = 4  # pixels per side: an image of 128 x 128 becomes 16 bands of 32 x 32
LATENT_SHAPE = (BLOCK**2, IMAGE_SIZE // BLOCK, IMAGE_SIZE // BLOCK)
N_TIMES = 1000  # steps of the noising process, of which a variation takes a share
CHANNELS = (48, 64, 128)  # of the pretrained network
# Written by `python -m mri_aug.generators.diffusion.pretrain`.
PHANTOM_WEIGHTS = Path(__file__).with_name("phantom.safetensors")
PHANTOM_SHA256 = "4a4c293f69cf714c951bb0c583533e5a7c3585d656966a7df759d6bbd7127663"

_TISSUE = 25  # grey level that no background reaches and all tissue but the darkest fluid exceeds
_REACH = 8  # pixels around tissue where JPEG leaves traces in real images; beyond, they are black


@dataclass(frozen=True, eq=False)
class Bands:
    """The frequency bands of 4 x 4 blocks, shifted to mean 0 and scaled towards equal spread over the training images.

    A convolution on 16 bands of 32 x 32 costs a sixteenth of one on 128 x 128 pixels. Each band is divided by the
    square root of its spread, half-way between pixels and whitening. In pixels, noise hides fine detail long before
    coarse shape, and small errors of the model are visible noise; with all bands whitened, errors of the
    coarsest, whose spread is 140 times that of the finest, showed as blocks (measured after four minutes of training).

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

    @property
    def variance(self) -> Tensor:
        """Of each scaled band, float32 (1, 16, 1, 1), mean 1: a band's scale is the root of its spread."""
        return self.scale.square() / self.scale.square().mean()


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


@dataclass(frozen=True)
class DiffusionConfig:
    """How a model is built and trained. The defaults fine-tune; from scratch, see :class:`DiffusionGenerator`.

    Raises
    ------
    ValueError
        If a value is out of range, or the pretrained network has other channels.
    """

    weights: str = "phantom"  # "phantom": start from the network trained on phantoms; "none": from random weights
    n_steps: int = 1800  # optimisation steps; the decay of the learning rate spans exactly these
    batch_size: int = 8  # images per step
    learning_rate: float = 1e-3  # peak, reached after 100 steps
    decay: bool = True  # of the learning rate, from the peak to 0 along a cosine
    averaging: float = 0.995  # of the weights over the last steps: decay of the exponential moving average
    channels: tuple[int, ...] = CHANNELS  # of the U-Net at 32, 16 and 8 positions a side; multiples of 8

    def __post_init__(self):
        if self.weights not in ("phantom", "none"):
            raise ValueError(f"weights must be 'phantom' or 'none', got {self.weights!r}")
        if min(self.n_steps, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(f"n_steps, batch_size and learning_rate must be positive, got {self}")
        if not self.channels or any(width < 8 or width % 8 for width in self.channels):
            raise ValueError(f"channels must be multiples of 8, one for each level, got {self.channels}")
        if self.weights == "phantom" and tuple(self.channels) != CHANNELS:
            raise ValueError(f"the weights 'phantom' have channels {CHANNELS}, got {self.channels}; use weights='none'")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging must be in [0, 1), got {self.averaging}")


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A trained model with all that is needed to apply it.

    Parameters
    ----------
    unet : UNet2DModel
        For :func:`predict_velocity`.
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
        self, images: Tensor | None, labels: Tensor, noise: Tensor, *, strength: float, n_steps: int, compute: Compute
    ) -> Tensor:
        """Noise images up to ``strength`` and remove the noise again (Meng et al. 2022, SDEdit).

        The steps are those of DPM-Solver++(2M) (Lu et al. 2022), equally long in time.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 1, 128, 128), optional
            None for images drawn from noise alone, which needs strength 1.
        labels : Tensor of int64, shape (n,)
        noise : Tensor of float32, shape (n, 16, 32, 32)
            Standard normal.
        strength : float in (0, 1]
            Share of the noising process that is passed through.
        n_steps : int
            Evaluations of the U-Net.
        compute : Compute

        Returns
        -------
        Tensor of uint8, shape (n, 1, 128, 128)
        """
        device, scheduler = compute.resolved_device(), DPMSolverMultistepScheduler(**_PROCESS)
        ends = torch.arange(n_steps, 0, -1) / n_steps  # each step ends where the next begins, the last at no noise
        scheduler.set_timesteps(timesteps=((strength * N_TIMES * ends).round().long() - 1).clamp(min=0).tolist())
        # Faster by a tenth than the usual order of memory; training is faster without.
        unet = self.unet.to(device, memory_format=torch.channels_last).eval()
        labels, noise = labels.to(device), noise.to(device)
        clean = torch.zeros_like(noise) if images is None else self.bands.encode(images.to(device))
        latents = scheduler.add_noise(clean, noise, scheduler.timesteps[:1].expand(len(noise)))
        for time in scheduler.timesteps:
            velocity = predict_velocity(unet, self.bands, latents, time.expand(len(noise)), labels, compute)
            latents = scheduler.step(velocity, time, latents).prev_sample
        return blacken_background(self.bands.decode(latents)).cpu()

    def save(self, path: Path) -> None:
        """Write the model to one file in half precision; it appears whole or not at all. One writer at a time."""
        kept = {
            "mean": self.bands.mean.flatten().tolist(),
            "scale": self.bands.scale.flatten().tolist(),
            "classes": self.classes,
            "config": asdict(self.config),
            "fingerprint": self.fingerprint,
        }
        weights = {name: weight.half().contiguous() for name, weight in self.unet.state_dict().items()}
        with provenance.atomic_write(path) as part:
            save_file(weights, part, metadata={"denoiser": json.dumps(kept)})

    @classmethod
    def load(cls, path: Path, *, sha256: str | None = None) -> Denoiser:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : Path
        sha256 : str, optional
            What the file must have.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, or another than it should be.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no model of the generator 'diffusion' at {path}")
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{path} is not the file that this version was made with; install the package again")
        try:
            with safe_open(path, "pt") as file:
                kept = json.loads(file.metadata()["denoiser"])
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, KeyError) as error:
            raise ValueError(f"{path} holds no model of the generator 'diffusion' ({error}); delete it") from error
        config = DiffusionConfig(**{**kept["config"], "channels": tuple(kept["config"]["channels"])})
        mean, scale = (torch.tensor(kept[name])[None, :, None, None] for name in ("mean", "scale"))
        unet = make_unet(config, n_classes=len(weights["class_embedding.weight"]), seed=0)
        unet.load_state_dict(weights)
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
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * n_levels,
            up_block_types=("UpBlock2D",) * n_levels,
            add_attention=False,  # at 32 x 32 positions two levels down see the whole slice
            norm_num_groups=8,
            num_class_embeds=n_classes,
        )


def start_unet(config: DiffusionConfig, *, n_classes: int, seed: int) -> UNet2DModel:
    """Build the U-Net that training starts from: pretrained on phantoms, or random (``config.weights``).

    A class beyond the phantoms' four starts as the most severe of them.
    """
    unet = make_unet(config, n_classes=n_classes, seed=seed)
    if config.weights == "phantom":
        weights = Denoiser.load(PHANTOM_WEIGHTS, sha256=PHANTOM_SHA256).unet.state_dict()
        classes = weights["class_embedding.weight"]
        weights["class_embedding.weight"] = classes[torch.arange(n_classes).clamp(max=len(classes) - 1)]
        unet.load_state_dict(weights)
    return unet


def predict_velocity(
    unet: UNet2DModel, bands: Bands, noisy: Tensor, times: Tensor, labels: Tensor, compute: Compute
) -> Tensor:
    """Return the velocity of noisy bands, float32 (n, 16, 32, 32), as preconditioned by Karras et al. (2022).

    What can be said of a value from its own band's variance s and the share a of the signal's variance is taken off:
    the network sees inputs of variance 1, noisy / sqrt(a s + 1 - a), and predicts the rest of the clean image, scaled
    to variance 1. Without this it must copy its input to take noise off the fine bands, which are nearly all noise:
    after 200 steps from random weights, errors at low noise were a tenth larger (measured).

    Parameters
    ----------
    unet : UNet2DModel
    bands : Bands
        Those of the images that the network was trained on.
    noisy : Tensor of float32, shape (n, 16, 32, 32)
    times : Tensor of int64, shape (n,)
        In 0..999.
    labels : Tensor of int64, shape (n,)
    compute : Compute
    """
    signal = _signal_shares().to(noisy.device)[times][:, None, None, None]
    variance = bands.variance.to(noisy.device)
    total = signal * variance + 1 - signal
    with compute.autocast():
        rest = unet(noisy / total.sqrt(), times, class_labels=labels).sample
    known = (signal * (1 - signal)).sqrt() * (1 - variance) / total
    return known * noisy - (variance / total).sqrt() * rest.float()


# Cosine schedule (Nichol and Dhariwal 2021), velocity (Salimans and Ho 2022).
_PROCESS = {
    "num_train_timesteps": N_TIMES, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"
}  # fmt: skip


def noising_process() -> DDPMScheduler:
    """Return the noising process that a U-Net is trained on: how much noise at each time, and what is predicted."""
    return DDPMScheduler(**_PROCESS)


@cache
def _signal_shares() -> Tensor:
    return noising_process().alphas_cumprod
