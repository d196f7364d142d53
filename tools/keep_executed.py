"""Keep what nbval runs, so that the build of the book need not run it again.

nbval's own record is made to be compared: it knows no cleared or updated display, no state
of widgets and no count of cells. So nbclient, which executes the chapters of a build, is
handed every message of the kernel as well, and makes of them the outputs that it would have
stored itself.

A chapter all of whose cells passed is written into a folder, where execute_chapters.py
finds it. Workers that run side by side then share no database.
"""

import copy
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbval.plugin import IPyNbFile


class Recorder:
    """Listens while nbval runs a chapter, from its first cell on, and keeps it after the last."""

    def __init__(self, chapter: IPyNbFile, folder: Path) -> None:
        self.path = folder / chapter.path.name
        self.notebook = copy.deepcopy(chapter.nb)
        self.cells = [i for i, cell in enumerate(chapter.nb.cells) if cell.cell_type == "code"]
        self.passed: list[int] = []
        self.start = time.monotonic()
        self.client = NotebookClient(self.notebook, chapter.kernel.km, record_timing=False)
        self.client.kc = chapter.kernel.kc
        info = chapter.kernel.kc.kernel_info(reply=True, timeout=60)
        self.notebook.metadata["language_info"] = info["content"]["language_info"]
        self.receive, chapter.get_kernel_message = chapter.get_kernel_message, self.listen

    def begin(self, number: int) -> None:
        """Turn to a code cell, which the kernel has not been asked to run yet."""
        self.index, self.request = self.cells[number], None
        self.notebook.cells[self.index].outputs = []
        self.client.clear_before_next_output = False

    def listen(self, **options: Any) -> dict[str, Any]:
        """Receive a message for nbval; nbclient gets those that belong to the cell."""
        message: dict[str, Any] = self.receive(**options)
        request = message["parent_header"].get("msg_id")
        if message["msg_type"] == "execute_input":  # the kernel begins with the cell
            self.request = request
        if request is not None and request == self.request:
            with suppress(CellExecutionComplete):
                self.client.process_message(message, self.notebook.cells[self.index], self.index)
        return message

    def end(self, number: int) -> None:
        """Note that a cell passed; keep the chapter if that was the last of all, in order."""
        cell = self.notebook.cells[self.index]
        for counted in (cell, *cell.outputs):
            if "execution_count" in counted:  # 1 in each: nbval leaves the history alone
                counted.execution_count = number + 1
        self.passed.append(number)
        if self.passed == list(range(len(self.cells))):
            self.client.set_widgets_metadata()
            self.notebook.metadata["seconds"] = time.monotonic() - self.start
            self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")  # a run that is broken off leaves no half
        nbformat.write(self.notebook, unfinished)
        unfinished.replace(self.path)
