"""All methods in one form: the same answers as in their own modules, the same budget."""

import copy

import pytest
import torch

from metalearn_lite.datasets import glyphs
from metalearn_lite.judging import LEARNERS, METHODS, answers, learner_from, nearest_pixel
from metalearn_lite.judging import learners as recipes
from metalearn_lite.maml import MetaSGD, maml_predict, proto_maml_predict
from metalearn_lite.prototypes import prototype_predict, ridge_predict
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import as_predict, linear_probe

INNER = {"inner_lr": 0.1, "inner_steps": 2}


@pytest.fixture(scope="module")
def classes():
    train = glyphs().split_groups()[0]
    return train.select(range(0, len(train), 20))


@pytest.fixture(scope="module")
def learners(classes):
    """Every start, after next to no training."""
    return {name: learn(name, classes) for name in LEARNERS}


def learn(name, classes, images=128):
    settings = {key: values[0] for key, values in LEARNERS[name].settings.items()}
    return LEARNERS[name].learn(classes, shots=1, images=images, seed=0, **settings)


@pytest.fixture
def task(classes, generator):
    return ImageTasks(classes, ways=5, shots=2, queries=3).sample(generator)


def usual(name):
    settings = {key: values[0] for key, values in METHODS[name].settings.items()}
    return settings | ({"inner_lr": 0.1} if "inner_steps" in settings else {})


def adapted(name, learners, task):
    return METHODS[name].adapt(learners[METHODS[name].learner], task, **usual(name))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_and_leaves_its_start_alone(name, learners, task):
    learner = learners[METHODS[name].learner]
    before = copy.deepcopy(learner.state_dict())
    for outputs in answers(adapted(name, learners, task), task):
        assert outputs.shape == (15, 5) and torch.isfinite(outputs).all()
    after = learner.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "nearest pixel"])
def test_an_inductive_answer_does_not_depend_on_the_other_queries(name, learners, task):
    network = adapted(name, learners, task)
    fewer = Episode(task.support_x, task.support_y, task.query_x[:4], task.query_y[:4])
    (together, alone), (some, same) = answers(network, task), answers(network, fewer)
    torch.testing.assert_close(alone[:4], same, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[:4], some, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "predict"),
    [
        ("nearest pixel", nearest_pixel),
        ("linear probe", as_predict(linear_probe)),
        ("MAML", lambda m, t: maml_predict(m, t, **INNER)),
        ("ANIL", lambda m, t: maml_predict(m, t, head_only=True, **INNER)),
        ("Meta-SGD", lambda m, t: maml_predict(m.network, t, inner_lr=m.inner_lr, inner_steps=2)),
        ("prototypes", prototype_predict),
        ("ridge", lambda m, t: ridge_predict(m.network, t, penalty=m.penalty)),
        ("Proto-MAML", lambda m, t: proto_maml_predict(m, t, **INNER)),
    ],
)
def test_a_method_answers_as_its_own_module_does(name, predict, learners, task):
    settings = usual(name) | (INNER if "inner_steps" in METHODS[name].settings else {})
    learner = learners[METHODS[name].learner]
    found = answers(METHODS[name].adapt(learner, task, **settings), task)[0]
    theirs = predict(learner, task)
    # up to a number for each query, which a softmax does not see
    found, theirs = (x - x.mean(dim=1, keepdim=True) for x in (found, theirs))
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_start_can_be_rebuilt_from_its_weights(name, learners):
    learner = learners[name]
    rebuilt = learner_from(learner.state_dict())
    assert type(rebuilt) is type(learner)
    for key, value in rebuilt.state_dict().items():
        assert torch.equal(value, learner.state_dict()[key])


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "nothing"])
def test_every_start_draws_the_same_number_of_images(name, shots, classes, monkeypatch):
    seen = []

    def count(learner, objective, tasks, *, iterations, batch, **_):
        seen.append(iterations * batch * tasks.ways * (tasks.shots + tasks.queries))

    def count_steps(model, *_, steps, **__):
        seen.append(steps * recipes.MINIBATCH)
        return model

    monkeypatch.setattr(recipes, "meta_train", count)
    monkeypatch.setattr(recipes, "pretrain", count_steps)
    monkeypatch.setattr(recipes, "train_together", count_steps)
    for values in (0, -1):
        settings = {key: tried[values] for key, tried in LEARNERS[name].settings.items()}
        LEARNERS[name].learn(classes, shots=shots, images=9600, seed=0, **settings)
    assert seen == [9600, 9600]


def test_all_starts_of_a_seed_begin_with_the_same_features(classes, monkeypatch):
    begun = []
    monkeypatch.setattr(recipes, "meta_train", lambda learner, *_, **__: begun.append(learner))
    monkeypatch.setattr(recipes, "pretrain", lambda model, *_, **__: begun.append(model))
    monkeypatch.setattr(recipes, "train_together", lambda m, *_, **__: begun.append(m.trunk) or m)
    for name in LEARNERS:
        learn(name, classes)
    first = [next(p for p in learner.parameters() if p.ndim == 4) for learner in begun]
    assert len(first) == len(LEARNERS) - 1
    assert all(torch.equal(weight, first[0]) for weight in first)


def test_the_rates_of_meta_sgd_are_used(learners, task):
    learner = learners["Meta-SGD"]
    assert isinstance(learner, MetaSGD)
    frozen = copy.deepcopy(learner)
    for rate in frozen.rates:
        rate.data.zero_()
    network = METHODS["Meta-SGD"].adapt(frozen, task, inner_steps=2, inner_lr=0.4)
    assert all(
        torch.equal(p, q)
        for p, q in zip(network.parameters(), frozen.network.parameters(), strict=True)
    )
