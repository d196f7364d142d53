"""Bugs that are planted: one change each, in code that runs, drawn by a seed."""

import ast
import subprocess
import sys

import plant_bugs
from plant_bugs import Bug, bugs_of, draw, equivalent, mirror, planted

SOURCE = '''"""Doc."""

def first(x: int = 1, *, most: float = 2.5) -> bool:
    """Say whether 3 < 4."""
    if not x and most > 0:
        raise ValueError(f"{x} + 1")
    total = x + 1
    total += 2
    print(total, end="")
    return total <= -most
'''


def test_each_bug_is_one_change_of_code_that_runs():
    bugs = bugs_of("room/module.py", SOURCE)
    whole = ast.unparse(ast.parse(SOURCE))
    sources = [planted(bug, SOURCE) for bug in bugs]
    assert len(set(sources)) == len(bugs) and whole not in sources
    for bug, source in zip(bugs, sources, strict=True):
        ast.parse(source)
        assert SOURCE.splitlines()[bug.line - 1].strip() == bug.text


def test_every_kind_of_bug_is_planted_and_nothing_in_words_or_annotations():
    changes = {bug.change for bug in bugs_of("room/module.py", SOURCE)}
    assert {
        *("not x or most > 0", "x", "most >= 0", "1", "x - 1", "3", "total < -most", "most", "3.5"),
        *("without total += 2", "without end"),
    } <= changes
    assert any(change.startswith("without raise ValueError") for change in changes)
    assert not any("4" in change for change in changes)


def test_a_seed_decides_what_is_drawn_and_names_choose_where():
    one, two = draw(["maml", "losses.py"], 5, 0), draw(["maml", "losses.py"], 5, 0)
    assert one == two != draw(["maml", "losses.py"], 5, 1)
    assert [bug.room for bug in one] == ["outside the rooms"] * 5 + ["maml"] * 5 or [
        bug.room for bug in one
    ] == ["maml"] * 5 + ["outside the rooms"] * 5
    assert all(mirror(bug.module).exists() for bug in one)
    assert len(draw(["losses.py"], None, 0)) == len(
        bugs_of("losses.py", (plant_bugs.PACKAGE / "losses.py").read_text())
    )


def test_a_bug_that_is_known_to_change_nothing_is_told_by_its_place_and_change():
    bug = Bug("a.py", 3, "x = 1", "2", (0, 0))
    known = {"module": "a.py", "line": "x = 1", "change": "2", "why": "x is not used"}
    assert equivalent([known], bug) and not equivalent([known | {"change": "3"}], bug)


def test_a_bug_in_a_module_is_noticed_and_the_module_as_it_is_is_not(tmp_path, monkeypatch):
    """The test that notices reads the module: to run it, PyTorch would have to be imported."""
    (tmp_path / "test_it.py").write_text(
        "from pathlib import Path\n"
        "import metalearn_lite\n"
        "def test_it():\n"
        "    source = Path(metalearn_lite.__file__).with_name('randomness.py').read_text()\n"
        "    assert 'manual_seed(seed)' in source\n"
    )
    monkeypatch.setattr(plant_bugs, "mirror", lambda module: tmp_path / "test_it.py")
    module = "randomness.py"
    source = (plant_bugs.PACKAGE / module).read_text()
    assert not plant_bugs.fails_with(module, source)
    assert plant_bugs.fails_with(module, "def seeded(seed):\n    return None\n")
    bugs = bugs_of(module, source)
    assert bugs and not any(plant_bugs.is_noticed(bug) for bug in bugs[:1])


def test_tests_that_fail_without_a_bug_notice_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["plant_bugs.py", "maml/plain.py", "losses.py"])
    monkeypatch.setattr(plant_bugs, "fails_as_it_is", lambda module: module == "maml/plain.py")
    monkeypatch.setattr(plant_bugs, "is_noticed", lambda bug: True)
    assert plant_bugs.main() == 1
    assert capsys.readouterr().out == "the tests of maml/plain.py fail without any bug\n"
    monkeypatch.setattr(plant_bugs, "fails_as_it_is", lambda module: False)
    assert plant_bugs.main() == 0


def test_what_a_bug_leaves_running_is_ended(tmp_path):
    environment = {"PYTHONPATH": f"{tmp_path}:elsewhere"}
    code = "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as left:
        assert left.stdout.readline() == b"up\n"
        plant_bugs.end_all(str(tmp_path))
        assert left.wait(timeout=20) != 0
