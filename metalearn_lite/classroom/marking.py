"""Mark an exercise: its check asks the answer, judges what comes back, and says what is missing.

The checks of the assignments are properties, and draw new numbers each time they are run, so
they can be shown: there is no value in them that could be copied into an answer.
"""

import builtins
import inspect
import linecache
import os
import random
import secrets
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FunctionType
from typing import Any, Protocol

import numpy as np
import torch

from metalearn_lite.classroom.channel import Broken, read, write
from metalearn_lite.classroom.closing import close
from metalearn_lite.classroom.sandbox import run_apart

SEED = "METALEARN_CHECK_SEED"  # set while grading, so that it can be repeated

Ask = Callable[..., Any]


class NotYet(AssertionError):  # noqa: N818  what a student reads should not begin with "error"
    """An answer does not do what its exercise asks for; shown without the code of the check."""

    def _render_traceback_(self) -> list[str]:
        return [f"NotYet: {self}"]


class Raised(Exception):  # noqa: N818  of an answer, in its words
    """What an answer raised when it was asked, or what was wrong with what it gave."""


class Place(Protocol):
    """Where answers are asked: in the notebook itself or, while grading, in a room."""

    @property
    def hidden(self) -> Sequence[str]:
        """Functions of Python's own that something there has hidden, once it was opened."""
        ...

    def opened(
        self, *, closed: Sequence[str], seconds: float, seed: int
    ) -> AbstractContextManager[Ask]:
        """Make ready to ask: ``ask(question, **numbers)`` returns numbers."""
        ...


def mark(
    *, seconds: float = 15.0, closed: Sequence[str] = ()
) -> Callable[[Callable[[Ask], object]], None]:
    """Run a check, written as a function, as soon as it is defined.

    The check runs in a process of its own: what the answer changes, it changes there; a loop
    without end, a crash or an exit costs this check alone. The global random states are set
    from ``fresh_seeds`` before it begins.

    Args:
        seconds: how long the check may compute before it is ended, and the answer, too.
        closed: functions of the package that the answer may not call, ``"maml.adapt"``.

    Returns:
        A decorator for ``check(ask)``. The first line of its docstring says what is checked.

    Raises:
        NotYet: if the check fails, for whatever reason.
    """

    def run(check: Callable[[Ask], object]) -> None:
        what = (check.__doc__ or check.__name__).strip().splitlines()[0].rstrip(".")
        seed = fresh_seeds(1)[0]
        try:
            with _place.opened(closed=closed, seconds=seconds, seed=seed) as ask:
                complaint = run_apart(lambda: _complaint(check, ask, seed), seconds=seconds)
        except TimeoutError as error:
            complaint = f"{error}. Look for a loop that never ends"
        except (ChildProcessError, Broken) as error:
            complaint = f"{error}, so nothing can be said about your answer"
        note = _about(_place.hidden)
        if complaint:
            raise NotYet(f"{what}: {complaint}{note}") from None
        print(f"right: {what}{note}")

    return run


def fresh_seeds(count: int) -> list[int]:
    """Draw seeds for a check: new ones in every process that is not grading.

    Where the environment variable ``METALEARN_CHECK_SEED`` is set, as the configuration of
    the course does for grading, they follow from it, and grading again gives the same marks.
    """
    given = os.environ.get(SEED)
    source = random.Random(given) if given else secrets.SystemRandom()
    return [source.randrange(2**31) for _ in range(count)]


