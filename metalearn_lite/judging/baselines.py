"""The floor: what can be had without learning anything beforehand.

A method that learns from many tasks must be better than these on the same episodes.
"""

from functools import partial

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts
from metalearn_lite.maml.dispatch import maml_learn
from metalearn_lite.models.expectations import features_of
from metalearn_lite.models.functional import AdaptedNetwork, call
from metalearn_lite.models.networks import Network
from metalearn_lite.models.query_statistics import Answer, answer_each_task
from metalearn_lite.prototypes.means import count_examples
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes, full_precision


def nearest_pixel(model: object, episode: Episode) -> Tensor:
    """Give each query the label of the support image nearest to it in pixels.

    Args:
        model: not used; the argument is there because every ``predict`` has it.
        episode: one classification task or T of them.

    Returns:
        ``(m, ways)``, or ``(T, m, ways)``: for each class minus the smallest Euclidean distance
        to one of its support images, so that the largest entry marks the nearest.

    Raises:
        ValueError: if a class has no support image.
    """
    return answer_each_task(model, episode, partial(nearest_pixel_learn, model))


def nearest_pixel_learn(model: object, task: Episode) -> Answer:
    """Remember the support images of one task; return what compares inputs with them."""
    check_single(task)
    check_classes(task.support_y, task.query_y)
    x, y = task.support_x.flatten(1), task.support_y
    return lambda queries: nearest_class(x, y, queries.flatten(1))


def nearest_feature(model: Network, episode: Episode) -> Tensor:
    """Like ``nearest_pixel``, by distance between the outputs of ``model.features``.

    Support and query pass through the network together, so with batch normalisation
    the prediction is transductive.
    """

    def learn(task: Episode) -> Answer:
        check_classes(task.support_y, task.query_y)
        n = len(task.support_x)

        def outputs(x: Tensor) -> Tensor:
            features = call(features_of(model), {}, torch.cat([task.support_x, x]))
            return nearest_class(features[:n], task.support_y, features[n:])

        return outputs

    return answer_each_task(model, episode, learn)


def nearest_class(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """Score each class by minus the distance from a query to its nearest support row.

    Args:
        support: ``(n, d)``.
        labels: ``(n,)`` int64 in ``0 .. ways - 1``.
        query: ``(m, d)``.

    Returns:
        ``(m, ways)``.

    Raises:
        ValueError: if a class below the largest label has no row.
    """
    ways = len(count_examples(support, labels))
    rows, asked = full_precision(support), full_precision(query)
    middle = rows.mean(dim=0)  # far from 0 the squares of a distance cancel
    distance = torch.cdist(asked - middle, rows - middle).to(query.dtype)
    far = torch.full((len(query), ways), torch.inf, dtype=query.dtype, device=query.device)
    return -far.scatter_reduce(1, labels.expand(len(query), -1), distance, "amin")


def from_scratch(model: nn.Module, episode: Episode, *, steps: int = 5, lr: float = 0.5) -> Tensor:
    """Train from the weights of ``model`` on the support set alone, then predict.

    With an untrained model this is learning from scratch: full-batch gradient descent on
    the few labelled examples. The model itself is not changed.

    Args:
        model: where to start from; no buffer is updated.
        episode: one task or T of them.
        steps: steps of gradient descent; 0 predicts with the model as it is.
        lr: their step size.

    Returns:
        The query outputs, ``(m, ways)`` or ``(m, outputs)``; for T tasks with a leading T.

    Raises:
        ValueError: if ``steps`` is negative, or labels and outputs do not fit.
    """
    return answer_each_task(model, episode, partial(scratch_learn, model, steps=steps, lr=lr))


def scratch_learn(model: nn.Module, task: Episode, *, steps: int, lr: float) -> AdaptedNetwork:
    """Train from the weights of ``model`` on one task, and return what answers its queries.

    Args:
        model: where to start from, head included; not changed.
        task: a single episode.
        steps: as in ``from_scratch``.
        lr: as in ``from_scratch``.
    """
    check_counts(steps=steps, least=0)
    return maml_learn(model, task, inner_lr=lr, inner_steps=steps)
