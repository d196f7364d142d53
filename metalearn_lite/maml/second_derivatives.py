"""Where PyTorch has no right second derivative, and what takes its place."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Compute with operations of PyTorch whose second derivative exists and is right.

    The fused attention has none, so the plain one takes its place.

    Raises:
        ValueError: for a network with PyTorch's weight norm, whose second derivative is wrong.
    """
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
