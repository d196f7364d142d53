"""Reptile: learn a starting point by walking towards where each task leads.

Nichol, Achiam and Schulman (2018), "On first-order meta-learning algorithms". From θ take a few
ordinary steps on one task, to φ; then move θ a part of the way to φ; then the next task. There is
no query loss and no derivative of a derivative.
"""

import copy
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_kind
from metalearn_lite.losses import Loss
from metalearn_lite.models.functional import AdaptedNetwork, Params, parameters_to_adapt
from metalearn_lite.models.query_statistics import Statistics, answer_each_task
from metalearn_lite.reptile.inner_loop import InnerOptimizer, Walk, ends_of_tasks
from metalearn_lite.tasks import Episode, check_single

Examples = Literal["all", "support"]


def interpolate(start: Params, end: Params, weight: float) -> dict[str, Tensor]:
    r"""Go a part of the way from one set of parameters to another.

    .. math::

        \theta + \epsilon\, (\varphi - \theta)

    Args:
        start: θ by name; not changed.
        end: φ, with the same names and shapes.
        weight: ε; 0 gives θ and 1 gives φ, both exactly.

    Raises:
        ValueError: if names or shapes differ, or if ``weight`` is not finite.

    Reference:
        Nichol et al. (2018), algorithm 1, the last line of the loop.
    """
    if start.keys() != end.keys():
        odd = sorted(start.keys() ^ end.keys())
        raise ValueError(f"only one side has {odd[0]!r}: expected the same names on both")
    for name, p in start.items():
        if p.shape != end[name].shape:
            raise ValueError(
                f"{name!r} has shape {tuple(p.shape)} at the start and {tuple(end[name].shape)} "
                "at the end: expected the same"
            )
    if not torch.isfinite(torch.as_tensor(weight)):
        raise ValueError(f"weight is {weight}: expected a finite number, mostly from 0 to 1")
    return {name: torch.lerp(p, end[name], weight) for name, p in start.items()}


