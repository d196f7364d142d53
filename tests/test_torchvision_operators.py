"""torchvision must import beside this PyTorch, whichever of the two names comes first."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import metalearn_lite
from metalearn_lite import torchvision_operators

USE = """
import torch, warnings
warnings.simplefilter("error")
{imports}
from torchvision.transforms import v2
from torchvision.utils import make_grid
model = torchvision.models.resnet18().eval()
assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
assert v2.RandomRotation(5)(torch.zeros(1, 28, 28)).shape == (1, 28, 28)
assert make_grid(torch.zeros(4, 1, 8, 8)).ndim == 3
torchvision.datasets.Omniglot
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "imports", ["import metalearn_lite, torchvision", "import torchvision, metalearn_lite"]
)
def test_torchvision_works_in_either_order(imports):
    """The second order needs the installed package: its wheel prepares each new Python."""
    run = subprocess.run(
        [sys.executable, "-c", USE.format(imports=imports)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.long
def test_without_the_declaration_torchvision_fails_and_can_be_imported_after_it():
    """The cure is needed: -S leaves out site-packages' start-up line, the path is given back."""
    if torch.version.cuda or torchvision_operators.compiled_part_loads():
        pytest.skip("torchvision's compiled part loads beside this PyTorch")
    code = f"import sys; sys.path += {sys.path!r}\n"
    code += "try:\n import torchvision\nexcept RuntimeError as error:\n print(error)\n"
    code += USE.format(imports="import metalearn_lite, torchvision")
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert "operator torchvision::nms does not exist" in run.stdout
    assert run.returncode == 0, run.stderr


def test_importing_the_package_alone_does_not_load_torch():
    code = "import sys, metalearn_lite; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", ["cuda", "windows"])
def test_nothing_is_declared_where_the_parts_match(monkeypatch, setting):
    monkeypatch.setattr(torchvision_operators, "_declared", [])
    if setting == "cuda":
        monkeypatch.setattr(torch.version, "cuda", "13.0")
    else:
        monkeypatch.setattr(sys, "platform", "win32")
    assert torchvision_operators.declare_missing() is False


def broken(path):
    raise OSError("undefined symbol")


def test_declaring_twice_changes_nothing():
    torchvision_operators.declare_missing()
    assert torchvision_operators.declare_missing() is False


@pytest.fixture
def defined(monkeypatch):
    """What is declared, where nothing is yet and the compiled part does not load."""
    defined = []

    class Library:
        def __init__(self, *name):
            defined.append(name)

        def define(self, schema):
            defined.append(schema.partition("(")[0])

    monkeypatch.setattr(torchvision_operators, "_declared", [])
    monkeypatch.setattr(torch.ops, "load_library", broken)
    monkeypatch.setattr(torch.library, "Library", Library)
    for part in ("cuda", "hip"):
        monkeypatch.setattr(torch.version, part, None)
    monkeypatch.setattr(sys, "platform", "linux")
    return defined


def test_it_says_that_it_declared_and_does_so_once(defined):
    assert torchvision_operators.declare_missing() is True
    assert defined == [("torchvision", "DEF"), "nms", "qnms"]
    assert torchvision_operators.declare_missing() is False


def test_to_declare_before_torchvision_was_imported_declares_once(defined, monkeypatch):
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [metalearn_lite._BeforeTorchvision, *sys.meta_path])
    assert torchvision_operators.declare_missing() is True
    assert defined == [("torchvision", "DEF"), "nms", "qnms"]


def test_the_compiled_part_is_the_file_beside_torchvisions_first(monkeypatch):
    loaded, parts = [], torchvision_operators.compiled_part_loads
    found = SimpleNamespace(origin=str(Path("somewhere", "torchvision", "__init__.py")))
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda name: found)
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    assert parts() is True and loaded == [Path("somewhere", "torchvision", "_C.so")]
    monkeypatch.setattr(torch.ops, "load_library", broken)
    assert parts() is False


@pytest.mark.parametrize("found", [None, SimpleNamespace(origin=None)])
def test_what_is_not_installed_is_left_to_its_import(found, monkeypatch):
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda name: found)
    assert torchvision_operators.compiled_part_loads() is True
