"""Counts and positive numbers: what passes, and what is named when it does not."""

import math

import pytest
import torch

from metalearn_lite.arguments import (
    check_counts,
    check_generator,
    check_kind,
    check_not_negative,
    check_positive,
    check_shapes,
)


def test_counts_of_one_or_more_pass():
    check_counts()
    check_counts(shots=1, queries=15, tasks=10**12)


def test_the_least_count_passes_and_the_one_below_does_not():
    check_counts(steps=0, head_steps=3, least=0)
    check_counts(channels=3, least=3)
    with pytest.raises(ValueError, match="channels is 2: expected a whole number, 3 or more"):
        check_counts(channels=2, least=3)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"shots": 0}, "shots is 0: expected a whole number, 1 or more"),
        ({"shots": 2, "queries": -1}, "queries is -1: expected a whole number, 1 or more"),
        ({"shots": math.nan}, "shots is nan: expected a whole number, 1 or more"),
        ({"shots": True}, "shots is True: expected a whole number, 1 or more"),
        ({"shots": 2.0}, r"shots is 2\.0: expected a whole number, 1 or more"),
        ({"steps": -1, "least": 0}, "steps is -1: expected a whole number, 0 or more"),
    ],
)
def test_a_count_that_is_too_small_is_named_with_what_is_expected(counts, message):
    with pytest.raises(ValueError, match=message):
        check_counts(**counts)


def test_finite_numbers_above_zero_pass_however_small_or_large():
    check_positive()
    check_positive(lr=5e-324, scale=1.7e308, l2=1)


@pytest.mark.parametrize("number", [0.0, -0.0, -1e-9, math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_and_above_zero_is_named(number):
    with pytest.raises(ValueError, match=f"l2 is {number}: expected a finite number above 0"):
        check_positive(lr=0.1, l2=number)


def test_zero_is_not_negative_and_the_smallest_number_below_it_is():
    check_not_negative()
    check_not_negative(noise=0.0, l2=1, momentum=1.7e308)
    for number in (-5e-324, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"noise is {number}: expected a finite number, 0 or"):
            check_not_negative(l2=0.1, noise=number)


def test_a_tensor_of_one_number_is_a_number_and_nothing_else_is():
    check_positive(lr=torch.tensor([0.5], requires_grad=True))
    check_not_negative(lr=torch.tensor(0))
    for other in (torch.ones(2), True, "1", None):
        for check in (check_positive, check_not_negative):
            with pytest.raises(ValueError, match=r"lr is .*: expected a finite number"):
                check(lr=other)
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        check_positive(lr=torch.tensor(0.0))


def test_an_object_of_another_kind_is_named_with_the_kind_that_is_expected():
    check_kind(dict)
    check_kind(dict, first={}, second={1: 2})
    with pytest.raises(ValueError, match=r"second is a list: expected a builtins\.dict"):
        check_kind(dict, first={}, second=[])


@pytest.mark.parametrize("other", [None, 0])
def test_a_seed_is_no_generator(other):
    check_generator(torch.Generator())
    with pytest.raises(ValueError, match=rf"generator is {other}: expected a torch\.Generator"):
        check_generator(other)


def test_shapes_that_fit_pass_and_others_are_told_in_their_order():
    queries, means = torch.zeros(3), torch.zeros(5, 2)
    check_shapes(True, "(m, d) and (ways, d)", queries=queries, means=means)
    told = r"^queries have shape \(3,\) and means \(5, 2\): expected \(m, d\) and \(ways, d\)$"
    with pytest.raises(ValueError, match=told):
        check_shapes(False, "(m, d) and (ways, d)", queries=queries, means=means)
    with pytest.raises(ValueError, match=r"^images have shape \(3,\): expected \(n, h, w\)$"):
        check_shapes(False, "(n, h, w)", images=queries)
