"""All randomness comes from generators that are handed over; here is how one is begun."""

import torch


def seeded(seed: int) -> torch.Generator:
    """Return a new CPU generator: the same draws for the same seed, on every device.

    Args:
        seed: a whole number, 0 or more, below 2**64.

    Raises:
        ValueError: for any other seed.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed!r}: expected a whole number from 0 to below 2**64")
    return torch.Generator().manual_seed(seed)
