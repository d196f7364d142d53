"""Try answers one by one, each through the checks of its exercise, as the grader asks them.

    python trials.py COURSE ASSIGNMENT < trials > complaints

Reads a list of trials, ``{"cell": id, "source": answer, "seconds": limit of a check}``. Writes
which checks failed, and what they said: of the solution, and in each trial. That nbgrader finds
the same is tested in test_graders.
"""

import json
import os
import runpy
import sys
from pathlib import Path

import nbformat
from traitlets.config import Config

ONE_ROOM = 100  # answers: cells that are given may train for seconds, once in each room


class Hurried:
    """A room with less patience, for a loop that has no end in any time."""

    def __init__(self, room, most):
        self.room, self.most = room, most

    @property
    def hidden(self):
        return self.room.hidden

    def opened(self, *, closed, seconds, seed):
        return self.room.opened(closed=closed, seconds=min(seconds, self.most), seed=seed)


class Notebook:
    """The code cells of an assignment, and where its checks ask."""

    def __init__(self, path):
        self.cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        self.given = [c.source for c in self.cells if grading.kind(c) == "given"]
        self.checking = dict(grading.given_names(tuple(self.given)))
        self.checks = [c for c in self.cells if grading.kind(c) == "check"]
        self.answers = {
            grading.name_of(c): c.source for c in self.cells if grading.kind(c) == "answer"
        }

    def tried(self, trials):
        """Return what the checks said of each answer, and of none if they are right."""
        found, waiting = [], list(trials)
        while waiting:
            now, waiting = waiting[:ONE_ROOM], waiting[ONE_ROOM:]
            sources = [trial["source"] for trial in now]
            with Room(self.given, sources) as room:
                found += [self.try_one(room, n, trial) for n, trial in enumerate(now)]
        return found

    def try_one(self, room, number, trial):
        said = {}
        for check in self.checks:
            if grading.name_of(check).split("__")[0] == trial["cell"]:
                room.needs([number], {})
                output = grading.verdict(
                    check.source, self.checking, Hurried(room, trial["seconds"])
                )
                said[grading.name_of(check)] = output.get("evalue", "")
        return {check: words for check, words in said.items() if words}


def main(path, trials):
    notebook = Notebook(path)
    solution = [{"cell": c, "source": s, "seconds": 60} for c, s in notebook.answers.items()]
    said = notebook.tried([*solution, *trials])
    of_solution = {c: words for one in said[: len(solution)] for c, words in one.items()}
    return {"solution": of_solution, "trials": said[len(solution) :]}


if __name__ == "__main__":
    course = Path(sys.argv[1])
    # the environment that nbgrader gives to its checks, before torch is imported
    runpy.run_path(str(course / "nbgrader_config.py"), {"get_config": Config})
    import grading

    from metalearn_grading.asking import Room

    stdout, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    name = sys.argv[2]
    json.dump(main(course / "source" / name / f"{name}.ipynb", json.load(sys.stdin)), stdout)
    stdout.close()
