"""Training learns, repeats itself to the bit, and looks at nothing but the images it is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mri_aug.models.networks import make_model
from mri_aug.models.training import TrainConfig, predict, train, train_head

QUICK = TrainConfig(epochs=2, batch_size=16)
pytestmark = pytest.mark.usefixtures("one_thread")


def weights(classifier):
    return torch.cat([parameter.flatten() for parameter in classifier.model.parameters()])


def test_it_learns_what_can_be_learnt(toy_images):
    classifier = train(make_model("cnn", seed=0), toy_images, seed=0, config=TrainConfig(epochs=8, batch_size=16))
    probabilities = predict(classifier, toy_images.images)
    assert (probabilities.argmax(1) == toy_images.labels.numpy()).mean() > 0.95
    assert classifier.losses[-5:].mean() < 0.3 * classifier.losses[:5].mean()


@pytest.mark.parametrize("policy", ["none", "traditional", "mixup"])
def test_same_seed_same_bits_another_seed_others(toy_images, policy):
    runs = [
        weights(train(make_model("cnn", seed=0), toy_images, seed=seed, config=QUICK, policy=policy))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_training_leaves_the_global_random_state_alone(toy_images):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(make_model("cnn", seed=0), toy_images, seed=0, config=QUICK, n_steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_steps_follow_from_epochs_unless_given(toy_images):
    assert QUICK.n_steps(96) == 12
    assert len(train(make_model("cnn", seed=0), toy_images, seed=0, config=QUICK).losses) == 12
    assert len(train(make_model("cnn", seed=0), toy_images, seed=0, config=QUICK, n_steps=3).losses) == 3


def test_probabilities_do_not_depend_on_the_batch(toy_images):
    config = replace(QUICK, precision="float32")
    classifier = train(make_model("cnn", seed=0), toy_images, seed=0, config=config)
    whole = predict(classifier, toy_images.images)
    assert np.allclose(whole, predict(classifier, toy_images.images, batch_size=7), atol=1e-5)
    assert np.allclose(whole.sum(1), 1) and whole.dtype == np.float64


def test_the_head_is_trained_and_nothing_else(toy_images):
    model = make_model("cnn", seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    classifier = train_head(model, toy_images, seed=0, config=replace(QUICK, precision="float32"), n_steps=40)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert classifier.losses[-5:].mean() < classifier.losses[0]
    whole = predict(replace(classifier, frozen=False), toy_images.images)
    assert np.allclose(predict(classifier, toy_images.images), whole, atol=1e-4)


def test_the_head_learns_the_same_bits_again_and_others_from_another_seed(toy_images):
    heads = [weights(train_head(make_model("cnn", seed=0), toy_images, seed=seed, config=QUICK)) for seed in (3, 3, 4)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("balance", ["oversample", "weights"])
def test_a_rare_class_is_predicted_more_often_when_classes_are_balanced(toy_images, balance):
    rare = toy_images[torch.cat([(toy_images.labels != 3).nonzero()[:, 0], (toy_images.labels == 3).nonzero()[:2, 0]])]
    rare = replace(rare, images=rare.images // 64 * 64 + 1)  # coarse, so that classes overlap
    config = TrainConfig(epochs=2, batch_size=16)
    shares = [
        predict(train(make_model("cnn", seed=0), rare, seed=0, config=config, balance=name), rare.images)[:, 3].mean()
        for name in ("none", balance)
    ]
    assert shares[1] > 1.5 * shares[0]


def test_training_goes_on_from_the_weights_that_a_model_has(toy_images):
    model = make_model("cnn", seed=0)
    config = TrainConfig(epochs=10, batch_size=16)
    first = train(model, toy_images, seed=0, config=config).losses
    second = train(model, toy_images, seed=0, config=replace(config, learning_rate=1e-4), n_steps=5).losses
    assert second[0] < 0.5 * first[0]


def test_bfloat16_learns_the_same_as_float32(toy_images):
    config, few = TrainConfig(epochs=6, batch_size=8), toy_images[::3]  # it is slow where the processor has it not
    losses = [
        train(make_model("cnn", seed=0), few, seed=0, config=replace(config, precision=precision)).losses
        for precision in ("float32", "bfloat16")
    ]
    assert abs(losses[0][0] - losses[1][0]) < 0.02
    assert max(loss[-5:].mean() for loss in losses) < 0.3 * losses[0][0]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"epochs": 0}, "epochs must be a positive number"), ({"precision": "half"}, "precision must be")],
)
def test_bad_configuration_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize("device", ["cuda:x", "gpu", "cpu:1", ""])
def test_a_device_that_is_none_is_told(device):
    with pytest.raises(ValueError, match=f"device must be .* as 'cuda:1', got '{device}'"):
        TrainConfig(device=device)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_was_chosen_stays_chosen(device):
    resolved = TrainConfig(device=device, precision="float32").resolved()
    assert resolved.device == device and resolved.resolved() == resolved
    assert resolved.resolved_device() == torch.device(device)


def test_nothing_is_left_to_the_machine():
    resolved = TrainConfig().resolved()
    assert resolved.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolved.precision in ("float32", "bfloat16")


def test_bad_input_is_named(toy_images):
    with pytest.raises(ValueError, match="at least 2 images"):
        train(make_model("cnn", seed=0), toy_images[:1], seed=0)
    black = replace(toy_images, images=torch.zeros_like(toy_images.images))
    with pytest.raises(ValueError, match="all pixels"):
        train(make_model("cnn", seed=0), black, seed=0)
    with pytest.raises(ValueError, match="diverged"):
        train(make_model("cnn", seed=0), toy_images, seed=0, config=replace(QUICK, learning_rate=1e30))
