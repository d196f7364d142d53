"""A network as a function of its parameters, and which of these a task may adapt."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call

from metalearn_lite.models.networks import Network

Params = Mapping[str, Tensor]


def call(model: nn.Module, params: Params, x: Tensor) -> Tensor:
    """Compute the outputs of ``model`` with other parameters; the model stays as it is.

    Raises:
        ValueError: if the forward pass changes a buffer, such as running statistics.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    versions = {name: buffer._version for name, buffer in buffers.items()}
    outputs: Tensor = functional_call(model, {**buffers, **params}, (x,))
    changed = [name for name, buffer in buffers.items() if buffer._version != versions[name]]
    if changed:
        raise ValueError(
            f"the forward pass changes the buffer {changed[0]!r}: what one task teaches would "
            "leak into the next. Expected a network that carries nothing along: call "
            "model.eval(), or normalise with BatchStatisticsNorm or group norm"
        )
    return outputs


def parameters_to_adapt(model: nn.Module, *, head_only: bool = False) -> dict[str, Tensor]:
    """Return what the inner loop adapts: the parameters that require a gradient.

    Args:
        model: the network.
        head_only: of a ``Network``, only the head.

    Raises:
        ValueError: for ``head_only`` on a model without features and head.
    """
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
