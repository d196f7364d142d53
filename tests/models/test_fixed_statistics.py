import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.models import (
    BatchStatisticsNorm,
    FixedStatisticsNorm,
    conv4,
    fix_statistics,
    mlp,
)


@pytest.fixture
def images(generator):
    return torch.rand(12, 1, 28, 28, generator=generator)


@pytest.fixture
def model():
    model = conv4(5, width=8, generator=torch.Generator().manual_seed(1))
    for p in model.parameters():  # scales and shifts that are not ones and zeros
        p.data.add_(0.1 * torch.rand(p.shape, generator=torch.Generator().manual_seed(2)))
    return model


def test_on_the_images_it_was_fixed_on_nothing_changes(model, images):
    torch.testing.assert_close(fix_statistics(model, images)(images), model(images))


def test_fixed_an_image_is_normalised_on_its_own_and_before_it_was_not(model, images):
    fixed = fix_statistics(model, images)
    torch.testing.assert_close(fixed(images[:1]), fixed(images)[:1])
    assert not torch.allclose(model(images[:1]), model(images)[:1], atol=1e-3)


def test_the_model_is_unchanged_and_the_copy_shares_nothing_with_it(model, images):
    before = copy.deepcopy(model)
    fixed = fix_statistics(model, images)
    for p in fixed.parameters():
        p.data.zero_()
    assert all(torch.equal(p, before.get_parameter(n)) for n, p in model.named_parameters())
    assert not any(m._forward_hooks for m in fixed.modules())


def test_the_parameters_keep_their_names_so_that_rates_for_layers_still_fit(model, images):
    names = [name for name, _ in fix_statistics(model, images).named_parameters()]
    assert names == [name for name, _ in model.named_parameters()]


def test_fixed_statistics_equal_the_built_in_batch_norm_in_evaluation_mode(generator):
    x = torch.randn(6, 3, 5, 5, generator=generator, dtype=torch.float64)
    layer = BatchStatisticsNorm(3).double()
    layer.weight.data, layer.bias.data = torch.randn(2, 3, dtype=torch.float64).unbind()
    fixed = FixedStatisticsNorm.of(layer, x)
    other = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    expected = F.batch_norm(other, mean, variance, layer.weight, layer.bias, training=False)
    torch.testing.assert_close(fixed(other), expected)


def test_the_eps_of_the_layer_stays_and_else_it_is_one_in_a_hundred_thousand(generator):
    x = 0.01 * torch.randn(6, 3, 5, 5, generator=generator, dtype=torch.float64)
    layer = BatchStatisticsNorm(3, eps=0.5).double()
    torch.testing.assert_close(FixedStatisticsNorm.of(layer, x)(x), layer(x))
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(
        FixedStatisticsNorm(mean, variance).double()(x), BatchStatisticsNorm(3).double()(x)
    )


@pytest.mark.parametrize(
    ("variance", "eps", "message"),
    [
        ([1.0, 0.0], -0.1, "eps is -0.1: expected a finite number, 0 or more"),
        ([1.0, -0.1], 0.1, r"smallest_variance is -0.1.*: expected a finite number, 0 or more"),
        ([], 0.1, "smallest_variance is nan"),
    ],
)
def test_statistics_that_cannot_be_are_refused(variance, eps, message):
    variance = torch.tensor(variance, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        FixedStatisticsNorm(torch.zeros_like(variance), variance, eps=eps)
    FixedStatisticsNorm(torch.zeros(2), torch.tensor([1.0, 0.0]), eps=0.0)


def test_nothing_updates_the_fixed_statistics(model, images):
    fixed = fix_statistics(model, images)
    before = {name: b.clone() for name, b in fixed.named_buffers()}
    fixed.train()(2 * images)
    assert len(before) == 8
    assert all(torch.equal(before[name], b) for name, b in fixed.named_buffers())


class Shared(nn.Module):
    """A layer that is reached by two names, or passed twice."""

    def __init__(self, times):
        super().__init__()
        self.norm, self.times = BatchStatisticsNorm(1), times
        self.net = nn.Sequential(self.norm, nn.ReLU())

    def forward(self, x):
        for _ in range(self.times):
            x = self.net(x)
        return x


def test_a_layer_under_two_names_is_fixed_at_both(images):
    fixed = fix_statistics(Shared(1), images)
    torch.testing.assert_close(fixed(images[:1]), fixed(images)[:1])
    assert fixed.net[0] is fixed.norm


@pytest.mark.parametrize("times", [0, 2])
def test_a_layer_that_is_not_passed_exactly_once_is_an_error(images, times):
    with pytest.raises(ValueError, match=rf"pass through 'norm' {times} times: expected once"):
        fix_statistics(Shared(times), images)


def test_frozen_scales_stay_frozen_and_modes_stay_modes(model, images):
    model.features[1].weight.requires_grad_(False)
    fixed = fix_statistics(model.eval(), images)
    needed = [p.requires_grad for p in fixed.parameters()]
    assert needed == [p.requires_grad for p in model.parameters()] and not all(needed)
    assert not any(module.training for module in fixed.modules())


def test_a_network_without_batch_statistics_is_an_error(images):
    for model in (conv4(5, width=8, norm="group"), mlp(784), fix_statistics(conv4(5), images)):
        with pytest.raises(ValueError, match="no BatchStatisticsNorm"):
            fix_statistics(model, images)


def test_no_inputs_are_an_error(model, images):
    with pytest.raises(ValueError, match="got no inputs: expected some"):
        fix_statistics(model, images[:0])
