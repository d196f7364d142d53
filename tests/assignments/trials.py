"""Try answers in copies of one process, instead of in a kernel for each submission.

The notebook of the solution runs once, from top to bottom. For each trial the process is then
copied; the copy runs the cells that the trial changes, and all that may come out differently
because of them. What it does there ends with the copy, so no answer can harm the next.

    python trials.py COURSE ASSIGNMENT < trials > complaints

Reads a list of trials, each ``{"changes": {cell: source}, "seconds": limit of a check}``.
Writes for the solution and for each trial which cells raised, and what they said. That this
is what nbgrader finds is tested in test_graders.
"""

import ast
import json
import os
import runpy
import symtable
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

LIMIT = 300  # seconds of computing that a trial may take in all
LEFT_OUT = "KernelEnded: this cell ended the kernel; it was left out"  # as in cell_by_cell


@dataclass(frozen=True)
class Source:
    """The source of a cell, and what it has to do with others.

    Attributes:
        reads: the global names that it reads, in its functions too.
        binds: those that it binds when it runs.
        calls: whether something is called when it runs, not only defined.
    """

    text: str
    reads: frozenset[str]
    binds: frozenset[str]
    calls: bool

    @classmethod
    def of(cls, text):
        try:
            table, tree = symtable.symtable(text, "cell", "exec"), ast.parse(text)
        except SyntaxError:  # it runs nothing
            return cls(text, frozenset(), frozenset(), calls=False)
        named = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]  # globals()["name"]
        reads = {name for name in named if isinstance(name, str)} | set(read_in(table))
        binds = {s.get_name() for s in table.get_symbols() if bound(s)}
        return cls(text, frozenset(reads), frozenset(binds), any(map(calls, tree.body)))


def read_in(table):
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from read_in(inner)


def bound(symbol):
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def calls(statement):
    inside = [] if isinstance(statement, ast.FunctionDef) else ast.walk(statement)
    return any(isinstance(node, ast.Call) for node in inside)


class Cells:
    """The code cells of an assignment, in order, and the place where they run."""

    def __init__(self, path):
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        self.sources = {c.metadata.nbgrader.grade_id: Source.of(c.source) for c in cells}
        self.checks = {c.metadata.nbgrader.grade_id for c in cells if c.metadata.nbgrader.grade}
        main = ModuleType("__main__")
        self.shell = InteractiveShell.instance(user_module=main, user_ns=vars(main))
        self.shell.history_manager.enabled = False  # its thread would not be copied
        self.shell.showtraceback = lambda *_, **__: None

    def run(self, text):
        """Run a source and return what it said if it raised, or an empty text."""
        done = self.shell.run_cell(text, store_history=False)
        error = done.error_before_exec or done.error_in_exec
        if error is None:
            return ""
        render = getattr(error, "_render_traceback_", None)
        return "\n".join(render()) if render else f"{type(error).__name__}: {error}"

    def forget(self, names):
        for name in names:
            self.shell.user_ns.pop(name, None)

    def affected(self, changes):
        """Yield the cells to run again, in order, with the sources that they have then.

        They are those that change, those that read a name that one of these binds, and, once
        code of an answer may have run outside of a check, all later checks.
        """
        stale, ran = set(), False
        for name, source in self.sources.items():
            now = Source.of(changes[name]) if name in changes else source
            check = name in self.checks
            if name in changes or now.reads & stale or (ran and check):
                yield name, now, source.binds
                stale |= source.binds | now.binds
                ran = ran or not check and (now.calls or name not in changes)


class Trial:
    """One trial, as often as there are cells that end the process and once more."""

    def __init__(self, cells, changes):
        self.cells, self.changes, self.left_out = cells, changes, {}

    def complaints(self):
        with tempfile.NamedTemporaryFile("w+") as place:
            while True:
                try:
                    return json.loads(run_apart(lambda: self.run(place), seconds=LIMIT))
                except ChildProcessError:
                    place.seek(0)
                    self.left_out[place.read().splitlines()[-1]] = LEFT_OUT

    def run(self, place):
        """Run the cells in this process; write down in which one we are."""
        said = {}
        for name, source, outdated in self.cells.affected(self.changes):
            self.cells.forget(outdated)
            print(name, file=place, flush=True)
            said[name] = self.left_out.get(name) or self.cells.run(source.text)
        return json.dumps({name: words for name, words in said.items() if words})


def main(course, assignment, trials):
    os.chdir(course)
    cells = Cells(course / "source" / assignment / f"{assignment}.ipynb")
    solution = {name: cells.run(source.text) for name, source in cells.sources.items()}
    found = {"solution": {n: words for n, words in solution.items() if words}, "trials": []}
    for trial in trials:
        marking.run_apart = limited(trial["seconds"])
        found["trials"].append(Trial(cells, trial["changes"]).complaints())
    return found


def limited(most):
    """Return ``run_apart`` with less patience: a loop without end need not take its full time."""
    return lambda check, *, seconds: run_apart(check, seconds=min(seconds, most))


if __name__ == "__main__":
    course = Path(sys.argv[1])
    # the environment that nbgrader gives to its kernels, before torch is imported
    runpy.run_path(str(course / "nbgrader_config.py"), {"get_config": Config})
    from metalearn_lite.classroom import marking
    from metalearn_lite.classroom.sandbox import run_apart

    output = sys.stdout
    sys.stdout = open(os.devnull, "w")
    json.dump(main(course, sys.argv[2], json.load(sys.stdin)), output)
