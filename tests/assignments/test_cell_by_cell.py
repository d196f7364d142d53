"""A cell that hangs or ends the kernel costs itself and no other."""

import inspect
import re
import sys

import nbformat
import pytest
from classroom import ROOT

from metalearn_lite.classroom import mark

sys.path.insert(0, str(ROOT / "assignments"))
import cell_by_cell
from cell_by_cell import CellByCell

STUBBORN = """
import time
while True:
    try:
        time.sleep(0.1)
    except KeyboardInterrupt:
        pass
"""
LATER = "y = x + 1\nprint('later', y)"


def run(*sources, timeout=3):
    """Execute these cells and return the outputs of each as one text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    CellByCell(timeout=timeout).preprocess(notebook, {"metadata": {"path": str(ROOT)}})
    return [
        "".join(out.get("text", "") or "".join(out.get("traceback", [])) for out in cell.outputs)
        for cell in notebook.cells
    ]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(cell_by_cell, "PATIENCE", 3)


def test_cells_run_in_order_and_errors_stay_in_their_cells():
    said = run("x = 1", "1 / 0", LATER)
    assert "ZeroDivisionError" in said[1] and said[2] == "later 2\n"


def test_a_loop_without_end_is_interrupted():
    said = run("x = 1", "while True:\n    pass", LATER)
    assert "CellTimeoutError" in said[1] and said[2] == "later 2\n"


def test_a_loop_that_takes_no_interrupt_is_left_out():
    said = run("x = 1", STUBBORN, LATER)
    assert "took no interrupt" in said[1] and said[2] == "later 2\n"


@pytest.mark.parametrize("end", ["import os\nos._exit(0)", "import os\nos.abort()", "exit()"])
def test_a_cell_that_ends_the_kernel_is_left_out(end):
    said = run("x = 1", end, LATER)
    assert said[2] == "later 2\n"


def test_several_such_cells_are_each_left_out():
    said = run("import os", "os._exit(0)", "x = 1", "os._exit(1)", LATER)
    assert "ended the kernel" in said[1] and "ended the kernel" in said[3]
    assert said[4] == "later 2\n"


def test_a_check_without_end_is_ended_before_its_cell():
    """So that it says what it waited for: by the clock it has three times its seconds."""
    config = (ROOT / "assignments" / "nbgrader_config.py").read_text(encoding="utf-8")
    for_a_cell = re.findall(r"^c\.(?:CellByCell|Execute)\.timeout = (\d+)$", config, re.MULTILINE)
    for_a_check = inspect.signature(mark).parameters["seconds"].default
    assert len(for_a_cell) == 2 and 3 * for_a_check < min(map(int, for_a_cell))
