"""Set up the course's folder for nbgrader, and make what students are given.

    python tools/make_assignments.py --course course --seed 2026

The sources are copied, the seed is set in each, and nbgrader's own ``generate_assignment``
makes the student versions. What to hand out lies in ``handout/``, a zip an assignment.
"""

import argparse
import re
import secrets
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "assignments"
SETS_THE_SEED = re.compile(r"^SEED = \d+", re.MULTILINE)
DAY = (2026, 1, 1, 0, 0, 0)  # in the zips, so that the same course makes the same files


def names() -> list[str]:
    return sorted(path.name for path in (SOURCES / "source").iterdir() if path.is_dir())


def set_seed(source: str, seed: int) -> str:
    """Write the seed into the one line of a notebook's code that sets it."""
    return SETS_THE_SEED.sub(f"SEED = {seed}", source)


def copy_sources(course: Path, wanted: list[str], seed: int) -> None:
    course.mkdir(parents=True, exist_ok=True)
    for path in sorted(SOURCES.glob("*.py")):
        if not (course / path.name).exists():  # a teacher may have changed it
            text = path.read_text(encoding="utf-8")
            drawn = f'"METALEARN_CHECK_SEED", "{secrets.randbelow(10**9)}"'
            text = text.replace('"METALEARN_CHECK_SEED", "1"', drawn)
            (course / path.name).write_text(text, encoding="utf-8")
    for name in wanted:
        folder = course / "source" / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((SOURCES / "source" / name).glob("*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.source = set_seed(cell.source, seed)
            nbformat.write(notebook, folder / path.name)


def generate(course: Path, name: str) -> None:
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "--force", name]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"nbgrader could not make {name}:\n{done.stdout}{done.stderr}")


def pack(course: Path, name: str) -> Path:
    (course / "handout").mkdir(exist_ok=True)
    packed = course / "handout" / f"{name}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((course / "release" / name).glob("*.ipynb")):
            file.writestr(zipfile.ZipInfo(f"{name}/{path.name}", DAY), path.read_bytes())
    return packed


def refuse_if_in_use(course: Path) -> None:
    if any((course / "submitted").glob("*/*")):
        raise SystemExit(
            f"{course} holds submissions: new assignments would not fit them. Give another "
            "folder (COURSE=...), or move `submitted` away"
        )


def main(course: Path, wanted: list[str], seed: int) -> None:
    refuse_if_in_use(course)
    copy_sources(course, wanted, seed)
    for name in wanted:
        generate(course, name)
        print(f"{name}: {pack(course, name)}", flush=True)
    print(
        f"The course is in {course}, with seed {seed}. Hand out what lies in {course / 'handout'}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--course", type=Path, default=ROOT / "course", help="the course's folder")
    parser.add_argument("--seed", type=int, default=2026, help="makes the numbers of the course")
    parser.add_argument("--only", choices=names(), action="append", help="these assignments alone")
    options = parser.parse_args()
    main(options.course.resolve(), options.only or names(), options.seed)
