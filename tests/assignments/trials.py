"""Try each answer alone, in a copy of one process, where nbgrader needs a kernel for all.

The notebook of the solution runs once, from top to bottom. For each trial the process is
copied. The copy runs the cell with the answer and the checks that have to do with it, and
ends: no answer can meet what another has left behind.

    python trials.py COURSE ASSIGNMENT < trials > complaints

Reads a list of trials, ``{"cell": id, "source": answer, "seconds": limit of a check}``. Writes
which cells raised, and what they said: in the solution, in each trial, and in the solution once
more where all answers were used before. That nbgrader finds the same is tested in test_graders.
"""

import ast
import io
import json
import re
import runpy
import symtable
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

LIMIT = 200  # seconds of computing for a copy: none comes near it
ENDS = re.compile(r"never ends|ended the process|it crashed")


class Source:
    """The source of a cell, and which names it shares with others.

    Attributes:
        text: the source.
        statements: for each of them the global names that it reads, in its functions too, and
            those that it binds.
        acts: whether it defines or calls something: more than numbers and texts.
    """

    def __init__(self, text):
        self.text = text
        try:
            body = ast.parse(text).body
        except SyntaxError:
            body = []  # it does nothing
        self.statements = [names_in(statement) for statement in body]
        kinds = ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Call
        self.acts = any(isinstance(node, kinds) for line in body for node in ast.walk(line))

    @property
    def binds(self):
        return set().union(*(binds for _, binds in self.statements))

    @property
    def reads(self):
        return set().union(*(reads for reads, _ in self.statements))

    def spoiled_by(self, stale):
        """Return what it binds from the first statement on that reads one of these names."""
        for number, (reads, _) in enumerate(self.statements):
            if reads & stale:
                return set().union(*(binds for _, binds in self.statements[number:]))
        return set()


def names_in(statement):
    """Return the global names that a statement reads and binds."""
    texts = [n.value for n in ast.walk(statement) if isinstance(n, ast.Constant)]
    reads = {text for text in texts if isinstance(text, str)}  # as in globals()["prediction"]
    tables = [symtable.symtable(ast.unparse(statement), "cell", "exec")]
    binds = {s.get_name() for s in tables[0].get_symbols() if not only_read(s)}
    for table in tables:  # grows by the functions in it
        tables += table.get_children()
        found = [s for s in table.get_symbols() if s.is_referenced()]
        reads |= {s.get_name() for s in found if table is tables[0] or s.is_global()}
    return reads, binds


def only_read(symbol):
    return not (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())


class Notebook:
    """The code cells of an assignment in order, and the place where they run."""

    def __init__(self, path):
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        self.sources = {c.metadata.nbgrader.grade_id: Source(c.source) for c in cells}
        self.checks = {c.metadata.nbgrader.grade_id for c in cells if c.metadata.nbgrader.grade}
        self.answers = {c.metadata.nbgrader.grade_id for c in cells if c.metadata.nbgrader.solution}
        main, config = ModuleType("__main__"), Config()
        config.HistoryManager.enabled = False  # a copy has no thread that would write it
        self.shell = InteractiveShell.instance(user_module=main, user_ns=vars(main), config=config)
        self.shell.showtraceback = lambda *_, **__: None

    def run(self, text):
        """Run a source and return what it said if it raised, or an empty text."""
        done = self.shell.run_cell(text, store_history=False)
        error = done.error_before_exec or done.error_in_exec
        if error is None:
            return ""
        render = getattr(error, "_render_traceback_", None)
        return "\n".join(render()) if render else f"{type(error).__name__}: {error}"

    def run_again(self, cells):
        """Run cells without what they have bound before; return what those said that raised."""
        said = {}
        for name, source in cells.items():
            for old in self.sources[name].binds:
                self.shell.user_ns.pop(old, None)
            said[name] = self.run(source.text)
        return {name: words for name, words in said.items() if words}

    def affected(self, changes):
        """Return the cells that change and those that read a name which comes out differently.

        Each with the source that it has then, and with those of its names that are new.
        """
        found, stale = {}, set()
        for name, source in self.sources.items():
            if name in changes:
                found[name] = changes[name], source.binds | changes[name].binds
            elif source.reads & stale:
                found[name] = source, source.spoiled_by(stale)
            else:
                continue
            stale |= found[name][1]
        return found

    def to_check(self, changes):
        """Return the cells that change, the checks that are affected, and what these need."""
        found, needed = {}, set()
        for name, (source, new) in reversed(self.affected(changes).items()):
            if name in changes or name in self.checks or new & needed:
                found[name] = source
                needed |= source.reads
        return dict(reversed(found.items()))

    def users(self, cell, answer):
        """Return an answer with the cells that use it where another exercise could feel it.

        Checks are not among them: they use it in processes of their own.
        """
        order = list(self.sources)
        others = [order.index(name) for name in self.checks if not name.startswith(f"{cell}__")]
        found = self.affected({cell: answer}) if answer.acts else {}
        return {
            name: source
            for name, (source, _) in found.items()
            if name not in self.checks and order.index(name) < max(others)
        }


def main(course, assignment, trials):
    notebook = Notebook(course / "source" / assignment / f"{assignment}.ipynb")
    solution = {name: notebook.run(source.text) for name, source in notebook.sources.items()}
    said = [tried(notebook, **trial) for trial in trials]
    return {
        "solution": {name: words for name, words in solution.items() if words},
        "trials": said,
        "after all": after_all(notebook, list(usable(trials, said))),
    }


def tried(notebook, *, cell, source, seconds):
    """Return the complaints about one answer."""
    marking.run_apart = hurried(seconds)
    cells = notebook.to_check({cell: Source(source)})
    return apart(lambda: notebook.run_again(cells))


def hurried(most):
    """Return ``run_apart`` with less patience, for a loop that has no end in any time."""
    return lambda check, *, seconds: run_apart(check, seconds=min(seconds, most))


def usable(trials, said):
    """Yield the answers, but for those with which a cell would not come to its end."""
    for trial, complaints in zip(trials, said, strict=True):
        if not any(ENDS.search(words) for words in complaints.values()):
            yield trial["cell"], Source(trial["source"])


def after_all(notebook, answers):
    """Return the complaints about the solution in a process where all answers were used.

    What an answer changes outside of its check, in a network or in a setting of the library,
    stays there. Not a mark may hang on it.
    """
    used = [users for users in (notebook.users(*answer) for answer in answers) if len(users) > 1]
    solution = {name: notebook.sources[name] for name in notebook.answers}

    def use_all_and_check():
        for users in used:
            notebook.run_again(users)
        return notebook.run_again(notebook.to_check(solution))

    marking.run_apart = run_apart
    return apart(use_all_and_check) if used else {}


def apart(function):
    return json.loads(run_apart(lambda: json.dumps(function()), seconds=LIMIT))


if __name__ == "__main__":
    course = Path(sys.argv[1])
    # the environment that nbgrader gives to its kernels, before torch is imported
    runpy.run_path(str(course / "nbgrader_config.py"), {"get_config": Config})
    from metalearn_lite.classroom import marking
    from metalearn_lite.classroom.sandbox import run_apart

    with redirect_stdout(io.StringIO()):
        found = main(course, sys.argv[2], json.load(sys.stdin))
    json.dump(found, sys.stdout)