def reptile_step(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    meta_lr: float = 1.0,
    minibatch: int | None = None,
    inner_optimizer: InnerOptimizer = "sgd",
    examples: Examples = "all",
    loss_fn: Loss | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    r"""Take one step of Reptile, as a function: the parameters after it are returned.

    .. math::

        \theta + \epsilon\, \frac{1}{T} \sum_{i=1}^{T} (\varphi_i - \theta), \qquad
        \varphi_i = U_i^k(\theta) .

    With T tasks this is the batched version, with one task the serial one. The model is not
    changed; take the step with ``model.load_state_dict(step, strict=False)``, or let
    ``meta_train`` do it with ``reptile_loss``.

    Args:
        model: the network; parameters that do not require a gradient stay as they are.
        episode: one task or T of them.
        inner_lr: α, the size of the inner steps.
        inner_steps: k, their number. One step of SGD on all examples is joint training.
        meta_lr: ε, how far to go.
        minibatch: examples in each inner step; they come in a random order, and in another
            one when all have been seen. None, or a number that is not smaller than the task,
            means all at once.
        inner_optimizer: ``"sgd"``; ``"adam"``, begun anew for each task (β₁ = 0); or an
            ``InnerAdam``, whose moments run on from task to task, one task after another, as in
            the authors' code. It is then changed in place.
        examples: ``"all"`` of the episode, for Reptile asks for no query set; or ``"support"``.
        loss_fn: as in ``adapt``.
        generator: orders the examples; None uses PyTorch's global generator, which checkpoints
            of ``meta_train`` hold.

    Returns:
        θ after the step, by name, detached.

    Raises:
        ValueError: if a setting, a label or a shape is wrong.

    Reference:
        Nichol et al. (2018), algorithms 1 (serial) and 2 (batched).
    """
    walk = Walk(inner_lr, inner_steps, minibatch, inner_optimizer, loss_fn, generator)
    start = {name: p.detach() for name, p in parameters_to_adapt(model).items()}
    ends = ends_of_tasks(model, *_data(episode, examples), walk)
    return interpolate(start, {name: p.mean(dim=0) for name, p in ends.items()}, meta_lr)


def reptile_loss(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    minibatch: int | None = None,
    inner_optimizer: InnerOptimizer = "sgd",
    examples: Examples = "all",
    loss_fn: Loss | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Half the squared way from θ to where the tasks lead: an objective for ``meta_train``.

    .. math::

        \frac{1}{2T} \sum_{i=1}^{T} \lVert \theta - \varphi_i \rVert^2,
        \quad \varphi_i \text{ held constant}.

    Its gradient is the mean of :math:`\theta - \varphi_i`, so a step of
    ``torch.optim.SGD(lr=meta_lr)`` is ``reptile_step``, and Adam may be put in its place. It is
    not a loss to watch: it measures how far the tasks lead, not how well they are solved.

    Args:
        model: the network; not changed.
        episode: one task or T of them.
        inner_lr: as in ``reptile_step``, and so are the others.
        inner_steps: k, one or more.
        minibatch: examples in each inner step.
        inner_optimizer: what takes the inner steps.
        examples: of the episode.
        loss_fn: the loss of the task.
        generator: orders the examples.

    Returns:
        A scalar with a gradient.

    Raises:
        ValueError: as in ``reptile_step``.

    Reference:
        Nichol et al. (2018), section 3: :math:`\theta - \varphi` as a gradient for Adam.
    """
    walk = Walk(inner_lr, inner_steps, minibatch, inner_optimizer, loss_fn, generator)
    ends = ends_of_tasks(model, *_data(episode, examples), walk)
    ways = [
        (p - ends[name]).square().sum() / len(ends[name])
        for name, p in parameters_to_adapt(model).items()
    ]
    return torch.stack(ways).sum() / 2


def reptile_learn(
    model: nn.Module,
    task: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    minibatch: int | None = None,
    inner_optimizer: InnerOptimizer = "sgd",
    loss_fn: Loss | None = None,
    generator: torch.Generator | None = None,
) -> AdaptedNetwork:
    """Walk from the learned start on the support set of one task; return what answers its queries.

    Args:
        model: the network; it is shared, and not changed.
        task: a single episode.
        inner_lr: as in ``reptile_step``.
        inner_steps: number of steps; the paper takes many more than in training.
        minibatch: examples in each step, as in ``reptile_step``.
        inner_optimizer: as in ``reptile_step``; the task begins with the moments that an
            ``InnerAdam`` has now, and they are left as they are.
        loss_fn: the loss of the walk.
        generator: orders the examples.

    Returns:
        A network from inputs ``(n, ...)`` to outputs ``(n, outputs)``.

    Raises:
        ValueError: as in ``reptile_step``.
    """
    check_single(task)
    optimizer = copy.deepcopy(inner_optimizer)
    walk = Walk(inner_lr, inner_steps, minibatch, optimizer, loss_fn, generator)
    ends = ends_of_tasks(model, *_data(task, "support"), walk)
    return AdaptedNetwork(model, {name: p[0] for name, p in ends.items()})


def reptile_predict(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    minibatch: int | None = None,
    inner_optimizer: InnerOptimizer = "sgd",
    loss_fn: Loss | None = None,
    statistics: Statistics = "queries",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Walk from the learned start on the support set, then answer the queries.

    With SGD on all examples at once this is ``maml_predict``.

    Args:
        model: the network; not changed.
        episode: one task or T of them.
        inner_lr: as in ``reptile_learn``, and so are the others.
        inner_steps: number of steps.
        minibatch: examples in each step.
        inner_optimizer: what takes the steps; each task begins with the moments that it has now.
        loss_fn: the loss of the walk.
        statistics: what a query is normalised with, as in ``maml_predict``.
        generator: orders the examples.

    Returns:
        The query outputs ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: as in ``reptile_step``, and for an unknown ``statistics``.
    """
    walk: dict[str, Any] = {"inner_steps": inner_steps, "inner_optimizer": inner_optimizer}
    walk |= {"inner_lr": inner_lr, "minibatch": minibatch, "generator": generator}
    learn = partial(reptile_learn, model, loss_fn=loss_fn, **walk)
    return answer_each_task(model, episode, learn, statistics)


def _data(episode: Episode, examples: Examples) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of T tasks, ``(T, n, ...)``."""
    if examples not in ("all", "support"):
        raise ValueError(f"examples is {examples!r}: expected 'all' or 'support'")
    check_kind(Episode, episode=episode)
    tasks = episode.as_batch()
    if examples == "support":
        return tasks.support_x, tasks.support_y
    x = torch.cat([tasks.support_x, tasks.query_x], dim=1)
    return x, torch.cat([tasks.support_y, tasks.query_y], dim=1)
