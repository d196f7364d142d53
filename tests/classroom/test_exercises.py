"""A stub, wrong answers and right ones, as a reader hands them to a check.

PYTEST_DONT_REWRITE: the checks here must assert as they do in a notebook.
"""

import pytest
import torch

from metalearn_lite.classroom import attempt
from metalearn_lite.classroom.exercises import complaint


def check_double(double):
    assert double(2) == 4, f"double(2) is {double(2)}, not 4"
    assert double(0) == 0
    print("double() is right")


def stub(x): ...


def said(capsys, check, answer):
    attempt(check, answer)
    return capsys.readouterr().out


def test_a_right_answer_adds_nothing_to_what_the_check_prints(capsys):
    assert said(capsys, check_double, lambda x: 2 * x) == "double() is right\n"


def test_a_stub_is_told_that_it_returns_nothing(capsys):
    expected = "not yet: stub() returns None: write its body, and return the result\n"
    assert said(capsys, check_double, stub) == expected


def test_a_stub_is_told_so_whatever_the_check_makes_of_none(capsys):
    def check(answer):
        torch.testing.assert_close(1 + answer(1), torch.ones(2))

    assert "stub() returns None" in said(capsys, check, stub)


def test_a_wrong_answer_is_told_what_the_check_says(capsys):
    assert said(capsys, check_double, lambda x: x) == "not yet: double(2) is 2, not 4\n"


def test_an_assertion_without_words_is_shown_as_it_stands(capsys):
    found = said(capsys, check_double, lambda x: x + 2)
    assert found == "not yet: this does not hold: assert double(0) == 0\n"


def test_the_line_that_is_shown_is_the_innermost(capsys):
    def inner(answer):
        assert answer(1) == 3

    def middle(answer):
        inner(answer)

    found = said(capsys, middle, lambda x: x)
    assert found == "not yet: this does not hold: assert answer(1) == 3\n"


@pytest.mark.parametrize("kind", [ValueError, TypeError, NotImplementedError, KeyError])
def test_any_exception_counts_as_not_yet(capsys, kind):
    def broken(x):
        raise kind

    assert said(capsys, check_double, broken) == f"not yet: {kind.__name__}\n"


def test_an_answer_that_returns_none_once_is_told_so(capsys):
    found = said(capsys, check_double, lambda x: 2 * x if x else None)
    assert "returns None" in found


def test_a_long_complaint_becomes_one_short_line(capsys):
    def check(answer):
        torch.testing.assert_close(answer(torch.zeros(3)), torch.ones(3))

    found = said(capsys, check, lambda x: x)
    assert found.startswith("not yet: Tensor-likes are not close! Mismatched elements")
    assert found.count("\n") == 1 and len(found) < 220


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_complaint_is_cut_only_where_it_is_too_long(capsys, more, cut):
    words = "w" * (200 + more)

    def check(answer):
        raise AssertionError(words)

    shown = said(capsys, check, lambda x: x).removeprefix("not yet: ").rstrip("\n")
    assert shown == (words[:199] + "…" if cut else words)


def test_the_check_sees_the_answer_under_its_own_name(capsys):
    def check(answer):
        assert answer.__name__ == "triple" and answer(1, by=3) == 3

    def triple(x, *, by):
        return by * x

    assert said(capsys, check, triple) == ""


def test_what_is_no_failure_goes_through():
    def stopped(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(check_double, stopped)


def test_a_result_in_place_of_a_function_is_refused():
    with pytest.raises(ValueError, match="the answer is 4: expected a function"):
        attempt(check_double, 4)


def test_an_assertion_that_was_never_raised_has_words_too():
    assert complaint(AssertionError()) == "an assertion does not hold"
