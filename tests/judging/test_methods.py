"""All methods in one form: where each begins, what it does to a task, and how it answers."""

import copy
from functools import partial

import pytest
import torch

from metalearn_lite.datasets import ClassImages
from metalearn_lite.judging import LEARNERS, METHODS, answers, from_scratch, nearest_pixel
from metalearn_lite.maml import MetaSGD, maml_predict, proto_maml_predict
from metalearn_lite.models import new_head
from metalearn_lite.multitask import FACTORS
from metalearn_lite.prototypes import prototype_predict, ridge_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_predict
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import as_predict, linear_probe

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
SHORT, INNER = {"steps": 3, "lr": 0.3}, {"inner_lr": 0.2, "inner_steps": 2}


def probed(learner, task, l2=1e-3):
    return linear_probe(learner, task.support_x, task.support_y, l2=l2)


def with_learned_rates(learner, task, **options):
    return maml_predict(learner.network, task, inner_lr=learner.inner_lr, **options)


def with_penalty(learner, task, factor):
    return ridge_predict(learner.network, task, penalty=factor * learner.penalty)


def from_zeros(learner, task, **options):
    return from_scratch(new_head(learner, 5), task, **options)


def probe_first(learner, task, **options):
    return from_scratch(probed(learner, task), task, **options)


def probe_alone(learner, task, *, l2):
    return probed(learner, task, l2)(task.query_x)


# settings of a method, what its own module answers, and what it must not be taken for
WORDS = {
    "nearest pixel": ({}, nearest_pixel, [prototype_predict]),
    "from scratch": (
        SHORT,
        partial(from_scratch, **SHORT),
        [partial(from_zeros, **SHORT), partial(probe_first, **SHORT)],
    ),
    "linear probe": (
        {"l2": 0.02},
        as_predict(partial(linear_probe, l2=0.02)),
        [partial(probe_alone, l2=1e-3)],
    ),
    "fine-tuning": (
        SHORT,
        partial(from_zeros, **SHORT),
        [partial(from_scratch, **SHORT), partial(probe_first, **SHORT)],
    ),
    "LP-FT": (
        SHORT,
        partial(probe_first, **SHORT),
        [
            partial(from_zeros, **SHORT),
            partial(probe_alone, l2=1e-3),
            partial(probe_first, lr=0.3, steps=2),
            partial(probe_first, lr=0.2, steps=3),
        ],
    ),
    "multi-task": (
        {"l2": 0.02},
        as_predict(partial(linear_probe, l2=0.02)),
        [partial(probe_alone, l2=1e-3)],
    ),
    "MAML": (
        INNER,
        partial(maml_predict, **INNER),
        [partial(maml_predict, head_only=True, **INNER)],
    ),
    "first-order MAML": (
        INNER,
        partial(maml_predict, **INNER),
        [partial(maml_predict, head_only=True, **INNER)],
    ),
    "ANIL": (
        INNER,
        partial(maml_predict, head_only=True, **INNER),
        [partial(maml_predict, **INNER)],
    ),
    "Meta-SGD": (
        INNER,
        partial(with_learned_rates, inner_steps=2),
        [partial(with_learned_rates, inner_steps=1)],
    ),
    "Reptile": (
        INNER,
        partial(reptile_predict, **INNER),
        [
            partial(reptile_predict, minibatch=5, **INNER),
            partial(reptile_predict, inner_lr=0.1, inner_steps=2),
            partial(reptile_predict, inner_lr=0.2, inner_steps=1),
        ],
    ),
    "prototypes": ({}, prototype_predict, [partial(prototype_predict, distance="cosine")]),
    "ridge": (
        {"factor": 10.0},
        partial(with_penalty, factor=10.0),
        [partial(with_penalty, factor=1.0)],
    ),
    "Proto-MAML": (
        INNER,
        partial(proto_maml_predict, **INNER),
        [
            prototype_predict,
            partial(maml_predict, **INNER),
            partial(proto_maml_predict, inner_lr=0.1, inner_steps=2),
            partial(proto_maml_predict, inner_lr=0.2, inner_steps=1),
        ],
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
def test_a_method_answers_as_its_own_module_does_and_as_no_other(name, learners, task):
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
