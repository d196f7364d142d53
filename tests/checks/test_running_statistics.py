"""Running statistics: those that were never updated, and those of other data."""

import copy

import pytest
import torch
from torch import nn

from metalearn_lite.checks import check_running_statistics
from metalearn_lite.models import conv4
from metalearn_lite.randomness import seeded


def network(**options):
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, **options), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * 36, 2))


@pytest.fixture
def x():
    return torch.rand(32, 1, 8, 8, generator=seeded(0))


def trained(x, scale=1.0):
    model = network()
    for _ in range(100):
        model(scale * x)
    return model


def test_statistics_of_data_like_these_pass(x):
    check_running_statistics(trained(x), x)
    check_running_statistics(trained(x).eval(), x)


def test_networks_without_running_statistics_pass(x):
    check_running_statistics(network(track_running_stats=False), x)
    check_running_statistics(conv4(2, width=8), torch.rand(4, 1, 28, 28))


def test_statistics_that_were_never_updated_raise(x):
    with pytest.raises(ValueError, match="of '1' were never updated, and are mean 0"):
        check_running_statistics(network(), x)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_statistics_of_other_data_raise(scale, x):
    with pytest.raises(ValueError, match="of '1' do not fit the data, by a factor of"):
        check_running_statistics(trained(x, scale), x)


def test_statistics_that_are_not_finite_raise(x):
    model = trained(x)
    model[1].running_var[0] = float("nan")
    with pytest.raises(ValueError, match="do not fit"):
        check_running_statistics(model, x)


def test_the_caller_keeps_the_model(x):
    model = trained(x)
    before = copy.deepcopy(model.state_dict())
    check_running_statistics(model, x)
    assert model.training and not model[1]._forward_pre_hooks
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
