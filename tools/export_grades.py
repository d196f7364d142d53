"""Write the grades of a course as a table that Moodle or Canvas imports.

    python tools/export_grades.py moodle grades.csv --course ../few-examples-2027
    python tools/export_grades.py canvas grades.csv --course ../few-examples-2027 --roster all.csv

**Moodle** (Grades, Import, CSV file) lets you say which column is which: the first holds the
students, by `--by` username, idnumber or email; each further one is an assignment, to map to its
grade item. **Canvas** (Grades, Import) reads the columns itself. It finds students by their login;
with `--roster`, a table that Canvas has exported, also by its own numbers, and it puts the grades
into the assignments of this name that are there.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook  # type: ignore[import-untyped]

MOODLE = ("username", "idnumber", "email")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
Row = list[str]


@dataclass(frozen=True)
class Grades:
    """The points of a course.

    Args:
        most: what can be had, by assignment.
        points: by student and assignment; missing where nothing was graded.
        unfinished: what still waits for points by hand.
        ungraded: what was handed in, and autograde has failed on it or was not run.
    """

    most: dict[str, float]
    points: dict[tuple[str, str], float]
    unfinished: list[tuple[str, str]]
    ungraded: list[tuple[str, str]]

    @property
    def students(self) -> list[str]:
        """All who have something graded."""
        return sorted({student for student, _ in self.points})

    def row(self, student: str) -> Row:
        """Return the points of one student, "" where there are none."""
        found = (self.points.get((student, name)) for name in self.most)
        return ["" if one is None else number(one) for one in found]


def number(points: float) -> str:
    """Write points with a decimal point and no more digits than needed."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def read(course: Path, only: list[str] | None = None) -> Grades:
    """Read the gradebook of a course; penalties for being late are taken off, as nbgrader does."""
    path = course / "gradebook.db"
    if not path.exists():
        raise SystemExit(f"there is no {path}: expected a course in which something was graded")
    most, points, unfinished, ungraded = {}, {}, [], []
    with Gradebook(f"sqlite:///{path}") as book:
        there = {assignment.name: assignment for assignment in book.assignments}
        unknown = sorted(set(only or ()) - set(there))
        if unknown:
            raise SystemExit(f"got {', '.join(unknown)}, expected some of {', '.join(there)}")
        for name in only or sorted(there):
            submissions = list(there[name].submissions)
            if submissions or only:
                most[name] = float(there[name].max_score)
            for one in submissions:
                student = str(one.student.id)
                if not was_graded(one):
                    ungraded.append((student, name))
                    continue
                points[student, name] = max(0.0, one.score - (one.late_submission_penalty or 0))
                if one.needs_manual_grade:
                    unfinished.append((student, name))
    return Grades(most, points, sorted(unfinished), sorted(ungraded))


def was_graded(submission: Any) -> bool:
    """Say whether a check of a submission has points, be they none: else it was never run."""
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
    return any(g.auto_score is not None or g.manual_score is not None for g in grades)


def for_moodle(grades: Grades, by: str) -> list[Row]:
    """Return the rows of the table for Moodle."""
    return [[by, *grades.most], *([s, *grades.row(s)] for s in grades.students)]


def for_canvas(grades: Grades, roster: list[dict[str, str]]) -> list[Row]:
    """Return the rows of the table for Canvas; students are known by their login.

    Raises:
        SystemExit: if a student of the course is not on the roster.
    """
    known = {row["SIS Login ID"]: row for row in roster}
    strangers = [student for student in grades.students if roster and student not in known]
    if strangers:
        raise SystemExit(
            f"got grades of {', '.join(strangers)}, who are no SIS Login ID in the roster: "
            "expected identifiers of students to be their logins"
        )
    columns = [column_of(name, roster) for name in grades.most]
    rows = [[*CANVAS, *columns]]
    rows.append(["Points Possible", "", "", "", "", *map(number, grades.most.values())])
    for student in grades.students:
        row = known.get(student, {"Student": student, "SIS Login ID": student})
        rows.append([*(row.get(column) or "" for column in CANVAS), *grades.row(student)])
    return rows


def column_of(name: str, roster: list[dict[str, str]]) -> str:
    """Return the column of an assignment in Canvas: its name, with its number if there is one."""
    pattern = re.compile(rf"{re.escape(name)} \(\d+\)")
    found = [column for column in (roster[0] if roster else ()) if pattern.fullmatch(column or "")]
    return found[0] if found else name


def read_roster(path: Path) -> list[dict[str, str]]:
    """Read the rows of students in a table that Canvas has exported."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        missing = [column for column in CANVAS if column not in (table.fieldnames or ())]
        if missing:
            raise SystemExit(f"{path} has no column {missing[0]}: expected a gradebook from Canvas")
        return [row for row in table if row["SIS Login ID"]]


def write(rows: Iterable[Row], target: Path) -> None:
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main(options: argparse.Namespace) -> None:
    grades = read(options.course, options.only)
    if options.to == "moodle":
        rows = for_moodle(grades, options.by)
    else:
        rows = for_canvas(grades, read_roster(options.roster) if options.roster else [])
    write(rows, options.table)
    print(f"{len(grades.students)} students, {len(grades.most)} assignments: {options.table}")
    for student, name in grades.ungraded:
        print(f"{student}: {name} was not graded, and is left empty", file=sys.stderr)
    for student, name in grades.unfinished:
        print(f"{student}: points by hand are missing in {name}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("to", choices=["moodle", "canvas"])
    parser.add_argument("table", type=Path, help="the file to write")
    parser.add_argument("--course", type=Path, default=Path(), help="the course's folder")
    parser.add_argument("--only", action="append", help="these assignments alone")
    parser.add_argument("--by", choices=MOODLE, default="username", help="Moodle: who students are")
    parser.add_argument("--roster", type=Path, help="Canvas: a table that it has exported")
    main(parser.parse_args())
