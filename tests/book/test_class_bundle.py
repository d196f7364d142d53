"""The bundle for a class: made by its command, and installed with the network off.

One test makes a whole bundle, installs it and works in it; the others use a small bundle whose
pip only says that it was reached.
"""

import ast
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class_install = load("class_install")
class_wheels = load("class_wheels")
class_bundle = load("class_bundle")
HERE = class_wheels.tag(class_install.kind())


def run(*command, **options):
    """Run a command and return its exit status and all that it said."""
    command = [str(part) for part in command]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    return done.returncode, done.stdout


# The network off

# a namespace of its own, in which this machine alone can be reached
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""
# where there are no namespaces, every Python that is started refuses
REFUSING = """
import sys

def refuse(event, arguments):
    at = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0}.get(event)
    if at is not None:
        host = arguments[at][0] if isinstance(arguments[at], tuple) else arguments[at]
        if event != "socket.connect" or isinstance(arguments[at], tuple):  # a path is no network
            if host not in (None, "", "localhost", "127.0.0.1", "::1"):
                raise OSError(f"the network is switched off: {host}")

sys.addaudithook(refuse)
"""
PROBE = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()
"""


def own_environment():
    """Return the environment of a student: what Python has compiled once, it keeps."""
    return {n: value for n, value in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}


def namespace(_folder):
    """Return what to put before a command, and its environment; None without namespaces."""
    prefix = ["unshare", "-rn", sys.executable, "-c", LOOPBACK]
    if not shutil.which("unshare") or run(*prefix, sys.executable, "-c", "")[0]:
        return None
    return prefix, own_environment()


def refusing(folder):
    (folder / "sitecustomize.py").write_text(REFUSING)
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return [], {**own_environment(), **proxies, "no_proxy": "localhost", "PYTHONPATH": str(folder)}


def own_address():
    """Return an address of this machine that is not the loopback's, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))  # chooses a way, and sends nothing
            return any_socket.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def assert_off(prefix, environment):
    """A listener on this machine is reached from outside, and not from where it is off."""
    with socket.create_server(("", 0)) as listener:
        address = own_address(), listener.getsockname()[1]
        assert run(sys.executable, "-c", PROBE, *address)[0] == 0, "the probe itself fails"
        status, said = run(*prefix, sys.executable, "-c", PROBE, *address, env=environment)
        assert status != 0 and "Error" in said, "the network is not off"


@pytest.mark.parametrize("way", [namespace, refusing])
def test_the_network_is_off_where_it_is_said_to_be(way, tmp_path):
    found = way(tmp_path)
    if found is None:
        pytest.skip("this system gives no namespace of its own to its users")
    if way is refusing and own_address() == "127.0.0.1":
        pytest.skip("this machine has no network that could be refused")
    assert_off(*found)
    with pytest.raises(AssertionError, match="the network is not off"):
        assert_off([], dict(os.environ))


# The whole of it

FIRST_CELLS = """
import metalearn_lite, nbformat, sys
from nbclient import NotebookClient
print(metalearn_lite.__file__)
notebook = nbformat.read("few_examples.ipynb", 4)
notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:4]
NotebookClient(notebook, timeout=120).execute()
print("".join(o.get("text", "") for cell in notebook.cells for o in cell.outputs))
"""
# opens JupyterLab as the installer says, and runs a cell as its page does
OPEN_LAB = """
import json, subprocess, sys, time
from urllib.request import Request, urlopen
from jupyter_server.serverapp import list_running_servers
from websocket import create_connection

TOKEN = {"Authorization": "token classroom"}
CELL = {
    "header": {"msg_id": "1", "msg_type": "execute_request", "session": "1", "version": "5.3"},
    "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
    "content": {"code": "import metalearn_lite; print(metalearn_lite.__file__)", "silent": False},
}

def ask(path, data=None):
    return urlopen(Request(server["url"] + path, data, TOKEN), timeout=60).read().decode()

options = ["--no-browser", "--allow-root", "--IdentityProvider.token=classroom"]
lab = subprocess.Popen([*sys.argv[1:], *options])
try:
    while not (server := next(list_running_servers(), None)):
        assert lab.poll() is None
        time.sleep(0.1)
    assert "<title>JupyterLab</title>" in ask("lab")
    assert "few_examples.ipynb" in ask("api/contents")
    kernel = json.loads(ask("api/kernels", b'{"name": "python3"}'))["id"]
    address = server["url"].replace("http", "ws", 1) + f"api/kernels/{kernel}/channels"
    page = create_connection(address, timeout=60, header=TOKEN)
    page.send(json.dumps(CELL))
    while (message := json.loads(page.recv()))["msg_type"] != "stream":
        assert message["msg_type"] != "error", message
    print("The cell says:", message["content"]["text"])
finally:
    lab.terminate()
    lab.wait()
"""


