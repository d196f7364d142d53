"""MAML as the chapter writes it: one task after another, and PyTorch differentiates the rest.

``dispatch`` hands out the same functions, documents their options, and is fast where it can be.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.losses import Loss, task_loss
from metalearn_lite.maml.inner_loop import starting_point
from metalearn_lite.maml.step_sizes import Rate, check_steps, shortened
from metalearn_lite.models.functional import AdaptedNetwork, Params, call, parameters_to_adapt
from metalearn_lite.models.query_statistics import Statistics, answer_each_task
from metalearn_lite.tasks import Episode


def descend(
    loss: Callable[[Params], Tensor],
    params: Params,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
) -> dict[str, Tensor]:
    r"""Take steps :math:`\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k)`, none in place.

    The result can be differentiated with respect to ``params`` and ``inner_lr`` if these
    require a gradient and gradients are on; with ``first_order`` the ∇L count as constants.
    """
    adapted, rates, connected = starting_point(params, inner_lr)
    graph = connected and not first_order
    with torch.enable_grad():
        for _ in range(inner_steps):
            gradients = torch.autograd.grad(
                loss(adapted), list(adapted.values()), create_graph=graph, materialize_grads=True
            )
            pairs = zip(adapted.items(), shortened(gradients, inner_lr), strict=True)
            adapted = {name: p - rates[name] * gradient for (name, p), gradient in pairs}
    return adapted if connected else {name: p.detach() for name, p in adapted.items()}


def adapt(
    model: nn.Module,
    params: Params,
    support_x: Tensor,
    support_y: Tensor,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
    loss_fn: Loss = task_loss,
) -> dict[str, Tensor]:
    """Adapt ``params`` to the support set of one task, ``(n, ...)`` and ``(n,)``."""
    check_steps(inner_lr, inner_steps, params)

    def support_loss(adapted: Params) -> Tensor:
        return loss_fn(call(model, adapted, support_x), support_y)

    return descend(
        support_loss, params, inner_lr=inner_lr, inner_steps=inner_steps, first_order=first_order
    )


def maml_loss(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
    head_only: bool = False,
    loss_fn: Loss = task_loss,
) -> Tensor:
    """Mean over tasks of the query loss at the adapted parameters, Finn et al. (2017)."""
    params = parameters_to_adapt(model, head_only=head_only)
    options: dict[str, Any] = {"inner_lr": inner_lr, "inner_steps": inner_steps, "loss_fn": loss_fn}
    losses = []
    for task in episode.unbind():
        x, y = task.support_x, task.support_y
        adapted = adapt(model, params, x, y, first_order=first_order, **options)
        losses.append(loss_fn(call(model, adapted, task.query_x), task.query_y))
    return torch.stack(losses).mean()


def maml_learn(
    model: nn.Module,
    task: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    head_only: bool = False,
    loss_fn: Loss = task_loss,
) -> AdaptedNetwork:
    """Adapt to the support set of one task: a network from inputs to outputs."""
    params = parameters_to_adapt(model, head_only=head_only)
    options: dict[str, Any] = {"inner_lr": inner_lr, "inner_steps": inner_steps, "loss_fn": loss_fn}
    with torch.no_grad():  # the steps are taken all the same, and nothing is kept of their way
        adapted = adapt(model, params, task.support_x, task.support_y, **options)
    return AdaptedNetwork(model, adapted)


def maml_predict(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    head_only: bool = False,
    loss_fn: Loss = task_loss,
    statistics: Statistics = "queries",
) -> Tensor:
    """Learn each task, then answer its queries, ``(m, outputs)``."""
    options: dict[str, Any] = {"inner_lr": inner_lr, "inner_steps": inner_steps, "loss_fn": loss_fn}
    learn = partial(maml_learn, model, head_only=head_only, **options)
    return answer_each_task(model, episode, learn, statistics)
