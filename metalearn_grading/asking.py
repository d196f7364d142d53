"""The grader's side: open a room for one submission, ask answers there, look what cells show."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType
from typing import Any

from metalearn_grading.walls import PLACE, behind_walls, environment, have_walls
from metalearn_lite.classroom.channel import Broken, receive, send
from metalearn_lite.classroom.marking import Ask, heard
from metalearn_lite.classroom.sandbox import CELL, CELLS, LEAST, how_it_ended
from metalearn_lite.datasets.cache import folder

LOSSES = 3  # cells that may end or hang before no further one is shown
START = 120.0  # seconds by the clock for the cells that are given
SHOWN = 300.0  # and for all cells that are shown
OWN = frozenset(vars(builtins))


class Room:
    """A room with the cells of one submission; a context manager.

    Args:
        given: sources of the cells that are given, run in the room itself.
        others: sources of the cells that run in copies of it alone.
    """

    def __init__(self, given: list[str], others: list[str]) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="room-")
        self.control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "metalearn_grading.room", str(theirs.fileno())]
        root, cache = Path(self.place.name), folder()
        self.process = subprocess.Popen(
            behind_walls(command, root=root, shown=[cache]),
            env=environment(METALEARN_CACHE=str(cache), HOME=PLACE if have_walls() else str(root)),
            cwd=root,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self.cells, self.lost, self.hidden = list[int](), list[str](), list[str]()
        send(self.control, {"given": given, "others": others})
        try:
            begun = receive(self.control, seconds=START)
            if "failed" in begun:
                raise RuntimeError(begun["failed"])
        except BaseException:
            self.__exit__()
            raise
        self.said: list[str] = begun["said"]

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()  # which ends the room
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            self.place.cleanup()

    @contextmanager
    def copy(self, **wish: Any) -> Iterator[socket.socket]:
        """Make a copy of the room, and end it afterwards; yield the channel to it."""
        channel, theirs = socket.socketpair()
        send(self.control, wish)
        receive(self.control, seconds=10)
        socket.send_fds(self.control, [b"!"], [theirs.fileno()])
        theirs.close()
        try:
            yield channel
        finally:
            channel.close()
            self.status(ended=False)

    def status(self, *, ended: bool) -> int:
        """End the copy, or wait for one that has ended; return what the system says of it."""
        send(self.control, {"end": ended})
        return int(receive(self.control, seconds=10)["status"])

    def needs(self, cells: Sequence[int], lost: dict[int, str]) -> None:
        """Set which cells a copy runs before it is asked, but for those that were lost."""
        self.cells = [number for number in cells if number not in lost]
        self.lost = [lost[number] for number in cells if number in lost]

    @contextmanager
    def opened(self, *, closed: Sequence[str], seconds: float, seed: int) -> Iterator[Ask]:
        """Make ready to ask what the cells ``self.cells`` define, in a copy of the room."""
        wish = {"closed": [*closed], "seconds": seconds, "seed": seed, "cells": self.cells}
        self.hidden = []
        with self.copy(show=False, **wish) as channel:
            begun = self._said(channel, limit=CELLS, clock=2 * CELLS)
            failed, hidden = begun.get("ready"), begun.get("hidden")
            if isinstance(hidden, list):  # which a stranger may have written
                self.hidden = [name for name in hidden if isinstance(name, str) and name in OWN]

            def ask(question: FunctionType, **numbers: Any) -> Any:
                send(channel, {"question": question.__name__, "numbers": numbers})
                reply = self._said(channel, limit=seconds, clock=max(3 * seconds, LEAST))
                return heard(_explained(reply, self.lost or failed))

            yield ask

    def _said(self, channel: socket.socket, *, limit: float, clock: float) -> dict[str, Any]:
        """Return what the copy says next, or raise how it has ended."""
        try:
            found = receive(channel, seconds=clock)
        except Broken as error:
            if str(error) != "it has ended":
                raise
            raise how_it_ended(self.status(ended=True), seconds=limit) from None
        return found if isinstance(found, dict) else {}

    def show(self, cells: list[int]) -> tuple[dict[int, Any], dict[int, str]]:
        """Run cells in order, and say what each printed, and which ended the process and how.

        A cell that ends it, or does not end, is left out, and the others are run again.
        """
        lost: dict[int, str] = {}
        while True:
            said, last = self._shown([number for number in cells if number not in lost], lost)
            if last is None or len(lost) == LOSSES:
                return said, lost

    def _shown(self, cells: list[int], lost: dict[int, str]) -> tuple[dict[int, Any], int | None]:
        """Run cells until one is lost; return what was said, and which one, or None."""
        said: dict[int, Any] = {}
        at, until = cells[0] if cells else 0, time.monotonic() + SHOWN
        try:
            with self.copy(show=True, cells=cells) as channel:
                while "ends" not in (words := self._said(channel, limit=CELL, clock=CELL + 10)):
                    at = words["begins"] if words.get("begins") in cells else at
                    if "said" in words:
                        said[at] = words["said"]
                    if time.monotonic() > until:
                        raise TimeoutError(f"the cells did not end within {SHOWN:g} s")
        except (ChildProcessError, TimeoutError, Broken) as error:
            lost[at] = f"{error}; this cell was left out"
            return said, at
        return said, None


def _explained(reply: Any, failed: Any) -> Any:
    """Say why a name is missing, if the cell that should define it has failed."""
    if isinstance(reply, dict) and " is missing: " in str(reply.get("raised")) and failed:
        return {"raised": f"{str(reply['raised']).split(':')[0]}, for its cell fails: {failed[0]}"}
    return reply
