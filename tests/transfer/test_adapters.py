"""Adapters against what they are equal to: the start, the merged weights, a known optimum."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.checks import check_gradient
from metalearn_lite.maml import maml_loss
from metalearn_lite.models import Network, conv4, mlp
from metalearn_lite.models.photographs import Block
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode
from metalearn_lite.transfer import fine_tune
from metalearn_lite.transfer.adapters import (
    Adapted,
    bias_tuning,
    lora,
    merge_adapters,
    norm_tuning,
    trained_numbers,
)

IMAGES = torch.rand(10, 1, 28, 28, generator=seeded(0))
LABELS = torch.arange(5).repeat(2)


def strided(generator):
    """A network with grouped, dilated and one-dimensional convolutions, and linear layers."""
    layers = [nn.Conv2d(1, 4, 3, stride=2, dilation=2), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2)]
    layers += [nn.Flatten(2), nn.Conv1d(6, 3, 5), nn.Flatten(), nn.LazyLinear(7), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(7, 5))
    torch.manual_seed(0)
    model(IMAGES)
    return model


MODELS = {
    "conv4": lambda g: conv4(5, width=8, generator=g),
    "conv4 with group norm": lambda g: conv4(5, width=8, norm="group", generator=g),
    "mlp": lambda g: nn.Sequential(nn.Flatten(), mlp(784, 5, hidden=(20, 10), generator=g)),
    "others": strided,
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param](seeded(1))


def trained(adapted, steps=5, lr=0.1):
    """Return the model after a few steps of Adam on what requires a gradient."""
    adapted = copy.deepcopy(adapted)
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(adapted(IMAGES), LABELS).backward()
        optimizer.step()
    return adapted


@pytest.mark.parametrize("rank", [1, 4, 1000])
def test_before_training_an_adapted_network_answers_to_the_bit_as_its_start(model, rank):
    before = copy.deepcopy(model.state_dict())
    adapted = lora(model, rank=rank, generator=seeded(2))
    assert torch.equal(adapted(IMAGES), model(IMAGES))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in model.parameters())


def test_training_moves_the_adapters_and_leaves_the_frozen_weights(model):
    adapted = lora(model, rank=2, generator=seeded(2))
    tuned = trained(adapted)
    old, new = dict(adapted.named_parameters()), dict(tuned.named_parameters())
    for name, p in new.items():
        assert torch.equal(p, old[name]) != p.requires_grad, name
    assert not torch.allclose(tuned(IMAGES), adapted(IMAGES))


def test_merged_adapters_give_the_same_answers_under_the_old_names(model):
    tuned = trained(lora(model, rank=2, generator=seeded(2)))
    merged = merge_adapters(tuned)
    torch.testing.assert_close(merged(IMAGES), tuned(IMAGES), atol=1e-6, rtol=1e-6)
    assert list(merged.state_dict()) == list(model.state_dict())
    assert [type(m) for m in merged.modules()] == [type(m) for m in model.modules()]
    assert all(p.requires_grad for p in merged.parameters())
    assert trained_numbers(tuned) < trained_numbers(merged)  # is still adapted


def test_what_is_added_to_a_weight_has_the_rank_that_was_asked_for(model):
    merged = merge_adapters(trained(lora(model, rank=2, generator=seeded(2))))
    old, layers = dict(model.named_modules()), 0
    for name, layer in merged.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and "head" not in name:
            change = (layer.weight - old[name].weight).flatten(1)
            assert torch.linalg.matrix_rank(change, rtol=1e-3) == min(2, *change.shape), name
            layers += 1
    assert layers >= 3 or isinstance(model[0], nn.Flatten)


def test_at_full_rank_least_squares_reach_the_optimum_of_fine_tuning():
    x, y = torch.randn(60, 6, generator=seeded(3)), torch.randn(60, 4, generator=seeded(4))
    x, y = x.double(), y.double()
    model = nn.Linear(6, 4, bias=False).double()
    best = F.mse_loss(x @ torch.linalg.lstsq(x, y).solution, y)

    def reached(start):
        weights = [p for p in start.parameters() if p.requires_grad]
        optimizer = torch.optim.LBFGS(weights, max_iter=500, tolerance_change=0, history_size=20)

        def closure():
            optimizer.zero_grad()
            loss = F.mse_loss(start(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        return F.mse_loss(start(x), y)

    full, low = (reached(lora(model, rank=r, generator=seeded(5))) for r in (4, 1))
    torch.testing.assert_close(reached(copy.deepcopy(model)), best)
    torch.testing.assert_close(full, best, rtol=1e-6, atol=0)
    assert low > 1.01 * best


def test_the_best_change_of_rank_one_is_that_of_the_singular_vectors():
    """With inputs that are orthonormal the best change of rank one is known (Eckart and Young)."""
    x = torch.linalg.qr(torch.randn(8, 8, generator=seeded(3)).double()).Q
    target = torch.randn(8, 5, generator=seeded(4)).double()
    model = nn.Linear(8, 5, bias=False).double()
    nn.init.zeros_(model.weight)
    left = torch.linalg.svdvals(x.T @ target)[1:].square().sum()
    adapted = lora(model, rank=1, generator=seeded(5))
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=0.02)
    for _ in range(4000):
        optimizer.zero_grad()
        loss = (adapted(x) - target).square().sum()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(loss.detach(), left, rtol=1e-4, atol=0)


def test_the_head_of_a_network_is_trained_whole():
    adapted = lora(conv4(5, width=8, generator=seeded(1)), rank=3)
    assert {n for n, p in adapted.head.named_parameters() if p.requires_grad} == {"weight", "bias"}
    # A and B of four convolutions, and the head: 8 features to 5 classes
    assert trained_numbers(adapted) == 3 * (9 + 8) + 3 * 3 * (72 + 8) + 45
    assert trained_numbers(lora(nn.Linear(6, 4), rank=100)) == 4 * (6 + 4)


def test_fine_tuning_trains_an_adapted_network_and_nothing_else():
    adapted = lora(conv4(5, width=8, generator=seeded(1)), rank=2, generator=seeded(2))
    tuned = fine_tune(adapted, IMAGES, LABELS, steps=3, lr=0.1)
    for (name, old), new in zip(adapted.named_parameters(), tuned.parameters(), strict=True):
        assert torch.equal(old, new) != old.requires_grad, name


def test_a_meta_gradient_goes_through_adapters():
    model = conv4(5, width=4, norm="group", generator=seeded(1)).double()
    adapted = lora(model, rank=2, generator=seeded(2))
    with torch.no_grad():  # with B at zero the gradient of A would be zero
        for name, p in adapted.named_parameters():
            if name.endswith(".B"):
                p.copy_(0.1 * torch.randn(p.shape, generator=seeded(3), dtype=p.dtype))
    x = IMAGES.double()
    episode = Episode(x[:5], LABELS[:5], x[5:], LABELS[5:])
    check_gradient(partial(maml_loss, inner_lr=0.1, inner_steps=2), adapted, episode)


@pytest.mark.parametrize(
    "tuning, kept", [(bias_tuning, ("bias",)), (norm_tuning, ("weight", "bias"))]
)
def test_biases_or_normalisation_are_trained_alone(tuning, kept):
    model = conv4(5, width=8, generator=seeded(1))
    tuned = tuning(model)
    assert torch.equal(tuned(IMAGES), model(IMAGES))
    names = {n for n, p in tuned.named_parameters() if p.requires_grad and "head" not in n}
    norms = [n for n, m in model.named_modules() if type(m).__name__ == "BatchStatisticsNorm"]
    expected = {f"{n}.{k}" for n in norms for k in kept}
    if tuning is bias_tuning:
        expected = {n for n, _ in model.features.named_parameters(prefix="features")}
        expected = {n for n in expected if n.endswith("bias")}
    assert names == expected and len(names) >= 4
    after = trained(tuned)
    for (name, old), new in zip(tuned.named_parameters(), after.parameters(), strict=True):
        if not old.requires_grad:
            assert torch.equal(old, new), name


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(28), nn.InstanceNorm2d(4, affine=True)],
)
def test_every_normalisation_of_pytorch_is_one(norm):
    tuned = norm_tuning(nn.Sequential(nn.Conv2d(1, 4, 1), norm))
    assert [n for n, p in tuned.named_parameters() if p.requires_grad] == ["1.weight", "1.bias"]


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="rank"):
        lora(nn.Linear(3, 3), rank=0)
    with pytest.raises(ValueError, match="no linear layer or convolution besides its head"):
        lora(Network(nn.Flatten(), nn.Linear(784, 5)), rank=1)
    with pytest.raises(ValueError, match="adapters already: expected a network without"):
        lora(lora(nn.Linear(3, 3), rank=1), rank=1)
    with pytest.raises(ValueError, match="no adapters: expected a model that lora"):
        merge_adapters(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="no bias"):
        bias_tuning(nn.Linear(3, 3, bias=False))
    with pytest.raises(ValueError, match="no normalisation with a scale"):
        norm_tuning(nn.Linear(3, 3))


def test_the_weight_is_the_sum_of_equation_3():
    layer = nn.Conv2d(4, 6, 3, groups=2)
    adapted = lora(layer, rank=3, generator=seeded(1))
    assert adapted.A.shape == (3, 18) and adapted.B.shape == (6, 3)
    assert 0.9 * 18**-0.5 < adapted.A.abs().max() <= 18**-0.5  # as PyTorch draws a layer's weights
    with torch.no_grad():
        adapted.B.copy_(torch.randn(6, 3, generator=seeded(2)))
    wanted = layer.weight.flatten(1) + adapted.B @ adapted.A
    torch.testing.assert_close(adapted.weight.flatten(1), wanted)
    x = torch.randn(2, 4, 5, 5, generator=seeded(3))
    filters = F.conv2d(x, wanted.view(6, 2, 3, 3), layer.bias, groups=2)
    torch.testing.assert_close(adapted(x), filters)


def test_a_layer_that_is_used_twice_gets_one_adapter():
    layer = nn.Linear(5, 5)
    adapted = trained(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 5), lora(nn.Sequential(layer, layer), rank=1))
    )
    assert adapted[2][0] is adapted[2][1]
    merged = merge_adapters(adapted)
    torch.testing.assert_close(merged(IMAGES), adapted(IMAGES))


def test_attention_answers_as_its_start_with_adapters_on_its_linear_layers():
    """PyTorch's layer reads the weights of its parts, and has a fast path that does so too."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    x = torch.randn(3, 4, 8, generator=seeded(1))
    adapted = lora(encoder, rank=2, generator=seeded(2))
    with torch.no_grad():
        adapted.linear1.B.add_(0.1)
        torch.testing.assert_close(adapted(x), merge_adapters(adapted)(x))
        assert not torch.allclose(adapted(x), encoder(x))
    torch.testing.assert_close(adapted(x), merge_adapters(adapted)(x))


