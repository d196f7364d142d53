"""One forward pass for many tasks at once, each with parameters of its own.

After a step of adaptation every task has its own network, and small networks called one
after another leave most of a machine idle. Here the tasks go through each layer together.
A convolution becomes one matrix product a task, over its patches: such products of many
tasks are a single call, and derivatives of any order are again such products. Images are
``(tasks, images, h, w, channels)``, so that patches are copied in long runs.

The results equal those of the network itself, task by task, up to rounding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.models.networks import Network
from metalearn_lite.models.normalisation import BatchStatisticsNorm
from metalearn_lite.models.patches import columns, product

Params = Mapping[str, Tensor]
Layers = Sequence[tuple[str, nn.Module]]


@dataclass(frozen=True)
class StackedNetwork:
    """A network as a function of the stacked parameters and inputs of many tasks.

    Attributes:
        layers: the layers in order, each with what the names of its parameters begin with.
    """

    layers: Layers

    def names(self) -> list[str]:
        """Return the names of the parameters, in the order of the layers."""
        return [name + key for name, layer in self.layers for key, _ in layer.named_parameters()]

    def pack(self, params: Params) -> dict[str, Tensor]:
        """Turn convolution weights ``(out, in, k, k)`` into matrices ``(k * k * in, out)``."""
        convolutions = {n + "weight" for n, layer in self.layers if isinstance(layer, nn.Conv2d)}
        return {
            name: p.permute(2, 3, 1, 0).flatten(0, 2)
            if name in convolutions and isinstance(p, Tensor) and p.ndim == 4
            else p
            for name, p in params.items()
        }

    def unpack(self, params: Params, like: Params) -> dict[str, Tensor]:
        """Turn packed parameters with a leading T back into the shapes they have in ``like``."""
        return {
            name: p.view(-1, *like[name].shape[2:], *like[name].shape[1::-1]).permute(0, 4, 3, 1, 2)
            if like[name].ndim == 4
            else p
            for name, p in params.items()
        }

    def split(self) -> tuple["StackedNetwork", "StackedNetwork"]:
        """Return the layers of the features, and those of the head."""
        head = [name.startswith("head.") for name, _ in self.layers]
        cut = head.index(True)
        return StackedNetwork(self.layers[:cut]), StackedNetwork(self.layers[cut:])

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Map inputs ``(T, n, ...)`` to outputs ``(T, n, outputs)``.

        Args:
            params: packed parameters with a leading task dimension ``T``.
            x: inputs; images are ``(T, n, channels, h, w)``.
        """
        for outputs in self.steps(params, x):
            x = outputs
        return x

    def steps(self, params: Params, x: Tensor) -> Iterator[Tensor]:
        """Give the output of each layer in turn; images are ``(T, n, h, w, channels)``."""
        layers = list(self.layers)
        if x.ndim == 5:
            x = x.movedim(2, -1)
        while layers:
            name, layer = layers.pop(0)
            own = own_params(params, name)
            if isinstance(layer, nn.Conv2d):
                patches, shape = columns(layer, x)
                if _folds(layer, layers, x):
                    norm_name, norm = layers.pop(0)
                    outputs = _normalised_product(norm, own_params(params, norm_name), patches, own)
                else:
                    bias = None if centred_next(layers) else own.get("bias")
                    outputs = product(patches, own["weight"], bias)
                x = outputs.reshape(shape)
            else:
                x = RULES[type(layer)](layer, own, x)
            yield x


def stacked_network(model: nn.Module, *inputs: Tensor) -> StackedNetwork | None:
    """Build the forward pass for many tasks, or None if anything about it is not known.

    Known are networks of this package and ``nn.Sequential`` (nested, too) of convolutions,
    linear layers, ``BatchStatisticsNorm``, ``nn.GroupNorm``, the usual activations, the pooling
    to one pixel and ``nn.Flatten``, on images or on vectors, of one floating-point type.

    Args:
        model: the network.
        *inputs: what will pass through it, ``(T, n, ...)``; without, only the layers are looked
            at.
    """
    layers = _layers(model, "")
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    if layers is None or hooked:
        return None
    network = StackedNetwork(layers)
    shared = network.names() != [name for name, _ in model.named_parameters()]
    if shared or not all(_takes(network, model, x) for x in inputs):
        return None
    return network


def _layers(module: nn.Module, name: str) -> list[tuple[str, nn.Module]] | None:
    if type(module) in (Network, nn.Sequential):
        found: list[tuple[str, nn.Module]] = []
        for key, child in module._modules.items():  # named_children leaves out what came before
            inner = None if child is None else _layers(child, f"{name}{key}.")
            if inner is None:
                return None
            found += inner
        return found
    if type(module) is nn.Conv2d:
        plain = (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
        square = module.stride[0] == module.stride[1] and not isinstance(module.padding, str)
        return [(name, module)] if plain and square else None
    if type(module) is nn.AdaptiveAvgPool2d and module.output_size not in (1, (1, 1)):
        return None
    if type(module) is nn.GroupNorm and not module.affine:
        return None
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) != (1, -1):
        return None
    return [(name, module)] if type(module) in RULES else None


