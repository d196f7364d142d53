"""The gradient at the end of the inner loop: exact solutions, other ways there, known errors."""

import copy
import itertools
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.checks import check_batch, check_predict, check_unchanged
from metalearn_lite.maml import (
    implicit_hypergradient,
    implicit_maml_learn,
    implicit_maml_loss,
    implicit_maml_predict,
    implicit_maml_residuals,
    maml_loss,
)
from metalearn_lite.maml.implicit import solve_inner
from metalearn_lite.maml.plain import descend
from metalearn_lite.models import BatchStatisticsNorm, Network, initialise
from metalearn_lite.models.functional import call
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.transfer import fine_tune

EXACT = {"rtol": 1e-9, "atol": 1e-11}
PENALTY = 8.0
INNER = {"penalty": PENALTY, "inner_lr": 0.1, "inner_steps": 110}  # to the end
SOLVED = {**INNER, "cg_steps": 25}
FEW = {"inner_steps": 3}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def linear():
    model = nn.Linear(3, 2).double()
    model.weight.data, model.bias.data = random(2, 3, seed=5), random(2, seed=6)
    return model


def network():
    """A small network without kinks, whose features may be frozen."""
    model = Network(nn.Sequential(nn.Linear(1, 5), nn.Tanh()), nn.Linear(5, 1)).double()
    for i, p in enumerate(model.parameters()):
        p.data = random(*p.shape, seed=i)
    return model


def convolutions():
    first, second = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(4, 3, 2)
    layers = (first, BatchStatisticsNorm(4), nn.Softplus(), second, nn.Flatten())
    return initialise(Network(nn.Sequential(*layers), nn.Linear(3, 2)), seeded(0)).double()


def rows(tasks=None):
    lead = () if tasks is None else (tasks,)
    x, y = random(*lead, 13, 3), random(*lead, 13, 2, seed=1)
    return Episode(x[..., :8, :], y[..., :8, :], x[..., 8:, :], y[..., 8:, :])


def sines(tasks=2):
    return SineTasks(4, 5, dtype=torch.float64).sample(seeded(1), tasks)


def images(tasks=2):
    stored = torch.rand(5, 6, 1, 4, 4, generator=seeded(0), dtype=torch.float64)
    return ImageTasks(stored, ways=2, shots=2, queries=2).sample(seeded(1), tasks)


CASES = {"rows": (linear, rows), "sines": (network, sines), "images": (convolutions, images)}


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def gradient(model, episode, objective=implicit_maml_loss, **options):
    options = options if objective is maml_loss else SOLVED | options
    params = [p for p in model.parameters() if p.requires_grad]
    return flat(torch.autograd.grad(objective(model, episode, **options), params))


def losses(model, task):
    """The support and the query loss as functions of the parameters by name."""

    def loss(x, y):
        criterion = F.mse_loss if y.is_floating_point() else F.cross_entropy
        return lambda params: criterion(call(model, params, x), y)

    return loss(task.support_x, task.support_y), loss(task.query_x, task.query_y)


def start(model):
    return {name: p.detach().requires_grad_() for name, p in model.named_parameters()}


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


# The exact solution


def through_the_formula(z, y, weight, bias, penalty):
    """The ridge solution that is drawn to (weight, bias), for a mean over all outputs."""
    z, theta = F.pad(z, (0, 1), value=1.0), torch.cat([weight, bias.unsqueeze(1)], dim=1)
    gram = 2 / y.numel() * z.mT @ z + penalty * torch.eye(z.shape[1]).double()
    return torch.linalg.solve(gram, 2 / y.numel() * z.mT @ y + penalty * theta.mT).mT


@pytest.mark.parametrize("tasks", [None, 3])
@pytest.mark.parametrize("penalty", [0.3, 5.0])
def test_linear_regression_has_the_loss_and_the_gradient_of_the_formula(penalty, tasks):
    model, episode = linear(), rows(tasks)
    expected = []
    for task in episode.unbind():
        theta = through_the_formula(
            task.support_x, task.support_y, model.weight, model.bias, penalty
        )
        expected.append(F.mse_loss(F.linear(task.query_x, theta[:, :3], theta[:, 3]), task.query_y))
    expected = torch.stack(expected).mean()
    options = {"penalty": penalty, "inner_lr": 0.5, "inner_steps": 150, "cg_steps": 8}
    loss = implicit_maml_loss(model, episode, **options)
    torch.testing.assert_close(loss, expected, **EXACT)
    slopes = (torch.autograd.grad(value, list(model.parameters())) for value in (loss, expected))
    torch.testing.assert_close(*slopes, **EXACT)


