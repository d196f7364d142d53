"""The cache: what is whole and of this version is loaded, all else is made anew."""

import os
import random
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import torch

from metalearn_lite.datasets import cache
from metalearn_lite.datasets.cache import cached, code_of

DATA = {"images": torch.arange(6.0), "names": ["a", "b"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Makes the data, and counts how often."""

    def __init__(self, data=DATA):
        self.data, self.times = data, 0

    def __call__(self):
        self.times += 1
        return self.data


def same(data):
    return torch.equal(data["images"], DATA["images"]) and data["names"] == DATA["names"]


# cached


def test_what_was_made_once_is_loaded_from_then_on(folder):
    first, second = Maker(), Maker(data=None)
    assert same(cached("glyphs", 1, first)) and same(cached("glyphs", 1, second))
    assert (first.times, second.times) == (1, 0)
    assert [path.name.split("-")[0] for path in folder.iterdir()] == ["glyphs"]


@pytest.mark.parametrize("other", [("glyphs", 2), ("glyphs", "1"), ("digits", 1)])
def test_another_version_or_name_is_made_for_itself_and_both_are_kept(folder, other):
    make = Maker()
    cached("glyphs", 1, make)
    cached(*other, make)
    assert make.times == 2 and len(list(folder.iterdir())) == 2
    cached("glyphs", 1, make)
    cached(*other, make)
    assert make.times == 2


def test_a_version_is_told_by_all_that_it_is_made_of(folder):
    make = Maker()
    for version in (("code", 0, True), ("code", 0, False), ("code ", 0, True), ["code", 0, True]):
        cached("glyphs", version, make)
    assert make.times == 4
    cached("glyphs", ("code", 0, True), make)
    assert make.times == 4


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-20], lambda _: b"", lambda _: b"no checkpoint"],
    ids=["truncated", "empty", "other"],
)
def test_a_damaged_file_is_made_anew_and_replaced(folder, damage):
    make = Maker()
    cached("glyphs", 1, make)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(cached("glyphs", 1, make)) and make.times == 2
    assert same(cached("glyphs", 1, make)) and make.times == 2


def test_a_flipped_bit_of_the_data_is_noticed(folder):
    make = Maker()
    cached("glyphs", 1, make)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[content.index(DATA["images"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert same(cached("glyphs", 1, make)) and make.times == 2


def test_whatever_bit_is_flipped_the_data_is_right(folder):
    make, draw = Maker(), random.Random(0)
    cached("glyphs", 1, make)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert same(cached("glyphs", 1, make))
    assert make.times > 150


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path / "file"))
    make = Maker()
    for _ in range(2):
        assert same(cached("glyphs", 1, make))
    assert make.times == 2 and (tmp_path / "file").read_text() == "not a folder"


def test_an_error_of_the_maker_is_the_callers_and_leaves_no_file(folder):
    for error in (OSError("no fonts"), ValueError("wrong size")):

        def fail(error=error):
            raise error

        with pytest.raises(type(error), match=str(error)):
            cached("glyphs", 1, fail)
    assert not folder.exists()


@pytest.mark.parametrize("named", [None, ""])
def test_without_the_variable_the_folder_is_in_the_users_cache(tmp_path, monkeypatch, named):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if named is None:
        monkeypatch.delenv("METALEARN_CACHE")
    else:
        monkeypatch.setenv("METALEARN_CACHE", named)
    cached("glyphs", 1, Maker())
    (path,) = (tmp_path / ".cache" / "metalearn_lite").iterdir()
    assert path.name.startswith("glyphs-") and path.suffix == ".zip"


# code_of


def module_of(source, folder):
    """A module whose source can be looked up."""
    path = folder / f"source{len(os.listdir(folder))}.py"
    path.write_text(source)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    return module


CODE = '''"""What this is."""
import math

SIZE = 28  # pixels


class Shape:
    """A shape."""

    def area(self, r):
        """Return the area."""
        return math.pi * r**2  # of a circle


async def later():
    """Wait."""
'''


@pytest.mark.parametrize(
    "change",
    [
        lambda code: code.replace("What this is.", "Something else."),
        lambda code: code.replace('"""What this is."""\n', ""),
        lambda code: code.replace("A shape.", "A circle."),
        lambda code: code.replace("Return the area.", "The area, in pixels."),
        lambda code: code.replace("Wait.", "Wait a while."),
        lambda code: code.replace("  # pixels", ""),
        lambda code: code.replace("# of a circle", "# π r²"),
        lambda code: code.replace("\n\n\n", "\n\n\n\n\n# A line of its own\n\n"),
        lambda code: code.replace("math.pi * r**2", "(math.pi\n                * (r ** 2))"),
    ],
)
def test_comments_docstrings_and_layout_are_not_code(change, tmp_path):
    changed = change(CODE)
    assert changed != CODE
    assert code_of(module_of(changed, tmp_path)) == code_of(module_of(CODE, tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        lambda code: code.replace("28", "29"),
        lambda code: code.replace("r**2", "r**3"),
        lambda code: code.replace("pi * r", "pi + r"),
        lambda code: code.replace("area(self, r)", "area(self, r=1)"),
        lambda code: code.replace("SIZE", "SIDE"),
        lambda code: code.replace("return math.pi", "r = 2 * r\n        return math.pi"),
        lambda code: code + 'NAME = """What this is."""\n',
        lambda code: code.replace("class Shape:", "class Shape(dict):"),
    ],
)
def test_what_changes_what_a_module_does_is_noticed(change, tmp_path):
    changed = change(CODE)
    assert changed != CODE
    assert code_of(module_of(changed, tmp_path)) != code_of(module_of(CODE, tmp_path))


def test_a_text_that_is_no_docstring_is_code(tmp_path):
    one, two = (module_of(f"SIZE = 1\n'{text}'\n", tmp_path) for text in "ab")
    assert code_of(one) != code_of(two)


def test_the_code_of_a_module_of_the_package_is_found():
    assert "sha256" in code_of(cache)
    assert "is made anew" not in code_of(cache) and "costs only time" not in code_of(cache)


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("METALEARN_CACHE", "~/kept")
    cached("glyphs", 1, Maker())
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".zip"]


def test_without_a_home_the_cache_is_beside_other_temporary_files(tmp_path, monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("METALEARN_CACHE")
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cached("glyphs", 1, Maker())
    assert [path.suffix for path in (tmp_path / "metalearn_lite").iterdir()] == [".zip"]
