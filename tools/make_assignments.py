"""Set up the course's folder for nbgrader, and make what students are given.

    python tools/make_assignments.py --course course --seed 2026
    python tools/make_assignments.py --course course --pack          (after a change in its source)

The sources are copied, the seed is set in each, and nbgrader's own ``generate_assignment``
makes the student versions. What to hand out lies in ``handout/``: a zip an assignment, or, with
``--students FILE``, a folder an assignment with a zip a student, each with numbers of its own.
"""

import argparse
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import student_seeds

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "assignments"
ALSO = (ROOT / "tools" / "student_seeds.py", ROOT / "tools" / "collecting.py")
MADE = ".made.json"  # in the course's folder: what the sources were like when they were copied
DAY = (2026, 1, 1, 0, 0, 0)  # in the zips, so that the same course makes the same files
README = """{name}

Open.     Unpack this archive where you keep your work. Open it as you open the chapters, with the
          name of that folder in place of "chapters":
          jupyter lab FOLDER
Work.     Write into the cells that say YOUR CODE HERE, and at the end into the one for your
          argument. The cells below them check what you wrote; run them as often as you like.
          Leave their text, and that of the cells that are given, as it is.
Hidden.   While grading, checks may run that this notebook does not show. They ask for nothing
          that is not in the task.
Hand in.  {hand_in}
          Save it first. You get a page back with your points and what each check said.

The page "For students" of the book says more: what help is allowed, and what the grader sees.
"""


def names() -> list[str]:
    return sorted(path.name for path in (SOURCES / "source").iterdir() if path.is_dir())


def copy_tools(course: Path) -> None:
    """Copy what nbgrader needs into the course; what is there stays, as it may be changed."""
    course.mkdir(parents=True, exist_ok=True)
    for path in (*sorted(SOURCES.glob("*.py")), *ALSO):
        if not (course / path.name).exists():
            text = path.read_text(encoding="utf-8")
            drawn = f'"METALEARN_CHECK_SEED", "{secrets.randbelow(10**9)}"'
            text = text.replace('"METALEARN_CHECK_SEED", "1"', drawn)
            (course / path.name).write_text(text, encoding="utf-8")


def seeded_source(name: str, seed: int) -> Any:
    """Return the notebook of an assignment, with a seed."""
    path = SOURCES / "source" / name / f"{name}.ipynb"
    return student_seeds.with_seed(nbformat.read(path, as_version=4), seed)


def fingerprint(notebook: Any) -> str:
    """Return a digest of what a teacher may change: saving alone does not change it."""
    cells = [(c.cell_type, c.source, c.metadata.get("nbgrader", {})) for c in notebook.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def made(course: Path) -> dict[str, str]:
    """Return the fingerprints of the sources as they were copied."""
    path = course / MADE
    found: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def refuse_if_edited(course: Path, wanted: list[str], seed: int) -> None:
    """Stop if a source in the course is neither what is to be copied nor what was copied."""
    for name in wanted:
        path = course / "source" / name / f"{name}.ipynb"
        if path.exists():
            is_now = fingerprint(nbformat.read(path, as_version=4))
            if is_now not in (made(course).get(name), fingerprint(seeded_source(name, seed))):
                raise SystemExit(
                    f"{path} was edited and would be overwritten; nothing was changed. To hand it "
                    f"out as it is, type make pack COURSE={course}. To start anew from the source "
                    "of the book, move the file away first"
                )


def copy_sources(course: Path, wanted: list[str], seed: int) -> None:
    copied = made(course)
    for name in wanted:
        notebook = seeded_source(name, seed)
        (course / "source" / name).mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, course / "source" / name / f"{name}.ipynb")
        copied[name] = fingerprint(notebook)
    (course / MADE).write_text(json.dumps(copied, indent=1), encoding="utf-8")


def generate(course: Path, name: str) -> None:
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "--force", name]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"nbgrader could not make {name}:\n{done.stdout}{done.stderr}")