def _takes(network: StackedNetwork, model: nn.Module, x: Tensor) -> bool:
    """Whether inputs ``(T, n, ...)`` are what the rules are for: images or vectors, of one type.

    ``nn.Linear`` and ``nn.GroupNorm`` take inputs of other ranks too, and mean another thing.
    """
    if x.ndim not in (3, 5) or not x.is_floating_point():
        return False
    image = x.ndim == 5
    for _, layer in network.layers:
        wants_image = isinstance(layer, nn.Conv2d | nn.AdaptiveAvgPool2d)
        if (wants_image and not image) or (isinstance(layer, nn.Linear) and image):
            return False
        image = image and not isinstance(layer, nn.Flatten)
    return not image and all(p.dtype == x.dtype for p in model.parameters())


def own_params(params: Params, name: str) -> dict[str, Tensor]:
    """Return what belongs to the layer whose parameters begin with ``name``."""
    return {key: params[name + key] for key in ("weight", "bias") if name + key in params}


def _linear(_: nn.Module, own: Params, x: Tensor) -> Tensor:
    weight, bias = own["weight"].mT, own.get("bias")
    return x @ weight if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)


def _batch_norm(layer: BatchStatisticsNorm, own: Params, x: Tensor) -> Tensor:
    rows = x.flatten(1, -2)
    centred = rows - rows.mean(dim=1, keepdim=True)
    variance = centred.square().mean(dim=1, keepdim=True)
    scale = torch.rsqrt(variance + layer.eps) * own["weight"].unsqueeze(1)
    return torch.addcmul(own["bias"].unsqueeze(1), centred, scale).reshape(x.shape)


def _group_norm(layer: nn.GroupNorm, own: Params, x: Tensor) -> Tensor:
    tasks, n, channels = len(x), x.shape[1], x.shape[-1]
    grouped = x.reshape(tasks, n, -1, layer.num_groups, channels // layer.num_groups)
    centred = grouped - grouped.mean(dim=(2, 4), keepdim=True)
    variance = centred.square().mean(dim=(2, 4), keepdim=True)
    normalised = (centred * torch.rsqrt(variance + layer.eps)).reshape(x.shape)
    shape = (tasks, *[1] * (x.ndim - 2), channels)
    return torch.addcmul(own["bias"].view(shape), normalised, own["weight"].view(shape))


def _flatten(_: nn.Module, own: Params, x: Tensor) -> Tensor:
    return x.movedim(-1, 2).flatten(2) if x.ndim == 5 else x.flatten(2)


def _as_it_is(layer: nn.Module, own: Params, x: Tensor) -> Tensor:
    return layer(x)  # type: ignore[no-any-return]


ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Identity)

RULES: Mapping[type[nn.Module], Callable[[Any, Params, Tensor], Tensor]] = {
    nn.Linear: _linear,
    BatchStatisticsNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.AdaptiveAvgPool2d: lambda layer, own, x: x.mean(dim=(2, 3), keepdim=True),
    nn.Flatten: _flatten,
    **dict.fromkeys(ACTIVATIONS, _as_it_is),
}


def centred_next(following: Layers) -> bool:
    """Whether a batch norm follows, which takes a bias away again."""
    return bool(following) and type(following[0][1]) is BatchStatisticsNorm


def _folds(layer: nn.Conv2d, following: Layers, x: Tensor) -> bool:
    """Whether the norm that follows is cheaper as part of the product.

    So it is in the first layer: its patches hold few numbers, its output many, and the
    images need no gradient.
    """
    patch = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    return centred_next(following) and not x.requires_grad and patch < layer.out_channels


def _normalised_product(norm: nn.Module, scales: Params, columns: Tensor, own: Params) -> Tensor:
    r"""Batch norm of a matrix product, as one matrix product.

    The outputs are linear in the patches p, so their mean and variance follow from those
    of the patches, :math:`w^\top \bar p` and :math:`w^\top \mathrm{Cov}(p)\, w`: with centred
    patches, the norm is a rescaling of the columns of the weights. A bias drops out.
    """
    centred = columns - columns.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / columns.shape[1]
    variance = (own["weight"] * (covariance @ own["weight"])).sum(dim=1, keepdim=True)
    scale = torch.rsqrt(variance + norm.eps) * scales["weight"].unsqueeze(1)  # type: ignore[operator]
    return product(centred, own["weight"] * scale, scales["bias"])
