"""The inner loop: steps of gradient descent that can be differentiated themselves."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn_lite.baselines import default_loss

Params = Mapping[str, Tensor]
Rate = float | Tensor | Mapping[str, Tensor] | Mapping[str, float]
Loss = Callable[[Tensor, Tensor], Tensor]


def descend(
    loss: Callable[[Params], Tensor],
    params: Params,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
) -> dict[str, Tensor]:
    """Take steps of gradient descent on ``loss`` from ``params``, changing nothing in place.

    Args:
        loss: a scalar function of parameters by name.
        params: where to start.
        inner_lr: size of the steps, one for all or by name.
        inner_steps: number of steps.
        first_order: treat the gradients as constants when the result is differentiated.

    Returns:
        The parameters after the last step, connected to ``params`` and ``inner_lr`` if these
        require a gradient and gradients are on.
    """
    rates = inner_lr if isinstance(inner_lr, Mapping) else dict.fromkeys(params, inner_lr)
    sources = [*params.values(), *(rates[name] for name in params)]
    connected = torch.is_grad_enabled() and any(requires_gradient(source) for source in sources)
    with torch.enable_grad():
        adapted = {
            name: _node(p) if connected and p.requires_grad else p.detach().requires_grad_()
            for name, p in params.items()
        }
        for _ in range(inner_steps):
            gradients = torch.autograd.grad(
                loss(adapted),
                list(adapted.values()),
                create_graph=connected and not first_order,
                materialize_grads=True,
            )
            adapted = {
                name: p - rates[name] * gradient
                for (name, p), gradient in zip(adapted.items(), gradients, strict=True)
            }
    return adapted if connected else {name: p.detach() for name, p in adapted.items()}


def _node(p: Tensor) -> Tensor:
    """Return ``p``, or a copy connected to it if gradients would pass it by.

    What is computed from a view that was made while gradients were off belongs, for PyTorch, to
    the tensor that it is a view of: the gradient by the view itself would be zero.
    """
    return p.clone() if p._is_view() and p.is_leaf else p


def call(model: nn.Module, params: Params, x: Tensor) -> Tensor:
    """Compute the outputs of ``model`` with other parameters; the model stays as it is.

    Raises:
        ValueError: if the forward pass changes a buffer, such as running statistics.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    versions = {name: buffer._version for name, buffer in buffers.items()}
    outputs: Tensor = functional_call(model, {**buffers, **params}, (x,))
    changed = [name for name, buffer in buffers.items() if buffer._version != versions[name]]
    if changed:
        raise ValueError(
            f"the forward pass changes the buffer {changed[0]!r}: what one task teaches would "
            "leak into the next. Expected a network that carries nothing along: call "
            "model.eval(), or normalise with BatchStatisticsNorm or group norm"
        )
    return outputs


def task_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of a task, cross-entropy or squared error, after checking the targets.

    Args:
        outputs: logits ``(n, ways)`` or values ``(n, outputs)``; for T tasks with a leading T.
        targets: int64 labels ``(n,)`` or values ``(n, outputs)``, likewise.
    """
    rows = outputs.flatten(0, -2)
    if targets.is_floating_point():
        if targets.shape != outputs.shape:
            raise ValueError(
                f"targets have shape {tuple(targets.shape)} and outputs {tuple(outputs.shape)}: "
                "expected the same; give targets of shape (n, outputs)"
            )
        return default_loss(rows, targets.flatten(0, -2))
    ways = outputs.shape[-1]
    if targets.dtype != torch.int64 or targets.min() < 0 or targets.max() >= ways:
        raise ValueError(
            f"labels are {targets.dtype} from {targets.min().item()} to {targets.max().item()}: "
            f"expected int64 from 0 to {ways - 1}, for the network has {ways} outputs; number "
            "the classes of each task from 0, or build the network with more ways"
        )
    return default_loss(rows, targets.flatten())


def check_steps(inner_lr: Rate, inner_steps: int, params: Params) -> None:
    """Raise a ``ValueError`` unless step size, number of steps and names fit."""
    if isinstance(inner_steps, bool) or not isinstance(inner_steps, int) or inner_steps < 0:
        raise ValueError(f"inner_steps is {inner_steps!r}: expected a whole number, 0 or more")
    if not params:
        raise ValueError("there is nothing to adapt: expected parameters that require a gradient")
    if isinstance(inner_lr, Mapping):
        missing = sorted(params.keys() - inner_lr.keys())
        if missing:
            raise ValueError(
                f"inner_lr has no rate for {missing[0]!r}: expected one for each of the "
                f"{len(params)} parameters that adapt"
            )
    elif not isinstance(inner_lr, Tensor) and not (math.isfinite(inner_lr) and inner_lr >= 0):
        raise ValueError(f"inner_lr is {inner_lr}: expected a finite step size, 0 or more")


def requires_gradient(source: Any) -> bool:
    """Whether ``source`` is a tensor that requires a gradient."""
    return isinstance(source, Tensor) and source.requires_grad
