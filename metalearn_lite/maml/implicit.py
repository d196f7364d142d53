r"""Implicit MAML: the meta-gradient at the end of the inner loop, without the way there.

The inner problem keeps to the start θ by a penalty instead of by few steps,

.. math::

    \theta^\ast = \arg\min_{\theta'} L_S(\theta')
    + \tfrac{\lambda}{2} \lVert \theta' - \theta \rVert^2 .

Where its gradient is zero, :math:`\theta^\ast = \theta - \nabla L_S(\theta^\ast) / \lambda`. So the
gradient of the query loss by θ is :math:`(I + H / \lambda)^{-1} \nabla L_Q(\theta^\ast)`, with the
Hessian H of the support loss at θ*: it depends on where the descent ends and not on its steps,
of which none is kept. Rajeswaran, Finn, Kakade and Levine (2019), "Meta-learning with implicit
gradients".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_kind, check_positive
from metalearn_lite.computed import Computed
from metalearn_lite.losses import Loss, task_loss
from metalearn_lite.maml.hypergradients import conjugate_gradients, joined, pulled_back, slopes
from metalearn_lite.maml.plain import descend
from metalearn_lite.maml.second_derivatives import twice_differentiable
from metalearn_lite.maml.step_sizes import check_steps
from metalearn_lite.models.functional import AdaptedNetwork, Params, call, parameters_to_adapt
from metalearn_lite.models.query_statistics import Statistics, answer_each_task
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.tasks import Episode, check_single


@dataclass(frozen=True)
class Residuals:
    r"""How far both solves are from their ends, each from 1 (nothing is done) down to 0.

    Attributes:
        inner: the gradient of the penalised loss where the descent ends, as a share of its two
            parts, which cancel at the solution: the slope of the support loss, and the pull back
            to θ. ``()``, or ``(T,)`` for T tasks. Large: take more ``inner_steps``, or another
            ``inner_lr``.
        outer: :math:`\lVert (I + H / \lambda) v - \nabla L_Q \rVert / \lVert \nabla L_Q \rVert`,
            likewise, as conjugate gradients keep count of it, rounding left out. Large: take more
            ``cg_steps``, or a larger ``penalty``.
    """

    inner: Tensor
    outer: Tensor


def implicit_maml_loss(
    model: nn.Module,
    episode: Episode,
    *,
    penalty: float,
    inner_lr: float,
    inner_steps: int,
    cg_steps: int,
    loss_fn: Loss | None = None,
) -> Tensor:
    r"""Mean query loss at the solutions of the inner problems; its gradient is the implicit one.

    .. math::

        \Big( I + \frac{1}{\lambda} H_i \Big) v_i = \nabla L_i^{\text{query}}(\theta_i^\ast), \qquad
        \nabla J(\theta) = \frac{1}{T} \sum_{i=1}^{T} v_i .

    Both solves are cut off, so the gradient is right as far as ``implicit_maml_residuals`` are
    small. It is computed along with the loss, in memory that depends on neither number of steps.
    Where the penalised loss curves downward, conjugate gradients stop and the task tells less.
    Tasks whose network ``stacked_network`` knows are computed together.

    Args:
        model: the network; it is not changed. Parameters that do not require a gradient stay
            as they are in both loops.
        episode: one task or T of them.
        penalty: λ of λ/2 ‖θ' - θ‖². As it grows θ' stays at θ, and the gradient becomes that of
            joint training.
        inner_lr: step size of the descent, as in ``solve_inner``.
        inner_steps: number of its steps, 1 or more.
        cg_steps: number of conjugate gradient steps, each a product with the Hessian.
        loss_fn: the loss of both loops, as in ``adapt``.

    Returns:
        A scalar with a gradient.

    Raises:
        ValueError: for a penalty, a step size or a number of steps that is not above 0, and as
            in ``adapt``.

    Reference:
        Rajeswaran et al. (2019), algorithms 1 and 2, equation 3 and lemma 1.
    """
    inner: dict[str, Any] = {"penalty": penalty, "inner_lr": inner_lr, "inner_steps": inner_steps}
    check_counts(cg_steps=cg_steps)
    wanted, params = torch.is_grad_enabled(), parameters_to_adapt(model)
    solved = _solved(model, episode, inner, cg_steps if wanted else 0, loss_fn)
    loss = torch.stack([some[0] for some in solved]).sum() / (episode.batch or 1)
    if not wanted:
        return loss
    v = torch.cat([some[1] for some in solved]).mean(dim=0)
    parts = torch.split(v, [p.numel() for p in params.values()])
    gradients = [part.view_as(p) for part, p in zip(parts, params.values(), strict=True)]
    return Computed.apply(loss, gradients, *params.values())  # type: ignore[no-any-return, no-untyped-call]


def implicit_maml_learn(
    model: nn.Module,
    task: Episode,
    *,
    penalty: float,
    inner_lr: float,
    inner_steps: int,
    loss_fn: Loss | None = None,
) -> AdaptedNetwork:
    """Solve the inner problem of one task, and return what answers its queries.

    Gradients are turned on for it, also under ``torch.no_grad()``.

    Args:
        model: the network; it is shared, and not changed.
        task: a single episode.
        penalty: λ, as in ``implicit_maml_loss``.
        inner_lr: step size of the descent.
        inner_steps: number of its steps; it may differ from that in training.
        loss_fn: the loss of the adaptation, as in ``adapt``.

    Returns:
        A network from inputs ``(n, ...)`` to outputs ``(n, outputs)``.

    Raises:
        ValueError: as in ``implicit_maml_loss``.
    """
    check_single(task)
    inner: dict[str, Any] = {"penalty": penalty, "inner_lr": inner_lr, "inner_steps": inner_steps}

    def support_loss(adapted: Params) -> Tensor:
        return (loss_fn or task_loss)(call(model, adapted, task.support_x), task.support_y)

    return AdaptedNetwork(model, solve_inner(support_loss, parameters_to_adapt(model), **inner))


def implicit_maml_predict(
    model: nn.Module,
    episode: Episode,
    *,
    penalty: float,
    inner_lr: float,
    inner_steps: int,
    loss_fn: Loss | None = None,
    statistics: Statistics = "queries",
) -> Tensor:
    """Solve the inner problem, then answer the queries.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        penalty: λ, as in ``implicit_maml_learn``, and so are the next three.
        inner_lr: step size of the descent.
        inner_steps: number of its steps.
        loss_fn: the loss of the adaptation.
        statistics: what a query is normalised with, as in ``maml_predict``; ``"queries"`` is
            transductive.

    Returns:
        The query outputs ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: as in ``implicit_maml_loss``, and for an unknown ``statistics``.
    """
    inner: dict[str, Any] = {"penalty": penalty, "inner_lr": inner_lr, "inner_steps": inner_steps}
    learn = partial(implicit_maml_learn, model, loss_fn=loss_fn, **inner)
    return answer_each_task(model, episode, learn, statistics)


def implicit_maml_residuals(
    model: nn.Module,
    episode: Episode,
    *,
    penalty: float,
    inner_lr: float,
    inner_steps: int,
    cg_steps: int,
    loss_fn: Loss | None = None,
) -> Residuals:
    """Say how far ``implicit_maml_loss`` is from the end of both of its solves.

    Args:
        model: as in ``implicit_maml_loss``, and so are all others.
        episode: one task or T of them.
        penalty: λ.
        inner_lr: step size of the descent.
        inner_steps: number of its steps.
        cg_steps: number of conjugate gradient steps.
        loss_fn: the loss of both loops.

    Returns:
        Both residuals of the task, or of each task.

    Raises:
        ValueError: as in ``implicit_maml_loss``.
    """
    inner: dict[str, Any] = {"penalty": penalty, "inner_lr": inner_lr, "inner_steps": inner_steps}
    check_counts(cg_steps=cg_steps)
    solved = _solved(model, episode, inner, cg_steps, loss_fn)
    shape = () if episode.batch is None else (-1,)
    inside, outside = (torch.cat([some[i] for some in solved]).view(shape) for i in (2, 3))
    return Residuals(inside, outside)


def solve_inner(
    loss: Callable[[Params], Tensor],
    params: Params,
    *,
    penalty: float,
    inner_lr: float,
    inner_steps: int,
) -> dict[str, Tensor]:
    r"""Minimise :math:`L(\theta') + \frac{\lambda}{2} \lVert \theta' - \theta \rVert^2` from θ.

    .. math::

        \theta' \leftarrow \theta
        + \frac{1}{1 + \alpha \lambda} \big( \theta' - \alpha \nabla L(\theta') - \theta \big),

    a gradient step on the loss, and the pull by an implicit step, as in ``transfer.fine_tune``
    with ``l2_sp`` λ/2. It rests where an explicit step does, and α need not fall as λ grows.
    Nothing of the way is kept.

    Args:
        loss: a function of the parameters.
        params: θ by name.
        penalty: λ.
        inner_lr: α.
        inner_steps: number of steps, 1 or more.

    Returns:
        The solution by name, without a gradient.

    Raises:
        ValueError: as in ``implicit_maml_loss``.
    """
    check_positive(penalty=penalty, inner_lr=inner_lr)
    check_counts(inner_steps=inner_steps)
    check_steps(inner_lr, inner_steps, params)
    adapted, kept = dict(params), 1 / (1 + inner_lr * penalty)
    with torch.no_grad():
        for _ in range(inner_steps):
            stepped = descend(loss, adapted, inner_lr=inner_lr, inner_steps=1)
            adapted = {name: torch.lerp(params[name], p, kept) for name, p in stepped.items()}
    return adapted


def _solved(
    model: nn.Module, episode: Episode, inner: dict[str, Any], cg_steps: int, loss_fn: Loss | None
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Solve for all tasks together where that is known to be right, else for each alone.

    Returns:
        For each lot of T tasks: the sum of their query losses, v ``(T, P)`` with all parameters in
        a row, and both residuals ``(T,)``. No graph is kept.
    """
    check_kind(Episode, episode=episode)
    tasks, params = episode.as_batch(), parameters_to_adapt(model)
    network = None if loss_fn else stacked_network(model, tasks.support_x, tasks.query_x)
    at_once = 1 if network is None else len(tasks.support_y)
    start = _stacked(params, at_once)

    def loss(adapted: Params, x: Tensor, y: Tensor) -> Tensor:
        if network is None:
            alone = {name: p[0] for name, p in adapted.items()}
            return (loss_fn or task_loss)(call(model, alone, x[0]), y[0])
        everything = {**_stacked(dict(model.named_parameters()), at_once), **adapted}
        return at_once * task_loss(network(torch.func.vmap(network.pack)(everything), x), y)

    def solve(some: Episode) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        support = partial(loss, x=some.support_x, y=some.support_y)
        adapted = solve_inner(support, start, **inner)
        penalty: float = inner["penalty"]
        pull = penalty * joined([p - start[name] for name, p in adapted.items()], lead=1)
        leaves = {name: p.requires_grad_() for name, p in adapted.items()}
        query_loss = loss(leaves, some.query_x, some.query_y)
        by_each = torch.autograd.grad(query_loss, list(leaves.values()), materialize_grads=True)
        slope, right = joined(slopes(support(leaves), leaves), lead=1), joined(by_each, lead=1)

        def product(v: Tensor) -> Tensor:
            return v + joined(pulled_back(slope, leaves, v), lead=1) / penalty

        v, left = conjugate_gradients(product, right, steps=cg_steps)
        inside, outside = _share(slope.detach() + pull, slope.detach(), pull), _share(left, right)
        return query_loss.detach(), v, inside, outside

    with torch.enable_grad(), twice_differentiable(model, inner_steps=1, first_order=False):
        return [solve(tasks.slice(i, i + at_once)) for i in range(0, len(tasks.support_y), at_once)]


def _stacked(params: Params, tasks: int) -> dict[str, Tensor]:
    return {name: p.detach().expand(tasks, *p.shape) for name, p in params.items()}


def _share(rest: Tensor, *parts: Tensor) -> Tensor:
    """Return the length of each row as a share of those of its parts; 0 where all are 0."""
    length = partial(torch.linalg.vector_norm, dim=1)
    whole = torch.stack([length(part) for part in parts]).sum(dim=0)
    share: Tensor = length(rest) / whole.clamp_min(torch.finfo(rest.dtype).tiny)
    return share
