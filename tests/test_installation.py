"""What an installation needs and costs: as a wheel, as an editable one, in any folder."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytest.importorskip("hatchling", reason="installs are built by hatchling")

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from hatchling import build; getattr(build, sys.argv[1])(sys.argv[2])"
# without importing it: the start did
WHERE = "import os; sys.stdout.buffer.write(os.fsencode(sys.modules['metalearn_lite'].__file__))"
# the C locale as it is where UTF-8 is not put in its place; on Windows it changes nothing, and
# the file is read there in the encoding of the country
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MILLISECONDS = 2

# What each part is tried in: torch, numpy, tqdm and what these require, and nothing else.
ALONE = """
import sys
from importlib.machinery import PathFinder

class Only:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in hidden:
            return PathFinder.find_spec(name, path, target)

hidden = {hidden!r}
sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in sys.meta_path]
"""
MAML = """
import torch
from metalearn_lite.maml import adapt, maml_loss
from metalearn_lite.models import mlp
from metalearn_lite.tasks import SineTasks

tasks, model = SineTasks(shots=5, queries=10), mlp(1, 1)
rates = {"inner_lr": 0.01, "inner_steps": 2}
maml_loss(model, tasks.sample(torch.Generator().manual_seed(0), 4), **rates).backward()
assert all(p.grad.abs().sum() > 0 for p in model.parameters())
start = dict(model.named_parameters())
episode = tasks.sample(torch.Generator().manual_seed(0))
adapted = adapt(model, start, episode.support_x, episode.support_y, **rates)
assert all((adapted[name] != start[name]).any() for name in start)
"""


def course_in(folder):
    """Copy what the package is built from."""
    for package in ("metalearn_lite", "metalearn_grading"):
        shutil.copytree(ROOT / package, folder / package, ignore=lambda *_: {"__pycache__"})
    (folder / "tools").mkdir()
    for name in ("hatch_build.py", "metalearn_lite_hook.pth"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def installed(kind, course, wheels, environment=None):
    """Build a wheel ("wheel" or "editable"), unpack it and return the folder."""
    wheels.mkdir()
    subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(wheels)],
        cwd=course,
        env={**os.environ, **(environment or {})},
        check=True,
    )
    (wheel,) = wheels.iterdir()  # and nothing else was left there
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(wheels / "site")
    return wheels / "site"


def start(site, code="pass", options=(), **environment):
    """Start a Python that has nothing but its own library and this folder of packages."""
    line = f"import site, sys; site.addsitedir({str(site)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-S", *options, "-c", line],
        cwd=site,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
    )


def cost(run):
    """The microseconds in which our modules were imported at the start, by their names."""
    assert run.returncode == 0, run.stderr
    lines = run.stderr.decode().splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines if "|" in line]
    ours = ("metalearn_lite", "_editable_impl", "editables")
    return {name.strip(): int(took) for _, took, name in rows[1:] if name.strip().startswith(ours)}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return course_in(tmp_path_factory.mktemp("course"))


@pytest.mark.parametrize("kind", ["wheel", "editable", "this"])
def test_the_start_of_python_takes_next_to_no_time(course, tmp_path, monkeypatch, kind):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    if kind == "this":
        command = [sys.executable, "-X", "importtime", "-c", "pass"]
        runs = [subprocess.run(command, capture_output=True, cwd=tmp_path) for _ in range(4)]
    else:
        site = installed(kind, course, tmp_path / "wheels")
        runs = [start(site, options=["-X", "importtime"]) for _ in range(4)]
    costs = [cost(run) for run in runs[1:]]  # the first compiles
    assert set(costs[0]) == {"metalearn_lite"}
    assert min(found["metalearn_lite"] for found in costs) < 1000 * MILLISECONDS


@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("fault", ["gone", "broken"])
def test_a_package_that_cannot_be_imported_does_not_disturb_other_starts(tmp_path, kind, fault):
    (tmp_path / "course").mkdir()
    course = course_in(tmp_path / "course")
    site = installed(kind, course, tmp_path / "wheels")
    package = (course if kind == "editable" else site) / "metalearn_lite"
    if fault == "gone":
        shutil.rmtree(package)
    else:
        (package / "__init__.py").write_text("<<<<<<< a merge that failed", encoding="utf-8")
    run = start(site)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    assert start(site, "import metalearn_lite").returncode == 1


@pytest.mark.parametrize("built_in", [{}, NOT_UTF8], ids=["UTF-8", "C"])
def test_the_editable_install_works_in_a_folder_whose_name_is_not_ascii(tmp_path, built_in):
    (tmp_path / "méta learning").mkdir()
    course = course_in(tmp_path / "méta learning")
    site = installed("editable", course, tmp_path / "wheels", built_in)
    for read_in in ({}, NOT_UTF8):
        run = start(site, WHERE, **read_in)
        assert run.stderr == b""
        assert Path(os.fsdecode(run.stdout)).samefile(course / "metalearn_lite" / "__init__.py")
    assert all(path.read_bytes().isascii() for path in site.glob("*.pth"))


def test_elsewhere_the_editable_install_is_a_path_that_other_tools_can_read(course, tmp_path):
    site = installed("editable", course, tmp_path / "wheels")
    text = (site / "_editable_impl_metalearn_lite.pth").read_text(encoding="utf-8")
    (line,) = set(text.splitlines())  # one for each of both packages, and both lie there
    assert Path(line).samefile(course)


def test_the_source_distribution_builds_the_same_wheel(course, tmp_path):
    subprocess.run(
        [sys.executable, "-c", BUILD, "build_sdist", str(tmp_path)], cwd=course, check=True
    )
    (archive,) = tmp_path.iterdir()
    subprocess.run([sys.executable, "-m", "tarfile", "-e", archive, tmp_path], check=True)
    again = installed("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "again")
    direct = installed("wheel", course, tmp_path / "direct")
    files = [{path.relative_to(s) for path in s.rglob("*")} for s in (direct, again)]
    assert files[0] == files[1]


def not_required_by(*names):
    """The importable names here that belong to no package of these and of what they require."""
    wanted, todo = set(), [canonicalize_name(name) for name in names]
    while todo:
        wanted.add(name := todo.pop())
        needed = [Requirement(line) for line in requires(name) or ()]
        needed = [r for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
        todo += {canonicalize_name(r.name) for r in needed} - wanted
    return {
        module
        for module, packages in packages_distributions().items()
        if not module.startswith("metalearn_")
        and not wanted & {canonicalize_name(p) for p in packages}
    }


def test_maml_needs_torch_numpy_and_tqdm_alone(tmp_path):
    """With the other methods, their models, losses and tasks."""
    rooms = ["maml", "models", "tasks", "prototypes", "reptile", "losses", "checkpoint"]
    code = ALONE.format(hidden=not_required_by("torch", "numpy", "tqdm"))
    code += "".join(f"import metalearn_lite.{room}\n" for room in rooms) + MAML
    code += "import importlib.util as u; assert not u.find_spec('scipy'), 'nothing was hidden'"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_course_brings_all_that_the_package_can_use():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for extra in extras.values() for line in extra]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.partition("#")[0]) for line in lines if line and line[0] != "#"]
    pinned = {pin.name: next(iter(pin.specifier)).version for pin in pins}
    for requirement in wanted:
        if requirement.name == project["name"]:
            assert requirement.extras == extras.keys() - {"all"}
        else:
            assert pinned[requirement.name] in requirement.specifier
