"""Hub: a pretrained pipeline by folder or id, called once per image with a seed of its own."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel, VQModel
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion_superresolution import LDMSuperResolutionPipeline
from PIL import Image

from mri_aug.generators.base import ImageGenerator, RefusedVariationsError, Request, StreamingGenerator
from mri_aug.generators.hub import HubGenerator

# diffusers hides the only image-to-image pipeline that needs no text encoder where transformers is not installed
diffusers.LDMSuperResolutionPipeline = LDMSuperResolutionPipeline
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _unet(channels: int) -> UNet2DModel:
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    return UNet2DModel(
        in_channels=channels, out_channels=3, layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny pipeline, randomly initialised, that makes a picture of twice the size from one in RGB."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4}
        vqvae = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=3, num_vq_embeddings=16, **blocks,
        )  # fmt: skip
        pipeline = LDMSuperResolutionPipeline(vqvae=vqvae, unet=_unet(6), scheduler=DDIMScheduler())
    path = tmp_path_factory.mktemp("hub") / "pipeline"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def batch():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 128, 128), dtype=np.uint8))
    return images, torch.tensor([0, 1, 1])


@pytest.fixture(scope="module")
def hub(folder):
    return HubGenerator(model=folder, size=32, num_inference_steps=2)


def requests(images, labels):
    return [Request(*row) for row in zip(range(len(images)), images, labels.tolist(), strict=True)]


class Painter:
    """Stands in for a pipeline that takes a prompt: keeps its calls, brightens, and may find a picture unsafe."""

    def __init__(self, unsafe: tuple[int, ...] = ()):
        self.calls, self.unsafe = [], unsafe

    def __call__(self, prompt=None, image=None, strength=0.8, guidance_scale=7.5, generator=None):
        self.calls.append({"prompt": prompt, "image": image, "strength": strength, "seed": generator.initial_seed()})
        output = Image.fromarray(np.minimum(np.asarray(image), 200) + 50).resize((96, 96))
        return SimpleNamespace(images=[output], nsfw_content_detected=[len(self.calls) - 1 in self.unsafe])


def _with(painter: Painter, folder, **options) -> HubGenerator:
    generator = HubGenerator(model=folder, **options)
    generator._loaded["pipeline"] = painter
    return generator


def test_a_pipeline_from_a_folder_varies_images(hub, batch):
    images, labels = batch
    assert isinstance(hub, ImageGenerator) and isinstance(hub, StreamingGenerator)
    variations = hub.vary(images, labels, seed=0)
    assert variations.dtype == torch.uint8 and variations.shape == images.shape
    assert all(not torch.equal(a, b) for a, b in zip(variations, images, strict=True))
    assert torch.equal(hub.vary(images, labels, seed=0), variations)
    assert not torch.equal(hub.vary(images, labels, seed=1), variations)


def test_weights_of_a_variant_are_found_and_pickles_and_single_files_named(hub, folder, batch, tmp_path):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    half = replace(hub, model=tmp_path / "half", _loaded={})
    assert torch.equal(half.vary(*batch, seed=0), hub.vary(*batch, seed=0))
    weights = next(folder.rglob("*.safetensors"))
    shutil.copytree(folder, tmp_path / "both")
    shutil.copy(weights, tmp_path / "both" / "sd_xl_base_1.0.safetensors")  # the whole pipeline in one file, too
    beside = replace(hub, model=tmp_path / "both", _loaded={})
    assert torch.equal(beside.vary(*batch, seed=0), hub.vary(*batch, seed=0))
    pipeline.save_pretrained(tmp_path / "pickles", safe_serialization=False)
    with pytest.raises(ValueError, match=r"are pickles \(diffusion_pytorch_model.bin\).*save them as safetensors"):
        replace(hub, model=tmp_path / "pickles", _loaded={}).vary(*batch, seed=0)
    with pytest.raises(ValueError, match="is a single file; save it as a folder"):
        HubGenerator(model=weights)


def test_a_variation_does_not_depend_on_its_batch(hub, batch):
    images, labels = batch
    order = [2, 0]
    assert torch.equal(hub.vary(images[order], labels[order], seed=0), hub.vary(images, labels, seed=0)[order])
    twice = hub.vary(images[[0, 0]], labels[[0, 0]], seed=0)
    assert not torch.equal(twice[0], twice[1])


def test_empty_batch_loads_nothing(folder, batch):
    images, labels = batch
    generator = HubGenerator(model=folder)
    assert generator.vary(images[:0], labels[:0], seed=0).shape == (0, 1, 128, 128)
    assert not generator._loaded


def test_what_goes_in_and_what_comes_out(folder, batch):
    images, labels = batch
    painter = Painter()
    generator = _with(painter, folder, size=256, strength=0.4, prompt=("a healthy brain", "a brain with atrophy"))
    answers = list(generator.stream(requests(images, labels), seed=3))
    assert [call["prompt"] for call in painter.calls] == ["a healthy brain"] + 2 * ["a brain with atrophy"]
    assert {call["image"].size for call in painter.calls} == {(256, 256)}
    assert {call["image"].mode for call in painter.calls} == {"RGB"}
    assert {call["strength"] for call in painter.calls} == {0.4}
    assert len({call["seed"] for call in painter.calls}) == 3
    assert [answer.record["seed"] for answer in answers] == [call["seed"] for call in painter.calls]
    assert answers[1].pixels.shape == (1, 128, 128) and answers[1].record["prompt"] == "a brain with atrophy"


def test_what_is_not_set_is_left_to_the_pipeline(folder, batch):
    images, labels = batch
    painter = Painter()
    _with(painter, folder, prompt="a brain").vary(images, labels, seed=0)
    assert painter.calls[0]["strength"] == 0.8


def test_grey_levels_survive_the_way_through_colour(folder):
    ramp = torch.arange(128, dtype=torch.uint8).expand(1, 1, 128, 128)
    made = _with(Painter(), folder, prompt="a brain").vary(ramp, torch.tensor([0]), seed=0)
    assert (made.int() - 50 - ramp.int()).abs()[..., 4:-4].max() <= 1


def test_what_the_safety_checker_rejects_is_refused(folder, batch):
    images, labels = batch
    with pytest.raises(
        RefusedVariationsError, match=r"hub refuses to vary 1 of 3 images .1 of class 1.*safety checker"
    ) as caught:
        _with(Painter(unsafe=(1,)), folder, prompt="a brain").vary(images, labels, seed=0)
    assert caught.value.positions == (1,)
    answers = list(_with(Painter(unsafe=(1,)), folder, prompt="a brain").stream(requests(images, labels), seed=0))
    assert [answer.pixels is None for answer in answers] == [False, True, False]
    assert "safety checker" in answers[1].record["refused"]


def test_fingerprint_follows_options_and_weights(folder, tmp_path):
    one = HubGenerator(model=folder)
    assert one.fingerprint == HubGenerator(model=folder).fingerprint
    others = [
        HubGenerator(model=folder, **option).fingerprint
        for option in ({"size": 64}, {"strength": 0.3}, {"prompt": "a brain"}, {"num_inference_steps": 3})
    ]
    hub_ids = [HubGenerator(model="an/other", revision=revision).fingerprint for revision in (COMMIT, COMMIT[::-1])]
    assert len({one.fingerprint, *others, *hub_ids}) == 7
    copy = tmp_path / "copy"
    _unet(6).save_pretrained(copy)
    before = HubGenerator(model=copy).fingerprint
    (copy / "config.json").write_text("{}")
    assert HubGenerator(model=copy).fingerprint != before


def test_another_process_loads_its_own(hub, batch):
    hub.vary(*batch, seed=0)
    assert hub._loaded and not pickle.loads(pickle.dumps(hub))._loaded


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "no default model: give model="),
        ({"model": "nowhere"}, FileNotFoundError, "no folder 'nowhere', and a hub id has the form owner/name"),
        ({"model": "an/other"}, ValueError, "must be a commit of 40 hexadecimal digits.*None"),
        ({"model": "an/other", "revision": "main"}, ValueError, "'main'"),
        ({"model": ".", "revision": COMMIT}, ValueError, "is a folder, which has no revision"),
        ({"model": ".", "strength": 0.0}, ValueError, "strength must be in"),
        ({"model": ".", "size": 100}, ValueError, "multiple of 8"),
        ({"model": ".", "precision": "half"}, ValueError, "precision must be"),
    ],
)
def test_options_out_of_range_are_named(options, error, message):
    with pytest.raises(error, match=message):
        HubGenerator(**options)


def test_options_that_a_pipeline_does_not_take_are_named(folder, batch):
    images, labels = batch
    with pytest.raises(ValueError, match="LDMSuperResolutionPipeline takes no prompt, strength"):
        HubGenerator(model=folder, strength=0.5, prompt="a brain").vary(images, labels, seed=0)
    with pytest.raises(ValueError, match="2 prompts, one per class from 0, got an image of class 2"):
        _with(Painter(), folder, prompt=("a", "b")).vary(images, labels + 1, seed=0)


def test_a_pipeline_without_image_is_no_generator(tmp_path, batch):
    with torch.random.fork_rng():
        DDPMPipeline(unet=_unet(3), scheduler=DDIMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a DDPMPipeline, which takes no image"):
        HubGenerator(model=tmp_path).vary(*batch, seed=0)


def test_packages_that_a_pipeline_stands_on_are_named(tmp_path, batch, monkeypatch):
    (tmp_path / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionImg2ImgPipeline", "safety_checker": [null, null], '
        '"text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "UNet2DConditionModel"]}'
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs transformers: pip install transformers"):
        HubGenerator(model=tmp_path, prompt="a brain").vary(*batch, seed=0)


def test_a_folder_without_pipeline_is_named(tmp_path, batch):
    with pytest.raises(FileNotFoundError, match="has no model_index.json"):
        HubGenerator(model=tmp_path).vary(*batch, seed=0)


def test_without_network_one_sentence_tells_the_way_on(tmp_path):
    code = f"""
import torch
from mri_aug.generators.hub import HubGenerator
images = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
HubGenerator(model="an/other", revision="{COMMIT}").vary(images, torch.tensor([0]), seed=0)
"""
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ConnectionError: the pipeline 'an/other' at {COMMIT} is neither in the local cache")
    assert "During handling" not in done.stderr


def test_missing_diffusers_names_the_extra(folder, batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'mri-aug\[diffusion\]'"):
        HubGenerator(model=folder).vary(*batch, seed=0)
