"""Proto-MAML: where it starts, what its gradient goes through, and what it leaves unchanged."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.evaluation import evaluate
from metalearn_lite.maml import (
    proto_maml_learn,
    proto_maml_loss,
    proto_maml_predict,
    start_at_prototypes,
)
from metalearn_lite.models import Network, conv4
from metalearn_lite.models.functional import call
from metalearn_lite.prototypes import (
    linear_form,
    prototype_head,
    prototype_loss,
    prototype_predict,
    prototypes,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train

RATE = 0.05


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network(norm="batch"):
    """Four ways are asked of it below, its own head has three."""
    model = conv4(3, width=8, norm=norm, generator=seeded(0)).double()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.ReLU):  # a kink, which a central difference stumbles over
            model.set_submodule(name, nn.Softplus())
    return model


def draw(ways=4, shots=2, batch=None):
    images = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    return ImageTasks(images, ways, shots, queries=2).sample(seeded(2), batch)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def meta_gradient(model, episode, **options):
    loss = proto_maml_loss(model, episode, inner_lr=RATE, **options)
    return flat(torch.autograd.grad(loss, list(model.features.parameters())))


def test_the_linear_form_of_the_means_can_be_differentiated_and_is_that_of_the_head():
    means = random(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(linear_form, means)
    head = prototype_head(means)
    for p, value in zip(head.parameters(), linear_form(means), strict=True):
        assert torch.equal(p, value) and p.is_leaf


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("batch", [None, 3])
def test_zero_steps_are_the_prototypical_network(norm, batch):
    model, episode = network(norm), draw(batch=batch)
    body = list(model.features.parameters())
    loss = proto_maml_loss(model, episode, inner_lr=RATE, inner_steps=0)
    other = prototype_loss(model, episode)
    torch.testing.assert_close(loss, other, rtol=1e-12, atol=0)
    slopes = [flat(torch.autograd.grad(value, body)) for value in (loss, other)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)
    logits = proto_maml_predict(model, episode, inner_lr=RATE, inner_steps=0)
    torch.testing.assert_close(logits.softmax(-1), prototype_predict(model, episode).softmax(-1))


def by_hand(model, task, steps, first_order=False):
    """Take the steps with plain autograd: the head is a leaf, so it is held fixed."""
    means = prototypes(model.features(task.support_x), task.support_y)
    start = {n: p for n, p in model.named_parameters() if not n.startswith("head.")}
    start |= {"head.weight": 2 * means, "head.bias": -means.square().sum(dim=1)}
    values = {n: p.detach().requires_grad_() for n, p in start.items()}
    moved = {n: torch.zeros_like(p) for n, p in values.items()}
    for _ in range(steps):
        loss = F.cross_entropy(call(model, values, task.support_x), task.support_y)
        gradients = torch.autograd.grad(loss, list(values.values()))
        for (name, p), g in zip(list(values.items()), gradients, strict=True):
            moved[name] = moved[name] - RATE * g
            values[name] = (p - RATE * g).detach().requires_grad_()
    return {n: p + moved[n] for n, p in start.items()}  # connected to the model, steps constant


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_holds_the_head_fixed_while_it_moves_the_body(steps):
    model, task = network(), draw()
    logits = proto_maml_predict(model, task, inner_lr=RATE, inner_steps=steps)
    expected = call(model, by_hand(model, task, steps), task.query_x)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-10, atol=1e-12)
    loss = proto_maml_loss(model, task, inner_lr=RATE, inner_steps=steps)
    torch.testing.assert_close(loss, F.cross_entropy(expected, task.query_y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_meta_gradient_is_the_central_difference(norm, steps):
    model, episode = network(norm), draw(batch=2)
    slope = meta_gradient(model, episode, inner_steps=steps)
    body = list(model.features.parameters())
    start = nn.utils.parameters_to_vector(body).detach()
    direction, values = random(len(start), seed=3), []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * 1e-6 * direction, body)
        with torch.no_grad():
            loss = proto_maml_loss(model, episode, inner_lr=RATE, inner_steps=steps)
        values.append(loss.item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx((slope @ direction).item(), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2])
def test_first_order_takes_the_steps_as_constants_and_still_differentiates_the_start(steps):
    model, task = network(), draw()
    found = meta_gradient(model, task, inner_steps=steps, first_order=True)
    loss = F.cross_entropy(call(model, by_hand(model, task, steps), task.query_x), task.query_y)
    expected = flat(torch.autograd.grad(loss, list(model.features.parameters())))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found, meta_gradient(model, task, inner_steps=steps), rtol=1e-3)


def test_a_batch_of_tasks_is_the_mean_over_its_tasks():
    model, episode = network(), draw(batch=3)
    options = {"inner_lr": RATE, "inner_steps": 1}
    alone = [proto_maml_loss(model, t, **options) for t in episode.unbind()]
    torch.testing.assert_close(proto_maml_loss(model, episode, **options), sum(alone) / 3)
    each = torch.stack([proto_maml_predict(model, t, **options) for t in episode.unbind()])
    torch.testing.assert_close(proto_maml_predict(model, episode, **options), each)


@pytest.mark.parametrize("ways", [1, 2, 6])
def test_any_number_of_ways_goes_with_any_head(ways):
    model, task = network(), draw(ways=ways)
    logits = proto_maml_predict(model, task, inner_lr=RATE, inner_steps=2)
    assert logits.shape == (2 * ways, ways) and not logits.requires_grad
    loss = proto_maml_loss(model, task, inner_lr=RATE, inner_steps=2)
    torch.testing.assert_close(F.cross_entropy(logits, task.query_y), loss.detach())


def test_one_task_is_learned_and_no_class_without_an_example():
    options = {"inner_lr": RATE, "inner_steps": 1}
    with pytest.raises(ValueError, match="holds 2 tasks: expected one"):
        proto_maml_learn(network(), draw(batch=2), **options)
    task = draw()
    known = task.support_y < 3
    less = Episode(task.support_x[known], task.support_y[known], task.query_x, task.query_y)
    for refuses in (proto_maml_learn, proto_maml_predict, proto_maml_loss):
        with pytest.raises(ValueError, match=r"class \[3\] has no example"):
            refuses(network(), less, **options)


def test_the_head_of_the_network_is_not_used():
    model, task = network(), draw()
    first = proto_maml_predict(model, task, inner_lr=RATE, inner_steps=2)
    nn.init.constant_(model.head.weight, 7.0)
    assert torch.equal(first, proto_maml_predict(model, task, inner_lr=RATE, inner_steps=2))


def test_what_does_not_require_a_gradient_stays():
    model, task = network(), draw()
    model.features[0].requires_grad_(False)
    start = start_at_prototypes(model, task)
    assert "features.0.weight" not in start and "features.3.weight" in start
    proto_maml_loss(model, task, inner_lr=RATE, inner_steps=1).backward()
    assert model.features[0].weight.grad is None and model.features[3].weight.grad is not None


def test_only_the_whole_query_set_lets_one_query_change_the_answer_to_another():
    model, episode = network(), draw()
    other = episode.query_x.clone()
    other[1:] = torch.rand(other[1:].shape, generator=seeded(3), dtype=other.dtype)
    changed = Episode(episode.support_x, episode.support_y, other, episode.query_y)
    for statistics in ("queries", "support", "single"):
        options = {"inner_lr": RATE, "inner_steps": 1, "statistics": statistics}
        first = [proto_maml_predict(model, e, **options)[0] for e in (episode, changed)]
        assert torch.allclose(*first, rtol=1e-12) == (statistics != "queries")


def test_what_cannot_be_adapted_raises():
    task, options = draw(), {"inner_lr": RATE, "inner_steps": 1}
    rows = task.support_y < 3
    less = Episode(task.support_x[rows], task.support_y[rows], task.query_x, task.query_y)
    with pytest.raises(ValueError, match=r"class \[3\] has no example"):
        proto_maml_loss(network(), less, **options)
    with pytest.raises(ValueError, match=r"class \[3\] has no example in the support set"):
        proto_maml_learn(network(), less, **options)
    headless = Network(network().features, nn.Linear(8, 3, bias=False).double())
    with pytest.raises(ValueError, match="no bias"):
        proto_maml_loss(headless, task, **options)
    with pytest.raises(ValueError, match="inner_steps is -1: expected a whole number"):
        proto_maml_predict(network(), task, inner_lr=RATE, inner_steps=-1)
    with pytest.raises(ValueError, match="statistics is 'all': expected"):
        proto_maml_predict(network(), task, **options, statistics="all")


def test_training_and_scoring_are_those_of_every_method():
    images = torch.rand(12, 6, 1, 28, 28, generator=seeded(1), dtype=torch.float64)
    tasks, model = ImageTasks(images, ways=4, shots=2, queries=3), network()
    before = copy.deepcopy(model.state_dict())

    def objective(model, episode):
        return proto_maml_loss(model, episode, inner_lr=RATE, inner_steps=1)

    def predict(model, episode):
        return proto_maml_predict(model, episode, inner_lr=RATE, inner_steps=1)

    first = evaluate(model, predict, tasks, episodes=3, generator=seeded(4))
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())
    meta_train(
        model,
        objective,
        tasks,
        iterations=15,
        batch=2,
        generator=seeded(5),
        optimizer=torch.optim.Adam(model.features.parameters(), lr=0.003),
        progress=False,
    )
    after = evaluate(model, predict, tasks, episodes=3, generator=seeded(4))
    assert after.mean > first.mean
    assert torch.equal(model.head.weight, before["head.weight"])
