"""Prototypical networks: the nearest class mean, in a space that is learned for it.

Snell, Swersky and Zemel (2017), "Prototypical networks for few-shot learning". Nothing adapts to
a task but the means. ``prototype_loss`` trains the space, ``prototype_predict`` answers in it.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.arguments import check_positive, check_shapes
from metalearn_lite.losses import task_loss
from metalearn_lite.models.expectations import features_of
from metalearn_lite.models.functional import call
from metalearn_lite.models.networks import Network
from metalearn_lite.models.query_statistics import Statistics, answer_each_task, task_features
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes

MOST_DIFFERENCES = 2**24  # between queries and means, in each dimension
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
    counts = count_examples(features, labels, ways)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, labels, features)
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
    check_positive(scale=scale)
    fits = queries.ndim == means.ndim == 2 and queries.shape[1] == means.shape[1]
    check_shapes(fits, "(m, d) and (ways, d)", queries=queries, means=means)
    if distance == "euclidean":
        return -scale * _squared_distances(queries, means)
    if distance == "cosine":
        return scale * F.normalize(queries, dim=1) @ F.normalize(means, dim=1).T
    raise ValueError(f"distance is {distance!r}: expected 'euclidean' or 'cosine'")


def _squared_distances(queries: Tensor, means: Tensor) -> Tensor:
    """Return ``(m, ways)``, by the binomial formula where the differences would fill memory."""
    if len(queries) * means.numel() <= MOST_DIFFERENCES:
        return (queries.unsqueeze(1) - means).square().sum(dim=2)
    middle = means.detach().mean(dim=0)  # shorter vectors, and so fewer digits that cancel
    q, c = queries - middle, means - middle
    return torch.addmm(
        q.square().sum(dim=1, keepdim=True) + c.square().sum(dim=1), q, c.T, alpha=-2
    )


def linear_form(means: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return weight and bias that decide as squared distances to the means do.

    .. math::

        -\lVert z - c_k \rVert^2 = 2 c_k^\top z - \lVert c_k \rVert^2 - \lVert z \rVert^2,

    and the last term is the same for all classes: the logits differ by a number that a softmax
    does not see.

    Args:
        means: c, ``(ways, d)``.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``, connected to ``means``.

    Reference:
        Snell et al. (2017), section 2.4.
    """
    return 2 * means, -means.square().sum(dim=1)


def prototype_head(means: Tensor) -> nn.Linear:
    """Return ``linear_form`` as a layer of its own, without a connection to the means.

    Args:
        means: c, ``(ways, d)``.
    """
    ways, d = means.shape
    head = nn.Linear(d, ways, device=means.device, dtype=means.dtype)
    with torch.no_grad():
        for p, value in zip(head.parameters(), linear_form(means), strict=True):
            p.copy_(value)
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
    for task, support, queries in task_features(features_of(model), episode):
        means = prototypes(support, task.support_y, ways=count_ways(task))
        logits = prototype_logits(queries, means, distance=distance, scale=scale)
        losses.append(task_loss(logits, task.query_y))
    return torch.stack(losses).mean()


class NearestMean(nn.Module):
    """Shared features, and the class means of one task: it answers by the nearest.

    Args:
        features: from inputs ``(n, ...)`` to ``(n, d)``; shared, not copied.
        means: c, ``(ways, d)``.
        distance: as in ``prototype_logits``.
        scale: as in ``prototype_logits``.
    """

    def __init__(
        self, features: nn.Module, means: Tensor, *, distance: Distance, scale: float
    ) -> None:
        super().__init__()
        self.features, self.means, self.distance, self.scale = features, means, distance, scale

    def forward(self, x: Tensor) -> Tensor:
        """Score inputs ``(n, ...)`` by their distance to each mean, ``(n, ways)``."""
        z = call(self.features, {}, x)
        return prototype_logits(z, self.means, distance=self.distance, scale=self.scale)


def prototype_learn(
    model: Network, task: Episode, *, distance: Distance = "euclidean", scale: float = 1.0
) -> NearestMean:
    """Take the class means of one task, and return what answers its queries.

    Args:
        model: gives the features; it is shared, and not changed.
        task: a single episode.
        distance: as in ``prototype_logits``.
        scale: as in ``prototype_logits``; it does not change the best class.

    Returns:
        A network from inputs ``(n, ...)`` to logits ``(n, ways)``.

    Raises:
        ValueError: if a class of the task has no example.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    with torch.no_grad():
        means = prototypes(call(features_of(model), {}, task.support_x), task.support_y)
    return NearestMean(features_of(model), means, distance=distance, scale=scale)


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
        distance: as in ``prototype_learn``.
        scale: as in ``prototype_learn``.
        statistics: what a query is normalised with, as in ``maml_predict``; ``"queries"`` is
            transductive.

    Returns:
        Logits ``(m, ways)``, or ``(T, m, ways)``, without a gradient.

    Raises:
        ValueError: if a class of an episode has no example.
    """
    learn = partial(prototype_learn, model, distance=distance, scale=scale)
    return answer_each_task(model, episode, learn, statistics)


def count_examples(features: Tensor, labels: Tensor, ways: int | None = None) -> Tensor:
    """Count the examples of each class, after checking that features and labels fit.

    Returns:
        ``(ways,)``, each 1 or more.

    Raises:
        ValueError: as in ``prototypes``.
    """
    fits = features.ndim == 2 and labels.shape == features.shape[:1] and len(labels) > 0
    expected = "(n, d) and (n,), with n of 1 or more"
    check_shapes(fits, expected, features=features, labels=labels)
    if labels.dtype != torch.int64 or labels.min() < 0:
        raise ValueError(
            f"labels are {labels.dtype} from {labels.min().item()}: expected int64 from 0; "
            "labels.long() makes them so"
        )
    found = int(labels.max()) + 1
    ways = found if ways is None else ways
    if found > ways:
        raise ValueError(f"labels go up to {found - 1}: expected less than ways, which is {ways}")
    counts = labels.bincount(minlength=ways)
    if (counts == 0).any():
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"class {empty} has no example: give every class at least one")
    return counts


def count_ways(task: Episode) -> int:
    """Count the classes that a task names, in its support set or in its queries."""
    return int(torch.cat([task.support_y, task.query_y]).max()) + 1
