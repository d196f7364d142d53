"""Reptile: learn a starting point by walking towards where each task leads.

Nichol, Achiam and Schulman (2018), "On first-order meta-learning algorithms". From θ take a few
ordinary steps on one task, to φ; then move θ a part of the way to φ; then the next task. There is
no query loss and no derivative of a derivative.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn_lite.company import Statistics, answer, check_statistics
from metalearn_lite.inner_adam import InnerAdam
from metalearn_lite.inner_loop import Loss, Params, call, check_steps, task_loss
from metalearn_lite.maml import adapting
from metalearn_lite.many_tasks import many_tasks
from metalearn_lite.tasks import Episode

InnerOptimizer = Literal["sgd", "adam"] | InnerAdam
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
    inner_batch: int | None = None,
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
        inner_batch: examples in each inner step; they come in a random order, and in another
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
    walk = _Walk(inner_lr, inner_steps, inner_batch, inner_optimizer, loss_fn, generator)
    start = {name: p.detach() for name, p in adapting(model).items()}
    ends = _ends(model, *_data(episode, examples), walk)
    return interpolate(start, {name: p.mean(dim=0) for name, p in ends.items()}, meta_lr)


def reptile_loss(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    inner_batch: int | None = None,
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
        inner_steps: k.
        inner_batch: examples in each inner step.
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
    walk = _Walk(inner_lr, inner_steps, inner_batch, inner_optimizer, loss_fn, generator)
    ends = _ends(model, *_data(episode, examples), walk)
    ways = [
        (p - ends[name]).square().sum() / len(ends[name]) for name, p in adapting(model).items()
    ]
    return torch.stack(ways).sum() / 2


def reptile_predict(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: float,
    inner_steps: int,
    inner_batch: int | None = None,
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
        inner_lr: as in ``reptile_step``.
        inner_steps: number of steps; the paper takes many more than in training.
        inner_batch: examples in each step, as in ``reptile_step``.
        inner_optimizer: as in ``reptile_step``; each task begins with the moments that an
            ``InnerAdam`` has now, and they are left as they are.
        loss_fn: the loss of the walk.
        statistics: what a query is normalised with, as in ``maml_predict``.
        generator: orders the examples.

    Returns:
        The query outputs ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: as in ``reptile_step``, and for an unknown ``statistics``.
    """
    check_statistics(statistics)
    answers = []
    for task in episode.unbind():
        optimizer = copy.deepcopy(inner_optimizer)
        walk = _Walk(inner_lr, inner_steps, inner_batch, optimizer, loss_fn, generator)
        ends = _ends(model, *_data(task, "support"), walk)
        adapted = {name: p[0] for name, p in ends.items()}
        answers.append(answer(model, partial(call, model, adapted), task, statistics))
    return torch.stack(answers) if episode.batch is not None else answers[0]


@dataclass(frozen=True)
class _Walk:
    """The settings of the inner loop, as in ``reptile_step``."""

    inner_lr: float
    inner_steps: int
    inner_batch: int | None
    optimizer: InnerOptimizer
    loss_fn: Loss | None
    generator: torch.Generator | None

    def check(self, params: Params) -> None:
        check_steps(self.inner_lr, self.inner_steps, params)
        if self.inner_batch is not None and self.inner_batch < 1:
            raise ValueError(f"inner_batch is {self.inner_batch}: expected 1 or more, or None")
        if not isinstance(self.optimizer, InnerAdam) and self.optimizer not in ("sgd", "adam"):
            raise ValueError(
                f"inner_optimizer is {self.optimizer!r}: expected 'sgd', 'adam' or an InnerAdam"
            )


def _ends(model: nn.Module, x: Tensor, y: Tensor, walk: _Walk) -> dict[str, Tensor]:
    """Return where T tasks lead, by name and stacked, for inputs ``(T, n, ...)``."""
    start = {name: p.detach() for name, p in adapting(model).items()}
    walk.check(start)
    batches = _minibatches(x, y, walk)
    network = many_tasks(model)
    if network is None or walk.loss_fn is not None or isinstance(walk.optimizer, InnerAdam):
        ends = [
            _descend(
                lambda params, x, y: (walk.loss_fn or task_loss)(call(model, params, x), y),
                start,
                [(x[task], y[task]) for x, y in batches],
                walk,
            )
            for task in range(len(y))
        ]
        return {name: torch.stack([end[name] for end in ends]) for name in start}

    packed = network.pack({name: p.detach() for name, p in model.named_parameters()})
    many = {name: p.expand(len(y), *p.shape) for name, p in packed.items()}

    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return len(y) * task_loss(network({**many, **params}, x), y)

    ends_of_all = _descend(loss, {name: many[name] for name in start}, batches, walk)
    return network.unpack(ends_of_all, start)


def _descend(
    loss: Callable[[Params, Tensor, Tensor], Tensor],
    params: Params,
    batches: Iterable[tuple[Tensor, Tensor]],
    walk: _Walk,
) -> dict[str, Tensor]:
    """Take one step on each of the batches."""
    names, values = list(params), [p.detach().requires_grad_() for p in params.values()]
    adam = InnerAdam(values) if walk.optimizer == "adam" else walk.optimizer
    for x, y in batches:
        with torch.enable_grad():
            value = loss(dict(zip(names, values, strict=True)), x, y)
        gradients = torch.autograd.grad(value, values, materialize_grads=True)
        with torch.no_grad():
            if isinstance(adam, InnerAdam):
                values = adam.step(values, list(gradients), walk.inner_lr)
            else:
                values = [p - walk.inner_lr * g for p, g in zip(values, gradients, strict=True)]
        values = [p.requires_grad_() for p in values]
    return {name: p.detach() for name, p in zip(names, values, strict=True)}


def _minibatches(x: Tensor, y: Tensor, walk: _Walk) -> list[tuple[Tensor, Tensor]]:
    """Return the examples of each step, ``(T, b, ...)``: whole rounds, each in a new order."""
    tasks, n = y.shape[:2]
    steps, size = walk.inner_steps, min(walk.inner_batch or n, n)
    if size == n or steps == 0:
        return [(x, y)] * steps
    rounds = -(-steps * size // n)
    shuffled = [
        torch.cat([torch.randperm(n, generator=walk.generator) for _ in range(rounds)])
        for _ in range(tasks)
    ]
    seen = torch.stack(shuffled)[:, : steps * size].view(tasks, steps, size).to(y.device)
    which = torch.arange(tasks, device=y.device).unsqueeze(1)
    return [(x[which, step], y[which, step]) for step in seen.unbind(1)]


def _data(episode: Episode, examples: Examples) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of T tasks, ``(T, n, ...)``."""
    x, y = episode.support_x, episode.support_y
    if examples not in ("all", "support"):
        raise ValueError(f"examples is {examples!r}: expected 'all' or 'support'")
    single = episode.batch is None
    if examples == "all":
        x = torch.cat([x, episode.query_x], dim=0 if single else 1)
        y = torch.cat([y, episode.query_y], dim=0 if single else 1)
    return (x.unsqueeze(0), y.unsqueeze(0)) if single else (x, y)
