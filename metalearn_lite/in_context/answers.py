"""A network that learns in its forward pass, under the contracts of every other method."""

from functools import partial

from torch import Tensor

from metalearn_lite.arguments import check_kind
from metalearn_lite.in_context.set_transformer import SetTransformer
from metalearn_lite.losses import task_loss
from metalearn_lite.models.query_statistics import Answer, answer_each_task
from metalearn_lite.tasks import Episode, check_single


def in_context_loss(model: SetTransformer, episode: Episode) -> Tensor:
    """Mean loss of the answers to the queries, an objective for ``meta_train``.

    Args:
        model: the network.
        episode: one task or T of them, which go through the network together.

    Returns:
        Mean cross-entropy for classes, mean squared error for values, with a gradient.

    Raises:
        ValueError: as in ``SetTransformer``, and for queries without labels.
    """
    check_kind(Episode, episode=episode)
    tasks = episode.as_batch()
    outputs = model(tasks.support_x, tasks.support_y, tasks.query_x)
    return task_loss(outputs, tasks.query_y)


def in_context_learn(model: SetTransformer, task: Episode) -> Answer:
    """Return what answers the queries of one task: the network, with the examples beside them.

    Nothing is computed until there are queries; each call reads the examples again.

    Args:
        model: the network; not changed.
        task: a single episode.

    Returns:
        A function from inputs ``(m, ...)`` to outputs ``(m, outputs)``.
    """
    check_single(task)
    x, y = task.support_x.unsqueeze(0), task.support_y.unsqueeze(0)
    return lambda queries: model(x, y, queries.unsqueeze(0))[0]


def in_context_predict(model: SetTransformer, episode: Episode) -> Tensor:
    """Answer the queries of each task in one pass.

    Args:
        model: the network; not changed.
        episode: one task or T of them.

    Returns:
        Values or logits ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: as in ``SetTransformer``.
    """
    return answer_each_task(model, episode, partial(in_context_learn, model))
