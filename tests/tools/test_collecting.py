"""What students send, sorted: one notebook each, and a list of who was skipped and why."""

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta

import collecting
import nbformat
import pytest
import student_seeds
from collecting import Assignment, Received
from nbformat.v4 import new_code_cell, new_notebook

NAME = "maml"
DUE = datetime(2027, 5, 3, 12, 0, tzinfo=UTC)


def notebook(seed=2027, cell="adapt"):
    given = new_code_cell(f"SEED = {seed}")
    answer = new_code_cell("answer = 1", metadata={"nbgrader": {"grade_id": cell}})
    return new_notebook(cells=[given, answer])


GOOD = nbformat.writes(notebook()).encode()


def wanted(students=(), due=None):
    return Assignment(NAME, frozenset({"transfer"}), notebook(), tuple(students), due)


def file(name, content=GOOD, after=timedelta(0)):
    return Received(name, content, (DUE + after).timestamp())


def sorted_one(name, content=GOOD, **options):
    (line,) = collecting.sort([file(name, content)], wanted(**options))
    return line


def packed(*files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, (2027, 5, 1, 8, 30, 0)), content)
    return target.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "ada__maml.ipynb",
        "course/Ada Lovelace_1815_assignsubmission_file_/ada__maml.ipynb",  # Moodle
        "Ada Lovelace_1815_assignsubmission_file_ada__maml.ipynb",
        "lovelaceada_101_4711_ada__maml.ipynb",  # Canvas
        "lovelaceada_LATE_101_4711_ada__maml-1.ipynb",
        "ada__maml (2).ipynb",  # a browser
    ],
)
def test_a_notebook_is_taken_as_students_and_their_platforms_name_it(name):
    line = sorted_one(name)
    assert line.student == "ada" and str(line) == f"{name}: taken for ada"


@pytest.mark.parametrize(
    "name, why",
    [
        ("maml.ipynb", "it is not called NAME__maml.ipynb"),
        ("ada_maml.ipynb", "it is not called NAME__maml.ipynb, with two underscores"),
        ("a da__maml.ipynb", "it is not called NAME__maml.ipynb"),
        ("=ada__maml.ipynb", "it is not called NAME__maml.ipynb"),
        ("__maml.ipynb", "it is not called NAME__maml.ipynb"),
        ("ada__transfer.ipynb", "it is called transfer: collect it with this one"),
        ("ada__mamba.ipynb", "this course has no assignment mamba"),
        ("ada__maml.pdf", "it is no notebook (.ipynb)"),
        ("ada__maml", "it is no notebook (.ipynb)"),
    ],
)
def test_a_file_with_a_wrong_name_is_skipped_and_says_so(name, why):
    line = sorted_one(name)
    assert line.skipped.startswith(why) and not line.student
    assert str(line).startswith(f"{name}: skipped: ")


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "it is damaged"),
        (GOOD[:-20], "it is damaged"),
        (b"\xff\xfe\x00", "it is damaged"),
        (b"[1, 2]", "it is damaged"),
        (b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "it is damaged"),
        (b"<html>please log in</html>", "it is damaged"),
        (nbformat.writes(notebook(cell="probe")).encode(), "it holds no cell of maml"),
        (nbformat.writes(new_notebook()).encode(), "it holds no cell of maml"),
        (b" " * (collecting.MOST + 1), "it is larger than 50 MB"),
    ],
)
def test_a_damaged_or_strange_notebook_is_skipped(content, why):
    assert sorted_one("ada__maml.ipynb", content).skipped.startswith(why)


def test_who_is_not_on_the_list_is_skipped_and_capitals_are_hinted_at():
    line = sorted_one("Ada__maml.ipynb", students=["ada", "ben"])
    assert line.skipped == "Ada is not in students.txt; ada is"
    assert sorted_one("zoe__maml.ipynb", students=["ada"]).skipped == "zoe is not in students.txt"


def test_what_is_late_is_taken_and_named():
    ada, ben = (file(f"{n}__maml.ipynb") for n in ("ada", "ben"))
    late = Received(ben.name, ben.content, ben.time + 3 * 3600 + 60 * 7)
    lines = collecting.sort([ada, late], wanted(due=DUE))
    assert [line.remark for line in lines] == ["", "late by 3 h 7 min"]
    assert not any(line.skipped for line in lines)


