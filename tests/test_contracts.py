"""What a new method has to bring: twenty lines, and every other part of the course takes it."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.checks import check_predict, check_unchanged
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import answers
from metalearn_lite.judging.methods import Method
from metalearn_lite.maml import adapt, maml_loss, maml_predict
from metalearn_lite.models import conv4, fix_statistics
from metalearn_lite.models.query_statistics import answer_each_task
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train

# A method in twenty lines: the nearest class median, with features that are trained for it.


class NearestMedian(nn.Module):
    def __init__(self, features, medians):
        super().__init__()
        self.features, self.medians = features, medians

    def forward(self, x):
        return -torch.cdist(self.features(x), self.medians)


def median_learn(model, task):
    z = model.features(task.support_x)
    ways = range(int(task.support_y.max()) + 1)
    medians = torch.stack([z[task.support_y == k].median(dim=0).values for k in ways])
    return NearestMedian(model.features, medians)


def median_loss(model, episode):
    tasks = list(episode.unbind())
    return sum(F.cross_entropy(median_learn(model, t)(t.query_x), t.query_y) for t in tasks) / len(
        tasks
    )


def median_predict(model, episode, statistics="queries"):
    return answer_each_task(model, episode, partial(median_learn, model), statistics)


@pytest.fixture
def tasks():
    pictures = torch.rand(12, 10, 1, 28, 28, generator=seeded(0), dtype=torch.float64)
    return ImageTasks(pictures, ways=3, shots=3, queries=4)


@pytest.fixture
def model():
    return conv4(3, width=8, generator=seeded(1)).double()


def test_a_new_method_is_trained_scored_checked_and_compared_like_any_other(model, tasks):
    options = {"iterations": 3, "batch": 2, "generator": seeded(0), "progress": False}
    assert len(meta_train(model, median_loss, tasks, **options).loss) == 3
    assert 0 <= evaluate(model, median_predict, tasks, episodes=5, generator=seeded(1)).mean <= 1
    one, two = tasks.sample(seeded(2)), tasks.sample(seeded(3))
    assert check_predict(median_predict, model, one, other=two).transductive
    alone = partial(median_predict, statistics="support")
    assert not check_predict(alone, model, one, other=two).transductive
    check_unchanged(median_loss, model, tasks.sample(seeded(2), 2))
    batch = tasks.sample(seeded(4), batch=3)
    for outputs, task in zip(median_predict(model, batch), batch.unbind(), strict=True):
        torch.testing.assert_close(outputs, median_predict(model, task))


def test_a_new_method_is_a_row_of_the_comparison(model, tasks):
    row, task = Method("classes", median_learn), tasks.sample(seeded(2))
    with torch.no_grad():
        network = row.adapt(model, task)
    transductive, inductive = answers(network, task)
    torch.testing.assert_close(transductive, median_predict(model, task))
    fixed = fix_statistics(network, task.support_x)
    torch.testing.assert_close(inductive, fixed(task.query_x))
    torch.testing.assert_close(inductive[:2], fixed(task.query_x[:2]))


def forgets(model, task):
    """Shifts the model that it was given: one task leaks into the next."""
    model.head.bias.data.add_(1.0)
    return median_learn(model, task)


def remembers(model, task):
    """Answers from the task before."""
    found = getattr(remembers, "last", None) or median_learn(model, task)
    remembers.last = median_learn(model, task)
    return found


def sorts(model, task):
    """Gives the answers in another order than the queries."""
    network = median_learn(model, task)
    return lambda x: network(x).sort(dim=0).values


@pytest.mark.parametrize("wrong", [forgets, remembers, sorts])
def test_a_wrong_method_is_found_out(wrong, model, tasks):
    def predict(model, episode):
        return answer_each_task(model, episode, partial(wrong, model), "queries")

    one, two = tasks.sample(seeded(2)), tasks.sample(seeded(3))
    with pytest.raises(ValueError):
        check_predict(predict, model, one, other=two)
        check_unchanged(predict, model, one)
        evaluate(model, predict, tasks, episodes=3, generator=seeded(1))


# Said, not guessed


class Tagger(nn.Module):
    """A class for each token: an embedding and a layer over time steps."""

    def __init__(self, words=11, tags=3):
        super().__init__()
        self.embedding, self.head = nn.Embedding(words, 4), nn.Linear(4, tags)

    def forward(self, x):
        return self.head(torch.tanh(self.embedding(x)))


def token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def sentences(tasks=None):
    lead = () if tasks is None else (tasks,)
    words = torch.randint(11, (*lead, 4, 7), generator=seeded(0))
    return Episode(words, words % 3, words.flip(-1), words.flip(-1) % 3, is_batch=tasks is not None)


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return Tagger().double()


STEPS = {"inner_lr": 0.1, "inner_steps": 2, "loss_fn": token_loss}


def test_four_sentences_with_a_tag_for_each_token_are_one_task(tagger):
    episode = sentences()
    assert episode.batch is None and [e.support_y.shape for e in episode.unbind()] == [(4, 7)]
    loss = maml_loss(tagger, episode, **STEPS)
    params = dict(tagger.named_parameters())
    adapted = adapt(tagger, params, episode.support_x, episode.support_y, is_batch=False, **STEPS)
    outputs = torch.func.functional_call(tagger, adapted, (episode.query_x,))
    torch.testing.assert_close(loss, token_loss(outputs, episode.query_y))
    assert maml_predict(tagger, episode, **STEPS).shape == (4, 7, 3)


def test_a_batch_of_such_tasks_is_the_mean_of_its_tasks(tagger):
    batch = sentences(3)
    assert batch.batch == 3 and all(task.batch is None for task in batch.unbind())
    alone = [maml_loss(tagger, task, **STEPS) for task in batch.unbind()]
    torch.testing.assert_close(maml_loss(tagger, batch, **STEPS), torch.stack(alone).mean())
    assert maml_predict(tagger, batch, **STEPS).shape == (3, 4, 7, 3)
    assert batch.slice(1, 3).batch == 2 and batch.slice(1, 3).is_batch


def test_soft_labels_are_learned_by_the_loss_that_is_named(model, tasks):
    hard = tasks.sample(seeded(2))
    soft = Episode(
        hard.support_x,
        F.one_hot(hard.support_y, 3).double(),
        hard.query_x,
        F.one_hot(hard.query_y, 3).double(),
    )
    options = {"inner_lr": 0.1, "inner_steps": 2}
    named = maml_loss(model, soft, loss_fn=F.cross_entropy, **options)
    torch.testing.assert_close(named, maml_loss(model, hard, **options))
    guessed = maml_loss(model, soft, **options)  # by their type they are values
    assert abs(guessed.item() - named.item()) > 0.1


def test_what_does_not_fit_says_what_can_be_said():
    x = torch.zeros(4, 7, dtype=torch.int64)
    with pytest.raises(ValueError, match="for labels of more dimensions say is_batch"):
        Episode(x[:, :3], x, x[:, :3], x)
    with pytest.raises(ValueError, match="first 2 dimension"):
        Episode(x[0], x[0], x[0], x[0], is_batch=True)
    moved = copy.copy(sentences()).to("cpu")
    assert moved.batch is None and moved.is_batch is False
