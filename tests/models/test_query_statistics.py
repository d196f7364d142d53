"""Who is in the batch that a query is answered in, and that each task is answered on its own."""

from functools import partial

import pytest
import torch
from torch import nn

from metalearn_lite.models import Network, conv4
from metalearn_lite.models.functional import call
from metalearn_lite.models.query_statistics import (
    answer,
    answer_each_task,
    check_statistics,
    task_features,
)
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks

EVERY = ("queries", "single", "support")


class Branching(nn.Module):
    """Looks into its inputs, which ``vmap`` cannot."""

    def forward(self, x):
        return 2 * x if x.sum() > 0 else -x


def points(tasks=2):
    """Two support inputs and three queries of two numbers, all different."""
    x = torch.arange(10.0 * tasks, dtype=torch.float64).view(tasks, 5, 2) - 5
    labels = torch.zeros(tasks, 5, dtype=torch.int64)
    return Episode(x[:, :2], labels[:, :2], x[:, 2:], labels[:, 2:])


def images(tasks=2):
    stored = torch.rand(5, 4, 1, 8, 8, generator=seeded(0), dtype=torch.float64)
    return ImageTasks(stored, ways=2, shots=1, queries=2).sample(seeded(1), tasks)


def network(norm="batch"):
    return conv4(2, width=4, norm=norm, generator=seeded(0)).double()


def batches_seen(statistics):
    """Return the batches that the queries of one task are answered in, and the answers."""
    task, seen = next(points().unbind()), []

    def outputs(x):
        seen.append(x)
        return x.sum(dim=1, keepdim=True)

    return task, seen, answer(Branching(), outputs, task, statistics)


# one task


def test_only_the_three_names_are_known():
    for name in EVERY:
        check_statistics(name)
    for name in ("query", "all", "", None):
        with pytest.raises(ValueError, match=f"statistics is {name!r}: expected 'queries', 'sin"):
            check_statistics(name)


def test_with_queries_all_of_them_are_in_one_batch():
    task, seen, answers = batches_seen("queries")
    assert len(seen) == 1 and torch.equal(seen[0], task.query_x)
    assert torch.equal(answers, task.query_x.sum(dim=1, keepdim=True))


def test_with_support_each_query_comes_last_in_a_batch_with_the_support_set():
    task, seen, answers = batches_seen("support")
    for x, query in zip(seen, task.query_x, strict=True):
        assert torch.equal(x, torch.cat([task.support_x, query[None]]))
    assert torch.equal(answers, task.query_x.sum(dim=1, keepdim=True))


def test_with_single_each_query_is_a_batch_of_its_own():
    task, seen, answers = batches_seen("single")
    for x, query in zip(seen, task.query_x, strict=True):
        assert torch.equal(x, query[None])
    assert torch.equal(answers, task.query_x.sum(dim=1, keepdim=True))


def test_only_a_network_that_normalises_by_the_batch_is_touched_by_the_choice():
    task = next(images().unbind())
    for norm in ("batch", "none"):
        model = network(norm)
        queries, *others = (answer(model, model, task, s) for s in EVERY)
        for other in others:
            assert torch.allclose(other, queries, rtol=1e-10) == (norm == "none")


@pytest.mark.parametrize("statistics", ["support", "single"])
def test_queries_answered_at_once_are_answered_as_one_by_one(statistics):
    model, task = network(), next(images().unbind())
    calls = []

    def outputs(x):
        calls.append(len(x))
        return model(x)

    at_once = answer(model, outputs, task, statistics)
    assert len(calls) == 1
    model.register_forward_hook(lambda *_: None)  # with a hook, the plain way
    torch.testing.assert_close(answer(model, outputs, task, statistics), at_once)
    assert len(calls) == 1 + len(task.query_x)


@pytest.mark.parametrize("statistics", EVERY)
def test_a_layer_that_looks_into_its_inputs_is_answered_too_and_without_a_gradient(statistics):
    model = Network(Branching(), nn.Linear(2, 3).double())
    answers = answer(model, model, next(points().unbind()), statistics)
    assert answers.shape == (3, 3) and not answers.requires_grad


