"""Diffusion: starts from phantoms, learns the images it is given, resumes to the bit, draws by class."""

from __future__ import annotations

import importlib
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch

from mri_aug.generators.base import LearningGenerator, make_generator
from mri_aug.generators.diffusion import network, pretrain, training
from mri_aug.generators.diffusion.generator import DiffusionGenerator
from mri_aug.generators.diffusion.network import (
    CHANNELS,
    PHANTOM_SHA256,
    PHANTOM_WEIGHTS,
    Bands,
    Denoiser,
    DiffusionConfig,
    blacken_background,
    make_unet,
    start_unet,
)
from mri_aug.generators.diffusion.training import train_denoiser
from mri_aug.models.training import Compute

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DiffusionConfig(weights="none", n_steps=12, batch_size=4, channels=(8, 8))
COMPUTE = Compute(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def discs():
    """Twenty-four discs, dark ones of class 0 and bright ones of class 2; there is no class 1."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[-1:1:128j, -1:1:128j]
    labels = np.arange(24) % 2 * 2
    radius = rng.uniform(0.6, 0.8, (24, 1, 1, 1))
    level = np.where(labels == 0, 90, 200)[:, None, None, None] + rng.normal(0, 4, (24, 1, 128, 128))
    images = np.where(np.hypot(x, y) < radius, level, 0).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(images), torch.from_numpy(labels), torch.arange(24)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    return DiffusionGenerator(config=TINY, folder=folder, device="cpu", precision="float32", n_denoising=3)


@pytest.fixture(scope="module")
def fitted(tiny, discs, one_thread):
    return tiny.fit(*discs, seed=0)


@pytest.fixture(scope="module")
def by_class(discs, tmp_path_factory, one_thread):
    """A model that had time to learn what the classes look like."""
    config = replace(TINY, n_steps=120, channels=(16, 16), learning_rate=4e-3, averaging=0.9)
    folder = tmp_path_factory.mktemp("by_class")
    generator = DiffusionGenerator(config=config, strength=1.0, n_denoising=5, folder=folder, precision="float32")
    return generator.fit(*discs, seed=0)


def _train(discs, folder, **options) -> Denoiser:
    path = folder / "model.safetensors"
    arguments = {"seed": 0, "config": TINY, "compute": COMPUTE, "path": path, "fingerprint": "a"}
    return train_denoiser(*discs[:2], **(arguments | options))


def _same(one: Denoiser, other: Denoiser) -> bool:
    weights = other.unet.state_dict()
    return all(torch.equal(weight, weights[name]) for name, weight in one.unet.state_dict().items())


def _middle(images: torch.Tensor) -> torch.Tensor:
    return images[:, :, 48:80, 48:80].float().mean((1, 2, 3))


def test_it_keeps_the_protocol(tiny, fitted):
    assert isinstance(make_generator("diffusion"), LearningGenerator)
    assert tiny.learns_from_study and tiny.reproducible and tiny.name == "diffusion"
    assert "phantoms" in tiny.card["learns from"]
    assert fitted.fingerprint != tiny.fingerprint == replace(tiny, folder=None, progress=True).fingerprint
    assert tiny.fingerprint != replace(tiny, strength=0.3).fingerprint
    assert pickle.loads(pickle.dumps(fitted)).fingerprint == fitted.fingerprint


def test_bands_lose_nothing_and_have_similar_spread(discs):
    bands = Bands.of(discs[0])
    coded = bands.encode(discs[0])
    assert coded.shape == (24, 16, 32, 32)
    assert torch.equal(bands.decode(coded), discs[0])
    assert coded.mean((0, 2, 3)).abs().max() < 1e-4 and abs(coded.square().mean() - 1) < 0.01
    blank = torch.zeros(2, 1, 128, 128, dtype=torch.uint8)
    assert torch.equal(Bands.of(blank).decode(Bands.of(blank).encode(blank)), blank)


def test_bands_are_orthonormal_and_ordered_by_frequency(discs):
    """Noise of a given strength must hide equally much in each band's own scale: energy is kept, not gained."""
    one = Bands(torch.zeros(1, 16, 1, 1), torch.ones(1, 16, 1, 1))
    energy = one.encode(discs[0]).double().square().mean((0, 2, 3))
    assert float(energy.sum()) == pytest.approx(16 * float((discs[0].double() / 127.5 - 1).square().mean()), rel=1e-6)
    assert energy.argmax() == 0


def test_background_beyond_the_reach_of_tissue_is_black():
    image = torch.full((1, 1, 128, 128), 3, dtype=torch.uint8)
    image[..., 40:80, 40:80] = 150
    black = blacken_background(image)
    assert torch.equal(black[..., 32:88, 32:88], image[..., 32:88, 32:88])
    assert black.sum() == image[..., 32:88, 32:88].sum()


def test_phantom_weights_are_small_and_checked_by_digest(tmp_path):
    assert PHANTOM_WEIGHTS.stat().st_size <= 8_000_000
    pretrained = Denoiser.load(PHANTOM_WEIGHTS, sha256=PHANTOM_SHA256)
    assert pretrained.classes == (0, 1, 2, 3) and tuple(pretrained.config.channels) == CHANNELS
    other = tmp_path / "phantom.safetensors"
    other.write_bytes(PHANTOM_WEIGHTS.read_bytes()[:-1] + b"0")
    with pytest.raises(ValueError, match="phantom.safetensors is not the file .* install the package again"):
        Denoiser.load(other, sha256=PHANTOM_SHA256)


def test_phantom_weights_are_made_by_their_command(discs, tmp_path, monkeypatch, own_cache):
    simulated = create_autospec(pretrain.load_phantoms, return_value=SimpleNamespace(images=discs[0], labels=discs[1]))
    for name, value in (("load_phantoms", simulated), ("PHANTOM_WEIGHTS", tmp_path / "made"), ("CONFIG", TINY)):
        monkeypatch.setattr(pretrain, name, value)
    assert Denoiser.load(tmp_path / "made", sha256=pretrain.pretrain()).classes == (0, 2)


def test_fine_tuning_starts_from_the_phantom_weights():
    pretrained = Denoiser.load(PHANTOM_WEIGHTS).unet.state_dict()
    started = start_unet(DiffusionConfig(), n_classes=6, seed=0).state_dict()
    classes = "class_embedding.weight"
    assert torch.equal(started[classes], pretrained[classes][[0, 1, 2, 3, 3, 3]])
    assert all(torch.equal(started[name], pretrained[name]) for name in pretrained if name != classes)
    assert not torch.equal(
        start_unet(DiffusionConfig(weights="none"), n_classes=4, seed=0).conv_in.weight, pretrained["conv_in.weight"]
    )


def test_phantom_weights_draw_dark_fluid_by_class():
    """The pretrained model draws larger ventricles for the most severe class than for the healthiest."""
    phantom = DiffusionGenerator(n_denoising=7, precision="float32", _denoiser=Denoiser.load(PHANTOM_WEIGHTS))
    drawn = phantom.draw(torch.tensor([0] * 8 + [3] * 8), seed=0).images[:, 0, 40:88, 44:84]
    fluid = (drawn < 80).float().mean((1, 2))
    assert fluid[8:].mean() > 1.2 * fluid[:8].mean()


def test_a_killed_training_continues_to_the_same_bits(discs, tmp_path, monkeypatch):
    """A process is killed in its eighth step, after two checkpoints; the next call ends as an undisturbed one."""
    np.savez(tmp_path / "discs.npz", images=discs[0].numpy(), labels=discs[1].numpy())
    (tmp_path / "killed").mkdir()
    code = f"""
import os, signal, numpy as np, torch
from pathlib import Path
from mri_aug.generators.diffusion import training
from mri_aug.generators.diffusion.network import DiffusionConfig
from mri_aug.models.training import Compute
torch.set_num_threads(1)
training.CHECKPOINT_STEPS = 3
descend = training._Training._descend
def killed(self, loss):
    descend(self, loss)
    if self.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
training._Training._descend = killed
discs = np.load({str(tmp_path / "discs.npz")!r})
training.train_denoiser(
    torch.from_numpy(discs["images"]), torch.from_numpy(discs["labels"]), seed=0, config={TINY!r},
    compute={COMPUTE!r}, path=Path({str(tmp_path / "killed" / "model.safetensors")!r}), fingerprint="a",
)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    steps, draw = [], training._Training._draw
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_draw", lambda self, *a: steps.append(self.step) or draw(self, *a))
        resumed = _train(discs, tmp_path / "killed")
    assert steps == list(range(6, 12))
    assert _same(resumed, _train(discs, tmp_path / "whole"))
    assert not (tmp_path / "killed" / "model.checkpoint").exists()


def test_damaged_files_are_named(discs, tmp_path):
    (tmp_path / "model.checkpoint").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="model.checkpoint is damaged .* delete it and fit again"):
        _train(discs, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="model.safetensors holds no model .* delete it"):
        _train(discs, tmp_path)
    with pytest.raises(FileNotFoundError, match="no model of the generator 'diffusion' at"):
        Denoiser.load(tmp_path / "absent.safetensors")


def test_a_finished_training_is_never_repeated(tiny, fitted, discs, monkeypatch):
    monkeypatch.setattr(training, "_Training", None)
    again = replace(tiny, strength=0.3).fit(*discs, seed=0)
    assert _same(again._denoiser, fitted._denoiser)
    assert again.fingerprint != fitted.fingerprint


def test_fit_leaves_the_original_and_what_it_saw_is_in_the_fingerprint(tiny, fitted, discs):
    images, labels, subjects = discs
    before = tiny.fingerprint
    fingerprints = {
        before,
        fitted.fingerprint,
        tiny.fit(images, labels, subjects, seed=1).fingerprint,
        tiny.fit(images[:-1], labels[:-1], subjects[:-1], seed=0).fingerprint,
        tiny.fit(images, 2 - labels, subjects, seed=0).fingerprint,
        tiny.fit(255 - images, labels, subjects, seed=0).fingerprint,
    }
    assert len(fingerprints) == 6 and tiny.fingerprint == before
    assert tiny.fit(images, labels, subjects + 1, seed=0).fingerprint == fitted.fingerprint


def test_every_image_trains_and_no_other_does(discs, tmp_path, monkeypatch):
    """What is noised in the course of an epoch are the given images, each as often as any other."""
    seen, bands, process = [], Bands.of(discs[0]), training.noising_process()
    monkeypatch.setattr(training, "noising_process", lambda: process)
    monkeypatch.setattr(process, "add_noise", lambda clean, noise, times: seen.append(clean) or clean)
    _train(discs, tmp_path)
    shown = bands.decode(torch.cat(seen)).flatten(1)
    counts = (shown[:, None] == discs[0].flatten(1)[None]).all(2).sum(0)
    assert len(shown) == 48 and counts.tolist() == [2] * 24


def test_sampling_uses_the_noising_process_that_was_trained_on(discs):
    """The two schedulers agree on how much of a latent is left at a time."""
    process, sampler = training.noising_process(), network.DPMSolverMultistepScheduler(**network._PROCESS)
    latents, noise, times = torch.randn(2, 16, 32, 32), torch.randn(2, 16, 32, 32), torch.tensor([699])
    sampler.set_timesteps(timesteps=[699, 350])
    expected = process.add_noise(latents, noise, times.expand(2))
    torch.testing.assert_close(sampler.add_noise(latents, noise, times.expand(2)), expected, rtol=1e-4, atol=1e-4)


def test_classes_are_drawn_apart(by_class, discs):
    """From pure noise, the label alone says whether a disc is dark or bright."""
    dark, bright = (_middle(by_class.vary(discs[0][:8], torch.full((8,), label), seed=0)) for label in (0, 2))
    assert dark.median() + 40 < bright.median()


def test_drawing_needs_no_source(by_class):
    labels = torch.tensor([0, 2, 2, 0, 0])
    drawn = by_class.draw(labels, seed=3)
    assert torch.equal(drawn.labels, labels)
    assert drawn.subjects.tolist() == drawn.source_ids.tolist() == [-1] * 5
    levels = _middle(drawn.images)
    assert levels[labels == 0].max() < levels[labels == 2].min()
    fewer = by_class.draw(torch.tensor([2, 0]), seed=3).images
    assert torch.equal(fewer, drawn.images[[1, 0]])
    assert len({image.numpy().tobytes() for image in drawn.images}) == 5
    assert not torch.equal(by_class.draw(labels, seed=4).images, drawn.images)
    assert len(by_class.draw(labels[:0], seed=3)) == 0


def test_less_strength_keeps_more_of_the_source(fitted, discs):
    images, labels, _ = discs
    change = [
        (replace(fitted, strength=strength).vary(images, labels, seed=0).float() - images.float()).abs().mean()
        for strength in (0.005, 0.05, 0.3, 0.8)
    ]
    assert change[0] < 1 and change[0] < change[1] < change[2] < change[3]


def test_same_seed_same_bytes_other_seed_others(fitted, discs):
    images, labels, _ = discs
    first, again = fitted.vary(images, labels, seed=5), fitted.vary(images, labels, seed=5)
    assert first.dtype == torch.uint8 and first.shape == images.shape and torch.equal(first, again)
    other = fitted.vary(images, labels, seed=6)
    assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_variation_does_not_depend_on_its_batch(fitted, discs, precision):
    images, labels, _ = discs
    generator = replace(fitted, precision=precision)
    whole, order = generator.vary(images, labels, seed=5), torch.tensor([17, 3, 20])
    assert torch.equal(generator.vary(images[order], labels[order], seed=5), whole[order])
    twice = generator.vary(images[[4, 4]], labels[[4, 4]], seed=5)
    assert torch.equal(twice[0], whole[4]) and not torch.equal(twice[1], whole[4])
    assert generator.vary(images[:0], labels[:0], seed=5).shape == (0, 1, 128, 128)


def test_the_global_random_state_is_left_alone(tiny, discs, tmp_path):
    state = torch.random.get_rng_state()
    replace(tiny, folder=tmp_path).fit(*discs, seed=0).vary(*discs[:2], seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_initial_weights_follow_the_seed():
    one, same, other = (make_unet(TINY, n_classes=2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv_in.weight"], other["conv_in.weight"])


def test_a_training_that_diverges_raises(discs, tmp_path):
    with pytest.raises(ValueError, match="diverged at step.*lower learning_rate"):
        _train(discs, tmp_path, config=replace(TINY, learning_rate=1e30))


def test_misuse_is_explained(tiny, fitted, discs):
    images, labels, subjects = discs
    with pytest.raises(ValueError, match="fitted on the training images before use"):
        tiny.vary(images, labels, seed=0)
    with pytest.raises(ValueError, match="fitted on the training images before use"):
        tiny.draw(labels, seed=0)
    with pytest.raises(ValueError, match=r"classes \[0, 2\], got labels \[1\]"):
        fitted.vary(images[:1], torch.tensor([1]), seed=0)
    with pytest.raises(ValueError, match="needs training images"):
        tiny.fit(images[:0], labels[:0], subjects[:0], seed=0)
    with pytest.raises(ValueError, match="seed must be"):
        tiny.fit(images, labels, subjects, seed=-1)
    for options, message in [
        ({"strength": 0}, "for the source as it is, use the generator 'duplicate'"),
        ({"strength": 1.1}, "at most 1"),
        ({"n_denoising": 0}, "n_denoising must be from 1"),
        ({"device": "tpu"}, "device must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            DiffusionGenerator(**options)
    for options, message in [
        ({"weights": "imagenet"}, "'phantom' or 'none'"),
        ({"weights": "none", "channels": (12,)}, "multiples of 8"),
        ({"channels": (8,)}, "use weights='none'"),
        ({"n_steps": 0}, "must be positive"),
        ({"averaging": 1}, "averaging must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            DiffusionConfig(**options)


def test_missing_diffusers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, "mri_aug.generators.diffusion.network")
    with pytest.raises(ImportError, match=r"pip install 'mri-aug\[diffusion\]'"):
        importlib.import_module("mri_aug.generators.diffusion.network")
