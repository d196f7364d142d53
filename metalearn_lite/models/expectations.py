"""What the course expects of a network, and what it says where a network is otherwise."""

from torch import Tensor, nn


def features_of(model: nn.Module) -> nn.Module:
    """Return the features of a network; raise a ``ValueError`` if it has none."""
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Module):
        raise ValueError(
            f"the {type(model).__name__} has no module named features: expected a Network, such "
            "as Network(features, head), where features maps inputs (n, ...) to (n, d)"
        )
    return features


def linear_head(model: nn.Module) -> nn.Linear:
    """Return the head of a network; raise a ``ValueError`` if it is not a linear layer."""
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"the head of the {type(model).__name__} is {type(head).__name__}: expected a Network "
            "with a linear layer as head; make all layers before the last one its features"
        )
    return head


def check_outputs(outputs: object) -> Tensor:
    """Return the outputs of a network; raise a ``ValueError`` if they are not one tensor."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the network returned a {type(outputs).__name__}: expected one tensor of shape "
            "(n, outputs); wrap it in a module whose forward hands on the tensor to be trained"
        )
    return outputs
