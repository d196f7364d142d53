"""Prototypical networks: the means, their linear head, and what leaves them unchanged."""

import copy

import pytest
import torch
from torch import nn

from metalearn_lite.evaluation import evaluate
from metalearn_lite.models import Network, conv4
from metalearn_lite.prototypes import (
    prototype_head,
    prototype_learn,
    prototype_logits,
    prototype_loss,
    prototype_predict,
    prototypes,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network(norm="batch"):
    return conv4(3, width=8, norm=norm, generator=seeded(0)).double()


@pytest.fixture(scope="module")
def tasks():
    images = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    return ImageTasks(images, ways=4, shots=2, queries=3)


LABELS = torch.tensor([0, 1, 1, 2, 0, 2, 2])


def test_prototypes_are_the_class_means_also_of_unequal_classes():
    z = random(7, 5)
    means = prototypes(z, LABELS)
    for k in range(3):
        torch.testing.assert_close(means[k], z[k == LABELS].mean(dim=0))


def test_prototypes_follow_a_permutation_of_labels_and_not_of_rows():
    z, order, names = random(7, 5), torch.randperm(7, generator=seeded(2)), torch.tensor([2, 0, 1])
    torch.testing.assert_close(prototypes(z[order], LABELS[order]), prototypes(z, LABELS))
    torch.testing.assert_close(prototypes(z, names[LABELS])[names], prototypes(z, LABELS))


def test_with_one_example_a_prototype_is_the_example():
    z = random(3, 5)
    torch.testing.assert_close(prototypes(z, torch.arange(3)), z)


@pytest.mark.parametrize(
    ("labels", "ways", "message"),
    [
        ([0, 2, 2], None, r"class \[1\] has no example"),
        ([0, 1, 1], 4, r"class \[2, 3\] has no example"),
        ([0, 1, 2], 2, "labels go up to 2: expected less than ways, which is 2"),
        ([-1, 0, 1], None, "from -1: expected int64 from 0"),
        ([0.0, 1.0, 2.0], None, "torch.float32 from 0"),
        ([0, 1], None, r"expected \(n, d\) and \(n,\)"),
        ([], None, "n of 1 or more"),
    ],
)
def test_labels_that_cannot_be_averaged_raise(labels, ways, message):
    with pytest.raises(ValueError, match=message):
        prototypes(random(len(labels) if labels == [] else 3, 5), torch.tensor(labels), ways=ways)


def test_euclidean_logits_are_minus_squared_distances():
    z, c = random(6, 5), random(3, 5, seed=1)
    torch.testing.assert_close(prototype_logits(z, c), -(torch.cdist(z, c) ** 2))
    torch.testing.assert_close(prototype_logits(z, c, scale=0.5), -0.5 * torch.cdist(z, c) ** 2)
    shifted = prototype_logits(z + 7, c + 7)
    torch.testing.assert_close(shifted, prototype_logits(z, c))


def test_many_distances_are_those_of_few(monkeypatch):
    z, c = torch.randn(2, 6, 3, generator=seeded(0), dtype=torch.float64) + 7
    few = prototype_logits(z, c)
    monkeypatch.setattr("metalearn_lite.prototypes.means.MOST_DIFFERENCES", 0)
    torch.testing.assert_close(prototype_logits(z, c), few)


def test_many_distances_keep_their_digits_far_from_zero(monkeypatch):
    monkeypatch.setattr("metalearn_lite.prototypes.means.MOST_DIFFERENCES", 0)
    z, c = torch.randn(2, 6, 3, generator=seeded(0)) + torch.tensor([1000.0, 0.0, -1000.0])
    exact = -torch.cdist(z.double(), c.double()).square()
    torch.testing.assert_close(prototype_logits(z, c).double(), exact, rtol=1e-4, atol=1e-4)


def test_up_to_64_mebibytes_of_differences_are_formed_one_by_one(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the binomial formula")

    monkeypatch.setattr(torch, "addmm", refuse)
    means = torch.empty(4096, 1, device="meta")  # shapes alone
    assert prototype_logits(torch.empty(4096, 1, device="meta"), means).shape == (4096, 4096)
    with pytest.raises(AssertionError, match="the binomial formula"):
        prototype_logits(torch.empty(4097, 1, device="meta"), means)


def test_the_square_at_distance_zero_has_a_gradient():
    z = random(1, 5).requires_grad_()
    prototype_logits(z, z.detach().clone()).sum().backward()
    assert z.grad.eq(0).all()  # the distance itself, without the square, gives nan


def test_cosine_logits_see_directions_alone():
    z, c = random(6, 5), random(3, 5, seed=1)
    logits = prototype_logits(3 * z, 0.1 * c, distance="cosine", scale=10)
    torch.testing.assert_close(logits, prototype_logits(z, c, distance="cosine", scale=10))
    assert logits.abs().max() <= 10


def test_the_linear_head_gives_the_same_probabilities():
    z, c = random(6, 5), random(3, 5, seed=1)
    with torch.no_grad():
        linear = prototype_head(c)(z)
    torch.testing.assert_close(linear.softmax(1), prototype_logits(z, c).softmax(1))
    torch.testing.assert_close(linear - z.square().sum(dim=1, keepdim=True), prototype_logits(z, c))


@pytest.mark.parametrize("shapes", [((6, 5), (3, 4)), ((5,), (3, 5)), ((6, 5), (5,))])
def test_logits_of_shapes_that_do_not_fit_raise(shapes):
    with pytest.raises(ValueError, match=r"expected \(m, d\) and \(ways, d\)"):
        prototype_logits(random(*shapes[0]), random(*shapes[1]))


def test_an_unknown_distance_raises():
    with pytest.raises(ValueError, match="distance is 'manhattan': expected 'euclidean'"):
        prototype_logits(random(6, 5), random(3, 5), distance="manhattan")


def gradients(model, loss):
    parameters = list(model.features.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("options", [{}, {"distance": "cosine", "scale": 10.0}])
def test_a_batch_of_tasks_is_the_mean_over_its_tasks(norm, options, tasks):
    model, episode = network(norm), tasks.sample(seeded(2), batch=3)
    together = prototype_loss(model, episode, **options)
    alone = torch.stack([prototype_loss(model, t, **options) for t in episode.unbind()]).mean()
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradients(model, together), gradients(model, alone))


def test_a_network_with_other_layers_gives_the_same(tasks):
    model, episode = network(), tasks.sample(seeded(2), batch=3)
    other = Network(nn.Sequential(model.features, nn.Softplus(100.0)), copy.deepcopy(model.head))
    loss = prototype_loss(other, episode)
    alone = torch.stack([prototype_loss(other, t) for t in episode.unbind()]).mean()
    torch.testing.assert_close(loss, alone)


def test_the_gradient_is_the_central_difference(tasks):
    model, episode = network(), tasks.sample(seeded(2), batch=2)
    slope = gradients(model, prototype_loss(model, episode))
    start = nn.utils.parameters_to_vector(model.features.parameters()).detach()
    direction, values = random(len(start), seed=3), []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * 1e-8 * direction, model.features.parameters())
        values.append(prototype_loss(model, episode).item())
    assert (values[0] - values[1]) / 2e-8 == pytest.approx((slope @ direction).item(), rel=1e-4)


@pytest.mark.parametrize("options", [{"scale": 0.1}, {"distance": "cosine", "scale": 10.0}])
def test_the_loss_takes_distance_and_scale(options, tasks):
    model, episode = network(), tasks.sample(seeded(2))
    logits = prototype_predict(model, episode, **options)
    loss = nn.functional.cross_entropy(logits, episode.query_y)
    torch.testing.assert_close(prototype_loss(model, episode, **options).detach(), loss)


def test_predictions_are_those_of_the_loss_and_take_any_number_of_ways(tasks):
    model, episode = network(), tasks.sample(seeded(2), batch=3)  # four ways, a head of three
    logits = prototype_predict(model, episode)
    assert logits.shape == (3, 12, 4) and not logits.requires_grad
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten())
    torch.testing.assert_close(loss, prototype_loss(model, episode).detach())


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_prediction_takes_distance_and_scale(tasks, distance):
    model, episode = network(), tasks.sample(seeded(2))
    plain, scaled = (
        prototype_predict(model, episode, distance=distance, scale=scale) for scale in (1.0, 3.0)
    )
    torch.testing.assert_close(scaled, 3 * plain)
    support, queries = (model.features(x).detach() for x in (episode.support_x, episode.query_x))
    means = prototypes(support, episode.support_y)
    torch.testing.assert_close(plain, prototype_logits(queries, means, distance=distance))


