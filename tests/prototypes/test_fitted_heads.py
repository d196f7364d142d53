"""Convex heads: the optimum in closed form, its gradient, and what answers with it."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch import nn

from metalearn_lite.evaluation import evaluate
from metalearn_lite.models import Network, conv4
from metalearn_lite.prototypes import (
    LearnedRidge,
    head_learn,
    head_predict,
    logistic_head,
    prototypes,
    ridge_head,
    ridge_learn,
    ridge_loss,
    ridge_predict,
    svm_head,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import as_predict, linear_probe

LABELS = torch.tensor([0, 1, 1, 2, 0, 2, 2])
FITS = {"ridge": ridge_head, "svm": svm_head, "logistic": logistic_head}
each_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
each_size = pytest.mark.parametrize("d", [3, 7, 12])  # fewer than, as many as, more than examples


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network(norm="batch"):
    return conv4(3, width=8, norm=norm, generator=seeded(0)).double()


def smooth(model):
    """Replace the kinks, which a central difference stumbles over."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.ReLU):
            model.set_submodule(name, nn.Softplus())
    return model


@pytest.fixture(scope="module")
def tasks():
    images = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    return ImageTasks(images, ways=4, shots=2, queries=3)


# Ridge regression


@each_size
def test_the_ridge_head_is_the_optimum_of_what_it_says_it_minimises(d):
    z, penalty = random(7, d), torch.tensor(0.3, dtype=torch.float64)
    weight, bias = (p.requires_grad_() for p in ridge_head(z, LABELS, penalty=penalty))
    errors = F.linear(z, weight, bias) - F.one_hot(LABELS)
    loss = errors.square().sum() + penalty * weight.square().sum()
    for slope in torch.autograd.grad(loss, (weight, bias)):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-10)


@each_size
def test_the_ridge_head_is_that_of_scikit_learn(d):
    z = random(7, d)
    weight, bias = ridge_head(z, LABELS, penalty=0.3)
    fitted = Ridge(alpha=0.3, tol=1e-12).fit(z.numpy(), F.one_hot(LABELS).numpy())
    np.testing.assert_allclose(weight, fitted.coef_, atol=1e-8)
    np.testing.assert_allclose(bias, fitted.intercept_, atol=1e-8)


def test_both_forms_of_the_solution_are_one():
    z = random(7, 6)
    wide = torch.cat([z, torch.zeros(7, 6, dtype=z.dtype)], dim=1)  # the same, by the other form
    (weight, bias), (padded, same) = (ridge_head(x, LABELS, penalty=0.3) for x in (z, wide))
    torch.testing.assert_close(padded[:, :6], weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(same, bias, rtol=0, atol=1e-10)


@each_size
def test_a_ridge_head_lies_where_its_features_do_whatever_the_default_device(d):
    z = random(7, d)
    expected = ridge_head(z, LABELS)
    with torch.device("meta"):
        found = ridge_head(z, LABELS)
    assert all(torch.equal(p, q) for p, q in zip(found, expected, strict=True))


@each_size
def test_the_solution_has_the_gradient_of_a_central_difference(d):
    z = random(7, d).requires_grad_()
    penalty = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z, p: ridge_head(z, LABELS, penalty=p), (z, penalty))


def test_a_large_penalty_leaves_the_shares_of_the_classes_and_the_direction_of_the_means():
    z, penalty = random(7, 5), 1e9
    weight, bias = ridge_head(z, LABELS, penalty=penalty)
    counts = LABELS.bincount().double()
    torch.testing.assert_close(bias, counts / 7, rtol=1e-6, atol=0)
    offsets = counts.unsqueeze(1) * (prototypes(z, LABELS) - z.mean(dim=0))
    torch.testing.assert_close(penalty * weight, offsets, rtol=1e-6, atol=1e-8)


def test_without_much_penalty_more_features_than_examples_fit_the_labels():
    z = random(7, 12)
    outputs = F.linear(z, *ridge_head(z, LABELS, penalty=1e-9))
    torch.testing.assert_close(outputs, F.one_hot(LABELS).double(), rtol=0, atol=1e-6)


@each_fit
def test_a_permutation_of_labels_permutes_the_outputs_and_an_order_of_rows_does_not(fit):
    z, names, order = random(7, 5), torch.tensor([2, 0, 1]), torch.tensor([4, 2, 0, 6, 1, 5, 3])
    outputs = F.linear(z, *fit(z, LABELS))
    renamed = F.linear(z, *fit(z, names[LABELS]))[:, names]
    reordered = F.linear(z, *fit(z[order], LABELS[order]))
    torch.testing.assert_close(renamed, outputs, rtol=0, atol=1e-6)
    torch.testing.assert_close(reordered, outputs, rtol=0, atol=1e-6)


@each_fit
@pytest.mark.parametrize("ways", [1, 2])
def test_one_and_two_ways_have_a_row_for_each_class(fit, ways):
    z, labels = random(4, 5), torch.arange(4) % ways
    weight, bias = fit(z, labels)
    assert weight.shape == (ways, 5) and bias.shape == (ways,)
    assert weight.dtype == torch.float64 and not weight.requires_grad
    outputs = F.linear(z, weight, bias)
    assert torch.equal(outputs.argmax(dim=1), labels)


