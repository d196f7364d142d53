"""A seed of its own for each student: `make assignments` copies this file into the course's folder.

Where `students.txt` lies there, one identifier a line, each student gets other numbers and another
held-out script. The seed follows from the seed of the course and the identifier, so nothing has to
be stored: while grading it is taken from the name of the folder that a submission lies in,
whatever the submission says.
"""

import re
from pathlib import Path
from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor  # type: ignore[import-untyped]
from nbgrader.utils import compute_checksum  # type: ignore[import-untyped]

from metalearn_lite.classroom.variants import seed_from

LIST = "students.txt"
IDENTIFIER = re.compile(r"[^\W_][\w.@-]*")
SETS_THE_SEED = re.compile(r"^SEED = (\d+)", re.MULTILINE)


def is_identifier(text: str) -> bool:
    """Say whether a text can name a student: in a file's name, before two underscores."""
    return bool(IDENTIFIER.fullmatch(text)) and "__" not in text and not text.endswith("_")


def students(course: Path) -> list[str]:
    """Return the identifiers in the list of a course; none where there is no list."""
    return read_list(course / LIST) if (course / LIST).exists() else []


def read_list(path: Path) -> list[str]:
    """Return the identifiers in a file, one a line; lines that begin with # are left out.

    Raises:
        ValueError: if one cannot stand in the name of a file, or stands there twice.
    """
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for number, name in enumerate(found):
        if not is_identifier(name):
            raise ValueError(
                f"{path}: got {name!r}, expected an identifier of letters, digits and . @ - _ "
                "(no two underscores together), one a line"
            )
        if name.lower() in (other.lower() for other in found[:number]):
            raise ValueError(f"{path}: {name!r} stands there twice, expected each student once")
    return found


def seed_of(course_seed: int, student: str) -> int:
    """Return the seed of one student."""
    return seed_from(course_seed, "student", student) % 10**6


def seed_in(notebook: Any) -> int:
    """Return the seed that a notebook sets.

    Raises:
        ValueError: if it does not set one, or several.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    found = {int(seed) for source in code for seed in SETS_THE_SEED.findall(source)}
    if len(found) != 1:
        raise ValueError(f"got {len(found)} lines `SEED = NUMBER` in a notebook: expected one")
    return found.pop()


def with_seed(notebook: Any, seed: int) -> Any:
    """Write a seed into the line of a notebook that sets it, and the checksum of this cell."""
    seed_in(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code" and SETS_THE_SEED.search(cell.source):
            cell.source = SETS_THE_SEED.sub(f"SEED = {seed}", cell.source)
            if "checksum" in cell.metadata.get("nbgrader", {}):
                cell.metadata.nbgrader.checksum = compute_checksum(cell)
    return notebook


def for_student(notebook: Any, course: Path, student: str) -> Any:
    """Give a notebook of the course the numbers of a student, if the course has a list of them.

    Raises:
        ValueError: if the student is not on the list.
    """
    known = students(course)
    if not known:
        return notebook
    if student not in known:
        raise ValueError(
            f"got a submission of {student!r}, who is not in {course / LIST}: rename the folder in "
            "`submitted`, or add the student to the list"
        )
    return with_seed(notebook, seed_of(seed_in(notebook), student))


class OwnSeed(NbGraderPreprocessor):  # type: ignore[misc]
    """Set the seed of the student whose submission is graded."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Return the notebook, which nbgrader has filled with the cells of the course, with it."""
        here = Path(__file__).resolve().parent
        return for_student(nb, here, resources["nbgrader"]["student"]), resources
