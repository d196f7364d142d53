"""The meta-gradient of many tasks at once, in pieces that fit into the processor's cache.

The plain way, in ``plain``, writes the loss down task by task and lets PyTorch differentiate
it. Here the same derivative is taken in two parts, by the chain rule at the adapted
parameters: the gradient of the query loss there, a few tasks at a time, and then its way
back through the inner loop. So only a few tasks' intermediate results exist at any time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from metalearn_lite.computed import Computed
from metalearn_lite.losses import task_loss
from metalearn_lite.maml.inner_loop import requires_gradient
from metalearn_lite.maml.plain import descend
from metalearn_lite.maml.step_sizes import Rate
from metalearn_lite.models.functional import Params
from metalearn_lite.models.grouped import grouped
from metalearn_lite.models.stacked import StackedNetwork
from metalearn_lite.tasks import Episode

# How many numbers of the largest layer are worked on in one go. So many fit into a
# processor's cache (4 MB in float32); more were up to three times slower, fewer leave the
# single calls too small. Elsewhere, on a GPU, pieces should be large.
BUDGET_CPU = 2**20
BUDGET_ELSEWHERE = 2**26


@dataclass(frozen=True)
class Settings:
    """How to adapt, as in ``dispatch.maml_loss``; ``chunk`` is the number of tasks in one go."""

    inner_lr: Rate
    inner_steps: int
    first_order: bool = False
    head_only: bool = False
    chunk: int | None = None


@dataclass(frozen=True)
class _Learned:
    """What is learned, as leaves apart from the model, in the layout of ``StackedNetwork``.

    Attributes:
        params: all parameters of the network, packed.
        trained: the names of those that are trained.
        rates: the inner rates, packed.
        sources: all leaves that need a gradient; empty where gradients are off.
    """

    params: Params
    trained: frozenset[str]
    rates: Mapping[str, Any]
    sources: Sequence[Tensor]


def maml_loss(
    network: StackedNetwork, model: nn.Module, episode: Episode, settings: Settings
) -> Tensor:
    """Compute what ``dispatch.maml_loss`` promises, and with it the meta-gradient.

    Args:
        network: ``stacked_network(model, ...)``.
        model: gives the parameters.
        episode: T tasks.
        settings: how to adapt.

    Returns:
        The loss; its backward pass hands on the gradient that is already computed.
    """
    owners, learned = _learned(network, model, settings.inner_lr)
    largest = _largest_layer(network, learned.params, episode.support_x)
    at_once = settings.chunk or _fitting(episode.support_x, largest)
    queries_at_once = settings.chunk or _fitting(episode.query_x, largest)
    tasks = len(episode.support_y)
    results = [
        _loss_and_gradient(
            network, learned, episode.slice(i, min(i + at_once, tasks)), settings, queries_at_once
        )
        for i in range(0, tasks, at_once)
    ]
    loss, *gradients = (torch.stack(parts).sum(0) / tasks for parts in zip(*results, strict=True))
    if not learned.sources:
        return loss
    return Computed.apply(loss, gradients, *owners)  # type: ignore[no-any-return, no-untyped-call]


def adapt(
    network: StackedNetwork,
    model: nn.Module,
    params: Params,
    support_x: Tensor,
    support_y: Tensor,
    settings: Settings,
) -> dict[str, Tensor]:
    """Adapt to T tasks at once, as ``dispatch.adapt`` promises.

    Args:
        network: ``stacked_network(model, ...)``.
        model: gives the parameters that ``params`` leaves out.
        params: what to adapt, by name.
        support_x: inputs ``(T, n, ...)``.
        support_y: labels ``(T, n)`` or targets ``(T, n, outputs)``.
        settings: how to adapt.

    Returns:
        The adapted parameters by name, with a leading T.
    """
    tasks = len(support_y)
    packed = network.pack({**dict(model.named_parameters()), **params})
    start = {name: p.expand(tasks, *p.shape) for name, p in packed.items()}
    rates = _by_name(settings.inner_lr, params)

    forward = _once if settings.first_order or not torch.is_grad_enabled() else _twice

    def support_loss(adapted: Params) -> Tensor:
        return tasks * task_loss(forward(network, {**start, **adapted}, support_x), support_y)

    adapted = descend(
        support_loss,
        {name: start[name] for name in params},
        inner_lr=network.pack(rates),
        inner_steps=settings.inner_steps,
        first_order=settings.first_order,
    )
    return network.unpack(adapted, params)


def _learned(
    network: StackedNetwork, model: nn.Module, inner_lr: Rate
) -> tuple[list[Tensor], _Learned]:
    """Return the tensors that get a gradient, and leaves that stand for them."""
    params = dict(model.named_parameters())
    rates = inner_lr if isinstance(inner_lr, Mapping) else {"": inner_lr}
    candidates: list[Any] = [*params.values(), *rates.values()]
    owners: dict[int, Tensor] = {id(t): t for t in candidates if requires_gradient(t)}
    on = torch.is_grad_enabled()
    leaves = {key: owner.detach().requires_grad_(on) for key, owner in owners.items()}
    stand_ins: Any = {name: leaves.get(id(r), cast(Any, r)) for name, r in rates.items()}
    learned_lr = stand_ins if isinstance(inner_lr, Mapping) else stand_ins[""]
    return list(owners.values()), _Learned(
        network.pack({name: leaves.get(id(p), p.detach()) for name, p in params.items()}),
        frozenset(name for name, p in params.items() if p.requires_grad),
        network.pack(_by_name(learned_lr, params)),
        list(leaves.values()) if on else [],
    )


def _by_name(inner_lr: Rate, params: Params) -> dict[str, Any]:
    """Return the rate of each parameter; one of several numbers in the shape of its parameter.

    So it can be packed as its parameter is, where that is packed.
    """
    rates = inner_lr if isinstance(inner_lr, Mapping) else dict.fromkeys(params, inner_lr)
    named: dict[str, Any] = {name: rates[name] for name in params if name in rates}
    several = {name for name, rate in named.items() if isinstance(rate, Tensor) and rate.ndim}
    return {n: r.expand_as(params[n]) if n in several else r for n, r in named.items()}


def _loss_and_gradient(
    network: StackedNetwork,
    learned: _Learned,
    tasks: Episode,
    settings: Settings,
    queries_at_once: int,
) -> list[Tensor]:
    """Return the loss summed over ``tasks``, and its gradient by each source."""
    count = len(tasks.support_y)
    start = {name: p.expand(count, *p.shape) for name, p in learned.params.items()}
    support_x, query_x = tasks.support_x, tasks.query_x
    if settings.head_only:
        features, network = network.split()
        support_x, query_x = features(start, support_x), features(start, query_x)

    forward = _once if settings.first_order or not learned.sources else _twice

    def support_loss(adapted: Params) -> Tensor:
        outputs = forward(network, {**start, **adapted}, support_x)
        return count * task_loss(outputs, tasks.support_y)

    adapted = descend(
        support_loss,
        {name: start[name] for name in network.names() if name in learned.trained},
        inner_lr=learned.rates,
        inner_steps=settings.inner_steps,
        first_order=settings.first_order,
    )
    # where the two parts of the chain rule meet: all that the query loss depends on
    meeting = {name: (start | adapted)[name] for name in network.names()} | {"query_x": query_x}
    through = {name: t for name, t in meeting.items() if t.requires_grad}
    losses, gradients = [], []
    for i in range(0, count, queries_at_once):
        cut = slice(i, i + queries_at_once)
        here = {name: t[cut].detach() for name, t in meeting.items()}
        leaves = [here[name].requires_grad_() for name in through]
        loss = task_loss(_once(network, here, here["query_x"]), tasks.query_y[cut])
        losses.append(loss.detach() * len(here["query_x"]))
        if leaves:
            total = loss * len(here["query_x"])
            gradients.append(torch.autograd.grad(total, leaves, materialize_grads=True))
    loss = torch.stack(losses).sum()
    if not learned.sources:
        return [loss]
    back = torch.autograd.grad(
        list(through.values()),
        learned.sources,
        [torch.cat(parts) for parts in zip(*gradients, strict=True)],
        materialize_grads=True,
    )
    return [loss, *back]


def _twice(network: StackedNetwork, params: Params, x: Tensor) -> Tensor:
    """Compute outputs that are differentiated through the inner steps."""
    return network(params, x)


def _once(network: StackedNetwork, params: Params, x: Tensor) -> Tensor:
    """Compute outputs of which only first derivatives are asked for.

    Grouped convolutions are the fastest for images on a processor. In other types than float32
    they are slow; on a GPU they gain nothing, and round to ten bits unless told otherwise.
    """
    fast = x.ndim == 5 and x.dtype == torch.float32 and x.device.type == "cpu"
    return grouped(network, params, x) if fast else network(params, x)


def _largest_layer(network: StackedNetwork, packed: Params, x: Tensor) -> int:
    """Count the numbers that one example has in the largest layer."""
    with torch.no_grad():
        one = {name: p.detach().unsqueeze(0) for name, p in packed.items()}
        return max(outputs.numel() for outputs in network.steps(one, x[:1, :1]))


def _fitting(x: Tensor, largest: int) -> int:
    """Return how many tasks to compute in one go, with ``n`` examples ``(T, n, ...)`` each.

    A processor's threads share a product by tasks, so each of them gets as many.
    """
    size = x.shape[1] * largest
    if x.device.type != "cpu":
        return max(1, BUDGET_ELSEWHERE // size)
    threads = torch.get_num_threads()
    return threads * max(1, math.ceil(BUDGET_CPU / size / threads))
