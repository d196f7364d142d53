"""Thin shapes to lines, and measure how far each pixel is from them.

Both work on many small pictures at once.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

REACH = 9  # distances are known up to here, in pixels

Bytes = NDArray[np.uint8]
_RING = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))  # clockwise from north


def thin(bitmaps: Tensor) -> Tensor:
    """Thin shapes to lines one pixel wide, peeling both sides in turn until nothing goes.

    Args:
        bitmaps: ``(..., h, w)``, bool.

    Returns:
        ``(..., h, w)``, bool.

    Reference:
        Zhang and Suen (1984), "A fast parallel algorithm for thinning digital patterns", with
        one exception: a pixel whose only inked neighbours are those to the east, south-east
        and south stays. So a dot of 2 x 2 pixels does not vanish, and a square upper-left
        corner leaves a short spur.
    """
    # Eight bitmaps to a byte: logic on bytes thins them all at once.
    flat = bitmaps.flatten(0, -3).numpy()
    ink = np.pad(np.packbits(flat, axis=0), ((0, 0), (1, 1), (1, 1)))
    before = np.zeros_like(ink)
    while not np.array_equal(ink, before):
        before = ink.copy()
        for side in (2, 6):
            ink[:, 1:-1, 1:-1] &= ~_removable(ink, side)
    lines = np.unpackbits(ink[:, 1:-1, 1:-1], axis=0, count=len(flat))
    return torch.from_numpy(lines).bool().view_as(bitmaps)


def distance_to_line(lines: Tensor) -> Tensor:
    """Return each pixel's Euclidean distance to the nearest ``True``, at most ``REACH``.

    The squared distance separates: the least over rows of what is least over columns.

    Args:
        lines: ``(..., h, w)``, bool.

    Returns:
        ``(..., h, w)``, float, in pixels.
    """
    square = torch.where(lines, 0, REACH**2).to(torch.uint8)
    for axis in (-2, -1):
        nearest, size = square.clone(), square.shape[axis]
        for k in range(1, REACH):
            for to, start in ((k, 0), (0, k)):
                part = nearest.narrow(axis, to, size - k)
                torch.minimum(part, square.narrow(axis, start, size - k) + k * k, out=part)
        square = nearest
    return square.float().sqrt()


def _removable(ink: Bytes, side: int) -> Bytes:
    """Mark the pixels that go: on the edge facing ``side``, and neither an end nor a bridge."""
    h, w = ink.shape[1:]
    ring = [ink[:, y : h - 2 + y, x : w - 2 + x] for y, x in _RING]
    starts, two_starts = _one_and_two([~ring[k - 1] & ring[k] for k in range(8)])
    _, two_ink = _one_and_two(ring)
    _, two_paper = _one_and_two([~pixel for pixel in ring])
    inside = ring[side] & ring[(side + 2) % 8] & (ring[side - 2] | ring[(side + 4) % 8])
    # Without this exception a dot of 2 x 2 pixels would vanish whole.
    dot = ring[2] & ring[3] & ring[4] & ~(ring[0] | ring[1] | ring[5] | ring[6] | ring[7])
    return starts & ~two_starts & two_ink & two_paper & ~inside & ~dot


def _one_and_two(masks: Sequence[Bytes]) -> tuple[Bytes, Bytes]:
    """Return where at least one, and where at least two of the masks are set."""
    one, two = np.zeros_like(masks[0]), np.zeros_like(masks[0])
    for mask in masks:
        two |= one & mask
        one |= mask
    return one, two
