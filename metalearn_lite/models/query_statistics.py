"""Whose statistics a query is normalised with: the other queries', the support set's, its own.

A network that normalises by the batch it sees lets the answers to different queries depend on
each other. Whoever reports a score has to say who was in the batch.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_kind
from metalearn_lite.models.functional import call
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.tasks import Episode

Statistics = Literal["queries", "single", "support"]
Answer = Callable[[Tensor], Tensor]  # from inputs (n, ...) to outputs (n, outputs)


def check_statistics(statistics: str) -> None:
    """Raise a ``ValueError`` for a name that is none of ``Statistics``."""
    if statistics not in ("queries", "single", "support"):
        raise ValueError(f"statistics is {statistics!r}: expected 'queries', 'single' or 'support'")


def answer(model: object, outputs: Answer, task: Episode, statistics: Statistics) -> Tensor:
    """Compute the outputs for the queries of one task, without a gradient.

    Args:
        model: the network behind ``outputs``; if ``stacked_network`` knows all of its layers, the
            queries that are answered one by one are computed at once.
        outputs: from a batch of inputs to a batch of outputs.
        task: its queries are answered, with its support set if asked for.
        statistics: ``"queries"``: all queries in one batch (transductive); ``"support"``: each
            query in a batch with the support set; ``"single"``: each query alone.

    Returns:
        ``(m, outputs)``.

    Raises:
        ValueError: for an unknown ``statistics``.
    """
    check_statistics(statistics)
    beside = task.support_x if statistics == "support" else task.support_x[:0]

    def one(x: Tensor) -> Tensor:
        return outputs(torch.cat([beside, x.unsqueeze(0)]))[-1]

    with torch.no_grad():
        if statistics == "queries":
            return outputs(task.query_x)
        if isinstance(model, nn.Module) and stacked_network(model) is not None:
            return torch.func.vmap(one)(task.query_x)  # there is no layer that it would change
        return torch.stack([one(x) for x in task.query_x])


def answer_each_task(
    model: object,
    episode: Episode,
    learn: Callable[[Episode], Answer],
    statistics: Statistics = "queries",
) -> Tensor:
    """Learn each task of an episode, and answer its queries; what every ``predict`` comes down to.

    Args:
        model: what is behind the answers; used where it is a network that many inputs can pass
            through at once.
        episode: one task or T of them.
        learn: ``learn(task)`` returns a function from inputs ``(n, ...)`` to outputs.
        statistics: as in ``answer``.

    Returns:
        ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: for an unknown ``statistics``.
    """
    check_statistics(statistics)
    check_kind(Episode, episode=episode)
    answers = [answer(model, learn(task), task, statistics) for task in episode.unbind()]
    return torch.stack(answers) if episode.batch is not None else answers[0]


def task_features(
    features: nn.Module, episode: Episode
) -> Iterator[tuple[Episode, Tensor, Tensor]]:
    """Yield each task with the features of its support set and of its queries.

    Support set and queries pass one after the other, so with batch statistics each has its
    own. Tasks that can be computed together are.

    Args:
        features: from inputs ``(n, ...)`` to feature vectors ``(n, d)``.
        episode: one task or T of them.

    Yields:
        The task, its support features ``(n, d)`` and its query features ``(m, d)``.

    Raises:
        ValueError: if the forward pass changes a buffer, such as running statistics.
    """
    check_kind(Episode, episode=episode)
    if episode.batch is not None and stacked_network(features) is not None:
        together = torch.func.vmap(features)  # each task with the statistics of its own batch
        support, queries = together(episode.support_x), together(episode.query_x)
        yield from zip(episode.unbind(), support, queries, strict=True)
        return
    for task in episode.unbind():
        yield task, call(features, {}, task.support_x), call(features, {}, task.query_x)
