"""Every method of the course in the same two parts: what it learns, and how that adapts.

``METHODS`` says with which of ``LEARNERS`` a method begins, and how it makes a network for one
task of what was learned. So all can be trained, tuned, scored and timed by the same lines.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.judging.baselines import nearest_pixel_learn, scratch_learn
from metalearn_lite.maml import MetaSGD, maml_learn, meta_sgd_learn, proto_maml_learn
from metalearn_lite.models.fixed_statistics import fix_statistics
from metalearn_lite.models.functional import AdaptedNetwork
from metalearn_lite.models.heads import CosineHead
from metalearn_lite.models.networks import Network
from metalearn_lite.models.normalisation import BatchStatisticsNorm
from metalearn_lite.models.query_statistics import Answer
from metalearn_lite.prototypes import prototype_learn, prototypes, ridge_learn
from metalearn_lite.reptile import reptile_learn
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes
from metalearn_lite.transfer import features, fine_tune, fine_tune_learn, lp_ft_learn, probe_learn

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
        if not any(isinstance(module, BatchStatisticsNorm) for module in network.modules()):
            return outputs, outputs
        return outputs, fix_statistics(network, task.support_x)(task.query_x)


def by_learned_rates(
    learner: MetaSGD, task: Episode, *, inner_steps: int, inner_lr: float
) -> AdaptedNetwork:
    """Adapt by Meta-SGD; ``inner_lr``, which all rows with inner steps get, is where it began."""
    return meta_sgd_learn(learner, task, inner_steps=inner_steps)


def by_cosine_head(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Adapt by a cosine head that begins at the class means, and takes steps on them alone.

    Args:
        learner: gives the features and the scale; not changed.
        task: a single episode.
        steps: on the head; with 0 the nearest mean by angle decides.
        lr: their size.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    z = features(learner, task.support_x)
    means = prototypes(F.normalize(z, dim=1), task.support_y)
    start = copy.deepcopy(learner)
    scale = learner.head.log_scale.exp().item() if isinstance(learner.head, CosineHead) else 10.0
    start.head = CosineHead(means.shape[1], len(means), scale=scale).to(means)
    with torch.no_grad():
        start.head.weight.copy_(means)
    return fine_tune(start, task.support_x, task.support_y, steps=0, head_steps=steps, lr=lr)


STEPS: dict[str, tuple[float, ...]] = {"inner_steps": (1, 3, 10, 20)}
L2: dict[str, tuple[float, ...]] = {"l2": (1e-3, 1e-4, 1e-2, 1e-1)}

METHODS = {
    "nearest pixel": Method("nothing", nearest_pixel_learn),
    "from scratch": Method("nothing", scratch_learn, {"steps": (5, 20), "lr": (0.1, 0.5)}),
    "linear probe": Method("classes", probe_learn, L2),
    "fine-tuning": Method("classes", fine_tune_learn, {"steps": (5, 20), "lr": (0.03, 0.1)}),
    "LP-FT": Method("classes", lp_ft_learn, {"steps": (5, 20), "lr": (0.01, 0.05)}),
    "multi-task": Method("many tasks", probe_learn, L2),
    "MAML": Method("MAML", maml_learn, STEPS),
    "first-order MAML": Method("first-order MAML", maml_learn, STEPS),
    "ANIL": Method("ANIL", partial(maml_learn, head_only=True), STEPS),
    "Meta-SGD": Method("Meta-SGD", by_learned_rates, STEPS),
    "Reptile": Method("Reptile", reptile_learn, {"inner_steps": (5, 10, 20, 40)}),
    "prototypes": Method("prototypes", prototype_learn),
    "ridge": Method("ridge", ridge_learn, {"factor": (1.0, 0.1, 10.0, 100.0)}),
    "Proto-MAML": Method("Proto-MAML", proto_maml_learn, STEPS),
}
