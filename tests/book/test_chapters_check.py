"""The check of the chapters: it fails when it should, and what passes is kept for the build."""

import importlib.util
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import nbval.kernel
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]


def check(folder, *cells, timeout=20, options=()):
    """Run nbval as `make test` does, on a chapter of these cells; return exit code and text."""
    notebook = new_notebook(cells=list(cells))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    chapters = folder / "chapters"
    shutil.copytree(ROOT / "tools", folder / "tools", dirs_exist_ok=True)
    chapters.mkdir(exist_ok=True)
    nbformat.write(notebook, chapters / "chapter.ipynb")
    shutil.copy(ROOT / "chapters" / "conftest.py", chapters)
    nbval = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={timeout}", *options]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *nbval, chapters]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return run.returncode, run.stdout


def cell(source, output=None, *, tags=()):
    outputs = [] if output is None else [new_output("stream", name="stdout", text=output)]
    made = new_code_cell(source, outputs=outputs, execution_count=1)
    made.metadata["tags"] = list(tags)
    return made


COMPARED = ("nbval-check-output",)


def test_a_chapter_that_does_what_is_stored_passes(tmp_path):
    status, text = check(tmp_path, cell("print(1 + 1)", "2\n", tags=COMPARED))
    assert status == 0, text


def test_a_changed_stored_output_fails(tmp_path):
    status, text = check(tmp_path, cell("print(1 + 1)", "3\n", tags=COMPARED))
    assert status == 1 and "Cell outputs differ" in text


def test_a_glued_number_may_have_other_last_digits_but_not_a_printed_one(tmp_path):
    source = "from myst_nb import glue\nglue('x', 0.1 + 0.2, display=False)\nprint('x is', {})"
    glued = new_output(
        "display_data",
        data={"application/papermill.record/text/plain": "0.2999999"},
        metadata={"scrapbook": {"name": "x", "mime_prefix": "application/papermill.record/"}},
    )
    for shown, expected in (("'small'", 0), ("'large'", 1)):
        compared = cell(source.format(shown), "x is small\n", tags=COMPARED)
        compared.outputs.insert(0, glued)
        status, text = check(tmp_path, compared)
        assert status == expected, text


def test_a_figure_may_look_another_way_but_what_is_printed_beside_it_may_not(tmp_path):
    data = {"image/svg+xml": "<svg/>", "text/plain": "<IPython.core.display.SVG object>"}
    source = "from IPython.display import SVG, display\ndisplay(SVG('<svg><g/></svg>'))\nprint({})"
    for shown, expected in (("'two'", 0), ("'three'", 1)):
        compared = cell(source.format(shown), "two\n", tags=COMPARED)
        compared.outputs.insert(0, new_output("display_data", data=data))
        status, text = check(tmp_path, compared)
        assert status == expected, text


def test_a_cell_that_raises_fails(tmp_path):
    status, text = check(tmp_path, cell("assert 1 + 1 == 3, 'arithmetic is broken'"))
    assert status == 1 and "arithmetic is broken" in text


def test_a_cell_that_hangs_fails(tmp_path):
    status, text = check(tmp_path, cell("import time\ntime.sleep(60)"), timeout=2)
    assert status == 1 and "Timeout of 2 seconds exceeded" in text


def test_a_cell_that_hangs_and_swallows_the_interrupt_fails(tmp_path):
    hang = "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass"
    status, text = check(tmp_path, cell(hang), timeout=2)
    assert status == 1 and "ran past its time-out" in text


def test_a_cell_that_prints_an_unexpected_warning_fails(tmp_path):
    warn = "import warnings\nwarnings.warn('this name will go away')"
    status, text = check(tmp_path, cell(warn))
    assert status == 1 and "this name will go away" in text
    status, text = check(tmp_path, cell(warn, tags=("remove-stderr",)))
    assert status == 0, text


# What passes is kept


RICH = [
    "import sys\n"
    "import ipywidgets\n"
    "from IPython.display import HTML, Image, clear_output, display, update_display\n"
    "from myst_nb import glue\n"
    "print('before', flush=True)\n"
    "print('on purpose', file=sys.stderr, flush=True)\n"
    "shown = display(HTML('<b>old</b>'), display_id='status')\n"
    "glue('third', 1 / 3, display=False)\n"
    "1 + 1",
    "update_display(HTML('<b>new</b>'), display_id='status')\n"
    "for step in range(3):\n"
    "    clear_output(wait=True)\n"
    "    print('step', step, flush=True)",
    "out = ipywidgets.Output()\n"
    "with out:\n"
    "    print('in the widget')\n"
    "ipywidgets.VBox([ipywidgets.IntSlider(3), out])",
    "from matplotlib import pyplot\n"
    "lines = pyplot.plot([1, 2])",
]  # fmt: skip


def kept(folder):
    return folder / "_build" / "executed" / "chapter.ipynb"


def build(folder, executed, cache):
    """Do what the build does before Sphinx; return what it said and the notebook it cached."""
    chapter = folder / "chapters" / "chapter.ipynb"
    tool = [ROOT / "tools" / "execute_chapters.py", folder / cache, executed, chapter]
    run = subprocess.run([sys.executable, *tool], capture_output=True, text=True, check=True)
    found = get_cache(str(folder / cache))
    _, merged = found.merge_match_into_notebook(nbformat.read(chapter, as_version=4))
    return run.stdout, merged


