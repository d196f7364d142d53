"""Grades in the forms that Moodle and Canvas document for their imports."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import export_grades
import pytest
from nbgrader.api import Gradebook

TOOL = Path(export_grades.__file__)
# nbgrader's own use of its database
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted.*:Warning")
ROSTER = """Student,ID,SIS User ID,SIS Login ID,Section,maml (4711),Final Score
    Points Possible,,,,,20,(read only)
"Lovelace, Ada",101,S1,ada,Monday,,0
"Clarkson, Cleo",103,S3,cleo,Tuesday,,0
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Ada has all points, one by hand waits; ben has some in one assignment; cleo is late."""
    # nbgrader calls alembic by its name, which a clone does not have on its path
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        for name in ("maml", "transfer", "unused"):
            book.add_assignment(name)
            book.add_notebook(name, name)
            book.add_grade_cell("check", name, name, max_score=16, cell_type="code")
        book.add_grade_cell("argument", "maml", "maml", max_score=4, cell_type="markdown")
        for student, points in (("ada", 16), ("ben", 2.5), ("cleo", 10)):
            book.add_student(student)
            book.add_submission("maml", student)
            book.find_grade("check", "maml", "maml", student).auto_score = points
        late = book.find_submission_notebook("maml", "maml", "cleo")
        late.late_submission_penalty = 3
        book.add_submission("transfer", "cleo")  # on which autograde has failed
        book.add_submission("transfer", "ada")
        book.find_grade("check", "transfer", "transfer", "ada").auto_score = 0
        for name in ("maml", "transfer"):
            for submission in book.assignment_submissions(name):
                for grade in submission.notebooks[0].grades:
                    grade.needs_manual_grade = False
        book.find_grade("argument", "maml", "maml", "ada").needs_manual_grade = True
        book.db.commit()
    return tmp_path


def run(course, *options):
    command = [sys.executable, TOOL, *options, "--course", course]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_moodle_gets_a_column_of_students_and_one_an_assignment(course):
    status, said = run(course, "moodle", course / "grades.csv", "--by", "idnumber")
    assert status == 0, said
    assert table(course / "grades.csv") == [
        ["idnumber", "maml", "transfer"],
        ["ada", "16", "0"],
        ["ben", "2.5", ""],  # nothing handed in is no zero
        ["cleo", "7", ""],  # three points off for being late
    ]
    assert "ada: points by hand are missing in maml" in said and "ben: points" not in said
    assert "cleo: transfer was not graded, and is left empty" in said


def test_canvas_gets_its_five_columns_and_a_row_of_possible_points(course):
    grades = export_grades.read(course)
    rows = export_grades.for_canvas(grades, [])
    assert rows[0] == [*export_grades.CANVAS, "maml", "transfer"]
    assert rows[1] == ["Points Possible", "", "", "", "", "20", "16"]
    assert rows[2] == ["ada", "", "", "ada", "", "16", "0"]


def test_with_a_roster_canvas_finds_its_students_and_its_assignments(course):
    (course / "export.csv").write_text(ROSTER)
    options = ["canvas", course / "grades.csv", "--roster", course / "export.csv"]
    status, said = run(course, *options)
    assert status == 1 and "got grades of ben, who are no SIS Login ID" in said
    (course / "export.csv").write_text(ROSTER + '"Franklin, Ben",102,S2,ben,Monday,,0\n')
    assert run(course, *options, "--only", "maml")[0] == 0
    rows = table(course / "grades.csv")
    assert rows[0] == [*export_grades.CANVAS, "maml (4711)"]
    assert rows[2:] == [
        ["Lovelace, Ada", "101", "S1", "ada", "Monday", "16"],
        ["Franklin, Ben", "102", "S2", "ben", "Monday", "2.5"],
        ["Clarkson, Cleo", "103", "S3", "cleo", "Tuesday", "7"],
    ]


def test_what_cannot_be_meant_is_refused_in_words(course, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for where, options, words in (
        (empty, (), "gradebook.db: expected a course"),
        (course, ("--only", "mamba"), "got mamba, expected some of maml"),
        (course, ("--roster", TOOL), "has no column Student"),
    ):
        status, said = run(where, "canvas", empty / "grades.csv", *options)
        assert status == 1 and words in said and "Traceback" not in said
