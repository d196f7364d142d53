"""All methods in one form: where each begins, what it does to a task, and how it answers."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from metalearn_lite.datasets import ClassImages
from metalearn_lite.judging import LEARNERS, METHODS, answers
from metalearn_lite.judging.methods import by_cosine_head
from metalearn_lite.maml import MetaSGD
from metalearn_lite.models import conv4, new_head
from metalearn_lite.multitask import FACTORS
from metalearn_lite.prototypes import prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import linear_probe

PROBES = {"l2": (1e-3, 1e-4, 1e-2, 1e-1)}
STEPS = {"inner_steps": (1, 3, 10, 20)}
PROTOCOL = {  # where a method begins, and what is tried
    "nearest pixel": ("nothing", {}),
    "from scratch": ("nothing", {"steps": (5, 20), "lr": (0.1, 0.5)}),
    "linear probe": ("classes", PROBES),
    "fine-tuning": ("classes", {"steps": (5, 20), "lr": (0.03, 0.1)}),
    "LP-FT": ("classes", {"steps": (5, 20), "lr": (0.01, 0.05)}),
    "multi-task": ("many tasks", PROBES),
    "MAML": ("MAML", STEPS),
    "first-order MAML": ("first-order MAML", STEPS),
    "ANIL": ("ANIL", STEPS),
    "Meta-SGD": ("Meta-SGD", STEPS),
    "Reptile": ("Reptile", {"inner_steps": (5, 10, 20, 40)}),
    "prototypes": ("prototypes", {}),
    "ridge": ("ridge", {"factor": (1.0, 0.1, 10.0, 100.0)}),
    "Proto-MAML": ("Proto-MAML", STEPS),
}


def descend(network, task, *, steps, lr, only=""):
    """Take plain gradient steps on the support set, and answer the queries."""
    network = copy.deepcopy(network)
    named = {n: p for n, p in network.named_parameters() if n.startswith(only)}
    rates = lr if isinstance(lr, dict) else dict.fromkeys(named, lr)
    for _ in range(steps):
        loss = F.cross_entropy(network(task.support_x), task.support_y)
        gradients = torch.autograd.grad(loss, list(named.values()))
        for (name, p), gradient in zip(named.items(), gradients, strict=True):
            p.data -= rates[name] * gradient
    return network(task.query_x).detach()


def nearest(learner, task):
    """Score each class by minus the distance in pixels to its nearest image."""
    away = (task.query_x.unsqueeze(1) - task.support_x).flatten(2).norm(dim=2)
    return -torch.stack([away[:, task.support_y == k].amin(dim=1) for k in range(5)], dim=1)


def with_head(learner, weight, bias):
    network = new_head(learner, len(bias))
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return network


def with_means(learner, task):
    """A network whose head is that of the nearest class mean, written out."""
    z = learner.features(task.support_x).detach()
    means = torch.stack([z[task.support_y == k].mean(dim=0) for k in range(5)])
    return with_head(learner, 2 * means, -(means**2).sum(dim=1))


def with_ridge(learner, task, factor):
    """A network whose head is fitted by scikit-learn."""
    network, penalty = learner.network, factor * learner.penalty.item()
    z = network.features(task.support_x).detach().numpy()
    fitted = Ridge(alpha=penalty).fit(z, torch.eye(5)[task.support_y].double().numpy())
    return with_head(network, *(torch.from_numpy(w) for w in (fitted.coef_, fitted.intercept_)))


def probed(learner, task, l2=1e-3):
    return linear_probe(learner, task.support_x, task.support_y, l2=l2)


def zeros(learner, task):
    return new_head(learner, 5)


def itself(learner, task):
    return learner


def ask(start, **settings):
    """Return ``predict(learner, task)`` that begins at ``start(learner, task)``."""
    return lambda learner, task: descend(start(learner, task), task, **settings)


def by_learned_rates(steps):
    return lambda learner, task: descend(
        learner.network, task, steps=steps, lr=dict(learner.inner_lr)
    )


SHORT, INNER = {"steps": 3, "lr": 0.3}, {"inner_lr": 0.2, "inner_steps": 2}
STILL = {"steps": 0, "lr": 0.0}
SAME_STEPS = ask(itself, steps=2, lr=0.2)
OTHER_STEPS = [
    ask(itself, steps=1, lr=0.2),
    ask(itself, steps=2, lr=0.1),
    ask(itself, steps=2, lr=0.2, only="head."),
    ask(zeros, steps=2, lr=0.2),
]
# settings of a method, what it does written out, and what it must not be taken for
WORDS = {
    "nearest pixel": ({}, nearest, [ask(with_means, **STILL)]),
    "from scratch": (SHORT, ask(itself, **SHORT), [ask(zeros, **SHORT), ask(probed, **SHORT)]),
    "linear probe": ({"l2": 0.02}, ask(partial(probed, l2=0.02), **STILL), [ask(probed, **STILL)]),
    "fine-tuning": (
        SHORT,
        ask(zeros, **SHORT),
        [ask(itself, **SHORT), ask(probed, **SHORT), ask(zeros, steps=3, lr=0.3, only="head.")],
    ),
    "LP-FT": (
        SHORT,
        ask(probed, **SHORT),
        [
            ask(zeros, **SHORT),
            ask(probed, **STILL),
            ask(partial(probed, l2=1e-2), **SHORT),
            ask(probed, steps=2, lr=0.3),
            ask(probed, steps=3, lr=0.2),
        ],
    ),
    "multi-task": ({"l2": 0.02}, ask(partial(probed, l2=0.02), **STILL), [ask(probed, **STILL)]),
    "MAML": (INNER, SAME_STEPS, OTHER_STEPS),
    "first-order MAML": (INNER, SAME_STEPS, OTHER_STEPS),
    "ANIL": (
        INNER,
        ask(itself, steps=2, lr=0.2, only="head."),
        [SAME_STEPS, ask(itself, steps=1, lr=0.2, only="head.")],
    ),
    "Meta-SGD": (
        INNER,
        by_learned_rates(2),
        [by_learned_rates(1), lambda learner, task: SAME_STEPS(learner.network, task)],
    ),
    "Reptile": (INNER, SAME_STEPS, OTHER_STEPS),
    "prototypes": (
        {},
        ask(with_means, **STILL),
        [partial(prototype_predict, distance="cosine"), ask(probed, **STILL)],
    ),
    "ridge": (
        {"factor": 10.0},
        ask(partial(with_ridge, factor=10.0), **STILL),
        [ask(partial(with_ridge, factor=1.0), **STILL)],
    ),
    "Proto-MAML": (
        INNER,
        ask(with_means, steps=2, lr=0.2),
        [ask(with_means, **STILL), ask(with_means, steps=2, lr=0.2, only="head."), SAME_STEPS],
    ),
}


@pytest.fixture(scope="module")
def classes():
    """Twenty classes of ten small images that mean nothing, with causes that mean nothing."""
    generator = seeded(0)
    causes = {n: torch.randn(20, 10, generator=generator) for n in FACTORS}
    images = torch.rand(20, 10, 1, 8, 8, generator=generator)
    every = tuple(str(i) for i in range(20))
    return ClassImages(images, every, every, factors=causes)


@pytest.fixture(scope="module")
def learners(classes):
    """Every start, after next to no training."""
    first = {n: {k: tried[0] for k, tried in L.settings.items()} for n, L in LEARNERS.items()}
    return {
        name: learner.learn(classes, shots=1, images=128, seed=0, **first[name])
        for name, learner in LEARNERS.items()
    }


@pytest.fixture
def task(classes, generator):
    return ImageTasks(classes, ways=5, shots=2, queries=3).sample(generator)


def usual(name):
    settings = {key: values[0] for key, values in METHODS[name].settings.items()}
    return settings | ({"inner_lr": 0.1} if "inner_steps" in settings else {})


def adapted(name, learners, task):
    return METHODS[name].adapt(learners[METHODS[name].learner], task, **usual(name))


def exact(task):
    y = task.support_y, task.query_y
    return Episode(task.support_x.double(), y[0], task.query_x.double(), y[1])


def same(a, b):
    """Whether two answers agree up to a number for each query, which a softmax does not see."""
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def test_every_method_begins_and_is_tuned_as_the_protocol_says():
    assert {n: (m.learner, m.settings) for n, m in METHODS.items()} == PROTOCOL
    assert {m.learner for m in METHODS.values()} == set(LEARNERS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_does_what_it_says_and_nothing_else(name, learners, task):
    learner, task = copy.deepcopy(learners[METHODS[name].learner]).double(), exact(task)
    settings, right, wrong = WORDS[name]
    found = answers(METHODS[name].adapt(learner, task, **settings), task)[0]
    assert same(found, right(learner, task))
    for other in wrong:
        assert not same(found, other(learner, task)), other


def test_the_usual_penalty_of_a_probe_is_the_first_to_be_tried(learners, task):
    for name in ("linear probe", "multi-task"):
        learner = learners[METHODS[name].learner]
        one, two = METHODS[name].adapt(learner, task), adapted(name, learners, task)
        assert same(answers(one, task)[0], answers(two, task)[0])
    ridge = METHODS["ridge"].adapt(learners["ridge"], task)
    assert same(answers(ridge, task)[0], answers(adapted("ridge", learners, task), task)[0])


def test_fine_tuning_moves_only_its_head_of_zeros_in_the_first_step(learners, task):
    learner = learners["classes"]
    network = METHODS["fine-tuning"].adapt(learner, task, steps=1, lr=0.1)
    moved = [
        not torch.equal(p, q)
        for p, q in zip(network.features.parameters(), learner.features.parameters(), strict=True)
    ]
    assert not any(moved)
    # at zero each class has probability 1/5: the gradient of its bias is 1/5 less its share
    torch.testing.assert_close(network.head.bias, torch.zeros(5), rtol=0, atol=1e-6)
    assert network.head.weight.abs().max() > 0


def test_from_scratch_moves_all_layers_in_the_first_step(learners, task):
    learner = learners["nothing"]
    network = METHODS["from scratch"].adapt(learner, task, steps=1, lr=0.1)
    before = dict(learner.named_parameters())
    for name in ("head.weight", "features.0.weight"):
        assert not torch.equal(network.params[name], before[name])


@pytest.mark.parametrize("name", ["ANIL", "linear probe", "multi-task", "prototypes"])
def test_these_methods_leave_the_features_as_they_were_learned(name, learners, task):
    network, learner = adapted(name, learners, task), learners[METHODS[name].learner]
    if name == "ANIL":
        assert network.model is learner and set(network.params) == {"head.weight", "head.bias"}
        return
    for p, q in zip(network.features.parameters(), learner.features.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_and_leaves_its_start_alone(name, learners, task):
    learner = learners[METHODS[name].learner]
    before = copy.deepcopy(learner.state_dict())
    network = adapted(name, learners, task)
    for outputs in answers(network, task):
        assert outputs.shape == (15, 5) and torch.isfinite(outputs).all()
        assert not outputs.requires_grad
    after = learner.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    "name",
    [
        "nearest pixel",
        "linear probe",
        "fine-tuning",
        "LP-FT",
        "multi-task",
        "prototypes",
        "ridge",
        "Proto-MAML",
    ],
)
def test_a_head_made_for_the_task_has_as_many_outputs_as_it_has_classes(
    name, learners, classes, generator
):
    three = ImageTasks(classes, ways=3, shots=1, queries=2).sample(generator)
    for outputs in answers(adapted(name, learners, three), three):
        assert outputs.shape == (6, 3) and torch.isfinite(outputs).all()


@pytest.mark.parametrize("name", [n for n in METHODS if n != "nearest pixel"])
def test_an_inductive_answer_does_not_depend_on_the_other_queries(name, learners, task):
    network = adapted(name, learners, task)
    fewer = Episode(task.support_x, task.support_y, task.query_x[:4], task.query_y[:4])
    (together, alone), (some, same_again) = answers(network, task), answers(network, fewer)
    torch.testing.assert_close(alone[:4], same_again, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[:4], some, rtol=1e-2, atol=1e-4)


def test_the_first_answer_is_that_of_the_queries_together_the_second_that_of_the_support_set(
    learners, task
):
    network = adapted("MAML", learners, task)
    x, y = task.support_x, task.support_y
    x_and_queries = torch.cat([x, task.query_x])
    together, alone = answers(network, Episode(x, y, x_and_queries, torch.cat([y, task.query_y])))
    torch.testing.assert_close(together, network(x_and_queries))
    torch.testing.assert_close(alone[:10], network(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[:10], alone[:10], rtol=1e-2)


def test_a_function_gives_its_answer_twice(task):
    outputs = torch.rand(15, 5)
    one, two = answers(lambda queries: outputs, task)
    assert torch.equal(one, outputs) and torch.equal(two, outputs)


def test_the_rates_of_meta_sgd_are_used_and_no_other(learners, task):
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


def test_without_batch_statistics_both_answers_are_the_same(classes, task):
    network = conv4(5, width=8, norm="group", generator=seeded(0))
    one, two = answers(network, task)
    assert torch.equal(one, two)


def test_a_cosine_head_begins_at_the_means_of_directions_and_takes_steps_alone(learners, task):
    network = learners["classes"]
    before = copy.deepcopy(network.state_dict())
    start = by_cosine_head(network, task, steps=0, lr=0.1)
    z = F.normalize(network.features(task.support_x), dim=1)
    means = torch.stack([z[task.support_y == k].mean(dim=0) for k in range(5)])
    torch.testing.assert_close(start.head.weight, means)
    scores = F.normalize(network.features(task.query_x), dim=1) @ F.normalize(means, dim=1).T
    with torch.no_grad():
        torch.testing.assert_close(start(task.query_x), 10 * scores, atol=1e-5, rtol=1e-4)
    moved = by_cosine_head(network, task, steps=3, lr=0.1)
    for name, p in moved.features.named_parameters():
        assert torch.equal(p, network.features.get_parameter(name))
    loss = [F.cross_entropy(net(task.support_x), task.support_y).item() for net in (start, moved)]
    assert loss[1] < loss[0]
    assert all(torch.equal(before[name], p) for name, p in network.state_dict().items())
