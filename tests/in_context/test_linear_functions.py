"""Linear functions, and their best answer: the posterior mean, by summing over all weights."""

import math
from functools import partial

import pytest
import torch

from metalearn_lite.evaluation import evaluate, paired_difference
from metalearn_lite.in_context import LinearTasks, bayes_learn, bayes_predict
from metalearn_lite.randomness import seeded


def exact(shots=4, queries=3, **options):
    return LinearTasks(shots, queries, dtype=torch.float64, **options)


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_the_best_answer_is_the_mean_of_the_posterior_summed_over_a_grid_of_weights(shots):
    noise, task = 0.5, exact(shots, inputs=2, noise=0.5).sample(seeded(shots))
    axis = torch.linspace(-7, 7, 701, dtype=torch.float64)
    weights = torch.cartesian_prod(axis, axis)
    errors = task.support_y.T - weights @ task.support_x.T
    logs = -errors.square().sum(dim=1) / (2 * noise**2) - weights.square().sum(dim=1) / 2
    posterior = logs.softmax(dim=0)
    mean = (posterior @ (weights @ task.query_x.T)).unsqueeze(1)
    answers = bayes_predict(None, task, noise=noise)
    torch.testing.assert_close(answers, mean, rtol=1e-9, atol=1e-9)


def test_it_is_scikit_learns_ridge_regression_with_the_variance_of_the_noise_as_penalty():
    from sklearn.linear_model import Ridge

    task = exact(7, inputs=3, noise=0.4).sample(seeded(0))
    fitted = Ridge(alpha=0.4**2, fit_intercept=False).fit(task.support_x, task.support_y.flatten())
    wanted = torch.from_numpy(fitted.predict(task.query_x)).reshape(-1, 1)
    torch.testing.assert_close(bayes_predict(None, task, noise=0.4), wanted, rtol=1e-9, atol=1e-9)


def test_no_other_penalty_does_better_and_the_error_is_that_of_the_posterior():
    tasks = exact(3, 4, inputs=2, noise=0.5)

    def score(sigma):
        predict = partial(bayes_predict, noise=sigma)
        return evaluate(None, predict, tasks, episodes=400, generator=seeded(1))

    best = score(0.5)
    for other in (0.1, 2.0):
        worse = paired_difference(score(other), best)
        assert worse.mean > worse.half_width
    batch = tasks.sample(seeded(2), 4000)
    x, eye = batch.support_x, torch.eye(2, dtype=torch.float64)
    spread = torch.linalg.inv(eye + x.mT @ x / 0.25)  # covariance of the weights, given the data
    expected = spread.diagonal(dim1=1, dim2=2).sum(dim=1).mean().item()
    assert abs(best.mean - expected) < 2 * best.half_width


def test_a_batch_is_answered_task_by_task_and_a_task_by_itself():
    batch = exact(inputs=2).sample(seeded(0), 3)
    answers = bayes_predict(None, batch, noise=0.5)
    for i, task in enumerate(batch.unbind()):
        learned = bayes_learn(None, task, noise=0.5)
        assert torch.equal(learned(task.query_x), answers[i])


def test_the_tasks_are_what_they_say():
    tasks = exact(4, 5, inputs=3, noise=0.0)
    batch = tasks.sample(seeded(0), 2000)
    assert batch.support_x.shape == (2000, 4, 3) and batch.query_y.shape == (2000, 5, 1)
    weights = torch.linalg.lstsq(batch.support_x, batch.support_y).solution
    torch.testing.assert_close(batch.query_x @ weights, batch.query_y, rtol=1e-6, atol=1e-6)
    for drawn in (weights, batch.support_x, batch.query_x):
        error = 5 / math.sqrt(drawn.numel())  # five standard errors of the mean
        assert abs(drawn.mean()) < error and abs(drawn.square().mean() - 1) < error * 2**0.5
    noisy = exact(4, 5, inputs=3, noise=0.5).sample(seeded(0), 2000)
    assert torch.equal(noisy.query_y, batch.query_y)  # exact, whatever the noise
    added = noisy.support_y - batch.support_y
    assert abs(added.std() - 0.5) < 0.02 and abs(added.mean()) < 0.03
    one = tasks.sample(seeded(0))
    assert one.batch is None and one.support_x.shape == (4, 3)
    assert LinearTasks(2, 2).sample(seeded(0)).support_x.dtype == torch.float32
    assert repr(tasks) == "LinearTasks(shots=4, queries=5, inputs=3)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearTasks(0, 1), "shots is 0"),
        (lambda: LinearTasks(1, 1.5), "queries is 1.5"),
        (lambda: LinearTasks(1, 1, inputs=0), "inputs is 0"),
        (lambda: LinearTasks(1, 1, noise=-1), "noise is -1"),
        (lambda: exact().sample(3), "generator is 3"),
        (lambda: exact().sample(seeded(0), 0), "batch is 0"),
        (lambda: bayes_predict(None, exact().sample(seeded(0)), noise=0), "noise is 0"),
        (lambda: bayes_learn(None, exact().sample(seeded(0), 2), noise=1), r"unbind\(\)"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