def comparable(notebook):
    """Return counts and outputs, without what no two runs share: names of widgets, chunks."""
    found = []
    for code in notebook.cells:
        found.append(code.execution_count)
        for output in code.outputs:
            view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json", {})
            view.pop("model_id", None)
            last = found[-1] if isinstance(found[-1], dict) else {}
            if output.output_type == "stream" and output.name == last.get("name"):
                last["text"] += output.text
            else:
                found.append(output)
    return found


def widgets(notebook):
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    return sorted((w["model_name"], str(w["state"].get("outputs"))) for w in state.values())


def test_what_is_kept_is_what_the_build_would_have_executed(tmp_path):
    cells = [cell(source, tags=("remove-stderr",)) for source in RICH]
    status, text = check(tmp_path, *cells, options=("-n", "1", "--dist", "loadfile"))
    assert status == 0, text
    said, taken = build(tmp_path, kept(tmp_path).parent, "taken")
    assert said == "" and not kept(tmp_path).exists()
    said, executed = build(tmp_path, kept(tmp_path).parent, "executed")
    assert said.startswith("chapter.ipynb: ")
    assert comparable(taken) == comparable(executed)
    assert widgets(taken) == widgets(executed)
    assert taken.metadata.language_info == executed.metadata.language_info


def test_what_the_comparison_relies_on_is_in_a_kept_chapter(tmp_path):
    """So that the comparison above cannot pass because both runs lack it."""
    check(tmp_path, *[cell(source, tags=("remove-stderr",)) for source in RICH])
    first, second, third, fourth = nbformat.read(kept(tmp_path), as_version=4).cells
    assert [output.output_type for output in first.outputs[-3:]] == [
        "display_data",
        "display_data",
        "execute_result",
    ]
    old, glued, _ = first.outputs[-3:]
    assert old.data["text/html"] == "<b>new</b>" and glued.metadata.scrapbook.name == "third"
    assert [output.text for output in second.outputs] == ["step 2\n"]
    assert "application/vnd.jupyter.widget-view+json" in third.outputs[0].data
    assert "image/png" in fourth.outputs[0].data
    assert third.outputs[0].execution_count == third.execution_count == 3


FAULTY = {
    "raises": (cell("1 / 0"), {}),
    "prints something else": (cell("print(1 + 1)", "3\n", tags=COMPARED), {}),
    "prints a warning": (cell("import sys\nprint('oh', file=sys.stderr)"), {}),
    "hangs": (cell("import time\ntime.sleep(60)"), {"timeout": 2}),
    "is skipped": (cell("x = 1", tags=("nbval-skip",)), {}),
    "is not asked for": (
        cell("x = 1"),
        {"options": ("--deselect", "chapters/chapter.ipynb::Cell 1")},
    ),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_chapter_is_not_kept_if_a_cell(tmp_path, fault):
    faulty, options = FAULTY[fault]
    check(tmp_path, cell("x = 0"), faulty, cell("x = 2"), **options)
    assert not kept(tmp_path).exists()


def test_a_kept_chapter_whose_code_changed_is_executed(tmp_path):
    check(tmp_path, cell("print('old')"))
    chapter = tmp_path / "chapters" / "chapter.ipynb"
    chapter.write_text(chapter.read_text().replace("old", "new"))
    said, notebook = build(tmp_path, kept(tmp_path).parent, "cache")
    assert said.startswith("chapter.ipynb: ")
    assert notebook.cells[0].outputs[0].text == "new\n"


def test_the_check_forgets_what_was_kept_with_another_package(tmp_path):
    (tmp_path / "metalearn_lite").mkdir()
    package = tmp_path / "metalearn_lite" / "maml.py"
    for version, forgotten in (("0.1", True), ("0.2", True), ("0.2", False)):
        package.write_text(f"alpha = {version}\n")
        other = kept(tmp_path).with_name("other.ipynb")
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("executed before")
        check(tmp_path, cell("x = 1"))
        assert other.exists() is not forgotten
        assert kept(tmp_path).exists()


def test_a_kernel_that_does_not_answer_is_started_once_more(monkeypatch):
    path = ROOT / "chapters" / "conftest.py"
    specification = importlib.util.spec_from_file_location("conftest_of_chapters", path)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr(nbval.kernel, "start_new_kernel", nbval.kernel.start_new_kernel)
    specification.loader.exec_module(module)
    calls = []

    def start(*arguments, silent, **options):
        calls.append((arguments, options))
        if len(calls) <= silent:
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return "kernel"

    for silent, started in ((0, 1), (1, 2)):
        calls.clear()
        monkeypatch.setattr(module, "start_kernel", partial(start, silent=silent))
        assert nbval.kernel.start_new_kernel(60, kernel_name="python") == "kernel"
        assert calls == [((60,), {"kernel_name": "python"})] * started
    calls.clear()
    monkeypatch.setattr(module, "start_kernel", partial(start, silent=2))
    with pytest.raises(RuntimeError, match="didn't respond"):
        nbval.kernel.start_new_kernel()
