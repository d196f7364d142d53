"""The algorithm on one page, against its definition."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.maml.plain import adapt, descend, maml_learn, maml_loss, maml_predict
from metalearn_lite.models import Network
from metalearn_lite.models.functional import call
from metalearn_lite.models.query_statistics import answer
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks

RATE = 0.1


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network():
    """A small network without kinks."""
    model = Network(nn.Sequential(nn.Linear(1, 5), nn.Tanh()), nn.Linear(5, 1)).double()
    for i, p in enumerate(model.parameters()):
        p.data = random(*p.shape, seed=i)
    return model


def sines(tasks=3):
    return SineTasks(4, 5, dtype=torch.float64).sample(seeded(1), tasks)


def named(model):
    return dict(model.named_parameters())


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


def meta_gradient(model, episode, **options):
    loss = maml_loss(model, episode, **{"inner_lr": RATE, "inner_steps": 1, **options})
    return flat(torch.autograd.grad(loss, list(model.parameters())))


def query_loss(model, params, task):
    return F.mse_loss(call(model, params, task.query_x), task.query_y)


def doubled(outputs, targets):
    return 2 * F.mse_loss(outputs, targets)


# descend


def shrinking(steps, **options):
    """Minimise w² / 2, of which a step leaves 1 - α."""
    w = torch.tensor([2.0, -3.0], dtype=torch.float64, requires_grad=True)
    rate = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    end = descend(
        lambda p: p["w"].square().sum() / 2,
        {"w": w},
        inner_lr={"w": rate},
        inner_steps=steps,
        **options,
    )
    return w, rate, end["w"]


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_each_step_of_a_parabola_leaves_the_same_share(steps):
    w, _, end = shrinking(steps)
    torch.testing.assert_close(end, 0.75**steps * w)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_steps_are_differentiated_by_start_and_rate(steps):
    w, rate, end = shrinking(steps)
    by_start, by_rate = torch.autograd.grad(end.sum(), (w, rate))
    torch.testing.assert_close(by_start, torch.full_like(w, 0.75**steps))
    torch.testing.assert_close(by_rate, -steps * 0.75 ** (steps - 1) * w.detach().sum())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_with_first_order_the_gradients_are_constants(steps):
    w, rate, end = shrinking(steps, first_order=True)
    torch.testing.assert_close(end, 0.75**steps * w)
    by_start, by_rate = torch.autograd.grad(end.sum(), (w, rate))
    torch.testing.assert_close(by_start, torch.ones_like(w))
    taken = sum(0.75**k for k in range(steps)) * w.detach().sum()
    torch.testing.assert_close(by_rate, -taken)


def test_each_parameter_has_the_rate_of_its_name():
    params = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(2, requires_grad=True)}
    rates = {"b": 0.0, "a": 0.5}
    end = descend(lambda p: (p["a"] + p["b"]).sum(), params, inner_lr=rates, inner_steps=1)
    assert end["a"].tolist() == [0.5, 0.5] and end["b"].tolist() == [1, 1]


def test_what_starts_without_a_gradient_ends_without_one():
    start = {"w": torch.ones(2)}
    end = descend(lambda p: p["w"].sum(), start, inner_lr=0.5, inner_steps=1)
    assert end["w"].tolist() == [0.5, 0.5] and not end["w"].requires_grad
    assert start["w"].tolist() == [1, 1] and not start["w"].requires_grad


def test_descend_does_not_touch_a_loss_that_is_constant():
    start = {"w": torch.ones(2, requires_grad=True), "unused": torch.ones(1, requires_grad=True)}
    end = descend(lambda p: (0 * p["w"]).sum(), start, inner_lr=0.1, inner_steps=2)
    assert all(torch.equal(end[name], p) for name, p in start.items())


# adapt


def test_one_step_of_linear_regression_is_the_one_written_by_hand():
    x, y, w = random(6, 3), random(6, 1, seed=1), random(1, 3, seed=2)
    model = nn.Linear(3, 1, bias=False).double()
    adapted = adapt(model, {"weight": w}, x, y, inner_lr=RATE, inner_steps=1)
    by_hand = w - RATE * 2 * (x @ w.T - y).T @ x / 6
    torch.testing.assert_close(adapted["weight"], by_hand)


def test_adapting_is_plain_gradient_descent():
    model, task = network(), next(sines().unbind())
    options = {"inner_lr": RATE, "inner_steps": 3}
    adapted = adapt(model, named(model), task.support_x, task.support_y, **options)
    descending = copy.deepcopy(model)
    optimizer = torch.optim.SGD(descending.parameters(), lr=RATE)
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(descending(task.support_x), task.support_y).backward()
        optimizer.step()
    for name, p in descending.named_parameters():
        torch.testing.assert_close(adapted[name], p)


def test_zero_steps_give_back_what_was_given():
    model, task = network(), next(sines().unbind())
    options = {"inner_lr": RATE, "inner_steps": 0}
    adapted = adapt(model, named(model), task.support_x, task.support_y, **options)
    assert all(torch.equal(adapted[name], p) for name, p in model.named_parameters())


def test_what_params_leaves_out_stays_and_is_still_connected():
    model, task = network(), next(sines().unbind())
    head = {name: p for name, p in named(model).items() if name.startswith("head.")}
    options = {"inner_lr": RATE, "inner_steps": 1}
    adapted = adapt(model, head, task.support_x, task.support_y, **options)
    assert set(adapted) == {"head.weight", "head.bias"}
    found = torch.autograd.grad(adapted["head.weight"].sum(), model.features[0].weight)
    assert found[0].norm() > 0


def test_first_order_and_a_loss_of_ones_own_reach_the_steps():
    model, task = network(), next(sines().unbind())
    weight = model.head.weight

    def run(**options):
        options = {"inner_lr": RATE, "inner_steps": 1} | options
        return adapt(model, named(model), task.support_x, task.support_y, **options)

    first = run(first_order=True)["head.weight"]
    (slope,) = torch.autograd.grad(first.sum(), weight)
    assert torch.equal(slope, torch.ones_like(weight))
    torch.testing.assert_close(
        run(loss_fn=doubled)["head.weight"], run(inner_lr=2 * RATE)["head.weight"]
    )


def test_settings_that_do_not_fit_are_named_before_a_step_is_taken():
    model, task = network(), next(sines().unbind())
    for options in ({"inner_steps": -1}, {"inner_lr": {}}):
        settings = {"inner_lr": RATE, "inner_steps": 1} | options
        with pytest.raises(ValueError, match="expected"):
            adapt(model, named(model), task.support_x, task.support_y, **settings)


# the meta-gradient


def test_the_meta_gradient_of_one_step_holds_the_hessian():
    model, task = network(), next(sines().unbind())
    params = list(model.parameters())
    loss = F.mse_loss(model(task.support_x), task.support_y)
    first = flat(torch.autograd.grad(loss, params, create_graph=True))
    rows = [
        torch.autograd.grad(g, params, retain_graph=True, materialize_grads=True) for g in first
    ]
    hessian = torch.stack([flat(row) for row in rows])
    at_adapted = meta_gradient(model, task, first_order=True)
    torch.testing.assert_close(meta_gradient(model, task), at_adapted - RATE * hessian @ at_adapted)


@pytest.mark.parametrize("head_only", [True, False])
@pytest.mark.parametrize("inner_steps", [0, 1, 3])
def test_the_meta_gradient_is_the_central_difference(inner_steps, head_only):
    model, episode, eps = network(), sines(), 1e-6
    options = {"inner_steps": inner_steps, "head_only": head_only}
    direction = [random(*p.shape, seed=7 + i) for i, p in enumerate(model.parameters())]
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        for p, d in zip(moved.parameters(), direction, strict=True):
            p.data.add_(sign * eps * d)
        values.append(maml_loss(moved, episode, inner_lr=RATE, **options).item())
    found = meta_gradient(model, episode, **options) @ flat(direction)
    assert found.item() == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-6)


@pytest.mark.parametrize("head_only", [True, False])
def test_the_first_order_gradient_is_the_gradient_at_the_adapted_parameters(head_only):
    model, task = network(), next(sines().unbind())
    start = {name: p for name, p in named(model).items() if name.startswith("head.") >= head_only}
    options = {"inner_lr": RATE, "inner_steps": 2}
    adapted = adapt(model, start, task.support_x, task.support_y, **options)
    at = {name: adapted.get(name, p).detach() for name, p in named(model).items()}
    at = {name: p.requires_grad_() for name, p in at.items()}
    expected = flat(torch.autograd.grad(query_loss(model, at, task), list(at.values())))
    found = meta_gradient(model, task, inner_steps=2, first_order=True, head_only=head_only)
    torch.testing.assert_close(found, expected)


def test_all_is_adapted_in_second_order_unless_told_otherwise():
    model, episode = network(), sines()
    usual = meta_gradient(model, episode)
    for options in ({"first_order": True}, {"head_only": True}):
        assert torch.equal(usual, meta_gradient(model, episode, **dict.fromkeys(options, False)))
        assert not torch.allclose(usual, meta_gradient(model, episode, **options))
    task, rates = next(episode.unbind()), {"inner_lr": RATE, "inner_steps": 2}
    learned = maml_learn(model, task, **rates)(task.query_x)
    torch.testing.assert_close(
        learned, maml_learn(model, task, **rates, head_only=False)(task.query_x)
    )
    assert not torch.allclose(
        learned, maml_learn(model, task, **rates, head_only=True)(task.query_x)
    )
    answered = maml_predict(model, task, **rates)
    torch.testing.assert_close(answered, learned.detach())


def test_zero_steps_are_joint_training():
    model, episode = network(), sines()
    joint = F.mse_loss(model(episode.query_x.flatten(0, 1)), episode.query_y.flatten(0, 1))
    expected = flat(torch.autograd.grad(joint, list(model.parameters())))
    torch.testing.assert_close(maml_loss(model, episode, inner_lr=RATE, inner_steps=0), joint)
    torch.testing.assert_close(meta_gradient(model, episode, inner_steps=0), expected)


def test_the_loss_is_the_mean_over_tasks_of_the_query_loss_after_adaptation():
    model, episode = network(), sines()
    losses = []
    for task in episode.unbind():
        options = {"inner_lr": RATE, "inner_steps": 2}
        adapted = adapt(model, named(model), task.support_x, task.support_y, **options)
        losses.append(query_loss(model, adapted, task))
    found = maml_loss(model, episode, inner_lr=RATE, inner_steps=2)
    torch.testing.assert_close(found, sum(losses) / 3)


def test_a_loss_of_ones_own_is_used_in_both_loops():
    model, episode = network(), sines()
    own = maml_loss(model, episode, inner_lr=RATE, inner_steps=1, loss_fn=doubled)
    usual = maml_loss(model, episode, inner_lr=2 * RATE, inner_steps=1)
    torch.testing.assert_close(own, 2 * usual)


def test_without_gradients_the_value_is_right_and_unconnected():
    model, episode = network(), sines()
    with torch.no_grad():
        quiet = maml_loss(model, episode, inner_lr=RATE, inner_steps=2)
    assert not quiet.requires_grad
    torch.testing.assert_close(
        quiet, maml_loss(model, episode, inner_lr=RATE, inner_steps=2).detach()
    )


# answers


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("head_only", [True, False])
def test_what_is_learned_is_the_network_at_what_the_support_set_leads_to(head_only, gradients):
    model, task = network(), next(sines().unbind())
    before, options = copy.deepcopy(model.state_dict()), {"inner_lr": RATE, "inner_steps": 2}
    with torch.set_grad_enabled(gradients):
        learned = maml_learn(model, task, head_only=head_only, **options)
    start = {name: p for name, p in named(model).items() if name.startswith("head.") >= head_only}
    adapted = adapt(model, start, task.support_x, task.support_y, **options)
    assert learned.params.keys() == start.keys()
    assert not any(p.requires_grad for p in learned.params.values())
    torch.testing.assert_close(learned(task.query_x), call(model, adapted, task.query_x))
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_loss_of_ones_own_is_what_is_learned_by():
    model, task = network(), next(sines().unbind())
    own = maml_learn(model, task, inner_lr=RATE, inner_steps=1, loss_fn=doubled)
    usual = maml_learn(model, task, inner_lr=2 * RATE, inner_steps=1)
    torch.testing.assert_close(own(task.query_x), usual(task.query_x))


class Centred(nn.Module):
    """Subtract the mean of the batch: an answer depends on who else is in it."""

    def forward(self, x):
        return x - x.mean(dim=0)


@pytest.mark.parametrize("statistics", ["queries", "support", "single"])
@pytest.mark.parametrize("options", [{}, {"head_only": True}, {"loss_fn": doubled}])
def test_a_prediction_answers_with_what_was_learned_in_the_batch_that_is_asked_for(
    options, statistics
):
    model = Network(nn.Sequential(nn.Linear(1, 5), nn.Tanh(), Centred()), nn.Linear(5, 1)).double()
    options, episode = {"inner_lr": RATE, "inner_steps": 2, **options}, sines()
    outputs = maml_predict(model, episode, statistics=statistics, **options)
    assert outputs.shape == (3, 5, 1) and not outputs.requires_grad
    for found, task in zip(outputs, episode.unbind(), strict=True):
        learned = maml_learn(model, task, **options)
        torch.testing.assert_close(found, answer(model, learned, task, statistics))
        alone = maml_predict(model, task, statistics=statistics, **options)
        torch.testing.assert_close(alone, found)
