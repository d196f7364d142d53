"""Variants: the seed decides, and every variant can be taught."""

import pytest

from metalearn_lite.classroom import Variant
from metalearn_lite.classroom.variants import HELD_OUT, seed_from


def test_a_variant_is_the_same_each_time_and_another_seed_is_another():
    options = tuple(range(1000))
    picks = [[Variant(seed).choose(name, options) for name in "abcd"] for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]
    assert len(set(picks[0])) == 4  # names are independent


def test_every_option_and_every_script_comes_up():
    assert {Variant(seed).choose("ways", (4, 5, 6)) for seed in range(50)} == {4, 5, 6}
    assert {Variant(seed).held_out for seed in range(100)} == set(HELD_OUT)


def test_generators_begin_anew():
    a, b, c = (Variant(3).generator(name) for name in ("draw", "draw", "score"))
    assert a.initial_seed() == b.initial_seed() != c.initial_seed()


@pytest.mark.parametrize("script", HELD_OUT)
def test_the_held_out_script_is_not_learned_from_and_is_large_enough(script):
    seed = next(s for s in range(1000) if Variant(s).held_out == script)
    train, held_out = Variant(seed).split()
    assert set(held_out.groups) == {script} and script not in train.groups
    assert len(held_out) >= 20


def test_no_options_raise():
    with pytest.raises(ValueError, match="ways has no options"):
        Variant(1).choose("ways", ())


def test_a_name_gives_the_same_seed_on_every_machine():
    assert seed_from(1, "a") == 1603193915
