"""Many tasks at once, in pieces: loss, meta-gradient and adapted parameters of the plain loop."""

import copy

import pytest
import torch
from torch import nn

from metalearn_lite.maml import MetaSGD, batched, maml_loss, plain
from metalearn_lite.maml.batched import Settings
from metalearn_lite.models import BatchStatisticsNorm, Network, conv4, initialise, mlp
from metalearn_lite.models.grouped import grouped
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks

RATE = 0.3


def images(tasks=3, queries=2):
    stored = torch.rand(5, 6, 1, 4, 4, generator=seeded(0), dtype=torch.float64)
    return ImageTasks(stored, ways=2, shots=1, queries=queries).sample(seeded(1), tasks)


def sines(tasks=5, queries=3):
    return SineTasks(2, queries, dtype=torch.float64).sample(seeded(1), tasks)


def convolutions(norm="batch"):
    """Two convolutions, the first with more filters than pixels in a patch."""
    layer = BatchStatisticsNorm(10) if norm == "batch" else nn.GroupNorm(2, 10)
    first, second = nn.Conv2d(1, 10, 3, stride=2, padding=1), nn.Conv2d(10, 3, 2)
    features = nn.Sequential(first, layer, nn.ReLU(), second, nn.Softplus(), nn.Flatten())
    return initialise(Network(features, nn.Linear(3, 2)), seeded(0)).double()


def perceptron():
    return mlp(hidden=(6, 3), generator=seeded(0)).double()