def disk_in_memory():
    """Return where the system keeps files in memory, if a class has room there and to spare.

    Forty thousand files are written and deleted again. That takes minutes on some disks.
    """
    memory = Path("/dev/shm")
    try:
        known = Path("/proc/meminfo").read_text(encoding="ascii")
        free = known.partition("MemAvailable:")[2].split()[0]  # in kB
        programs = not os.statvfs(memory).f_flag & os.ST_NOEXEC
        room = min(shutil.disk_usage(memory).free, 1024 * int(free))
    except OSError:  # another system
        return None
    return memory if programs and room > 6e9 else None


@pytest.fixture
def workplace():
    """A folder for gigabytes, which pytest would keep."""
    with tempfile.TemporaryDirectory(
        prefix="class", dir=disk_in_memory(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder).resolve()


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.whl")}


def fixed_sums(bundle):
    """Return the checksums of all but what follows the files of the course while one edits them."""
    edited = ("course/", "book/", "slides/", "wheels/metalearn_lite")
    sums = class_install.listed(bundle)
    return {name: digest for name, digest in sums.items() if not name.startswith(edited)}


def assert_again_changes_nothing(make, bundle, offline):
    """A second run needs no network, keeps every wheel, and deletes one of another pin."""
    prefix, environment = offline
    wheels, sums = bundle / "wheels" / HERE, fixed_sums(bundle)
    before = times(wheels)
    with zipfile.ZipFile(wheels / "numpy-1.0-py3-none-any.whl", "w") as outdated:
        outdated.writestr("numpy/__init__.py", "")
    status, said = run(*prefix, *make, env=environment)
    assert status == 0, said
    assert times(wheels) == before
    assert fixed_sums(bundle) == sums and f"wheels/{HERE}/manifest.json" in sums


def assert_is_a_course(course, environment):
    """What the installer said leads to JupyterLab; the package is that of the wheel."""
    prefix, variables, python, command = environment
    chapters, installed = course / "chapters", course.parent / "environment"
    status, said = run(*prefix, python, "-c", FIRST_CELLS, cwd=chapters, env=variables)
    assert status == 0 and "with values from 0 to 1" in said, said
    assert Path(said.splitlines()[0]).is_relative_to(installed)
    variables = {**variables, "JUPYTER_RUNTIME_DIR": str(course.parent / "runtime")}
    status, said = run(*prefix, python, "-c", OPEN_LAB, *command, cwd=course, env=variables)
    assert status == 0 and f"The cell says: {installed}" in said, said


def test_a_class_installs_and_works_without_a_network(workplace, tmp_path):
    bundle, handout, target = (workplace / name for name in ("bundle", "handout", "for me"))
    handout.mkdir()
    (handout / "first.zip").write_bytes(b"an assignment")
    make = sys.executable, ROOT / "tools" / "class_bundle.py", bundle, "--assignments", handout
    status, said = run(*make)
    assert status == 0 and str(bundle) in said.splitlines()[-2], said
    assert class_install.faults(bundle) == []

    prefix, environment = offline = namespace(tmp_path) or refusing(tmp_path)
    assert_off(*offline)
    assert_again_changes_nothing(make, bundle, offline)
    installer = sys.executable, bundle / "install.py", target
    status, said = run(*prefix, *installer, cwd=workplace, env=environment)
    assert status == 0 and "An episode is drawn" in said, said
    assert (target / "assignments" / "first.zip").read_bytes() == b"an assignment"

    shutil.rmtree(bundle)  # the stick goes to the next student
    *_, change, start = said.strip().splitlines()
    assert change.strip() == f'cd "{target / "course"}"'
    jupyter, *arguments = start.split()
    command = [target / "course" / jupyter, *arguments]
    python = class_install.scripts(target) / ("python.exe" if os.name == "nt" else "python")
    assert_is_a_course(target / "course", (prefix, environment, python, command))


# What can go wrong for a student


@pytest.fixture
def bundle(tmp_path):
    """A small bundle, whose pip installs nothing; also with wheels for another machine."""
    bundle = tmp_path / "bundle"
    for folder in (HERE, "plan9-mips-cp311"):
        wheels = bundle / "wheels" / folder
        wheels.mkdir(parents=True)
        with zipfile.ZipFile(wheels / "pip-1-py3-none-any.whl", "w") as pip:
            pip.writestr("pip/__main__.py", "raise SystemExit('pip was reached')")
        class_wheels.write_manifest(wheels)
    (bundle / "course").mkdir()
    shutil.copy(ROOT / "requirements.txt", bundle / "course")
    shutil.copy(class_install.__file__, bundle / "install.py")
    describe(
        bundle, "plan9-mips-cp311", kind={"python": "3.11", "system": "Plan9", "machine": "mips"}
    )
    return bundle


def describe(bundle, folder, **changes):
    """Change a manifest, and make the checksums anew."""
    path = bundle / "wheels" / folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    class_bundle.write_sums(bundle)


@pytest.fixture
def refused(bundle, tmp_path):
    """Run the installer, see that it stops and leaves nothing, and return what it says."""

    def install(target=tmp_path / "target"):
        before = sorted(tmp_path.rglob("*"))
        status, said = run(sys.executable, bundle / "install.py", target)
        assert status == 1 and "Traceback" not in said, said
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return install


def wheel(bundle, folder=HERE):
    return bundle / "wheels" / folder / "pip-1-py3-none-any.whl"


def test_a_damaged_file_is_named(bundle, refused):
    whole = wheel(bundle).read_bytes()
    wheel(bundle).write_bytes(whole[:-1] + b"x")
    said = refused()
    assert f"damaged: wheels/{HERE}/pip-1-py3-none-any.whl" in said
    assert "Copy what is damaged or missing again" in said and "pip was reached" not in said
    wheel(bundle).write_bytes(whole)
    assert "pip was reached" in refused()


@pytest.mark.parametrize("name", ["course/requirements.txt", f"wheels/{HERE}/manifest.json"])
def test_a_missing_file_is_named(bundle, refused, name):
    (bundle / name).unlink()
    assert f"missing: {name}\n" in refused()


def test_a_file_too_many_is_named(bundle, refused):
    (bundle / "wheels" / HERE / "torch-9-py3-none-any.whl").write_bytes(b"not ours")
    said = refused()
    assert f"extra: wheels/{HERE}/torch-9-py3-none-any.whl" in said and "delete what" in said


@pytest.mark.parametrize("text", [None, "no checksum"])
def test_without_checksums_nothing_is_installed(bundle, refused, text):
    (bundle / "SHA256SUMS").unlink()
    if text:
        (bundle / "SHA256SUMS").write_text(text)
    assert "the bundle is damaged or was not finished" in refused()


def test_what_a_system_adds_to_a_stick_does_no_harm(bundle, refused):
    (bundle / ".DS_Store").write_bytes(b"")
    (bundle / "wheels" / HERE / "._pip-1-py3-none-any.whl").write_bytes(b"")
    (bundle / "System Volume Information").mkdir()
    (bundle / "System Volume Information" / "WPSettings.dat").write_bytes(b"")
    assert "pip was reached" in refused()


@pytest.mark.parametrize(
    "other", [{"python": "3.9"}, {"system": "Windows"}, {"machine": "arm64"}], ids=str
)
def test_another_python_or_machine_is_told_what_the_bundle_is_for(bundle, refused, other):
    fits = {**class_install.kind(), **other}
    describe(bundle, HERE, kind=fits)
    said = refused()
    assert f"This is\n  {class_install.words(class_install.kind())}\nbut" in said
    assert class_install.words(fits) in said and "Python 3.11 on Plan9 (mips)" in said


def test_wheels_for_another_machine_can_be_left_off_a_stick(bundle, refused):
    wheel(bundle, "plan9-mips-cp311").unlink()
    assert "pip was reached" in refused()


def test_wheels_of_an_earlier_course_are_refused(bundle, refused):
    describe(bundle, HERE, pins="0" * 64)
    assert "holds the wheels of an earlier course" in refused()


def test_a_folder_that_exists_is_left_as_it_is(tmp_path, refused):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.txt").write_text("three years of work")
    assert f"{tmp_path / 'target'} exists already; it was left as it is" in refused()
    assert (tmp_path / "target" / "thesis.txt").read_text() == "three years of work"


def test_the_bundle_itself_stays_clean(bundle, refused):
    assert "lies in the bundle" in refused(bundle / "mine")


def test_a_full_disk_is_seen_before(bundle, refused):
    describe(bundle, HERE, installed_bytes=10**18)
    assert "GB free, and 1000000000.0 GB are needed" in refused()


def test_what_was_begun_is_removed_when_pip_fails(tmp_path, refused):
    said = refused()
    assert "pip could not install" in said and f"{tmp_path / 'target'} was removed" in said


def test_the_installer_needs_nothing_but_python_and_an_old_one_reads_it():
    source = (ROOT / "tools" / "class_install.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert "venv" in imported
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert source.isascii()  # some consoles know nothing else


# What can go wrong for a teacher


def test_sha256sum_reads_the_checksums(bundle):
    if not shutil.which("sha256sum"):
        pytest.skip("there is no sha256sum here")
    assert run("sha256sum", "--strict", "-c", "SHA256SUMS", cwd=bundle)[0] == 0
    wheel(bundle).write_bytes(b"damaged")
    assert run("sha256sum", "--strict", "-c", "SHA256SUMS", cwd=bundle)[0] == 1


def test_new_checksums_hide_no_damage(bundle):
    wheel(bundle).write_bytes(b"cut off")
    class_wheels.discard_damaged(bundle, wheel(bundle).parent)
    assert not wheel(bundle).exists()  # it is fetched anew
    wheel(bundle, "plan9-mips-cp311").write_bytes(b"cut off")
    with pytest.raises(SystemExit, match=r"damaged: wheels/plan9-mips-cp311/pip.*its own machine"):
        class_wheels.discard_damaged(bundle, wheel(bundle).parent)


def test_a_wheel_that_was_not_written_to_its_end_is_discarded(bundle):
    (bundle / "SHA256SUMS").unlink()
    wheel(bundle).write_bytes(wheel(bundle).read_bytes()[:-30])
    class_wheels.discard_damaged(bundle, wheel(bundle).parent)
    assert not wheel(bundle).exists() and wheel(bundle, "plan9-mips-cp311").exists()


def test_wheels_that_another_machine_must_make_again_are_named(bundle, capsys):
    class_bundle.name_outdated(bundle)
    assert capsys.readouterr().out == ""
    describe(bundle, "plan9-mips-cp311", pins="0" * 64)
    class_bundle.name_outdated(bundle)
    assert "run this again with Python 3.11 on Plan9 (mips)" in capsys.readouterr().out


def test_the_readme_names_every_kind_of_machine(bundle):
    class_bundle.write_readme(bundle)
    text = (bundle / "README.txt").read_text()
    assert "or 3.11 on Plan9 (mips)" in text or "3.11 on Plan9 (mips), or" in text
    assert "book/index.html" not in text
    (bundle / "book").mkdir()
    class_bundle.write_readme(bundle)
    assert "book/index.html" in (bundle / "README.txt").read_text()


def test_pins_for_another_patch_release_of_python_are_bundled_too(tmp_path, monkeypatch):
    major, minor, patch = sys.version_info[:3]
    later = f"{major}.{minor}.{patch + 1}"
    (tmp_path / "requirements.txt").write_text(
        f"both==1  # via them\nsieve==1 ; python_full_version < '{later}'\n"
        f"sieve==2 ; python_full_version >= '{later}'\nnowhere==1 ; sys_platform == 'plan9'\n"
    )
    monkeypatch.setattr(class_wheels, "REQUIREMENTS", tmp_path / "requirements.txt")
    assert class_wheels.pins(f"{major}.{minor}.{patch}") == {"both==1", "sieve==1"}
    assert class_wheels.pins_elsewhere() == {"sieve==2"}


def test_students_get_what_git_tracks_without_the_solutions(tmp_path):
    class_bundle.copy_course(tmp_path / "course")
    copied = class_install.names(tmp_path / "course")
    assert {"requirements.txt", "chapters/few_examples.ipynb", "metalearn_lite/tasks.py"} <= copied
    tracked = run("git", "ls-files", cwd=ROOT)[1].split("\n")
    assert copied <= set(tracked)
    mark = "### BEGIN " + "SOLUTION"  # in two parts: this file is among the copied
    solved = {n for n in copied if mark in (tmp_path / "course" / n).read_text("latin1")}
    assert solved == set()
    private = class_bundle.NOT_FOR_STUDENTS
    assert all(any(name.startswith(folder) for name in tracked) for folder in private)
    assert not [name for name in copied if name.startswith(private)]


def test_the_course_as_an_archive_holds_what_the_bundle_holds(tmp_path):
    class_bundle.write_zip(tmp_path / "course.zip")
    class_bundle.copy_course(tmp_path / "course")
    with zipfile.ZipFile(tmp_path / "course.zip") as archive:
        names = archive.namelist()
    top = "learning-from-few-examples/"
    assert all(name.startswith(top) for name in names)
    copied = class_install.names(tmp_path / "course")
    assert {name.removeprefix(top) for name in names} == copied


def test_a_bundle_takes_the_assignments_for_all_and_none_for_one(tmp_path, capsys):
    bundle, handout = tmp_path / "bundle", tmp_path / "handout"
    bundle.mkdir()
    class_bundle.copy_handout(bundle, handout)
    assert "assignments are left out: there is no archive" in capsys.readouterr().out
    (handout / "maml").mkdir(parents=True)
    (handout / "maml" / "ada.zip").write_bytes(b"ada's own")
    (handout / "transfer.zip").write_bytes(b"for all")
    class_bundle.copy_handout(bundle, handout)
    assert [path.name for path in (bundle / "assignments").iterdir()] == ["transfer.zip"]
    (handout / "transfer.zip").unlink()
    class_bundle.copy_handout(bundle, handout)
    assert not (bundle / "assignments").exists()
    assert "each student has one of their own" in capsys.readouterr().out


def test_what_is_not_built_here_stays_as_another_machine_left_it(tmp_path, capsys):
    source, bundle = tmp_path / "html", tmp_path / "bundle"
    built = {"book": source, "slides": tmp_path / "none"}
    for text in ("first", "second"):
        source.mkdir(exist_ok=True)
        (source / "index.html").write_text(text)
        class_bundle.copy_built(bundle, built)
        assert (bundle / "book" / "index.html").read_text() == text
    assert "slides is left out" in capsys.readouterr().out
    shutil.rmtree(source)
    class_bundle.copy_built(bundle, built)
    assert (bundle / "book" / "index.html").exists()
    assert "book stays as it is" in capsys.readouterr().out
