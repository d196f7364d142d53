"""Gradient descent on one problem: what a step draws, how far each parameter goes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.models import Network, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.transfer import fine_tune
from metalearn_lite.transfer.descent import sampler, take_step, take_steps

X = torch.arange(12.0, dtype=torch.float64).view(6, 2)
Y = torch.arange(6)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture
def model():
    return mlp(2, 3, hidden=(4,), generator=seeded(0)).double()


@pytest.fixture
def data():
    return random(7, 2), torch.arange(7) % 3


def loss_of(model, data):
    return F.cross_entropy(model(data[0]), data[1])


def gradients(model, data):
    found = torch.autograd.grad(loss_of(model, data), list(model.parameters()))
    return dict(zip(dict(model.named_parameters()), found, strict=True))


def descend(model, data, rates, **options):
    options = {"steps": 1, "l2_sp": 0.0, "momentum": 0.0, **options}
    take_steps(model, lambda: data, rates, **options)


RATES = {
    "features.0.weight": 0.3,
    "features.0.bias": 0.01,
    "head.weight": 0.1,
    "head.bias": 0.5,
}


# what a step draws


def test_without_minibatch_and_augmentation_every_step_sees_everything_and_draws_nothing():
    draw = sampler(X, Y, None, None, None)
    for _ in range(2):
        x, y = draw()
        assert x is X and y is Y


def test_a_minibatch_holds_rows_with_their_own_targets_and_any_row_at_any_time():
    draw = sampler(X, Y, 4, None, seeded(0))
    seen, repeated = set(), False
    for _ in range(50):
        x, y = draw()
        assert x.shape == (4, 2) and torch.equal(x, X[y])
        seen |= set(y.tolist())
        repeated |= len(set(y.tolist())) < 4
    assert seen == set(range(6)) and repeated


def test_a_minibatch_may_be_larger_than_the_data():
    x, y = sampler(X, Y, 20, None, seeded(0))()
    assert len(x) == 20 and torch.equal(x, X[y])


def test_the_rows_follow_the_generator_that_is_given():
    first, again, other = (sampler(X, Y, 5, None, seeded(seed)) for seed in (0, 0, 1))
    drawn = [[draw()[1].tolist() for _ in range(4)] for draw in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({tuple(rows) for rows in drawn[0]}) == 4
    state = torch.get_rng_state()
    first()
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_are_drawn_where_the_generator_is_whatever_the_default_device():
    with torch.device("meta"):
        x, y = sampler(X, Y, 4, None, seeded(0))()
    assert torch.equal(x, X[y])


@pytest.mark.parametrize("minibatch", [None, 4])
def test_augmentation_changes_the_inputs_that_were_drawn_and_no_target(minibatch):
    generator, given = seeded(0), []

    def augment(x, generator):
        given.append((len(x), generator))
        return x + 100

    x, y = sampler(X, Y, minibatch, augment, generator)()
    assert torch.equal(x, X[y] + 100) and len(y) == (minibatch or 6)
    assert given == [(minibatch or 6, generator)]


def test_what_is_drawn_at_random_needs_a_generator_and_an_example():
    with pytest.raises(ValueError, match="minibatch and augment draw at random: give a generator"):
        sampler(X, Y, 4, None, None)
    with pytest.raises(ValueError, match="give a generator"):
        sampler(X, Y, None, lambda x, _: x, None)
    with pytest.raises(ValueError, match="generator is 0: expected a torch"):
        sampler(X, Y, 4, None, 0)
    with pytest.raises(ValueError, match="minibatch is 0: expected a whole number, 1 or more"):
        sampler(X, Y, 0, None, seeded(0))


# the steps


def test_one_step_goes_down_the_gradient_of_each_parameter_at_its_own_rate(model, data):
    start, slopes = copy.deepcopy(model.state_dict()), gradients(model, data)
    descend(model, data, RATES)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), start[name] - RATES[name] * slopes[name])


def test_momentum_adds_up_the_gradients_and_the_pull_is_an_implicit_step_to_the_start(model, data):
    """The recursions of the docstrings, written out for three steps."""
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    at, velocity, twin = dict(start), dict.fromkeys(start, 0.0), copy.deepcopy(model)
    for _ in range(3):
        twin.load_state_dict(at)
        slopes = gradients(twin, data)
        for name, rate in RATES.items():
            velocity[name] = 0.9 * velocity[name] + slopes[name]
            stepped = at[name] - rate * velocity[name]
            at[name] = (stepped + 2 * rate * 0.7 * start[name]) / (1 + 2 * rate * 0.7)
    descend(model, data, RATES, steps=3, momentum=0.9, l2_sp=0.7)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), at[name])


def test_l2_sp_rests_where_the_gradient_of_the_penalised_loss_is_zero():
    """The implicit step has the same resting point as the objective it stands for."""
    x, y = random(20, 3), random(20, 1, seed=1)
    model = Network(nn.Identity(), nn.Linear(3, 1)).double()
    tuned = fine_tune(model, x, y, steps=1000, lr=0.05, l2_sp=0.3)
    penalty = sum(
        (a - b.detach()).square().sum()
        for a, b in zip(tuned.parameters(), model.parameters(), strict=True)
    )
    (F.mse_loss(tuned(x), y) + 0.3 * penalty).backward()
    for p in tuned.parameters():
        torch.testing.assert_close(p.grad, torch.zeros_like(p), atol=1e-9, rtol=0)


@pytest.mark.parametrize("l2_sp", [0.0, 0.5])
def test_rates_of_zero_freeze_and_spare_the_backward_pass_and_are_lifted_again(model, data, l2_sp):
    rates = RATES | {"features.0.weight": 0.0, "features.0.bias": 0.0}
    start, frozen = copy.deepcopy(model.state_dict()), []

    def draw():
        frozen.append([n for n, p in model.named_parameters() if not p.requires_grad])
        return data

    take_steps(model, draw, rates, steps=2, l2_sp=l2_sp, momentum=0.9)
    assert frozen == [["features.0.weight", "features.0.bias"]] * 2
    for name, p in model.named_parameters():
        assert torch.equal(p, start[name]) == (rates[name] == 0)
        assert p.requires_grad and p.grad is None


def test_a_parameter_that_was_frozen_before_stays_frozen(model, data):
    model.features[0].weight.requires_grad_(False)
    descend(model, data, RATES | {"features.0.weight": 0.0}, steps=2)
    assert not model.features[0].weight.requires_grad
    assert model.features[0].bias.requires_grad


@pytest.mark.parametrize("rates", [RATES, dict.fromkeys(RATES, 0.0)])
def test_nothing_is_drawn_where_no_step_is_taken_or_nothing_moves(model, rates):
    def never():
        raise AssertionError("was drawn")

    start = copy.deepcopy(model.state_dict())
    steps = 0 if rates is RATES else 5
    take_steps(model, never, rates, steps=steps, l2_sp=0.5, momentum=0.9)
    assert all(torch.equal(p, start[name]) for name, p in model.state_dict().items())


def test_each_step_draws_anew(model, data):
    x, y = data
    parts = [(x[:3], y[:3]), (x[3:], y[3:])]
    twin, left = copy.deepcopy(model), list(parts)
    take_steps(model, lambda: left.pop(0), RATES, steps=2, l2_sp=0.0, momentum=0.0)
    assert left == []
    for part in parts:
        descend(twin, part, RATES)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


# one step


def test_a_step_forgets_the_gradients_that_were_there(model, data):
    twin = copy.deepcopy(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    for one in (model, twin):
        take_step(torch.optim.SGD(one.parameters(), lr=0.1), one(data[0]), data[1], 0)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_step_takes_the_squared_error_for_values(model, data):
    targets, before = random(7, 3), copy.deepcopy(model)
    take_step(torch.optim.SGD(model.parameters(), lr=0.1), model(data[0]), targets, 0)
    F.mse_loss(before(data[0]), targets).backward()
    for p, q in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach() - 0.1 * q.grad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_step_and_moves_nothing(model, data, bad):
    start, optimizer = copy.deepcopy(model.state_dict()), torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match=rf"the loss is {bad} in step 3: .* lower the learning"):
        take_step(optimizer, model(data[0]), torch.full((7, 3), bad).double(), 2)
    assert all(torch.equal(p, start[name]) for name, p in model.state_dict().items())


def test_the_steps_are_counted_in_the_error(model, data):
    x, y = data
    batches = [(x, y), (x * float("nan"), y)]
    with pytest.raises(ValueError, match="the loss is nan in step 2"):
        take_steps(model, lambda: batches.pop(0), RATES, steps=2, l2_sp=0.0, momentum=0.0)


def test_a_step_in_inference_mode_names_the_mode(model, data):
    outputs, optimizer = model(data[0]), torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"gradients .* torch\.no_grad"):
        take_step(optimizer, outputs, data[1], 0)


def test_a_step_refuses_outputs_that_are_not_one_tensor(model, data):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="the network returned a tuple: expected one tensor"):
        take_step(optimizer, (model(data[0]), None), data[1], 0)
