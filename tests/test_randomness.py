"""One seed, one stream of numbers, and nobody else's stream is touched."""

import pytest
import torch

from metalearn_lite.randomness import seeded


def draws(generator):
    return torch.rand(5, generator=generator, dtype=torch.float64)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    assert torch.equal(draws(seeded(3)), draws(seeded(3)))
    streams = {tuple(draws(seeded(seed)).tolist()) for seed in range(20)}
    assert len(streams) == 20


def test_each_call_begins_a_generator_of_its_own():
    first, second = seeded(3), seeded(3)
    draws(first)
    assert torch.equal(draws(second), draws(seeded(3)))
    assert not torch.equal(draws(first), draws(seeded(3)))


def test_the_stream_is_that_of_pytorchs_seed_on_the_cpu():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = torch.rand(5, dtype=torch.float64)
    assert torch.equal(draws(seeded(7)), expected)
    assert seeded(7).device == torch.device("cpu")


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    draws(seeded(3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_the_smallest_and_very_large_seeds_are_seeds(seed):
    assert seeded(seed).initial_seed() % 2**64 == seed


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1", None, torch.tensor(1)])
def test_what_is_no_whole_number_from_zero_on_is_named(seed):
    with pytest.raises(ValueError, match=r"seed is .*: expected a whole number from 0 to below"):
        seeded(seed)
