"""Run a function in a process of its own, so that a loop without end or a crash stays there."""

from __future__ import annotations

import io
import json
import math
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import NoReturn

import torch

MEMORY = 4 * 2**30  # bytes that it may take in addition
CELL = 60.0  # seconds that a cell of a notebook may compute while grading
CELLS = 30.0  # seconds that the cells may compute which an answer to a check needs
LEAST = 10.0  # seconds by the clock, whatever it may compute


def run_apart(function: Callable[[], str], *, seconds: float) -> str:
    """Call ``function()`` in a copy of this process and return the text that it returns.

    What it prints is dropped, and whatever it changes is changed in the copy alone. Where a
    process with threads cannot be copied safely (outside Linux, or with a GPU in sight) it
    runs in this one, without a limit.

    Args:
        function: takes nothing, returns a text. An exception is not caught here.
        seconds: after so long the copy is ended, in seconds of computing, so that a busy
            machine does no harm; or after three times as long by the clock, 10 s at least.

    Raises:
        TimeoutError: if the time is over.
        ChildProcessError: if the copy ended by itself, by ``os._exit`` or a crash.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return function()
    receive, send = os.pipe()
    with warnings.catch_warnings():  # of threads, none of which the copy needs
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer(function, send, seconds)
    os.close(send)
    ended = False
    try:
        message = _listen(receive, max(3 * seconds, LEAST))
        if message is not None:
            return message
        _, status = os.waitpid(child, 0)
        ended = True
    finally:
        os.close(receive)
        if not ended:
            _end(child)
    raise how_it_ended(status, seconds=seconds)


def _answer(function: Callable[[], str], send: int, seconds: float) -> NoReturn:
    """Be the copy: call the function, send its text, end without any cleaning up."""
    status = 1
    try:
        os.setsid()
        limit(seconds)
        torch.set_num_threads(1)  # the threads of the original do not exist here
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            message = json.dumps(function()).encode() + b"\n"
        while message:
            message = message[os.write(send, message) :]
        status = 0
    finally:
        os._exit(status)


def _listen(receive: int, seconds: float) -> str | None:
    """Return what the copy sends, or None if it ends before it has sent all."""
    end, message = time.monotonic() + seconds, b""
    while not message.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or not select.select([receive], [], [], left)[0]:
            raise TimeoutError(f"it did not end within {seconds:g} s by the clock")
        part = os.read(receive, 65536)
        if not part:
            return None
        message += part
    return str(json.loads(message))


def _end(child: int) -> None:
    """End the copy with all that it started."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def how_it_ended(status: int, *, seconds: float) -> Exception:
    """Say what the status of a process means that was to end by itself."""
    if not os.WIFSIGNALED(status):
        return ChildProcessError(f"it ended the process (exit status {os.WEXITSTATUS(status)})")
    if os.WTERMSIG(status) == signal.SIGXCPU:
        return TimeoutError(f"it did not end within {seconds:g} s")
    return ChildProcessError(f"it crashed ({signal.Signals(os.WTERMSIG(status)).name})")


def limit(seconds: float) -> None:
    """Limit the time and the memory that this process may take from now on."""
    import resource  # not on Windows

    whole = math.ceil(seconds + time.process_time())
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, (used + MEMORY, used + MEMORY)),
        (resource.RLIMIT_CPU, (whole, whole + 1)),
    ):
        with suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, most)
