"""Tensors that are handed in: what is right is taken in any form, what is not is named."""

import torch
from torch import Tensor


def as_data(name: str, value: object) -> Tensor:
    """Return a tensor as the course computes with it; labels of every whole type become int64.

    Raises:
        ValueError: if it is not a tensor, or of complex numbers.
    """
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} is a {type(value).__name__}: expected a tensor; torch.as_tensor({name}) makes "
            "one of an array or a list, and Episode.unlabelled needs no labels of the queries"
        )
    if value.is_complex():
        raise ValueError(f"{name} holds {value.dtype}: expected real numbers")
    if value.is_inference() and not torch.is_inference_mode_enabled():
        value = value.clone()  # PyTorch would refuse to differentiate what depends on it
    whole = not value.is_floating_point() and value.dtype != torch.int64
    return value.long() if whole and name.endswith("_y") else value


def unknown_labels(support_y: Tensor, query_x: Tensor, is_batch: bool | None) -> Tensor:
    """Return what stands for labels that nobody knows: -1, or NaN for values."""
    values = support_y.is_floating_point()
    lead = support_y.ndim - values if is_batch is None else 1 + is_batch
    shape = (*query_x.shape[:lead], *support_y.shape[lead:])
    return support_y.new_full(shape, torch.nan if values else -1)


def check_classes(support_y: Tensor, query_y: Tensor) -> None:
    """Raise a ``ValueError`` if a query of one task is of a class without a support example."""
    if support_y.is_floating_point() or not support_y.numel() or not query_y.numel():
        return
    most, asked = int(support_y.max()), int(query_y.max())
    if asked > most:
        raise ValueError(
            f"class [{asked}] has no example in the support set, whose labels go up to {most}, and "
            "a query is of that class: give every class at least one"
        )


def check_gradients_possible() -> None:
    """Raise a ``ValueError`` under ``torch.inference_mode()``, where nothing can be adapted."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "gradients are needed to adapt, and torch.inference_mode() rules them out even where "
            "they are turned on: expected torch.no_grad(), or no mode at all"
        )


def in_float64(x: Tensor) -> Tensor:
    """Return x in float64, on the CPU where its device has none (Apple's GPU)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def full_precision(x: Tensor) -> Tensor:
    """Return half and bfloat16 as float32, for operations that PyTorch has for no less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