def test_a_ridge_head_has_the_gradient_of_its_closed_form():
    model, task = network(), next(sines().unbind())
    model.features.requires_grad_(False)
    z, new_z = model.features(task.support_x), model.features(task.query_x)
    theta = through_the_formula(z, task.support_y, model.head.weight, model.head.bias, PENALTY)
    loss = F.mse_loss(F.linear(new_z, theta[:, :5], theta[:, 5]), task.query_y)
    expected = flat(torch.autograd.grad(loss, list(model.head.parameters())))
    torch.testing.assert_close(gradient(model, task), expected, **EXACT)
    implicit_maml_loss(model, task, **SOLVED).backward()
    assert all(p.grad is None for p in model.features.parameters())


@pytest.mark.parametrize("case", ["sines", "images"])
def test_the_gradient_of_a_network_solves_the_system_with_the_whole_hessian(case):
    build, draw = CASES[case]
    model, task = build(), next(draw().unbind())
    expected = torch.linalg.solve(*dense(model, task))
    torch.testing.assert_close(gradient(model, task), expected, rtol=1e-8, atol=1e-10)


def dense(model, task, at=None):
    """I + H / λ at the inner solution, and the gradient of the query loss there."""
    support, query = losses(model, task)
    if at is None:
        at = solve_inner(support, start(model), **INNER)
    at = {name: p.requires_grad_() for name, p in at.items()}
    slope = flat(torch.autograd.grad(support(at), list(at.values()), create_graph=True))
    hessian = torch.stack(
        [
            flat(
                torch.autograd.grad(s, list(at.values()), retain_graph=True, materialize_grads=True)
            )
            for s in slope
        ]
    )
    return torch.eye(len(slope)).double() + hessian / PENALTY, flat(
        torch.autograd.grad(query(at), list(at.values()))
    )


def assert_central_difference(model, episode, **options):
    """The gradient along a random direction is what the solved loss does there."""
    params = [p for p in model.parameters() if p.requires_grad]
    direction = [random(*p.shape, seed=7 + i) for i, p in enumerate(params)]
    found, values = gradient(model, episode, **options) @ flat(direction), []
    for sign in (1, -2):
        for p, d in zip(params, direction, strict=True):
            p.data.add_(sign * 1e-5 * d)
        with torch.no_grad():
            values.append(implicit_maml_loss(model, episode, **SOLVED | options).item())
    assert found.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_central_difference_of_the_solved_problem(case):
    build, draw = CASES[case]
    assert_central_difference(build(), draw(2))


