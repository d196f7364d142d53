"""The contracts: trained by the loop, scored by the function, and a task answers as in a batch."""

from functools import partial

import pytest
import torch

from metalearn_lite.checks import check_predict, check_unchanged
from metalearn_lite.evaluation import evaluate
from metalearn_lite.in_context import (
    LinearTasks,
    SetTransformer,
    bayes_predict,
    in_context_learn,
    in_context_loss,
    in_context_predict,
)
from metalearn_lite.losses import default_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.training import meta_train

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def network(inputs=1, outputs=1, **sizes):
    sizes = {"width": 16, "heads": 2, "layers": 2} | sizes
    return SetTransformer(inputs, outputs, generator=seeded(0), **sizes)


def sines():
    return SineTasks(5, 4, dtype=torch.float64)


def pictures():
    return ImageTasks(torch.rand(9, 6, 1, 4, 4, generator=seeded(0), dtype=torch.float64), 3, 2, 2)


PAIRS = {"values": (sines, network), "classes": (pictures, partial(network, 16, 3))}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_loss_is_the_mean_over_the_tasks_of_each_ones_own(pair):
    tasks, model = PAIRS[pair][0](), PAIRS[pair][1]().double()
    batch = tasks.sample(seeded(1), 3)
    own = [
        default_loss(in_context_learn(model, task)(task.query_x), task.query_y)
        for task in batch.unbind()
    ]
    torch.testing.assert_close(in_context_loss(model, batch), sum(own) / 3, **CLOSE)
    one = next(batch.unbind())
    torch.testing.assert_close(in_context_loss(model, one), own[0], **CLOSE)
    check_unchanged(in_context_loss, model, batch)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_prediction_is_inductive_and_the_same_in_a_batch(pair):
    tasks, model = PAIRS[pair][0](), PAIRS[pair][1]().double()
    one, two = tasks.sample(seeded(2)), tasks.sample(seeded(3))
    assert not check_predict(in_context_predict, model, one, other=two).transductive
    batch = tasks.sample(seeded(4), 3)
    answers = in_context_predict(model, batch)
    assert not answers.requires_grad
    together = model(batch.support_x, batch.support_y, batch.query_x)
    torch.testing.assert_close(answers, together.detach(), **CLOSE)
    torch.testing.assert_close(
        answers[1], in_context_predict(model, list(batch.unbind())[1]), **CLOSE
    )


def test_the_order_of_the_images_of_a_task_changes_no_answer():
    """``ImageTasks`` orders its rows by label; the network may not learn anything from that."""
    model, task = network(16, 3).double(), pictures().sample(seeded(1))
    order = torch.randperm(6, generator=seeded(2))
    mixed = Episode(task.support_x[order], task.support_y[order], task.query_x, task.query_y)
    torch.testing.assert_close(
        in_context_predict(model, mixed), in_context_predict(model, task), **CLOSE
    )


def test_trained_on_linear_functions_it_answers_much_as_ridge_regression_does():
    tasks, model = LinearTasks(6, 6, inputs=2, noise=0.5), network(2, 1, width=32)
    held_out = tasks.sample(seeded(9), 200)
    best = bayes_predict(None, held_out, noise=0.5)

    def away():  # as a share of what an answer of 0 is away
        return ((in_context_predict(model, held_out) - best).square().mean()).item() / (
            best.square().mean().item()
        )

    before = away()
    meta_train(
        model,
        in_context_loss,
        tasks,
        iterations=250,
        batch=32,
        generator=seeded(1),
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    assert before > 0.8 and away() < 0.3
    score = partial(evaluate, tasks=tasks, episodes=100)
    learned = score(model, in_context_predict, generator=seeded(2))
    assert learned.mean > score(None, partial(bayes_predict, noise=0.5), generator=seeded(2)).mean


def test_trained_on_classes_with_new_numbers_in_each_episode_it_reads_the_labels():
    """Pictures of one colour: a class is a shade, and its number says nothing."""
    shades = torch.linspace(-2, 2, 9).reshape(9, 1, 1, 1, 1).expand(9, 6, 1, 1, 1)
    tasks, model = ImageTasks(shades, 2, 2, 2), network(1, 2, width=16)
    options = {"iterations": 150, "batch": 16, "generator": seeded(1), "progress": False}
    rate = torch.optim.Adam(model.parameters(), lr=5e-3)
    meta_train(model, in_context_loss, tasks, optimizer=rate, **options)
    assert evaluate(model, in_context_predict, tasks, episodes=50, generator=seeded(2)).mean > 0.7
    task = tasks.sample(seeded(3))
    other = Episode(task.support_x, 1 - task.support_y, task.query_x, 1 - task.query_y)
    turned = in_context_predict(model, other).argmax(dim=-1)
    assert (turned == 1 - in_context_predict(model, task).argmax(dim=-1)).float().mean() > 0.6


def test_episodes_that_do_not_fit_are_errors():
    model, task = network(), SineTasks(5, 4).sample(seeded(0))
    with pytest.raises(ValueError, match="Episode"):
        in_context_loss(model, task.support_x)
    with pytest.raises(ValueError, match="answered, and not trained on"):
        in_context_loss(model, Episode(task.support_x, task.support_y, task.query_x))
    with pytest.raises(ValueError, match=r"unbind\(\)"):
        in_context_learn(model, task.as_batch())
    assert (
        in_context_predict(model, Episode(task.support_x, task.support_y, task.query_x))
        .isfinite()
        .all()
    )
