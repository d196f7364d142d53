"""Fitted last layers: they rest where the gradient of what they minimise is zero."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.models.linear_fits import fit_logistic, fit_ridge
from metalearn_lite.randomness import seeded


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).numpy()


def labels(ways, n=11):
    """Each class at least once, and not all equally often."""
    return np.concatenate([np.arange(ways), np.arange(n - ways) % max(1, ways - 1)])


def slopes(loss, fitted, z, y, l2):
    """Return the gradient of ``loss + l2 * |W|²`` at fitted weights and biases."""
    weight, bias = (torch.from_numpy(np.ascontiguousarray(p)).requires_grad_() for p in fitted)
    value = loss(F.linear(torch.from_numpy(z), weight, bias), torch.from_numpy(y))
    return torch.autograd.grad(value + l2 * weight.square().sum(), (weight, bias))


# Logistic regression


@pytest.mark.parametrize("ways", [2, 3, 5])
@pytest.mark.parametrize("l2", [1e-2, 1.0])
def test_the_logistic_fit_is_the_optimum_of_the_mean_loss_and_the_penalty(ways, l2):
    z, y = random(11, 4), labels(ways)
    weight, bias = fit_logistic(z, y, l2)
    assert weight.shape == (ways, 4) and bias.shape == (ways,)
    for slope in slopes(F.cross_entropy, (weight, bias), z, y, l2):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=2e-6)


def test_the_second_row_of_two_ways_is_that_of_label_one():
    z = np.array([[-1.0], [1.0]])
    weight, bias = fit_logistic(z, np.array([0, 1]), 0.1)
    assert weight[1, 0] > 0.1 and weight[0, 0] == -weight[1, 0]
    np.testing.assert_allclose(bias, 0, atol=1e-6)


@pytest.mark.parametrize("ways", [2, 3])
def test_the_bias_is_free_so_that_features_may_be_moved(ways):
    z, y = random(11, 4), labels(ways)
    (weight, bias), (same, moved) = (fit_logistic(x, y, 0.1) for x in (z, z + 3))
    np.testing.assert_allclose(same, weight, atol=1e-4)
    difference = moved - (bias - 3 * weight.sum(axis=1))
    np.testing.assert_allclose(difference, difference.mean(), atol=1e-4)


@pytest.mark.parametrize("ways", [2, 4])
def test_under_a_large_penalty_only_the_shares_of_the_classes_are_left(ways):
    y = labels(ways)
    weight, bias = fit_logistic(random(11, 4), y, 1e6)
    np.testing.assert_allclose(weight, 0, atol=1e-5)
    shares = np.exp(bias) / np.exp(bias).sum()
    np.testing.assert_allclose(shares, np.bincount(y) / 11, atol=1e-4)


def test_one_way_needs_no_weights():
    weight, bias = fit_logistic(random(3, 4), np.zeros(3, dtype=np.int64), 0.1)
    assert weight.shape == (1, 4) and bias.shape == (1,)
    assert not weight.any() and not bias.any()


def test_one_shot_can_be_fitted():
    z = random(5, 4)
    weight, bias = fit_logistic(z, np.arange(5), 1e-3)
    assert ((z @ weight.T + bias).argmax(axis=1) == np.arange(5)).all()


# Ridge regression


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("d", [4, 20])  # fewer and more features than examples
def test_the_ridge_fit_is_the_optimum_of_the_mean_loss_and_the_penalty(d, outputs):
    z, y = random(11, d), random(11, outputs, seed=1)
    weight, bias = fit_ridge(z, y, 0.3)
    assert weight.shape == (outputs, d) and bias.shape == (outputs,)
    for slope in slopes(F.mse_loss, (weight, bias), z, y, 0.3):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-10)


def test_a_line_is_found_exactly_when_the_penalty_goes_to_zero():
    z, line = random(11, 4), random(2, 4, seed=2)
    weight, bias = fit_ridge(z, z @ line.T + np.array([5.0, -7.0]), 1e-12)
    np.testing.assert_allclose(weight, line, atol=1e-8)
    np.testing.assert_allclose(bias, [5.0, -7.0], atol=1e-8)


def test_one_example_is_answered_by_the_bias():
    z, y = random(1, 4), random(1, 2, seed=1)
    weight, bias = fit_ridge(z, y, 0.3)
    np.testing.assert_allclose(weight, 0, atol=1e-12)
    np.testing.assert_allclose(bias, y[0])


# Both


def test_examples_that_are_all_there_twice_change_nothing_for_the_loss_is_a_mean():
    z, y, values = random(11, 4), labels(3), random(11, 2, seed=1)
    twice = np.concatenate([z, z])
    for fit, targets in ((fit_logistic, y), (fit_ridge, values)):
        once = fit(z, targets, 0.2)
        for a, b in zip(fit(twice, np.concatenate([targets, targets]), 0.2), once, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
