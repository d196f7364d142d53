"""The walk of Reptile's inner loop: ordinary steps on minibatches, for many tasks at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_not_negative
from metalearn_lite.losses import Loss, task_loss
from metalearn_lite.maml.step_sizes import check_steps
from metalearn_lite.models.functional import Params, call, parameters_to_adapt
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.reptile.inner_adam import InnerAdam

InnerOptimizer = Literal["sgd", "adam"] | InnerAdam


@dataclass(frozen=True)
class Walk:
    """The settings of the inner loop, as in ``reptile_step``."""

    inner_lr: float
    inner_steps: int
    minibatch: int | None
    optimizer: InnerOptimizer
    loss_fn: Loss | None
    generator: torch.Generator | None

    def check(self, params: Params) -> None:
        """Raise a ``ValueError`` unless the settings fit what adapts."""
        check_not_negative(inner_lr=self.inner_lr)
        check_steps(self.inner_lr, self.inner_steps, params)
        check_counts(minibatch=1 if self.minibatch is None else self.minibatch)
        if not isinstance(self.optimizer, InnerAdam) and self.optimizer not in ("sgd", "adam"):
            raise ValueError(
                f"inner_optimizer is {self.optimizer!r}: expected 'sgd', 'adam' or an InnerAdam"
            )


def ends_of_tasks(model: nn.Module, x: Tensor, y: Tensor, walk: Walk) -> dict[str, Tensor]:
    """Return where T tasks lead, by name and stacked, for inputs ``(T, n, ...)``."""
    start = {name: p.detach() for name, p in parameters_to_adapt(model).items()}
    walk.check(start)
    batches = _minibatches(x, y, walk)
    network = stacked_network(model, x)
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
    walk: Walk,
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


def _minibatches(x: Tensor, y: Tensor, walk: Walk) -> list[tuple[Tensor, Tensor]]:
    """Return the examples of each step, ``(T, b, ...)``: whole rounds, each in a new order."""
    tasks, n = y.shape[:2]
    steps, size = walk.inner_steps, min(walk.minibatch or n, n)
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
