"""The graders: each answer gets what it deserves and is told why, alone and among others.

For each assignment one folder is made, in which nbgrader's own commands grade two submissions:
the untouched student version, and one with wrong and right answers in turn. Besides, every
answer is tried alone, through the checks of its exercise (trials.py says how). Of the same answer
both ways must say the same. In test_round nbgrader grades the solution of every assignment, and
all kinds of answers to one of them.
"""

import importlib
import re
import sys
from dataclasses import dataclass

import pytest
from classroom import ROOT, Answer, Classroom, solution_cells

ASSIGNMENTS = sorted(path.name for path in (ROOT / "assignments" / "source").glob("*"))


@dataclass(frozen=True)
class Trial:
    """An answer that was tried alone.

    Attributes:
        cell: where it stands.
        answer: the answer, and what it must get.
        said: what the cells said that raised, by their ids.
    """

    cell: str
    answer: Answer
    said: dict[str, str]


class Graded:
    """An assignment with its graded submissions, and with all its answers tried alone."""

    def __init__(self, name, folder):
        self.name = name
        self.answers = importlib.import_module(f"answers.{name}")
        self.room = Classroom(folder)
        self.room.copy_of(name)
        self.source = self.room.notebook(name, "source")
        self.solution = solution_cells(self.source)
        self.checks = [
            cell.metadata.nbgrader.grade_id
            for cell in self.source.cells
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
        ]
        self.grade()
        self.try_alone()

    def grade(self):
        cells = solution_cells(self.room.notebook(self.name))
        untouched = {cell: Answer("untouched", code) for cell, code in cells.items()}
        self.submissions = {"untouched": untouched, "mixed": self.mixed()}
        for student, answers in self.submissions.items():
            codes = {cell: answer.code for cell, answer in answers.items()}
            self.room.submit(student, self.name, codes)
        self.room.nbgrader("autograde", self.name)
        self.room.nbgrader("generate_feedback", self.name)

    def mixed(self):
        """Return a wrong answer to the first exercise, a right one to the second, and so on."""
        answers = dict(self.answers.DIFFERENT)
        for cell in list(answers)[::2]:
            answers[cell] = next(a for a in self.answers.WRONG[cell] if not endless(a))
        return answers

    def try_alone(self):
        wrong = [(cell, a) for cell, answers in self.answers.WRONG.items() for a in answers]
        also = self.answers.ALSO_RIGHT.items()
        right = list(self.answers.DIFFERENT.items())
        right += [(cell, answer) for cell, answers in also for answer in answers]
        untouched = list(self.submissions["untouched"].items())
        answers = wrong + right + untouched
        trials = [
            {"cell": cell, "source": a.code, "seconds": 1 if endless(a) else 60}
            for cell, a in answers
        ]
        found = self.room.try_alone(self.name, trials)
        self.of_solution = found["solution"]
        self.tried = [Trial(*a, said) for a, said in zip(answers, found["trials"], strict=True)]
        self.wrong, self.right = self.tried[: len(wrong)], self.tried[len(wrong) :][: len(right)]

    def said_alone(self, student):
        """Return all that was said of the answers of a submission, each of them tried alone."""
        answers = self.submissions[student]
        found = [trial.said for trial in self.tried if answers[trial.cell] is trial.answer]
        assert len(found) == len(answers)
        return {cell: words for said in found for cell, words in said.items()}

    def marks(self, student):
        return self.room.marks(student, self.name)


def endless(answer):
    """Say whether an answer waits for its time to be over: a second shows it as well as 15."""
    return "never ends" in answer.says


@pytest.fixture(scope="module", params=ASSIGNMENTS)
def graded(request, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("grading needs Linux, as the page for teachers says")
    return Graded(request.param, tmp_path_factory.mktemp(request.param))


def failed(graded, student):
    marks = graded.marks(student)
    return {name for name in graded.checks if marks[name][0] == 0}


def test_the_solution_gets_full_marks(graded):
    assert graded.of_solution == {}


def test_the_untouched_version_runs_to_the_end_and_gets_nothing(graded):
    cells = [c for c in graded.room.graded("untouched", graded.name).cells if c.source]
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    assert failed(graded, "untouched") == set(graded.checks)


def test_right_answers_written_differently_get_full_marks(graded):
    for cell in graded.solution:
        codes = {trial.answer.code for trial in graded.right if trial.cell == cell}
        assert len(codes) >= 3, f"{cell}: {len(codes)} right answers"
    for trial in graded.right:
        assert trial.said == {}, f"{trial.cell}: {trial.answer.about}"
        assert trial.answer.code.strip() != graded.solution[trial.cell].strip()


def test_wrong_answers_get_the_marks_that_the_rubric_says(graded):
    assert graded.wrong
    for trial in graded.wrong:
        lost = trial.said.keys() & set(graded.checks)
        assert lost == set(trial.answer.loses), f"{trial.cell}: {trial.answer.about}"


def test_a_wrong_answer_is_told_what_is_wrong(graded):
    for trial in graded.wrong:
        for check in trial.answer.loses:
            words = trial.said.get(check, "")
            assert words.startswith("NotYet: "), f"{trial.answer.about}: {check} says {words!r}"
            assert trial.answer.says and re.search(trial.answer.says, words), (
                f"{trial.answer.about}: {check} says {words!r}"
            )


def test_of_the_same_answer_nbgrader_says_the_same_check_by_check(graded):
    for student in graded.submissions:
        alone, among_others = (
            {check: said[check] for check in graded.checks if check in said}
            for said in (
                graded.said_alone(student),
                graded.room.complaints(student, graded.name),
            )
        )
        assert alone == among_others


def test_a_check_that_says_nothing_gives_its_points_and_no_other_does(graded):
    lost = {c for cell, a in graded.mixed().items() for c in a.loses}
    for student, expected in (("untouched", set(graded.checks)), ("mixed", lost)):
        marks = graded.marks(student)
        assert failed(graded, student) == expected
        assert graded.room.complaints(student, graded.name).keys() >= expected
        assert all(marks[name][0] == marks[name][1] for name in set(graded.checks) - expected)
    assert 0 < len(lost) < len(graded.checks)


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
    marks = graded.marks("mixed")
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
    said = "\n".join(words for trial in graded.tried for words in trial.said.values())
    for text in (release, feedback, said):
        assert [line for line in secrets if line in text] == []


def test_every_check_is_marked_apart(graded):
    for cell in graded.source.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") in graded.checks:
            assert cell.source.count("@mark(") == 1


def test_the_teachers_seed_is_set_in_one_line(graded):
    for where in ("source", "release"):
        assert graded.room.seeds(graded.name, where) == ["SEED = 2026"]
