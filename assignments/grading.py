"""Grade a notebook without running any of it here: nbgrader's preprocessors of the course.

`HandedOut` puts what a student wrote into the notebook that was handed out, whatever else was
edited, copied or deleted. `Judged` opens a room for it, shows there what its cells say, lets each
check ask its answer in a fresh copy of the room, and writes the verdict into the cell of the
check, where nbgrader looks for it. `metalearn_lite.classroom` says what runs where.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

import nbformat
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor

from metalearn_grading import Room, have_walls, names, needed
from metalearn_lite.classroom import NotYet
from metalearn_lite.classroom.marking import asking

HERE = Path(__file__).resolve().parent
MOST = 20_000  # characters of a text, and a hundred times as many of a picture
Cell = Any


def kind(cell: Cell) -> str:
    """Say what a cell is: "text", "check", "answer", "given", "shows", or the student's "own"."""
    what = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code":
        return "text"
    if not what.get("grade_id"):
        return "own"
    if what.get("grade"):
        return "check"
    if what.get("solution"):
        return "answer"
    return "shows" if "shows" in cell.metadata.get("tags", []) else "given"


class HandedOut(NbGraderPreprocessor):
    """Put what a student wrote into the notebook that was handed out."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Return the notebook that was handed out, with the answers and cells of a student."""
        where = resources["nbgrader"]
        path = HERE / "release" / where["assignment"] / f"{where['notebook']}.ipynb"
        return filled(nbformat.read(path, as_version=4), nb), resources


def filled(given: Any, submitted: Any) -> Any:
    """Fill a notebook that was handed out with what a student has submitted.

    Of the cells to be written there is one each, the first; a second one with its name is a cell
    of the student's own. Cells of their own stay behind the one that they stood behind.
    """
    known = {name_of(cell): cell for cell in given.cells}
    answers, own, last = {}, {}, ""
    for cell in submitted.cells:
        name = name_of(cell)
        original = known.get(name)
        if original is not None and name not in answers:
            last, answers[name] = name, cell.source
        elif original is None or writes(original):
            cell.metadata.pop("nbgrader", None)
            own.setdefault(last, []).append(cell)
    cells = []
    for cell in given.cells:
        name = name_of(cell)
        if writes(cell) and name in answers:
            cell.source = answers[name]
        cells += [cell, *own.get(name, [])]
    given.cells = [*own.get("", []), *cells]
    return given


def name_of(cell: Cell) -> str:
    """Return the name that nbgrader has for a cell, or else that of the cell itself."""
    return cell.metadata.get("nbgrader", {}).get("grade_id") or cell.get("id", "")


def writes(cell: Cell) -> bool:
    """Say whether a cell was handed out to be written in."""
    what = cell.metadata.get("nbgrader", {})
    return bool(what.get("solution", cell.cell_type == "markdown"))


class Judged(NbGraderPreprocessor):
    """Show what the cells of a student do, and let each check ask its answer."""

    known: ClassVar[dict[tuple[str, ...], dict[str, Any]]] = {}

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Write outputs into all cells; those of the checks are the verdicts."""
        if not have_walls():
            self.log.warning("No walls on this system: see the page for teachers, 'Walls'")
        outputs = judged([cell for cell in nb.cells if cell.cell_type == "code"])
        cells = (cell for cell in nb.cells if cell.cell_type == "code")
        for number, (cell, found) in enumerate(zip(cells, outputs, strict=True), start=1):
            cell.outputs, cell.execution_count = found, number
        return nb, resources


def judged(cells: list[Cell]) -> list[list[Any]]:
    """Return the outputs of the code cells of a notebook."""
    given = [cell.source for cell in cells if kind(cell) == "given"]
    others = [cell for cell in cells if kind(cell) in ("answer", "shows", "own")]
    sources = [cell.source for cell in others]
    checking = dict(given_names(tuple(given)))
    with Room(given, sources) as room:
        said, lost = room.show(list(range(len(others))))
        printed, found = iter(room.said), []
        for at, cell in enumerate(cells):
            if kind(cell) == "check":
                above = sum(kind(c) in ("answer", "shows", "own") for c in cells[:at])
                room.needs(cells_for(cell, others[:above]), lost)
                found.append([verdict(cell.source, checking, room)])
            elif kind(cell) == "given":
                found.append(as_outputs([{"text": next(printed)}]))
            else:
                number = next(n for n, other in enumerate(others) if other is cell)
                ended = [{"error": lost[number]}] if number in lost else []
                found.append(as_outputs([*said.get(number, []), *ended]))
    return found


def cells_for(check: Cell, above: list[Cell]) -> list[int]:
    """Return the numbers of the student's cells that the answer to a check needs."""
    exercise = name_of(check).split("__")[0]
    theirs = [cell.source if kind(cell) != "shows" else "" for cell in above]
    wanted = [number for number, cell in enumerate(above) if name_of(cell) == exercise]
    asked = set().union(*(names(theirs[number])[1] for number in wanted))
    return needed(theirs, wanted, asked)


def verdict(source: str, checking: dict[str, Any], room: Room) -> Any:
    """Run a check, and return an output that says "right" or what is wrong."""
    try:
        with redirect_stdout(io.StringIO()) as said, asking(room):
            exec(compile(source, "<check>", "exec"), checking)
    except NotYet as error:
        words = f"NotYet: {error}"
    except Exception as error:  # of the check itself
        words = f"{type(error).__name__}: {error}"
    else:
        return new_output("stream", name="stdout", text=said.getvalue())
    return new_output("error", ename="NotYet", evalue=words, traceback=[words])


def given_names(given: tuple[str, ...]) -> dict[str, Any]:
    """Run the cells that are given, once for all submissions, and return what they define."""
    if given not in Judged.known:
        Judged.known.clear()  # where students have seeds of their own, each has other cells
        Judged.known[given] = {"__name__": "given"}
        with redirect_stdout(io.StringIO()):
            for source in given:
                exec(compile(source, "<given>", "exec"), Judged.known[given])
    return Judged.known[given]


def as_outputs(said: Any) -> list[Any]:
    """Write what a room says of a cell as outputs: texts and pictures, of a limited size."""
    found = []
    for words in said[:100] if isinstance(said, list) else []:
        for what, text in words.items() if isinstance(words, dict) else ():
            if isinstance(text, str) and text:
                found.append(as_output(what, text))
    return [output for output in found if output]


def as_output(what: str, text: str) -> Any:
    """Write one text or picture as an output of a cell."""
    if what == "picture" and len(text) < 100 * MOST and text.isascii():
        return new_output("display_data", data={"image/png": text})
    if what == "error":
        return new_output("error", ename="Error", evalue=text[:MOST], traceback=[text[:MOST]])
    return new_output("stream", name="stdout", text=text[:MOST]) if what == "text" else None
