"""Submissions that cheat and attack, graded by nbgrader's own commands, beside honest ones."""

import hashlib
import subprocess
import sys

import nbformat
import pytest
from classroom import ROOT, Classroom, solution_cells
from nbformat.v4 import new_code_cell, new_markdown_cell

from metalearn_grading import have_walls

NAME = "tasks_and_evaluation"
CHECK = "draw__labels_are_shuffled"
WRONG = "def draw(images, ways, shots, queries, generator):\n    return None"
ALWAYS = "print('right')"
ATTACK = """
import os, socket, sys
from pathlib import Path

COURSE = Path({course!r})

def reached():
    for name in ("source", "submitted", "gradebook.db", "release", "nbgrader_config.py"):
        yield name, (COURSE / name).exists()
    for path in ({root!r} + "/tests", {root!r} + "/assignments"):
        yield path, os.path.exists(path)
    for what in (lambda: next(COURSE.glob("submitted/ada/*/*.ipynb")).write_text("gone"),
                 lambda: (COURSE / "gradebook.db").write_bytes(b"gone"),
                 lambda: socket.create_connection(("127.0.0.1", 22), 1),
                 lambda: socket.create_connection(("1.1.1.1", 53), 1)):
        try:
            what()
            yield "done", True
        except (OSError, StopIteration):
            pass

print("REACHED", [name for name, there in reached() if there])
print("SEED", os.environ.get("METALEARN_CHECK_SEED"))
"""


def cell_of(notebook, name):
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def edited(notebook):
    """Let every check pass."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
            cell.source = ALWAYS
            cell.metadata.nbgrader.points = 100.0


def deleted(notebook):
    notebook.cells.remove(cell_of(notebook, CHECK))


def copied_check(notebook):
    """Put a copy of a check that passes before the check itself."""
    at = notebook.cells.index(cell_of(notebook, CHECK))
    again = nbformat.from_dict(dict(notebook.cells[at]))
    notebook.cells.insert(at, nbformat.from_dict({**again, "source": ALWAYS, "id": "copied"}))


def copied_answer(notebook):
    """Answer in a copy of the cell, as one does who wants to keep a first attempt."""
    at = notebook.cells.index(cell_of(notebook, "draw"))
    notebook.cells.insert(at + 1, nbformat.from_dict({**notebook.cells[at], "id": "copied"}))
    notebook.cells[at] = nbformat.from_dict({**notebook.cells[at], "source": WRONG})


def own_cells(notebook):
    """Helpers stand in cells of their own, and text is written below."""
    cell = cell_of(notebook, "draw")
    at = notebook.cells.index(cell)
    notebook.cells.insert(at, new_code_cell("def helper(x):\n    return x"))
    cell.source = cell.source.replace("labels = torch", "labels = helper(torch").replace(
        "(ways)\n    return", "(ways))\n    return"
    )
    notebook.cells.append(new_markdown_cell("my argument, in a cell of its own"))


def hides(notebook):
    """Use names of Python's own at the top, as one does who adds something up."""
    notebook.cells.insert(0, new_code_cell("sum, list, max, len = 0, [1, 2], 3, 4"))


