"""Sort what students have sent, and say who was skipped and why.

`make assignments` copies this file into the course's folder, where `nbgrader zip_collect` uses it.
It reads the files and archives in `downloaded/ASSIGNMENT/archive`, also as Moodle and Canvas pack
them, takes the newest notebook of each student, and lists all that came in `collected.txt`.
"""

import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import student_seeds
from nbgrader.api import Gradebook, MissingEntry  # type: ignore[import-untyped]
from nbgrader.plugins import (  # type: ignore[import-untyped]
    ExtractorPlugin,
    FileNameCollectorPlugin,
)

MOST = 50 * 2**20  # bytes of one file, unpacked
JUNK = {"__MACOSX", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db", "desktop.ini", "README.txt"}
NAME = re.compile(r"(?P<student>.+?)__(?P<assignment>\w+)")
# Moodle: Ada Lovelace_123_assignsubmission_file_NAME; Canvas: lovelaceada_LATE_123_456_NAME
PREFIX = re.compile(r"(.*_assignsubmission_file_|[^_]+_(LATE_)?\d+_\d+_)")
AGAIN = re.compile(r"(-\d+| ?\(\d+\))$")  # added to the name when a file is sent or saved again


class SkippedError(Exception):
    """Why a file is not taken."""


@dataclass(frozen=True)
class Received:
    """One file that came, or what is wrong with the archive that it should be in."""

    name: str
    content: bytes
    time: float
    fault: str = ""


@dataclass(frozen=True)
class Assignment:
    """What a submission is compared with."""

    name: str
    others: frozenset[str]
    notebook: Any
    students: tuple[str, ...]
    due: datetime | None


@dataclass(frozen=True)
class Line:
    """One line of the list: a file, whose it is, and why it was skipped or is worth a look."""

    received: Received
    student: str = ""
    skipped: str = ""
    remark: str = ""

    def __str__(self) -> str:
        verdict = f"skipped: {self.skipped}" if self.skipped else f"taken for {self.student}"
        remark = f"; {self.remark}" if self.remark else ""
        name = "".join(c if c.isprintable() else "?" for c in self.received.name)
        return f"{name}: {verdict}{remark}"


def received(archive: Path) -> Iterator[Received]:
    """Yield the files in a folder, and those in archives there."""
    for path in sorted(p for p in archive.rglob("*") if p.is_file()):
        name, time = path.relative_to(archive).as_posix(), path.stat().st_mtime
        if JUNK.isdisjoint(path.relative_to(archive).parts):
            if path.stat().st_size > 20 * MOST:
                yield Received(name, b"", time, "it is too large")
            else:
                yield from unpacked(name, path.read_bytes(), time)


def unpacked(name: str, content: bytes, time: float, *, depth: int = 2) -> Iterator[Received]:
    """Yield a file, or those in it if it is an archive, in archives in it too."""
    if not name.lower().endswith(".zip") or not depth:
        yield Received(name, content, time)
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                if not info.is_dir() and JUNK.isdisjoint(Path(info.filename).parts):
                    inside = f"{name}/{info.filename}"
                    with archive.open(info) as file:
                        text = file.read(MOST + 1)
                    yield from unpacked(inside, text, time_of(info, time), depth=depth - 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        yield Received(name, b"", time, f"the archive is damaged, or locked ({error})")
    except Exception as error:  # zlib's and lzma's own
        yield Received(name, b"", time, f"the archive is damaged ({error})")


def time_of(info: zipfile.ZipInfo, otherwise: float) -> float:
    """Return when a file in an archive was changed; archives without times say 1980."""
    try:
        return datetime(*info.date_time).timestamp() if info.date_time[0] > 1980 else otherwise
    except (ValueError, OverflowError):
        return otherwise


def named(name: str, wanted: Assignment) -> str:
    """Return the student in the name of a file.

    Raises:
        SkippedError: if it is not called NAME__ASSIGNMENT.ipynb, or is for something else.
    """
    stem, ending = os.path.splitext(name.rpartition("/")[2])
    if ending != ".ipynb":
        raise SkippedError("it is no notebook (.ipynb)")
    bare = AGAIN.sub("", stem)
    found = NAME.fullmatch(PREFIX.sub("", bare, count=1)) or NAME.fullmatch(bare)
    if not found or not student_seeds.is_identifier(found["student"]):
        raise SkippedError(f"it is not called NAME__{wanted.name}.ipynb, with two underscores")
    if found["assignment"] in wanted.others:
        other = found["assignment"]
        raise SkippedError(f"it is called {other}: collect it with this one")
    if found["assignment"] != wanted.name:
        raise SkippedError(f"this course has no assignment {found['assignment']}")
    return found["student"]


def read(content: bytes, wanted: Assignment) -> Any:
    """Return the notebook in a file.

    Raises:
        SkippedError: if it is damaged, or holds nothing that was handed out.
    """
    if len(content) > MOST:
        raise SkippedError(f"it is larger than {MOST // 2**20} MB: ask for it without its outputs")
    try:
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
        cells = {cell_name(cell) for cell in notebook.cells}
        sources = [cell.source for cell in notebook.cells]
    except Exception as error:  # whatever a damaged file leads to
        raise SkippedError(
            f"it is damaged: no notebook can be read ({first_line(error)})"
        ) from None
    if not all(isinstance(source, str) for source in sources):
        raise SkippedError("it is damaged: a cell has no text")
    if not cells & {cell_name(cell) for cell in wanted.notebook.cells} - {""}:
        raise SkippedError(f"it holds no cell of {wanted.name}: another notebook has this name")
    return notebook


def cell_name(cell: Any) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id") or "")


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:80]


def remarks(notebook: Any, student: str, time: float, wanted: Assignment) -> str:
    """Say what a teacher wants to know of a submission that is taken."""
    found = []
    if wanted.due and (late := datetime.fromtimestamp(time, UTC) - wanted.due).total_seconds() > 0:
        hours, minutes = divmod(int(late.total_seconds()) // 60, 60)
        found.append(f"late by {hours} h {minutes} min")
    try:
        course, seed = student_seeds.seed_in(wanted.notebook), student_seeds.seed_in(notebook)
    except ValueError:
        return "; ".join([*found, "it sets no seed, or several; it is graded with the right one"])
    owners = {student_seeds.seed_of(course, name): name for name in wanted.students}
    if owners and owners.get(seed) != student:
        whose = f"those of {owners[seed]}" if seed in owners else f"of another seed, {seed}"
        found.append(f"its numbers are {whose}; it is graded with {student}'s")
    elif not owners and seed != course:
        found.append(f"its numbers are of another seed, {seed}; it is graded with {course}")
    return "; ".join(found)


def sort(files: Iterator[Received], wanted: Assignment) -> list[Line]:
    """Return a line for each file; of several of a student the newest is taken."""
    lines: list[Line] = []
    newest: dict[str, Line] = {}
    for file in files:
        try:
            line = looked_at(file, wanted)
        except SkippedError as error:
            lines.append(Line(file, skipped=str(error)))
            continue
        other = newest.get(line.student)
        if other and other.received.time > file.time:
            lines.append(Line(file, skipped=f"{line.student} sent a newer one"))
            continue
        if other:
            lines[lines.index(other)] = Line(
                other.received, skipped=f"{line.student} sent a newer one, or one more"
            )
        newest[line.student] = line
        lines.append(line)
    return lines


def looked_at(file: Received, wanted: Assignment) -> Line:
    """Return the line of a file that is taken, or raise why it is skipped."""
    if file.fault:
        raise SkippedError(file.fault)
    student = named(file.name, wanted)
    if wanted.students and student not in wanted.students:
        alike = [name for name in wanted.students if name.lower() == student.lower()]
        hint = f"; {alike[0]} is" if alike else ""
        raise SkippedError(f"{student} is not in {student_seeds.LIST}{hint}")
    notebook = read(file.content, wanted)
    return Line(file, student, remark=remarks(notebook, student, file.time, wanted))


def wanted_of(course: Path, name: str, database: str) -> Assignment:
    """Read what the course says of an assignment: its notebook, its students, when it is due."""
    path = course / "release" / name / f"{name}.ipynb"
    if not path.exists():
        raise SystemExit(f"there is no {path}: is {name} an assignment of this course?")
    others = frozenset(p.name for p in (course / "release").iterdir() if p.name != name)
    with Gradebook(database) as book:
        try:
            due = book.find_assignment(name).duedate
        except MissingEntry:
            due = None
    return Assignment(
        name,
        others,
        nbformat.read(path, as_version=4),
        tuple(student_seeds.students(course)),
        due.replace(tzinfo=UTC) if due else None,
    )


def summary(lines: list[Line], students: tuple[str, ...]) -> str:
    """Say how many were taken and skipped, and from whom nothing was taken."""
    taken = [line.student for line in lines if not line.skipped]
    missing = sorted(set(students) - set(taken))
    rest = f"; nothing from {', '.join(missing)}" if missing else ""
    return f"{len(taken)} taken, {len(lines) - len(taken)} skipped{rest}"


class Sorted(ExtractorPlugin):  # type: ignore[misc]
    """Put the notebooks that are taken where nbgrader looks for them, and list the others."""

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Sort what lies in one folder into the other."""
        directory = self.parent.coursedir
        wanted = wanted_of(Path(directory.root), directory.assignment_id, directory.db_url)
        lines = sort(received(Path(archive_path)), wanted)
        for line in lines:
            if not line.skipped:
                target = Path(extracted_path) / f"{line.student}__{wanted.name}.ipynb"
                target.write_bytes(line.received.content)
                os.utime(target, (line.received.time, line.received.time))
            if line.skipped or line.remark:
                self.log.warning("%s", line)
        said = summary(lines, wanted.students)
        listed = Path(archive_path).parent / "collected.txt"
        listed.write_text("\n".join([*map(str, lines), said, ""]), encoding="utf-8")
        self.log.warning("%s; the whole list is in %s", said, listed)


class Timed(FileNameCollectorPlugin):  # type: ignore[misc]
    """Tell nbgrader when a file was sent, so that it knows what is late."""

    def collect(self, submitted_file: str) -> dict[str, str] | None:
        """Return the student, the assignment and the time, in UTC."""
        found: dict[str, str] | None = super().collect(submitted_file)
        if found:
            time = datetime.fromtimestamp(Path(submitted_file).stat().st_mtime, UTC)
            found["timestamp"] = time.replace(tzinfo=None, microsecond=0).isoformat(" ")
        return found