CASES = {
    "images, batch norm": (convolutions, images),
    "images, group norm": (lambda: convolutions("group"), images),
    "sines": (perceptron, sines),
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


def together(model, episode, **options):
    episode = episode.as_batch()
    network = stacked_network(model, episode.support_x, episode.query_x)
    options = {"inner_lr": RATE, "inner_steps": 1, **options}
    return batched.maml_loss(network, model, episode, Settings(**options))


def one_by_one(model, episode, **options):
    return plain.maml_loss(model, episode, **{"inner_lr": RATE, "inner_steps": 1, **options})


def gradients(loss, sources):
    return torch.autograd.grad(loss, sources, materialize_grads=True)


def same(model, episode, *, chunk=None, sources=None, **options):
    """Assert that both ways give one loss and one gradient by each source."""
    sources = list(model.parameters()) if sources is None else sources
    found = together(model, episode, chunk=chunk, **options)
    expected = one_by_one(model, episode, **options)
    exactly = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(found, expected, **exactly)
    slopes, wanted = gradients(found, sources), gradients(expected, sources)
    torch.testing.assert_close(slopes, wanted, **exactly)
    assert any(slope.abs().max() > 1e-8 for slope in slopes)


# the loss and its gradient


@pytest.mark.parametrize("method", METHODS)
def test_tasks_computed_together_give_what_the_plain_loop_gives(case, method):
    model, episode = case
    same(model, episode, chunk=2, inner_steps=2, **METHODS[method])


@pytest.mark.parametrize("head_only", [True, False])
def test_zero_steps_give_the_plain_query_loss(case, head_only):
    model, episode = case
    same(model, episode, inner_steps=0, head_only=head_only)


@pytest.mark.parametrize("method", METHODS)
def test_tasks_together_give_the_rates_the_gradient_of_the_plain_loop(case, method):
    model, episode = case
    learner = MetaSGD(model, RATE)
    options = {"inner_lr": learner.inner_lr, "inner_steps": 2, **METHODS[method]}
    same(model, episode, sources=list(learner.parameters()), chunk=2, **options)


def test_one_learned_rate_and_rates_of_both_kinds_are_those_of_the_plain_loop():
    model, episode = convolutions("group"), images()
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    same(model, episode, inner_lr=rate, inner_steps=2, sources=[rate, *model.parameters()])
    rates = {name: 0.1 * i for i, (name, _) in enumerate(model.named_parameters())}
    rates |= {"features.3.weight": rate, "head.bias": rate.detach()}
    same(model, episode, inner_lr=rates, inner_steps=2, sources=[rate, *model.parameters()])


def test_a_single_episode_is_a_batch_of_one(case):
    model, episode = case
    task = next(episode.unbind())
    same(model, task, inner_steps=2)
    assert torch.equal(together(model, task), together(model, task.as_batch()))


def test_other_numbers_of_support_and_query_examples_are_no_matter():
    for queries in (1, 4):
        same(convolutions(), images(queries=queries), inner_steps=1)


@pytest.mark.parametrize("factor", [1 / 7, -2.0, 0.0])
def test_a_loss_that_is_scaled_or_added_to_has_the_gradient_of_that(factor):
    model, episode = perceptron(), sines()
    params = list(model.parameters())
    alone = gradients(one_by_one(model, episode), params)
    scaled = gradients(factor * together(model, episode), params)
    torch.testing.assert_close(scaled, tuple(factor * g for g in alone))
    penalty = sum(p.square().sum() for p in params) / 2
    added = gradients(together(model, episode) + factor * penalty, params)
    expected = tuple(g + factor * p.detach() for g, p in zip(alone, params, strict=True))
    torch.testing.assert_close(added, expected)


def test_gradients_of_pieces_of_a_batch_add_up_in_the_parameters():
    """Gradient accumulation: k losses, each divided by k."""
    model, episode = perceptron(), sines(4)
    for i in range(0, 4, 2):
        (together(model, episode.slice(i, i + 2)) / 2).backward()
    whole = gradients(together(model, episode), list(model.parameters()))
    torch.testing.assert_close(tuple(p.grad for p in model.parameters()), whole)


# frozen parameters


FROZEN = {
    "some": ("features.0.weight", "features.3.bias"),
    "head": ("head.weight",),
    "below": ("features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias"),
    "body": tuple(f"features.{i}.{kind}" for i in (0, 1, 3) for kind in ("weight", "bias")),
}


@pytest.mark.parametrize("method", ["second order", "ANIL, first order"])
@pytest.mark.parametrize("frozen", FROZEN.values(), ids=FROZEN)
@pytest.mark.parametrize("learned", [True, False], ids=["Meta-SGD", "one rate"])
def test_what_is_frozen_stays_in_both_loops_as_in_the_plain_one(frozen, method, learned):
    model, episode = convolutions(), images()
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    learner = MetaSGD(model, RATE)
    same(
        model,
        episode,
        sources=[p for p in learner.parameters() if p.requires_grad],
        inner_lr=learner.inner_lr if learned else RATE,
        inner_steps=2,
        **METHODS[method],
    )
    together(model, episode, **METHODS[method]).backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) == (name in frozen)


# pieces


def budget(model, x, tasks, monkeypatch):
    """Allow as many numbers as ``tasks`` tasks with the examples of ``x`` need."""
    network = stacked_network(model)
    largest = batched._largest_layer(network, network.pack(dict(model.named_parameters())), x)
    monkeypatch.setattr(batched, "BUDGET_CPU", tasks * x.shape[1] * largest)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("learned", [True, False])
def test_pieces_that_do_not_divide_the_number_of_tasks_are_weighed_by_their_tasks(
    method, learned, monkeypatch
):
    model, episode, seen = perceptron(), sines(5), []
    budget(model, episode.query_x, 2, monkeypatch)  # 3 queries, and so 3 tasks of 2 support points
    task_loss = batched.task_loss
    monkeypatch.setattr(batched, "task_loss", lambda o, y: seen.append(y.shape) or task_loss(o, y))
    learner = MetaSGD(model, RATE)
    options = {"inner_lr": learner.inner_lr if learned else RATE, **METHODS[method]}
    same(model, episode, sources=list(learner.parameters()), inner_steps=1, **options)
    assert [tuple(shape[:2]) for shape in seen] == [(3, 2), (2, 3), (1, 3), (2, 2), (2, 3)]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_differentiated_once_goes_through_grouped_convolutions(method, monkeypatch):
    """The queries always; the support set where the inner loop is not differentiated."""
    seen = []

    def watched(network, params, x):
        seen.append(x.shape[1])
        return grouped(network, params, x)

    monkeypatch.setattr(batched, "grouped", watched)
    model, episode = convolutions().float(), images(queries=2)
    episode = Episode(
        episode.support_x.float(), episode.support_y, episode.query_x.float(), episode.query_y
    )
    found = [
        (loss, *gradients(loss, list(model.parameters())))
        for way in (one_by_one, together)
        for loss in [way(model, episode, **METHODS[method])]
    ]
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    once = {"second order": {4}, "first order": {2, 4}}.get(method, set())
    assert set(seen) == once  # a linear head alone has no images
    seen.clear()
    together(convolutions(), images(), **METHODS[method])
    assert not seen  # in float64 PyTorch's own convolution is slow


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 9])
def test_the_size_of_the_pieces_changes_nothing(chunk):
    same(perceptron(), sines(5), chunk=chunk, inner_steps=2)


