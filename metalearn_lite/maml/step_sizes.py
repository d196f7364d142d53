"""How long the inner steps are: rates, gradients clipped to a norm, and what is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_positive
from metalearn_lite.models.functional import Params
from metalearn_lite.tensors import check_gradients_possible

Rates = float | Tensor | Mapping[str, Tensor] | Mapping[str, float]


@dataclass(frozen=True)
class Clipped:
    """Inner rates with a limit on the gradient of each step, made by ``clipped``."""

    rates: Rates
    max_norm: float


Rate = Rates | Clipped


def clipped(inner_lr: Rates, *, max_norm: float) -> Clipped:
    r"""Return an ``inner_lr`` whose steps use a gradient that is clipped to a norm.

    The gradient g of a step, of all parameters that adapt taken together, is replaced by
    :math:`g \min(1, c / \lVert g \rVert)`. The meta-gradient is that of the clipped steps. Tasks go
    one after another. (The outer gradient is clipped by ``meta_train(before_step=...)``.)

    Args:
        inner_lr: α, as in ``adapt``.
        max_norm: c, above 0; the norm of the gradient of one task's mean loss.

    Raises:
        ValueError: for a norm that is not a number above 0.

    Reference:
        Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    check_positive(max_norm=max_norm)
    return Clipped(inner_lr, max_norm)


def shortened(gradients: Sequence[Tensor], inner_lr: Rate) -> Sequence[Tensor]:
    """Clip the gradients of one task if ``inner_lr`` says so."""
    if not isinstance(inner_lr, Clipped):
        return gradients
    square = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    factor = inner_lr.max_norm * torch.rsqrt(square.clamp(min=inner_lr.max_norm**2))
    return [factor * gradient for gradient in gradients]


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
    for rate in [inner_lr[n] for n in params] if isinstance(inner_lr, Mapping) else [inner_lr]:
        _check_rate(rate)


def _check_rate(rate: object) -> None:
    """Raise a ``ValueError`` for what is no step size; a learned one may be below 0."""
    if isinstance(rate, Tensor):
        recorded = rate.is_cuda and torch.cuda.is_current_stream_capturing()
        right = rate.is_floating_point() and (recorded or bool(rate.detach().isfinite().all()))
    else:
        number = isinstance(rate, Real) and not isinstance(rate, bool)
        right = number and 0 <= float(rate) < math.inf  # type: ignore[arg-type]
    if not right:
        raise ValueError(f"inner_lr is {rate!r}: expected a finite step size, 0 or more")


def check_rate_names(model: nn.Module, inner_lr: Rate) -> None:
    """Raise a ``ValueError`` if there is a rate for a parameter that the network has not."""
    rates = inner_lr.rates if isinstance(inner_lr, Clipped) else inner_lr
    known = {name for name, _ in model.named_parameters()}
    unknown = sorted(rates.keys() - known) if isinstance(rates, Mapping) else []
    if unknown:
        raise ValueError(
            f"inner_lr has a rate for {unknown[0]!r}, which the network has not: expected names of "
            "model.named_parameters()"
        )
