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


def trained(x):
    model = network(momentum=None)  # which keeps the statistics of all that it has seen
    model(x)
    return model


def kept(mean, variance):
    """A layer for two channels that remembers data of this mean and variance."""
    layer = nn.BatchNorm1d(2)
    layer.running_mean.copy_(torch.tensor(mean))
    layer.running_var.copy_(torch.tensor(variance))
    layer.num_batches_tracked += 1
    return layer


def data(mean, deviation):
    """Rows ``(n, 2)`` of exactly this mean and standard deviation."""
    signs = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).repeat(8, 1)
    return torch.tensor(mean) + torch.tensor(deviation) * signs


def test_statistics_of_data_like_these_pass(x):
    check_running_statistics(trained(x), x)
    check_running_statistics(trained(x).eval(), x)
    check_running_statistics(kept([3.0, -2.0], [4.0, 0.25]), data([3.0, -2.0], [2.0, 0.5]))


def test_networks_without_running_statistics_pass(x):
    check_running_statistics(network(track_running_stats=False), x)
    check_running_statistics(conv4(2, width=8), torch.rand(4, 1, 28, 28))


def test_statistics_that_were_never_updated_raise(x):
    with pytest.raises(ValueError, match="of '1' were never updated, and are mean 0"):
        check_running_statistics(network(), x)
    with pytest.raises(ValueError, match="never updated"):
        check_running_statistics(nn.BatchNorm1d(2), data([0.0, 0.0], [1.0, 1.0]))  # by chance right


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_statistics_of_other_data_raise(scale, x):
    with pytest.raises(ValueError, match="of '1' do not fit the data, by a factor of"):
        check_running_statistics(trained(scale * x), x)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mean_that_has_moved_raises_although_the_spread_is_the_same(sign):
    layer, there = kept([1.0, 1.0], [4.0, 4.0]), [1.0 + sign * 9.0, 1.0 + sign * 9.0]
    with pytest.raises(ValueError, match=r"of '' do not fit the data, by a factor of 4\.5: .* 4\."):
        check_running_statistics(layer, data(there, [2.0, 2.0]))
    check_running_statistics(layer, data(there, [2.0, 2.0]), factor=4.6)


def test_a_mean_is_measured_in_the_deviations_that_are_kept():
    with pytest.raises(ValueError, match=r"by a factor of 6\.0"):
        check_running_statistics(kept([0.0, 0.0], [0.25, 0.25]), data([3.0, 3.0], [0.5, 0.5]))
    check_running_statistics(kept([0.0, 0.0], [4.0, 4.0]), data([3.0, 3.0], [2.0, 2.0]))


@pytest.mark.parametrize("deviation", [9**0.5, 1 / 9**0.5])
def test_a_spread_that_has_changed_raises_although_the_mean_is_the_same(deviation):
    layer, here = kept([0.0, 0.0], [1.0, 1.0]), data([0.0, 0.0], [deviation, deviation])
    with pytest.raises(ValueError, match=r"by a factor of 9\.0: expected at most 4\."):
        check_running_statistics(layer, here)
    check_running_statistics(layer, here, factor=9.1)


def test_channels_are_averaged_and_do_not_cancel():
    layer = kept([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"by a factor of 9\.0"):
        check_running_statistics(layer, data([0.0, 0.0], [3.0, 1 / 3]))
    with pytest.raises(ValueError, match=r"by a factor of 5\.0"):
        check_running_statistics(layer, data([5.0, -5.0], [1.0, 1.0]))
    check_running_statistics(layer, data([0.0, 0.0], [3.0, 1.0]))  # the ratio is 3 on average
    check_running_statistics(layer, data([5.0, 0.0], [1.0, 1.0]))  # and the shift 2.5


def test_statistics_that_are_not_finite_raise(x):
    model = trained(x)
    model[1].running_var[0] = float("nan")
    with pytest.raises(ValueError, match="do not fit"):
        check_running_statistics(model, x)


def test_a_later_layer_is_judged_by_what_it_sees_in_use():
    """There the first layer divides by what it has kept, not by the spread of the batch."""
    first, second = kept([0.0, 0.0], [16.0, 16.0]), kept([0.0, 0.0], [0.1, 0.1])
    model, x = nn.Sequential(first, second).train(), data([0.0, 0.0], [2.0, 2.0])
    check_running_statistics(model, x, factor=5.0)  # 4 and 2.5; after the batch's own, 4 and 10
    second.running_var.fill_(9.0)
    with pytest.raises(ValueError, match=r"of '1' do not fit the data, by a factor of 36\.0"):
        check_running_statistics(model, x)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d, (16, 3)),
        (nn.BatchNorm1d, (16, 3, 5)),
        (nn.BatchNorm2d, (16, 3, 5, 4)),
        (nn.BatchNorm3d, (16, 3, 5, 4, 2)),
    ],
)
def test_each_kind_of_layer_is_measured_by_channel(layer, shape):
    scales = torch.tensor([0.1, 1.0, 10.0]).view(3, *(1 for _ in shape[2:]))
    x = scales * torch.randn(shape, generator=seeded(0)) + 5 * scales
    model = layer(3, momentum=None)
    model(x)
    check_running_statistics(model, x, factor=1.1)
    with pytest.raises(ValueError, match="do not fit"):
        check_running_statistics(model, x.flip(1))


def test_a_layer_that_the_data_does_not_pass_is_not_judged():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].unused = kept([100.0, 100.0], [1.0, 1.0])
    check_running_statistics(model, torch.zeros(3, 2))


def test_the_caller_keeps_the_model(x):
    model = trained(x)
    before = copy.deepcopy(model.state_dict())
    check_running_statistics(model, x)
    assert model.training and not model[1]._forward_pre_hooks
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_layer_that_is_passed_twice_is_judged_by_both(x):
    """The first time by data that does not fit, the second by data that does."""
    norm = nn.BatchNorm2d(1)
    wide, usual = 1000 * x, x
    for _ in range(100):
        norm(usual)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            return self.norm(wide) + self.norm(usual)

    with pytest.raises(ValueError, match="of 'norm' do not fit the data"):
        check_running_statistics(Twice(), x)
