"""A teacher's whole round in a fresh folder, by the commands that the page `teaching` shows.

Five students whose answers are known hand in, on another seed than the one the graders are
tested with; the first of them all five assignments.
"""

import csv
import importlib
import os
import re
import subprocess
import sys
import zipfile

import nbformat
import pytest
from classroom import ROOT, Classroom, solution_cells
from nbgrader.api import Gradebook

FIRST = "tasks_and_evaluation"
ASSIGNMENTS = sorted(path.name for path in (ROOT / "assignments" / "source").glob("*"))
PAGE = (ROOT / "teaching.md").read_text(encoding="utf-8")
EXAMPLE = "../few-examples-2027"  # the folder of the course, as the page calls it


def commands():
    """Return the commands of the page, by the name of their block."""
    blocks = re.findall(r"```\{code-block\} shell\n:name: (round-\w+)\n\n(.*?)```", PAGE, re.DOTALL)
    return {name.removeprefix("round-"): text for name, text in blocks}


class Teacher:
    """Someone who types the commands of the page, in the environment of the course."""

    def __init__(self, folder):
        self.room = Classroom(folder)
        self.commands = commands()

    def types(self, block, *, where, assignment=FIRST):
        lines = self.commands[block].replace(EXAMPLE, str(self.room.folder))
        lines = lines.replace(FIRST, assignment)
        script = f"set -e\n. {ROOT}/.venv/bin/activate\n{lines}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=where,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def fill(notebook, answers):
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)
    return notebook


def hand_in(room, student, assignment, answers):
    """Send the notebook from the zip that was handed out, filled in, as students send it."""
    with zipfile.ZipFile(room.folder / "handout" / f"{assignment}.zip") as packed:
        given = packed.read(f"{assignment}/{assignment}.ipynb").decode()
    folder = room.folder / "downloaded" / assignment / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    filled = fill(nbformat.reads(given, as_version=4), answers)
    nbformat.write(filled, folder / f"{student}__{assignment}.ipynb")


def submissions(room):
    """Return the answers of the five students to the first assignment."""
    answers = importlib.import_module(f"answers.{FIRST}")
    solution = solution_cells(room.notebook(FIRST, "source"))
    first_wrong = {name: wrong[0] for name, wrong in answers.WRONG.items()}
    return {
        "ada": solution,
        "ben": {},
        "cleo": solution | {name: a.code for name, a in answers.DIFFERENT.items()},
        "dan": solution | {name: a.code for name, a in first_wrong.items()},
        # everything is right, but what stands below it ends the kernel
        "eve": solution | {"compare": solution["compare"] + "\n\n\nimport os\n\nos._exit(1)\n"},
    }, {check for a in first_wrong.values() for check in a.loses}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    teacher = Teacher(tmp_path_factory.mktemp("spring") / "course")
    teacher.types("make", where=ROOT)
    folder = teacher.room.folder
    students, teacher.lost_by_dan = submissions(teacher.room)
    for student, answers in students.items():
        hand_in(teacher.room, student, FIRST, answers)
    for name in set(ASSIGNMENTS) - {FIRST}:
        hand_in(teacher.room, "ada", name, solution_cells(teacher.room.notebook(name, "source")))
    for name in ASSIGNMENTS:
        teacher.types("collect", where=folder, assignment=name)
        teacher.types("grade", where=folder, assignment=name)
    mark_by_hand(teacher.room, "ada", 3)
    teacher.types("return", where=folder)
    teacher.types("export", where=folder)
    return teacher


def mark_by_hand(room, student, points):
    """Do what the teacher does in formgrader: read the argument and write the points down."""
    with Gradebook(f"sqlite:///{room.folder / 'gradebook.db'}") as book:
        grade = book.find_grade("argument", FIRST, FIRST, student)
        grade.manual_score = points
        grade.needs_manual_grade = False
        book.db.commit()


def scores(teacher):
    with (teacher.room.folder / "grades.csv").open(newline="") as file:
        return {
            (row["assignment"], row["student_id"]): float(row["score"])
            for row in csv.DictReader(file)
        }


def test_the_page_has_a_command_for_every_step():
    assert list(commands()) == ["make", "collect", "grade", "return", "export", "again"]


def test_every_student_gets_the_known_marks(teacher):
    marks = teacher.room.marks("ada", FIRST)
    lost = sum(marks[check][1] for check in teacher.lost_by_dan)
    found = scores(teacher)
    assert found[FIRST, "ada"] == 19  # 16 by the checks, 3 by hand
    assert found[FIRST, "ben"] == 0
    assert found[FIRST, "cleo"] == 16
    assert found[FIRST, "dan"] == 16 - lost > 0
    # the cell that ends the kernel is left out, and with it the exercise; no other is harmed
    assert found[FIRST, "eve"] == 16 - sum(marks[c][1] for c in marks if "compare__" in c)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_solution_of_another_seed_gets_full_marks(teacher, assignment):
    assert teacher.room.complaints("ada", assignment) == {}
    assert scores(teacher)[assignment, "ada"] == (19 if assignment == FIRST else 16)
    assert scores(teacher).get((assignment, "ben"), 0) == 0


def test_every_student_gets_a_page_back(teacher):
    for student in ("ada", "ben", "cleo", "dan", "eve"):
        page = teacher.room.folder / "feedback" / student / FIRST / f"{FIRST}.html"
        text = page.read_text(encoding="utf-8")
        assert "HIDDEN TESTS" not in text and "MARK SCHEME" not in text


def test_grading_again_gives_the_same_grades(teacher):
    grades = teacher.room.folder / "grades.csv"
    before = grades.read_bytes()
    marks = {s: teacher.room.marks(s, FIRST) for s in ("ada", "ben", "cleo", "dan", "eve")}
    said = teacher.room.complaints("dan", FIRST)
    teacher.types("again", where=teacher.room.folder)
    assert {s: teacher.room.marks(s, FIRST) for s in marks} == marks
    assert teacher.room.complaints("dan", FIRST) == said
    assert grades.read_bytes() == before


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_numbers_of_the_course_follow_from_the_seed(teacher, assignment):
    """The folders of test_graders are made by the same tool, without the option: with 2026."""
    assert teacher.room.seeds(assignment, "release") == ["SEED = 2027"]


def test_a_course_with_submissions_is_not_made_anew(teacher):
    tool = [sys.executable, str(ROOT / "tools" / "make_assignments.py")]
    done = subprocess.run(
        [*tool, "--course", str(teacher.room.folder)], capture_output=True, text=True
    )
    assert done.returncode != 0 and "holds submissions" in done.stderr
