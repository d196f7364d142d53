"""An answer is asked in a room, and no way is known by which a wrong one passes its check.

Each cheat below is a cell that a student might write. In a process that the answer shares with its
marker, as in a notebook, many of them pass; while grading, none does.
"""

import socket
import sys
import threading
from types import ModuleType

import pytest
import torch

from metalearn_grading.asking import Room
from metalearn_lite.classroom import NotYet, mark, marking
from metalearn_lite.classroom.marking import asking
from metalearn_lite.classroom.sandbox import run_apart

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="processes are not copied here"
)

GIVEN = """
import torch
from metalearn_lite import maml
from metalearn_lite.classroom import mark

def doubled(double, *, x):
    return double(x)
"""
RIGHT = "def double(x):\n    return x + x"

CHEATS = {
    "a wrong answer": "def double(x):\n    return x",
    "the marker is defined anew": """
def mark(**_):
    return lambda check: print("right: it doubles")
double = id
""",
    "the marker is patched": """
from metalearn_lite.classroom import marking, sandbox
marking._complaint = lambda *_: ""
marking.run_apart = sandbox.run_apart = lambda *_, **__: ""
double = id
""",
    "judge and asker are patched": """
from metalearn_lite.classroom import channel, marking
marking.heard = marking.reply_to = lambda *_, **__: {"gave": True}
channel.read = channel.write = lambda *_: "true"
double = id
""",
    "frames are walked to the process's verdict": """
import os, sys
def double(x):
    frame = sys._getframe()
    while frame:
        if "channel" in frame.f_locals:
            frame.f_locals["channel"].sendall(b'""\\n')
            os._exit(0)
        frame = frame.f_back
""",
    "frames are walked to the judge's numbers": """
import sys
def double(x):
    frame = sys._getframe()
    while frame:
        if "twice" in frame.f_locals:
            return frame.f_locals["twice"]
        frame = frame.f_back
""",
    "the reference is found by the garbage collector": """
import gc
from types import FunctionType
def double(x):
    functions = [f for f in gc.get_objects() if type(f) is FunctionType]
    return next(f for f in functions if f.__name__ == "the_reference")(x)
""",
    "os._exit(0)": "import os\ndef double(x):\n    os._exit(0)",
    "sys.exit(0)": "import sys\ndef double(x):\n    sys.exit(0)",
    "SystemExit(0), when it is defined": "raise SystemExit(0)",
    "an exception that is no Exception": "def double(x):\n    raise KeyboardInterrupt",
    "an object that equals everything": """
class Yes:
    def __getattr__(self, _): return self
    def __call__(self, *_, **__): return self
    def __eq__(self, _): return True
    def __bool__(self): return True
    @classmethod
    def __torch_function__(cls, *_, **__): return True
def double(x):
    return Yes()
""",
    "a tensor that lies": """
class Lie(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if "equal" in getattr(function, "__name__", "") or "allclose" in str(function):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
def double(x):
    return x.as_subclass(Lie)
""",
    "a number that lies": """
class Lie(float):
    __eq__ = __lt__ = __gt__ = lambda *_: True
    __sub__ = __rsub__ = __abs__ = lambda *_: 0.0
def double(x):
    return Lie(0)
""",
    "a name that is code": """
class X(str): pass
def double(x):
    return X("__import__('os')._exit(0)")
""",
    "an object that acts when it is unpickled": """
class Loads:
    def __reduce__(self): return exec, ("import os; os._exit(0)",)
def double(x):
    return Loads()
""",
    "torch is patched": """
torch.equal = torch.allclose = torch.testing.assert_close = lambda *_, **__: True
torch.Tensor.__eq__ = torch.Tensor.equal = torch.Tensor.all = lambda *_, **__: True
double = lambda x: x
""",
    "json is patched": """
import json
json.loads = lambda *_, **__: {"gave": True}
json.dumps = lambda *_, **__: '{"pairs": [["gave", true]]}'
double = lambda x: x
""",
    "everything is written to all descriptors": """
import os
def double(x):
    for number in range(256):
        for words in (b'""\\n', b'{"status": 0}\\n', b'{"pairs": [["gave", true]]}\\n'):
            try: os.write(number, words)
            except OSError: pass
    os._exit(0)
""",
    "junk is written to all descriptors": """
import os
def double(x):
    for number in range(256):
        try: os.write(number, b"junk" * 1000)
        except OSError: pass
    while True: pass
""",
    "a tensor without bytes": """
import os
def double(x):
    for number in range(3, 256):
        try: os.write(number, b'{"pairs":[["gave",{"tensor":"float64","of":[0],"data":""}]]}\\n')
        except OSError: pass
    os._exit(0)
""",
    "a thread and atexit go on": """
import atexit, os, threading
def later():
    while True: pass
threading.Thread(target=later, daemon=False).start()
atexit.register(lambda: os._exit(0))
def double(x):
    return x
""",
    "a process goes on": """
import os
def double(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        while True: pass
    os._exit(0)
""",
    "other processes are ended": """
import os, signal
def double(x):
    for process in (os.getppid(), 1, -1):
        try: os.kill(process, signal.SIGKILL)
        except OSError: pass
    return x
""",
    "the environment tells the seed": """
import os, random
def double(x):
    seed = os.environ["METALEARN_CHECK_SEED"]
    torch.manual_seed(random.Random(seed).randrange(2**31))
    return 2 * torch.rand(3)
""",
    "the environment is changed": """
import os
os.environ["METALEARN_CHECK_SEED"] = "0"
os.environ["PYTHONPATH"] = "/place"
double = lambda x: x
""",
    "a module of one's own": """
import sys, types
sys.modules["metalearn_lite.classroom.marking"] = types.ModuleType("marking")
sys.modules["torch"] = sys.modules["json"] = types.ModuleType("torch")
double = lambda x: x
""",
    "the question is changed": """
import given
given.doubled = lambda double, *, x: True
doubled = lambda double, *, x: True
double = lambda x: x
""",
    "memory without end": "def double(x):\n    return [bytearray(2**30) for _ in range(64)]",
    "recursion without end": "def double(x):\n    return double(x)",
    "a list that holds itself": "def double(x):\n    a = []\n    a.append(a)\n    return a",
    "text without end": "def double(x):\n    return 'x' * 10**8",
    "a number without end": "def double(x):\n    return 10**5000",
    "nothing": "def double(x):\n    return torch.zeros(0)",
    "not a number": "def double(x):\n    return x * float('nan')",
    "a loop without end": "def double(x):\n    while True: pass",
    "a loop that takes no end": """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
def double(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
}
# in a process of their own, which is what the notebook's check has, these pass
PASS_IN_A_NOTEBOOK = {
    "the marker is patched",
    "frames are walked to the process's verdict",
    "frames are walked to the judge's numbers",
    "the reference is found by the garbage collector",
    "torch is patched",
}


def the_reference(x):
    return 2 * x


def check(ask):
    """It doubles."""
    x = torch.rand(3)
    twice = the_reference(x)
    found = ask(doubled, x=x)
    assert torch.equal(found, twice), "it does not"


def doubled(double, *, x):
    return double(x)


def verdict(place, **options):
    """Return what the check says of an answer, or an empty text."""
    try:
        with asking(place):
            mark(seconds=1, **options)(check)
    except NotYet as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def room():
    with Room([GIVEN], [RIGHT, *CHEATS.values()]) as room:
        yield room


def asked(room, number, **options):
    room.needs([number], {})
    return verdict(room, **options)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr("metalearn_grading.asking.LEAST", 3.0)


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_cheat_passes_and_the_next_answer_is_asked_as_before(room, cheat):
    said = asked(room, 1 + list(CHEATS).index(cheat))
    assert said.startswith("It doubles: "), cheat
    assert asked(room, 0) == ""


def in_a_notebook(code):
    """Return what a check says that shares a process with the answer."""
    names = vars(sys.modules.setdefault("__main__", ModuleType("__main__")))
    exec(GIVEN, names)
    try:
        exec(code, names)
        return verdict(marking.Notebook())
    except BaseException as error:
        return repr(error)


@pytest.mark.parametrize("cheat", sorted(PASS_IN_A_NOTEBOOK))
def test_these_would_pass_if_the_check_shared_a_process_with_the_answer(cheat):
    """So they are cheats, and it is the room that keeps them out."""
    assert run_apart(lambda: in_a_notebook(CHEATS[cheat]), seconds=20) == ""


def test_what_was_kept_is_closed_too():
    kept = "kept = [maml.adapt]\nfrom metalearn_lite.maml import adapt as other\n"
    uses = f"{kept}def double(x):\n    return kept[0](x)"
    with Room([GIVEN], [uses, RIGHT]) as room:
        assert "maml.adapt is closed here" in asked(room, 0, closed=("maml.adapt",))
        assert asked(room, 1, closed=("maml.adapt",)) == ""


def test_hidden_functions_of_python_are_put_back_and_named(capsys):
    """Above an answer stands ``sum = 0``, as one writes it to add something up."""
    above = "sum = 0\nfor number in (1, 2):\n    sum += number\nlist, max = [1, 2], 3"
    calls = "double = lambda x: sum([x, x]) * max(len(list((x,))), 1)"
    at_once = "two = len(list((1, 2)))\ndef double(x):\n    return two * x"
    with Room([GIVEN], [above, calls, at_once, "def max(x, _):\n    return x"]) as room:
        for number in (1, 2):
            room.needs([0, number], {})
            assert verdict(room) == ""
        said = capsys.readouterr().out
        assert said.count("your `list`, `max`, `sum` hide Python's own") == 2
        room.needs([3, 1], {})
        assert verdict(room) == ""
        assert "Python's own" not in capsys.readouterr().out
        room.needs([0], {})
        assert "double is missing" in verdict(room)
        assert asked(room, 1) == "" and room.hidden == []


def test_no_network_is_reached():
    """An answer phones somebody who knows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        phones = f"""
import socket
def double(x):
    with socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2) as line:
        line.sendall(bytes(x.numpy().tobytes()))
        return torch.frombuffer(bytearray(line.recv(12)), dtype=torch.float32)
"""
        threading.Thread(target=knows, args=(server,), daemon=True).start()
        assert in_a_copy(phones) == ""
        with Room([GIVEN], [phones]) as room:
            if not walled():
                pytest.skip("no walls on this system")
            assert "Error" in asked(room, 0)


def in_a_copy(code):
    return run_apart(lambda: in_a_notebook(code), seconds=20)


def walled():
    from metalearn_grading.walls import have_walls

    return have_walls()


def knows(server):
    line, _ = server.accept()
    with line:
        x = torch.frombuffer(bytearray(line.recv(12)), dtype=torch.float32)
        line.sendall((x + x).numpy().tobytes())


def test_a_cell_that_fails_is_the_reason_why_a_name_is_missing(room):
    with Room([GIVEN], ["1 / 0\ndef double(x): pass"]) as room:
        said = asked(room, 0)
    assert "double is missing, for its cell fails: ZeroDivisionError" in said


def test_a_cell_that_was_lost_is_not_run_again():
    with Room([GIVEN], ["import os\nos._exit(1)"]) as room:
        room.needs([0], {0: "it ended the process; this cell was left out"})
        said = verdict(room)
    assert "double is missing, for its cell fails: it ended the process" in said
