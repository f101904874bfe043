"""The updates of chapter 4 take the very steps that torch.optim takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri_aug.book.figures.curves import descend, descend_with_adam, descend_with_momentum, one_cycle, one_cycle_momentum

HESSIAN = np.array([[4.0, 1.5], [1.5, 1.0]])
START = (-1.5, 2.0)


def torch_path(make_optimiser, n_steps: int, rates=None) -> np.ndarray:
    """Minimise half theta' H theta with an optimiser of torch, in double precision."""
    theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    hessian = torch.tensor(HESSIAN)
    optimiser = make_optimiser([theta])
    path = [theta.detach().numpy().copy()]
    for step in range(n_steps):
        if rates is not None:
            optimiser.param_groups[0]["lr"] = float(rates[step])
        optimiser.zero_grad()
        (0.5 * theta @ hessian @ theta).backward()
        optimiser.step()
        path.append(theta.detach().numpy().copy())
    return np.stack(path)


def test_plain_descent_is_torch_sgd():
    ours = descend(HESSIAN.dot, START, learning_rate=0.1, n_steps=40)
    np.testing.assert_allclose(ours, torch_path(lambda p: torch.optim.SGD(p, lr=0.1), 40), atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_momentum_is_torch_sgd_with_momentum(beta):
    ours = descend_with_momentum(HESSIAN.dot, START, learning_rate=0.05, momentum=beta, n_steps=60)
    theirs = torch_path(lambda p: torch.optim.SGD(p, lr=0.05, momentum=beta), 60)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
def test_adam_is_torch_adam(betas):
    ours = descend_with_adam(HESSIAN.dot, START, learning_rate=0.1, betas=betas, n_steps=80)
    theirs = torch_path(lambda p: torch.optim.Adam(p, lr=0.1, betas=betas), 80)
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_adam_first_step_has_the_size_of_the_learning_rate_whatever_the_gradient():
    for scale in (1e-3, 1.0, 1e3):
        path = descend_with_adam((scale * HESSIAN).dot, START, learning_rate=0.1, n_steps=1)
        np.testing.assert_allclose(np.abs(path[1] - path[0]), 0.1, rtol=1e-4)


def test_averaging_the_velocity_is_a_rescaled_learning_rate():
    """The draft's velocity carries a factor (1 - beta), which the learning rate absorbs."""
    beta, eta, velocity, theta = 0.8, 0.3, np.zeros(2), np.array(START)
    for _ in range(30):
        velocity = beta * velocity + (1 - beta) * HESSIAN @ theta
        theta = theta - eta * velocity
    ours = descend_with_momentum(HESSIAN.dot, START, learning_rate=eta * (1 - beta), momentum=beta, n_steps=30)
    np.testing.assert_allclose(ours[-1], theta, atol=1e-12)


@pytest.mark.parametrize(("factor", "converges"), [(0.95, True), (1.05, False)])
def test_plain_descent_diverges_beyond_two_over_the_largest_curvature(factor, converges):
    limit = 2 / np.linalg.eigvalsh(HESSIAN).max()
    path = descend(HESSIAN.dot, START, learning_rate=factor * limit, n_steps=200)
    assert (np.linalg.norm(path[-1]) < np.linalg.norm(path[0])) is np.bool_(converges)


@pytest.mark.parametrize("n_steps", [10, 25, 200])
def test_one_cycle_is_torch_one_cycle_with_adam(n_steps):
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.01, total_steps=n_steps)
    rates, decays = [], []
    for step in range(n_steps):
        rates.append(optimiser.param_groups[0]["lr"])
        decays.append(optimiser.param_groups[0]["betas"][0])
        optimiser.step()
        if step < n_steps - 1:
            scheduler.step()
    np.testing.assert_allclose(one_cycle(n_steps, max_rate=0.01), rates, rtol=1e-9)
    np.testing.assert_allclose(one_cycle_momentum(n_steps), decays, rtol=1e-9)


def test_schedule_and_optimiser_combine_as_in_torch():
    rates = one_cycle(30, max_rate=0.3)
    ours = descend_with_adam(HESSIAN.dot, START, learning_rate=rates, n_steps=30)
    np.testing.assert_allclose(ours, torch_path(lambda p: torch.optim.Adam(p, lr=1.0), 30, rates), atol=1e-10)
