"""Reptile: its identities, its expansion in the inner step size, and the state of its Adam."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.autograd import grad
from torch.func import functional_call

from metalearn_lite.evaluation import evaluate, paired_difference
from metalearn_lite.maml import adapt, maml_predict
from metalearn_lite.maml.plain import descend
from metalearn_lite.models import conv4, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import (
    InnerAdam,
    interpolate,
    reptile_learn,
    reptile_loss,
    reptile_predict,
    reptile_step,
)
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.training import meta_train


def small_mlp():
    return mlp(hidden=(6, 5), generator=seeded(0)).double()


def smooth_mlp():
    """A network that the package cannot batch over tasks."""
    layers = nn.Sequential(nn.Linear(1, 7), nn.Tanh(), nn.Dropout(0.0), nn.Linear(7, 1))
    for p in layers.parameters():
        p.data = torch.randn(p.shape, generator=seeded(p.numel()))
    return layers.double()


def images(ways=3):
    stored = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    return ImageTasks(stored, ways=ways, shots=2, queries=3)


def sines():
    def sample(batch=None):
        episode = SineTasks(shots=4, queries=5).sample(seeded(3), batch)
        parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
        return Episode(*(part.double() for part in parts))

    return sample


def named(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def all_close(a, b, **tolerances):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], msg=lambda m, n=name: f"{n}: {m}", **tolerances
        )


def far(a, b):
    return max((a[name] - b[name]).abs().max().item() for name in a)


# interpolation


def test_interpolation_by_0_is_the_start_and_by_1_the_end_exactly():
    start, end = named(small_mlp()), named(mlp(hidden=(6, 5), generator=seeded(1)).double())
    for name, p in interpolate(start, end, 0).items():
        assert torch.equal(p, start[name])
    for name, p in interpolate(start, end, 1).items():
        assert torch.equal(p, end[name])
    half = interpolate(start, end, 0.5)
    all_close(half, {name: (start[name] + end[name]) / 2 for name in start})


def test_interpolation_refuses_what_does_not_fit():
    start = named(small_mlp())
    with pytest.raises(ValueError, match="only one side has 'extra'"):
        interpolate(start, start | {"extra": torch.zeros(1)}, 0.5)
    with pytest.raises(ValueError, match=r"shape \(1,\) at the start and \(2,\) at the end"):
        interpolate({"a": torch.zeros(1)}, {"a": torch.zeros(2)}, 0.5)
    with pytest.raises(ValueError, match="weight is nan"):
        interpolate(start, start, float("nan"))


# identities


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_one_step_of_sgd_is_a_step_of_joint_training(norm):
    model, episode = conv4(3, width=8, norm=norm, generator=seeded(0)).double(), images()
    tasks = episode.sample(seeded(2), 4)
    x, y = (
        torch.cat([tasks.support_x, tasks.query_x], 1),
        torch.cat([tasks.support_y, tasks.query_y], 1),
    )
    joint = sum(nn.functional.cross_entropy(model(a), b) for a, b in zip(x, y, strict=True)) / 4
    gradients = dict(zip(named(model), grad(joint, list(model.parameters())), strict=True))
    step = reptile_step(model, tasks, inner_lr=0.3, inner_steps=1, meta_lr=0.5)
    start = named(model)
    all_close(step, {n: start[n] - 0.5 * 0.3 * gradients[n] for n in start}, atol=1e-12, rtol=0)
    two = reptile_step(model, tasks, inner_lr=0.3, inner_steps=2, meta_lr=0.5)
    assert far(two, {n: start[n] - 2 * 0.5 * 0.3 * gradients[n] for n in start}) > 1e-4


def test_zero_steps_and_a_step_size_of_zero_stay_where_they_are():
    model, episode = small_mlp(), sines()(3)
    for options in (
        {"inner_steps": 0},
        {"inner_steps": 0, "minibatch": 2},
        {"inner_steps": 3, "meta_lr": 0.0},
    ):
        all_close(
            reptile_step(model, episode, inner_lr=0.1, **options), named(model), atol=0, rtol=0
        )


def test_the_whole_way_ends_where_the_inner_loop_of_maml_ends():
    model, episode = small_mlp(), sines()()
    step = reptile_step(model, episode, inner_lr=0.1, inner_steps=3, examples="support")
    params = dict(model.named_parameters())
    adapted = adapt(
        model, params, episode.support_x, episode.support_y, inner_lr=0.1, inner_steps=3
    )
    all_close(step, {name: p.detach() for name, p in adapted.items()})
    predicted = reptile_predict(model, episode, inner_lr=0.1, inner_steps=3)
    torch.testing.assert_close(predicted, maml_predict(model, episode, inner_lr=0.1, inner_steps=3))


def test_the_gradient_of_the_loss_is_the_way_back_from_where_the_tasks_lead():
    model, episode = small_mlp(), sines()(3)
    options = {"inner_lr": 0.05, "inner_steps": 3}
    loss = reptile_loss(model, episode, **options)
    loss.backward()
    end = reptile_step(model, episode, **options)  # all the way
    all_close(
        {n: p.grad for n, p in model.named_parameters()},
        {n: p - end[n] for n, p in named(model).items()},
    )
    each = [reptile_step(model, task, **options) for task in episode.unbind()]
    way = sum(sum((named(model)[n] - e[n]).square().sum() for n in e) for e in each)
    torch.testing.assert_close(loss.detach(), way / 6)


def test_meta_train_takes_reptile_steps_and_goes_on_where_it_stopped(tmp_path):
    def train(path, iterations):
        model = mlp(generator=seeded(0))
        learner = nn.ModuleDict({"network": model, "adam": InnerAdam(model.parameters())})
        torch.manual_seed(0)
        meta_train(
            learner,
            lambda learner, episode: reptile_loss(
                learner["network"],
                episode,
                inner_lr=0.01,
                inner_steps=3,
                minibatch=4,
                inner_optimizer=learner["adam"],
            ),
            SineTasks(shots=5, queries=5),
            iterations=iterations,
            batch=2,
            generator=seeded(1),
            optimizer=torch.optim.SGD(learner.parameters(), lr=0.5),
            checkpoint=path,
            progress=False,
        )
        return learner

    whole = train(tmp_path / "whole.zip", 6).state_dict()
    train(tmp_path / "parts.zip", 4)
    parts = train(tmp_path / "parts.zip", 6).state_dict()
    assert int(whole["adam.steps"]) == 6 * 2 * 3
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name

    model, tasks, generator = mlp(generator=seeded(0)), SineTasks(shots=5, queries=5), seeded(1)
    torch.manual_seed(0)
    adam = InnerAdam(model.parameters())
    for _ in range(6):
        step = reptile_step(
            model,
            tasks.sample(generator, 2),
            inner_lr=0.01,
            inner_steps=3,
            minibatch=4,
            inner_optimizer=adam,
            meta_lr=0.5,
        )
        model.load_state_dict(step, strict=False)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), whole[f"network.{name}"], atol=1e-5, rtol=1e-4)


def test_training_on_sines_beats_the_start():
    tasks, model = SineTasks(shots=10, queries=10), mlp(generator=seeded(0))
    predict = lambda m, e: reptile_predict(m, e, inner_lr=0.02, inner_steps=10)  # noqa: E731
    before = evaluate(model, predict, tasks, episodes=20, generator=seeded(9))
    meta_train(
        model,
        lambda m, e: reptile_loss(m, e, inner_lr=0.02, inner_steps=5, minibatch=10),
        tasks,
        iterations=200,
        batch=4,
        generator=seeded(1),
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    after = evaluate(model, predict, tasks, episodes=20, generator=seeded(9))
    gain = paired_difference(before, after)
    assert gain.mean - gain.half_width > 0


# the expansion: section 5.1 of Nichol et al. (2018)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_expansion_has_the_coefficients_of_the_paper(k):
    """The mean update over all orders of k minibatches, against the two terms of the theory."""
    torch.manual_seed(k)
    model = smooth_mlp()
    params = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    x = torch.linspace(-2, 2, 4 * 3, dtype=torch.float64).view(4, 3, 1)
    y = torch.sin(2 * x) + 0.3 * x.square()

    def loss(i, params):
        return (functional_call(model, params, (x[i],)) - y[i]).square().mean()

    def gradient(i, at, create_graph=False):
        return torch.cat(
            [g.flatten() for g in grad(loss(i, at), list(at.values()), create_graph=create_graph)]
        )

    first = [gradient(i, params, create_graph=True) for i in range(4)]
    average = sum(g.detach() for g in first) / 4
    pairs = list(itertools.permutations(range(4), 2))
    alignment = sum(first[i] @ first[j] for i, j in pairs) / len(pairs) / 2
    inner = torch.cat([g.flatten() for g in grad(alignment, list(params.values()))])

    def updates(order, alpha):
        at = {name: p.detach().requires_grad_() for name, p in params.items()}
        begin, reptile = at, 0
        for i in order[:-1]:
            reptile = reptile + gradient(i, at).detach()
            at = descend(lambda p, i=i: loss(i, p), at, inner_lr=alpha, inner_steps=1)
        last = gradient(order[-1], {n: p.detach().requires_grad_() for n, p in at.items()})
        maml = grad(loss(order[-1], at), list(begin.values()))
        return torch.cat([g.flatten() for g in maml]), last, reptile + last

    def coefficient(which, alpha, order_zero):
        orders = list(itertools.permutations(range(4), k))
        mean = sum(updates(order, alpha)[which].detach() for order in orders) / len(orders)
        rest = (mean - order_zero * average) / alpha
        return ((rest @ inner) / (inner @ inner)).item(), rest

    expected = {0: (1, -2 * (k - 1)), 1: (1, -(k - 1)), 2: (k, -k * (k - 1) / 2)}
    for which, (zero, one) in expected.items():
        wide, rest = coefficient(which, 1e-5, zero)
        assert wide == pytest.approx(one, rel=1e-3)
        # and nothing of first order is left out
        assert (rest - one * inner).norm() < 2e-3 * inner.norm() * abs(one)


# the inner Adam


def test_a_running_adam_passes_its_moments_from_task_to_task_and_a_new_one_does_not():
    model, tasks = small_mlp(), sines()(2)
    options = {"inner_lr": 0.01, "inner_steps": 3}
    adam = InnerAdam(model.parameters())
    first, second = tasks.unbind()
    end = reptile_step(model, first, inner_optimizer=adam, **options)
    all_close(end, reptile_step(model, first, inner_optimizer="adam", **options))
    end = reptile_step(model, second, inner_optimizer=adam, **options)
    assert far(end, reptile_step(model, second, inner_optimizer="adam", **options)) > 1e-4

    # torch's own Adam, with the weights put back and its state left: the authors' training loop
    twin = copy.deepcopy(model)
    reference = torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.0, 0.999))
    for task in (first, second):
        twin.load_state_dict(model.state_dict())
        x, y = torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])
        for _ in range(3):
            reference.zero_grad()
            (twin(x) - y).square().mean().backward()
            reference.step()
    all_close(end, named(twin))


def test_prediction_leaves_a_running_adam_as_it_was():
    model, tasks = small_mlp(), sines()(2)
    adam = InnerAdam(model.parameters())
    reptile_step(model, tasks, inner_lr=0.01, inner_steps=2, inner_optimizer=adam)
    before = {name: t.clone() for name, t in adam.state_dict().items()}
    options = {"inner_lr": 0.01, "inner_steps": 2, "inner_optimizer": adam}
    outputs = reptile_predict(model, tasks, **options)
    for name, t in adam.state_dict().items():
        assert torch.equal(t, before[name])
    alone = [reptile_predict(model, task, **options) for task in tasks.unbind()]
    torch.testing.assert_close(outputs, torch.stack(alone))


@pytest.mark.parametrize("call", [reptile_step, reptile_loss])
def test_what_is_no_episode_is_refused(call):
    with pytest.raises(ValueError, match=r"episode is a str: expected a metalearn_lite\.tasks"):
        call(small_mlp(), "sines", inner_lr=0.1, inner_steps=1)


def test_one_task_is_learned_at_a_time():
    with pytest.raises(ValueError, match="the episode holds 2 tasks: expected one"):
        reptile_learn(small_mlp(), sines()(2), inner_lr=0.1, inner_steps=1)


# minibatches


@pytest.mark.parametrize("call", [reptile_step, reptile_loss, reptile_predict])
def test_the_generator_alone_orders_the_examples(call):
    model, episode = small_mlp(), sines()(2)
    before = torch.get_rng_state()

    def run(seed):
        options = {"inner_lr": 0.1, "inner_steps": 2, "minibatch": 2, "generator": seeded(seed)}
        found = call(model, episode, **options)
        return torch.cat([p.flatten() for p in found.values()]) if call is reptile_step else found

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    assert torch.equal(torch.get_rng_state(), before)


# what is left alone, and what is refused


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_model_is_not_changed_and_frozen_parameters_do_not_move(optimizer):
    model, tasks = conv4(3, width=8, generator=seeded(0)), images().sample(seeded(2), 2)
    tasks = Episode(tasks.support_x.float(), tasks.support_y, tasks.query_x.float(), tasks.query_y)
    model.features[0].requires_grad_(False)
    before = named(model)
    options = {"inner_lr": 0.1, "inner_steps": 2, "inner_optimizer": optimizer}
    step = reptile_step(model, tasks, **options)
    assert "features.0.weight" not in step and "features.3.weight" in step
    reptile_loss(model, tasks, **options)
    with torch.no_grad():
        all_close(reptile_step(model, tasks, **options), step, atol=0, rtol=0)
        reptile_predict(model, tasks, **options)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) and p.grad is None


@pytest.mark.parametrize("statistics", ["queries", "support", "single"])
def test_predictions_of_a_batch_are_those_of_its_tasks(statistics):
    model, tasks = conv4(3, width=8, generator=seeded(0)).double(), images().sample(seeded(2), 2)
    options = {"inner_lr": 0.1, "inner_steps": 2, "statistics": statistics}
    together = reptile_predict(model, tasks, **options)
    assert together.shape == (2, 9, 3) and not together.requires_grad
    for outputs, task in zip(together, tasks.unbind(), strict=True):
        torch.testing.assert_close(outputs, reptile_predict(model, task, **options))


def test_labels_that_the_head_has_not_are_refused():
    tasks = images(ways=4).sample(seeded(0), 2)
    model = conv4(3, width=8, generator=seeded(0)).double()
    with pytest.raises(ValueError, match="expected int64 from 0 to 2"):
        reptile_step(model, tasks, inner_lr=0.1, inner_steps=1)
    with pytest.raises(ValueError, match="statistics is 'all'"):
        reptile_predict(model, tasks, inner_lr=0.1, inner_steps=1, statistics="all")
    with pytest.raises(ValueError, match="examples is 'queries': expected 'all' or 'support'"):
        reptile_step(model, tasks, inner_lr=0.1, inner_steps=1, examples="queries")
