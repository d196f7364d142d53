"""Checks of predict functions and metrics: they pass on the package and fail on planted bugs."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.checks import check_metric, check_predict, check_unchanged
from metalearn_lite.evaluation import accuracy
from metalearn_lite.judging import from_scratch, nearest_pixel
from metalearn_lite.maml import maml_loss, maml_predict
from metalearn_lite.models import conv4, mlp
from metalearn_lite.prototypes import prototype_loss, prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks, SineTasks

TASKS = ImageTasks(torch.rand(12, 8, 1, 28, 28, generator=seeded(1)), ways=3, shots=2, queries=3)
ONE_EACH = ImageTasks(TASKS.images, ways=3, shots=2, queries=1)
STEP = {"inner_lr": 0.1, "inner_steps": 1}


def network(norm="batch"):
    return conv4(3, width=8, norm=norm, generator=seeded(0))


def draw(tasks=TASKS):
    first, second = tasks.sample(seeded(2), batch=2).unbind()
    return first, second


def examine(predict, model, tasks=TASKS, **options):
    episode, other = draw(tasks)
    return check_predict(predict, model, episode, other=other, **options)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("statistics", ["queries", "support", "single"])
@pytest.mark.parametrize("method", [prototype_predict, partial(maml_predict, **STEP)])
def test_the_package_answers_as_it_says(norm, statistics, method):
    found = examine(partial(method, statistics=statistics), network(norm))
    assert found.transductive == (norm == "batch" and statistics == "queries")


def test_other_predict_functions_of_the_package_pass():
    assert not examine(nearest_pixel, None).transductive
    assert not examine(from_scratch, network("group")).transductive
    sines = SineTasks(shots=5, queries=7)
    assert not examine(partial(maml_predict, **STEP), mlp(), sines, inductive=True).transductive


def test_what_is_read_off_the_examples_follows_their_labels():
    assert examine(nearest_pixel, None).follows_labels == 1
    assert examine(prototype_predict, network()).follows_labels == 1
    ignoring = examine(lambda m, e: m(e.query_x).detach(), network())
    assert ignoring.follows_labels == 0


@pytest.mark.parametrize(("inductive", "kind"), [(True, "transductive"), (False, "inductive")])
def test_answers_of_the_other_kind_raise(inductive, kind):
    statistics = "queries" if inductive else "support"
    predict = partial(prototype_predict, statistics=statistics)
    examine(predict, network(), inductive=not inductive)
    with pytest.raises(ValueError, match=f"the answers are {kind}: expected"):
        examine(predict, network(), inductive=inductive)


def wrong_axis(model, episode):
    return prototype_predict(model, episode).argmax(dim=0)


def test_an_argmax_over_the_wrong_axis_raises_with_any_number_of_queries():
    def right_axis(model, episode):
        return prototype_predict(model, episode).argmax(dim=1)

    for tasks in (TASKS, ONE_EACH):
        examine(right_axis, network(), tasks)
    with pytest.raises(ValueError, match="3 answers for 9 queries"):
        examine(wrong_axis, network())
    with pytest.raises(ValueError, match="the answers do not follow the queries"):
        examine(wrong_axis, network(), ONE_EACH)


def in_place(model, episode):
    """Steps the model that it was given, as sequential fine-tuning does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.enable_grad():
        F.cross_entropy(model(episode.support_x), episode.support_y).backward()
    optimizer.step()
    return model(episode.query_x).detach()


class Remembering:
    """Keeps its adapted network from task to task, outside of the model that it is given."""

    def __init__(self):
        self.network = network("group").double()

    def __call__(self, model, episode):
        return in_place(self.network, double(episode))


def double(episode):
    return type(episode)(
        episode.support_x.double(), episode.support_y, episode.query_x.double(), episode.query_y
    )


def test_a_step_in_place_leaks_into_the_next_task():
    with pytest.raises(ValueError, match="depend on the task that was answered before"):
        examine(in_place, network("group"))
    with pytest.raises(ValueError, match="answers the same task in two ways"):
        examine(Remembering(), network())


def test_random_answers_raise():
    generator = seeded(0)

    def noisy(model, episode):
        return torch.rand(len(episode.query_x), 3, generator=generator)

    with pytest.raises(ValueError, match="answers the same task in two ways"):
        examine(noisy, network())


def test_too_few_queries_and_batches_raise():
    _, other = draw()
    few = ImageTasks(TASKS.images, ways=2, shots=1, queries=1).sample(seeded(0))
    for wrong in (few, TASKS.sample(seeded(0), batch=2)):
        with pytest.raises(ValueError, match="expected one task, 3 or more"):
            check_predict(nearest_pixel, None, wrong, other=other)


def nan_for_a_missing_class(model, episode):
    """Class means by a division that nobody looks at."""
    hot = F.one_hot(episode.support_y, 3).to(episode.support_x.dtype)
    means = hot.T @ episode.support_x.flatten(1) / hot.sum(dim=0)[:, None]
    return -torch.cdist(episode.query_x.flatten(1), means)


