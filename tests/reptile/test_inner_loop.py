"""The walk of Reptile: minibatches, tasks together and one by one, settings."""

import pytest
import torch
from torch import nn

from metalearn_lite.models import conv4, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import InnerAdam, reptile_step
from metalearn_lite.reptile.inner_loop import Walk, ends_of_tasks
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks


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


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("minibatch", [None, 4, 7, 100])
def test_tasks_together_give_the_mean_of_tasks_one_by_one(optimizer, minibatch):
    model, tasks = conv4(3, width=8, generator=seeded(0)).double(), images().sample(seeded(2), 3)
    options = {"inner_lr": 0.1, "inner_steps": 3, "minibatch": minibatch}
    options["inner_optimizer"] = optimizer
    # Adam divides a gradient by its own size: rounding decides the sign of those that are zero
    model.requires_grad_(False)
    for name, p in model.named_parameters():
        p.requires_grad_(not (name.startswith("features") and name.endswith("bias")))
    one_by_one, order = [], seeded(5)
    for task in tasks.unbind():
        one_by_one.append(reptile_step(model, task, generator=order, **options))
    together = reptile_step(model, tasks, generator=seeded(5), **options)
    mean = {name: sum(step[name] for step in one_by_one) / 3 for name in together}
    all_close(together, mean, atol=1e-9, rtol=0)
    if minibatch == 4:
        assert far(together, reptile_step(model, tasks, generator=seeded(6), **options)) > 1e-6


def test_a_network_that_cannot_be_batched_gives_what_its_twin_gives():
    plain = smooth_mlp()
    twin = nn.Sequential(plain[0], plain[1], plain[3])
    episode, options = sines()(3), {"inner_lr": 0.05, "inner_steps": 4, "minibatch": 3}
    a = reptile_step(plain, episode, generator=seeded(0), **options)
    b = reptile_step(twin, episode, generator=seeded(0), **options)
    assert far(a, named(plain)) > 1e-3
    all_close({n.replace("3.", "2."): p for n, p in a.items()}, b)


def test_an_inner_adam_of_another_network_is_refused():
    adam = InnerAdam(mlp(hidden=(3,)).parameters())
    with pytest.raises(ValueError, match="build InnerAdam from the parameters that adapt"):
        reptile_step(small_mlp(), sines()(), inner_lr=0.1, inner_steps=1, inner_optimizer=adam)


def test_minibatches_show_every_example_once_before_any_twice():
    seen = []

    def loss_fn(outputs, targets):
        seen.append(targets.flatten())
        return (outputs - targets).square().mean()

    episode = sines()()  # nine examples in all
    options = {"inner_lr": 0.0, "inner_steps": 6, "minibatch": 3, "loss_fn": loss_fn}
    reptile_step(small_mlp(), episode, generator=seeded(0), **options)
    everything = torch.cat([episode.support_y, episode.query_y]).flatten().sort().values
    rounds = torch.stack(seen).view(2, 9)
    for one in rounds:
        assert torch.equal(one.sort().values, everything)
    assert not torch.equal(rounds[0], rounds[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": -1}, "inner_steps is -1"),
        ({"inner_lr": float("nan")}, "inner_lr is nan"),
        ({"inner_lr": -0.1}, "inner_lr is -0.1: expected a finite number, 0 or more"),
        ({"minibatch": 0}, "minibatch is 0"),
        ({"inner_optimizer": "lamb"}, "inner_optimizer is 'lamb'"),
        ({"examples": "queries"}, "examples is 'queries'"),
        ({"meta_lr": float("inf")}, "weight is inf"),
    ],
)
def test_a_wrong_setting_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        reptile_step(small_mlp(), sines()(), **{"inner_lr": 0.1, "inner_steps": 1} | options)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_ends_are_those_of_ordinary_training_on_the_same_minibatches(optimizer):
    model, episode = small_mlp(), sines()(2)
    x, y = episode.support_x, episode.support_y
    walk = Walk(0.05, 5, 3, optimizer, None, seeded(7))
    ends = ends_of_tasks(model, x, y, walk)
    shuffled = [
        torch.cat([torch.randperm(4, generator=order) for _ in range(4)])
        for order in [seeded(7)]
        for _ in range(2)
    ]
    for task, order in enumerate(shuffled):
        twin = small_mlp()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        betas = {"betas": (0.0, 0.999)} if optimizer == "adam" else {}
        steps = kind(twin.parameters(), lr=0.05, **betas)
        for rows in order[:15].split(3):
            steps.zero_grad()
            (twin(x[task, rows]) - y[task, rows]).square().mean().backward()
            steps.step()
        all_close({n: p[task] for n, p in ends.items()}, named(twin), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("steps", "minibatch"), [(3, None), (3, 4), (3, 100), (0, 2)])
def test_steps_on_all_examples_and_no_steps_draw_nothing(steps, minibatch):
    episode, order = sines()(2), seeded(0)
    before = order.get_state()
    x, y = episode.support_x, episode.support_y
    ends = ends_of_tasks(small_mlp(), x, y, Walk(0.1, steps, minibatch, "sgd", None, order))
    assert torch.equal(order.get_state(), before)
    whole = ends_of_tasks(small_mlp(), x, y, Walk(0.1, steps, None, "sgd", None, None))
    all_close(ends, whole, atol=0, rtol=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_parameter_that_nothing_depends_on_stays_where_it_is(optimizer):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(1, 1).double(), nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.used(x)

    episode = sines()(2)
    walk = Walk(0.1, 2, None, optimizer, None, None)
    ends = ends_of_tasks(Idle(), episode.support_x, episode.support_y, walk)
    assert torch.equal(ends["idle"], torch.ones(2, 2)) and ends["used.bias"].abs().min() > 0
