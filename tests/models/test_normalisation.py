"""Batch normalisation by hand: PyTorch's own layer, for images, sequences and vectors."""

import pytest
import torch
from torch import nn

from metalearn_lite.maml import maml_loss
from metalearn_lite.models import BatchStatisticsNorm
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 4, 2), (6, 3, 2, 2, 2)])
def test_it_is_pytorchs_batch_norm_in_training(shape):
    x = torch.randn(shape, generator=seeded(0), dtype=torch.float64)
    mine, theirs = BatchStatisticsNorm(3).double(), nn.BatchNorm1d(3, dtype=torch.float64)
    for layer in (mine, theirs):
        layer.weight.data.copy_(torch.tensor([2.0, -1.0, 0.5]))
        layer.bias.data.copy_(torch.tensor([0.1, 0.2, 0.3]))
    expected = torch.nn.functional.batch_norm(
        x, None, None, theirs.weight, theirs.bias, training=True
    )
    torch.testing.assert_close(mine(x), expected)


def test_a_perceptron_with_it_predicts_and_trains_alike_together_and_one_by_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), BatchStatisticsNorm(4), nn.Tanh(), nn.Linear(4, 3))
    model = model.double()
    x, y = torch.randn(2, 6, 2, dtype=torch.float64), torch.tensor([[0, 1, 2] * 2] * 2)
    assert model(x[0]).shape == (6, 3)
    options = {"inner_lr": 0.1, "inner_steps": 2}
    episode = Episode(x, y, x.flip(1), y.flip(1))
    found = [
        torch.autograd.grad(
            maml_loss(model, episode, task_by_task=alone, **options), list(model.parameters())
        )
        for alone in (True, False)
    ]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


def test_the_variance_has_one_in_a_hundred_thousand_added_unless_it_is_told_otherwise():
    x = 0.003 * torch.randn(6, 3, generator=seeded(0), dtype=torch.float64)
    usual, named, other = (
        BatchStatisticsNorm(3, **options).double()(x) for options in ({}, {"eps": 1e-5}, {"eps": 0})
    )
    assert torch.equal(usual, named)
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(usual, expected)
    torch.testing.assert_close(other.square().mean(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3,), (6, 4), (6, 2, 3), ()])
def test_inputs_of_another_number_of_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"inputs have shape .*: expected \(n, 3, \.\.\.\)"):
        BatchStatisticsNorm(3)(torch.zeros(shape))


def test_a_layer_without_channels_or_with_a_negative_eps_is_refused():
    with pytest.raises(ValueError, match="channels is 0: expected a whole number, 1 or more"):
        BatchStatisticsNorm(0)
    with pytest.raises(ValueError, match="eps is -1e-05: expected a finite number, 0 or more"):
        BatchStatisticsNorm(3, eps=-1e-5)
