"""Each exercise stands alone: it reads its own section and the opening, and names what it asks."""

import ast
import builtins
import re

import nbformat
import pytest
from classroom import ROOT

from metalearn_grading import names

ASSIGNMENTS = sorted(path.name for path in (ROOT / "assignments" / "source").glob("*"))


def kind(cell):
    """Say what a cell is: "text", "check", "answer", "given" or "shows"."""
    what = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code":
        return "text"
    if what.get("grade"):
        return "check"
    if what.get("solution"):
        return "answer"
    return "shows" if "shows" in cell.metadata.get("tags", []) else "given"


def sections(assignment):
    """Return the cells of the opening, and those below each heading of an exercise."""
    path = ROOT / "assignments" / "source" / assignment / f"{assignment}.ipynb"
    found = [[]]
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            found.append([])
        found[-1].append(cell)
    return found


def bound_in(cells, *kinds):
    return set().union(*(names(c.source)[1] for c in cells if kind(c) in kinds))


def strangers(cells, opening):
    """Return what each cell reads that neither the opening nor the cells before it define."""
    known = bound_in(opening, "given", "shows") | set(dir(builtins)) | {"__name__"}
    found = {}
    for at, cell in enumerate(cells):
        if kind(cell) == "text":
            continue
        reads, binds = names(cell.source)
        # a question of this section may stand below the cell that shows what an answer does
        above = bound_in(cells[:at], "given", "shows") | bound_in(cells, "given")
        if kind(cell) == "shows":
            above |= bound_in(cells[:at], "answer")
        missing = reads - binds - known - above
        if missing:
            found[cell.metadata.nbgrader.grade_id] = sorted(missing)
    return found


def asked_for(cells, everything):
    """Return the names in answers that questions have as parameters."""
    wanted = set()
    for cell in everything:
        if kind(cell) == "given":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef):
                    wanted |= {a.arg for a in (*node.args.posonlyargs, *node.args.args)}
    found = set()
    for cell in cells:
        if kind(cell) == "answer":
            body = ast.parse(cell.source).body
            found |= {node.name for node in body if isinstance(node, ast.FunctionDef)}
            inside = cell.source.partition("### BEGIN SOLUTION")[2].partition("### END")[0]
            if not inside.lstrip("\n").startswith(" "):  # the body of a function
                found |= names(inside)[1]
    return found & wanted


def released(source):
    """Return what students get of a cell in which they write."""
    return re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "", source, flags=re.DOTALL)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_no_exercise_needs_a_name_of_another_or_of_a_check(assignment):
    opening, *exercises = sections(assignment)
    assert not any(kind(cell) in ("check", "answer") for cell in opening)
    found = [strangers(cells, opening) for cells in exercises]
    assert [of for of in found if of] == []


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_what_is_asked_for_stands_in_the_task(assignment):
    opening, *exercises = sections(assignment)
    everything = [cell for cells in (opening, *exercises) for cell in cells]
    for cells in exercises:
        if any(kind(cell) == "answer" for cell in cells):
            text = "\n".join(cell.source for cell in cells if kind(cell) == "text")
            shown = "\n".join(released(c.source) for c in cells if kind(c) == "answer")
            asked = asked_for(cells, everything)
            assert asked, f"nothing is asked of {cells[0].source.splitlines()[0]}"
            assert {n for n in asked if f"`{n}`" not in text and f"def {n}(" not in shown} == set()


def test_a_name_of_another_exercise_is_found():
    cell = nbformat.v4.new_code_cell
    about = {"nbgrader": {"grade_id": "x", "grade": False, "solution": False}}
    shows = cell("print(answer, other)", metadata=about | {"tags": ["shows"]})
    answer = cell(
        "answer = 1", metadata={"nbgrader": {"grade_id": "a", "grade": False, "solution": True}}
    )
    given = cell("other = 2", metadata=about)
    assert strangers([answer, shows], []) == {"x": ["other"]}
    assert strangers([answer, shows], [given]) == {}
    assert strangers([shows, answer], [given]) == {"x": ["answer"]}
