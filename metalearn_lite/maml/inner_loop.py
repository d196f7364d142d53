"""What the inner loop needs besides its steps: where it starts, and whether its settings fit."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metalearn_lite.maml.clipping import Clipped, Rates
from metalearn_lite.models.functional import Params
from metalearn_lite.tensors import check_gradients_possible

Rate = Rates | Clipped


def starting_point(
    params: Params, inner_lr: Rate
) -> tuple[dict[str, Tensor], Mapping[str, Any], bool]:
    """Return what the first step starts from, the step sizes by name, and if both are connected.

    They stay connected to ``params`` and ``inner_lr`` if one of these requires a gradient. Where
    gradients are off, or nothing requires one, the steps start from leaves of their own.
    """
    given = inner_lr.rates if isinstance(inner_lr, Clipped) else inner_lr
    rates = given if isinstance(given, Mapping) else dict.fromkeys(params, given)
    sources = [*params.values(), *(rates[name] for name in params)]
    connected = torch.is_grad_enabled() and any(requires_gradient(source) for source in sources)
    with torch.enable_grad():
        start = {
            name: _node(p) if connected and p.requires_grad else p.detach().requires_grad_()
            for name, p in params.items()
        }
    return start, rates, connected


def check_steps(inner_lr: Rate, inner_steps: int, params: Params) -> None:
    """Raise a ``ValueError`` unless step size, number of steps and names fit."""
    if isinstance(inner_steps, bool) or not isinstance(inner_steps, int) or inner_steps < 0:
        raise ValueError(f"inner_steps is {inner_steps!r}: expected a whole number, 0 or more")
    check_gradients_possible()
    if isinstance(inner_lr, Clipped):
        inner_lr = inner_lr.rates
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


def _node(p: Tensor) -> Tensor:
    """Return ``p``, or a copy connected to it if gradients would pass it by.

    What is computed from a view that was made while gradients were off belongs, for PyTorch, to
    the tensor that it is a view of: the gradient by the view itself would be zero.
    """
    return p.clone() if p._is_view() and p.is_leaf else p