def write_zip(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(zipfile.ZipInfo(name, DAY), text)
    return path


def pack(course: Path, name: str) -> Path:
    """Pack the student version: a zip for all, or a folder with one for each."""
    shutil.rmtree(course / "handout" / name, ignore_errors=True)
    (course / "handout" / f"{name}.zip").unlink(missing_ok=True)
    release = course / "release" / name / f"{name}.ipynb"
    listed = student_seeds.students(course)
    if not listed:
        hand_in = f"Rename the notebook to YOURNAME__{name}.ipynb, with two underscores."
        files = {f"{name}/{name}.ipynb": release.read_text("utf-8")}
        files[f"{name}/README.txt"] = README.format(name=name, hand_in=hand_in)
        return write_zip(course / "handout" / f"{name}.zip", files)
    for student in listed:
        notebook = nbformat.read(release, as_version=4)
        own = nbformat.writes(student_seeds.for_student(notebook, course, student))
        hand_in = f"Send {student}__{name}.ipynb; it has this name already, and keeps it."
        files = {f"{name}/{student}__{name}.ipynb": own}
        files[f"{name}/README.txt"] = README.format(name=name, hand_in=hand_in)
        write_zip(course / "handout" / name / f"{student}.zip", files)
    return course / "handout" / name


def in_use(course: Path, name: str = "*") -> bool:
    """Say whether the course holds submissions, of one assignment or of any."""
    return any((course / "submitted").glob(f"*/{name}"))


def refuse_if_in_use(course: Path) -> None:
    if in_use(course):
        raise SystemExit(
            f"{course} holds submissions: new assignments would not fit them. Give another "
            "folder (COURSE=...), or move `submitted` away"
        )


def pack_again(course: Path, wanted: list[str] | None) -> None:
    """Make the handouts from the sources as they are in the course now."""
    there = sorted(path.name for path in (course / "source").glob("*") if path.is_dir())
    if not there:
        raise SystemExit(f"{course} has no sources: make the course first (make assignments)")
    unknown = sorted(set(wanted or ()) - set(there))
    if unknown:
        raise SystemExit(f"got {', '.join(unknown)}, expected some of {', '.join(there)}")
    for name in wanted or there:
        if in_use(course, name):  # a new one would not fit them; students may have been added
            print(f"{name}: packed as it was handed out, for there are submissions of it")
        else:
            generate(course, name)
        print(f"{name}: {pack(course, name)}", flush=True)


def make(course: Path, wanted: list[str], seed: int) -> None:
    """Make the course, or some of its assignments, with a seed."""
    refuse_if_in_use(course)
    refuse_if_edited(course, wanted, seed)
    copy_tools(course)
    copy_sources(course, wanted, seed)
    for name in wanted:
        generate(course, name)
        print(f"{name}: {pack(course, name)}", flush=True)
    print(
        f"The course is in {course}, with seed {seed}. Hand out what lies in {course / 'handout'}."
    )


def copy_list(course: Path, given: Path) -> None:
    """Copy a list of students into the course; once one has handed in, it may only grow."""
    if not given.is_file():
        raise SystemExit(f"there is no {given}: expected a file with one identifier a line")
    try:
        listed = student_seeds.read_list(given)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if not listed:
        raise SystemExit(f"{given} is empty: expected one identifier a line")
    before = student_seeds.students(course)
    if in_use(course) and not (before and set(before) <= set(listed)):
        raise SystemExit(
            f"{course} holds submissions, and their numbers would change: students can be added to "
            f"{course / student_seeds.LIST}, none can be left out"
        )
    course.mkdir(parents=True, exist_ok=True)
    (course / student_seeds.LIST).write_text("".join(f"{n}\n" for n in listed), encoding="utf-8")


def main(options: argparse.Namespace) -> None:
    course = options.course.resolve()
    if options.students:
        copy_list(course, options.students)
    if options.pack:
        pack_again(course, options.only)
        return
    unknown = sorted(set(options.only or ()) - set(names()))
    if unknown:
        raise SystemExit(f"got {', '.join(unknown)}, expected some of {', '.join(names())}")
    make(course, options.only or names(), options.seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--course", type=Path, default=ROOT / "course", help="the course's folder")
    parser.add_argument("--seed", type=int, default=2026, help="makes the numbers of the course")
    parser.add_argument(
        "--students", type=Path, help="a file of identifiers, one a line: own seeds"
    )
    parser.add_argument("--pack", action="store_true", help="only make the handouts anew")
    parser.add_argument("--only", action="append", help="these assignments alone")
    options = parser.parse_args()
    main(options)