def test_only_the_whole_query_set_lets_one_query_change_the_answer_to_another(tasks):
    model, episode = network(), tasks.sample(seeded(2))
    other = episode.query_x.clone()
    other[1:] = torch.rand(other[1:].shape, generator=seeded(3), dtype=other.dtype)
    changed = Episode(episode.support_x, episode.support_y, other, episode.query_y)
    for statistics in ("queries", "support", "single"):
        first = [prototype_predict(model, e, statistics=statistics)[0] for e in (episode, changed)]
        assert torch.allclose(*first, rtol=1e-12) == (statistics != "queries")


def test_a_class_that_is_asked_for_without_an_example_raises(tasks):
    episode = tasks.sample(seeded(2))
    rows = episode.support_y < 3
    less = Episode(
        episode.support_x[rows], episode.support_y[rows], episode.query_x, episode.query_y
    )
    with pytest.raises(ValueError, match=r"class \[3\] has no example"):
        prototype_loss(network(), less)


def test_training_and_scoring_are_those_of_every_method(tasks):
    model = network()
    before = copy.deepcopy(model.state_dict())
    first = evaluate(model, prototype_predict, tasks, episodes=3, generator=seeded(4))
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())
    meta_train(
        model,
        prototype_loss,
        tasks,
        iterations=30,
        batch=2,
        generator=seeded(5),
        optimizer=torch.optim.Adam(model.features.parameters(), lr=0.003),
        progress=False,
    )
    after = evaluate(model, prototype_predict, tasks, episodes=3, generator=seeded(4))
    assert after.mean > first.mean
    assert torch.equal(model.head.weight, before["head.weight"])


