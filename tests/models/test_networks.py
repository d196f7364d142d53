from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from metalearn_lite.models import BatchStatisticsNorm, conv4, initialise, mlp


def one_step_then_query_loss(model, params, support_x, support_y, query_x, query_y):
    """The smallest thing with a second-order gradient: the loss after one inner step."""

    def loss(params, x, y):
        return F.cross_entropy(functional_call(model, params, (x,)), y)

    gradient = grad(loss)(params, support_x, support_y)
    adapted = {name: p - 0.4 * gradient[name] for name, p in params.items()}
    return loss(adapted, query_x, query_y)


def batched_and_looped_gradients(model):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 4, 5, 1, 28, 28, generator=generator, dtype=torch.float64)
    y = torch.arange(5).expand(4, 5)
    params = {name: p.detach() for name, p in model.named_parameters()}

    def batched(params):
        losses = vmap(one_step_then_query_loss, in_dims=(None, None, 0, 0, 0, 0))(
            model, params, x[0], y, x[1], y
        )
        return losses.mean()

    def looped(params):
        losses = [
            one_step_then_query_loss(model, params, x[0, t], y[t], x[1, t], y[t]) for t in range(4)
        ]
        return torch.stack(losses).mean()

    return grad(batched)(params), grad(looped)(params)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_second_order_gradients_under_vmap_equal_the_plain_loop(norm):
    model = conv4(5, width=8, norm=norm, generator=torch.Generator().manual_seed(0)).double()
    batched, looped = batched_and_looped_gradients(model)
    for name in looped:
        torch.testing.assert_close(batched[name], looped[name], atol=1e-10, rtol=1e-8)


class BuiltInBatchNorm(torch.nn.Module):
    """The norm that must not be used: it is here so that the test above is seen to fail."""

    def __init__(self, channels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


def test_the_parity_test_fails_on_the_built_in_batch_norm():
    model = conv4(5, width=8, generator=torch.Generator().manual_seed(0))
    for i, layer in enumerate(model.features):
        if isinstance(layer, BatchStatisticsNorm):
            model.features[i] = BuiltInBatchNorm(8)
    batched, looped = batched_and_looped_gradients(model.double())
    largest = max((batched[n] - looped[n]).abs().max() for n in looped)
    if largest < 1e-10:
        pytest.skip(f"torch {torch.__version__} has mended vmap over batch norm")
    assert largest > 1e-6


def test_batch_statistics_norm_equals_the_textbook():
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    norm = BatchStatisticsNorm(3).double()
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    expected = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_no_network_has_a_buffer(norm):
    for model in (conv4(5, norm=norm), mlp()):
        assert list(model.buffers()) == []


@pytest.mark.parametrize(("pool", "features"), [(True, 64), (False, 256)])
def test_conv4_maps_images_to_features_and_logits(pool, features):
    model = conv4(7, pool=pool)
    x = torch.rand(3, 1, 28, 28)
    assert model.features(x).shape == (3, features)
    assert model(x).shape == (3, 7)
    torch.testing.assert_close(model(x), model.head(model.features(x)))


def test_conv4_is_the_network_of_the_maml_paper():
    """Four 3 x 3 convolutions of 64 filters with scale and shift, 64 features, a head."""
    convolutions = (9 * 1 * 64 + 64) + 3 * (9 * 64 * 64 + 64)
    assert sum(p.numel() for p in conv4(5).parameters()) == convolutions + 4 * 128 + 65 * 5


def test_mlp_is_the_sine_network_of_the_maml_paper():
    model = mlp()
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [
        (40, 1),
        (40, 40),
        (1, 40),
    ]
    assert model(torch.zeros(3, 1)).shape == (3, 1)
    assert model.features(torch.zeros(3, 1)).shape == (3, 40)


@pytest.mark.parametrize("hidden", [(7,), (7, 5), (7, 5, 4)])
def test_the_layers_of_a_perceptron_are_as_wide_as_it_is_told(hidden):
    model, sizes = mlp(2, 3, hidden=hidden), (2, *hidden, 3)
    found = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert found == [(wide, narrow) for narrow, wide in pairwise(sizes)]
    assert model(torch.zeros(6, 2)).shape == (6, 3)


@pytest.mark.parametrize(("width", "groups"), [(4, 1), (8, 1), (16, 2), (24, 3)])
def test_a_group_has_eight_channels_or_all_of_fewer(width, groups):
    norms = [m for m in conv4(5, width, "group").modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [groups] * 4


def test_group_norm_is_inductive_and_batch_norm_transductive():
    x = torch.rand(4, 1, 28, 28)
    for norm, depends in (("group", False), ("none", False), ("batch", True)):
        model = conv4(5, norm=norm, generator=torch.Generator().manual_seed(0))
        alone, together = model(x[:1]), model(x)[:1]
        assert torch.allclose(alone, together, atol=1e-5) is not depends


def test_a_generator_fixes_the_weights():
    one, two = (mlp(generator=torch.Generator().manual_seed(5)) for _ in range(2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    again = initialise(mlp(), torch.Generator().manual_seed(5))
    assert torch.equal(next(again.parameters()), next(one.parameters()))


def test_initial_weights_have_the_scale_of_their_fan_in():
    weight = conv4(5, generator=torch.Generator().manual_seed(0)).features[3].weight
    bound = (9 * 64) ** -0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: conv4(0), "ways is 0: expected a whole number, 1 or more"),
        (lambda: conv4(5, channels=0), "channels is 0: expected a whole number, 1 or more"),
        (lambda: conv4(5, norm="layer"), "norm is 'layer': expected 'batch', 'group' or 'none'"),
        (lambda: conv4(5, width=0), "width is 0"),
        (lambda: conv4(5, width=9, norm="group"), "width is 9: with norm='group' expected a mul"),
        (lambda: mlp(0), "inputs is 0"),
        (lambda: mlp(1, 0), "outputs is 0"),
        (lambda: mlp(hidden=()), "layers is 0: expected a whole number"),
        (lambda: mlp(hidden=(40, 0)), r"hidden\[1\] is 0: expected a whole number"),
    ],
)
def test_impossible_networks_are_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
