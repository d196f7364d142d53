import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from metalearn_lite.evaluation import evaluate, paired_difference
from metalearn_lite.maml import MetaSGD, adapt, maml_loss, maml_predict
from metalearn_lite.maml import dispatch as maml
from metalearn_lite.models import Network, conv4, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.training import meta_train

RATE = 0.3


def images(tasks=2, ways=3, shots=2, queries=2, dtype=torch.float64):
    classes = torch.rand(8, 6, 1, 14, 14, generator=seeded(0), dtype=dtype)
    return ImageTasks(classes, ways, shots, queries).sample(seeded(1), tasks)


def sines(tasks=2, dtype=torch.float64):
    return SineTasks(4, 5, dtype=dtype).sample(seeded(1), tasks)


def network(norm="batch", ways=3, width=8):
    return conv4(ways, width=width, norm=norm, generator=seeded(0)).double()


def smooth(model):
    """Replace the kinks, which a central difference stumbles over."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.ReLU):
            model.set_submodule(name, nn.Softplus())
    return model


class Tanh(nn.Tanh):
    """A layer that is not computed for many tasks together."""


def unusual():
    features = nn.Sequential(nn.Linear(1, 6), Tanh())
    return Network(features, nn.Linear(6, 1)).double()


def meta_gradient(model, episode, **options):
    loss = maml_loss(model, episode, **{"inner_lr": RATE, "inner_steps": 1, **options})
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def slope(value, tensors, eps=1e-6):
    """Return the central difference of ``value()`` along a random direction, and that."""
    direction = [torch.randn(t.shape, generator=seeded(7), dtype=t.dtype) for t in tensors]
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for tensor, d in zip(tensors, direction, strict=True):
                tensor += sign * eps * d
            values.append(value().item())
            for tensor, d in zip(tensors, direction, strict=True):
                tensor -= sign * eps * d
    return (values[0] - values[1]) / (2 * eps), torch.cat([d.flatten() for d in direction])


CASES = {
    "images, batch norm": (lambda: network("batch"), images),
    "images, group norm": (lambda: network("group"), images),
    "images, no norm": (lambda: network("none"), images),
    "sines": (lambda: mlp(generator=seeded(0)).double(), sines),
}
METHODS = {
    "second order": {},
    "first order": {"first_order": True},
    "ANIL": {"head_only": True},
    "ANIL, first order": {"head_only": True, "first_order": True},
}


@pytest.fixture(params=CASES)
def case(request):
    model, episode = CASES[request.param]
    return model(), episode()


# --- the meta-gradient ----------------------------------------------------------------


@pytest.mark.parametrize("task_by_task", [True, False])
@pytest.mark.parametrize("inner_steps", [1, 2, 5])
def test_the_meta_gradient_is_the_central_difference(case, inner_steps, task_by_task):
    model, episode = smooth(case[0]), case[1]
    options = {"inner_lr": 0.05, "inner_steps": inner_steps, "task_by_task": task_by_task}
    expected, direction = slope(
        lambda: maml_loss(model, episode, **options), list(model.parameters())
    )
    found = meta_gradient(model, episode, **options) @ direction
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_without_create_graph_it_is_not_the_central_difference(case):
    model, episode = smooth(case[0]), case[1]
    expected, direction = slope(
        lambda: maml_loss(model, episode, inner_lr=0.05, inner_steps=2), list(model.parameters())
    )
    wrong = meta_gradient(model, episode, inner_lr=0.05, inner_steps=2, first_order=True)
    assert (wrong @ direction).item() != pytest.approx(expected, rel=1e-3)


def test_a_batch_is_the_mean_of_its_tasks(case):
    model, episode = case
    each = torch.stack([meta_gradient(model, task) for task in episode.unbind()])
    torch.testing.assert_close(meta_gradient(model, episode), each.mean(0), rtol=1e-10, atol=1e-10)


def test_the_first_order_gradient_is_the_gradient_at_the_adapted_parameters(case):
    model, episode = case
    expected = 0
    for task in episode.unbind():
        params = dict(model.named_parameters())
        adapted = adapt(model, params, task.support_x, task.support_y, inner_lr=RATE, inner_steps=2)
        adapted = {name: p.detach().requires_grad_() for name, p in adapted.items()}
        outputs = functional_call(model, adapted, (task.query_x,))
        loss = maml.task_loss(outputs, task.query_y)
        found = torch.autograd.grad(loss, list(adapted.values()))
        expected = expected + torch.cat([g.flatten() for g in found]) / episode.batch
    torch.testing.assert_close(
        meta_gradient(model, episode, inner_steps=2, first_order=True), expected
    )


def test_zero_steps_are_joint_training(case):
    model, episode = case
    outputs = [model(task.query_x) for task in episode.unbind()]
    loss = maml.task_loss(torch.stack(outputs), episode.query_y)
    joint = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(
        meta_gradient(model, episode, inner_steps=0), torch.cat([g.flatten() for g in joint])
    )


@pytest.mark.parametrize("task_by_task", [True, False])
def test_anil_is_maml_with_rates_of_zero_in_the_body(case, task_by_task):
    model, episode = case
    rates = {n: RATE * n.startswith("head.") for n, _ in model.named_parameters()}
    options = {"inner_steps": 2, "task_by_task": task_by_task}
    torch.testing.assert_close(
        meta_gradient(model, episode, head_only=True, **options),
        meta_gradient(model, episode, inner_lr=rates, **options),
    )


def test_on_linear_regression_the_meta_optimum_is_the_closed_form():
    generator, dtype = seeded(0), torch.float64
    optima = torch.randn(6, 3, 1, generator=generator, dtype=dtype)
    support_x = torch.randn(6, 5, 3, generator=generator, dtype=dtype)
    query_x = torch.randn(6, 4, 3, generator=generator, dtype=dtype)
    episode = Episode(support_x, support_x @ optima, query_x, query_x @ optima)
    shrunk = torch.eye(3, dtype=dtype) - 0.1 * 2 * support_x.mT @ support_x / 5
    weight = shrunk.mT @ query_x.mT @ query_x @ shrunk
    best = torch.linalg.solve(weight.sum(0), (weight @ optima).sum(0))
    model = nn.Linear(3, 1, bias=False).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=100,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = maml_loss(model, episode, inner_lr=0.1, inner_steps=1)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(model.weight.detach().mT, best, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(best, optima.mean(0), atol=0.05)


# --- the trap of vmap and the built-in batch norm ----------------------------------------


@pytest.mark.parametrize("built_in", [True, False])
def test_the_built_in_batch_norm_under_vmap_gives_another_gradient(built_in):
    model, episode = network(width=4), images(2)
    if built_in:
        for name, layer in list(model.named_modules()):
            if type(layer).__name__ == "BatchStatisticsNorm":
                norm = nn.BatchNorm2d(4, track_running_stats=False).double()
                model.set_submodule(name, norm)
    params = dict(model.named_parameters())

    def loss_of_one(params, support_x, support_y, query_x, query_y):
        def loss(params, x, y):
            return F.cross_entropy(functional_call(model, params, (x,)), y)

        gradients = grad(loss)(params, support_x, support_y)
        adapted = {name: p - RATE * gradients[name] for name, p in params.items()}
        return loss(adapted, query_x, query_y)

    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    loss = vmap(loss_of_one, in_dims=(None, 0, 0, 0, 0))(params, *parts).mean()
    found = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(params.values()))])
    plain = meta_gradient(model, episode, task_by_task=True)
    off = ((found - plain).norm() / plain.norm()).item()
    assert off > 0.001 if built_in else off < 1e-10


# --- learned rates ------------------------------------------------------------------------


@pytest.mark.parametrize("task_by_task", [True, False])
def test_the_gradient_of_the_rates_is_the_central_difference(case, task_by_task):
    model, episode = smooth(case[0]), case[1]
    learner = MetaSGD(model, 0.05)
    options = {"inner_steps": 2, "task_by_task": task_by_task}
    rates = list(learner.rates.parameters())
    expected, direction = slope(
        lambda: maml_loss(model, episode, inner_lr=learner.inner_lr, **options), rates
    )
    loss = maml_loss(model, episode, inner_lr=learner.inner_lr, **options)
    found = torch.cat([g.flatten() for g in torch.autograd.grad(loss, rates)]) @ direction
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)
    detached = {name: rate.detach() for name, rate in learner.inner_lr.items()}
    wrong = maml_loss(model, episode, inner_lr=detached, **options)
    assert all(g is None for g in torch.autograd.grad(wrong, rates, allow_unused=True))


@pytest.mark.parametrize("task_by_task", [True, False])
def test_one_rate_for_all_can_be_learned(case, task_by_task):
    model, episode = case
    rate = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    options = {"inner_lr": rate, "inner_steps": 2, "task_by_task": task_by_task}
    expected, direction = slope(lambda: maml_loss(model, episode, **options), [rate])
    (found,) = torch.autograd.grad(maml_loss(model, episode, **options), [rate])
    assert (found * direction).item() == pytest.approx(expected, rel=1e-6)


# --- adapt --------------------------------------------------------------------------------


@pytest.mark.parametrize("first_order", [True, False])
def test_adapted_parameters_of_a_batch_are_those_of_its_tasks(case, first_order):
    model, episode = case
    params = dict(model.named_parameters())
    options = {"inner_lr": RATE, "inner_steps": 2, "first_order": first_order}
    together = adapt(model, params, episode.support_x, episode.support_y, **options)
    for i, task in enumerate(episode.unbind()):
        alone = adapt(model, params, task.support_x, task.support_y, **options)
        for name in params:
            torch.testing.assert_close(together[name][i], alone[name])


def test_adapted_parameters_are_differentiated_twice_unless_told_otherwise(case):
    model, episode = case
    params = dict(model.named_parameters())

    def slopes(**options):
        adapted = adapt(
            model,
            params,
            episode.support_x,
            episode.support_y,
            inner_lr=RATE,
            inner_steps=1,
            **options,
        )
        loss = sum(p.square().sum() for p in adapted.values())
        found = torch.autograd.grad(loss, list(params.values()), materialize_grads=True)
        return torch.cat([g.flatten() for g in found])

    assert torch.equal(slopes(), slopes(first_order=False))
    assert not torch.allclose(slopes(), slopes(first_order=True))


@pytest.mark.parametrize("task_by_task", [True, False])
def test_the_model_stays_bitwise_the_same(case, task_by_task):
    model, episode = case
    before = copy.deepcopy(model.state_dict())
    maml_loss(model, episode, inner_lr=RATE, inner_steps=2, task_by_task=task_by_task)
    maml_predict(model, episode, inner_lr=RATE, inner_steps=2)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("task_by_task", [True, False])
def test_frozen_parameters_stay_as_they_are_in_both_loops(task_by_task):
    model, episode = network(), images()
    model.features[0].weight.requires_grad_(False)
    loss = maml_loss(model, episode, inner_lr=RATE, inner_steps=2, task_by_task=task_by_task)
    loss.backward()
    assert model.features[0].weight.grad is None
    rates = {n: RATE * (n != "features.0.weight") for n, _ in model.named_parameters()}
    model.features[0].weight.requires_grad_(True)
    other = maml_loss(model, episode, inner_lr=rates, inner_steps=2)
    assert loss.item() == pytest.approx(other.item(), rel=1e-12)


@pytest.mark.parametrize("task_by_task", [True, False])
def test_without_gradients_the_value_is_right_and_unconnected(case, task_by_task):
    model, episode = case
    options = {"inner_lr": RATE, "inner_steps": 2, "task_by_task": task_by_task}
    with torch.no_grad():
        quiet = maml_loss(model, episode, **options)
        params = dict(model.named_parameters())
        adapted = adapt(
            model, params, episode.support_x, episode.support_y, inner_lr=RATE, inner_steps=2
        )
    assert not quiet.requires_grad
    assert not any(p.requires_grad for p in adapted.values())
    assert quiet.item() == pytest.approx(maml_loss(model, episode, **options).item(), rel=1e-12)


def test_a_loss_of_ones_own_is_used_in_both_loops():
    def doubled(outputs, targets):
        return 2 * F.mse_loss(outputs, targets)

    model, episode = unusual(), sines()
    own = maml_loss(model, episode, inner_lr=RATE, inner_steps=1, loss_fn=doubled)
    usual = maml_loss(model, episode, inner_lr=2 * RATE, inner_steps=1)
    assert own.item() == pytest.approx(2 * usual.item(), rel=1e-12)


def test_a_loss_of_ones_own_is_what_is_adapted_by():
    def doubled(outputs, targets):
        return 2 * F.mse_loss(outputs, targets)

    model, episode = mlp(generator=seeded(0)).double(), sines()
    own, params = {"inner_steps": 2, "loss_fn": doubled}, dict(model.named_parameters())
    for part in (episode, next(episode.unbind())):
        x, y = part.support_x, part.support_y
        torch.testing.assert_close(
            adapt(model, params, x, y, inner_lr=0.01, **own),
            adapt(model, params, x, y, inner_lr=0.02, inner_steps=2),
        )
        torch.testing.assert_close(
            maml_predict(model, part, inner_lr=0.01, **own),
            maml_predict(model, part, inner_lr=0.02, inner_steps=2),
        )
    learned = maml.maml_learn(model, part, inner_lr=0.01, **own)(part.query_x)
    wanted = maml_predict(model, part, inner_lr=0.02, inner_steps=2)
    torch.testing.assert_close(learned.detach(), wanted)


@pytest.mark.parametrize("head_only", [True, False])
def test_the_head_alone_is_adapted_if_that_is_asked_for(head_only):
    model, task = mlp(generator=seeded(0)).double(), next(sines().unbind())
    options, params = {"inner_lr": 0.01, "inner_steps": 2}, dict(model.named_parameters())
    own = {n: p for n, p in params.items() if n.startswith("head.") or not head_only}
    adapted = adapt(model, own, task.support_x, task.support_y, **options)
    wanted = functional_call(model, adapted, (task.query_x,)).detach()
    asked = {"head_only": True} if head_only else {}
    torch.testing.assert_close(maml_predict(model, task, **options, **asked), wanted)
    learned = maml.maml_learn(model, task, **options, **asked)(task.query_x)
    torch.testing.assert_close(learned.detach(), wanted)
    loss = maml_loss(model, task, **options, **asked)
    torch.testing.assert_close(loss.detach(), F.mse_loss(wanted, task.query_y))


def test_the_meta_gradient_can_be_differentiated_task_by_task_and_says_so_otherwise():
    model, episode = mlp(generator=seeded(0)).double(), sines()
    options = {"inner_lr": RATE, "inner_steps": 1}
    loss = maml_loss(model, episode, **options, task_by_task=True)
    first = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    assert first[0].requires_grad
    with pytest.raises(ValueError, match="task_by_task=True"):
        torch.autograd.grad(
            maml_loss(model, episode, **options), list(model.parameters()), create_graph=True
        )


# --- predictions --------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [True, False])
def test_a_prediction_is_the_output_after_adaptation(case, gradients):
    model, episode = case
    with torch.set_grad_enabled(gradients):
        outputs = maml_predict(model, episode, inner_lr=RATE, inner_steps=2)
    assert not outputs.requires_grad
    for i, task in enumerate(episode.unbind()):
        params = dict(model.named_parameters())
        adapted = adapt(model, params, task.support_x, task.support_y, inner_lr=RATE, inner_steps=2)
        torch.testing.assert_close(
            outputs[i], functional_call(model, adapted, (task.query_x,)).detach()
        )
        alone = maml_predict(model, task, inner_lr=RATE, inner_steps=2)
        torch.testing.assert_close(outputs[i], alone)


def test_only_the_whole_query_set_lets_one_query_change_the_answer_to_another():
    model, episode = network(), next(images().unbind())
    other = episode.query_x.clone()
    other[1:] = torch.rand(other[1:].shape, generator=seeded(3), dtype=other.dtype)
    changed = Episode(episode.support_x, episode.support_y, other, episode.query_y)
    for statistics in ("queries", "support", "single"):
        options = {"inner_lr": RATE, "inner_steps": 1, "statistics": statistics}
        first = [maml_predict(model, e, **options)[0] for e in (episode, changed)]
        assert torch.allclose(*first, rtol=1e-12) == (statistics != "queries")


def test_training_helps_on_new_sines():
    def objective(model, episode):
        return maml_loss(model, episode, inner_lr=0.01, inner_steps=1)

    def predict(model, episode):
        return maml_predict(model, episode, inner_lr=0.01, inner_steps=1)

    model, tasks = mlp(generator=seeded(0)), SineTasks(10, 10)
    before = evaluate(model, predict, tasks, episodes=50, generator=seeded(2))
    meta_train(
        model, objective, tasks, iterations=150, batch=10, generator=seeded(1), progress=False
    )
    after = evaluate(model, predict, tasks, episodes=50, generator=seeded(2))
    gain = paired_difference(before, after)
    assert gain.mean > 2 * gain.half_width


# --- wrong input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": -1}, "inner_steps is -1: expected a whole number, 0 or more"),
        ({"inner_lr": {"head.bias": 0.1}}, "no rate for 'features.0.bias'"),
    ],
)
def test_wrong_settings_are_named(options, message):
    model, episode = mlp(generator=seeded(0)).double(), sines()
    settings = {"inner_lr": 0.1, "inner_steps": 1, **options}
    params = dict(model.named_parameters())
    with pytest.raises(ValueError, match=message):
        maml_loss(model, episode, **settings)
    with pytest.raises(ValueError, match=message):
        maml_predict(model, episode, **settings)
    with pytest.raises(ValueError, match=message):
        adapt(model, params, episode.support_x, episode.support_y, **settings)


@pytest.mark.parametrize("task_by_task", [True, False])
def test_labels_beyond_the_ways_are_named(task_by_task):
    episode = images(ways=5)
    with pytest.raises(ValueError, match=r"int64 from 0 to 4: expected int64 from 0 to 2"):
        maml_loss(network(), episode, inner_lr=0.1, inner_steps=1, task_by_task=task_by_task)


@pytest.mark.parametrize("task_by_task", [True, False])
def test_targets_of_another_shape_are_named(task_by_task):
    with pytest.raises(ValueError, match=r"targets have shape .* and outputs"):
        maml_loss(
            mlp(1, 2).double(), sines(), inner_lr=0.1, inner_steps=1, task_by_task=task_by_task
        )


def test_a_different_number_of_tasks_is_named():
    e = sines(3)
    with pytest.raises(ValueError, match="3 tasks and the query set 2"):
        Episode(e.support_x, e.support_y, e.query_x[:2], e.query_y[:2])
    with pytest.raises(ValueError, match=r"support_x holds 2 tasks and support_y 3"):
        adapt(
            unusual(),
            dict(unusual().named_parameters()),
            e.support_x[:2],
            e.support_y,
            inner_lr=0.1,
            inner_steps=1,
        )


def test_other_misuse_is_named():
    task = next(sines().unbind())
    with pytest.raises(ValueError, match="params holds 'weight', which the network has not"):
        adapt(
            mlp().double(),
            {"weight": torch.ones(1)},
            task.support_x,
            task.support_y,
            inner_lr=0.1,
            inner_steps=1,
        )
    params = dict(mlp().double().named_parameters())
    with pytest.raises(
        ValueError, match="inner_lr has a rate for 'weight', which the network has not"
    ):
        adapt(
            mlp().double(),
            params,
            task.support_x,
            task.support_y,
            inner_lr=dict.fromkeys([*params, "weight"], 0.1),
            inner_steps=1,
        )
    with pytest.raises(ValueError, match="episode is a tuple: expected a metalearn_lite"):
        maml_loss(mlp().double(), (task.support_x, task.support_y), inner_lr=0.1, inner_steps=1)
    with pytest.raises(ValueError, match=r"expected a metalearn_lite\.models\.Network"):
        maml_loss(nn.Linear(1, 1).double(), sines(), inner_lr=0.1, inner_steps=1, head_only=True)
    with pytest.raises(ValueError, match="statistics is 'all': expected"):
        maml_predict(network(), images(), inner_lr=0.1, inner_steps=1, statistics="all")
    with pytest.raises(ValueError, match="chunk is 0: expected"):
        maml_loss(network(), images(), inner_lr=0.1, inner_steps=1, chunk=0)
    frozen = network().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to adapt"):
        maml_loss(frozen, images(), inner_lr=0.1, inner_steps=1)


def test_one_way_and_one_shot_work():
    episode = images(ways=1, shots=1, queries=1)
    assert maml_loss(network(ways=1), episode, inner_lr=0.1, inner_steps=1).item() == 0


def test_a_name_that_the_network_has_not_is_named():
    model, x, y = mlp(2, 3, hidden=(4,)), torch.randn(3, 2), torch.arange(3)
    params = {**dict(model.named_parameters()), "head.wieght": torch.zeros(3, 4)}
    for batch in (False, True):
        task = (x[None], y[None]) if batch else (x, y)
        with pytest.raises(ValueError, match=r"params holds 'head\.wieght', which the network has"):
            adapt(model, params, *task, inner_lr=0.1, inner_steps=1)
        with pytest.raises(ValueError, match=r"params holds 'head\.wieght', which the network has"):
            adapt(model, params, *task, inner_lr=0.1, inner_steps=0)