@each_fit
def test_a_class_without_an_example_raises(fit):
    with pytest.raises(ValueError, match=r"class \[1\] has no example"):
        fit(random(3, 5), torch.tensor([0, 2, 2]))


@pytest.mark.parametrize("fit", [ridge_head, svm_head])
def test_a_class_that_is_only_named_raises(fit):
    with pytest.raises(ValueError, match=r"class \[3\] has no example"):
        fit(random(7, 5), LABELS, ways=4)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda bad: ridge_head(random(7, 5), LABELS, penalty=bad), "penalty"),
        (lambda bad: svm_head(random(7, 5), LABELS, strength=bad), "strength"),
        (lambda bad: logistic_head(random(7, 5), LABELS, l2=bad), "l2"),
        (lambda bad: LearnedRidge(network(), scale=bad), "scale"),
        (lambda bad: LearnedRidge(network(), penalty=bad), "penalty"),
    ],
)
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_setting_that_is_not_positive_raises(call, name, bad):
    with pytest.raises(ValueError, match=f"{name} is {bad}: expected a finite number above 0"):
        call(bad)


@pytest.mark.parametrize(
    ("fit", "usual", "other"),
    [
        (ridge_head, {"penalty": 1.0}, {"penalty": 2.0}),
        (svm_head, {"strength": 1.0}, {"strength": 2.0}),
        (logistic_head, {"l2": 1e-3}, {"l2": 1e-2}),
    ],
)
def test_unless_it_is_told_otherwise_a_head_is_fitted_with_the_usual_strength(fit, usual, other):
    z = random(7, 5)
    (weight, _), (same, _), (changed, _) = (fit(z, LABELS, **o) for o in ({}, usual, other))
    assert torch.equal(weight, same) and (changed - weight).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("predict", "usual", "others"),
    [
        (ridge_predict, {"penalty": 1.0, "scale": 1.0}, [{"penalty": 2.0}, {"scale": 2.0}]),
        (svm_predict, {"strength": 1.0}, [{"strength": 0.01}]),
    ],
)
def test_a_prediction_takes_its_settings_or_else_the_usual_ones(predict, usual, others, tasks):
    model, episode = network(), tasks.sample(seeded(2))
    outputs = predict(model, episode)
    assert torch.equal(predict(model, episode, **usual), outputs)
    for other in [*others, {"statistics": "single"}]:
        assert (predict(model, episode, **other) - outputs).abs().max() > 1e-6


def test_a_learned_ridge_begins_at_one_and_learns_a_task_with_a_factor_of_one(tasks):
    task = tasks.sample(seeded(2))
    learner = LearnedRidge(network())
    assert learner.penalty.item() == 1 and learner.scale.item() == 1
    learner = LearnedRidge(network(), penalty=0.3)
    for options, penalty in (({}, 0.3), ({"factor": 2.0}, 0.6)):
        learned = ridge_learn(learner, task, **options)
        wanted = head_learn(learner.network, task, fit=partial(ridge_head, penalty=penalty))
        torch.testing.assert_close(learned.weight, wanted.weight)


def test_one_task_is_learned_at_a_time_and_its_queries_ask_for_no_other_class(tasks):
    learn = partial(head_learn, fit=ridge_head)
    with pytest.raises(ValueError, match="the episode holds 2 tasks: expected one"):
        learn(network(), tasks.sample(seeded(2), batch=2))
    task = tasks.sample(seeded(2))
    asked = Episode(task.support_x, task.support_y, task.query_x, task.query_y + 1)
    with pytest.raises(ValueError, match=r"class \[4\] has no example in the support set"):
        learn(network(), asked)


@pytest.mark.parametrize("function", [ridge_loss, ridge_predict])
def test_a_scale_that_is_not_positive_raises(function, tasks):
    with pytest.raises(ValueError, match=r"scale is 0.0: expected a finite number above 0"):
        function(network(), tasks.sample(seeded(2)), scale=0.0)


# The loss that trains through it


def gradients(model, loss):
    parameters = list(model.features.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_batch_of_tasks_is_the_mean_over_its_tasks(norm, tasks):
    model, episode = network(norm), tasks.sample(seeded(2), batch=3)
    options = {"penalty": 0.3, "scale": 5.0}
    together = ridge_loss(model, episode, **options)
    usual = ridge_loss(model, episode, penalty=1.0, scale=1.0)  # unless it is told otherwise
    torch.testing.assert_close(ridge_loss(model, episode), usual)
    alone = torch.stack([ridge_loss(model, t, **options) for t in episode.unbind()]).mean()
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradients(model, together), gradients(model, alone))
    each = torch.stack([ridge_predict(model, t, **options) for t in episode.unbind()])
    torch.testing.assert_close(ridge_predict(model, episode, **options), each)


