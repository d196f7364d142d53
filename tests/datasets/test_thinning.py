import numpy as np
import pytest
import torch
from scipy.ndimage import label

from metalearn_lite.datasets.rendering import letters, plain_bitmaps
from metalearn_lite.datasets.thinning import distance_to_line, thin

EIGHT_NEIGHBOURS = np.ones((3, 3))


def test_a_bar_is_thinned_to_a_line_and_a_line_stays():
    bar = torch.zeros(1, 20, 20, dtype=torch.bool)
    bar[0, 7:12, 3:17] = True
    line = thin(bar)
    assert line.sum(1).max() == 1 and line.sum() >= 8
    assert torch.equal(thin(line), line)


def test_thinning_works_up_to_the_border():
    assert thin(torch.ones(1, 9, 9, dtype=torch.bool)).sum() in range(1, 10)


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_bitmaps_are_thinned_independently_of_their_neighbours(count):
    bits = torch.rand(count, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    singly = torch.cat([thin(b[None]) for b in bits])
    assert torch.equal(thin(bits), singly)


def test_thinning_keeps_every_dot_and_every_hole():
    bits = plain_bitmaps(letters(), "DejaVu Sans") > 0.5
    for before, after in zip(bits.numpy(), thin(bits).numpy(), strict=True):
        assert label(before, EIGHT_NEIGHBOURS)[1] == label(after, EIGHT_NEIGHBOURS)[1]
        paper = [np.pad(~picture, 1, constant_values=True) for picture in (before, after)]
        assert label(paper[0])[1] == label(paper[1])[1]


def test_distances_to_a_line_equal_the_brute_force():
    lines = torch.rand(3, 14, 14, generator=torch.Generator().manual_seed(0)) < 0.03
    at = torch.cartesian_prod(torch.arange(14.0), torch.arange(14.0))
    for picture, distance in zip(lines, distance_to_line(lines), strict=True):
        nearest = torch.cdist(at, at[picture.flatten()]).amin(1).clamp(max=9).view(14, 14)
        torch.testing.assert_close(distance, nearest)


RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
NORTH, EAST, SOUTH, WEST = 0, 2, 4, 6


def goes(ring, first):
    """The conditions of Zhang and Suen, and the one exception, for a pixel by its neighbours."""
    starts = sum(not ring[k - 1] and ring[k] for k in range(8))
    if starts != 1 or not 2 <= sum(ring) <= 6:
        return False
    if [k for k in range(8) if ring[k]] == [EAST, 3, SOUTH]:
        return False
    one, two = (EAST, SOUTH) if first else (WEST, NORTH)
    return not (ring[one] and ring[two] and (ring[one - 2] or ring[(two + 2) % 8]))


def thinned_by_hand(picture):
    ink, before = np.pad(picture, 1), None
    while before is None or (ink != before).any():
        before = ink.copy()
        for first in (True, False):
            gone = [
                (y, x)
                for y, x in zip(*np.nonzero(ink), strict=True)
                if goes([bool(ink[y + dy, x + dx]) for dy, dx in RING], first)
            ]
            for place in gone:
                ink[place] = False
    return ink[1:-1, 1:-1]


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_pictures_are_thinned_as_by_hand(share):
    bits = torch.rand(12, 9, 10, generator=torch.Generator().manual_seed(0)) < share
    for picture, thinned in zip(bits.numpy(), thin(bits).numpy(), strict=True):
        assert (thinned == thinned_by_hand(picture)).all()


def test_a_dot_does_not_vanish():
    dot = torch.zeros(1, 6, 6, dtype=torch.bool)
    dot[0, 2:4, 2:4] = True
    assert thin(dot).any()
