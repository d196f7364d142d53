"""A convolution as a matrix product over patches, with derivatives of any order.

Each function here is linear in what it is given, and its derivatives are the other functions: so
a derivative of any order is again copying patches, adding them up, and products, and every result
lies in memory as the next one reads it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Geometry = tuple[int, int, int, int, int]  # kernel height and width, stride, padding of both


def columns(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return the patches ``(T, n * h * w, k * k * c)`` and the shape of the layer's output."""
    geometry = (*layer.kernel_size, layer.stride[0], *map(int, layer.padding))
    patches: Tensor = Patches.apply(x.flatten(0, 1), geometry)  # type: ignore[no-untyped-call]
    tasks, n = x.shape[:2]
    h, w, size = patches.shape[1:]
    return patches.reshape(tasks, n * h * w, size), (tasks, n, h, w, layer.out_channels)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply ``(T, n, d)`` by ``(T, d, outputs)`` and add ``(T, outputs)``."""
    return Product.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class Product(torch.autograd.Function):
    """The product ``x @ w`` of each task, and a bias.

    PyTorch's own second derivative returns the gradient of ``x`` transposed in memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply, and add."""
        ctx.save_for_backward(x, weight)
        return x @ weight if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients that are asked for."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.mT) if wants_x else None,
            Correlation.apply(x, gradient) if wants_weight else None,  # type: ignore[no-untyped-call]
            gradient.sum(dim=1) if wants_bias else None,
        )


class Correlation(torch.autograd.Function):
    """The product ``x.T @ y`` of each task: what a weight's gradient is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        ctx.save_for_backward(x, y)
        return x.mT @ y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients that are asked for."""
        x, y = ctx.saved_tensors
        wants_x, wants_y = ctx.needs_input_grad
        return (
            product(y, gradient.mT) if wants_x else None,
            product(x, gradient) if wants_y else None,
        )


class Patches(torch.autograd.Function):
    """Copy the patches that a convolution sees: ``(N, h, w, c)`` to ``(N, h', w', k * k * c)``.

    Linear; its transpose is ``Fold``. So each is the other's derivative, to any order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Geometry) -> Tensor:
        """Copy the patches of images ``x``."""
        ctx.geometry, ctx.size = geometry, x.shape
        kh, kw, stride, ph, pw = geometry
        padded = F.pad(x, (0, 0, pw, pw, ph, ph))
        n, height, width, c = padded.shape
        h, w = (height - kh) // stride + 1, (width - kw) // stride + 1
        by_image, by_row, by_pixel, by_channel = padded.stride()
        return padded.as_strided(
            (n, h, w, kh, kw, c),
            (by_image, stride * by_row, stride * by_pixel, by_row, by_pixel, by_channel),
        ).reshape(n, h, w, kh * kw * c)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Add each patch to the place it came from."""
        return Fold.apply(gradient, ctx.geometry, ctx.size), None  # type: ignore[no-untyped-call]


class Fold(torch.autograd.Function):
    """Add patches up to images: the transpose of ``Patches``."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, geometry: Geometry, size: torch.Size) -> Tensor:
        """Add ``patches`` up to images of shape ``size``."""
        ctx.geometry = geometry
        kh, kw, stride, ph, pw = geometry
        n, height, width, c = size
        h, w = patches.shape[1:3]
        parts = patches.reshape(n, h, w, kh, kw, c)
        padded = patches.new_zeros(n, height + 2 * ph, width + 2 * pw, c)
        for i in range(kh):
            for j in range(kw):
                rows, columns = slice(i, i + stride * h, stride), slice(j, j + stride * w, stride)
                padded[:, rows, columns][:, :h, :w] += parts[:, :, :, i, j]
        return padded[:, ph : ph + height, pw : pw + width]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Copy the patches of the gradient."""
        return Patches.apply(gradient, ctx.geometry), None, None  # type: ignore[no-untyped-call]
