"""The chapters as files."""

import re
from pathlib import Path
from statistics import median

import nbformat
import pytest
import torch
import yaml

from metalearn_lite.baselines import nearest_feature, nearest_pixel
from metalearn_lite.datasets import glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.models import conv4
from metalearn_lite.tasks import ImageTasks

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

STUB = re.compile(
    r"^def (\w+)\(.*\): \.\.\.  # your code here\n\n\nattempt\((\w+), \1\)$", re.MULTILINE
)

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
    lengths = [cell.source.count("\n") + 1 for cell in cells]
    assert 15 <= len(cells) <= 30
    assert median(lengths) <= 8 and max(lengths) <= 25
    assert not [cell for cell in cells if cell.source.rstrip().endswith(";")]
    assert path.stat().st_size < 1_500_000


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
