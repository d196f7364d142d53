"""What an attacker finds behind the walls: an empty place, and no way out of it."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

from metalearn_grading import walls
from metalearn_grading.asking import Room
from metalearn_lite.classroom.marking import seed_everything

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="processes are not copied here"
)
ROOT = Path(__file__).resolve().parents[2]

GIVEN = """
def told(attack, *, what):
    return attack(what)
"""
ATTACK = """
import os, socket, subprocess, sys, signal
from pathlib import Path

def attempt(what):
    try:
        return what()
    except BaseException as error:
        return f"refused: {type(error).__name__}"

def fill():
    with open("much", "wb") as file:
        for _ in range(200):
            file.write(bytes(2**20))

def many_files():
    for number in range(20_000):
        Path(f"file-{number}").touch()

def fork_often():
    for _ in range(2000):
        if os.fork() == 0:
            signal.pause()

def attack(what):
    if what == "uid":
        return os.getuid(), os.getpid()
    if what == "processes":
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    if what == "fill":
        return attempt(fill)
    if what == "many files":
        return attempt(many_files)
    if what == "fork":
        return attempt(fork_often)
    if what == "environment":
        return dict(os.environ)
    if what == "rights":
        status = Path("/proc/self/status").read_text()
        return [line.split()[1] for line in status.splitlines() if line.startswith("Cap")]
    verb, _, where = what.partition(" ")
    if verb == "exists":
        return os.path.exists(where)
    if verb == "list":
        return attempt(lambda: sorted(os.listdir(where)))
    if verb == "write":
        return attempt(lambda: Path(where).write_text("mine"))
    if verb == "run":
        return attempt(lambda: subprocess.run(where.split(), capture_output=True).returncode)
    if verb == "connect":
        host, port = where.split()
        return attempt(lambda: socket.create_connection((host, int(port)), 2).close())
    if verb == "signal":
        return attempt(lambda: os.kill(int(where), signal.SIGKILL))
"""


@pytest.fixture(scope="module")
def behind():
    """Return a function that attacks, each time from a fresh copy of one room."""
    if not walls.have_walls():
        pytest.skip("this system gives us no walls")

    def attacked(*attacks):
        room.needs([0], {})
        with room.opened(closed=(), seconds=5, seed=1) as ask:
            found = [ask(told, what=attack) for attack in attacks]
        return found[0] if len(found) == 1 else found

    with Room([GIVEN], [ATTACK]) as room:
        yield attacked


def told(attack, *, what):
    return attack(what)


@pytest.mark.parametrize(
    "hidden", ["assignments/source", "tests", "chapters", "teaching.md", ".git", "results"]
)
def test_of_the_repository_it_sees_the_package_alone(behind, hidden):
    assert behind(f"exists {ROOT / 'metalearn_lite'}") is True
    assert behind(f"exists {ROOT / hidden}") is False


def test_it_sees_no_other_files(behind, tmp_path):
    (tmp_path / "submitted").mkdir()
    for secret in (tmp_path, tmp_path / "submitted", Path.home() / ".ssh", Path("/etc/passwd")):
        assert behind(f"exists {secret}") is False
    assert behind("list /") == sorted({*behind("list /")})
    assert "home" not in behind("list /") and "var" not in behind("list /")


def test_what_it_sees_it_cannot_write(behind):
    package, python = ROOT / "metalearn_lite", Path(sys.prefix)
    for place in (package / "x", package / "maml" / "plain.py", python / "x", "/usr/x", "/x"):
        assert str(behind(f"write {place}")).startswith("refused: "), place
    assert not (package / "x").exists()
    assert behind("write /place/x") == 4


def test_its_place_is_empty_at_first_and_gone_afterwards(behind):
    with Room([GIVEN], [ATTACK]) as other:
        other.needs([0], {})
        with other.opened(closed=(), seconds=5, seed=1) as ask:
            assert "x" not in ask(told, what="list /place")
            assert ask(told, what="write /place/x") == 4
        place = other.place.name
    assert not os.path.exists(place)


def test_it_sees_no_process_but_its_own_and_ends_none(behind):
    assert len(behind("processes")) == 2
    assert str(behind(f"signal {os.getpid()}")).startswith("refused: ")
    assert behind("signal 1") is None and len(behind("processes")) == 2  # without effect


def test_it_is_nobody_and_has_no_rights(behind):
    assert set(behind("rights")) == {"0" * 16}
    if os.geteuid() == 0:
        assert behind("uid")[0] == 65534
    for command in ("mount -t tmpfs none /place", "unshare --mount true", "chroot / true"):
        assert behind(f"run {command}") != 0, command


def test_it_reaches_no_network(behind):
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"connect 127.0.0.1 {server.getsockname()[1]}"
        assert str(behind(here)).startswith("refused: ")
    assert str(behind("connect 1.1.1.1 53")).startswith("refused: ")


def test_it_is_told_nothing(behind):
    told = behind("environment")
    assert "METALEARN_CHECK_SEED" not in told
    assert set(told) <= {
        *walls.environment(METALEARN_CACHE="", HOME=""),
        "LC_CTYPE",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "COLUMNS",
        "LINES",
    }


@pytest.mark.parametrize("attack", ["fill", "many files", "fork"])
def test_what_it_may_take_is_limited(behind, attack):
    assert str(behind(attack)).startswith("refused: ")
    assert len(behind("processes")) == 2  # and afterwards all is as before


def test_without_walls_the_limits_remain(monkeypatch):
    monkeypatch.setattr(walls, "have_walls", lambda: False)
    command = walls.behind_walls(["true"], root=Path("/"), shown=[])
    assert command[-1] == "true" and "--fsize=67108864" in command and "unshare" not in command


@pytest.mark.parametrize("missing", ["unshare", "setpriv"])
def test_where_the_tools_are_missing_there_are_no_walls(monkeypatch, missing):
    monkeypatch.setattr(walls.shutil, "which", lambda name: None if name == missing else name)
    assert walls.have_walls.__wrapped__() is False


def test_seeds_are_set():
    seed_everything(3)
    first = torch.rand(1)
    seed_everything(3)
    assert torch.equal(first, torch.rand(1))
