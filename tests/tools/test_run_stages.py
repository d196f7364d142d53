"""The stages of `make test`: in order, timed, and none after the first that fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import run_stages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(monkeypatch):
    """The targets that are made; ``slow`` takes 75 seconds, ``broken`` fails with status 2."""
    seen, clock = [], [0.0]

    class Done:
        def __init__(self, target):
            self.returncode = 2 if target == "broken" else 0

    def run(command, **_):
        assert command[:2] == ["the make", "--no-print-directory"]
        seen.append(command[2])
        clock[0] += 75.2 if command[2] == "slow" else 1.4
        return Done(command[2])

    monkeypatch.setattr(run_stages.subprocess, "run", run)
    monkeypatch.setattr(run_stages.time, "monotonic", lambda: clock[0])
    return seen


def test_all_stages_are_made_in_their_order_and_timed(made, capsys):
    assert run_stages.main("the make", "quick", "slow", "pages") == 0
    assert made == ["quick", "slow", "pages"]
    assert capsys.readouterr().out.splitlines() == [
        "",
        "stage  min:s",
        "quick   0:01",
        "slow    1:15",
        "pages   0:01",
        "total   1:18",
    ]


def test_the_first_stage_that_fails_is_the_last_and_the_table_says_so(made, capsys):
    assert run_stages.main("the make", "quick", "broken", "pages") == 2
    assert made == ["quick", "broken"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == ["quick    0:01", "broken   0:01  failed", "total    0:03"]


def test_a_minute_is_not_written_as_sixty_seconds():
    assert [run_stages.clock(s) for s in (0.2, 59.6, 60, 3599.7)] == [
        "0:00",
        "1:00",
        "1:00",
        "60:00",
    ]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(("broken", "status"), [("", 0), ("exit 3", 2)])
def test_make_stops_with_the_stage_and_says_in_the_end_that_all_passed(tmp_path, broken, status):
    tool, python = (Path(run_stages.__file__).as_posix(), Path(sys.executable).as_posix())
    (tmp_path / "Makefile").write_text(
        f'test:\n\t@"{python}" "{tool}" "$(MAKE)" one two\n\t@echo "All checks passed."\n'
        f"one:\n\t@echo stage one\n\t@{broken or 'echo whole'}\n"
        "two:\n\t@echo stage two\n"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "test"], cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert done.returncode == status
    assert ("stage two" in done.stdout) is (status == 0)
    assert bool(re.search("^one .*  failed$", done.stdout, re.MULTILINE)) is (status != 0)
    assert re.search("^total ", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("All checks passed.\n") is (status == 0)


def test_the_stages_of_make_test_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    stages = re.search(r'run_stages\.py "\$\(MAKE\)" (.*)', makefile)[1].split()
    assert stages == ["lint", "types", "quick", "long", "graders", "chapters-check", "pages"]
    assert all(re.search(rf"^{stage}:", makefile, re.MULTILINE) for stage in stages)
