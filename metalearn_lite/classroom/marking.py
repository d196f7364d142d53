"""Mark an exercise: its check runs apart, ends in time, and says what is missing.

The checks of the assignments are properties, and draw new numbers each time they are run, so
they can be shown: there is no value in them that could be copied into an answer.
"""

from __future__ import annotations

import linecache
import os
import random
import secrets
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

import numpy as np
import torch

from metalearn_lite.classroom.sandbox import run_apart

SEED = "METALEARN_CHECK_SEED"  # set while grading, so that it can be repeated


class NotYet(AssertionError):  # noqa: N818  what a student reads should not begin with "error"
    """An answer does not do what its exercise asks for; shown without the code of the check."""

    def _render_traceback_(self) -> list[str]:
        return [f"NotYet: {self}"]


def mark(
    *, seconds: float = 15.0, closed: Sequence[str] = ()
) -> Callable[[Callable[[], object]], None]:
    """Run a check, written as a function, as soon as it is defined.

    The check runs in a process of its own: what the answer changes, it changes there; a loop
    without end, a crash or an exit costs this check alone. The global random states are set
    from ``fresh_seeds`` before it begins.

    Args:
        seconds: how long the check may compute before it is ended.
        closed: functions of the package that the answer may not call, ``"maml.adapt"``.

    Returns:
        A decorator. The first line of the docstring says what is checked.

    Raises:
        NotYet: if the check fails, for whatever reason.
    """

    def run(check: Callable[[], object]) -> None:
        what = (check.__doc__ or check.__name__).strip().splitlines()[0].rstrip(".")
        try:
            complaint = run_apart(lambda: _complaint(check, closed), seconds=seconds)
        except TimeoutError as error:
            complaint = f"{error}. Look for a loop that never ends"
        except ChildProcessError as error:
            complaint = f"{error}, so nothing can be said about your answer"
        if complaint:
            raise NotYet(f"{what}: {complaint}") from None
        print(f"right: {what}")

    return run


def fresh_seeds(count: int) -> list[int]:
    """Draw seeds for a check: new ones in every process that is not grading.

    Where the environment variable ``METALEARN_CHECK_SEED`` is set, as the configuration of
    the course does for grading, they follow from it, and grading again gives the same marks.
    """
    given = os.environ.get(SEED)
    source = random.Random(given) if given else secrets.SystemRandom()
    return [source.randrange(2**31) for _ in range(count)]


def _complaint(check: Callable[[], object], closed: Sequence[str]) -> str:
    """Return what is wrong, in words, or an empty text."""
    _seed_everything(fresh_seeds(1)[0])
    opened = [_close(name) for name in closed]
    try:
        check()
    except AssertionError as error:
        if _in_the_check(error, check):
            return str(error) or "an assertion of the check does not hold"
        return _describe(error, check)
    except NotImplementedError as error:
        return str(error) or "not written yet: the cell above still says NotImplementedError"
    except (Exception, SystemExit) as error:
        return _describe(error, check)
    finally:
        for put_back in reversed(opened):
            put_back()
    return ""


def _seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


class _Closed:
    """Stands where a closed function or class stood, and refuses to be used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise PermissionError(
            "this exercise asks you to write it yourself: "
            f"metalearn_lite.{self._name} is closed here"
        )

    def __getattr__(self, _: str) -> NoReturn:
        self()


def _close(name: str) -> Callable[[], None]:
    """Put a refusal wherever a function of the package can be reached; return the way back.

    A room may hold it more than once under one name, plain and fast: all of them are closed.
    """
    room, _, function = name.rpartition(".")
    door = f"metalearn_lite.{room}"
    import_module(door)
    modules = list(sys.modules.items())
    inside = [module for path, module in modules if f"{path}.".startswith(f"{door}.")]
    wanted = [vars(module)[function] for module in inside if function in vars(module)]
    if not wanted:
        raise ValueError(f"cannot close {name!r}: expected a function of metalearn_lite.{room}")

    refusal = _Closed(name)
    places = [
        (module, key, value)
        for path, module in modules
        if path == "__main__" or path.split(".")[0] == "metalearn_lite"
        for key, value in list(vars(module).items())
        if any(value is function for function in wanted)
    ]
    for module, key, _ in places:
        setattr(module, key, refusal)

    def put_back() -> None:
        for module, key, value in places:
            setattr(module, key, value)

    return put_back


def _in_the_check(error: BaseException, check: Callable[[], object]) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename == check.__code__.co_filename


def _describe(error: BaseException, check: Callable[[], object]) -> str:
    """Name an exception, and the line of the student's own cells that it passed last."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        cell = "ipykernel" in frame.filename or frame.filename.startswith("<ipython")
        if cell and frame.filename != check.__code__.co_filename:
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{words}\n    in your line: {line}"
    return words
