"""How many episodes an interval needs."""

import pytest
import torch

from metalearn_lite.evaluation import Scores, paired_difference
from metalearn_lite.judging import episodes_needed


def values(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_spread(n, spread, like=None):
    z = values(n) if like is None else like
    return Scores.of(spread * (z - z.mean()) / z.std())


@pytest.mark.parametrize("half_width", [0.3, 0.1, 0.03, 0.01])
def test_the_interval_of_so_many_episodes_is_narrow_enough_and_of_one_less_is_not(half_width):
    n = episodes_needed(of_spread(50, 0.2), half_width=half_width)
    assert of_spread(n, 0.2).half_width <= half_width
    assert n == 2 or of_spread(n - 1, 0.2).half_width > half_width


def test_half_the_width_needs_four_times_as_many():
    scores = of_spread(50, 0.1)
    ratio = episodes_needed(scores, half_width=0.005) / episodes_needed(scores, half_width=0.01)
    assert ratio == pytest.approx(4, rel=0.02)


def test_a_paired_difference_needs_fewer():
    a, noise = values(100), values(100, seed=1)
    first, second = Scores.of(a), Scores.of(a + 0.1 * noise)
    paired = episodes_needed(paired_difference(first, second), half_width=0.1)
    assert paired < episodes_needed(first, half_width=0.1) / 10


def test_no_spread_needs_two_episodes():
    assert episodes_needed(Scores.of([0.8, 0.8, 0.8]), half_width=0.01) == 2


def test_a_single_episode_tells_nothing_of_the_spread():
    with pytest.raises(ValueError, match="got a single episode: expected two or more"):
        episodes_needed(Scores.of([0.8]), half_width=0.01)


@pytest.mark.parametrize("half_width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_none_raises(half_width):
    with pytest.raises(ValueError, match="expected a number above 0"):
        episodes_needed(of_spread(5, 1), half_width=half_width)
