"""A network as a function of its parameters, and which of these a task may adapt."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metalearn_lite.arguments import check_kind
from metalearn_lite.models.expectations import check_outputs
from metalearn_lite.models.networks import Network

Params = Mapping[str, Tensor]


def call(model: nn.Module, params: Params, x: Tensor) -> Tensor:
    """Compute the outputs of ``model`` with other parameters; the model stays as it is.

    Args:
        model: the network.
        params: parameters by name, as in ``model.named_parameters()``; what they leave out is
            taken from the network. Weights that several layers share are exchanged in all.
        x: inputs ``(n, ...)``.

    Raises:
        ValueError: if the network has no parameter of a name, if the forward pass changes a
            buffer, such as running statistics, or if it returns anything but a tensor.
    """
    check_names(model, params)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    versions = {name: buffer._version for name, buffer in buffers.items()}
    outputs = call_with(model, {**buffers, **params}, x)
    changed = [name for name, buffer in buffers.items() if buffer._version != versions[name]]
    if changed:
        raise ValueError(
            f"the forward pass changes the buffer {changed[0]!r}: what one task teaches would "
            "leak into the next. Expected a network that carries nothing along: call "
            "model.eval(), or normalise with BatchStatisticsNorm or group norm"
        )
    return outputs


def call_with(model: nn.Module, values: Params, x: Tensor) -> Tensor:
    """Compute the outputs with other parameters and buffers, which the forward pass may change."""
    given = _at_each_place(model, values)
    return check_outputs(functional_call(model, given, (x,), tie_weights=False))


def check_names(model: nn.Module, params: Params) -> None:
    """Raise a ``ValueError`` if the network has no parameter of some name."""
    unknown = sorted(params.keys() - dict(model.named_parameters()).keys())
    if unknown:
        raise ValueError(
            f"params holds {unknown[0]!r}, which the network has not: expected names of "
            "model.named_parameters()"
        )


def _at_each_place(model: nn.Module, values: Params) -> dict[str, Tensor]:
    """Return the values under one name for each module and attribute where they stand.

    A tensor may stand in several layers (tied weights): each of them gets the value. A layer may
    be reached by several names: it gets it once. PyTorch's own way of tying exchanges such a layer
    twice, and leaves the value of the task in the model.
    """
    names = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
    places = {}
    for path, module in model.named_modules():  # each module once
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and names[id(tensor)] in values:
                places[f"{path}.{key}" if path else key] = values[names[id(tensor)]]
    return places


class AdaptedNetwork(nn.Module):
    """A network with parameters of its own for one task: what an inner loop has learned.

    Args:
        model: the network; it is shared, not copied, and stays as it is.
        params: its parameters for the task, by name.
    """

    def __init__(self, model: nn.Module, params: Params) -> None:
        super().__init__()
        self.model, self.params = model, dict(params)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs for inputs ``(n, ...)``."""
        return call(self.model, self.params, x)


class FeaturesAndHead(nn.Module):
    """Shared features, and a linear head of its own for one task.

    Args:
        features: from inputs ``(n, ...)`` to ``(n, d)``; shared, not copied.
        weight: of the head, ``(outputs, d)``.
        bias: of the head, ``(outputs,)``.
    """

    def __init__(self, features: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.features, self.weight, self.bias = features, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs for inputs ``(n, ...)``."""
        return F.linear(call(self.features, {}, x), self.weight, self.bias)


def parameters_to_adapt(model: nn.Module, *, head_only: bool = False) -> dict[str, Tensor]:
    """Return what the inner loop adapts: the parameters that require a gradient.

    Args:
        model: the network.
        head_only: of a ``Network``, only the head.

    Raises:
        ValueError: for ``head_only`` on a model without features and head.
    """
    check_kind(nn.Module, model=model)
    if head_only and not isinstance(model, Network):
        raise ValueError(
            f"head_only needs a model with features and a head, and got {type(model).__name__}: "
            "expected a metalearn_lite.models.Network"
        )
    return {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and (name.startswith("head.") or not head_only)
    }
