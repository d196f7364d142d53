"""Fine-tune few numbers: low-rank adapters, biases alone, or normalisation alone.

Each function returns a new model in which most weights are frozen (``requires_grad`` is off);
``fine_tune`` and every optimiser that is given what requires a gradient then train the rest. The
``head`` of a ``Network`` is new for a new problem, so it is trained whole.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn_lite.arguments import check_counts
from metalearn_lite.models.initialisation import NORMS
from metalearn_lite.models.networks import Network
from metalearn_lite.models.normalisation import BatchStatisticsNorm

Model = TypeVar("Model", bound=nn.Module)
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Adapted(nn.Module):
    r"""A frozen layer with a product of two thin matrices added to its weight, :math:`W + B A`.

    Equation 3 of Hu et al. (2022), with their factor α / r at one. The kernel of a convolution
    counts as a matrix with a row for each output channel; the product is then ``rank`` filters,
    and a 1 x 1 convolution of what they give.

    Args:
        layer: a linear layer or a convolution, W of shape ``(outputs, ...)``; it is kept.
        rank: rows of A and columns of B, at most what W could have.
        generator: draws A as PyTorch draws the weights of a layer; B begins at zero, so that
            nothing is added yet.
    """

    def __init__(self, layer: Layer, rank: int, generator: torch.Generator | None) -> None:
        super().__init__()
        rows, columns = layer.weight.flatten(1).shape
        unit = torch.rand(
            min(rank, rows, columns), columns, generator=generator, dtype=layer.weight.dtype
        )
        self.layer = layer
        self.A = nn.Parameter((columns**-0.5 * (2 * unit - 1)).to(layer.weight.device))
        self.B = nn.Parameter(layer.weight.new_zeros(rows, len(unit)))

    @property
    def weight(self) -> Tensor:
        """The weight with the product added, in its shape."""
        return self.layer.weight + (self.B @ self.A).view_as(self.layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer."""
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map what the layer maps, by the sum."""
        return functional_call(self.layer, {"weight": self.weight}, x)  # type: ignore[no-any-return]


def lora(model: Model, *, rank: int, generator: torch.Generator | None = None) -> Model:
    """Give every linear layer and convolution a low-rank adapter, and freeze all else.

    LoRA of Hu et al. (2022). Before training the new model answers as ``model`` does, to the bit.
    A layer never gets a rank above that of its weight, with which the product can be anything.

    Args:
        model: any network; not changed. The ``head`` of a ``Network`` gets no adapter and is
            trained whole.
        rank: of the product that is added to a weight.
        generator: draws one factor of each; None uses PyTorch's global generator.

    Returns:
        A copy with an ``Adapted`` layer in the place of each; ``merge_adapters`` makes it plain.

    Raises:
        ValueError: if ``rank`` is not a count, there is no layer to adapt, or there are adapters
            already.
    """
    check_counts(rank=rank)
    adapted = frozen(model)
    if _adapted(adapted):
        raise ValueError(
            f"{type(model).__name__} has adapters already: expected a network without; "
            "merge_adapters() adds them to the weights"
        )
    layers = [
        layer
        for name, layer in adapted.named_modules()
        if isinstance(layer, LAYERS)
        and "weight" in layer._parameters  # and not computed from others
        and not _of_head(adapted, name)
    ]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no linear layer or convolution besides its head: "
            "expected one, to add a low-rank product to its weight"
        )
    for layer in layers:
        adapted = _exchanged(adapted, layer, Adapted(layer, rank, generator))
    return adapted


def merge_adapters(model: Model) -> Model:
    """Add the product of each adapter to its weight, and take the adapters away.

    Args:
        model: a network from ``lora``, trained or not; not changed.

    Returns:
        A plain copy with the layers and names of the network that ``lora`` was given, all of
        it free to be trained.

    Raises:
        ValueError: if no layer has an adapter.
    """
    merged = copy.deepcopy(model)
    layers = _adapted(merged)
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no adapters: expected a model that lora() has made"
        )
    for adapted in layers:
        adapted.layer.weight.data = adapted.weight.detach()
        merged = _exchanged(merged, adapted, adapted.layer)
    return merged.requires_grad_()


def bias_tuning(model: Model) -> Model:
    """Freeze all but the biases and the head (BitFit, Ben Zaken et al., 2022).

    Args:
        model: any network; not changed. The shifts of its normalisation layers are biases too.

    Returns:
        A copy that answers as ``model`` does.

    Raises:
        ValueError: if no layer has a bias.
    """
    return _tuned(model, "bias", lambda layer, name: name == "bias")


def norm_tuning(model: Model) -> Model:
    """Freeze all but the scales and shifts of normalisation layers, and the head.

    Args:
        model: any network; not changed.

    Returns:
        A copy that answers as ``model`` does.

    Raises:
        ValueError: if no normalisation layer has a scale or a shift.
    """
    return _tuned(model, "normalisation with a scale", _is_norm)


def trained_numbers(model: nn.Module) -> int:
    """Count the numbers that training would change: those that require a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def frozen(model: Model) -> Model:
    """Return a copy of which only the head of a ``Network`` requires a gradient."""
    copied = copy.deepcopy(model)
    for name, p in copied.named_parameters():
        p.requires_grad_(_of_head(copied, name))
    return copied


def _adapted(model: nn.Module) -> list[Adapted]:
    return [layer for layer in model.modules() if isinstance(layer, Adapted)]


def _exchanged(model: Any, old: nn.Module, new: nn.Module) -> Any:
    """Put a layer wherever another is used; that may be the model itself."""
    for holder in list(model.modules()):
        for name, child in holder._modules.items():  # its public twin names a layer once
            if child is old:
                setattr(holder, name, new)
    return new if model is old else model


def _of_head(model: nn.Module, name: str) -> bool:
    return isinstance(model, Network) and name.partition(".")[0] == "head"


def _is_norm(layer: nn.Module, _: str) -> bool:
    return isinstance(layer, (*NORMS, BatchStatisticsNorm))


def _tuned(model: Model, what: str, wanted: Callable[[nn.Module, str], bool]) -> Model:
    tuned = frozen(model)
    chosen = [
        p
        for layer in tuned.modules()
        for name, p in layer.named_parameters(recurse=False)
        if wanted(layer, name)
    ]
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no {what}: expected one, to train it alone")
    for p in chosen:
        p.requires_grad_()
    return tuned
