"""A recorded objective: on a processor it is the objective; tests/test_device.py has the GPU."""

import pytest
import torch

from metalearn_lite.maml import maml_loss
from metalearn_lite.models import mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks
from metalearn_lite.training import meta_train, recorded
from metalearn_lite.training.recording import Recording, _shadow, _tensors

TASKS = SineTasks(3, 3)


def objective(model, episode):
    return maml_loss(model, episode, inner_lr=0.01, inner_steps=1)


def trained(objective):
    model = mlp(hidden=(4,), generator=seeded(0))
    options = {"iterations": 3, "batch": 2, "generator": seeded(1), "progress": False}
    history = meta_train(model, objective, TASKS, **options)
    return history.loss, [p.detach() for p in model.parameters()]


def test_on_a_processor_training_is_the_same_bit_for_bit():
    (losses, weights), (wanted, expected) = trained(recorded(objective)), trained(objective)
    assert losses == wanted
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


@pytest.mark.parametrize("grad", [True, False])
def test_on_a_processor_the_objective_is_called_each_time(grad):
    seen = []

    def watched(model, episode):
        seen.append(episode)
        return objective(model, episode)

    model, episode = mlp(generator=seeded(0)), TASKS.sample(seeded(1), 2)
    with torch.set_grad_enabled(grad):
        for _ in range(2):
            loss = recorded(watched)(model, episode)
            assert loss.requires_grad == grad
    assert len(seen) == 2 and all(one is episode for one in seen)


def test_the_copy_that_is_recorded_follows_the_model_and_shares_no_graph_with_it():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    shadow = _shadow(model)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in shadow.state_dict().items())
    for mine, theirs in zip(shadow.parameters(), model.parameters(), strict=True):
        assert mine is not theirs and mine.grad is None
        assert mine.requires_grad == theirs.requires_grad


def test_playing_reads_the_new_episode_and_hands_on_the_loss_and_its_gradient():
    """A graph of one kernel, imitated: it adds up all numbers of the episode."""
    place, other = TASKS.sample(seeded(1), 2), TASKS.sample(seeded(2), 2)
    loss, gradients = torch.zeros(()), (torch.zeros(3),)

    class Graph:
        def replay(self):
            loss.copy_(sum(t.sum() for t in _tensors(place)))
            gradients[0].fill_(7.0)

    weight = torch.zeros(3, requires_grad=True)
    found = Recording(mlp(), place, Graph(), loss, gradients).play(other, [weight])
    found.backward()
    torch.testing.assert_close(found.detach(), sum(t.sum() for t in _tensors(other)))
    assert torch.equal(weight.grad, torch.full((3,), 7.0))