class Attacked:
    """A course in which each of several students has handed something in."""

    def __init__(self, folder):
        self.room = Classroom(folder)
        self.room.copy_of(NAME)
        right = solution_cells(self.room.notebook(NAME, "source"))
        attack = ATTACK.format(course=str(folder), root=str(ROOT))
        patch = "from metalearn_lite.classroom import marking\nmarking._complaint = lambda *_: ''\n"
        answers = {
            "ada": right,
            "attacker": right | {"prediction": attack + "\nprediction = 0.5"},
            "patcher": dict.fromkeys(right, patch + WRONG),
            "edited": {},
            "deleted": right,
            "copied check": right | {"draw": WRONG},
            "copied answer": right,
            "own cells": right,
            "hides": right,
            "hangs": right | {"prediction": "import os\nos._exit(0)"},
        }
        changes = {
            "edited": edited,
            "deleted": deleted,
            "copied check": copied_check,
            "copied answer": copied_answer,
            "own cells": own_cells,
            "hides": hides,
        }
        for student, given in answers.items():
            self.room.submit(student, NAME, given)
            if student in changes:
                self.change(student, changes[student])
        self.before = self.hashes()
        self.said = self.room.nbgrader("autograde", NAME)

    def change(self, student, change):
        path = self.path(student)
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        nbformat.write(notebook, path)

    def path(self, student):
        return self.room.folder / "submitted" / student / NAME / f"{NAME}.ipynb"

    def hashes(self):
        files = sorted(p for p in (self.room.folder / "submitted").rglob("*") if p.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def score(self, student):
        return sum(found or 0 for found, _ in self.room.marks(student, NAME).values())

    def lost(self, student):
        marks = self.room.marks(student, NAME).items()
        return {name for name, (found, _) in marks if found == 0}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("grading needs Linux, as the page for teachers says")
    return Attacked(tmp_path_factory.mktemp("attacked"))


HONEST = ["ada", "deleted", "copied answer", "own cells", "hides", "attacker"]


@pytest.mark.parametrize("student", HONEST)
def test_who_has_answered_gets_full_marks_whatever_else_was_done_to_the_notebook(attacked, student):
    assert attacked.score(student) == 16


def test_edited_checks_are_exchanged_for_those_handed_out(attacked):
    assert attacked.score("edited") == 0


def test_a_copied_check_is_no_check(attacked):
    assert all(name.startswith("draw__") for name in attacked.lost("copied check"))
    assert len(attacked.lost("copied check")) == 5


def test_a_patched_marker_marks_nothing(attacked):
    assert attacked.score("patcher") == 0


def test_a_cell_that_ends_the_process_costs_its_exercise(attacked):
    assert attacked.lost("hangs") == {"prediction__is_a_share"}
    said = attacked.room.complaints("hangs", NAME)
    assert "this cell was left out" in said["prediction"]
    assert "prediction is missing" in said["prediction__is_a_share"]


def test_hidden_names_of_python_are_named(attacked):
    cell = cell_of(attacked.room.graded("hides", NAME), CHECK)
    assert "your `len`, `list`, `max`, `sum` hide Python's own" in cell.outputs[0].text
    cell = cell_of(attacked.room.graded("ada", NAME), CHECK)
    assert "hides" not in cell.outputs[0].text


def test_nothing_that_was_handed_in_has_changed(attacked):
    assert attacked.hashes() == attacked.before


def test_an_attacker_reaches_nothing(attacked):
    if not have_walls():
        pytest.skip("this system gives us no walls")
    cell = cell_of(attacked.room.graded("attacker", NAME), "prediction")
    said = "".join(output.get("text", "") for output in cell.outputs)
    assert "REACHED []" in said and "SEED None" in said


def test_what_students_wrote_beside_is_kept(attacked):
    cells = attacked.room.graded("own cells", NAME).cells
    assert [c.source for c in cells][-1] == "my argument, in a cell of its own"
    assert any(c.source.startswith("def helper") for c in cells)


def test_the_teacher_gets_a_list_of_what_to_look_at(attacked):
    tool = [sys.executable, str(ROOT / "tools" / "suspicious_answers.py"), "--course"]
    done = subprocess.run([*tool, attacked.room.folder, NAME], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert f"edited: {CHECK} differs from what was handed out" in lines
    assert f"deleted: {CHECK} is missing" in lines
    assert f"copied check: {CHECK} occurs 2 times" in lines
    assert "hangs: prediction uses import os" in lines
    assert any("patcher: draw uses import metalearn_lite.classroom" in line for line in lines)
    assert any(line.startswith("ada, attacker") and "interval is alike" in line for line in lines)
    assert not any(line.startswith("ada:") for line in lines)
