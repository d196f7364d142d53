"""Nothing to copy: chapters pasted into the cells of an assignment earn next to nothing.

Every function of every chapter is tried for every name that an exercise asks for, with what it
needs of its chapter: under that name, its parameters filled by their names and, where those
differ, by their order. For each name the best one counts.
"""

import ast
import builtins
import sys
from dataclasses import dataclass
from functools import cache

import nbformat
import pytest
from classroom import ROOT, Classroom
from IPython.core.inputtransformer2 import TransformerManager

from metalearn_grading import names

ASSIGNMENTS = sorted(path.name for path in (ROOT / "assignments" / "source").glob("*"))
CODE_POINTS = 16
MOST = CODE_POINTS / 5
KNOWN = frozenset(dir(builtins))


@dataclass(frozen=True)
class Piece:
    """A statement of a chapter that can stand for itself: an import, a function, a constant.

    Attributes:
        source: its text.
        node: the same, read.
        reads, binds: global names.
    """

    source: str
    node: ast.stmt
    reads: frozenset[str]
    binds: frozenset[str]


@dataclass(frozen=True)
class Candidate:
    """A function of a chapter, with all that it needs.

    Attributes:
        name: its chapter and its name.
        function: the function as it is read.
        source: the pieces, the function at the end.
        missing: names that no piece binds.
    """

    name: str
    function: ast.FunctionDef
    source: str
    missing: frozenset[str]


def pieces_of(code):
    """Cut a cell of a chapter into pieces; what computes or draws is left out."""
    text = TransformerManager().transform_cell(code)
    for node in ast.parse(text).body:
        source = ast.get_source_segment(text, node)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
            first = min(decorator.lineno for decorator in node.decorator_list)
            source = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
        reads, binds = map(frozenset, names(source))
        plain = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
        if plain or (isinstance(node, ast.Assign) and reads <= KNOWN | {"torch", "math", "nn"}):
            yield Piece(source, node, reads, binds)


def is_written(function):
    """Say whether a function does something: an exercise of a chapter shows one that does not."""
    body = [n for n in function.body if not isinstance(getattr(n, "value", None), ast.Constant)]
    return bool(body)


def with_its_needs(piece, pieces):
    """Return the pieces that a function needs, in order, itself at the end, and what is missing."""
    found, wanted, missing = [], set(piece.reads), set()
    done = set(piece.binds)
    while wanted:
        name = wanted.pop()
        binding = [other for other in pieces if name in other.binds]
        done.add(name)
        if binding:
            found.append(binding[-1])
            wanted |= set(binding[-1].reads) - done
        elif name not in KNOWN:
            missing.add(name)
    order = [other for other in pieces if any(other is one for one in found)]
    return [*order, piece], missing


def candidates_of(chapter, cells):
    """List the functions of a chapter."""
    pieces = [piece for code in cells for piece in pieces_of(code)]
    for piece in pieces:
        if isinstance(piece.node, ast.FunctionDef) and is_written(piece.node):
            needs, missing = with_its_needs(piece, pieces)
            source = "\n\n".join(one.source for one in needs)
            yield Candidate(f"{chapter}.{piece.node.name}", piece.node, source, frozenset(missing))


@cache
def candidates():
    """List the functions of all chapters."""
    found = []
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        found += candidates_of(path.stem, cells)
    return found


def call(function, asked):
    """Write the call of a function by another one's parameters, or return None if none fits."""
    known = function.args
    takes = [p.arg for p in (*known.posonlyargs, *known.args, *known.kwonlyargs)]
    wishes = [p.arg for p in (*asked.args.args, *asked.args.kwonlyargs)]
    required = len(takes) - len(known.defaults)
    required -= sum(default is not None for default in known.kw_defaults)
    if not known.vararg and not known.kwarg and not required <= len(wishes) <= len(takes):
        return None
    given = {name: name for name in wishes if name in takes}
    free = [name for name in takes if name not in given]
    rest = [name for name in wishes if name not in given]
    given |= dict(zip(free, rest, strict=False))
    left = rest[len(free) :]
    if left and not known.kwarg:
        return None
    given |= {name: name for name in left}
    arguments = ", ".join(f"{name}={value}" for name, value in given.items())
    return f"{function.name}({arguments})"


