"""Check what a function is told: counts, sizes, generators, the kind of an object."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor


def check_counts(*, least: int = 1, **counts: object) -> None:
    """Raise a ``ValueError`` if a count is no whole number, or below ``least``."""
    for name, count in counts.items():
        whole = isinstance(count, Integral) and not isinstance(count, bool)
        if not whole or count < least:  # type: ignore[operator]
            raise ValueError(f"{name} is {count!r}: expected a whole number, {least} or more")


def check_positive(**numbers: object) -> None:
    """Raise a ``ValueError`` if a number is not finite and above 0."""
    for name, number in numbers.items():
        if not 0 < _value(number) < math.inf:
            raise ValueError(f"{name} is {number}: expected a finite number above 0")


def check_not_negative(**numbers: object) -> None:
    """Raise a ``ValueError`` if a number is not finite, or below 0."""
    for name, number in numbers.items():
        if not 0 <= _value(number) < math.inf:
            raise ValueError(f"{name} is {number}: expected a finite number, 0 or more")


def check_kind(kind: type, /, **objects: object) -> None:
    """Raise a ``ValueError`` if an object is not of a kind."""
    for name, found in objects.items():
        if not isinstance(found, kind):
            raise ValueError(
                f"{name} is a {type(found).__name__}: expected a {kind.__module__}.{kind.__name__}"
            )


def check_generator(generator: object) -> None:
    """Raise a ``ValueError`` if this is not a generator of PyTorch."""
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator is {generator!r}: expected a torch.Generator, such as "
            "torch.Generator().manual_seed(0)"
        )


def check_shapes(fits: bool, expected: str, **tensors: Tensor) -> None:
    """Raise a ``ValueError`` that tells the shapes of tensors if they do not fit.

    Args:
        fits: whether they do.
        expected: the shapes that do, in the order of the tensors, and what to change.
        **tensors: by names in the plural, as in "queries have shape (3,) and means (5, 2)".
    """
    if not fits:
        (first, shape), *others = ((name, tuple(t.shape)) for name, t in tensors.items())
        told = "".join(f" and {name} {found}" for name, found in others)
        raise ValueError(f"{first} have shape {shape}{told}: expected {expected}")


def _value(number: object) -> float:
    """Return a number, or that of a tensor of one; NaN for anything else."""
    if isinstance(number, Tensor) and number.numel() == 1:
        return float(number.detach())
    return float(number) if isinstance(number, Real) and not isinstance(number, bool) else math.nan
