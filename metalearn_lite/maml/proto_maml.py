"""Proto-MAML: begin with the nearest class mean, then adapt it by gradient steps.

Triantafillou et al. (2020), "Meta-Dataset", section 3. The head of each task starts as the
linear layer that decides as the prototypes do; then body and head take the steps of MAML. A
head made from the examples has as many outputs as they have classes, so tasks may differ in
their number of ways.
"""

from functools import partial

import torch
from torch import Tensor

from metalearn_lite.losses import task_loss
from metalearn_lite.maml.plain import adapt
from metalearn_lite.maml.second_derivatives import twice_differentiable
from metalearn_lite.maml.step_sizes import Rate
from metalearn_lite.models.expectations import features_of, linear_head
from metalearn_lite.models.functional import AdaptedNetwork, Params, call
from metalearn_lite.models.networks import Network
from metalearn_lite.models.query_statistics import Statistics, answer_each_task
from metalearn_lite.prototypes.means import count_ways, linear_form, prototypes
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes


def start_at_prototypes(model: Network, task: Episode, *, ways: int | None = None) -> Params:
    r"""Return the parameters that the inner loop starts from, connected to the model's.

    .. math::

        \theta_0 = \theta, \qquad W_0 = 2 C(\theta), \qquad b_{0,k} = -\lVert c_k(\theta) \rVert^2 .

    Head and body are separate from here on: a gradient with respect to the body takes the
    head as given, although the head was computed with the body.

    Args:
        model: the network; of its head only the names are used.
        task: a single episode.
        ways: number of classes; None takes those of the support set.

    Returns:
        All parameters that require a gradient, and the head ``(ways, d)``, ``(ways,)``.

    Raises:
        ValueError: if a class has no example, or the head is not a linear layer with a bias.
    """
    if linear_head(model).bias is None:
        raise ValueError("the head of the network has no bias: expected nn.Linear with a bias")
    means = prototypes(call(features_of(model), {}, task.support_x), task.support_y, ways=ways)
    weight, bias = linear_form(means)
    body = {
        name: p.clone()  # a node of its own, apart from the one that made the means
        for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("head.")
    }
    return {**body, "head.weight": weight, "head.bias": bias}


def proto_maml_loss(
    model: Network,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
) -> Tensor:
    r"""Mean query loss after adaptation from the prototypes, an objective for ``meta_train``.

    .. math::

        \frac{1}{T} \sum_{i=1}^{T} L_i^{\text{query}}\big(U_i(\theta_0, W_0, b_0)\big),

    with ``start_at_prototypes`` and the steps :math:`U_i` of ``maml.adapt``. The meta-gradient
    also goes through the prototypes that the head starts from. With 0 steps this is
    ``prototype_loss``.

    Args:
        model: the network; it is not changed, and its head is not used.
        episode: one task or T of them, of any number of ways.
        inner_lr: α of ``adapt``.
        inner_steps: number of inner steps.
        first_order: treat the gradients of the inner loop as constants, but not the start:
            the gradient of the query loss at the adapted head still goes back through the
            prototypes.

    Returns:
        A scalar with a gradient.

    Raises:
        ValueError: as in ``adapt`` and ``start_at_prototypes``.

    Reference:
        Triantafillou et al. (2020), section 3.
    """
    losses = []
    with twice_differentiable(model, inner_steps=inner_steps, first_order=first_order):
        for task in episode.unbind():
            adapted = adapt(
                model,
                start_at_prototypes(model, task, ways=count_ways(task)),
                task.support_x,
                task.support_y,
                inner_lr=inner_lr,
                inner_steps=inner_steps,
                first_order=first_order,
            )
            losses.append(task_loss(call(model, adapted, task.query_x), task.query_y))
    return torch.stack(losses).mean()


def proto_maml_learn(
    model: Network, task: Episode, *, inner_lr: Rate, inner_steps: int
) -> AdaptedNetwork:
    """Adapt from the prototypes of one task, and return what answers its queries.

    Args:
        model: the network; it is shared, and not changed.
        task: a single episode.
        inner_lr: α of ``adapt``.
        inner_steps: number of steps; with 0 the best class is that of ``prototype_predict``.

    Returns:
        A network from inputs ``(n, ...)`` to logits ``(n, ways)``.

    Raises:
        ValueError: as in ``adapt`` and ``start_at_prototypes``.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    with torch.no_grad():
        start = start_at_prototypes(model, task)
        x, y = task.support_x, task.support_y
        adapted = adapt(model, start, x, y, inner_lr=inner_lr, inner_steps=inner_steps)
    return AdaptedNetwork(model, adapted)


def proto_maml_predict(
    model: Network,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    statistics: Statistics = "queries",
) -> Tensor:
    """Adapt from the prototypes of the support set, then answer the queries.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        inner_lr: as in ``proto_maml_learn``.
        inner_steps: as in ``proto_maml_learn``.
        statistics: what a query is normalised with, as in ``maml_predict``; ``"queries"`` is
            transductive.

    Returns:
        Logits ``(m, ways)``, or ``(T, m, ways)``, without a gradient.

    Raises:
        ValueError: as in ``proto_maml_learn``.
    """
    learn = partial(proto_maml_learn, model, inner_lr=inner_lr, inner_steps=inner_steps)
    return answer_each_task(model, episode, learn, statistics)
