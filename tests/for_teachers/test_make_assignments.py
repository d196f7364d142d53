"""A course that is made, changed, packed again, and graded with a seed for each student."""

import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import make_assignments
import nbformat
import pytest
import student_seeds
from nbgrader.api import Gradebook

ROOT = Path(__file__).resolve().parents[2]
NAME = "tasks_and_evaluation"
pytestmark = pytest.mark.long


def tool(course, *options):
    command = [sys.executable, ROOT / "tools" / "make_assignments.py", "--course", course, *options]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


def made(course, *options):
    done = tool(course, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nbgrader(course, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def inside(packed, ending=".ipynb"):
    """The name and the text of the one file in a zip that ends so."""
    with zipfile.ZipFile(packed) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(ending)]
        return name, archive.read(name).decode()


def edit(course, name, old, new):
    """Change a text in the source of the course, as a teacher does in Jupyter."""
    path = course / "source" / name / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    found = [cell for cell in notebook.cells if old in cell.source]
    assert found
    for cell in found:
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with one assignment, the same for everybody."""
    course = tmp_path_factory.mktemp("plain") / "course"
    made(course, "--only", NAME, "--seed", "2027")
    return course


# After a change


def test_an_edited_source_is_not_overwritten_and_its_handout_is_new(course):
    """A teacher edits a source, generates it, makes the course again, and packs."""
    edit(course, NAME, "How good is a method", "How good is any method")
    before = (course / "source" / NAME / f"{NAME}.ipynb").read_bytes()
    assert nbgrader(course, "generate_assignment", NAME, "--force")[0] == 0
    done = tool(course, "--only", NAME, "--seed", "2027")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{NAME}.ipynb was edited" in done.stderr and "make pack COURSE=" in done.stderr
    assert (course / "source" / NAME / f"{NAME}.ipynb").read_bytes() == before

    assert str(course / "handout") in made(course, "--pack")
    name, text = inside(course / "handout" / f"{NAME}.zip")
    assert name == f"{NAME}/{NAME}.ipynb" and "How good is any method" in text
    assert (course / "source" / NAME / f"{NAME}.ipynb").read_bytes() == before


def test_a_source_that_was_only_saved_again_is_made_anew_with_another_seed(tmp_path):
    course = tmp_path / "course"
    made(course, "--only", NAME, "--seed", "1")
    path = course / "source" / NAME / f"{NAME}.ipynb"
    path.write_text(nbformat.writes(nbformat.read(path, 4), indent=4), encoding="utf-8")
    made(course, "--only", NAME, "--seed", "2")
    assert student_seeds.seed_in(nbformat.read(path, 4)) == 2


def test_what_was_handed_out_stays_while_there_are_submissions(course):
    (course / "submitted" / "ada" / NAME).mkdir(parents=True)
    release = course / "release" / NAME / f"{NAME}.ipynb"
    before = release.stat().st_mtime_ns
    assert "there are submissions" in made(course, "--pack")
    assert release.stat().st_mtime_ns == before
    (course.parent / "class.txt").write_text("eve\n")
    done = tool(course, "--pack", "--students", course.parent / "class.txt")
    assert done.returncode == 1 and "their numbers would change" in done.stderr
    assert not (course / "students.txt").exists()


def test_no_solution_is_in_a_handout_and_hidden_checks_are_announced(course):
    text = inside(course / "handout" / f"{NAME}.zip", "README.txt")[1]
    assert "checks may run that this notebook does not show" in text.replace("\n          ", " ")
    assert f"YOURNAME__{NAME}.ipynb" in text
    for packed in (course / "handout").rglob("*.zip"):
        with zipfile.ZipFile(packed) as archive:
            for part in archive.namelist():
                found = archive.read(part).decode()
                for mark in ("SOLUTION", "HIDDEN TESTS", "MARK SCHEME"):
                    assert f"### BEGIN {mark}" not in found
                source = make_assignments.seeded_source(NAME, 1)
                for cell in source.cells:
                    if cell.metadata.get("nbgrader", {}).get("solution"):
                        body = cell.source.partition("### BEGIN " + "SOLUTION\n")[2]
                        assert body and body.partition("### END")[0].strip() not in found


# A seed for each student


def test_seeds_follow_from_the_course_and_the_student():
    seeds = [student_seeds.seed_of(s, n) for s in (1, 2) for n in ("ada", "ben", "a.b@c-d")]
    assert len(set(seeds)) == 6 and all(0 <= seed < 10**6 for seed in seeds)
    assert seeds[0] == student_seeds.seed_of(1, "ada")


@pytest.mark.parametrize(
    "text, says",
    [
        ("ada\nben lee\n", "got 'ben lee', expected an identifier"),
        ("ada__x\n", "expected an identifier"),
        ("../ada\n", "expected an identifier"),
        ("=ada\n", "expected an identifier"),
        ("ada\nben\nAda\n", "'Ada' stands there twice"),
        ("# nobody yet\n", "is empty"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_in_words(tmp_path, text, says):
    (tmp_path / "class.txt").write_text(text)
    done = tool(tmp_path / "course", "--students", tmp_path / "class.txt", "--only", NAME)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "course" / "source").exists()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A course in which ada and ben have numbers of their own, and each has handed in."""
    folder = tmp_path_factory.mktemp("own")
    course = folder / "course"
    (folder / "class.txt").write_text("ada\nben\n\n# left the course\n", encoding="utf-8")
    made(course, "--only", NAME, "--seed", "2027", "--students", folder / "class.txt")
    archive = course / "downloaded" / NAME / "archive"
    archive.mkdir(parents=True)
    source = nbformat.read(course / "source" / NAME / f"{NAME}.ipynb", as_version=4)
    solution = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in source.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for student in ("ada", "ben"):
        name, text = inside(course / "handout" / NAME / f"{student}.zip")
        notebook = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            cell.source = solution.get(
                cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source
            )
        if student == "ben":  # works with ada's numbers
            notebook = student_seeds.with_seed(notebook, student_seeds.seed_of(2027, "ada"))
        nbformat.write(notebook, archive / Path(name).name)
    late = datetime(2099, 1, 1, 14, 5, tzinfo=UTC).timestamp()
    os.utime(archive / f"ben__{NAME}.ipynb", (late, late))
    due = nbgrader(course, "db", "assignment", "add", NAME, "--duedate=2099-01-01 12:00 UTC")
    assert due[0] == 0, due[1]
    collected = nbgrader(course, "zip_collect", NAME, "--force")
    graded = nbgrader(course, "autograde", NAME)
    assert collected[0] == graded[0] == 0, collected[1] + graded[1]
    return course


def numbers(notebook):
    """What the notebook prints of its numbers when it is run."""
    given = [c.source for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id")]
    code = [source for source in given if source.startswith(("import", "SEED"))]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_two_students_get_other_numbers_and_another_script(own):
    said = {}
    for student in ("ada", "ben"):
        name, text = inside(own / "handout" / NAME / f"{student}.zip")
        assert name == f"{NAME}/{student}__{NAME}.ipynb"
        notebook = nbformat.reads(text, as_version=4)
        assert student_seeds.seed_in(notebook) == student_seeds.seed_of(2027, student)
        said[student] = numbers(notebook)
    assert said["ada"] != said["ben"]
    assert len({line.rpartition("script: ")[2] for line in said.values()}) == 2
    assert not (own / "handout" / f"{NAME}.zip").exists()


@pytest.mark.parametrize("student", ["ada", "ben"])
def test_a_solution_gets_full_marks_and_is_graded_with_the_students_own_seed(own, student):
    path = own / "autograded" / student / NAME / f"{NAME}.ipynb"
    graded = nbformat.read(path, as_version=4)
    seed = student_seeds.seed_of(2027, student)
    assert student_seeds.seed_in(graded) == seed
    shown = next(cell for cell in graded.cells if cell.source.startswith("SEED"))
    assert shown.outputs[0].text == numbers(graded)  # the cell was run with it
    with Gradebook(f"sqlite:///{own / 'gradebook.db'}") as book:
        found = book.find_submission(NAME, student)
        assert found.score == 16 and found.needs_manual_grade


def test_the_list_of_what_came_says_whose_numbers_a_notebook_has(own):
    listed = (own / "downloaded" / NAME / "collected.txt").read_text("utf-8")
    assert f"ada__{NAME}.ipynb: taken for ada\n" in listed
    assert "taken for ben; late by 2 h 5 min; its numbers are those of ada" in listed
    with Gradebook(f"sqlite:///{own / 'gradebook.db'}") as book:
        late = {s: book.find_submission(NAME, s).total_seconds_late for s in ("ada", "ben")}
    assert late == {"ada": 0, "ben": 7500}


def test_the_list_of_what_to_look_at_knows_the_numbers_of_each(own):
    tool = [sys.executable, ROOT / "tools" / "suspicious_answers.py", "--course", own, NAME]
    done = subprocess.run([*map(str, tool)], capture_output=True, text=True, check=True)
    assert "ben: given_2 differs from what was handed out" in done.stdout
    assert "ada: " not in done.stdout


def test_who_is_not_on_the_list_is_not_graded_and_stops_nobody(own):
    folder = own / "submitted" / "zoe" / NAME
    folder.mkdir(parents=True)
    ada = own / "submitted" / "ada" / NAME / f"{NAME}.ipynb"
    (folder / f"{NAME}.ipynb").write_bytes(ada.read_bytes())
    status, said = nbgrader(own, "autograde", NAME, "--student", "zoe")
    assert status != 0 and "got a submission of 'zoe', who is not in" in said
    assert not (own / "autograded" / "zoe" / NAME / f"{NAME}.ipynb").exists()


def test_a_student_can_be_added_and_none_left_out_once_some_have_handed_in(own, tmp_path):
    (tmp_path / "class.txt").write_text("ada\nben\ncleo\n")
    made(own, "--pack", "--students", tmp_path / "class.txt")
    assert inside(own / "handout" / NAME / "cleo.zip")[0] == f"{NAME}/cleo__{NAME}.ipynb"
    (tmp_path / "class.txt").write_text("ada\ncleo\n")
    done = tool(own, "--pack", "--students", tmp_path / "class.txt")
    assert done.returncode == 1 and "none can be left out" in done.stderr
    assert student_seeds.students(own) == ["ada", "ben", "cleo"]
