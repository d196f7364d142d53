"""The test of tests: it must itself fail on a test that cannot fail."""

import pytest

from metalearn_lite.checks import check_test, objection


def positive(x):
    assert x > 0, f"got {x}: expected a positive number"


def swallowing(x):
    try:
        positive(x)
    except:  # noqa: E722 - the bug
        print("failed")


def test_a_test_that_notices_all_passes_and_its_words_are_kept():
    said = check_test(positive, right=1, planted={"zero": 0, "minus": -1})
    assert list(said) == ["zero", "minus"] and "got 0" in said["zero"]
    assert "got -1" in said["minus"]


def test_a_test_that_swallows_its_assertion_raises():
    with pytest.raises(ValueError, match="the test passes on zero, minus: expected it to fail"):
        check_test(swallowing, right=1, planted={"zero": 0, "minus": -1})


def test_one_missed_bug_is_enough():
    with pytest.raises(ValueError, match="the test passes on half"):
        check_test(positive, right=1, planted={"zero": 0, "half": 0.5})


def test_a_test_that_fails_on_what_is_right_raises():
    with pytest.raises(ValueError, match=r"fails on what is right: expected it to pass\. got 0"):
        check_test(positive, right=0, planted={"minus": -1})


def test_without_a_bug_nothing_is_tested():
    with pytest.raises(ValueError, match="no bug is planted"):
        check_test(positive, right=1, planted={})


def test_an_error_without_words_is_known_by_its_name():
    def test(x):
        raise KeyError

    assert objection(test, 0) == "KeyError"
    assert objection(positive, 1) == ""


def test_an_interrupt_is_not_a_failure():
    def test(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        objection(test, 0)
