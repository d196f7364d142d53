"""A process of one's own: what goes wrong there stays there."""

import mmap
import os
import signal
import sys
import time
from contextlib import suppress

import pytest
import torch

from metalearn_lite.classroom import sandbox
from metalearn_lite.classroom.sandbox import run_apart

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="processes are not copied here"
)


def test_the_text_comes_back_however_long():
    assert run_apart(lambda: "ä" * 300_000, seconds=20) == "ä" * 300_000


@pytest.mark.parametrize(("seconds", "by_the_clock"), [(1, 10), (20, 60)])
def test_the_clock_leaves_three_times_as_long_and_ten_seconds_at_least(
    seconds, by_the_clock, monkeypatch
):
    asked = []
    monkeypatch.setattr(sandbox, "receive", lambda _, seconds: asked.append(seconds) or "text")
    assert run_apart(lambda: "", seconds=seconds) == "text" and asked == [by_the_clock]


@pytest.mark.parametrize(("gibibytes", "answer"), [(3, "taken"), (5, "refused")])
def test_it_may_take_four_gibibytes_besides(gibibytes, answer):
    def takes():
        try:
            mmap.mmap(-1, gibibytes * 2**30)  # promised by the system, and not used
        except OSError:
            return "refused"
        return "taken"

    assert run_apart(takes, seconds=20) == answer


def test_the_limits_are_set_beside_what_is_used_already(monkeypatch):
    resource = pytest.importorskip("resource")
    limits = {}
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    with mmap.mmap(-1, 3 * 2**30):  # promised by the system, and not used
        sandbox.limit(2.5)
    memory, least = limits[resource.RLIMIT_AS], 3 * 2**30 + 4 * 2**30
    assert memory[0] == memory[1] > least
    assert limits[resource.RLIMIT_CPU] == (3, 4)


@pytest.mark.parametrize("place", ["elsewhere", "with a GPU"])
def test_where_a_process_cannot_be_copied_safely_there_is_no_copy(place, monkeypatch):
    if place == "elsewhere":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert run_apart(lambda: str(os.getpid()), seconds=20) == str(os.getpid())


def test_a_copy_computes_with_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run_apart(lambda: str(torch.get_num_threads()), seconds=20) == "1"
    finally:
        torch.set_num_threads(before)


def test_what_it_changes_is_changed_in_the_copy_alone(capsys):
    values = [1]

    def change():
        values.append(2)
        torch.manual_seed(7)
        print("heard nowhere")
        return str(values)

    before = torch.get_rng_state()
    assert run_apart(change, seconds=20) == "[1, 2]"
    assert values == [1] and torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out == ""


def test_gradients_work_there_after_they_were_computed_here():
    def gradient():
        x = torch.randn(300, 300, requires_grad=True)
        (x @ x).sum().backward()
        return str(tuple(x.grad.shape))

    assert gradient() == run_apart(gradient, seconds=20) == "(300, 300)"


@pytest.mark.long
def test_a_loop_without_end_is_ended_with_all_that_it_started(monkeypatch):
    monkeypatch.setattr(sandbox, "LEAST", 2.0)
    receive, send = os.pipe()

    def forever():
        if (grandchild := os.fork()) != 0:
            os.write(send, f"{grandchild}\n".encode())
        while True:
            time.sleep(0.1)

    with pytest.raises(TimeoutError, match="within 3 s by the clock"):
        run_apart(forever, seconds=1)
    grandchild = int(os.read(receive, 100))
    for _ in range(50):
        if not running(grandchild):
            break
        time.sleep(0.1)
    assert not running(grandchild)


@pytest.mark.long
def test_time_is_counted_in_seconds_of_computing():
    def computes():
        while True:
            pass

    def waits():
        time.sleep(1.5)
        return "rested"

    with pytest.raises(TimeoutError, match=r"within 1 s$"):
        run_apart(computes, seconds=1)
    assert run_apart(waits, seconds=1) == "rested"


def running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_exit_and_a_crash_are_told_apart():
    with pytest.raises(ChildProcessError, match=r"ended the process \(exit status 3\)"):
        run_apart(lambda: os._exit(3), seconds=20)
    with pytest.raises(ChildProcessError, match=r"crashed \(SIGTERM\)"):
        run_apart(lambda: os.kill(os.getpid(), signal.SIGTERM), seconds=20)


def test_memory_is_limited():
    def greedy():
        try:
            torch.zeros(2**34)
        except RuntimeError:
            return "refused"
        return "given"

    assert run_apart(greedy, seconds=20) == "refused"


def test_a_copy_that_was_ended_leaves_nothing_behind():
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    sandbox._end(child)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list them")
def test_no_file_is_left_open_however_a_check_ends(monkeypatch):
    monkeypatch.setattr(sandbox, "LEAST", 0.2)
    run_apart(lambda: "", seconds=1)
    before = len(os.listdir("/proc/self/fd"))
    for action in (lambda: "", lambda: os._exit(1), lambda: time.sleep(5)):
        with suppress(ChildProcessError, TimeoutError):
            run_apart(action, seconds=1)
    assert len(os.listdir("/proc/self/fd")) == before
