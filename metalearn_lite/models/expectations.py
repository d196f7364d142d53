"""What the course expects of a network, and what it says where a network is otherwise."""

from torch import Tensor, nn


def features_of(model: nn.Module) -> nn.Module:
    """Return the features of a network; raise a ``ValueError`` if it has none."""
    features = getattr(model, "features", None)
    _check_part(model, "features", features, nn.Module)
    return features  # type: ignore[return-value]


def linear_head(model: nn.Module) -> nn.Linear:
    """Return the head of a network; raise a ``ValueError`` if it is not a linear layer."""
    head = getattr(model, "head", None)
    _check_part(model, "head", head, nn.Linear)
    return head  # type: ignore[return-value]


def _check_part(model: nn.Module, name: str, part: object, kind: type[nn.Module]) -> None:
    if not isinstance(part, kind):
        raise ValueError(
            f"the {name} of the {type(model).__name__} is {type(part).__name__}: expected "
            f"{kind.__name__}, as in Network(features, head); features maps inputs (n, ...) to "
            "(n, d) and the last layer is the head"
        )


def check_outputs(outputs: object) -> Tensor:
    """Return the outputs of a network; raise a ``ValueError`` if they are not one tensor."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the network returned a {type(outputs).__name__}: expected one tensor of shape "
            "(n, outputs); wrap it in a module whose forward hands on the tensor to be trained"
        )
    return outputs
