"""The count of the lines of code: what counts, what is written, and when the check fails."""

import sys

import count_code
import pytest

SOURCE = '''"""A module.

Of two paragraphs.
"""

import math  # a comment beside code

# a comment


class Circle:
    """A circle."""

    radius: float = 1.0
    """What is said of an attribute."""

    def area(self):
        """Return the area."""
        return (
            math.pi
            # a comment within
            * self.radius**2
        )


TEXT = """one

three"""
NOT_A_DOCSTRING = len("text")
'''


def test_code_counts_and_docstrings_comments_and_blank_lines_do_not():
    # import, class, radius, def, the four lines of return, the three of TEXT, the last
    assert count_code.code_lines(SOURCE) == 4 + 4 + 3 + 1


def test_a_module_of_a_docstring_alone_has_no_code():
    assert count_code.code_lines('"""Nothing."""\n') == 0
    assert count_code.code_lines("") == 0


def test_code_behind_a_docstring_on_its_line_counts():
    assert count_code.code_lines('def f(): """Say nothing."""\n') == 1
    assert count_code.code_lines('"""A module."""; import math\n') == 1


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two rooms, of which the first parts need a module and a room."""
    modules = {"tasks.py": 2, "reptile/__init__.py": 1, "reptile/steps.py": 3, "maml/fast.py": 4}
    for name, lines in modules.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n" * lines)
    (tmp_path / "grading").mkdir()
    (tmp_path / "grading" / "room.py").write_text("x = 1\n" * 5)
    monkeypatch.setattr(count_code, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(count_code, "TEACHERS", tmp_path / "grading")
    monkeypatch.setattr(count_code, "NEEDED", ("tasks.py", "reptile"))
    return tmp_path / "package"


TABLE = """| room | modules | lines of code |
|---|---|---|
| outside the rooms | 1 | 2 |
| `maml` | 1 | 4 |
| `reptile` | 2 | 4 |
| **what a student needs for the first five parts** | 3 | 6 of at most 1,500 |
| **the whole package** | 4 | 10 of at most 8,000 |
| **`metalearn_grading`, which only a teacher's machine needs** | 1 | 5 of at most 450 |"""


def test_the_table_has_a_row_a_room_and_three_totals(package):
    assert count_code.table(count_code.count(package)) == TABLE


def test_what_the_first_parts_need_is_in_the_package(package, monkeypatch):
    assert list(count_code.needed(count_code.count(package))) == [
        "tasks.py",
        "reptile/__init__.py",
        "reptile/steps.py",
    ]
    monkeypatch.setattr(count_code, "NEEDED", ("reptile", "transfer"))
    with pytest.raises(SystemExit, match=r"transfer is not in the package: mend NEEDED"):
        count_code.needed(count_code.count(package))


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["count_code.py", *map(str, options)])
    count_code.main()


def test_what_was_written_passes_the_check_until_the_code_changes(package, tmp_path, monkeypatch):
    page = tmp_path / "PAGE.md"
    before, after = "# Size ×\n\n<!-- code count -->\n", "<!-- end of code count -->\nAfter.\n"
    page.write_text(f"{before}old\n{after}", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"PAGE\.md is out of date: run `make count`"):
        run(monkeypatch, "--check", page)
    for _ in range(2):  # the second time there is nothing to do
        run(monkeypatch, "--write", page)
        assert page.read_text(encoding="utf-8") == f"{before}{TABLE}\n{after}"
    run(monkeypatch, "--check", page)
    (package / "tasks.py").write_text("x = 1\n# a comment is no code\ny = 2\n")
    run(monkeypatch, "--check", page)
    (package / "tasks.py").write_text("x = 1\ny = 2\nz = 3\n")
    with pytest.raises(SystemExit, match="out of date"):
        run(monkeypatch, "--check", page)


@pytest.mark.parametrize(
    ("name", "cap"), [(count_code.FIRST_PARTS, 5), (count_code.ALL, 9)], ids=["first parts", "all"]
)
def test_the_check_says_by_how_much_a_cap_is_exceeded(package, tmp_path, monkeypatch, name, cap):
    page = tmp_path / "PAGE.md"
    page.write_text("<!-- code count -->\n<!-- end of code count -->\n")
    monkeypatch.setattr(count_code, "CAPS", count_code.CAPS | {name: cap + 1})
    run(monkeypatch, "--write", page)
    run(monkeypatch, "--check", page)  # as many as allowed
    monkeypatch.setattr(count_code, "CAPS", count_code.CAPS | {name: cap})
    run(monkeypatch, "--write", page)
    with pytest.raises(SystemExit, match=f"{name} has {cap + 1} lines of code, 1 above") as error:
        run(monkeypatch, "--check", page)
    assert "out of date" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        "<!-- code count -->\nno end",
        "<!-- end of code count -->\n<!-- code count -->\n",
        "in a line: <!-- code count -->\n<!-- end of code count -->\n",
    ],
)
def test_a_file_without_a_place_for_the_table_is_named(package, tmp_path, monkeypatch, text):
    page = tmp_path / "PAGE.md"
    page.write_text(text)
    for option in ("--write", "--check"):
        with pytest.raises(SystemExit, match=r"PAGE\.md has no place for the table"):
            run(monkeypatch, option, page)
    assert page.read_text() == text


def test_the_modules_are_listed(package, monkeypatch, capsys):
    run(monkeypatch, "--modules")
    assert "    3 reptile/steps.py\n" in capsys.readouterr().out
