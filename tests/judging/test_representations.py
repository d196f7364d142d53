import pytest
import torch
from torch import nn
from torch.func import functional_call

from metalearn_lite.judging import activations, cka
from metalearn_lite.models import conv4


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_cka_is_one_for_rotations_scales_and_shifts():
    x = random(20, 5)
    rotation, _ = torch.linalg.qr(random(5, 5, seed=1))
    torch.testing.assert_close(cka(x, 3 * x @ rotation + 2), torch.tensor(1.0).double())
    assert cka(x, x @ random(5, 5, seed=2)) < 0.99  # other linear maps do count


def test_cka_is_symmetric_and_near_zero_for_unrelated_activations():
    x, y = random(2000, 5), random(2000, 3, seed=1)
    torch.testing.assert_close(cka(x, y), cka(y, x))
    assert 0 <= cka(x, y) < 0.01


def test_many_columns_give_what_few_give():
    x, y = random(20, 5), random(20, 3, seed=1)
    padded = torch.cat([x, torch.zeros(20, 40)], dim=1)  # more columns than rows
    torch.testing.assert_close(cka(padded, y), cka(x, y))


def test_cka_is_the_squared_correlation_in_one_dimension():
    x, y = random(20, 1), random(20, 1, seed=1)
    r = torch.corrcoef(torch.stack([x[:, 0], y[:, 0]]))[0, 1]
    torch.testing.assert_close(cka(x, y), r.square())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (random(4, 2), random(5, 2), "a row for each input"),
        (random(4), random(4), "expected two matrices"),
        (random(4, 2), random(4), "expected two matrices"),
        (random(4), random(4, 2), "expected two matrices"),
        (torch.ones(4, 2), random(4, 2).float(), "the same for all inputs"),
    ],
)
def test_what_cannot_be_compared_raises(x, y, message):
    with pytest.raises(ValueError, match=message):
        cka(x, y)


def test_activations_are_those_behind_each_relu_and_the_outputs():
    model = conv4(5, width=8, generator=torch.Generator().manual_seed(0)).double()
    x = random(3, 1, 28, 28)
    params = {n: 1.1 * p.detach() for n, p in model.named_parameters()}
    *blocks, outputs = activations(model, params, x)
    assert [tuple(b.shape) for b in blocks] == [(3, 8 * s * s) for s in (14, 7, 4, 2)]
    torch.testing.assert_close(outputs, functional_call(model, params, (x,)).detach())
    first = model.features[:3].requires_grad_(False)
    torch.testing.assert_close(blocks[0], 1.1 * first(x).flatten(1), rtol=1e-4, atol=1e-4)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_network_without_relu_raises():
    with pytest.raises(ValueError, match=r"no nn\.ReLU"):
        activations(nn.Linear(2, 2), {}, torch.zeros(1, 2))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_cannot_be_compared(number):
    x, y = random(4, 2), random(4, 3)
    x[1, 1] = number
    for pair in ((x, y), (y, x)):
        with pytest.raises(ValueError, match="x or y holds NaN or infinity: expected finite"):
            cka(*pair)
