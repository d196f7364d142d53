"""A network that is not what a function expects is named, with what would be."""

import pytest
import torch
from torch import nn

from metalearn_lite.models import Network, mlp, new_head
from metalearn_lite.models.expectations import check_outputs, features_of, linear_head
from metalearn_lite.models.functional import call
from metalearn_lite.prototypes import prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks
from metalearn_lite.transfer import features, fine_tune


def test_the_parts_of_a_network_are_handed_out():
    model = mlp(generator=seeded(0))
    assert features_of(model) is model.features and linear_head(model) is model.head


@pytest.mark.parametrize("use", [lambda m: features(m, torch.ones(2, 3)), features_of])
def test_a_model_without_features_is_named(use):
    with pytest.raises(ValueError, match="the features of the Linear is NoneType: expected Module"):
        use(nn.Linear(3, 2))


def test_a_prediction_by_features_says_that_they_are_missing():
    with pytest.raises(ValueError, match="the features of the Sequential is NoneType"):
        prototype_predict(nn.Sequential(), SineTasks(2, 2).sample(seeded(0)))


@pytest.mark.parametrize("head", [nn.Sequential(nn.Linear(3, 2)), nn.Identity()])
def test_a_head_that_is_no_linear_layer_is_named(head):
    model = Network(nn.Identity(), head)
    for use in (
        lambda: new_head(model, 2),
        lambda: fine_tune(model, torch.ones(2, 3), torch.tensor([0, 1]), steps=1, lr=0.1),
    ):
        with pytest.raises(ValueError, match=f"is {type(head).__name__}: expected Linear, as in"):
            use()


@pytest.mark.parametrize("outputs", [(torch.ones(2), 1), [torch.ones(2)], {"logits": 1}, None])
def test_outputs_that_are_not_one_tensor_are_named(outputs):
    class Odd(nn.Module):
        def forward(self, x):
            return outputs

    kind = type(outputs).__name__
    for use in (lambda: check_outputs(outputs), lambda: call(Odd(), {}, torch.ones(2))):
        with pytest.raises(ValueError, match=f"returned a {kind}: expected one tensor"):
            use()
    wanted = torch.ones(2, 1)
    assert check_outputs(wanted) is wanted