def renamed(candidate, asked):
    """Write a function of a chapter under the name that is asked for, or return None."""
    called = call(candidate.function, asked)
    if called is None:
        return None
    wishes = ast.unparse(asked.args)
    aside = f"_{candidate.function.name}"  # for the name asked for may be the same
    called = aside + called.removeprefix(candidate.function.name)
    return (
        f"{candidate.source}\n\n\n{aside} = {candidate.function.name}\n\n\n"
        f"def {asked.name}({wishes}):\n    return {called}\n"
    )


class Assignment:
    """The source of an assignment, as it is handed to the checks."""

    def __init__(self, name, folder):
        self.name, self.room = name, Classroom(folder)
        self.room.copy_of(name)
        self.points, self.asked, self.given = {}, {}, set()
        for cell in self.room.notebook(name, "source").cells:
            about = cell.metadata.get("nbgrader", {})
            if cell.cell_type != "code" or not about:
                continue
            if about.get("grade"):
                self.points[about.grade_id] = about.points
            elif about.get("solution"):
                tree = ast.parse(cell.source)
                self.asked[about.grade_id] = [
                    node for node in tree.body if isinstance(node, ast.FunctionDef)
                ]
            else:
                self.given |= names(cell.source)[1]

        self.printed, self.copied = self.trials(self.of_a_chapter()), self.trials(candidates())
        self.earn(self.printed + self.copied)

    def of_a_chapter(self):
        """List the solutions, as if a chapter printed each of them under a name of its own."""
        cells = self.room.notebook(self.name, "source").cells
        imports, found = cells[1].source, []
        for cell in cells:
            about = cell.metadata.get("nbgrader", {})
            for asked in self.asked.get(about.get("grade_id"), [])[:1]:
                code = cell.source.replace(f"def {asked.name}(", "def of_the_chapter(")
                found += candidates_of("printed", [imports, code])
        return [one for one in found if one.name == "printed.of_the_chapter"]

    def trials(self, functions):
        """List what is to be tried: the cell, the name asked for, the candidate, its source."""
        return [
            (cell, asked.name, candidate.name, source)
            for cell, wanted in self.asked.items()
            for asked in wanted
            for candidate in functions
            if candidate.missing <= self.given and (source := renamed(candidate, asked))
        ]

    def earn(self, trials):
        """Find what each trial earns: the points of the checks that say nothing."""
        sources = [{"cell": cell, "source": source, "seconds": 5} for cell, _, _, source in trials]
        found = self.room.try_alone(self.name, sources)["trials"]
        self.earned = {
            (cell, source): sum(
                points
                for check, points in self.points.items()
                if check.split("__")[0] == cell and check not in said
            )
            for (cell, _, _, source), said in zip(trials, found, strict=True)
        }

    def best_of(self, trials):
        """Return the best candidate for each name asked for: its name, and its points."""
        best = {}
        for cell, asked, candidate, source in trials:
            points = self.earned[cell, source]
            if points > best.get((cell, asked), ("", 0))[1]:
                best[cell, asked] = candidate, points
        return best


@pytest.fixture(scope="module", params=ASSIGNMENTS)
def assignment(request, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("grading needs Linux, as the page for teachers says")
    return Assignment(request.param, tmp_path_factory.mktemp(request.param))


def test_a_chapter_that_prints_a_solution_would_be_noticed(assignment):
    best = assignment.best_of(assignment.printed)
    alone = {cell for cell, asked in assignment.asked.items() if len(asked) == 1}
    for cell, asked in best:
        if cell in alone:
            whole = sum(p for c, p in assignment.points.items() if c.split("__")[0] == cell)
            assert best[cell, asked][1] == whole, f"{cell}: {best[cell, asked]}"
    assert {cell for cell, _ in best} >= alone


def test_chapters_pasted_into_the_answers_earn_at_most_a_fifth(assignment):
    assert len(assignment.copied) >= 20  # few functions fit, but some do
    best = assignment.best_of(assignment.copied)
    total = sum(points for _, points in best.values())
    assert total <= MOST, f"{total} of {CODE_POINTS} points: {best}"
