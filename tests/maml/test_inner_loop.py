"""Where the inner loop starts, what it stays connected to, and which settings it takes."""

import pytest
import torch

from metalearn_lite.maml import adapt
from metalearn_lite.maml.inner_loop import requires_gradient, starting_point
from metalearn_lite.models import mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks


def parameters(*, learned=("w", "b")):
    values = {"w": torch.tensor([1.0, -2.0]), "b": torch.tensor([3.0])}
    return {name: p.requires_grad_(name in learned) for name, p in values.items()}


def rates(*, learned=()):
    return {name: torch.tensor(0.1, requires_grad=name in learned) for name in ("w", "b", "other")}


# the start


def test_parameters_that_require_a_gradient_are_the_start_themselves():
    params = parameters()
    start, _, connected = starting_point(params, rates())
    assert connected
    assert list(start) == ["w", "b"] and all(start[name] is params[name] for name in params)


def test_learned_rates_connect_a_start_of_fixed_parameters():
    params = parameters(learned=())
    start, _, connected = starting_point(params, rates(learned=("b",)))
    assert connected
    for name, p in params.items():
        assert start[name].requires_grad and torch.equal(start[name], p) and not p.requires_grad


def test_a_fixed_parameter_beside_a_learned_one_is_stepped_from_a_leaf_of_its_own():
    params = parameters(learned=("w",))
    start, _, connected = starting_point(params, rates())
    assert connected and start["w"] is params["w"]
    assert start["b"].is_leaf and start["b"].requires_grad and not params["b"].requires_grad


def test_rates_of_other_parameters_connect_nothing():
    start, _, connected = starting_point(parameters(learned=()), rates(learned=("other",)))
    assert not connected and all(p.requires_grad for p in start.values())


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1, requires_grad=True)])
def test_one_rate_is_that_of_every_parameter_and_rates_by_name_are_kept(rate):
    _, found, connected = starting_point(parameters(learned=()), rate)
    assert list(found) == ["w", "b"] and all(one is rate for one in found.values())
    assert connected == requires_gradient(rate)
    by_name = rates()
    assert starting_point(parameters(), by_name)[1] is by_name


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1, requires_grad=True)])
def test_with_gradients_off_the_start_is_apart_but_can_be_stepped(rate):
    params = parameters()
    with torch.no_grad():
        start, _, connected = starting_point(params, rate)
    assert not connected
    for name, p in params.items():
        assert start[name] is not p and start[name].is_leaf and start[name].requires_grad
        assert torch.equal(start[name], p)


def test_views_made_without_gradients_adapt_like_what_they_are_views_of():
    model = mlp(hidden=(5,), generator=seeded(0)).double()
    task = SineTasks(4, 5, dtype=torch.float64).sample(seeded(1))
    params = dict(model.named_parameters())
    with torch.no_grad():
        views = {name: p.view_as(p) for name, p in params.items()}
    options = {"inner_lr": 0.1, "inner_steps": 2}
    expected = adapt(model, params, task.support_x, task.support_y, **options)
    adapted = adapt(model, views, task.support_x, task.support_y, **options)
    for name, p in params.items():
        assert (expected[name] - p).abs().max() > 1e-6
        torch.testing.assert_close(adapted[name], expected[name])


def test_the_gradient_by_a_start_that_is_such_a_view_is_not_lost():
    with torch.no_grad():
        view = torch.ones(3, requires_grad=True).view(3)
    start, _, _ = starting_point({"w": view}, 0.1)
    assert torch.equal(start["w"], view)
    (slope,) = torch.autograd.grad(start["w"].square().sum(), start["w"])
    assert torch.equal(slope, torch.full((3,), 2.0))


# the settings


def test_only_a_tensor_with_a_gradient_requires_one():
    assert requires_gradient(torch.ones(1, requires_grad=True))
    assert requires_gradient(2 * torch.ones(1, requires_grad=True))
    for other in (torch.ones(1), 0.1, 2, None, "w"):
        assert not requires_gradient(other)
