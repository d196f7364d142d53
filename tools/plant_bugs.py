"""Plant bugs one at a time, and see whether the test file that mirrors the module notices.

    python tools/plant_bugs.py [--seed 0] [--count 15] [room or module ...]

In each room `--count` bugs are drawn from all that could be planted there: a comparison, a sign, a
number, a condition, a keyword or a statement is changed in a copy of the package, and
`tests/ROOM/test_MODULE.py` is run on it. Printed are the survivors and the shares that were found.
Without a bug these tests must pass, or they would notice every one.
What only the type checker reads, and `strict` of a zip that never fails, is left as it is.
A bug that changes nothing that anyone could see stands in tools/equivalent_bugs.toml, with the
reason. With `--all` every bug of the modules that are named is planted. Ends with 1 if fewer than
95 % of all, or than 90 % of a room, were found.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "metalearn_lite"
KNOWN = ROOT / "tools" / "equivalent_bugs.toml"
LIMIT = 240  # seconds after which a test that hangs has noticed
ALL, EACH = 0.95, 0.90
KEPT = ("strict", "bound")  # keywords
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.MatMult: ast.Mult,
}


@dataclass(frozen=True)
class Bug:
    """A change of one place in a module.

    Attributes:
        module: its path in the package.
        line: number of the line.
        text: the line as it is.
        change: what is put there, in words.
        place: which of the places of the module, and which change of that place.
    """

    module: str
    line: int
    text: str
    change: str
    place: tuple[int, int]

    @property
    def room(self) -> str:
        """The folder of the module; modules outside the rooms are one."""
        return self.module.partition("/")[0] if "/" in self.module else "outside the rooms"


def changes_of(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Give what can be planted in place of a node; None takes a statement out."""
    new = deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARISONS:
        new.ops[0] = COMPARISONS[type(new.ops[0])]()
        yield ast.unparse(new), new
    elif isinstance(new, ast.BinOp) and type(new.op) in OPERATORS:
        new.op = OPERATORS[type(new.op)]()
        yield ast.unparse(new), new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield ast.unparse(new), new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        yield ast.unparse(new.operand), new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        yield str(not new.value), ast.Constant(not new.value)
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        yield f"{new.value + 1}", ast.Constant(new.value + 1)
    elif isinstance(new, ast.Call) and new.keywords:
        gone = new.keywords.pop()
        if gone.arg not in KEPT:
            yield f"without {gone.arg}", new
    elif isinstance(new, ast.Expr | ast.AugAssign | ast.Raise):
        yield f"without {ast.unparse(new)[:60]}", None


def bugs_of(module: str, source: str) -> list[Bug]:
    """Return all bugs that can be planted in a module; annotations and docstrings have none."""
    lines = source.splitlines()
    return [
        Bug(module, node.lineno, lines[node.lineno - 1].strip(), change, (index, number))  # type: ignore[attr-defined]
        for index, (_, _, _, node) in enumerate(_places(ast.parse(source)))
        for number, (change, _) in enumerate(changes_of(node))
    ]


def planted(bug: Bug, source: str) -> str:
    """Return the source of a module with a bug in it."""
    index, number = bug.place
    tree = ast.parse(source)
    parent, field, at, node = list(_places(tree))[index]
    _, new = list(changes_of(node))[number]
    siblings = getattr(parent, field)
    if at is None:
        setattr(parent, field, new)
    elif new is None and len(siblings) == 1:
        siblings[at] = ast.Pass()
    elif new is None:
        del siblings[at]
    else:
        siblings[at] = new
    return ast.unparse(ast.fix_missing_locations(tree))


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Give each node that can be changed, with where it hangs."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_docstring(node):
                continue
            if isinstance(node, ast.keyword) and node.arg in KEPT:
                continue
            if next(changes_of(node), None) is not None and hasattr(node, "lineno"):
                yield tree, field, at, node
            yield from _places(node)


def _is_docstring(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)  # type: ignore[attr-defined]


def mirror(module: str) -> Path:
    """Return the test file of a module."""
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


def is_noticed(bug: Bug) -> bool:
    """Plant a bug, and say whether a test of its module notices."""
    source = PACKAGE.joinpath(bug.module).read_text(encoding="utf-8")
    return fails_with(bug.module, planted(bug, source))


def fails_as_it_is(module: str) -> bool:
    """Say whether the tests of a module fail without any bug, so that they would notice all."""
    return fails_with(module, PACKAGE.joinpath(module).read_text(encoding="utf-8"))


def fails_with(module: str, source: str) -> bool:
    """Run the mirror file of a module on a copy of the package that has another source for it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "metalearn_lite")
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        copy.joinpath(module).write_text(source, encoding="utf-8")
        Path(folder, "results").symlink_to(ROOT / "results", target_is_directory=True)
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", str(mirror(module))]
        path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        settings["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and all take their time
        try:
            ran = subprocess.run(
                command, cwd=ROOT, env=os.environ | settings, capture_output=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return True
        finally:
            end_all(folder)
    return ran.returncode != 0


def end_all(folder: str) -> None:
    """End what a bug has left running: all processes that were told of this copy."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if folder in process.environ().get("PYTHONPATH", ""):
                process.kill()


def draw(names: list[str], count: int | None, seed: int) -> list[Bug]:
    """Draw ``count`` bugs of each room, or all of the modules that are named."""
    by_room: dict[str, list[Bug]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        chosen = not names or any(module == n or module.startswith(f"{n}/") for n in names)
        if path.name != "__init__.py" and chosen and mirror(module).exists():
            bugs = bugs_of(module, path.read_text(encoding="utf-8"))
            by_room[bugs[0].room if bugs else module] += bugs
    generator = random.Random(seed)
    return [
        bug
        for bugs in by_room.values()
        for bug in (bugs if count is None else generator.sample(bugs, min(count, len(bugs))))
    ]


def equivalent(known: list[dict[str, str]], bug: Bug) -> bool:
    """Whether a bug is known to change nothing that anyone could see."""
    own = (bug.module, bug.text, bug.change)
    return any((one["module"], one["line"], one["change"]) == own for one in known)


def main() -> int:
    """Plant the bugs and say which were not noticed."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("names", nargs="*", help="rooms or modules, such as maml or maml/plain.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=15)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    known = tomllib.loads(KNOWN.read_text(encoding="utf-8")).get("bug", [])
    bugs = draw(options.names, None if options.all else options.count, options.seed)
    shares: dict[str, list[bool]] = defaultdict(list)
    modules = sorted({bug.module for bug in bugs})
    with ThreadPoolExecutor(options.jobs) as pool:
        fail = [m for m, it in zip(modules, pool.map(fails_as_it_is, modules), strict=True) if it]
        if fail:
            print(f"the tests of {', '.join(fail)} fail without any bug")
            return 1
        for bug, right in zip(bugs, pool.map(is_noticed, bugs), strict=True):
            right = right or equivalent(known, bug)
            shares[bug.room].append(right)
            if not right:
                print(
                    f"{bug.module}:{bug.line}: {bug.text}\n    survived: {bug.change}", flush=True
                )
    for room, found in shares.items():
        print(f"{room:20} {sum(found):4} of {len(found)}")
    every = [right for found in shares.values() for right in found]
    print(f"{'all':20} {sum(every):4} of {len(every)}")
    enough = all(sum(found) >= EACH * len(found) for found in shares.values())
    return int(not enough or sum(every) < ALL * len(every))


if __name__ == "__main__":
    sys.exit(main())
