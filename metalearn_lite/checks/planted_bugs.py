"""Test a test: plant bugs, and see whether it notices.

A test that has never failed is not yet a test. Software engineers call it mutation testing
(DeMillo, Lipton and Sayward, 1978, "Hints on test data selection").
"""

from collections.abc import Callable, Mapping
from typing import Any


def objection(test: Callable[[Any], object], suspect: Any) -> str:
    """Return what a test says of a suspect when it fails, and "" when it passes.

    Any ``Exception`` counts as a failure, as in pytest.

    Args:
        test: ``test(suspect)`` raises if something is wrong.
        suspect: what is tested, for example an objective.
    """
    try:
        test(suspect)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def check_test(
    test: Callable[[Any], object], *, right: Any, planted: Mapping[str, Any]
) -> dict[str, str]:
    """Check that a test passes on what is right and fails on each planted bug.

    Args:
        test: ``test(suspect)`` raises if something is wrong.
        right: a suspect without a bug.
        planted: suspects with one bug each, by name; at least one.

    Returns:
        What the test said of each bug.

    Raises:
        ValueError: if it fails on what is right, or passes on a bug.
    """
    if not planted:
        raise ValueError("no bug is planted: expected at least one, or nothing is tested")
    if complaint := objection(test, right):
        raise ValueError(f"the test fails on what is right: expected it to pass. {complaint}")
    said = {name: objection(test, suspect) for name, suspect in planted.items()}
    missed = [name for name, words in said.items() if not words]
    if missed:
        raise ValueError(
            f"the test passes on {', '.join(missed)}: expected it to fail on a planted bug. Look "
            "for an except that swallows the assertion, an assertion that is never reached, or a "
            "case too small to tell right from wrong"
        )
    return said