def test_differentiated_descent_comes_to_it_with_more_steps():
    model, task = network(), next(sines().unbind())
    support, query = losses(model, task)

    def unrolled(steps):
        theta = start(model)

        def penalised(params):
            pull = sum((params[name] - p).square().sum() for name, p in theta.items())
            return support(params) + PENALTY / 2 * pull

        end = descend(penalised, theta, inner_lr=0.1, inner_steps=steps)
        return flat(torch.autograd.grad(query(end), list(theta.values())))

    errors = [apart(unrolled(steps), gradient(model, task)) for steps in (5, 15, 45, 110)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 1e-2 and errors[-1] < 1e-9


def test_it_is_the_hypergradient_by_the_start():
    model, task = network(), next(sines().unbind())
    support, query = losses(model, task)

    def penalised(weights, theta):
        pull = sum((weights[name] - p).square().sum() for name, p in theta.items())
        return support(weights) + PENALTY / 2 * pull

    theta = start(model)
    end = solve_inner(support, theta, **INNER)
    found = implicit_hypergradient(penalised, lambda w, _: query(w), end, theta, steps=25)
    torch.testing.assert_close(flat(found.values()), gradient(model, task), **EXACT)


# The inner problem


def test_its_steps_are_those_of_fine_tuning_with_l2_sp():
    model, task = network(), next(sines().unbind())
    found = implicit_maml_learn(model, task, penalty=0.6, inner_lr=0.1, inner_steps=7)
    tuned = fine_tune(model, task.support_x, task.support_y, steps=7, lr=0.1, l2_sp=0.3)
    for name, p in tuned.named_parameters():
        torch.testing.assert_close(found.params[name], p.detach(), rtol=1e-12, atol=1e-14)


def test_the_inner_solution_has_no_slope_left():
    model, task = network(), next(sines().unbind())
    theta, (support, _) = start(model), losses(model, task)
    end = solve_inner(support, theta, **INNER)
    slope = torch.autograd.grad(
        support({n: p.requires_grad_() for n, p in end.items()}), end.values()
    )
    pull = flat(end.values()) - flat(theta.values())
    assert pull.norm() > 0.1
    torch.testing.assert_close(flat(slope), -PENALTY * pull, **EXACT)


def test_without_end_the_penalty_leaves_joint_training():
    model, episode = network(), sines()
    joint = {"objective": maml_loss, "inner_lr": 0.1, "inner_steps": 0}
    errors = [
        apart(gradient(model, episode, penalty=penalty), gradient(model, episode, **joint))
        for penalty in (1e2, 1e4, 1e8)
    ]
    assert errors == sorted(errors, reverse=True) and errors[0] > 1e-3 and errors[-1] < 1e-6


def test_without_a_penalty_the_start_is_forgotten():
    model, task = linear(), rows()
    options = {"inner_lr": 0.5, "inner_steps": 400, "cg_steps": 8}
    sizes = [gradient(model, task, penalty=p, **options).norm().item() for p in (1.0, 1e-2, 1e-4)]
    assert sizes[1] < sizes[0] / 20 and sizes[2] < sizes[1] / 80
    fit = through_the_formula(task.support_x, task.support_y, model.weight, model.bias, 0.0)
    expected = F.mse_loss(F.linear(task.query_x, fit[:, :3], fit[:, 3]), task.query_y)
    loss = implicit_maml_loss(model, task, penalty=1e-9, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


# Two errors of a well-known implementation, planted: the descent never gets the pull, and
# (2 I + H / (λ + damping)) is solved in place of (I + H / λ).


def planted(model, task, *, pull, system):
    support, _ = losses(model, task)
    if pull:
        at = solve_inner(support, start(model), **INNER)
    else:
        with torch.no_grad():
            at = descend(support, start(model), inner_lr=0.05, inner_steps=5)
    matrix, right = dense(model, task, at=at)
    if not system:
        identity = torch.eye(len(right)).double()
        matrix = 2 * identity + (matrix - identity) * PENALTY / (PENALTY + 1)
    return torch.linalg.solve(matrix, right)


def test_two_known_errors_keep_the_direction_and_lose_the_size():
    model, task = linear(), rows()
    right = gradient(model, task)
    torch.testing.assert_close(planted(model, task, pull=True, system=True), right, **EXACT)
    for pull, system, error in ((False, True, 0.05), (True, False, 0.4), (False, False, 0.4)):
        found = planted(model, task, pull=pull, system=system)
        assert torch.cosine_similarity(found, right, dim=0) > 0.99
        assert apart(found, right) > error


# What it costs and what it leaves


def most_kept(objective):
    """The most tensors that autograd keeps for a backward pass at any one time."""
    alive, most = weakref.WeakSet(), [0]

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            alive.add(self)
            most[0] = max(most[0], len(alive))

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        objective().backward()
    return most[0]


@pytest.mark.parametrize("loss_fn", [None, F.mse_loss])
def test_no_more_is_kept_for_more_steps_of_either_solve_or_for_more_tasks(loss_fn):
    model, episode = network(), sines(4)
    model.features[1] = nn.Softplus()  # keeps its input; a node that keeps its output is a circle

    def kept(tasks=4, **options):
        some = episode.slice(0, tasks)
        return most_kept(
            lambda: implicit_maml_loss(model, some, loss_fn=loss_fn, **SOLVED | options)
        )

    few = kept(inner_steps=2, cg_steps=2)
    assert kept(inner_steps=20, cg_steps=10) == few > 0
    assert kept(tasks=2, inner_steps=2, cg_steps=2) == few
    maml = {"inner_lr": 0.1, "task_by_task": True}
    path = [
        most_kept(lambda steps=steps: maml_loss(model, episode, inner_steps=steps, **maml))
        for steps in (2, 20)
    ]
    assert path[1] > 5 * path[0]


def test_the_loss_hands_on_a_gradient_and_keeps_no_graph():
    model = network()
    for steps in (1, 30):
        loss = implicit_maml_loss(model, sines(), **SOLVED | {"inner_steps": steps})
        after = [node for node, _ in loss.grad_fn.next_functions if node is not None]
        assert len(after) == 4 and all(not node.next_functions for node in after)


@pytest.mark.parametrize("case", CASES)
def test_tasks_together_are_the_mean_of_tasks_alone_and_of_the_plain_way(case):
    build, draw = CASES[case]
    model, episode = build(), draw(3)
    criterion = F.cross_entropy if case == "images" else F.mse_loss
    cut = SOLVED | {"inner_steps": 3, "cg_steps": 2}  # where neither solve has ended
    check_batch(lambda m, e: implicit_maml_loss(m, e, **cut), model, episode)
    for options in (cut, SOLVED | FEW):
        plain = gradient(model, episode, loss_fn=criterion, **options)
        torch.testing.assert_close(gradient(model, episode, **options), plain, **EXACT)


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_not_changed(case):
    build, draw = CASES[case]
    model, episode = build(), draw()
    for function in (implicit_maml_loss, implicit_maml_residuals):
        check_unchanged(lambda m, e, f=function: f(m, e, **SOLVED | FEW), model, episode)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_does_not_require_a_gradient_stays():
    model, episode = network(), sines()
    model.features[0].weight.requires_grad_(False)
    for loss_fn in (None, F.mse_loss):
        assert_central_difference(model, episode, loss_fn=loss_fn)
    learned = implicit_maml_learn(model, next(episode.unbind()), **INNER | FEW)
    assert "features.0.weight" not in learned.params and "head.bias" in learned.params


def test_where_gradients_are_off_the_loss_is_the_same_and_has_none():
    model, episode = network(), sines()
    wanted = implicit_maml_loss(model, episode, **SOLVED)
    with torch.no_grad():
        loss = implicit_maml_loss(model, episode, **SOLVED)
    assert torch.equal(loss, wanted.detach()) and wanted.requires_grad and not loss.requires_grad


# Answers


@pytest.mark.parametrize("case", CASES)
def test_the_answers_are_those_whose_loss_is_the_objective(case):
    build, draw = CASES[case]
    model, episode = build(), draw()
    outputs = implicit_maml_predict(model, episode, **INNER | FEW)
    criterion = F.cross_entropy if case == "images" else F.mse_loss
    pairs = zip(outputs, episode.query_y, strict=True)
    expected = torch.stack([criterion(*pair) for pair in pairs]).mean()
    loss = implicit_maml_loss(model, episode, cg_steps=1, **INNER | FEW)
    torch.testing.assert_close(loss.detach(), expected)


def test_the_answers_keep_the_contract_of_every_method():
    model, (one, other) = convolutions(), images().unbind()

    def predict(statistics):
        return lambda m, e: implicit_maml_predict(m, e, statistics=statistics, **INNER | FEW)

    assert check_predict(predict("queries"), model, one, other=other).transductive
    assert not check_predict(predict("support"), model, one, other=other).transductive


def test_a_loss_of_ones_own_reaches_both_loops_and_the_answers():
    def doubled(outputs, targets):
        return 2 * F.mse_loss(outputs, targets)

    model, task = network(), next(sines().unbind())
    twice = {"penalty": 2 * PENALTY, "inner_lr": 0.05}  # the same steps, and the same system
    own = gradient(model, task, loss_fn=doubled, **twice)
    torch.testing.assert_close(own, 2 * gradient(model, task), **EXACT)
    answers = implicit_maml_predict(model, task, loss_fn=doubled, **twice | FEW)
    torch.testing.assert_close(answers, implicit_maml_predict(model, task, **INNER | FEW))


# How far both solves are from their ends


def test_the_residuals_of_a_task_are_those_of_the_definition():
    model, task = network(), next(sines().unbind())
    options = SOLVED | {"inner_steps": 4, "cg_steps": 2}
    found = implicit_maml_residuals(model, task, **options)
    theta, (support, _) = start(model), losses(model, task)
    at = solve_inner(support, theta, **INNER | {"inner_steps": 4})
    at = {name: p.requires_grad_() for name, p in at.items()}
    slope = flat(torch.autograd.grad(support(at), list(at.values())))
    pull = PENALTY * (flat(at.values()) - flat(theta.values())).detach()
    inner = (slope + pull).norm() / (slope.norm() + pull.norm())
    matrix, right = dense(model, task, at=at)
    left = matrix @ gradient(model, task, **options) - right
    torch.testing.assert_close(found.inner, inner, **EXACT)
    torch.testing.assert_close(found.outer, left.norm() / right.norm(), **EXACT)
    assert found.inner > 0.01 and found.outer > 0.01


def test_each_residual_falls_with_the_steps_of_its_own_solve():
    model, episode = network(), sines(3)

    def residuals(**options):
        found = implicit_maml_residuals(model, episode, **SOLVED | options)
        assert found.inner.shape == found.outer.shape == (3,)
        assert not found.inner.requires_grad and not found.outer.requires_grad
        return found

    inner = [residuals(inner_steps=steps).inner for steps in (2, 6, 18, 110)]
    outer = [residuals(cg_steps=steps).outer for steps in (1, 3, 9, 25)]
    for shares in (inner, outer):
        assert all((a > b).all() for a, b in itertools.pairwise(shares))
        assert (shares[0] > 0.01).all() and (shares[-1] < 1e-9).all()
    for task, share in zip(episode.unbind(), inner[1], strict=True):
        alone = implicit_maml_residuals(model, task, **SOLVED | {"inner_steps": 6})
        torch.testing.assert_close(alone.inner, share, **EXACT)


def test_nothing_to_learn_leaves_nothing_to_solve():
    """A task whose examples are met already has no slope, and no residual."""
    model = linear()
    x = random(4, 3)
    task = Episode(x, model(x).detach(), x, model(x).detach())
    found = implicit_maml_residuals(model, task, **SOLVED)
    assert found.outer == 0 and found.inner == 0 and (gradient(model, task) == 0).all()


def test_a_loss_that_curves_downward_says_so_in_its_residual():
    model, task = network(), next(sines().unbind())

    def falling(outputs, targets):
        return F.mse_loss(outputs, targets) - 2 * outputs.square().mean()

    options = SOLVED | {"penalty": 0.01, "inner_steps": 1, "inner_lr": 1e-3}
    assert implicit_maml_residuals(model, task, loss_fn=falling, **options).outer > 0.1
    assert gradient(model, task, loss_fn=falling, **options).isfinite().all()


# What cannot be meant


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"penalty": 0.0}, "penalty is 0.0: expected a finite number above 0"),
        ({"penalty": -1.0}, "penalty is -1.0: expected a finite number above 0"),
        ({"penalty": math.inf}, "penalty is inf: expected a finite number above 0"),
        ({"penalty": "much"}, "penalty is much: expected a finite number above 0"),
        ({"inner_lr": 0.0}, "inner_lr is 0.0: expected a finite number above 0"),
        ({"inner_lr": math.nan}, "inner_lr is nan: expected a finite number above 0"),
        ({"inner_steps": 0}, "inner_steps is 0: expected a whole number, 1 or more"),
        ({"cg_steps": 0}, "cg_steps is 0: expected a whole number, 1 or more"),
        ({"cg_steps": 2.5}, "cg_steps is 2.5: expected a whole number, 1 or more"),
        ({"model": nn.Flatten()}, "there is nothing to adapt"),
        ({"model": "linear"}, "model is a str: expected a torch.nn"),
        ({"episode": None}, "episode is a NoneType: expected a metalearn_lite.tasks.Episode"),
    ],
)
def test_what_cannot_be_meant_is_named(change, text):
    given = {"model": linear(), "episode": rows(), **SOLVED} | change
    with pytest.raises(ValueError, match=text):
        implicit_maml_loss(**given)
    with pytest.raises(ValueError, match=text):
        implicit_maml_residuals(**given)
    del given["cg_steps"]
    if "cg_steps" not in change:
        with pytest.raises(ValueError, match=text):
            implicit_maml_predict(**given)


