"""Check the numbers that a function is given: counts and sizes."""

import math


def check_counts(*, least: int = 1, **counts: int) -> None:
    """Raise a ``ValueError`` if a count is below ``least``."""
    for name, count in counts.items():
        if not count >= least:
            raise ValueError(f"{name} is {count}: expected {least} or more")


def check_positive(**numbers: float) -> None:
    """Raise a ``ValueError`` if a number is not finite and above 0."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} is {number}: expected a finite number above 0")
