"""Every method of the course in the same two parts: what it learns, and how that adapts.

``METHODS`` says with which of ``LEARNERS`` a method begins, and how it makes a network for one
task of what was learned. So all can be trained, tune, scored and timed by the same lines.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from metalearn_lite.judging.baselines import nearest_class
from metalearn_lite.maml.dispatch import adapt
from metalearn_lite.maml.meta_sgd import MetaSGD
from metalearn_lite.maml.proto_maml import start_at_prototypes
from metalearn_lite.models.functional import parameters_to_adapt
from metalearn_lite.models.heads import new_head, outputs_for
from metalearn_lite.models.networks import Network
from metalearn_lite.models.normalisation import fix_statistics
from metalearn_lite.prototypes.fitted_heads import Head, LearnedRidge, ridge_head
from metalearn_lite.prototypes.means import linear_form, prototypes
from metalearn_lite.tasks import Episode
from metalearn_lite.transfer.fine_tuning import fine_tune, linear_probe

Answer = Callable[[Tensor], Tensor]
Adapt = Callable[..., Answer]


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Attributes:
        learner: with which of ``LEARNERS`` it begins.
        adapt: ``adapt(learner, task, **settings)`` gives the network for a single task; where
            there is no network, a function from images to outputs.
        settings: what ``adapt`` may be given, each with the values to try, first the usual one.
    """

    learner: str
    adapt: Adapt
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)


def answers(network: Answer, task: Episode) -> tuple[Tensor, Tensor]:
    """Answer the queries of a task in two ways.

    Args:
        network: what ``adapt`` gave for this task.
        task: a single episode.

    Returns:
        The outputs ``(m, ways)`` when all queries are normalised by their own statistics
        (transductive), and when each is normalised by those of the support set (inductive).
        Without batch statistics both are the same.
    """
    with torch.no_grad():
        outputs = network(task.query_x)
        if not isinstance(network, nn.Module):
            return outputs, outputs
        return outputs, fix_statistics(network, task.support_x)(task.query_x)


def compare_pixels(learner: nn.Module, task: Episode) -> Answer:
    """Answer by the nearest support image."""
    x, y = task.support_x.flatten(1), task.support_y
    return lambda queries: nearest_class(x, y, queries.flatten(1))


def probe(learner: Network, task: Episode, *, l2: float = 1e-3) -> Network:
    """Fit the last layer to its optimum."""
    return linear_probe(learner, task.support_x, task.support_y, l2=l2)


def tune(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train all layers, with a new last one that begins at zero."""
    start = new_head(learner, outputs_for(task.support_y))
    return fine_tune(start, task.support_x, task.support_y, steps=int(steps), lr=lr)


def probe_and_tune(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Fit the last layer, then train all (LP-FT)."""
    return fine_tune(probe(learner, task), task.support_x, task.support_y, steps=int(steps), lr=lr)


def train_alone(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train from the weights of the learner, head included."""
    return fine_tune(learner, task.support_x, task.support_y, steps=int(steps), lr=lr)


def take_inner_steps(
    learner: nn.Module,
    task: Episode,
    *,
    inner_steps: int,
    inner_lr: float,
    head_only: bool = False,
) -> Network:
    """Take gradient steps from a learned start (MAML, its relatives, Reptile)."""
    model, rate = (
        (learner.network, {n: r.detach() for n, r in learner.inner_lr.items()})
        if isinstance(learner, MetaSGD)
        else (learner, inner_lr)
    )
    assert isinstance(model, Network)
    params = {n: p.detach() for n, p in parameters_to_adapt(model, head_only=head_only).items()}
    steps = {"inner_lr": rate, "inner_steps": int(inner_steps), "first_order": True}
    return _with(model, adapt(model, params, task.support_x, task.support_y, **steps))  # type: ignore[arg-type]


def use_means(learner: Network, task: Episode) -> Network:
    """Give the network the head that answers by the nearest class mean."""
    z = learner.features(task.support_x).detach()
    return _with_head(learner, linear_form(prototypes(z, task.support_y)))


def use_ridge(learner: LearnedRidge, task: Episode, *, factor: float = 1.0) -> Network:
    """Give the network the head of ridge regression, with ``factor`` times its penalty."""
    z = learner.network.features(task.support_x).detach()
    penalty = factor * learner.penalty.item()
    return _with_head(learner.network, ridge_head(z, task.support_y, penalty=penalty))


def step_from_means(
    learner: Network, task: Episode, *, inner_steps: int, inner_lr: float
) -> Network:
    """Take gradient steps from the prototypes (Proto-MAML)."""
    start = {n: p.detach() for n, p in start_at_prototypes(learner, task).items()}
    steps = {"inner_lr": inner_lr, "inner_steps": int(inner_steps), "first_order": True}
    adapted = adapt(learner, start, task.support_x, task.support_y, **steps)  # type: ignore[arg-type]
    head = adapted["head.weight"], adapted["head.bias"]
    return _with(_with_head(learner, head), adapted)


STEPS: dict[str, tuple[float, ...]] = {"inner_steps": (1, 3, 10, 20)}
L2: dict[str, tuple[float, ...]] = {"l2": (1e-3, 1e-4, 1e-2, 1e-1)}

METHODS = {
    "nearest pixel": Method("nothing", compare_pixels),
    "from scratch": Method("nothing", train_alone, {"steps": (5, 20), "lr": (0.1, 0.5)}),
    "linear probe": Method("classes", probe, L2),
    "fine-tuning": Method("classes", tune, {"steps": (5, 20), "lr": (0.03, 0.1)}),
    "LP-FT": Method("classes", probe_and_tune, {"steps": (5, 20), "lr": (0.01, 0.05)}),
    "multi-task": Method("many tasks", probe, L2),
    "MAML": Method("MAML", take_inner_steps, STEPS),
    "first-order MAML": Method("first-order MAML", take_inner_steps, STEPS),
    "ANIL": Method("ANIL", partial(take_inner_steps, head_only=True), STEPS),
    "Meta-SGD": Method("Meta-SGD", take_inner_steps, STEPS),
    "Reptile": Method("Reptile", take_inner_steps, {"inner_steps": (5, 10, 20, 40)}),
    "prototypes": Method("prototypes", use_means),
    "ridge": Method("ridge", use_ridge, {"factor": (1.0, 0.1, 10.0, 100.0)}),
    "Proto-MAML": Method("Proto-MAML", step_from_means, STEPS),
}


def _with(model: Network, params: dict[str, Tensor]) -> Network:
    """Return a copy of the network with these parameters."""
    adapted = copy.deepcopy(model)
    adapted.load_state_dict(params, strict=False)
    return adapted


def _with_head(model: Network, head: Head) -> Network:
    """Return a copy of the network with this weight and bias in its last layer."""
    renewed = new_head(model, len(head[1]))
    renewed.head.load_state_dict({"weight": head[0], "bias": head[1]})
    return renewed