@pytest.mark.parametrize("statistics", EVERY)
def test_answers_need_no_network_behind_them(statistics):
    task = next(points().unbind())
    answers = answer(None, Branching(), task, statistics)
    torch.testing.assert_close(answers, answer(Branching(), Branching(), task, statistics))


def test_an_unknown_name_raises_before_anything_is_learned_or_answered():
    def never(*_):
        raise AssertionError("was called")

    with pytest.raises(ValueError, match="statistics is 'all': expected"):
        answer(network(), never, next(images().unbind()), "all")
    with pytest.raises(ValueError, match="statistics is 'all': expected"):
        answer_each_task(network(), images(), never, "all")


# many tasks


@pytest.mark.parametrize("statistics", EVERY)
def test_each_task_is_learned_once_and_answered_with_what_was_learned_from_it(statistics):
    model, episode, learned = network(), images(3), []

    def learn(task):
        learned.append(task)
        return partial(call, model, {"head.bias": torch.full((2,), float(len(learned))).double()})

    outputs = answer_each_task(model, episode, learn, statistics)
    assert outputs.shape == (3, 4, 2) and not outputs.requires_grad
    assert len(learned) == 3
    for i, task in enumerate(episode.unbind()):
        assert torch.equal(learned[i].support_x, task.support_x)
        moved = answer(model, model, task, statistics) - model.head.bias.detach() + i + 1
        torch.testing.assert_close(outputs[i], moved)


def test_where_nothing_is_said_all_queries_are_in_one_batch():
    model, episode = network(), images()
    outputs = answer_each_task(model, episode, lambda _: model)
    assert torch.equal(outputs, answer_each_task(model, episode, lambda _: model, "queries"))


def test_a_single_episode_gets_no_task_dimension_and_a_batch_of_one_has_it():
    model, one = network(), next(images().unbind())
    alone = answer_each_task(model, one, lambda _: model, "queries")
    assert alone.shape == (4, 2)
    batch = answer_each_task(model, one.as_batch(), lambda _: model, "queries")
    assert torch.equal(batch, alone.unsqueeze(0))


# features


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("known", [True, False])
def test_features_of_a_batch_are_those_of_each_support_and_query_set_alone(norm, known):
    features, episode = network(norm).features, images(3)
    together = features if known else nn.Sequential(features, nn.Dropout(0.0))
    assert (stacked_network(together) is not None) == known
    found = list(task_features(together, episode))
    assert len(found) == 3
    for (task, support, queries), own in zip(found, episode.unbind(), strict=True):
        assert torch.equal(task.support_x, own.support_x)
        assert torch.equal(task.query_y, own.query_y)
        torch.testing.assert_close(support, features(own.support_x))
        torch.testing.assert_close(queries, features(own.query_x))


def test_tasks_whose_features_are_known_pass_together_and_others_one_by_one():
    calls = []

    class Counting(nn.Sequential):
        def forward(self, x):
            calls.append(x.shape)
            return super().forward(x)

    layers, episode = network().features, images(3)
    list(task_features(Counting(*layers), episode))  # of a class that is not known
    assert len(calls) == 6
    vmapped, seen = torch.func.vmap, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.func, "vmap", lambda f: lambda x: seen.append(x) or vmapped(f)(x))
        list(task_features(layers, episode))
    assert [len(x) for x in seen] == [3, 3]


@pytest.mark.parametrize("tasks", [None, 2])
def test_the_features_are_connected_to_the_weights(tasks):
    features = network().features
    loss = sum((s.square().sum() + q.sum()) for _, s, q in task_features(features, images(tasks)))
    slopes = torch.autograd.grad(loss, list(features.parameters()))
    assert any(slope.abs().max() > 1e-6 for slope in slopes)


def test_a_single_episode_is_one_task():
    features, one = network().features, next(images().unbind())
    ((task, support, queries),) = task_features(features, one)
    assert task is one
    torch.testing.assert_close(support, features(one.support_x))
    torch.testing.assert_close(queries, features(one.query_x))


@pytest.mark.parametrize(
    "use",
    [
        lambda model, found: answer_each_task(model, found, lambda _: model),
        lambda model, found: list(task_features(model.features, found)),
    ],
)
def test_what_is_no_episode_is_refused(use):
    with pytest.raises(ValueError, match=r"episode is a tuple: expected a metalearn_lite\.tasks"):
        use(network(), (1, 2))
