"""Close functions of the package while an exercise asks for them.

The body of the function is exchanged, not its name in a module. So it is closed wherever
somebody holds it: under another name, in a list, in a closure, found by the garbage collector.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any


def close(name: str) -> Callable[[], None]:
    """Make a function or class of the package refuse to be called; return the way back.

    A room may hold it more than once under one name, plain and fast: all of them are closed.

    Args:
        name: such as ``"maml.adapt"``.

    Raises:
        ValueError: if there is no such function.
    """
    room, _, wanted = name.rpartition(".")
    door = f"metalearn_lite.{room}"
    import_module(door)
    inside = [module for path, module in sys.modules.items() if f"{path}.".startswith(f"{door}.")]
    found = [vars(module)[wanted] for module in inside if wanted in vars(module)]
    if not found:
        raise ValueError(f"cannot close {name!r}: expected a function of metalearn_lite.{room}")
    bodies = {id(body): body for one in found for body in _bodies(one)}
    kept = [(body, body.__code__) for body in bodies.values()]
    for body, code in kept:
        body.__code__ = _refusal(name, len(code.co_freevars))

    def put_back() -> None:
        for body, code in kept:
            body.__code__ = code

    return put_back


def _bodies(found: Any) -> Iterator[FunctionType]:
    """Yield the functions behind a name: the wrapped one too, and all methods of a class."""
    if isinstance(found, type):
        for part in vars(found).values():
            yield from _bodies(part)
    elif isinstance(found, classmethod | staticmethod):
        yield from _bodies(found.__func__)
    elif isinstance(found, functools.partial):
        yield from _bodies(found.func)
    elif isinstance(found, FunctionType):
        yield found
        yield from _bodies(getattr(found, "__wrapped__", None))


@functools.cache
def _refusal(name: str, cells: int) -> CodeType:
    """Write a body that refuses, over as many variables of a closure as the old one has."""
    words = f"this exercise asks you to write it yourself: metalearn_lite.{name} is closed here"
    held = [f"cell_{number}" for number in range(cells)]
    lines = [
        f"def outside({', '.join(held)}):",
        "    def refuse(*_, **__):",
        f"        ({''.join(f'{one}, ' for one in held)})",
        f"        raise PermissionError({words!r})",
        "    return refuse",
    ]
    made: dict[str, Any] = {}
    exec("\n".join(lines), made)
    refuse: FunctionType = made["outside"](*held)
    return refuse.__code__
