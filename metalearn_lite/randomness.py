"""All randomness comes from generators that are handed over; here is how one is begun."""

import torch


def seeded(seed: int) -> torch.Generator:
    """Return a new CPU generator: the same draws for the same seed, on every device.

    Args:
        seed: a whole number, 0 or more.

    Raises:
        ValueError: for any other seed.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}: expected a whole number, 0 or more")
    return torch.Generator().manual_seed(seed)