def test_the_newest_of_several_is_taken_whatever_their_order():
    old, new = file("ada__maml.ipynb"), file("ada__maml-1.ipynb", after=timedelta(minutes=5))
    for files in ([old, new], [new, old]):
        lines = {line.received: line for line in collecting.sort(files, wanted())}
        assert lines[new].student == "ada" and "newer" in lines[old].skipped
    broken = file("ada__maml-2.ipynb", b"{", after=timedelta(minutes=9))
    lines = collecting.sort([new, broken], wanted())
    assert not lines[0].skipped and lines[1].skipped  # what is damaged takes nobody's place


def test_a_remark_says_whose_numbers_a_notebook_has():
    own = {name: student_seeds.seed_of(2027, name) for name in ("ada", "ben")}
    for seed, words in (
        (own["ada"], ""),
        (own["ben"], "its numbers are those of ben; it is graded with ada's"),
        (2027, "its numbers are of another seed, 2027; it is graded with ada's"),
    ):
        content = nbformat.writes(notebook(seed)).encode()
        line = sorted_one("ada__maml.ipynb", content, students=own)
        assert line.remark == words and line.student == "ada"
    other = sorted_one("ada__maml.ipynb", nbformat.writes(notebook(5)).encode())
    assert other.remark == "its numbers are of another seed, 5; it is graded with 2027"
    twice = nbformat.writes(new_notebook(cells=[*notebook().cells, *notebook(9).cells])).encode()
    assert "sets no seed, or several" in sorted_one("ada__maml.ipynb", twice).remark


# Archives


def test_archives_are_opened_with_those_inside_and_rubbish_is_passed_over(tmp_path):
    inner = packed(("maml/README.txt", b"read me"), ("maml/ada__maml.ipynb", GOOD))
    outer = packed(
        ("Ada_1_assignsubmission_file_/maml.zip", inner),
        ("__MACOSX/._ben__maml.ipynb", b"?"),
        ("Ben_2_assignsubmission_file_/.ipynb_checkpoints/ben__maml.ipynb", GOOD),
    )
    (tmp_path / "all.zip").write_bytes(outer)
    (found,) = collecting.received(tmp_path)
    assert found.name.endswith("maml.zip/maml/ada__maml.ipynb") and found.content == GOOD
    assert datetime.fromtimestamp(found.time) == datetime(2027, 5, 1, 8, 30)


@pytest.mark.parametrize("place", [10, -30, -5])
def test_a_damaged_archive_is_named_and_stops_nobody(tmp_path, place):
    content = bytearray(packed(("ada__maml.ipynb", GOOD)))
    content[place] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content[: len(content) - 8] if place == -5 else content)
    (tmp_path / "ben__maml.ipynb").write_bytes(GOOD)
    lines = collecting.sort(collecting.received(tmp_path), wanted())
    assert [line.student for line in lines if not line.skipped][-1] == "ben"
    assert place == 10 or "damaged" in next(line.skipped for line in lines if line.skipped)


def test_an_archive_cannot_name_a_place_and_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MOST", 10_000)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb__maml.ipynb", b" " * 10**6)
        archive.writestr("../../eve__maml.ipynb", GOOD)
    (tmp_path / "a.zip").write_bytes(bomb.getvalue())
    bomb, eve = collecting.sort(collecting.received(tmp_path), wanted())
    assert len(bomb.received.content) == 10_001 and "larger than" in bomb.skipped
    assert eve.student == "eve"  # what is taken is written under the student's name alone


def test_the_summary_counts_and_names_those_who_sent_nothing():
    files = [file("ada__maml.ipynb"), file("ben_maml.ipynb")]
    lines = collecting.sort(files, wanted(["ada", "ben", "cleo"]))
    assert collecting.summary(lines, ("ada", "ben", "cleo")) == (
        "1 taken, 1 skipped; nothing from ben, cleo"
    )


def test_a_name_cannot_write_into_the_terminal():
    line = sorted_one("ada\x1b[2J\nben__maml: taken for ben")
    assert "\n" not in str(line) and "\x1b" not in str(line)


def test_a_notebook_whose_cells_are_no_texts_is_damaged():
    strange = json.loads(GOOD)
    strange["cells"][0]["source"] = 7
    assert "damaged" in sorted_one("ada__maml.ipynb", json.dumps(strange).encode()).skipped
