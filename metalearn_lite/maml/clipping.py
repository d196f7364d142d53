"""Inner steps with gradients that are clipped to a norm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn_lite.arguments import check_positive

Rates = float | Tensor | Mapping[str, Tensor] | Mapping[str, float]


@dataclass(frozen=True)
class Clipped:
    """Inner rates with a limit on the gradient of each step, made by ``clipped``."""

    rates: Rates
    max_norm: float


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


def shortened(gradients: Sequence[Tensor], inner_lr: Rates | Clipped) -> Sequence[Tensor]:
    """Clip the gradients of one task if ``inner_lr`` says so."""
    if not isinstance(inner_lr, Clipped):
        return gradients
    square = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    factor = inner_lr.max_norm * torch.rsqrt(square.clamp(min=inner_lr.max_norm**2))
    return [factor * gradient for gradient in gradients]
