"""What the tool that builds the book decides: when to forget, and what a host turns on."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
TELLS = """import json, os
from ipykernel.connect import get_connection_file
with open(get_connection_file()) as file:
    transport = json.load(file)["transport"]
print(os.getcwd(), os.environ.get("OMP_NUM_THREADS"), transport)"""


@pytest.fixture
def build_book(tmp_path, monkeypatch):
    """The tool, at work in a small repository of its own."""
    spec = importlib.util.spec_from_file_location("build_book", ROOT / "tools" / "build_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "BUILD", tmp_path / "_build")
    (tmp_path / "_build").mkdir()
    (tmp_path / "metalearn_lite").mkdir()
    (tmp_path / "metalearn_lite" / "maml.py").write_text("alpha = 0.4\n")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    (tmp_path / "_config.yml").write_bytes((ROOT / "_config.yml").read_bytes())
    return module


def test_the_fingerprint_follows_the_package_the_pins_and_the_results(build_book, tmp_path):
    first = build_book.fingerprint()
    assert build_book.fingerprint() == first
    (tmp_path / "metalearn_lite" / "maml.py").write_text("alpha = 0.1\n")
    second = build_book.fingerprint()
    (tmp_path / "requirements.txt").write_text("torch==2.14.0\n")
    third = build_book.fingerprint()
    (tmp_path / "results" / "maml").mkdir(parents=True)
    (tmp_path / "results" / "maml" / "weights.zip").write_bytes(b"weights")
    assert len({first, second, third, build_book.fingerprint()}) == 4


def test_compiled_files_do_not_count(build_book, tmp_path):
    first = build_book.fingerprint()
    (tmp_path / "metalearn_lite" / "maml.pyc").write_bytes(b"compiled")
    assert build_book.fingerprint() == first


def test_without_a_host_the_committed_configuration_is_used(build_book, tmp_path):
    assert build_book.configuration() == tmp_path / "_config.yml"
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == "" and "launch_buttons" not in config


def test_the_address_of_a_host_turns_everything_on(build_book, tmp_path):
    text = (tmp_path / "_config.yml").read_text(encoding="utf-8")
    address = "https://example.org/course"
    (tmp_path / "_config.yml").write_text(text.replace('url: ""', f"url: {address}"))
    config = yaml.safe_load(build_book.configuration().read_text(encoding="utf-8"))
    assert config["html"]["use_edit_page_button"] is True
    assert set(config["launch_buttons"]) == {"colab_url", "binderhub_url"}
    assert address in config["parse"]["myst_substitutions"]["address"]


@pytest.mark.parametrize("status", [0, 1])
def test_a_failed_build_is_read_again_next_time(build_book, tmp_path, monkeypatch, status):
    """Sphinx warns of a page only when it reads it: a second call must not pass by silence."""
    stamp = tmp_path / "_build" / "package.sha256"
    stamp.write_text(build_book.fingerprint())
    (tmp_path / "_build" / ".doctrees").mkdir()
    (tmp_path / "_build" / "html").mkdir()
    (tmp_path / "_build" / "html" / "index.html").write_text("built")

    class Run:
        returncode = status

    monkeypatch.setattr(build_book.subprocess, "run", lambda *_, **__: Run)
    assert build_book.main() == status
    assert (tmp_path / "_build" / ".doctrees").exists() is (status == 0)


def test_a_changed_package_forgets_what_was_executed(build_book, tmp_path, monkeypatch):
    folders = [tmp_path / "_build" / name for name in (".jupyter_cache", "executed")]
    for folder in folders:
        folder.mkdir()
    seen = []

    class Run:
        returncode = 1

    def run(*_, **__):
        seen.append([folder.exists() for folder in folders])
        return Run

    monkeypatch.setattr(build_book.subprocess, "run", run)
    build_book.main()
    for folder in folders:
        folder.mkdir()
    build_book.main()
    assert seen == [[False, False]] * 2 + [[True, True]] * 2  # chapters and book, twice


def test_the_chapters_are_executed_and_then_the_book_is_built_by_scripts_that_exist(
    build_book, monkeypatch
):
    scripts = []

    class Run:
        returncode = 1

    def run(command, **_):
        scripts.append(Path(command[1]).name)
        return Run

    monkeypatch.setattr(build_book.subprocess, "run", run)
    build_book.main()
    assert scripts == ["execute_chapters.py", "jupyter_book_offline.py"]
    assert all((ROOT / "tools" / name).exists() for name in scripts)


@pytest.mark.skipif(os.name != "posix", reason="this system has no such sockets")
def test_the_book_is_built_with_kernels_that_need_no_network():
    """The class that the build makes its managers of, as it is after the script's imports."""
    code = (
        "import jupyter_book_offline\n"
        "from jupyter_client.manager import AsyncKernelManager\n"
        "print(AsyncKernelManager().transport)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "tools", capture_output=True, text=True)
    assert done.stdout == "ipc\n", done.stderr


def test_chapters_are_executed_into_the_cache_and_a_failing_one_is_left_out(tmp_path):
    paths = []
    for name, source in {"good": TELLS, "bad": "1 / 0"}.items():
        notebook = new_notebook(cells=[new_code_cell(source)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        paths.append(tmp_path / f"{name}.ipynb")
        nbformat.write(notebook, paths[-1])
    tool = [ROOT / "tools" / "execute_chapters.py", tmp_path / "cache", tmp_path / "kept", *paths]
    command = [sys.executable, *tool]
    said = [
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert "good.ipynb: " in said[0] and "bad.ipynb: failed" in said[0]
    assert "good" not in said[1] and "bad.ipynb: failed" in said[1]
    cache = get_cache(str(tmp_path / "cache"))
    _, merged = cache.merge_match_into_notebook(nbformat.read(paths[0], as_version=4))
    transport = "ipc" if os.name == "posix" else "tcp"
    assert merged.cells[0].outputs[0].text == f"{tmp_path} 1 {transport}\n"
    with pytest.raises(KeyError):
        cache.match_cache_notebook(nbformat.read(paths[1], as_version=4))
