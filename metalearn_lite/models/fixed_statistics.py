"""Normalisation by statistics that were measured once, and the way from batch statistics to it."""

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_not_negative
from metalearn_lite.models.normalisation import BatchStatisticsNorm

Model = TypeVar("Model", bound=nn.Module)


class FixedStatisticsNorm(nn.Module):
    """Normalisation by a mean and a variance that were measured once and stay.

    What ``BatchStatisticsNorm`` becomes when its statistics are fixed: each image is
    normalised on its own. The statistics are buffers that nothing updates.

    Args:
        mean: mean of each channel, ``(channels,)``.
        variance: its variance, ``(channels,)``.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, *, eps: float = 1e-5) -> None:
        super().__init__()
        check_not_negative(eps=eps, smallest_variance=variance.min() if len(variance) else math.nan)
        self.weight = nn.Parameter(torch.ones_like(mean))
        self.bias = nn.Parameter(torch.zeros_like(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.eps = eps

    @classmethod
    def of(cls, layer: BatchStatisticsNorm, x: Tensor) -> "FixedStatisticsNorm":
        """Fix the statistics of ``layer`` to those of images ``(n, channels, h, w)``."""
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        fixed = cls(mean, variance, eps=layer.eps)
        for p, old in zip(fixed.parameters(), layer.parameters(), strict=True):
            p.data.copy_(old.data)
            p.requires_grad_(old.requires_grad)
        return fixed.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images ``(n, channels, h, w)``."""
        scale = torch.rsqrt(self.variance + self.eps) * self.weight
        return (x - self.mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def fix_statistics(model: Model, x: Tensor) -> Model:
    """Return a copy whose batch normalisation always uses the statistics of ``x``.

    ``BatchStatisticsNorm`` normalises by the batch it sees, so that five support images and
    75 queries are normalised differently, and a prediction depends on its neighbours. The
    copy normalises everything by mean and variance of ``x``, usually source images: it is
    inductive. Scales and shifts stay parameters and can be fine-tuned.

    Args:
        model: a network with ``BatchStatisticsNorm``.
        x: inputs ``(n, ...)`` that pass through the network in one batch.

    Raises:
        ValueError: if the network has no such layer, or the inputs do not pass each exactly once.
    """
    if not len(x):
        raise ValueError("got no inputs: expected some, whose mean and variance are to be kept")
    fixed = copy.deepcopy(model)
    places = fixed.named_modules(remove_duplicate=False)  # a layer may stand in several
    layers = {n: m for n, m in places if isinstance(m, BatchStatisticsNorm)}
    if not layers:
        raise ValueError(
            "the network has no BatchStatisticsNorm: only statistics of the batch can be fixed; "
            "PyTorch's own batch norm keeps its running statistics after model.eval()"
        )

    def remember(layer: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        passed[layer].append(inputs[0])  # type: ignore[index]

    passed: dict[BatchStatisticsNorm, list[Tensor]] = {layer: [] for layer in layers.values()}
    for layer in passed:
        layer.register_forward_hook(remember)
    with torch.no_grad():
        fixed(x)
    for name, layer in layers.items():
        if len(passed[layer]) != 1:
            raise ValueError(
                f"the inputs pass through {name!r} {len(passed[layer])} times: expected once, so "
                "that it has one mean and variance to keep; give each place a layer of its own"
            )
    made = {old: FixedStatisticsNorm.of(old, given[0]) for old, given in passed.items()}
    for name, layer in layers.items():
        fixed.set_submodule(name, made[layer])
    return fixed