def test_a_layer_built_on_a_convolution_is_adapted_too():
    """Those of EfficientNet-Lite0 are: their padding is TensorFlow's."""
    layers = Block(3, 3, 5, 2, 2).eval()
    x = torch.rand(2, 3, 9, 9, generator=seeded(0))
    adapted = lora(layers, rank=2, generator=seeded(1))
    assert torch.equal(adapted(x), layers(x))
    convolutions = [m for m in layers.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in adapted.modules() if isinstance(m, Adapted)]) == len(convolutions) == 3
    moved = copy.deepcopy(adapted)
    for p in moved.parameters():
        p.data += 0.1 * p.requires_grad
    torch.testing.assert_close(merge_adapters(moved)(x), moved(x))
    assert not torch.allclose(moved(x), layers(x))


def test_weights_that_are_computed_from_others_are_left():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    adapted = lora(nn.Sequential(nn.Linear(4, 4), normed), rank=1)
    assert [isinstance(layer, Adapted) for layer in adapted] == [True, False]
    with pytest.raises(ValueError, match="no linear layer or convolution"):
        lora(nn.Sequential(normed), rank=1)


def test_a_seed_decides_the_adapters():
    one, same, other = (lora(nn.Linear(4, 4), rank=2, generator=seeded(s)) for s in (1, 1, 2))
    a, b, c = (m.A for m in (one, same, other))
    assert torch.equal(a, b) and not torch.equal(a, c)
