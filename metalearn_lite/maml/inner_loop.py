"""Where the inner loop starts, and what it stays connected to."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metalearn_lite.maml.step_sizes import Clipped, Rate
from metalearn_lite.models.functional import Params


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


def requires_gradient(source: Any) -> bool:
    """Whether ``source`` is a tensor that requires a gradient."""
    return isinstance(source, Tensor) and source.requires_grad


def _node(p: Tensor) -> Tensor:
    """Return ``p``, or a copy connected to it if gradients would pass it by.

    What is computed from a view that was made while gradients were off belongs, for PyTorch, to
    the tensor that it is a view of: the gradient by the view itself would be zero.
    """
    return p.clone() if p._is_view() and p.is_leaf else p
