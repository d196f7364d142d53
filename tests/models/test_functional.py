"""A network as a function: which parameters it uses, and that nothing is carried along."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from metalearn_lite.models import Network, mlp
from metalearn_lite.models.functional import (
    AdaptedNetwork,
    FeaturesAndHead,
    call,
    check_names,
    parameters_to_adapt,
)
from metalearn_lite.randomness import seeded


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network():
    return mlp(2, 3, hidden=(4,), generator=seeded(0)).double()


def normalised():
    """A network with buffers that are neither zero nor one."""
    norm = nn.BatchNorm1d(4).double()
    norm.running_mean.copy_(random(4))
    norm.running_var.copy_(random(4, seed=1).exp())
    return nn.Sequential(nn.Linear(2, 4).double(), norm)


def same_state(model, before):
    return all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


# call


def test_other_parameters_give_what_a_copy_that_holds_them_gives():
    model, x = network(), random(5, 2)
    others = {name: random(*p.shape, seed=9) for name, p in model.named_parameters()}
    twin = copy.deepcopy(model)
    twin.load_state_dict(others)
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(call(model, others, x), twin(x))
    assert same_state(model, before)


def test_what_the_parameters_leave_out_is_the_models_own():
    model, x = network(), random(5, 2)
    assert torch.equal(call(model, {}, x), model(x))
    head = {"head.weight": random(3, 4), "head.bias": random(3)}
    expected = nn.functional.linear(model.features(x), *head.values())
    torch.testing.assert_close(call(model, head, x), expected)


def test_the_outputs_are_connected_to_the_parameters_that_are_given_and_to_the_rest():
    model, x = network(), random(5, 2)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    outputs = call(model, {"head.bias": bias}, x)
    given, left = torch.autograd.grad(outputs.sum(), (bias, model.features[0].weight))
    torch.testing.assert_close(given, torch.full_like(bias, 5))
    assert left.any()
    assert not any(p.grad is not None for p in model.parameters())


def test_buffers_that_are_only_read_are_used():
    model, x = normalised().eval(), random(5, 2)
    assert torch.equal(call(model, {}, x), model(x))


def test_running_statistics_are_refused_and_stay():
    model, x = normalised(), random(5, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"changes the buffer '1\.\w+'.*model\.eval\(\)"):
        call(model, dict(model.named_parameters()), x)
    assert same_state(model, before)


def test_a_name_that_the_network_has_not_is_an_error_and_not_passed_over():
    model, x = network(), random(5, 2)
    for name in ("weight", "features", "head.weight "):
        with pytest.raises(ValueError, match=f"params holds '{name}', which the network has not"):
            call(model, {"head.bias": torch.zeros(3), name: torch.ones(1)}, x)
        with pytest.raises(ValueError, match=r"expected names of model\.named_parameters\(\)"):
            check_names(model, {name: torch.ones(1)})
    check_names(model, dict(model.named_parameters()))
    check_names(model, {})


def shared_weights():
    """Two layers, one weight."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    return model


def shared_layer():
    """One layer in two places."""
    layer = nn.Linear(3, 3).double()
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize("build", [shared_weights, shared_layer])
def test_what_stands_in_two_places_is_exchanged_in_both_and_put_back(build):
    model, x = build(), random(5, 3)
    before = copy.deepcopy(model.state_dict())
    others = {name: random(*p.shape, seed=3) for name, p in model.named_parameters()}
    found = call(model, others, x)
    again = call(model, {}, x)
    assert same_state(model, before) and torch.equal(again, model(x))
    twin = copy.deepcopy(model)
    for name, p in twin.named_parameters():
        p.data = others[name]
    torch.testing.assert_close(found, twin(x))


def test_a_layer_without_a_bias_and_a_parameter_of_the_whole_are_exchanged():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(())), nn.Linear(2, 2, bias=False)

        def forward(self, x):
            return self.scale * self.layer(x)

    model, x = Scaled().double(), random(5, 2)
    found = call(model, {"scale": torch.tensor(3.0).double()}, x)
    torch.testing.assert_close(found, 3 * model(x))


# networks of one task


def test_an_adapted_network_answers_with_its_own_parameters_on_a_shared_network():
    model, x = network(), random(5, 2)
    params = {"head.bias": torch.ones(3).double()}
    adapted = AdaptedNetwork(model, params)
    torch.testing.assert_close(adapted(x), call(model, params, x))
    params["head.bias"] = torch.zeros(3).double()
    assert adapted.params["head.bias"].sum() == 3
    assert adapted.model is model


def test_an_adapted_network_refuses_to_change_what_it_shares():
    with pytest.raises(ValueError, match=r"changes the buffer '1\.\w+'"):
        AdaptedNetwork(normalised(), {})(random(5, 2))
    with pytest.raises(ValueError, match=r"changes the buffer '1\.\w+'"):
        FeaturesAndHead(normalised(), random(3, 4), random(3))(random(5, 2))


def test_features_and_a_head_are_a_linear_layer_on_shared_features():
    model, x = network(), random(5, 2)
    weight, bias = random(7, 4, seed=1).requires_grad_(), random(7, seed=2).requires_grad_()
    learned = FeaturesAndHead(model.features, weight, bias)
    assert learned.features is model.features
    torch.testing.assert_close(learned(x), model.features(x) @ weight.T + bias)
    (slope,) = torch.autograd.grad(learned(x).sum(), bias)
    torch.testing.assert_close(slope, torch.full_like(bias, 5))


# parameters_to_adapt


def test_all_that_requires_a_gradient_adapts_under_its_own_name():
    model = network()
    model.features[0].bias.requires_grad_(False)
    found = parameters_to_adapt(model)
    assert list(found) == ["features.0.weight", "head.weight", "head.bias"]
    assert all(p is model.get_parameter(name) for name, p in found.items())


def test_the_head_alone_is_the_head_alone_whatever_the_features_are_called():
    features = nn.Sequential(OrderedDict(head=nn.Linear(2, 4)))
    model = Network(features, nn.Linear(4, 3))
    model.head.bias.requires_grad_(False)
    assert list(parameters_to_adapt(model, head_only=True)) == ["head.weight"]
    assert len(parameters_to_adapt(model)) == 3


def test_a_frozen_network_has_nothing_to_adapt():
    assert parameters_to_adapt(network().requires_grad_(False)) == {}


def test_the_head_of_a_model_without_features_and_head_is_an_error():
    with pytest.raises(ValueError, match=r"got Linear: expected a metalearn_lite\.models\.Network"):
        parameters_to_adapt(nn.Linear(2, 3), head_only=True)
    assert len(parameters_to_adapt(nn.Linear(2, 3))) == 2


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match=r"model is a dict: expected a torch\.nn\.modules"):
        parameters_to_adapt(dict(network().named_parameters()))
