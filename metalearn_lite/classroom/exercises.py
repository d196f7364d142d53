"""Try an answer to an exercise of a chapter: its check says what is missing.

The solutions call the same check without this, so that a wrong one stops the chapter.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any

_MOST = 200  # characters of a complaint


def attempt(check: Callable[[Any], object], answer: Callable[..., Any]) -> None:
    """Hand an answer to a check; print one line, "not yet: …", if it does not pass.

    If it passes, nothing is added to what the check itself prints. Any ``Exception`` counts
    as a failure, as in pytest.

    Args:
        check: ``check(answer)`` raises if something is wrong.
        answer: the function that the exercise asks for.

    Raises:
        ValueError: if the answer is not a function.
    """
    name = getattr(answer, "__name__", "your function")
    if not callable(answer):
        raise ValueError(
            f"the answer is {answer!r:.60}: expected a function. Hand over the function itself, "
            "by its name and without brackets"
        )
    empty = []

    @functools.wraps(answer)
    def watched(*args: Any, **options: Any) -> Any:
        found = answer(*args, **options)
        empty.append(found is None)
        return found

    try:
        check(watched)
    except Exception as error:
        none = f"{name}() returns None: write its body, and return the result"
        print("not yet:", none if any(empty) else complaint(error))


def complaint(error: Exception) -> str:
    """Say in one line what an exception complains of.

    An assertion without words is shown as the line of code that it stands in.
    """
    words = " ".join(str(error).split())
    if not isinstance(error, AssertionError):
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if not words:
        frames = traceback.extract_tb(error.__traceback__)
        line = frames[-1].line if frames else ""
        words = f"this does not hold: {line}" if line else "an assertion does not hold"
    return words if len(words) <= _MOST else words[: _MOST - 1] + "…"
