"""A classroom for tests: a course's folder, submissions, and nbgrader's own commands."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """An answer to one exercise, and what it must get.

    Attributes:
        about: what is wrong with it (or different about it), in words.
        code: what stands in the cell of the solution.
        loses: the checks (ids of cells) that it fails; all others of the notebook pass.
        says: regular expression for what each of these checks must say; it must help.
    """

    about: str
    code: str
    loses: tuple[str, ...] = ()
    says: str = ""


def filled(template, **right):
    """Return a function that writes an answer: the right pieces, but for those it is given."""

    def answer(**changes):
        assert changes.keys() <= right.keys(), f"no such pieces: {changes.keys() - right.keys()}"
        return template.format(**(right | changes))

    return answer


def changed(code, *changes):
    """Return an answer in which pieces, each of which stands there once, are replaced."""
    for old, new in changes:
        assert code.count(old) == 1, f"{old!r} stands {code.count(old)} times in\n{code}"
        code = code.replace(old, new)
    return code


class Classroom:
    """The folder of a course, and the commands that a teacher types there."""

    def __init__(self, folder):
        self.folder = folder

    def make(self, *, seed=2026, only=None):
        """Make the course as `make assignments` does, or one of its assignments alone."""
        options = ["--course", str(self.folder), "--seed", str(seed)]
        if only:
            options += ["--only", only]
        tool = str(ROOT / "tools" / "make_assignments.py")
        done = subprocess.run([sys.executable, tool, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def copy_of(self, assignment):
        """Have what `make` makes of one assignment, made once for all tests of a worker."""
        shutil.copytree(course_with(assignment), self.folder, dirs_exist_ok=True)

    def nbgrader(self, *arguments):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def try_alone(self, assignment, trials):
        """Try answers without nbgrader, as `trials.py` says: cell, source and seconds of each."""
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("trials.py")), self.folder, assignment],
            input=json.dumps(trials),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def notebook(self, assignment, where="release"):
        path = self.folder / where / assignment / f"{assignment}.ipynb"
        return nbformat.read(path, as_version=4)

    def seeds(self, assignment, where):
        """Return the lines of a notebook that set the seed."""
        code = [c.source for c in self.notebook(assignment, where).cells if c.cell_type == "code"]
        return [line for line in "\n".join(code).splitlines() if line.startswith("SEED = ")]

    def submit(self, student, assignment, answers=None):
        """Hand in the student version, with these sources in the cells of these ids."""
        notebook = self.notebook(assignment)
        todo = dict(answers or {})
        for cell in notebook.cells:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
            if grade_id in todo:
                cell.source = todo.pop(grade_id)
        assert not todo, f"no such cells: {sorted(todo)}"
        folder = self.folder / "submitted" / student / assignment
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / f"{assignment}.ipynb")

    def graded(self, student, assignment):
        return self.notebook(assignment, f"autograded/{student}")

    def marks(self, student, assignment):
        """Return what each graded cell got: id to (automatic score, points)."""
        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as book:
            found = book.find_submission_notebook(assignment, assignment, student)
            return {g.name: (g.auto_score, g.max_score) for g in found.grades}

    def complaints(self, student, assignment):
        """Return what the failed cells said: id to text."""
        said = {}
        for cell in self.graded(student, assignment).cells:
            errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
            if errors and grade_id:
                said[grade_id] = "\n".join("\n".join(e.traceback) for e in errors)
        return said


@cache
def course_with(assignment):
    """Make a course of one assignment, and return its folder."""
    folder = Path(tempfile.mkdtemp(prefix="course-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Classroom(folder).make(only=assignment)
    return folder


def solution_cells(notebook):
    """Return the sources of the cells that a student writes, by id."""
    return {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
