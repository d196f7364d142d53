"""The stacked forward pass through PyTorch's own layers, where first derivatives are enough.

A convolution of ``groups`` applies weights of its own to each group of channels. So the images of
several tasks, laid side by side as groups, pass through one convolution, one batch norm and one
activation, each with the fewest passes over memory; their own second derivatives are slow, so
what is differentiated twice stays with ``stacked``. To fold the first norm into the product, as is
done there, was slower here: with the weights of all tasks on a diagonal most products are by zero.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.models import stacked
from metalearn_lite.models.normalisation import BatchStatisticsNorm
from metalearn_lite.models.stacked import Params, StackedNetwork


def grouped(network: StackedNetwork, params: Params, x: Tensor) -> Tensor:
    """Compute what ``network(params, x)`` does; to be differentiated once.

    Args:
        network: ``stacked_network(model, ...)``.
        params: packed parameters with a leading task dimension ``T``.
        x: images ``(T, n, channels, h, w)``.

    Returns:
        Outputs ``(T, n, outputs)``.
    """
    tasks, layers = len(x), list(network.layers)
    x = x.transpose(0, 1).flatten(1, 2)  # (n, T * channels, h, w), until they are flattened
    x = x.contiguous(memory_format=torch.channels_last)
    fresh = False  # whether x is ours, and nothing needs it for its own derivative
    while layers:
        name, layer = layers.pop(0)
        own = stacked.own_params(params, name)
        if x.ndim == 3:
            x = stacked.RULES[type(layer)](layer, own, x)
        elif isinstance(layer, nn.Conv2d):
            x = _convolution(layer, own, x, stacked.centred_next(layers))
        elif fresh and type(layer) is nn.ReLU:
            x = F.relu_(x)
        else:
            x = GROUPED[type(layer)](layer, own, x, tasks)
        fresh = isinstance(layer, nn.Conv2d | BatchStatisticsNorm | nn.GroupNorm)
    return x


def _convolution(layer: nn.Conv2d, own: Params, x: Tensor, centred: bool) -> Tensor:
    tasks, _, outputs = own["weight"].shape
    kernels = own["weight"].view(tasks, *layer.kernel_size, layer.in_channels, outputs)
    weight = kernels.permute(0, 4, 3, 1, 2).flatten(0, 1)
    bias = own["bias"].flatten() if "bias" in own and not centred else None
    weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, groups=tasks)


def _batch_norm(layer: BatchStatisticsNorm, own: Params, x: Tensor, _: int) -> Tensor:
    scale, shift = own["weight"].flatten(), own["bias"].flatten()
    cudnn = torch.backends.cudnn.enabled
    return torch.batch_norm(x, scale, shift, None, None, True, 0.0, layer.eps, cudnn)


def _group_norm(layer: nn.GroupNorm, own: Params, x: Tensor, tasks: int) -> Tensor:
    scale, shift = own["weight"].flatten(), own["bias"].flatten()
    cudnn = torch.backends.cudnn.enabled
    return torch.group_norm(x, tasks * layer.num_groups, scale, shift, layer.eps, cudnn)


def _flatten(_: nn.Module, own: Params, x: Tensor, tasks: int) -> Tensor:
    return x.reshape(len(x), tasks, -1).transpose(0, 1)


GROUPED: Mapping[type[nn.Module], Callable[[Any, Params, Tensor, int], Tensor]] = {
    BatchStatisticsNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.AdaptiveAvgPool2d: lambda layer, own, x, tasks: x.mean(dim=(2, 3), keepdim=True),
    nn.Flatten: _flatten,
    **{kind: lambda layer, own, x, tasks: layer(x) for kind in stacked.ACTIVATIONS},
}
