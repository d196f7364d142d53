"""Prototypical networks: the nearest class mean, in a space that is learned for it.

Snell, Swersky and Zemel (2017), "Prototypical networks for few-shot learning". Nothing adapts to
a task but the means. ``prototype_loss`` trains the space, ``prototype_predict`` answers in it.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.company import Statistics, answer
from metalearn_lite.many_tasks import many_tasks
from metalearn_lite.models import Network
from metalearn_lite.tasks import Episode

Distance = Literal["euclidean", "cosine"]


def prototypes(features: Tensor, labels: Tensor, *, ways: int | None = None) -> Tensor:
    r"""Return the mean of each class.

    .. math::

        c_k = \frac{1}{|S_k|} \sum_{i \in S_k} z_i .

    Args:
        features: z, ``(n, d)``.
        labels: ``(n,)`` int64 in ``0 .. ways - 1``; classes may differ in size.
        ways: number of classes; None means the largest label and one.

    Returns:
        ``(ways, d)``.

    Raises:
        ValueError: if a class has no example, or a shape or a label does not fit.

    Reference:
        Snell et al. (2017), equation 1.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            f"features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}: "
            "expected (n, d) and (n,), with n of 1 or more"
        )
    if labels.is_floating_point() or labels.min() < 0:
        raise ValueError(
            f"labels are {labels.dtype} from {labels.min().item()}: expected whole numbers from 0"
        )
    found = int(labels.max()) + 1
    ways = found if ways is None else ways
    if found > ways:
        raise ValueError(f"labels go up to {found - 1}: expected less than ways, which is {ways}")
    counts = labels.bincount(minlength=ways)
    if (counts == 0).any():
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"class {empty} has no example: give every class at least one")
    sums = features.new_zeros(ways, features.shape[1]).index_add(0, labels, features)
    return sums / counts.unsqueeze(1)


def prototype_logits(
    queries: Tensor, means: Tensor, *, distance: Distance = "euclidean", scale: float = 1.0
) -> Tensor:
    r"""Score queries by how close they are to each class mean.

    Args:
        queries: features z, ``(m, d)``.
        means: c, ``(ways, d)``.
        distance: ``"euclidean"``: minus the *squared* distance, as in the paper;
            ``"cosine"``: the cosine of the angle, as in Vinyals et al. (2016).
        scale: what the score is multiplied with. A cosine lies between -1 and 1, too close for
            a softmax to be sure, and wants 10 or more.

    Returns:
        Logits ``(m, ways)``; a softmax over them is equation 2 of Snell et al. (2017).

    Raises:
        ValueError: if the shapes do not fit, or for an unknown ``distance``.
    """
    if queries.ndim != 2 or means.ndim != 2 or queries.shape[1] != means.shape[1]:
        raise ValueError(
            f"queries have shape {tuple(queries.shape)} and means {tuple(means.shape)}: expected "
            "(m, d) and (ways, d)"
        )
    if distance == "euclidean":
        return -scale * (queries.unsqueeze(1) - means).square().sum(dim=2)
    if distance == "cosine":
        return scale * F.normalize(queries, dim=1) @ F.normalize(means, dim=1).T
    raise ValueError(f"distance is {distance!r}: expected 'euclidean' or 'cosine'")


def prototype_head(means: Tensor) -> nn.Linear:
    r"""Return the linear layer that decides as squared distances to the means do.

    .. math::

        -\lVert z - c_k \rVert^2 = 2 c_k^\top z - \lVert c_k \rVert^2 - \lVert z \rVert^2,

    and the last term is the same for all classes: the logits differ by a number that a softmax
    does not see.

    Args:
        means: c, ``(ways, d)``.

    Reference:
        Snell et al. (2017), section 2.4; Triantafillou et al. (2020), section 3, where a head
        begins like this and is then adapted (Proto-MAML).
    """
    ways, d = means.shape
    head = nn.Linear(d, ways, device=means.device, dtype=means.dtype)
    with torch.no_grad():
        head.weight.copy_(2 * means)
        head.bias.copy_(-means.square().sum(dim=1))
    return head


def prototype_loss(
    model: Network, episode: Episode, *, distance: Distance = "euclidean", scale: float = 1.0
) -> Tensor:
    """Mean cross-entropy of the queries, an objective for ``meta_train``.

    Support set and queries pass through the network one after the other, as in ``maml_loss``:
    with batch statistics each has its own. The head of the network is not used.

    Args:
        model: the network; its features are trained.
        episode: one task or T of them; the number of ways may differ from the head's.
        distance: as in ``prototype_logits``.
        scale: as in ``prototype_logits``.

    Returns:
        A scalar with a gradient.

    Raises:
        ValueError: if a class of an episode has no example.
    """
    losses = []
    for task, support, queries in _features(model, episode):
        means = prototypes(support, task.support_y, ways=_ways(task))
        logits = prototype_logits(queries, means, distance=distance, scale=scale)
        losses.append(F.cross_entropy(logits, task.query_y))
    return torch.stack(losses).mean()


def prototype_predict(
    model: Network,
    episode: Episode,
    *,
    distance: Distance = "euclidean",
    scale: float = 1.0,
    statistics: Statistics = "queries",
) -> Tensor:
    """Answer the queries by the nearest class mean.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        distance: as in ``prototype_logits``.
        scale: as in ``prototype_logits``; it does not change the best class.
        statistics: what a query is normalised with, as in ``maml_predict``; ``"queries"`` is
            transductive.

    Returns:
        Logits ``(m, ways)``, or ``(T, m, ways)``, without a gradient.

    Raises:
        ValueError: if a class of an episode has no example.
    """
    answers = []
    for task in episode.unbind():
        with torch.no_grad():
            means = prototypes(model.features(task.support_x), task.support_y)

        def scores(x: Tensor, means: Tensor = means) -> Tensor:
            return prototype_logits(model.features(x), means, distance=distance, scale=scale)

        answers.append(answer(model, scores, task, statistics))
    return torch.stack(answers) if episode.batch is not None else answers[0]


def _ways(task: Episode) -> int:
    return int(torch.cat([task.support_y, task.query_y]).max()) + 1


def _features(model: Network, episode: Episode) -> Iterator[tuple[Episode, Tensor, Tensor]]:
    """Yield each task with the features of its support set and of its queries."""
    compute: Callable[[Tensor], Tensor] = model.features
    if episode.batch is not None and many_tasks(model) is not None:
        together = torch.func.vmap(compute)  # each task with the statistics of its own batch
        support, queries = together(episode.support_x), together(episode.query_x)
        yield from zip(episode.unbind(), support, queries, strict=True)
        return
    for task in episode.unbind():
        yield task, compute(task.support_x), compute(task.query_x)