@pytest.mark.parametrize("shots", [1, 4])  # fewer and more examples than features
def test_the_gradient_of_the_loss_is_the_central_difference(shots):
    images = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    episode = ImageTasks(images, ways=4, shots=shots, queries=2).sample(seeded(2), batch=2)
    learner = LearnedRidge(smooth(network()), penalty=0.3, scale=5.0)
    parameters = [*learner.network.features.parameters(), learner.log_penalty, learner.log_scale]

    def loss():
        return ridge_loss(learner.network, episode, penalty=learner.penalty, scale=learner.scale)

    slopes = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters)])
    start = nn.utils.parameters_to_vector(parameters).detach()
    direction, values = random(len(start), seed=3), []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * 1e-6 * direction, parameters)
        values.append(loss().item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx((slopes @ direction).item(), rel=1e-5)


def test_predictions_are_those_of_the_loss_and_take_any_number_of_ways(tasks):
    model, episode = network(), tasks.sample(seeded(2), batch=3)  # four ways, a head of three
    logits = ridge_predict(model, episode, penalty=0.3, scale=5.0)
    assert logits.shape == (3, 12, 4) and not logits.requires_grad
    loss = F.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten())
    torch.testing.assert_close(loss, ridge_loss(model, episode, penalty=0.3, scale=5.0).detach())


def test_the_scale_leaves_the_best_class_as_it_is(tasks):
    model, episode = network(), tasks.sample(seeded(2))
    one, ten = (ridge_predict(model, episode, scale=scale) for scale in (1.0, 10.0))
    torch.testing.assert_close(10 * one, ten)


def test_a_class_that_is_asked_for_without_an_example_raises(tasks):
    episode = tasks.sample(seeded(2))
    rows = episode.support_y < 3
    less = Episode(
        episode.support_x[rows], episode.support_y[rows], episode.query_x, episode.query_y
    )
    with pytest.raises(ValueError, match=r"class \[3\] has no example"):
        ridge_loss(network(), less)


# The other heads, and answers


@pytest.mark.parametrize("ways", [2, 3])
def test_the_support_vector_machine_is_at_the_optimum_of_what_it_says_it_minimises(ways):
    z, labels, strength = random(9, 4), torch.arange(9) % ways, 0.7
    weight, bias = (p.requires_grad_() for p in svm_head(z, labels, strength=strength))
    signs = 2 * F.one_hot(labels).double() - 1
    missed = (1 - signs * F.linear(z, weight, bias)).clamp(min=0)
    loss = (weight.square().sum() + bias.square().sum()) / 2 + strength * missed.square().sum()
    for slope in torch.autograd.grad(loss, (weight, bias)):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-4)


def test_the_logistic_head_is_that_of_the_linear_probe(tasks):
    model, episode = network(), tasks.sample(seeded(2))
    probed = as_predict(partial(linear_probe, l2=0.01))(model, episode)
    fitted = head_predict(model, episode, partial(logistic_head, l2=0.01))
    torch.testing.assert_close(fitted, probed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("predict", [ridge_predict, svm_predict])
def test_only_the_whole_query_set_lets_one_query_change_the_answer_to_another(predict, tasks):
    model, episode = network(), tasks.sample(seeded(2))
    other = episode.query_x.clone()
    other[1:] = torch.rand(other[1:].shape, generator=seeded(3), dtype=other.dtype)
    changed = Episode(episode.support_x, episode.support_y, other, episode.query_y)
    for statistics in ("queries", "support", "single"):
        first = [predict(model, e, statistics=statistics)[0] for e in (episode, changed)]
        assert torch.allclose(*first, rtol=1e-12) == (statistics != "queries")


def test_a_network_with_other_layers_gives_the_same(tasks):
    model, episode = network(), tasks.sample(seeded(2), batch=3)
    other = Network(nn.Sequential(model.features, nn.Softplus(100.0)), copy.deepcopy(model.head))
    alone = torch.stack([ridge_loss(other, t) for t in episode.unbind()]).mean()
    torch.testing.assert_close(ridge_loss(other, episode), alone)


def test_training_and_scoring_are_those_of_every_method(tasks):
    learner = LearnedRidge(network(), penalty=1.0, scale=5.0)
    before = copy.deepcopy(learner.state_dict())

    def predict(learner, episode):
        return ridge_predict(learner.network, episode, penalty=learner.penalty, scale=learner.scale)

    def objective(learner, episode):
        return ridge_loss(learner.network, episode, penalty=learner.penalty, scale=learner.scale)

    first = evaluate(learner, predict, tasks, episodes=3, generator=seeded(4))
    assert all(torch.equal(p, before[n]) for n, p in learner.state_dict().items())
    meta_train(
        learner,
        objective,
        tasks,
        iterations=15,
        batch=2,
        generator=seeded(5),
        optimizer=torch.optim.Adam(learner.parameters(), lr=0.003),
        progress=False,
    )
    after = evaluate(learner, predict, tasks, episodes=3, generator=seeded(4))
    assert after.mean > first.mean
    assert not torch.equal(learner.log_penalty, before["log_penalty"])
    assert not torch.equal(learner.log_scale, before["log_scale"])
    assert torch.equal(learner.network.head.weight, before["network.head.weight"])
