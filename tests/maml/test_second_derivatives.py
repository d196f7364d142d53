"""Operations without a right second derivative: replaced, or refused."""

import pytest
import torch
from torch import nn

from metalearn_lite.checks import check_gradient
from metalearn_lite.maml import maml_loss
from metalearn_lite.maml.second_derivatives import twice_differentiable
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode

RATE = {"inner_lr": 0.1, "inner_steps": 1}


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer(x).mean(dim=1))


def episode(*shape):
    x = torch.randn(2, 6, *shape, generator=seeded(0), dtype=torch.float64)
    y = torch.tensor([[0, 1], [1, 0]])
    return Episode(x[:, :2], y, x[:, 2:4], y, is_batch=True)


@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_gets_its_second_order_gradient(training):
    torch.manual_seed(0)
    model = Attentive().double().train(training)
    check_gradient(lambda m, e: maml_loss(m, e, **RATE), model, episode(3, 4))


def test_pytorchs_weight_norm_has_a_wrong_second_derivative():
    """When this fails, PyTorch is mended, and the refusal can go."""
    v, g = torch.randn(3, 2, dtype=torch.float64), torch.rand(3, 1, dtype=torch.float64)
    factors = (v.requires_grad_(), g.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, g: torch._weight_norm(v, g).sin(), factors)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradgradcheck(lambda v, g: torch._weight_norm(v, g).sin(), factors)


def normed():
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    return nn.Sequential(layer).double()


def test_weight_norm_is_refused_where_it_is_differentiated_twice_and_only_there():
    model = normed()
    with pytest.raises(ValueError, match=r"weight norm \(0.*use first_order=True"):
        maml_loss(model, episode(4), **RATE)
    assert maml_loss(model, episode(4), first_order=True, **RATE).requires_grad
    assert maml_loss(model, episode(4), inner_lr=0.1, inner_steps=0).requires_grad
    with torch.no_grad():
        assert torch.isfinite(maml_loss(model, episode(4), **RATE))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_older_weight_norm_is_refused_too():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 2)))
    wanted = twice_differentiable(model, inner_steps=1, first_order=False)
    with pytest.raises(ValueError, match="weight norm"), wanted:
        pass
