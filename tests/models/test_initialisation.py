"""A seed decides every weight, of layers of all kinds, and of nothing else."""

import pytest
import torch
from torch import nn

from metalearn_lite.models import initialise
from metalearn_lite.randomness import seeded

LAYERS = {
    "linear": lambda: nn.Linear(2, 3),
    "convolution": lambda: nn.Conv2d(1, 2, 3),
    "convolution over time": lambda: nn.Conv1d(1, 2, 3),
    "convolution of volumes": lambda: nn.Conv3d(1, 2, 3),
    "transposed convolution": lambda: nn.ConvTranspose2d(1, 2, 3),
    "recurrent": lambda: nn.LSTM(2, 3),
    "embedding": lambda: nn.Embedding(4, 2),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "all of it": lambda: nn.TransformerEncoderLayer(4, 2, 6),
}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim > 1])


@pytest.mark.parametrize("name", LAYERS)
def test_a_seed_decides_the_weights_and_the_global_generator_does_not(name):
    found = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        model = LAYERS[name]()
        before = torch.get_rng_state()
        found.append(weights(initialise(model, seeded(seed))))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(3)])
def test_norms_keep_their_ones_and_zeros_and_draw_nothing(norm):
    generator = seeded(0)
    before = generator.get_state()
    initialise(norm, generator)
    assert torch.equal(norm.weight, torch.ones(3)) and torch.equal(norm.bias, torch.zeros(3))
    assert torch.equal(generator.get_state(), before)


def test_without_a_generator_nothing_changes():
    model = nn.LSTM(2, 3)
    before = weights(model).clone()
    assert initialise(model, None) is model and torch.equal(weights(model), before)


@pytest.mark.parametrize("layer", [nn.Linear(16, 500), nn.Conv2d(1, 500, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_and_biases_fill_the_range_of_one_by_the_root_of_the_inputs(layer, dtype):
    """Sixteen inputs each, so a quarter on both sides of 0."""
    layer = initialise(layer.to(dtype), seeded(0))
    for p in layer.parameters():
        drawn = p.detach().flatten()
        assert 0.24 < drawn.max() <= 0.25 and -0.25 <= drawn.min() < -0.24
        assert abs(drawn.mean()) < 0.03 and p.dtype == dtype


def test_a_layer_that_only_holds_others_draws_nothing_of_its_own():
    class Holder(nn.Sequential):
        def reset_parameters(self):
            raise AssertionError("was drawn")

    held = initialise(Holder(nn.Linear(2, 3)), seeded(0))
    assert torch.equal(weights(held), weights(initialise(nn.Linear(2, 3), seeded(0))))


def test_a_layer_of_one_output_is_drawn_and_doubles_have_all_their_digits():
    layer = initialise(nn.Linear(3, 1).double(), seeded(0))
    drawn = layer.weight.detach()
    assert not torch.equal(drawn, drawn.float().double())
