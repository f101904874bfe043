"""Synthetic images from a pretrained image-to-image pipeline of ``diffusers``, by hub id or folder."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.generators.base import (
    Answer,
    PromptedGenerator,
    Request,
    image_digests,
    make_fingerprint,
    variation_rng,
)
from mri_aug.models.training import Compute
from mri_aug.provenance import folder_digest

_VERSION = 1  # part of the fingerprint: raise it with any change that alters pixels
_OPTIONAL = ("strength", "guidance_scale", "num_inference_steps")  # what a pipeline may take, by its own names


def _load_pipeline(model: str | Path, revision: str | None):
    """Return a pipeline that takes an image, from a local folder or, with a revision, from the hub."""
    try:
        from diffusers import AutoPipelineForImage2Image, DiffusionPipeline
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        raise ImportError("hub needs the package diffusers: pip install 'mri-aug[diffusion]'") from None
    folder = Path(model)
    if revision is not None:
        try:
            folder = Path(DiffusionPipeline.download(str(model), revision=revision, use_safetensors=True))
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"the pipeline {str(model)!r} at {revision} is neither in the local cache nor could it be fetched "
                f"({type(error).__name__}); check id, commit and network, or download it and give its folder"
            ) from None
    _check_packages(folder)
    pipeline = DiffusionPipeline.from_pretrained(
        str(folder), variant=_variant(folder), use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True
    )
    if "image" in _parameters(pipeline):
        return pipeline
    try:
        return AutoPipelineForImage2Image.from_pipe(pipeline)
    except ValueError:
        raise ValueError(
            f"{model} is a {type(pipeline).__name__}, which takes no image; give an image-to-image pipeline"
        ) from None


def _check_packages(folder: Path) -> None:
    """Raise unless the folder holds a pipeline whose packages are installed; ``diffusers`` itself fails obscurely."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(f"{folder} holds no pipeline of diffusers: it has no model_index.json")
    parts = json.loads(index.read_text(encoding="utf-8")).values()
    packages = {part[0] for part in parts if isinstance(part, list) and part[0]}
    if missing := sorted(p for p in packages & {"transformers", "accelerate"} if not importlib.util.find_spec(p)):
        raise ImportError(f"the pipeline in {folder} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def _variant(folder: Path) -> str | None:
    """Return the variant, such as fp16, in which some part of a pipeline has its weights, if any."""
    files = list(folder.glob("*/*.safetensors"))  # beside the index lies at most the whole pipeline in one file
    if not files and (pickles := [path.name for path in folder.rglob("*") if path.suffix in (".bin", ".ckpt", ".pt")]):
        raise ValueError(
            f"the weights in {folder} are pickles ({pickles[0]}), which can run code when they are read; save them as "
            "safetensors: DiffusionPipeline.from_pretrained(...).save_pretrained(folder)"
        )
    names: dict[Path, set[str]] = {}
    for path in files:
        names.setdefault(path.parent, set()).add(re.sub(r"-\d+-of-\d+$", "", path.name.split(".")[1]))
    return next((min(found) for found in names.values() if "safetensors" not in found), None)


def _parameters(pipeline: Callable) -> set[str]:
    return set(inspect.signature(type(pipeline).__call__).parameters)


@dataclass(frozen=True, kw_only=True)
class HubGenerator(PromptedGenerator):
    """Vary each image, enlarged and in RGB, with a pretrained pipeline of ``diffusers``.

    Any pipeline whose call takes ``image`` will do, such as Stable Diffusion's image variation; one that draws from
    text alone is replaced by its image-to-image counterpart where ``diffusers`` has one. Most need the package
    ``transformers`` too. Models trained on photographs know little of axial slices: look at the images, and measure
    them. Stable Diffusion takes minutes per image on two cores and seconds on a GPU, so keep the variations in a bank.

    ValueError or FileNotFoundError if an option is out of range, a hub's model has no commit, or ``model`` is neither a
    folder nor a hub id.

    Parameters
    ----------
    model : str or Path
        Required: a hub id (``owner/name``), or a local folder in the pipelines' own layout with weights as safetensors.
    revision : str, optional
        Commit of the hub's model, 40 hexadecimal digits: required there, since a branch may move. None for a folder.
    size : int
        Side of the pipeline's input; Stable Diffusion was trained at 512. Its output, of any size, becomes grey and
        128 x 128 (Lanczos).
    prompt : str or tuple of str, optional
        One for all classes, or one per class, for pipelines that take a prompt.
    strength, guidance_scale, num_inference_steps : float in (0, 1], float, int; optional
        How much of the source is replaced, how closely the prompt is followed, and denoising steps; the pipeline's own
        defaults where None.
    device, precision : str
        As in ``Compute``.
    """

    model: str | Path = ""
    revision: str | None = None
    size: int = 512
    prompt: str | tuple[str, ...] | None = None
    strength: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    device: str = "auto"
    precision: str = "float32"
    _loaded: dict[str, Callable] = field(default_factory=dict, repr=False, compare=False)

    name = "hub"
    learns_from_study = False
    reproducible = True
    usd_per_image = 0.0
    seconds_per_image = 60.0  # on two cores; for estimates only
    concurrency = 1
    card = MappingProxyType(
        {
            "learns from": "a pretrained model's own data, mostly photographs",
            "who sees the images": "nobody: the model is downloaded and runs here",
            "licence and limits": "the model's licence, beside the dataset's; its training data are seldom fully known",
        }
    )

    def __post_init__(self):
        if not str(self.model):
            raise ValueError("hub has no default model: give model=, a folder or, with its revision, a hub id")
        if Path(self.model).is_file():
            raise ValueError(
                f"{str(self.model)!r} is a single file; save it as a folder: "
                "DiffusionPipeline.from_single_file(file).save_pretrained(folder)"
            )
        if not Path(self.model).is_dir():
            if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(self.model)):
                raise FileNotFoundError(f"there is no folder {str(self.model)!r}, and a hub id has the form owner/name")
            if not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
                raise ValueError(
                    f"revision of {str(self.model)!r} must be a commit of 40 hexadecimal digits (on the hub: Files, "
                    f"History), so that the model cannot change under a study, got {self.revision!r}"
                )
        elif self.revision is not None:
            raise ValueError(f"{str(self.model)!r} is a folder, which has no revision, got {self.revision!r}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"strength must be in (0, 1], got {self.strength}; for the source use 'duplicate'")
        if self.size < 8 or self.size % 8:
            raise ValueError(f"size must be a multiple of 8 pixels, got {self.size}")
        if not all(prompt.strip() for prompt in self.prompts()):
            raise ValueError(f"prompt must be a text, or one text per class, got {self.prompt!r}")
        self._compute()  # checks device and precision

    @property
    def fingerprint(self) -> str:
        """Follows the model's content, the options, and the kind of device and precision."""
        compute = self._compute().resolved()
        content = folder_digest(Path(self.model)) if self.revision is None else [str(self.model), self.revision]
        options = [self.size, self.prompts(), self._options()]
        return make_fingerprint(
            self.name, _VERSION, content, options, compute.resolved_device().type, compute.precision
        )

    def stream(self, requests: Iterable[Request], *, seed: int) -> Iterator[Answer]:
        """Yield the variations one by one, in order, each from a seed set by ``seed`` and its image.

        ConnectionError if a hub's model cannot be fetched, FileNotFoundError if a folder holds no pipeline, ImportError
        if a package is not installed; ValueError if a folder holds pickles, a class has no prompt, or the pipeline
        takes no image or not the options that are set.
        """
        repeats: Counter[tuple[str, int]] = Counter()
        for request in requests:
            source = image_digests(request.image[None])[0], request.label
            number = int(variation_rng(*source, seed=seed, repeat=repeats[source]).integers(2**63))
            repeats[source] += 1
            prompt = self.prompt_of(request.label)
            record = {"model": str(self.model), "revision": self.revision, "prompt": prompt, "seed": number, "usd": 0.0}
            pixels = self._vary_one(request.image, prompt, number)
            if pixels is None:
                record["refused"] = "the pipeline's safety checker rejects it"
            yield Answer(request.position, pixels, record)

    def _vary_one(self, image: Tensor, prompt: str | None, number: int) -> Tensor | None:
        pipeline = self._pipeline()
        source = Image.fromarray(image[0].numpy()).resize((self.size, self.size), Image.Resampling.LANCZOS)
        options = self._options() if prompt is None else {**self._options(), "prompt": prompt}
        generator = torch.Generator().manual_seed(number)  # the CPU's stream, so that it is the same on every device
        with torch.inference_mode():
            output = pipeline(image=source.convert("RGB"), generator=generator, **options)
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            return None
        grey = output.images[0].convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(grey))[None]

    def _options(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) is not None}

    def _compute(self) -> Compute:
        return Compute(self.device, self.precision)

    def _pipeline(self) -> Callable:
        """Return the pipeline, loaded at the first call and kept as long as this generator."""
        if "pipeline" not in self._loaded:
            compute, pipeline = self._compute(), _load_pipeline(self.model, self.revision)
            given, taken = {*self._options(), *(["prompt"] if self.prompts() else [])}, _parameters(pipeline)
            kind = type(pipeline).__name__
            if unknown := sorted(given - taken):
                raise ValueError(f"a {kind} takes no {', '.join(unknown)}; leave it out")
            if "prompt" in taken - given:
                raise ValueError(f"a {kind} needs a prompt; give prompt=, one for all classes or one per class")
            pipeline.set_progress_bar_config(disable=True)
            dtype = getattr(torch, compute.resolved_precision())
            self._loaded["pipeline"] = pipeline.to(compute.resolved_device(), dtype)
        return self._loaded["pipeline"]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loaded": {}}  # another process loads its own