def test_one_task_is_learned_at_a_time_and_its_queries_ask_for_no_other_class(tasks):
    with pytest.raises(ValueError, match="the episode holds 2 tasks: expected one"):
        prototype_learn(network(), tasks.sample(seeded(2), batch=2))
    task = tasks.sample(seeded(2))
    asked = Episode(task.support_x, task.support_y, task.query_x, task.query_y + 1)
    with pytest.raises(ValueError, match=r"class \[4\] has no example in the support set"):
        prototype_learn(network(), asked)


def test_unless_it_is_told_otherwise_scores_are_plain_squared_distances(tasks):
    model, episode, usual = network(), tasks.sample(seeded(2)), {"distance": "euclidean"}
    usual["scale"] = 1.0
    z, c = random(6, 5), random(3, 5, seed=1)
    assert torch.equal(prototype_logits(z, c), prototype_logits(z, c, **usual))
    assert prototype_loss(model, episode) == prototype_loss(model, episode, **usual)
    predicted = prototype_predict(model, episode)
    assert torch.equal(predicted, prototype_predict(model, episode, **usual))
    learned, told = prototype_learn(model, episode), prototype_learn(model, episode, **usual)
    assert torch.equal(learned(episode.query_x), told(episode.query_x))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_raises(scale):
    with pytest.raises(ValueError, match=f"scale is {scale}: expected a finite number above 0"):
        prototype_logits(random(6, 5), random(3, 5), scale=scale)
