"""The chapters as files."""

import re
from pathlib import Path
from statistics import median

import nbformat
import pytest
import torch
import yaml

from metalearn_lite.datasets import glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import nearest_feature, nearest_pixel
from metalearn_lite.models import conv4
from metalearn_lite.tasks import ImageTasks

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

STUB = re.compile(
    r"^def (\w+)\(.*\): \.\.\.  # your code here\n\n\nattempt\((\w+), \1\)$", re.MULTILINE
)
FENCE = re.compile(r"^`{3,}\{(exercise|solution)(-start|-end)?\} ?(.*)$")  # a title, or a label

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def code_cells(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_chapter_is_in_the_table_of_contents_and_in_the_readme():
    listed = [
        chapter["file"] for part in yaml.safe_load(TOC)["parts"] for chapter in part["chapters"]
    ]
    for path in CHAPTERS:
        name = f"chapters/{path.stem}"
        assert name in listed
        assert f"({name}.ipynb)" in README


@each_chapter
def test_a_chapter_is_stored_as_one_clean_run_left_it(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]


@each_chapter
def test_a_chapter_keeps_to_the_style(path):
    cells = [cell for cell in code_cells(path) if not STUB.search(cell.source)]  # the reader's own
    shown = [cell for cell in cells if "hide-input" not in cell.metadata.get("tags", [])]
    lengths = [cell.source.count("\n") + 1 for cell in shown]
    assert 15 <= len(shown) <= 30
    assert median(lengths) <= 8 and max(lengths) <= 25
    assert max(cell.source.count("\n") + 1 for cell in cells) <= 60  # folded at the foot
    assert not [cell for cell in cells if cell.source.rstrip().endswith(";")]
    lines = [str(o.get("data", {}).get("image/svg+xml", "")) for c in cells for o in c.outputs]
    stored = path.stat().st_size
    assert stored - sum(map(len, lines)) < 1_500_000  # what the page holds; slides take the lines
    assert stored < 2_000_000


@each_chapter
def test_a_chapter_has_cells_whose_output_is_compared(path):
    compared = [c for c in code_cells(path) if "nbval-check-output" in c.metadata.get("tags", [])]
    assert len(compared) >= 3
    assert all(cell.outputs for cell in compared)


@each_chapter
def test_every_number_in_the_prose_comes_from_the_stored_run(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    used = set(re.findall(r"\{glue:[a-z]+\}`([\w-]+)", prose))
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    glued = {o.metadata.scrapbook.name for o in outputs if "scrapbook" in o.get("metadata", {})}
    assert used and used <= glued


def test_the_floor_of_the_first_chapter_is_what_the_package_measures():
    """The numbers in its text and a fresh measurement agree as far as they are printed."""
    outputs = [o for cell in code_cells(ROOT / "chapters/few_examples.ipynb") for o in cell.outputs]
    stored = {
        o.metadata.scrapbook.name: o.data["application/papermill.record/text/plain"].strip("'")
        for o in outputs
        if "scrapbook" in o.get("metadata", {})
    }
    _, _, test = glyphs().split_groups()
    tasks = ImageTasks(test, ways=5, shots=1, queries=15)
    untrained = conv4(5, generator=torch.Generator().manual_seed(0))
    methods = {"nearest-pixel": nearest_pixel, "untrained-features": nearest_feature}
    for name, predict in methods.items():
        generator = torch.Generator().manual_seed(1)
        scores = evaluate(untrained, predict, tasks, episodes=600, generator=generator)
        mean, half_width = map(float, stored[name].split(" ± "))
        assert 100 * scores.mean == pytest.approx(mean, abs=0.15)  # rounding, and other CPUs
        assert 100 * scores.half_width == pytest.approx(half_width, abs=0.15)


# The exercises


def blocks(cells):
    """The exercises and solutions of a chapter in order: kind, label, prose and code cells."""
    found, inside = [], None
    for cell in cells:
        if cell.cell_type == "code" and inside:
            inside["code"].append(cell)
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            fence = FENCE.match(line)
            if fence and fence[2] != "-end":
                inside = {"kind": fence[1], "label": fence[3], "prose": "", "code": []}
                found.append(inside)
            elif inside and line.startswith(":label: "):
                inside["label"] = line.removeprefix(":label: ")
            elif inside:
                inside["prose"] += line + "\n"
            if fence and fence[2] == "-end":
                inside = None
    return found


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.get("name") == "stdout")


def compared(cell):
    return "nbval-check-output" in cell.metadata.get("tags", [])


def faults_of_implement(exercise, solution):
    """What is wrong with an exercise that has a check, a stub that fails it, and a solution."""
    stubs = [cell for cell in exercise["code"] if STUB.search(cell.source)]
    if len(stubs) != 1:
        return ["not one stub"]
    (stub,), found = stubs, []
    name, check = STUB.search(stub.source).groups()
    if not any(cell.source.startswith(f"def {check}({name}):\n") for cell in exercise["code"]):
        found.append("the check is not in the exercise")
    if not (printed(stub).startswith("not yet: ") and compared(stub)):
        found.append("the stub is not seen to fail")
    answers = [c for c in solution["code"] if c.source.endswith(f"\n\n\n{check}({name})")]
    if not any(f"def {name}(" in cell.source and compared(cell) for cell in answers):
        found.append("the solution does not call the same check")
    if not all(printed(c) and "not yet" not in printed(c) for c in answers):
        found.append("the solution does not pass")
    return found


def faults_of_exercises(cells):
    found, all_blocks = [], blocks(cells)
    solutions = {b["label"]: b for b in all_blocks if b["kind"] == "solution"}
    exercises = [b for b in all_blocks if b["kind"] == "exercise"]
    for kind in ("Predict", "Implement", "Investigate"):
        if not any(f"**{kind}" in exercise["prose"] for exercise in exercises):
            found.append(f"no exercise to {kind.lower()}")
    for exercise in exercises:
        solution = solutions.get(exercise["label"])
        if not solution or not solution["code"]:
            found.append(f"{exercise['label']}: no solution that runs")
        elif not all(":class: dropdown" in b["prose"] for b in (exercise, solution)):
            found.append(f"{exercise['label']}: not gated")
        elif "**Implement" in exercise["prose"]:
            found += faults_of_implement(exercise, solution)
    return found


@each_chapter
def test_exercises_are_gated_and_a_stub_fails_the_check_that_the_solution_passes(path):
    assert faults_of_exercises(nbformat.read(path, as_version=4).cells) == []


def in_stub(change):
    return lambda cell: change(cell) if STUB.search(cell.source) else None


def in_solution(change):
    return lambda cell: change(cell) if cell.source.endswith("\ncheck_overlap(overlap)") else None


PLANTED = {
    "an exercise that is open": lambda c: c.update(source=c.source.replace(":class: dropdown", "")),
    "no exercise to predict": lambda c: c.update(source=c.source.replace("**Predict", "**Guess")),
    "no solution": lambda c: c.update(
        source=c.source.replace("{solution-start} ex-inv", "{note} ")
    ),
    "a stub that is solved": in_stub(lambda c: c.update(source=c.source.replace(": ...", ": 1"))),
    "a stub that passes": in_stub(lambda c: c.outputs[0].update(text="overlap() is right\n")),
    "a stub not compared": in_stub(lambda c: c.metadata.update(tags=[])),
    "another check": in_solution(lambda c: c.update(source=c.source.replace("check_", "try_"))),
    "a soft solution": in_solution(
        lambda c: c.update(source=c.source.replace("\ncheck_overlap(", "\nattempt(check_overlap, "))
    ),
    "a wrong solution": in_solution(lambda c: c.outputs[0].update(text="not yet: no\n")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_in_an_exercise_is_found(name):
    cells = nbformat.read(ROOT / "chapters/few_examples.ipynb", as_version=4).cells
    for cell in cells:
        PLANTED[name](cell)
    assert faults_of_exercises(cells) != []


@each_chapter
def test_what_must_hold_is_asserted_and_not_printed(path):
    told = [
        line
        for cell in code_cells(path)
        for output in cell.outputs
        for line in output.get("text", "").splitlines()
        if re.search(r": (True|False)\s*$", line)
    ]
    assert told == []