def test_answers_that_are_nan_raise():
    episode, other = draw()
    check_predict(nan_for_a_missing_class, None, episode, other=other)
    keep = episode.support_y != 1
    less = replace(episode, support_x=episode.support_x[keep], support_y=episode.support_y[keep])
    with pytest.raises(ValueError, match=r"not all finite: .* a class without an example"):
        check_predict(nan_for_a_missing_class, None, less, other=other)


@pytest.mark.parametrize(
    "function",
    [
        partial(maml_loss, **STEP),
        partial(maml_predict, **STEP),
        prototype_loss,
        prototype_predict,
        from_scratch,
    ],
    ids=["maml_loss", "maml_predict", "prototype_loss", "prototype_predict", "from_scratch"],
)
def test_the_package_leaves_the_model_as_it_was(function):
    check_unchanged(function, network(), draw()[0])


def built_in():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def turning(model, episode):
    model.eval()
    return model(episode.query_x)


def freezing(model, episode):
    model.requires_grad_(False)
    return model(episode.query_x)


@pytest.mark.parametrize(
    ("function", "model", "message"),
    [
        # how many more: a bias in front of batch norm moves by rounding errors, or not at all
        (in_place, network(), r"changes 'features.0.weight' of the model, and 1\d more"),
        (lambda m, e: m(e.query_x), built_in(), "changes '2.running_mean'"),
        (turning, built_in(), "leaves 'the whole model' in another mode"),
        (freezing, built_in().eval(), "leaves 'gradient of 1.weight' in another mode"),
    ],
    ids=["in place", "running statistics", "mode", "frozen"],
)
def test_a_function_that_changes_the_model_raises(function, model, message):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        check_unchanged(function, model, draw()[0])
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_model_keeps_its_dtype():
    model = network()
    examine(prototype_predict, model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_accuracy_of_the_package_passes():
    for ways, rows in ((5, 7), (2, 5), (7, 4)):
        check_metric(accuracy, ways=ways, rows=rows)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda out, y: (out.argmax(0) == y).float().mean(), "fails on 7 queries in 5 ways"),
        (lambda out, y: (out.argmax(1) == y).float().sum(), "all answers right the metric is 7"),
        (lambda out, y: (out.argmax(1) != y).float().mean(), "all answers right the metric is 0"),
        (lambda out, y: 1.0, "all wrong the metric is 1.000: expected 0.000"),
        (lambda out, y: float(out.argmax(1)[0] == y[0]), "3 of 7 right the metric is 1"),
        (lambda out, y: round(float(accuracy(out, y))), "3 of 7 right the metric is 0"),
        (lambda out, y: float("nan"), "the metric is nan"),
        (
            lambda out, y: float(accuracy(out, y)) * float(y[0] == 0),
            r"with 3 of 7 right, in another order the metric is 0\.000: expected 0\.429; take",
        ),
        (lambda out, y: float(accuracy(out, y)) + 2e-5, r"the metric is 1\.000: expected 1\.000"),
    ],
)
def test_a_wrong_metric_raises(metric, message):
    with pytest.raises(ValueError, match=message):
        check_metric(metric)


def test_equal_numbers_hide_the_wrong_axis_and_are_not_allowed():
    with pytest.raises(ValueError, match="rows and ways are both 5"):
        check_metric(accuracy, ways=5, rows=5)


def test_a_metric_is_tried_on_seven_rows_in_five_ways_and_may_be_rounded():
    shapes = set()

    def rounded(outputs, labels):
        shapes.add((tuple(outputs.shape), tuple(labels.shape)))
        return round(float(accuracy(outputs, labels)), 5)

    check_metric(rounded)
    assert shapes == {((7, 5), (7,))}


@pytest.mark.parametrize(("share", "same"), [(0.9e-6, True), (1.1e-6, False)])
def test_answers_may_differ_by_a_millionth_of_the_largest_unless_told_otherwise(share, same):
    counts = iter(range(100))

    def drifting(model, episode):
        answers = torch.full((len(episode.query_x), 3), 1000.0, dtype=torch.float64)
        return answers * (1 + share * (next(counts) == 1))

    if same:
        examine(drifting, None)
    else:
        with pytest.raises(ValueError, match="answers the same task in two ways"):
            examine(drifting, None)


def test_three_queries_are_enough():
    tasks = ImageTasks(TASKS.images, ways=3, shots=1, queries=1)
    assert examine(nearest_pixel, None, tasks).follows_labels == 1


@pytest.mark.parametrize(("ways", "half"), [(3, 2), (4, 2), (5, 3)])
def test_queries_are_asked_all_together_and_half_of_them_alone(ways, half):
    asked = []

    def watched(model, episode):
        asked.append(len(episode.query_x))
        return nearest_pixel(model, episode)

    examine(watched, None, ImageTasks(TASKS.images, ways=ways, shots=1, queries=1))
    assert set(asked) == {ways, half}
