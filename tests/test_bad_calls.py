"""Calls that cannot be meant: each is answered by what was got, and what is expected instead.

The first table puts kinds of wrong values against the arguments that take counts, sizes, step
sizes and generators; the second holds what is wrong in a way of its own. None may pass in silence,
and none may end in an error from below.
"""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.checks import audit_episodes, check_gradient
from metalearn_lite.evaluation import accuracy, evaluate, paired_difference
from metalearn_lite.judging import cka, from_scratch, nearest_class
from metalearn_lite.maml import (
    adapt,
    clipped,
    implicit_hypergradient,
    implicit_maml_learn,
    implicit_maml_loss,
    maml_learn,
    maml_loss,
    maml_predict,
    proto_maml_loss,
    unrolled_hypergradient,
)
from metalearn_lite.models import (
    BatchStatisticsNorm,
    FixedStatisticsNorm,
    conv4,
    fix_statistics,
    mlp,
    new_head,
)
from metalearn_lite.multitask import (
    MultiTask,
    UncertaintyWeights,
    by_weights,
    gradient_cosine,
    gradnorm_step,
    mgda,
    pcgrad,
    train_together,
    tune_weights,
    weighted_loss,
)
from metalearn_lite.prototypes import (
    prototype_logits,
    prototype_loss,
    prototype_predict,
    prototypes,
    ridge_head,
    ridge_loss,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import interpolate, reptile_loss, reptile_predict, reptile_step
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import features, fine_tune, layer_decay, linear_probe, pretrain
from metalearn_lite.widgets import guess_game

NAN, INF = math.nan, math.inf
NET, CONV = mlp(generator=seeded(0)), conv4(3, width=8, generator=seeded(0))
SINES = SineTasks(5, 5)
PICTURES = ImageTasks(torch.rand(5, 4, 1, 8, 8, generator=seeded(0)), 3, 2, 2)
WAVES, TASK = SINES.sample(seeded(0), 2), PICTURES.sample(seeded(1))
X, Y = TASK.support_x, TASK.support_y
PARAMS = dict(NET.named_parameters())
LR = {"inner_lr": 0.1, "inner_steps": 1}
MAML = partial(maml_loss, **LR)
DATA = torch.rand(20, 5, generator=seeded(0))
TARGETS = {"a": torch.arange(20) % 2, "b": torch.rand(20, 1, generator=seeded(1))}
ALIKE = {"a": torch.zeros(20, dtype=torch.int64), "b": torch.ones(20, 1)}
GRADNORM = {
    "weights": {"a": 1.0, "b": 1.0},
    "norms": {"a": 1.0, "b": 1.0},
    "losses": {"a": 1.0, "b": 1.0},
    "initial_losses": {"a": 1.0, "b": 1.0},
}


def shared():
    return MultiTask(nn.Linear(5, 4), {"a": nn.Linear(4, 2), "b": nn.Linear(4, 1)})


def train(**options):
    given = {"iterations": 1, "batch": 1, "generator": seeded(0), "progress": False} | options
    return meta_train(mlp(generator=seeded(0)), MAML, SINES, **given)


def together(**options):
    return train_together(shared(), DATA, TARGETS, **{"steps": 2, "generator": seeded(0)} | options)


def score(**options):
    given = {"episodes": 1, "generator": seeded(0)} | options
    return evaluate(NET, partial(maml_predict, **LR), SINES, **given)


def audit(**options):
    given = {"ways": 3, "shots": 2, "queries": 2, "episodes": 2, "generator": seeded(0)} | options
    return audit_episodes(PICTURES, **given)


def tuned(**options):
    return fine_tune(CONV, X, Y, **{"steps": 1, "lr": 0.1} | options)


def learned(**options):
    return pretrain(CONV, X, Y, **{"steps": 1, "generator": seeded(0)} | options)


def step(**options):
    return reptile_step(NET, WAVES, **LR | options)


def implicit(**options):
    given = {"penalty": 1.0, "cg_steps": 1} | LR | options
    return implicit_maml_loss(NET, WAVES, **given)


def bowl(weights, settings):
    return (weights["w"] - settings["s"]).square().sum()


def hyper(function, **options):
    places = {"weights": {"w": torch.ones(2)}, "settings": {"s": torch.zeros(2)}}
    given = {"steps": 1, **places, **options}
    loss = given.pop("loss", bowl)
    return function(loss, bowl, given.pop("weights"), given.pop("settings"), **given)


def unrolled(**options):
    return hyper(unrolled_hypergradient, **{"lr": 0.1} | options)


# Kinds of wrong values, and the arguments of each kind. A least count of 0 makes 0 right.
NO_COUNTS = [-1, 2.5, "2", True, NAN]
COUNTS = {
    "maml_loss inner_steps": lambda v: maml_loss(NET, WAVES, inner_lr=0.1, inner_steps=v),
    "maml_loss chunk": lambda v: MAML(NET, WAVES, chunk=v),
    "adapt inner_steps": lambda v: adapt(
        NET, PARAMS, WAVES.support_x, WAVES.support_y, inner_lr=0.1, inner_steps=v
    ),
    "implicit_maml_loss inner_steps": lambda v: implicit(inner_steps=v),
    "implicit_maml_loss cg_steps": lambda v: implicit(cg_steps=v),
    "implicit_hypergradient steps": lambda v: hyper(implicit_hypergradient, steps=v),
    "unrolled_hypergradient steps": lambda v: unrolled(steps=v),
    "reptile_step inner_steps": lambda v: step(inner_steps=v),
    "reptile_step minibatch": lambda v: step(minibatch=v),
    "meta_train iterations": lambda v: train(iterations=v),
    "meta_train batch": lambda v: train(batch=v),
    "meta_train validate_every": lambda v: train(validate_every=v),
    "meta_train checkpoint_every": lambda v: train(checkpoint_every=v),
    "evaluate episodes": lambda v: score(episodes=v),
    "fine_tune steps": lambda v: tuned(steps=v),
    "fine_tune head_steps": lambda v: tuned(head_steps=v),
    "fine_tune minibatch": lambda v: tuned(minibatch=v, generator=seeded(0)),
    "pretrain steps": lambda v: learned(steps=v),
    "pretrain minibatch": lambda v: learned(minibatch=v),
    "features chunk": lambda v: features(CONV, X, chunk=v),
    "from_scratch steps": lambda v: from_scratch(CONV, TASK, steps=v),
    "train_together steps": lambda v: together(steps=v),
    "train_together minibatch": lambda v: together(minibatch=v),
    "train_together every": lambda v: together(every=v),
    "check_gradient directions": lambda v: check_gradient(MAML, NET, WAVES, directions=v),
    "audit_episodes episodes": lambda v: audit(episodes=v),
    "audit_episodes ways": lambda v: audit(ways=v),
    "SineTasks shots": lambda v: SineTasks(v, 5),
    "SineTasks queries": lambda v: SineTasks(5, v),
    "ImageTasks ways": lambda v: ImageTasks(PICTURES.images, v, 1, 1),
    "ImageTasks shots": lambda v: ImageTasks(PICTURES.images, 2, v, 1),
    "ImageTasks queries": lambda v: ImageTasks(PICTURES.images, 2, 1, v),
    "SineTasks.sample batch": lambda v: SINES.sample(seeded(0), v),
    "ImageTasks.sample batch": lambda v: PICTURES.sample(seeded(0), v),
    "mlp inputs": lambda v: mlp(v),
    "mlp hidden": lambda v: mlp(hidden=(4, v)),
    "conv4 ways": lambda v: conv4(v),
    "conv4 width": lambda v: conv4(3, v),
    "conv4 channels": lambda v: conv4(3, channels=v),
    "new_head outputs": lambda v: new_head(CONV, v),
    "BatchStatisticsNorm channels": lambda v: BatchStatisticsNorm(v),
}
NO_SIZES = [NAN, INF, -1.0, "0.1", True]
SIZES = {
    "maml_loss inner_lr": lambda v: maml_loss(NET, WAVES, inner_lr=v, inner_steps=1),
    "maml_loss inner_lr by name": lambda v: maml_loss(
        NET, WAVES, inner_lr=dict.fromkeys(PARAMS, v), inner_steps=1
    ),
    "maml_learn inner_lr": lambda v: maml_learn(CONV, TASK, inner_lr=v, inner_steps=1),
    "implicit_maml_loss inner_lr": lambda v: implicit(inner_lr=v),
    "implicit_maml_loss penalty": lambda v: implicit(penalty=v),
    "implicit_hypergradient neumann_lr": lambda v: hyper(implicit_hypergradient, neumann_lr=v),
    "unrolled_hypergradient lr": lambda v: unrolled(lr=v),
    "clipped inner_lr": lambda v: maml_loss(
        NET, WAVES, inner_lr=clipped(v, max_norm=1.0), inner_steps=1
    ),
    "clipped max_norm": lambda v: clipped(0.1, max_norm=v),
    "proto_maml_loss inner_lr": lambda v: proto_maml_loss(CONV, TASK, inner_lr=v, inner_steps=1),
    "reptile_step inner_lr": lambda v: step(inner_lr=v),
    "reptile_loss inner_lr": lambda v: reptile_loss(NET, WAVES, inner_lr=v, inner_steps=1),
    "from_scratch lr": lambda v: from_scratch(CONV, TASK, lr=v),
    "fine_tune lr": lambda v: tuned(lr=v),
    "fine_tune l2_sp": lambda v: tuned(l2_sp=v),
    "fine_tune momentum": lambda v: tuned(momentum=v),
    "pretrain lr": lambda v: learned(lr=v),
    "linear_probe l2": lambda v: linear_probe(CONV, X, Y, l2=v),
    "train_together lr": lambda v: together(lr=v),
    "prototype_loss scale": lambda v: prototype_loss(CONV, TASK, scale=v),
    "prototype_predict scale": lambda v: prototype_predict(CONV, TASK, scale=v),
    "ridge_loss penalty": lambda v: ridge_loss(CONV, TASK, penalty=v),
    "ridge_loss scale": lambda v: ridge_loss(CONV, TASK, scale=v),
    "ridge_head penalty": lambda v: ridge_head(torch.rand(6, 4), Y, penalty=v),
    "svm_predict strength": lambda v: svm_predict(CONV, TASK, strength=v),
    "SineTasks noise": lambda v: SineTasks(5, 5, noise=v),
    "BatchStatisticsNorm eps": lambda v: BatchStatisticsNorm(3, eps=v),
    "check_gradient tolerance": lambda v: check_gradient(MAML, NET, WAVES, tolerance=v),
    "gradnorm_step lr": lambda v: gradnorm_step(**GRADNORM, lr=v),
    "gradnorm_step alpha": lambda v: gradnorm_step(**GRADNORM, alpha=v),
    "gradnorm_step losses": lambda v: gradnorm_step(**GRADNORM | {"losses": {"a": v, "b": 1.0}}),
    "gradnorm_step norms": lambda v: gradnorm_step(**GRADNORM | {"norms": {"a": v, "b": 1.0}}),
}
NO_GENERATORS = [0, "seed", np.random.default_rng(0)]
GENERATORS = {
    "SineTasks.sample": SINES.sample,
    "ImageTasks.sample": PICTURES.sample,
    "meta_train": lambda v: train(generator=v),
    "evaluate": lambda v: score(generator=v),
    "pretrain": lambda v: learned(generator=v),
    "train_together": lambda v: together(generator=v),
    "audit_episodes": lambda v: audit(generator=v),
}
KINDS = [
    pytest.param(
        call,
        value,
        id=f"{name} = {value if isinstance(value, float | int | str) else type(value).__name__}",
    )
    for values, calls in ((NO_COUNTS, COUNTS), (NO_SIZES, SIZES), (NO_GENERATORS, GENERATORS))
    for name, call in calls.items()
    for value in values
]

CALLS = {
    "an episode that is a list": lambda: MAML(NET, [1]),
    "an episode that is a tuple": lambda: MAML(NET, (X, Y, X, Y)),
    "Reptile of a tuple": lambda: reptile_step(NET, (X, Y, X, Y), **LR),
    "prototypes of a tuple": lambda: prototype_loss(CONV, (X, Y, X, Y)),
    "answers to a tuple": lambda: reptile_predict(NET, (X, Y, X, Y), **LR),
    "one task that is a batch": lambda: maml_learn(CONV, PICTURES.sample(seeded(0), 2), **LR),
    "implicit MAML without a pull": lambda: implicit(penalty=0.0),
    "implicit MAML of a tuple": lambda: implicit_maml_loss(
        CONV, (X, Y, X, Y), penalty=1.0, cg_steps=1, **LR
    ),
    "an implicit solution of a batch": lambda: implicit_maml_learn(
        CONV, PICTURES.sample(seeded(0), 2), penalty=1.0, **LR
    ),
    "settings that are numbers": lambda: unrolled(settings={"s": 1.0}),
    "no settings": lambda: hyper(implicit_hypergradient, settings={}),
    "weights in a row": lambda: unrolled(weights=torch.ones(2)),
    "weights of whole numbers": lambda: unrolled(weights={"w": torch.ones(2).long()}),
    "a training loss of several numbers": lambda: unrolled(loss=lambda w, s: w["w"]),
    "a training loss that is a number": lambda: hyper(
        implicit_hypergradient, loss=lambda w, s: 1.0
    ),
    "a training loss of NaN": lambda: unrolled(loss=lambda w, s: NAN * bowl(w, s)),
    "no model": lambda: MAML(None, WAVES),
    "a model that is a function": lambda: MAML(torch.relu, WAVES),
    "a rate for no parameter": lambda: maml_loss(
        NET, WAVES, inner_lr=dict.fromkeys([*PARAMS, "headd.bias"], 0.1), inner_steps=1
    ),
    "a rate too few": lambda: maml_loss(NET, WAVES, inner_lr={"head.bias": 0.1}, inner_steps=1),
    "a rate that is not a number": lambda: maml_loss(
        NET, WAVES, inner_lr=torch.tensor(NAN), inner_steps=1
    ),
    "a rate of whole numbers": lambda: maml_loss(
        NET, WAVES, inner_lr=torch.tensor(1), inner_steps=1
    ),
    "Reptile with a rate by name": lambda: step(inner_lr=dict.fromkeys(PARAMS, 0.1)),
    "Reptile with clipped steps": lambda: step(inner_lr=clipped(0.1, max_norm=1.0)),
    "an optimiser that Reptile has not": lambda: step(inner_optimizer="adamw"),
    "examples that there are not": lambda: step(examples="query"),
    "a long way to nowhere": lambda: step(meta_lr=NAN),
    "an endless way": lambda: step(meta_lr=INF),
    "interpolation by not a number": lambda: interpolate(PARAMS, PARAMS, NAN),
    "interpolation of other names": lambda: interpolate(PARAMS, {}, 0.1),
    "statistics of nobody": lambda: maml_predict(CONV, TASK, statistics="all", **LR),
    "a distance that is misspelled": lambda: prototype_loss(CONV, TASK, distance="euclid"),
    "logits of other dimensions": lambda: prototype_logits(torch.rand(2, 3), torch.rand(2, 4)),
    "means of nothing": lambda: prototypes(torch.rand(0, 4), Y[:0]),
    "fewer ways than labels": lambda: prototypes(torch.rand(6, 4), Y, ways=-1),
    "the nearest of none": lambda: nearest_class(torch.rand(0, 2), Y[:0], torch.rand(2, 2)),
    "fine-tuning on a list": lambda: fine_tune(CONV, [1, 2], Y, steps=1, lr=0.1),
    "fine-tuning on nothing": lambda: fine_tune(CONV, X[:0], Y[:0], steps=1, lr=0.1),
    "fine-tuning on NaN": lambda: fine_tune(CONV, X * NAN, Y, steps=1, lr=0.1),
    "a probe on NaN": lambda: linear_probe(CONV, X * NAN, Y),
    "training on NaN": lambda: pretrain(CONV, X * NAN, Y, steps=1, generator=seeded(0)),
    "features of a list": lambda: features(CONV, [1.0]),
    "a layer that there is not": lambda: tuned(layer_lrs={"hea": 0.1}),
    "a rate of a layer": lambda: tuned(layer_lrs={"head": NAN}),
    "a momentum of 1": lambda: tuned(momentum=1.0),
    "minibatches without a generator": lambda: tuned(minibatch=2),
    "a decay of not a number": lambda: layer_decay(CONV, 0.1, NAN),
    "a decay below 0": lambda: layer_decay(CONV, 0.1, -1.0),
    "tasks that are a list": lambda: evaluate(
        NET, partial(maml_predict, **LR), [WAVES], episodes=1, generator=seeded(0)
    ),
    "a predict that returns nothing": lambda: evaluate(
        NET, lambda m, e: None, SINES, episodes=1, generator=seeded(0)
    ),
    "a predict that returns an array": lambda: evaluate(
        NET, lambda m, e: e.query_y.numpy(), SINES, episodes=1, generator=seeded(0)
    ),
    "a metric that is not a number": lambda: score(metric=lambda o, t: torch.tensor(NAN)),
    "a metric of several numbers": lambda: score(metric=lambda o, t: o),
    "a metric that is a text": lambda: score(metric=lambda o, t: "good"),
    "a metric that is nothing": lambda: score(metric=lambda o, t: None),
    "scores that are numbers": lambda: paired_difference(1.0, 2.0),
    "labels in a column": lambda: accuracy(torch.eye(5), torch.arange(5)[:, None]),
    "outputs of NaN": lambda: accuracy(torch.full((3, 2), NAN), torch.zeros(3).long()),
    "a validation without scores": lambda: train(validate=lambda m: None, validate_every=1),
    "an infinite wave": lambda: SineTasks(5, 5, amplitude=(0.0, INF)),
    "a range from high to low": lambda: SineTasks(5, 5, phase=(3.0, 1.0)),
    "images that are a list": lambda: ImageTasks([[1]], 2, 1, 1),
    "no images": lambda: ImageTasks(None, 2, 1, 1),
    "more ways than classes": lambda: ImageTasks(PICTURES.images, 6, 1, 1),
    "more shots than images": lambda: ImageTasks(PICTURES.images, 2, 3, 3),
    "a norm of no layers": lambda: mlp(hidden=()),
    "a norm that is misspelled": lambda: conv4(3, norm="bach"),
    "channels that differ": lambda: BatchStatisticsNorm(3)(torch.rand(2, 4, 5, 5)),
    "a variance below 0": lambda: FixedStatisticsNorm(torch.zeros(2), -torch.ones(2)),
    "statistics of nothing": lambda: fix_statistics(CONV, X[:0]),
    "gradients with NaN": lambda: mgda(torch.tensor([[NAN, 1.0], [1.0, 2.0]])),
    "gradients without end": lambda: pcgrad(torch.tensor([[INF, 1.0]]), generator=seeded(0)),
    "gradients of no task": lambda: mgda(torch.zeros(0, 2)),
    "gradients in a list": lambda: mgda([1.0, 2.0]),
    "one gradient": lambda: gradient_cosine(torch.ones(3)),
    "a weight of NaN": lambda: weighted_loss({"a": torch.tensor(1.0)}, {"a": NAN}),
    "a weight of another": lambda: weighted_loss({"a": torch.tensor(1.0)}, {"b": 1.0}),
    "a weight that is a text": lambda: weighted_loss({"a": torch.tensor(1.0)}, {"a": "1"}),
    "weights of unknown tasks": lambda: together(balance=by_weights({"c": 1.0})),
    "no tasks to weigh": lambda: UncertaintyWeights({}),
    "a task twice": lambda: UncertaintyWeights(["a", "a"]),
    "no heads": lambda: MultiTask(nn.Linear(2, 2), {}),
    "looking later than the end": lambda: together(validation=(DATA, TARGETS), every=10),
    "no label that differs": lambda: together(validation=(DATA, ALIKE), every=1),
    "no candidate with a score": lambda: tune_weights(
        lambda w: NAN, {"a": 1.0, "b": 1.0}, generator=seeded(0)
    ),
    "pictures of NaN": lambda: guess_game(
        torch.full((1, 2, 4, 4), NAN), torch.rand(1, 4, 4), torch.tensor([0]), label="?"
    ),
    "half an answer": lambda: guess_game(
        torch.rand(1, 2, 4, 4), torch.rand(1, 4, 4), torch.tensor([0.5]), label="?"
    ),
    "activations with NaN": lambda: cka(torch.full((3, 2), NAN), torch.rand(3, 2)),
    "activations of other inputs": lambda: cka(torch.rand(3, 2), torch.rand(4, 2)),
    "a state that is a list": lambda: save_checkpoint("never-written.zip", [1, 2]),
    "labels for other inputs": lambda: Episode(X, Y[:2], X, Y),
    "an array for a tensor": lambda: Episode(X.numpy(), Y, X, Y),
}


def assert_is_answered(call):
    with pytest.raises(ValueError, match=r"\w") as answered:
        call()
    text = str(answered.value)
    assert re.search("expected|give |lower |use ", text), text


@pytest.mark.parametrize(("call", "value"), KINDS)
def test_a_wrong_value_is_named_with_what_is_expected(call, value):
    assert_is_answered(lambda: call(value))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_be_meant_is_answered(name):
    assert_is_answered(CALLS[name])


def test_a_folder_is_no_checkpoint(tmp_path):
    assert_is_answered(lambda: load_checkpoint(tmp_path))


WRONG = st.one_of(
    st.floats(max_value=-1e-9), st.just(NAN), st.text(), st.booleans(), st.lists(st.integers())
)


@settings(max_examples=60, deadline=None, database=None)
@given(st.sampled_from(sorted(COUNTS)), st.one_of(st.integers(max_value=-1), st.floats(), WRONG))
def test_whatever_is_no_count_is_answered(name, value):
    assert_is_answered(lambda: COUNTS[name](value))


@settings(max_examples=60, deadline=None, database=None)
@given(st.sampled_from(sorted(SIZES)), WRONG)
def test_whatever_is_no_size_is_answered(name, value):
    assert_is_answered(lambda: SIZES[name](value))
