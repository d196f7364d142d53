"""The page for students and the plans of the page for teachers: what they say can be done."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "students.md").read_text(encoding="utf-8")
TEACHING = (ROOT / "teaching.md").read_text(encoding="utf-8")


def one_line(text):
    return " ".join(text.split())


def test_hidden_checks_and_help_are_announced():
    assert "**While grading, checks may run that the notebook does not show.**" in PAGE
    titles = re.findall(r"^#+ (.+)$", PAGE, re.M)
    assert titles[1:] == [
        "Install",
        "Open",
        "Work",
        "What the checks do",
        "Hidden checks",
        "What help is allowed",
        "Hand in",
        "What the grader sees",
    ]


def test_students_are_not_told_to_clone():
    assert "clone" not in PAGE and "Do not let students clone the repository" in one_line(TEACHING)
    assert "each student clones" not in one_line(TEACHING)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)", PAGE + TEACHING):
        assert re.search(rf"^{target}( \w+)*:", makefile, re.M), target


def test_each_session_names_a_deck_and_slides_that_are_there():
    sessions = re.findall(r"^#### Session (\d): .+?$(.+?)(?=^#+ )", TEACHING, re.M | re.S)
    assert [number for number, _ in sessions] == list("12345678")
    shown = set()
    for _, text in sessions:
        named = re.search(r"^\*Deck:\* (.+?)\n\n", text, re.M | re.S)[1]
        decks = re.findall(r"`(\w+)`([^`]*)", named)
        assert decks, named
        for deck, where in decks:
            slides = (ROOT / "slides" / f"{deck}.md").read_text(encoding="utf-8")
            for title in re.findall(r"\*([^*]+)\*", where):
                assert f"\n## {title.rstrip('.')}\n" in slides, title
            shown.add(deck)
    made = {path.stem for path in (ROOT / "slides").glob("*.md")} - {"index"}
    assert shown == made


@pytest.mark.long
def test_a_handout_is_opened_as_the_page_says_and_not_from_the_chapters(tmp_path):
    """Two students with a handout: one opens the folder `work`, the other the chapters."""
    work = tmp_path / "work" / "maml"
    work.mkdir(parents=True)
    (tmp_path / "chapters").mkdir()
    shutil.copy(ROOT / "chapters" / "maml.ipynb", work / "ada__maml.ipynb")
    command = re.search(r":name: students-open\n\n\.venv/bin/(jupyter lab work)\n", PAGE)[1]
    assert seen(tmp_path, command) == ["maml"]
    assert seen(tmp_path, command, "maml") == ["ada__maml.ipynb"]
    assert seen(tmp_path, command.replace("work", "chapters")) == []


def seen(folder, command, path=""):
    """What JupyterLab lists after a command in a folder."""
    jupyter = Path(sys.executable).with_name("jupyter")
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=open", "--port=0"]
    runtime = folder / "runtime"
    shutil.rmtree(runtime, ignore_errors=True)
    lab = subprocess.Popen(
        [jupyter, *command.split()[1:], *options],
        cwd=folder,
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(runtime)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while not (found := list(runtime.glob("jpserver-*.json"))):
            assert lab.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        server = json.loads(found[0].read_text())
        request = Request(f"{server['url']}api/contents/{path}", headers=TOKEN)
        with urlopen(request, timeout=60) as answer:
            return [entry["name"] for entry in json.load(answer)["content"]]
    finally:
        lab.send_signal(signal.SIGTERM)
        lab.wait(timeout=60)


TOKEN = {"Authorization": "token open"}
