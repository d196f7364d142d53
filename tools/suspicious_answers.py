"""List answers that a teacher may want to look at: a reason to ask, and no proof.

    python tools/suspicious_answers.py --course ../few-examples-2027 tasks_and_evaluation

For each submission it names cells that differ from what was handed out, are missing or occur
twice; names in an answer that no exercise needs (the system, frames, internals of the marker); and,
across submissions, answers that are the same up to the names in them, comments and layout.
"""

import argparse
import ast
import copy
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import student_seeds
from nbgrader.utils import compute_checksum  # type: ignore[import-untyped]

LEAST = 40  # parts of a syntax tree: shorter answers are alike by nature
MODULES = frozenset(
    """atexit builtins code ctypes faulthandler gc given importlib inspect io marshal mmap
    multiprocessing os pickle pty requests resource shutil signal socket subprocess sys tempfile
    threading traceback types urllib weakref""".split()  # noqa: SIM905  a list of words is read more easily
)
NAMES = {"__builtins__", "__import__", "compile", "eval", "exec", "globals", "open", "setattr"}
INSIDE = frozenset(
    """__bases__ __class__ __closure__ __code__ __dict__ __globals__ __mro__ __reduce__ __self__
    __subclasses__ __torch_function__ _getframe cr_frame f_back f_globals f_locals gi_frame
    tb_frame""".split()  # noqa: SIM905
)
MARKS = ("metalearn_lite.classroom", "metalearn_grading")
LIBRARIES = {"F", "json", "maml", "math", "nn", "torch"}
Cell = Any


def name_of(cell: Cell) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id") or ""


def written(cell: Cell) -> bool:
    """Say whether a student may write in a cell."""
    what = cell.metadata.get("nbgrader", {})
    return bool(cell.cell_type == "code" and what.get("solution", not name_of(cell)))


def edited(given: Any, submitted: Any) -> Iterator[tuple[str, str]]:
    """Name the locked cells that are not as they were handed out."""
    locked = {name_of(cell): cell for cell in given.cells if name_of(cell) and not written(cell)}
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in submitted.cells:
        found[name_of(cell)].append(cell)
    for name, cell in locked.items():
        if not found[name]:
            yield name, "is missing"
        elif compute_checksum(found[name][0]) != compute_checksum(cell):
            yield name, "differs from what was handed out"
    for name, cells in found.items():
        if name and len(cells) > 1:
            yield name, f"occurs {len(cells)} times"


def internals(source: str) -> Iterator[str]:
    """Name what no exercise needs in the source of an answer."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in INSIDE:
            yield node.attr
        elif isinstance(node, ast.FunctionDef) and node.name in INSIDE:
            yield node.name
        elif isinstance(node, ast.Assign | ast.AugAssign):
            yield from patched(node)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Name the modules of the system, and those that mark, that a statement imports."""
    module = getattr(node, "module", None)
    for name in [module] if module else [alias.name for alias in node.names]:
        inner = [f"{name}.{alias.name}" for alias in node.names] if module else [name]
        if str(name).split(".")[0] in MODULES:
            yield f"import {name}"
        elif any(one.startswith(MARKS) for one in inner):
            yield f"import {inner[0]}"


def patched(node: ast.Assign | ast.AugAssign) -> Iterator[str]:
    """Name what is written into a module or a class."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        root = target
        while isinstance(root, ast.Attribute):
            root = root.value
        outside = isinstance(root, ast.Name) and root.id in {
            "torch",
            "F",
            "nn",
            "maml",
            "math",
            "json",
        }
        if outside and isinstance(target, ast.Attribute):
            yield f"{ast.unparse(target)} = …"


class Nameless(ast.NodeTransformer):
    """Number the names of a source in the order in which they come, and forget what is prose."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def number(self, name: str) -> str:
        return self.known.setdefault(name, f"n{len(self.known)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.number(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self.number(node.arg), None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node


def shape(source: str) -> str:
    """Return a text that sources have in common which differ in names, comments and layout."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    long_enough = sum(1 for _ in ast.walk(tree)) >= LEAST
    return ast.dump(Nameless().visit(tree)) if long_enough else ""


def alike(answers: dict[tuple[str, str], str], given: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield a cell, and the students whose answers in it have the same shape."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (student, cell), source in answers.items():
        form = shape(source)
        if form and form not in given:
            groups[cell, form].append(student)
    for (cell, _), students in groups.items():
        if len(set(students)) > 1:
            yield cell, sorted(set(students))


def as_handed_out(given: Any, course: Path, student: str) -> Any:
    """Return the notebook that a student was given: with numbers of their own, if all have some."""
    try:
        return student_seeds.for_student(copy.deepcopy(given), course, student)
    except ValueError:  # not on the list, or a notebook without a seed
        return given


def main(course: Path, assignment: str) -> list[str]:
    """Return the lines of the list."""
    given = nbformat.read(course / "release" / assignment / f"{assignment}.ipynb", as_version=4)
    handed_out = {shape(cell.source) for cell in given.cells if cell.cell_type == "code"}
    lines, answers = [], {}
    for path in sorted((course / "submitted").glob(f"*/{assignment}/{assignment}.ipynb")):
        student, notebook = path.parts[-3], nbformat.read(path, as_version=4)
        own = as_handed_out(given, course, student)
        lines += [f"{student}: {cell} {what}" for cell, what in edited(own, notebook)]
        for number, cell in enumerate(notebook.cells):
            if written(cell):
                name = name_of(cell) or f"own cell {number + 1}"
                answers[student, name_of(cell)] = cell.source
                found = sorted(set(internals(cell.source)))
                lines += [f"{student}: {name} uses {', '.join(found)}"] if found else []
    pairs = alike({key: source for key, source in answers.items() if key[1]}, handed_out)
    return lines + [
        f"{', '.join(students)}: {cell} is alike up to names" for cell, students in pairs
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--course", type=Path, default=Path(), help="the course's folder")
    parser.add_argument("assignment")
    options = parser.parse_args()
    print("\n".join(main(options.course, options.assignment)) or "nothing to look at")
