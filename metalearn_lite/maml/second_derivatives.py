"""Where PyTorch has no right second derivative, and what takes its place."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def twice_differentiable(
    model: nn.Module, *, inner_steps: int, first_order: bool
) -> Iterator[None]:
    """Compute with operations of PyTorch whose second derivative exists and is right.

    The fused attention has none, so the plain one takes its place. Nothing is changed where no
    second derivative will be asked for: without steps, in first order, and without gradients.

    Raises:
        ValueError: for a network with PyTorch's weight norm, whose second derivative is wrong.
    """
    if first_order or inner_steps == 0 or not torch.is_grad_enabled():
        yield
        return
    for name, module in model.named_modules():
        kinds = (module, *module._forward_pre_hooks.values())
        if any(type(kind).__name__ in ("_WeightNorm", "WeightNorm") for kind in kinds):
            raise ValueError(
                f"PyTorch's weight norm ({name}) has a wrong second derivative: expected layers "
                "that can be differentiated twice; use first_order=True, or write the norm out, "
                "g * v / v.norm(), in a layer of your own"
            )
    with sdpa_kernel(SDPBackend.MATH):
        yield