def seed_everything(seed: int) -> None:
    """Set the global random states."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _complaint(check: Callable[[Ask], object], ask: Ask, seed: int) -> str:
    """Return what is wrong, in words, or an empty text."""
    seed_everything(seed)
    try:
        check(ask)
    except AssertionError as error:
        return str(error) or "an assertion of the check does not hold"
    except (Raised, TimeoutError, Broken, ChildProcessError) as error:
        ending = ". Look for a loop that never ends" if isinstance(error, TimeoutError) else ""
        return f"{error}{ending}"
    except (Exception, SystemExit) as error:
        return describe(error)
    return ""


def put_back(names: dict[str, Any]) -> dict[str, Any]:
    """Take away what hides a function of Python's own and is none, and return it.

    After ``sum = 0`` or ``list = [1, 2]`` at the top of a notebook, ``sum(x)`` and ``list(x)``
    would fail in every answer below, and in the questions, too.
    """
    own = {name for name, value in vars(builtins).items() if name[0] != "_" and callable(value)}
    hiding = {name: names[name] for name in own & names.keys() if not callable(names[name])}
    for name in hiding:
        del names[name]
    return hiding


def _about(hidden: Sequence[str]) -> str:
    """Name what hides functions of Python's own."""
    if not hidden:
        return ""
    which = ", ".join(f"`{name}`" for name in hidden)
    hides, name = ("hides", "another name") if len(hidden) == 1 else ("hide", "other names")
    return f" (your {which} {hides} Python's own, put back for this check: choose {name})"


class Notebook:
    """The place where answers are asked in a student's notebook: the names of its ``__main__``."""

    def __init__(self) -> None:
        self.hidden: list[str] = []

    @contextmanager
    def opened(self, *, closed: Sequence[str], seconds: float, seed: int) -> Iterator[Ask]:
        """Make ready to ask in this process, or in the copy of it that a check runs in."""
        names = vars(sys.modules["__main__"])

        def ask(question: FunctionType, **numbers: Any) -> Any:
            with ExitStack() as opened:
                for name in closed:
                    opened.callback(close(name))
                reply = reply_to(question, read(write(numbers)), names)
            return heard(read(write(reply)))

        hiding = put_back(names)
        self.hidden = sorted(hiding)
        try:
            yield ask
        finally:
            names.update(hiding)


_place: Place = Notebook()


@contextmanager
def asking(place: Place) -> Iterator[None]:
    """Let checks ask their answers at another place, while grading."""
    global _place
    before, _place = _place, place
    try:
        yield
    finally:
        _place = before


def reply_to(
    question: FunctionType, numbers: dict[str, Any], names: dict[str, Any]
) -> dict[str, Any]:
    """Ask an answer where it lives, and return ``{"gave": numbers}`` or ``{"raised": words}``.

    Args:
        question: its positional parameters are names of the student's, the others numbers.
        numbers: for the keyword-only parameters.
        names: what the student's cells have bound.
    """
    wanted = [
        p.name for p in inspect.signature(question).parameters.values() if p.kind != p.KEYWORD_ONLY
    ]
    missing = [name for name in wanted if name not in names]
    if missing:
        why = "no cell above has defined it, or its cell has failed"
        return {"raised": f"{missing[0]} is missing: {why}"}
    try:
        gave = question(*(names[name] for name in wanted), **numbers)
    except NotImplementedError as error:
        unwritten = "not written yet: the cell above still says NotImplementedError"
        return {"raised": str(error) or unwritten}
    except (Exception, SystemExit) as error:
        return {"raised": describe(error, besides=question.__code__.co_filename)}
    try:
        write(gave)
    except (TypeError, RecursionError, RuntimeError, ValueError) as error:
        return {"raised": f"the answer holds {error}: expected numbers and tensors"}
    return {"gave": gave}


def heard(reply: Any) -> Any:
    """Return the numbers in a reply, which a stranger may have written.

    Raises:
        Raised: if there are none.
    """
    if not isinstance(reply, dict) or not reply.keys() & {"gave", "raised"}:
        raise Raised("the answer gave no numbers")
    if "raised" in reply:
        raise Raised(str(reply["raised"])[:2000])
    return reply["gave"]


def describe(error: BaseException, *, besides: str = "") -> str:
    """Name an exception, and the line of the student's own cells that it passed last.

    Args:
        error: what was raised.
        besides: the file of a cell that is not the student's.
    """
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        cell = "ipykernel" in frame.filename or frame.filename.startswith("<ipython")
        if cell and frame.filename != besides:
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{words}\n    in your line: {line}"
    return words
