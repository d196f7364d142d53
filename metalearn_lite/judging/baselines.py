"""The floor: what can be had without learning anything beforehand.

A method that learns from many tasks must be better than these on the same episodes.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn_lite.arguments import check_counts
from metalearn_lite.losses import default_loss
from metalearn_lite.tasks import Episode, check_single


def nearest_pixel(model: object, episode: Episode) -> Tensor:
    """Give each query the label of the support image nearest to it in pixels.

    Args:
        model: not used; the argument is there because every ``predict`` has it.
        episode: a single classification episode.

    Returns:
        ``(m, ways)``: for each class minus the smallest Euclidean distance to one of its
        support images, so that the largest entry marks the nearest.

    Raises:
        ValueError: if a class has no support image.
    """
    check_single(episode)
    return nearest_class(
        episode.support_x.flatten(1), episode.support_y, episode.query_x.flatten(1)
    )


def nearest_feature(model: nn.Module, episode: Episode) -> Tensor:
    """Like ``nearest_pixel``, by distance between the outputs of ``model.features``.

    Support and query pass through the network together, so with batch normalisation
    the prediction is transductive.
    """
    check_single(episode)
    n = len(episode.support_x)
    with torch.no_grad():
        x = torch.cat([episode.support_x, episode.query_x])
        features: Tensor = model.features(x)  # type: ignore[operator]
    return nearest_class(features[:n], episode.support_y, features[n:])


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
    ways = int(labels.max()) + 1
    counts = labels.bincount(minlength=ways)
    if (counts == 0).any():
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"the support set has no example of class {empty}: give at least one")
    distance = torch.cdist(query, support)
    far = torch.full((len(query), ways), torch.inf, dtype=query.dtype, device=query.device)
    return -far.scatter_reduce(1, labels.expand(len(query), -1), distance, "amin")


def from_scratch(model: nn.Module, episode: Episode, *, steps: int = 5, lr: float = 0.5) -> Tensor:
    """Train from the weights of ``model`` on the support set alone, then predict.

    With an untrained model this is learning from scratch: full-batch gradient descent on
    the few labelled examples. The model itself is not changed.

    Args:
        model: where to start from; no buffer is updated.
        episode: a single episode.
        steps: steps of gradient descent; 0 predicts with the model as it is.
        lr: their step size.

    Returns:
        The query outputs, ``(m, ways)`` or ``(m, outputs)``.
    """
    check_single(episode)
    check_counts(steps=steps, least=0)
    params = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    for _ in range(steps):
        with torch.enable_grad():
            outputs = functional_call(model, params, (episode.support_x,))
            loss = default_loss(outputs, episode.support_y)
            gradient = torch.autograd.grad(loss, list(params.values()))
        for p, g in zip(params.values(), gradient, strict=True):
            p.data.sub_(g, alpha=lr)
    return functional_call(model, params, (episode.query_x,))  # type: ignore[no-any-return]
