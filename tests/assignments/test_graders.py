"""The graders, tested through nbgrader's own commands: each answer gets what it deserves.

For each assignment one folder is made and these submissions are graded in it: the solution,
the untouched student version, right answers written differently, and wrong answers of the
kind that students give, the k-th of every exercise together in the k-th submission.
"""

import importlib
import re
from itertools import zip_longest

import pytest
from classroom import ROOT, Classroom, solution_cells

ASSIGNMENTS = sorted(path.name for path in (ROOT / "assignments" / "source").glob("*"))


class Graded:
    """An assignment with its graded submissions."""

    def __init__(self, name, folder):
        self.name = name
        self.answers = importlib.import_module(f"answers.{name}")
        self.room = Classroom(folder)
        self.room.make(only=name)
        self.source = self.room.notebook(name, "source")
        self.solution = solution_cells(self.source)
        self.checks = [
            cell.metadata.nbgrader.grade_id
            for cell in self.source.cells
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
        ]
        self.submit_all()
        self.room.nbgrader("autograde", name)
        for student in ("untouched", "wrong0"):
            self.room.nbgrader("generate_feedback", name, "--student", student)

    def submit_all(self):
        different = {key: answer.code for key, answer in self.answers.DIFFERENT.items()}
        self.room.submit("solution", self.name, self.solution)
        self.room.submit("untouched", self.name)
        self.room.submit("different", self.name, self.solution | different)
        self.wrong = list(self.wrong_submissions())
        for number, wrong in enumerate(self.wrong):
            codes = {key: answer.code for key, answer in wrong.items()}
            self.room.submit(f"wrong{number}", self.name, self.solution | codes)

    def wrong_submissions(self):
        for row in zip_longest(*self.answers.WRONG.values()):
            named = zip(self.answers.WRONG, row, strict=True)
            yield {key: answer for key, answer in named if answer is not None}

    def marks(self, student):
        return self.room.marks(student, self.name)


@pytest.fixture(scope="module", params=ASSIGNMENTS)
def graded(request, tmp_path_factory):
    return Graded(request.param, tmp_path_factory.mktemp(request.param))


def failed(graded, student):
    marks = graded.marks(student)
    return {name for name in graded.checks if marks[name][0] == 0}


def test_the_solution_gets_full_marks(graded):
    marks = graded.marks("solution")
    assert graded.room.complaints("solution", graded.name) == {}
    assert all(marks[name][0] == marks[name][1] for name in graded.checks)


def test_the_untouched_version_runs_to_the_end_and_gets_nothing(graded):
    cells = [c for c in graded.room.graded("untouched", graded.name).cells if c.source]
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    assert failed(graded, "untouched") == set(graded.checks)


def test_right_answers_written_differently_get_full_marks(graded):
    assert graded.room.complaints("different", graded.name) == {}
    assert failed(graded, "different") == set()
    for key, answer in graded.answers.DIFFERENT.items():
        assert answer.code.strip() != graded.solution[key].strip()


def test_wrong_answers_get_the_marks_that_the_rubric_says(graded):
    for number, wrong in enumerate(graded.wrong):
        expected = {check for answer in wrong.values() for check in answer.loses}
        assert failed(graded, f"wrong{number}") == expected, [a.about for a in wrong.values()]
        marks = graded.marks(f"wrong{number}")
        right = set(graded.checks) - expected
        assert all(marks[name][0] == marks[name][1] for name in right)


def test_a_wrong_answer_is_told_what_is_wrong(graded):
    for number, wrong in enumerate(graded.wrong):
        said = graded.room.complaints(f"wrong{number}", graded.name)
        for answer in wrong.values():
            for check in answer.loses:
                assert said[check].startswith("NotYet: "), said[check]
                assert answer.says and re.search(answer.says, said[check]), (
                    f"{answer.about}: {check} says {said[check]!r}"
                )


def test_every_exercise_is_tried_and_every_check_can_fail(graded):
    exercises = {check.split("__")[0] for check in graded.checks}
    assert exercises == set(graded.answers.WRONG) == set(graded.answers.DIFFERENT)
    for exercise, answers in graded.answers.WRONG.items():
        assert len(answers) >= 4, f"{exercise}: {len(answers)} wrong answers"
        assert len({answer.code for answer in answers}) == len(answers)
        assert all(answer.loses for answer in answers)
    lost = {c for answers in graded.answers.WRONG.values() for a in answers for c in a.loses}
    assert lost == set(graded.checks)


def test_an_assignment_has_twenty_points_four_of_them_by_hand(graded):
    marks = graded.marks("solution")
    by_hand = set(marks) - set(graded.checks)
    assert sum(points for _, points in marks.values()) == 20
    assert sum(marks[name][1] for name in by_hand) == 4


def secrets_of(graded):
    """Return the lines that only solutions, hidden checks and mark schemes hold."""
    hidden, shown, inside = set(), set(), False
    for cell in graded.source.cells:
        for line in map(str.strip, cell.source.splitlines()):
            if re.search(r"### (BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)", line):
                inside = "BEGIN" in line
            elif len(line) >= 16:
                (hidden if inside else shown).add(line)
    return hidden - shown


def test_what_students_get_reveals_no_answer(graded):
    room = graded.room
    secrets = secrets_of(graded)
    assert len(secrets) >= 10
    release = "\n".join(cell.source for cell in room.notebook(graded.name).cells)
    page = room.folder / "feedback" / "untouched" / graded.name / f"{graded.name}.html"
    feedback = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    said = "\n".join(
        text
        for number in range(len(graded.wrong))
        for text in room.complaints(f"wrong{number}", graded.name).values()
    )
    for text in (release, feedback, said):
        assert [line for line in secrets if line in text] == []


def test_every_check_is_marked_apart(graded):
    for cell in graded.source.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") in graded.checks:
            assert cell.source.count("@mark(") == 1


def test_the_teachers_seed_is_set_in_one_line(graded):
    lines = [
        line
        for cell in graded.source.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if line.startswith("SEED = ")
    ]
    assert lines == ["SEED = 2026"]