def test_a_task_that_is_over_the_budget_goes_alone(monkeypatch):
    monkeypatch.setattr(batched, "BUDGET_CPU", 1)
    same(perceptron(), sines(3), inner_steps=1)


def test_as_many_tasks_go_at_once_as_their_examples_fit_into_the_budget(monkeypatch):
    monkeypatch.setattr(batched, "BUDGET_CPU", 1000)
    monkeypatch.setattr(batched, "BUDGET_ELSEWHERE", 10**6)
    for threads, fitting in {1: (10, 9, 1), 2: (10, 10, 2), 4: (12, 12, 4)}.items():
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        counts = [batched._fitting(torch.empty(4, n, 2), 20) for n in (5, 6, 51)]
        assert counts == list(fitting)
    assert batched._fitting(torch.empty(4, 5, 2, device="meta"), 20) == 10**4


@pytest.mark.parametrize(
    ("model", "x", "largest"),
    [
        (mlp(2, 3, hidden=(7, 5)), torch.zeros(4, 6, 2), 7),
        (mlp(2, 9, hidden=(7, 5)), torch.zeros(4, 6, 2), 9),
        (conv4(2, width=4, norm="none"), torch.zeros(4, 6, 1, 28, 28), 4 * 14 * 14),
        (conv4(2, width=4, channels=3), torch.zeros(4, 6, 3, 8, 8), 4 * 4 * 4),
    ],
)
def test_the_largest_layer_is_counted_for_one_example(model, x, largest):
    network = stacked_network(model)
    packed = network.pack(dict(model.named_parameters()))
    assert batched._largest_layer(network, packed, x) == largest


def test_pieces_of_no_task_are_an_error():
    for chunk in (0, -1):
        with pytest.raises(
            ValueError, match=f"chunk is {chunk}: expected a whole number, 1 or more"
        ):
            maml_loss(perceptron(), sines(), inner_lr=RATE, inner_steps=1, chunk=chunk)


# what is left alone, and what is not there


@pytest.mark.parametrize("method", METHODS)
def test_without_gradients_the_value_is_right_and_unconnected(method):
    model, episode = perceptron(), sines()
    learner = MetaSGD(model, RATE)
    options = {"inner_lr": learner.inner_lr, "inner_steps": 2, **METHODS[method]}
    with torch.no_grad():
        quiet = together(model, episode, **options)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, one_by_one(model, episode, **options).detach())


def test_computing_the_loss_writes_no_gradient_and_changes_no_weight():
    model, episode = convolutions(), images()
    learner = MetaSGD(model, RATE)
    before = copy.deepcopy(learner.state_dict())
    together(model, episode, inner_lr=learner.inner_lr, inner_steps=2)
    assert all(p.grad is None and p.requires_grad for p in learner.parameters())
    assert all(torch.equal(t, before[name]) for name, t in learner.state_dict().items())


def test_the_settings_are_those_of_maml_of_second_order_unless_told_otherwise():
    usual = Settings(0.1, 1, first_order=False, head_only=False, chunk=None)
    assert Settings(0.1, 1) == usual


