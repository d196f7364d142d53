"""Learned step sizes: one for each weight, with the gradient that they should get."""

import copy

import pytest
import torch
from torch import nn

from metalearn_lite.maml import MetaSGD, maml_loss
from metalearn_lite.maml.meta_sgd import meta_sgd_learn
from metalearn_lite.models import mlp
from metalearn_lite.models.functional import call
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks
from metalearn_lite.training import meta_train


def network():
    return mlp(hidden=(4, 3), generator=seeded(0)).double()


def partly_frozen():
    model = network()
    model.features[0].weight.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    return model


def episode(tasks=None):
    return SineTasks(4, 5, dtype=torch.float64).sample(seeded(1), tasks)


@pytest.mark.parametrize("build", [network, partly_frozen])
def test_there_is_a_rate_for_each_weight_that_adapts_under_its_parameters_name(build):
    model = build()
    learner = MetaSGD(model, 0.25)
    adapting = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert list(learner.inner_lr) == list(adapting)
    for name, rate in learner.inner_lr.items():
        assert rate.shape == adapting[name].shape and rate.dtype == adapting[name].dtype
        assert rate.requires_grad and (rate == 0.25).all()


def test_the_rates_by_name_are_the_parameters_that_an_optimiser_trains():
    learner = MetaSGD(network(), 0.25)
    for rate, named in zip(learner.rates, learner.inner_lr.values(), strict=True):
        assert isinstance(rate, nn.Parameter) and named is rate
    assert len(list(learner.parameters())) == 2 * len(list(network().parameters()))


def test_the_network_is_kept_and_answers_as_it_is():
    model, x = network(), episode().query_x
    learner = MetaSGD(model, 0.25)
    assert learner.network is model
    assert torch.equal(learner(x), model(x))


def test_before_any_training_it_is_maml_with_one_rate():
    model = network()
    learner, tasks = MetaSGD(model, 0.1), episode(3)
    losses = [maml_loss(model, tasks, inner_lr=r, inner_steps=2) for r in (learner.inner_lr, 0.1)]
    found, expected = (torch.autograd.grad(loss, list(model.parameters())) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("task_by_task", [True, False])
@pytest.mark.parametrize("build", [network, partly_frozen])
def test_after_one_step_a_rate_gets_minus_the_product_of_both_gradients(build, task_by_task):
    """Weight by weight: θ' = θ - α g, so that dL(θ')/dα = -g dL/dθ'."""
    model, task = build(), episode()
    learner, params = MetaSGD(model, 0.1), dict(model.named_parameters())

    def gradient(at, x, y):
        at = {name: p.detach().requires_grad_() for name, p in at.items()}
        loss = (call(model, at, x) - y).square().mean()
        return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

    support = gradient(params, task.support_x, task.support_y)
    moved = {name: p - 0.1 * support[name] * p.requires_grad for name, p in params.items()}
    query = gradient(moved, task.query_x, task.query_y)
    maml_loss(
        model, task, inner_lr=learner.inner_lr, inner_steps=1, task_by_task=task_by_task
    ).backward()
    for name, rate in learner.inner_lr.items():
        torch.testing.assert_close(rate.grad, -support[name] * query[name])


def test_a_task_is_learned_with_the_rate_of_each_weight():
    model, task = network(), episode()
    learner, before = MetaSGD(model, 0.1), copy.deepcopy(model.state_dict())
    for i, rate in enumerate(learner.rates):
        rate.data.mul_(i)
    learned = meta_sgd_learn(learner, task, inner_steps=1)
    loss = (model(task.support_x) - task.support_y).square().mean()
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    by_hand = {
        name: p - rate * slope
        for (name, p), rate, slope in zip(
            model.named_parameters(), learner.rates, slopes, strict=True
        )
    }
    x = task.query_x
    torch.testing.assert_close(learned(x), call(model, by_hand, x))
    assert not torch.allclose(meta_sgd_learn(learner, task, inner_steps=2)(x), learned(x))
    assert torch.equal(meta_sgd_learn(learner, task, inner_steps=0)(x), model(x))
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_a_batch_is_learned_task_by_task_or_not_at_all():
    with pytest.raises(ValueError, match="holds 3 tasks: expected one"):
        meta_sgd_learn(MetaSGD(network(), 0.1), episode(3), inner_steps=1)


def test_rates_are_trained_and_saved_with_the_network(tmp_path):
    def objective(model, episode):
        return maml_loss(model.network, episode, inner_lr=model.inner_lr, inner_steps=1)

    def train(iterations):
        learner = MetaSGD(mlp(generator=seeded(0)), 0.01)
        meta_train(
            learner,
            objective,
            SineTasks(5, 5),
            iterations=iterations,
            batch=2,
            generator=seeded(1),
            checkpoint=tmp_path / "run.zip",
            progress=False,
        )
        return learner

    train(3)
    resumed = train(6)
    (tmp_path / "run.zip").unlink()
    whole = train(6)
    for (name, a), b in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(whole.rates[0], torch.full_like(whole.rates[0], 0.01))


def test_what_is_frozen_after_it_was_made_is_named():
    learner = MetaSGD(mlp(), 0.1)
    learner.network.head.bias.requires_grad_(False)
    with pytest.raises(
        ValueError, match=r"5 parameters .* made with a rate for 6: expected the sa"
    ):
        _ = learner.inner_lr
