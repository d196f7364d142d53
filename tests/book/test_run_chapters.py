"""The tool that executes the stored chapters in place: what it stores, and when it writes times."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
TABLE = """| chapter | question | run time, memory |
|---|---|---|
| [First](chapters/first.ipynb) | Why? | 99 s, 9.9 GB |
| [Second](chapters/second.ipynb) | How? | 99 s, 9.9 GB |
"""
TIME = "about 99 seconds on two cores"
TRANSPORT = "ipc" if os.name == "posix" else "tcp"
SOURCE = """import json, os, sys
import ipywidgets
from ipykernel.connect import get_connection_file
with open(get_connection_file()) as file:
    transport = json.load(file)["transport"]
print(os.getcwd(), os.environ.get("OMP_NUM_THREADS"), transport)
print("a bar of progress", file=sys.stderr)
ipywidgets.IntSlider(3)"""


@pytest.fixture
def tool(tmp_path):
    """The tool, at work in a small repository of its own with two chapters."""
    return tool_in(tmp_path)


def tool_in(folder):
    shutil.copytree(ROOT / "tools", folder / "tools")
    (folder / "README.md").write_text(TABLE)
    (folder / "chapters").mkdir()
    for name in ("first", "second"):
        write(folder, name, SOURCE)
    threads = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def run(*options, **settings):
        command = [sys.executable, folder / "tools" / "run_chapters.py", *map(str, options)]
        return subprocess.run(command, env=threads | settings, capture_output=True, text=True)

    return run


def write(folder, name, source):
    cell = new_code_cell(source, outputs=[new_output("stream", name="stdout", text="old\n")])
    cell.metadata |= {"tags": ["remove-stderr"], "execution": {"iopub.execute_input": "yesterday"}}
    notebook = new_notebook(cells=[new_markdown_cell(f"It takes {TIME}."), cell])
    notebook.metadata |= {"kernelspec": {"name": "another"}, "widgets": {}}
    nbformat.write(notebook, folder / "chapters" / f"{name}.ipynb")


def read(folder, name):
    return nbformat.read(folder / "chapters" / f"{name}.ipynb", as_version=4)


def test_a_chapter_is_stored_with_its_outputs_and_times_but_without_what_passes(tool, tmp_path):
    done = tool(tmp_path / "chapters" / "first.ipynb")
    assert done.returncode == 0, done.stderr
    text, code = read(tmp_path, "first").cells
    stream, slider = code.outputs
    assert (
        stream.text == f"{tmp_path / 'chapters'} None {TRANSPORT}\n" and code.execution_count == 1
    )
    assert list(slider.data) == ["text/plain"] and "execution" not in code.metadata
    assert set(read(tmp_path, "first").metadata) == {"kernelspec", "language_info"}
    assert "about 5 seconds on two cores" in text.source
    first, second = (tmp_path / "README.md").read_text().splitlines()[2:]
    assert first.startswith("| [First](chapters/first.ipynb) | Why? | 5 s, 0.")
    assert second == TABLE.splitlines()[3]
    assert "old" in read(tmp_path, "second").cells[1].outputs[0].text  # was not asked for


@pytest.mark.parametrize(("option", "threads"), [(("--keep-times",), None), (("--jobs", 2), 1)])
def test_no_time_is_written_on_a_busy_machine(tool, tmp_path, option, threads):
    done = tool(*option)
    assert done.returncode == 0, done.stderr
    for name in ("first", "second"):
        text, code = read(tmp_path, name).cells
        assert code.outputs[0].text == f"{tmp_path / 'chapters'} {threads} {TRANSPORT}\n"
        assert TIME in text.source
    assert (tmp_path / "README.md").read_text() == TABLE
    said = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert said == ["first.ipynb", "second.ipynb"]


def test_a_chapter_that_fails_stays_as_it_is_and_ends_the_run(tool, tmp_path):
    write(tmp_path, "first", "raise ValueError('the reason')")
    before = (tmp_path / "chapters" / "first.ipynb").read_text()
    done = tool("--keep-times")
    assert done.returncode == 1 and "the reason" in done.stderr and done.stdout == ""
    assert (tmp_path / "chapters" / "first.ipynb").read_text() == before
    assert read(tmp_path, "second").cells[1].outputs[0].text == "old\n"


def test_a_folder_may_have_any_name(tmp_path):
    course = tmp_path / "Käthes Kurs & mehr, 100 % (2)'"
    course.mkdir()
    done = tool_in(course)("--keep-times")
    assert done.returncode == 0, done.stderr
    assert read(course, "second").cells[1].outputs[0].text.startswith(f"{course / 'chapters'} ")


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a kernel is never spoken to by files")
def test_where_temporary_files_have_long_names_a_kernel_is_spoken_to_by_the_loopback(
    tool, tmp_path
):
    deep = tmp_path / ("t" * 102)
    deep.mkdir()
    done = tool("--keep-times", TMPDIR=str(deep))
    assert done.returncode == 0, done.stderr
    assert read(tmp_path, "first").cells[1].outputs[0].text.endswith("None tcp\n")


def test_a_number_of_jobs_below_one_is_refused(tool):
    done = tool("--jobs", 0)
    assert done.returncode == 2 and "--jobs is 0: expected 1 or more" in done.stderr
