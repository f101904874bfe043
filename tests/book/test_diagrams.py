"""Diagrams: legible (no text over text, none outside), true to what they are given, free of torch."""

from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from mri_aug.book import diagrams
from mri_aug.book.diagrams import layer_table
from mri_aug.book.diagrams.networks import LayerRow

IMAGE = np.add.outer(np.arange(128), np.arange(128)) % 256
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
PARTS = [("stem", 3_200), *((f"stage {i}", 12_345_678) for i in range(1, 5)), ("head", 2_052)]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def chain_rows() -> list[LayerRow]:
    return layer_table(
        nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(32 * 32 * 32, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4)),
        )
    )


@pytest.fixture(scope="module")
def resnet_rows() -> list[LayerRow]:
    return layer_table(torchvision.models.resnet18(num_classes=4), shape=(3, 128, 128))


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def assert_legible(ax) -> None:
    """Fail where two texts overlap or one leaves the canvas."""
    figure = ax.figure
    figure.canvas.draw()
    texts = [text for text in ax.texts if text.get_text().strip()]
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in texts]
    for text, area in zip(texts, boxes, strict=True):
        inside = figure.bbox.padded(1)
        assert inside.x0 <= area.x0 and area.x1 <= inside.x1, f"{text.get_text()!r} is wider than the canvas"
        assert inside.y0 <= area.y0 and area.y1 <= inside.y1, f"{text.get_text()!r} is taller than the canvas"
    for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not a.padded(-0.5).overlaps(b.padded(-0.5)), f"{one.get_text()!r} overlaps {other.get_text()!r}"


DRAWINGS = {
    "network": lambda: diagrams.plot_network(),
    "tall network": lambda: diagrams.plot_network((8, 8, 3)),
    "transfer": lambda: diagrams.plot_transfer(PARTS),
    "convolution": lambda: diagrams.plot_convolution(IMAGE[:6, :6] % 10, SOBEL, at=(1, 2)),
    "pooling": lambda: diagrams.plot_max_pooling(np.arange(16).reshape(4, 4)),
    "outline": lambda: diagrams.plot_cnn_outline(IMAGE),
    "block": lambda: diagrams.plot_residual_block(),
    "encoder": lambda: diagrams.plot_encoder_block(),
    "attention": lambda: diagrams.plot_attention(IMAGE, np.ones(64), query=9, patch_size=16),
    "vit": lambda: diagrams.plot_vision_transformer(IMAGE, patch_size=16, width=192, depth=12, n_heads=12, n_classes=4),
    "fine vit": lambda: diagrams.plot_vision_transformer(
        IMAGE, patch_size=8, width=768, depth=6, n_heads=3, n_classes=4
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_overlaps_another_or_leaves_the_canvas(name):
    assert_legible(DRAWINGS[name]())


def test_models_are_drawn_legibly(chain_rows, resnet_rows):
    assert_legible(diagrams.plot_layers(chain_rows, IMAGE))
    assert_legible(diagrams.plot_resnet(resnet_rows))


@pytest.mark.parametrize("name", ["transfer", "vit"])
def test_the_same_input_draws_the_same_picture(name):
    pictures = []
    for _ in range(2):
        canvas = DRAWINGS[name]().figure.canvas
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*pictures)


def test_the_neuron_reads_each_of_its_inputs_once():
    sentence = next(text for text in words(diagrams.plot_network((4, 5, 4))) if "sigma" in text)
    assert "w_0 a_0 + w_1 a_1 + w_2 a_2 + w_3 a_3 + b" in sentence


def test_every_layer_of_the_chain_appears_with_its_shape_and_size(chain_rows):
    text = "\n".join(words(diagrams.plot_layers(chain_rows, IMAGE)))
    for expected in ("16 × 128 × 128\n160 par.", "32 × 64 × 64\n4,640 par.", "128\n4,194,432 par.", "64\n8,256 par."):
        assert expected in text
    assert "4\n260 par." in text
    assert "+ flatten" in text
    assert text.count("+ ReLU") == 4


def test_the_drawing_follows_the_model():
    layers = nn.Conv2d(1, 24, 5, padding=2), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(24 * 32 * 32, 3)
    wider = layer_table(nn.Sequential(*layers))
    text = "\n".join(words(diagrams.plot_layers(wider, IMAGE)))
    assert "24 × 128 × 128" in text and "conv 5×5" in text and "pool 4×4/4" in text


def test_resnet_18_has_eighteen_weighted_layers_and_eight_skips(resnet_rows):
    ax = diagrams.plot_resnet(resnet_rows)
    text = words(ax)
    assert sum(word.startswith(("conv", "dense")) for word in text) == 18
    skips = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert [line.get_linestyle() for line in skips] == ["-", "-", "--", "-", "--", "-", "--", "-"]
    assert "stage 4\n512 × 4 × 4" in text


def test_convolution_is_torch_convolution_unflipped():
    theirs = nn.functional.conv2d(
        torch.tensor(IMAGE[None, None, :20, :30], dtype=torch.float64), torch.tensor(SOBEL[None, None] * 1.0)
    )
    np.testing.assert_array_equal(diagrams.convolve(IMAGE[:20, :30], SOBEL), theirs[0, 0].numpy())


def test_max_pooling_is_torch_max_pooling():
    values = np.random.default_rng(0).normal(size=(8, 12))
    theirs = nn.functional.max_pool2d(torch.tensor(values)[None], 2)[0]
    np.testing.assert_array_equal(diagrams.max_pool(values), theirs.numpy())


def test_the_worked_convolution_adds_up():
    patch = np.array([[0, 1, 9, 9, 9, 9]] * 6)
    sentence = next(text for text in words(diagrams.plot_convolution(patch, SOBEL)) if "·" in text)
    products, total = sentence.replace("\N{MINUS SIGN}", "-").split(" = ")
    assert eval(products.replace("·", "*")) == int(total) == diagrams.convolve(patch, SOBEL)[0, 0]


def test_patches_are_read_row_by_row_and_give_the_image_back():
    patches = diagrams.patches_of(IMAGE, patch_size=16)
    assert patches.shape == (64, 16, 16)
    np.testing.assert_array_equal(patches[1], IMAGE[:16, 16:32])
    np.testing.assert_array_equal(patches[8], IMAGE[16:32, :16])
    np.testing.assert_array_equal(np.block([[patches[8 * i + j] for j in range(8)] for i in range(8)]), IMAGE)


def test_rows_count_shared_layers_once_and_leave_the_model_alone():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.BatchNorm2d(2), relu).train()
    rows = layer_table(model, shape=(1, 8, 8))
    assert [row.kind for row in rows] == ["convolution", "activation", "norm", "activation"]
    assert sum(row.n_parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert rows[0] == ("0", "convolution", (2, 6, 6), 20, "3×3")
    assert model.training and all(module.training for module in model)
    assert int(model[2].num_batches_tracked) == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_rows_take_attention_as_one_layer():
    vit = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=4
    )
    rows = layer_table(vit, shape=(3, 32, 32))
    attention = [row for row in rows if row.kind == "attention"]
    assert [row.output_shape for row in attention] == [(5, 8), (5, 8)]
    outside = vit.class_token.numel() + vit.encoder.pos_embedding.numel()
    assert sum(row.n_parameters for row in rows) + outside == sum(p.numel() for p in vit.parameters())


def test_drawing_needs_no_torch():
    code = "import sys, mri_aug.book.diagrams, mri_aug.book.figures.curves; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
