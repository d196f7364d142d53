"""What a function that is scored must leave as it was, and what its score must be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def copies(model: Any) -> dict[str, Tensor]:
    """Copy the tensors of a model, by name; nothing of what is no module."""
    return {name: tensor.clone() for name, tensor in _named(model).items()}


def changed(before: Mapping[str, Tensor], model: Any) -> list[str]:
    """Name the tensors that have other values than their copies, that are gone, or new.

    Compared by value, whichever way a tensor was written to or exchanged.
    """
    after = _named(model)
    gone = [n for n, tensor in before.items() if n not in after or not equal(after[n], tensor)]
    return gone + [name for name in after if name not in before]


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same in every number; NaN is equal to itself."""
    fits = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
    return fits and bool(((a == b) | ((a != a) & (b != b))).all())


def one_number(value: object, index: int) -> Tensor:
    """Return the score of an episode; a ``ValueError`` if it is not one finite number."""
    try:
        score = torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        score = torch.full((), torch.nan)
    if score.numel() != 1 or not score.isfinite():
        raise ValueError(
            f"the metric gave {value!r} in episode {index}: expected one finite number"
        )
    return score.reshape(())


def _named(model: Any) -> dict[str, Tensor]:
    parts = (model.named_parameters, model.named_buffers) if isinstance(model, nn.Module) else ()
    return {name: tensor.detach() for part in parts for name, tensor in part()}
