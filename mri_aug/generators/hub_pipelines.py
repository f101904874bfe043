"""Pretrained pipelines of ``diffusers``: finding, loading and questioning one, with a clear word for what may go wrong.

It calls no pipeline, and loads neither code that comes with a model nor pickled weights.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable, Set
from pathlib import Path


def load_pipeline(model: str | Path, revision: str | None):
    """Return a pipeline that takes an image, from a local folder or, with a revision, from the hub.

    Where the model's own pipeline takes none, that is its image-to-image sibling in ``diffusers``.

    Raises
    ------
    ConnectionError
        If a hub's model is neither in the local cache nor can be fetched.
    FileNotFoundError
        If a folder holds no pipeline.
    ImportError
        If ``diffusers`` or a package that the pipeline stands on is not installed.
    ValueError
        If no pipeline of this kind takes an image.
    """
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
        str(folder), use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True
    )
    if "image" in _parameters(pipeline):
        return pipeline
    try:
        return AutoPipelineForImage2Image.from_pipe(pipeline)
    except ValueError:
        raise ValueError(
            f"{model} is a {type(pipeline).__name__}, which takes no image; give an image-to-image pipeline"
        ) from None


def check_call(pipeline: Callable, options: Set[str]) -> None:
    """Raise ValueError where the options that are set (their names) and those that the call takes disagree."""
    taken, kind = _parameters(pipeline), type(pipeline).__name__
    if unknown := sorted(options - taken):
        raise ValueError(f"a {kind} takes no {', '.join(unknown)}; leave it out")
    if "prompt" in taken - options:
        raise ValueError(f"a {kind} draws after a prompt; give prompt=, one for all classes or one per class")


def _check_packages(folder: Path) -> None:
    """Raise unless the folder holds a pipeline whose packages are installed; ``diffusers`` itself fails obscurely."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(f"{folder} holds no pipeline of diffusers: it has no model_index.json")
    parts = json.loads(index.read_text(encoding="utf-8")).values()
    packages = {part[0] for part in parts if isinstance(part, list) and part[0]}
    if missing := sorted(p for p in packages & {"transformers", "accelerate"} if not importlib.util.find_spec(p)):
        raise ImportError(f"the pipeline in {folder} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def _parameters(pipeline: Callable) -> set[str]:
    return set(inspect.signature(type(pipeline).__call__).parameters)
