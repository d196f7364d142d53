"""The room that answers are asked in while grading: a clean interpreter that copies itself.

It runs the cells that are given, and nothing that a student wrote. For each wish of the grader it
makes a copy of itself, which runs cells of the student, answers, and is ended with all that it
has started. It knows neither a solution nor a check, and gives no verdict.

    python -m metalearn_grading.room CONTROL                (the number of an open socket)
"""

import io
import os
import signal
import socket
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from types import ModuleType
from typing import Any

from metalearn_lite.classroom.channel import Broken, receive, send
from metalearn_lite.classroom.closing import close
from metalearn_lite.classroom.marking import describe, put_back, reply_to, seed_everything
from metalearn_lite.classroom.sandbox import CELL, CELLS, be_the_copy, limit

FOREVER = 1e6


class Cells:
    """The cells of a notebook, and the names that they bind.

    Args:
        given: sources that run in this process.
        others: sources that run in copies alone: the student's, and those that show what they do.
    """

    def __init__(self, given: list[str], others: list[str]) -> None:
        self.others, self.given = others, ModuleType("given")
        sys.modules["given"] = self.given
        self.said = [self._run_given(number, source) for number, source in enumerate(given)]
        self.main = sys.modules["__main__"] = ModuleType("__main__")
        vars(self.main).update({k: v for k, v in vars(self.given).items() if k[:2] != "__"})
        self.shell = _shell(self.main)

    def _run_given(self, number: int, source: str) -> str:
        with redirect_stdout(io.StringIO()) as said:
            exec(compile(source, f"<given {number}>", "exec"), vars(self.given))
        return said.getvalue()

    def run(self, number: int) -> list[dict[str, str]]:
        """Run one of the other cells, and return what it printed, drew and raised."""
        from IPython.utils.capture import capture_output

        with capture_output() as said:
            done = self.shell.run_cell(self.others[number], store_history=False)
        error = done.error_before_exec or done.error_in_exec
        shown = [output.data for output in said.outputs or []]
        found = [{"text": said.stdout}]
        found += [{"text": f"{x.get('text/plain')}\n"} for x in shown if not x.get("image/png")]
        found += [{"picture": x["image/png"]} for x in shown if x.get("image/png")]
        return [*found, {"error": describe(error)}] if error else found


def _shell(main: ModuleType) -> Any:
    """Make what runs cells as Jupyter does, without a history and without printing errors."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(user_module=main, user_ns=vars(main), config=config)
    shell.showtraceback = lambda *_, **__: None  # type: ignore[method-assign]
    return shell


def serve(control: socket.socket, cells: Cells) -> None:
    """Do what the grader wishes, until it has gone: make a copy, or end it."""
    copy, status = 0, 0
    while True:
        wish = receive(control, seconds=FOREVER)
        if "end" in wish:
            status = _end(copy, patience=2.0 if wish["end"] else 0.0) if copy else status
            copy = 0
            send(control, {"status": status})
            continue
        send(control, {"channel": "please"})
        channel = socket.recv_fds(control, 1, 1)[1][0]
        copy = os.fork()
        if copy == 0:
            be_the_copy(partial(_serve_one, channel, cells, wish))
        os.close(channel)  # so that it closes when the copy ends


def _serve_one(number: int, cells: Cells, wish: dict[str, Any]) -> None:
    """Do what a copy of the room is for."""
    channel = _alone(number)
    (_show if wish["show"] else _answer)(channel, cells, wish)


def _alone(number: int) -> socket.socket:
    """Close all files and sockets but this one; what is written elsewhere is lost."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, number)
    os.closerange(number + 1, 4096)
    return socket.socket(fileno=number)


def _show(channel: socket.socket, cells: Cells, wish: dict[str, Any]) -> None:
    """Run cells in order, and send what each of them says."""
    for number in wish["cells"]:
        limit(CELL)
        send(channel, {"begins": number})
        send(channel, {"said": cells.run(number)})
    send(channel, {"ends": True})


def _answer(channel: socket.socket, cells: Cells, wish: dict[str, Any]) -> None:
    """Close what is closed, run the cells that the answer needs, reply to questions."""
    limit(CELLS)
    for name in wish["closed"]:
        close(name)
    seed_everything(wish["seed"])
    errors, hidden = list[str](), set[str]()
    for number in wish["cells"]:
        errors += [words["error"] for words in cells.run(number) if "error" in words]
        hidden.update(put_back(vars(cells.main)))
    limit(wish["seconds"])
    seed_everything(wish["seed"])
    send(channel, {"ready": errors[-1:], "hidden": sorted(hidden)})
    while True:
        asked = receive(channel, seconds=FOREVER)
        question = vars(cells.given)[asked["question"]]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            reply = reply_to(question, asked["numbers"], vars(cells.main))
        send(channel, reply)


def _end(copy: int, *, patience: float) -> int:
    """End a copy with all that it has started, and return how it had ended by itself.

    Args:
        copy: the number of its process.
        patience: seconds to wait for a copy that is about to end.
    """
    done, status = os.waitpid(copy, os.WNOHANG)
    until = time.monotonic() + patience
    while not done and time.monotonic() < until:
        time.sleep(0.005)
        done, status = os.waitpid(copy, os.WNOHANG)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(copy, signal.SIGKILL)
    if os.getpid() == 1:  # of a world of its own: whatever has been started, anywhere
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass
    return status


def main(control: int) -> None:
    """Read the cells, run those that are given, and serve."""
    line = socket.socket(fileno=control)
    notebook = receive(line, seconds=60)
    try:
        cells = Cells(notebook["given"], notebook["others"])
    except Exception as error:
        send(line, {"failed": f"a cell that is given fails: {describe(error)}"})
        return
    send(line, {"said": cells.said})
    with suppress(Broken):
        serve(line, cells)


if __name__ == "__main__":
    main(int(sys.argv[1]))
