"""Run a function in a process of its own, so that a loop without end or a crash stays there."""

import io
import math
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import NoReturn

import torch

from metalearn_lite.classroom.channel import Broken, receive, send

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
    channel, theirs = socket.socketpair()
    with warnings.catch_warnings():  # of threads, none of which the copy needs
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        be_the_copy(lambda: _answer(function, theirs, seconds))
    theirs.close()
    message: str | None = None
    try:
        with suppress(Broken):  # which says that it has ended
            message = receive(channel, seconds=max(3 * seconds, LEAST))
    finally:
        channel.close()
        status = _end(child)
    if message is None:
        raise how_it_ended(status, seconds=seconds)
    return message


def be_the_copy(task: Callable[[], None]) -> NoReturn:
    """Do a task in a process that was copied for it, and end without any cleaning up."""
    status = 1
    try:
        os.setsid()
        torch.set_num_threads(1)  # the threads of the original do not exist here
        with suppress(Broken):  # nobody asks any more
            task()
        status = 0
    finally:
        os._exit(status)


def _answer(function: Callable[[], str], channel: socket.socket, seconds: float) -> None:
    """Call the function and send its text."""
    limit(seconds)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        message = function()
    send(channel, message)


def _end(child: int) -> int:
    """End the copy with all that it started; return its status, also if it had ended before."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


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
    memory = (used + MEMORY, used + MEMORY)
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, (whole, whole + 1))):
        with suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, most)