def test_a_layer_that_carries_statistics_along_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    for function in (implicit_maml_loss, implicit_maml_residuals):
        with pytest.raises(ValueError, match=r"changes the buffer .*call model.eval\(\)"):
            function(model, rows(), **SOLVED)
    with pytest.raises(ValueError, match=r"changes the buffer .*call model.eval\(\)"):
        implicit_maml_predict(model, rows(), **INNER | FEW)
    assert_central_difference(model.eval(), rows())


def test_a_second_derivative_that_is_wrong_is_refused():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="weight norm"):
        implicit_maml_loss(nn.Sequential(layer).double(), rows(), **SOLVED)


def test_one_task_is_learned_at_a_time():
    with pytest.raises(ValueError, match="holds 2 tasks: expected one"):
        implicit_maml_learn(network(), sines(), **INNER)
    with pytest.raises(ValueError, match="statistics is 'all': expected"):
        implicit_maml_predict(network(), sines(), statistics="all", **INNER)


def test_a_descent_that_grows_is_seen_in_loss_and_gradient():
    model = linear()
    loss = implicit_maml_loss(model, rows(), **SOLVED | {"inner_lr": 1e3, "penalty": 1e-3})
    assert not loss.isfinite()
    assert not flat(torch.autograd.grad(loss, list(model.parameters()))).isfinite().any()


def test_there_is_no_derivative_of_the_gradient():
    model = linear()
    loss = implicit_maml_loss(model, rows(), **SOLVED)
    with pytest.raises(ValueError, match="create_graph=True"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def test_training_goes_down_hill():
    model, episode = copy.deepcopy(network()), sines(4)
    optimizer, seen = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(15):
        optimizer.zero_grad()
        loss = implicit_maml_loss(model, episode, cg_steps=5, **INNER | {"inner_steps": 6})
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.8 * seen[0]
