"""A chapter that is opened alone: with the package installed, and nothing of the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert import ScriptExporter

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NOTEBOOKS = [*CHAPTERS, *sorted((ROOT / "assignments" / "source").rglob("*.ipynb"))]
BUILD = "import sys; from hatchling import build; build.build_wheel(sys.argv[1])"
FIRST = 5  # cells: imports, what is read, and the first that computes
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from metalearn_lite.judging import result_path
shell = InteractiveShell.instance()
for name, (cells, paths) in json.load(sys.stdin).items():
    for cell in cells:
        shell.run_cell(cell).raise_error()
    for path in paths:
        assert result_path(path).exists()
    shell.reset()
    print("went through", name)
import metalearn_lite
print("package", metalearn_lite.__file__)
"""


def sources(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.iterdir()
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, folder / "site"], check=True)
    return folder / "site"


def test_the_first_cells_of_every_chapter_run_in_an_empty_folder_with_the_wheel_alone(
    site, tmp_path
):
    given = {
        path.stem: (
            (cells := sources(path))[:FIRST],
            re.findall(r'\bresult_path\("([^"]+)"\)', "\n".join(cells)),
        )
        for path in CHAPTERS
    }
    assert sum(len(paths) for _, paths in given.values()) >= 15
    run = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(given),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"package {site}" in run.stdout  # the one of the wheel
    assert run.stdout.count("went through") == len(CHAPTERS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_looks_for_a_file_of_the_repository(path):
    code = "\n".join(sources(path))
    assert not re.findall(r"[\"'](?:\.\.|results|chapters|_static|tests)/", code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_becomes_a_script(path):
    text, resources = ScriptExporter().from_filename(str(path))
    assert resources["output_extension"] == ".py"
    compile(text, path.stem, "exec")