def test_labels_that_the_head_has_not_are_named_in_both_loops():
    episode = ImageTasks(torch.rand(5, 6, 1, 4, 4).double(), 3, 1, 2).sample(seeded(0), 2)
    for inner_steps in (0, 1):
        with pytest.raises(ValueError, match="expected int64 from 0 to 1"):
            together(convolutions(), episode, inner_steps=inner_steps)


# adapted parameters


def adapt_together(model, params, episode, **options):
    network = stacked_network(model, episode.support_x)
    settings = Settings(**{"inner_lr": RATE, "inner_steps": 2, **options})
    x, y = episode.support_x, episode.support_y
    return batched.adapt(network, model, params, x, y, settings)


def adapt_one_by_one(model, params, episode, **options):
    options = {"inner_lr": RATE, "inner_steps": 2, **options}
    each = [
        plain.adapt(model, params, task.support_x, task.support_y, **options)
        for task in episode.unbind()
    ]
    return {name: torch.stack([adapted[name] for adapted in each]) for name in params}


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("part", ["", "head.", "features.0."])
def test_the_adapted_parameters_of_a_batch_stay_connected_to_start_and_rates(
    case, part, first_order
):
    model, episode = case
    learner = MetaSGD(model, RATE)
    params = {n: p for n, p in model.named_parameters() if n.startswith(part)}
    options = {"inner_lr": learner.inner_lr, "first_order": first_order}
    found = adapt_together(model, params, episode, **options)
    expected = adapt_one_by_one(model, params, episode, **options)
    torch.testing.assert_close(found, expected)
    assert list(found) == list(params)
    slopes = [
        gradients(sum(p.sin().sum() for p in adapted.values()), list(learner.parameters()))
        for adapted in (found, expected)
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-10)


def test_zero_steps_give_each_task_what_was_given(case):
    model, episode = case
    params = dict(model.named_parameters())
    for name, p in adapt_together(model, params, episode, inner_steps=0).items():
        assert torch.equal(p, params[name].expand(len(episode.support_y), *params[name].shape))


def test_adapting_from_other_parameters_begins_at_these():
    model, episode = convolutions("group"), images()
    moved = {name: p.detach() + 0.1 for name, p in model.named_parameters()}
    found = adapt_together(model, moved, episode)
    torch.testing.assert_close(found, adapt_one_by_one(model, moved, episode))
    assert not any(p.requires_grad for p in found.values())


def test_a_network_without_a_head_of_its_own_is_computed_too():
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1, bias=False)).double()
    same(model, sines(), inner_steps=2)


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (1, 3, 1, 1), (3, 1, 1, 1), (3, 3, 3, 3)])
@pytest.mark.parametrize("for_all", [False, True])
def test_a_rate_that_broadcasts_over_a_weight_does_so_in_the_layout_of_the_weight(shape, for_all):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), nn.Tanh(), nn.Flatten()).double()
    x = torch.randn(2, 4, 3, 3, 3, generator=seeded(0), dtype=torch.float64)
    y = torch.arange(4).remainder(3).expand(2, -1)
    rate = torch.rand(shape, generator=seeded(1), dtype=torch.float64).requires_grad_()
    inner_lr = rate if for_all else {"0.weight": rate}
    network, params = stacked_network(model, x), dict(model.named_parameters())
    loss = batched.maml_loss(network, model, Episode(x, y, x, y), Settings(inner_lr, 2))
    wanted = plain.maml_loss(model, Episode(x, y, x, y), inner_lr=inner_lr, inner_steps=2)
    torch.testing.assert_close(loss, wanted)
    gradients = (torch.autograd.grad(value, rate)[0] for value in (loss, wanted))
    torch.testing.assert_close(*gradients)
    adapted = batched.adapt(network, model, params, x, y, Settings(inner_lr, 1))["0.weight"]
    for task in range(2):
        alone = plain.adapt(model, params, x[task], y[task], inner_lr=inner_lr, inner_steps=1)
        torch.testing.assert_close(adapted[task], alone["0.weight"])
