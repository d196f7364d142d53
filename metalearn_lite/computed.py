"""A loss whose gradient was computed along with it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Computed(torch.autograd.Function):
    """A loss whose gradient is known already: the backward pass only scales it."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *sources: Tensor) -> Tensor:
        """Return ``loss``, connected to ``sources``."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:
        """Give each source its gradient."""
        if torch.is_grad_enabled():
            raise ValueError(
                "the gradient was asked for with create_graph=True, and it was computed along with "
                "the loss, which gives no derivative of it: call maml_loss with task_by_task=True, "
                "and do not record the objective"
            )
        return None, None, *(scale * gradient for gradient in ctx.gradients)
