"""A network as the page's engine reads it: its layers, and its weights as text with a checksum.

``templates/engine.js`` computes the same from it, forward and backward. The format: ``layers``,
each with its ``kind``, its sizes and ``at``, the place of its first parameter; ``input``, the shape
of one input, ``(channels, height, width)``; and ``weights``, all parameters one after the other in
PyTorch's order (a weight before its bias), little-endian, in base64, with ``digits``, the bits of
each, and ``crc``, the CRC-32 of the bytes.
"""

import base64
import zlib
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metalearn_lite.in_context import SetTransformer
from metalearn_lite.models import BatchStatisticsNorm, FixedStatisticsNorm, Network

Digits = Literal[16, 32, 64]
DTYPES = {16: torch.float16, 32: torch.float32, 64: torch.float64}
NORMS = (BatchStatisticsNorm, FixedStatisticsNorm, nn.GroupNorm, nn.BatchNorm2d)


def page_network(
    model: Network | SetTransformer,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    digits: Digits = 16,
) -> dict[str, Any]:
    """Describe a network for the page.

    Args:
        model: features in a row of layers (convolutions, the norms of this package, PyTorch's
            group norm and, in ``eval()``, its batch norm, ReLU, max-pooling, means over pixels,
            flattening, linear layers) and a linear head; or a set transformer, for
            ``templates/attention.js``, of which no shape is needed.
        input_shape: channels, height and width of one input; ``(d, 1, 1)`` for vectors.
        digits: bits of a weight, 16, 32 or 64. Half digits are enough to answer.

    Returns:
        What JSON can hold: ``layers``, ``input`` and ``weights``.

    Raises:
        ValueError: for a layer that the page does not know, for options of a layer that it
            leaves out, and for weights that ``digits`` cannot hold.
    """
    if digits not in DTYPES:
        raise ValueError(f"digits is {digits!r}: expected 16, 32 or 64")
    if isinstance(model, SetTransformer):
        return page_reader(model, digits)
    if not isinstance(model.features, nn.Sequential):
        kind = type(model.features).__name__
        raise ValueError(f"features are a {kind}: expected an nn.Sequential of known layers")
    layers: list[dict[str, Any]] = []
    weights: list[Tensor] = []
    inside = ((f"features.{name}", layer) for name, layer in model.features.named_children())
    for name, layer in (*inside, ("head", model.head)):
        about = described(name, layer)
        if about is None:
            continue
        own = [p.detach().flatten().cpu() for p in layer.parameters()]
        layers.append({**about, "at": sum(len(w) for w in weights)} if own else about)
        weights += own
    return {"layers": layers, "input": list(input_shape), "weights": packed(weights, digits)}


def page_reader(model: SetTransformer, digits: Digits) -> dict[str, Any]:
    """Describe a set transformer by its sizes and its weights."""
    ends = {"into": model.inputs, "out": model.outputs}
    sizes = {"width": model.read_x.out_features, "heads": model.heads, "count": len(model.layers)}
    weights = [p.detach().flatten().cpu() for p in model.parameters()]
    return {**ends, **sizes, "weights": packed(weights, digits)}


def described(name: str, layer: nn.Module) -> dict[str, Any] | None:
    """Return the kind and sizes of a layer, None for one that does nothing."""
    if isinstance(layer, nn.Conv2d):
        return convolution(name, layer)
    if isinstance(layer, nn.Linear):
        sizes = {"out": layer.out_features, "into": layer.in_features}
        return {"kind": "linear", **sizes, "bias": layer.bias is not None}
    if isinstance(layer, NORMS):
        return normalisation(name, layer)
    if isinstance(layer, nn.MaxPool2d) and (layer.stride, layer.padding) == (layer.kernel_size, 0):
        return {"kind": "maxpool", "size": layer.kernel_size}
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return {"kind": "mean"}
    if isinstance(layer, nn.ReLU | nn.Flatten):
        return {"kind": type(layer).__name__.lower()}
    if isinstance(layer, nn.Identity):
        return None
    raise ValueError(
        f"{name} is {layer}: expected a convolution, a norm, ReLU, pooling of squares that do not "
        "overlap, a mean over all pixels, Flatten or a linear layer"
    )


def convolution(name: str, layer: nn.Conv2d) -> dict[str, Any]:
    """Return the sizes of a convolution that is square and plain."""
    (k, k2), (s, s2) = layer.kernel_size, layer.stride
    padding = layer.padding[0] if not isinstance(layer.padding, str) else None
    plain = (k, s, (padding, padding), 1, (1, 1)) == (
        *(k2, s2, layer.padding, layer.groups, layer.dilation),
    )
    if not plain or layer.padding_mode != "zeros":
        raise ValueError(
            f"{name} is {layer}: expected a square kernel, stride and padding with zeros, without "
            "groups or dilation"
        )
    sizes = {"out": layer.out_channels, "into": layer.in_channels * k * k}
    shape = {"kernel": k, "stride": s, "padding": padding}
    return {"kind": "conv", **sizes, **shape, "bias": layer.bias is not None}


def normalisation(name: str, layer: nn.Module) -> dict[str, Any]:
    """Return whose statistics a norm takes: of groups of channels, of the batch, or fixed ones."""
    found = {"kind": "norm", "eps": layer.eps, "groups": 0}
    if layer.weight is None or layer.bias is None:
        raise ValueError(f"{name} is {layer}: expected a norm with weight and bias")
    if isinstance(layer, nn.GroupNorm):
        return {**found, "groups": layer.num_groups}
    if isinstance(layer, BatchStatisticsNorm):
        return found
    if isinstance(layer, FixedStatisticsNorm):
        return {**found, "mean": layer.mean.tolist(), "variance": layer.variance.tolist()}
    mean, variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    if layer.training or mean is None or variance is None:
        raise ValueError(f"{name} is {layer} in train(): call model.eval() first")
    return {**found, "mean": mean.tolist(), "variance": variance.tolist()}


def packed(weights: list[Tensor], digits: Digits) -> dict[str, Any]:
    """Write weights as text."""
    values = torch.cat(weights).to(DTYPES[digits])
    if not values.isfinite().all():
        raise ValueError(f"got a weight that is not finite in {digits} bits: expected finite ones")
    data = values.numpy().astype(f"<f{digits // 8}").tobytes()
    return {"digits": digits, "data": base64.b64encode(data).decode(), "crc": zlib.crc32(data)}
