"""Omniglot's drawings in a zip file or a folder: found, listed, read, and refused."""

import io
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from metalearn_lite.datasets.omniglot_archive import (
    CHARACTERS,
    find,
    list_drawings,
    read_drawings,
)

PART = "images_background"


def png(pixels):
    """A drawing as Omniglot stores it: black ink on white, a bit a pixel."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=bool)).save(file, "png")
    return file.getvalue()


def write(folder, names, size=8):
    """Write different drawings under ``folder`` and return their pixels by name."""
    rng, written = np.random.default_rng(0), {}
    for name in names:
        written[name] = rng.random((size, size)) > 0.3
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(written[name]))
    return written


NAMES = [f"{PART}/{a}/character{c:02d}/{d}.png" for a in "BA" for c in (2, 1) for d in (1, 0)]


@pytest.fixture
def tree(tmp_path):
    """Two alphabets of two characters, two drawings each, written in another order than sorted."""
    write(tmp_path, NAMES)
    return tmp_path / PART


@pytest.fixture
def archive(tmp_path):
    """The same as a zip file."""
    write(tmp_path, NAMES)
    shutil.make_archive(str(tmp_path / PART), "zip", tmp_path, PART)
    shutil.rmtree(tmp_path / PART)
    return tmp_path / f"{PART}.zip"


@pytest.fixture(params=["tree", "archive"])
def source(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def downloads(monkeypatch):
    """Put a function in the place of torchvision's ``Omniglot``."""

    def by(download):
        monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(Omniglot=download))

    return by


def never(*_, **__):
    raise AssertionError("something was downloaded")


# find


@pytest.mark.parametrize(
    "place", [PART, f"{PART}.zip", f"omniglot-py/{PART}", f"omniglot-py/{PART}.zip"]
)
def test_a_folder_and_a_zip_are_found_also_where_torchvision_puts_them(place, tmp_path):
    (tmp_path / place).mkdir(parents=True)
    assert find(tmp_path, PART, download=False) == tmp_path / place
    with pytest.raises(FileNotFoundError):
        find(tmp_path, "images_evaluation", download=False)


def test_what_is_nearest_comes_first_and_nothing_is_downloaded(tmp_path, downloads):
    downloads(never)
    for place in (f"omniglot-py/{PART}", f"{PART}.zip", PART):
        (tmp_path / place).mkdir(parents=True)
        assert find(tmp_path, PART, download=True) == tmp_path / place


def test_a_missing_archive_says_what_is_expected_where(tmp_path, downloads):
    downloads(never)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}: expected {PART}\.zip or the folder"):
        find(tmp_path, PART, download=False)


@pytest.mark.parametrize("part", CHARACTERS)
def test_a_download_is_left_to_torchvision_and_found_where_it_unpacks(part, tmp_path, downloads):
    asked = []
    downloads(lambda *args, **options: asked.append((args, options)))
    assert find(tmp_path, part, download=True) == tmp_path / "omniglot-py" / part
    assert asked == [((str(tmp_path),), {"background": part == PART, "download": True})]


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("wrong md5")])
def test_a_download_that_fails_says_what_else_can_be_done(error, tmp_path, downloads):
    def fail(*_, **__):
        raise error

    downloads(fail)
    message = rf"{tmp_path} \({error}\): check the network, or put images_evaluation\.zip there"
    with pytest.raises(OSError, match=message):
        find(tmp_path, "images_evaluation", download=True)


# list


def test_characters_and_their_drawings_are_sorted_and_belong_together(source):
    drawings = list_drawings(source, PART, complete=False)
    assert drawings.files == tuple(sorted(NAMES))
    assert drawings.characters == tuple((a, f"character{c:02d}") for a in "AB" for c in (1, 2))
    for i, (alphabet, character) in enumerate(drawings.characters):
        for name in drawings.files[2 * i : 2 * i + 2]:
            assert name.startswith(f"{PART}/{alphabet}/{character}/")


def test_the_sizes_are_those_of_the_files(tree):
    drawings = list_drawings(tree, PART, complete=False)
    assert drawings.sizes == tuple((tree.parent / n).stat().st_size for n in drawings.files)
    assert len(set(drawings.sizes)) > 1


def test_a_folder_and_its_zip_are_listed_alike(tree):
    shutil.make_archive(str(tree), "zip", tree.parent, PART)
    from_zip = list_drawings(tree.with_suffix(".zip"), PART, complete=False)
    assert from_zip == list_drawings(tree, PART, complete=False)


@pytest.mark.parametrize(
    ("part", "count"), [("images_background", 964), ("images_evaluation", 659)]
)
def test_all_of_omniglots_characters_are_asked_for(part, count, tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as file:
        for c in range(count):
            file.writestr(f"{part}/alphabet{c % 5}/character{c}/0.png", b"")
    assert len(list_drawings(tmp_path / "whole.zip", part).characters) == count
    with zipfile.ZipFile(tmp_path / "whole.zip", "a") as file:
        file.writestr(f"{part}/alphabet/one_more/0.png", b"")
    with pytest.raises(ValueError, match=f"{count + 1} characters.*expected {count} characters"):
        list_drawings(tmp_path / "whole.zip", part)


def test_characters_that_differ_in_their_number_of_drawings_are_an_error(tree):
    next(tree.rglob("*.png")).unlink()
    with pytest.raises(ValueError, match=r"4 characters, each with \[1, 2\] drawings"):
        list_drawings(tree, PART, complete=False)


def test_a_truncated_zip_is_an_error(archive):
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"is no whole zip file .*: delete it and fetch it again"):
        list_drawings(archive, PART, complete=False)


@pytest.mark.parametrize(
    "name",
    [
        "other/file.png",
        f"{PART}/../../evil/x.png",
        f"{PART}/../evil/x.png",
        f"{PART}/a/b.txt",
        f"{PART}/a/b/c.png.exe",
        f"{PART}/a/b/c/d.png",
        f"/{PART}/a/b/c.png",
        "images_evaluation/a/b/c.png",
    ],
)
def test_a_foreign_archive_is_an_error_and_nothing_is_unpacked(archive, name):
    before = sorted(Path(archive.parent).rglob("*"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"?")
    with pytest.raises(ValueError, match=rf"holds '{name}': expected only .*; it is not Omniglot"):
        list_drawings(archive, PART, complete=False)
    assert sorted(Path(archive.parent).rglob("*")) == before


@pytest.mark.parametrize("complete", [True, False])
def test_an_empty_zip_and_an_empty_folder_are_errors(complete, tmp_path):
    with zipfile.ZipFile(tmp_path / f"{PART}.zip", "w"):
        pass
    (tmp_path / PART).mkdir()
    for place in (f"{PART}.zip", PART):
        with pytest.raises(ValueError, match="is incomplete: 0 characters"):
            list_drawings(tmp_path / place, PART, complete=complete)


# read


def test_ink_is_255_on_ground_0_in_the_order_that_is_asked_for(source):
    order = [NAMES[5], NAMES[0], NAMES[5]]
    drawings = read_drawings(source, order, size=8)
    pixels = write(source.parent / "again", NAMES)
    assert drawings.shape == (3, 8, 8) and drawings.dtype == torch.uint8
    for drawing, name in zip(drawings, order, strict=True):
        assert torch.equal(drawing, 255 * torch.from_numpy(~pixels[name]).to(torch.uint8))


def test_drawings_are_averaged_down_over_their_area(tree):
    (name,), size = NAMES[:1], 4
    pixels = write(tree.parent, [name])[name]
    ink = torch.from_numpy(~pixels).double().view(size, 2, size, 2).mean(dim=(1, 3))
    expected = (255 * ink).round().to(torch.uint8)  # halves go to the even number, in both
    assert torch.equal(read_drawings(tree, [name], size=size)[0], expected)


def test_omniglots_own_size_goes_down_to_28_pixels(tmp_path):
    write(tmp_path, NAMES[:1], size=105)
    small = read_drawings(tmp_path / PART, NAMES[:1])
    assert small.shape == (1, 28, 28)
    assert small.double().mean() == pytest.approx(255 * 0.3, rel=0.05)


def test_no_names_give_no_drawings(source):
    assert read_drawings(source, []).shape == (0, 28, 28)


@pytest.mark.parametrize("damage", [lambda content: content[:40], lambda _: b"", lambda _: b"text"])
def test_a_damaged_drawing_is_named_in_a_folder_and_in_a_zip(damage, tree):
    drawing = tree.parent / NAMES[3]
    drawing.write_bytes(damage(drawing.read_bytes()))
    shutil.make_archive(str(tree), "zip", tree.parent, PART)
    for source in (tree, tree.with_suffix(".zip")):
        with pytest.raises(ValueError, match=rf"{NAMES[3]} in .* cannot be read .*: fetch the"):
            read_drawings(source, NAMES)


def test_a_drawing_that_was_changed_after_it_was_packed_is_an_error(archive):
    with zipfile.ZipFile(archive.with_name("stored.zip"), "w") as file:
        file.writestr(NAMES[0], png(np.ones((8, 8))))
    content = bytearray(archive.with_name("stored.zip").read_bytes())
    content[content.index(b"IHDR") + 20] ^= 1
    archive.with_name("stored.zip").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        read_drawings(archive.with_name("stored.zip"), NAMES[:1])


def test_a_drawing_that_is_gone_is_an_error(tree):
    (tree.parent / NAMES[0]).unlink()
    with pytest.raises(ValueError, match=rf"{NAMES[0]} in .* cannot be read"):
        read_drawings(tree, NAMES)


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", "Thumbs.db", "desktop.ini", f"{PART}/a/.DS_Store", f"{PART}/a/b/._c.png"),
        *(f"__MACOSX/{PART}/a/b/._c.png", "__MACOSX/x"),
    ],
)
def test_what_an_operating_system_put_there_is_left_out(name, source):
    wanted = list_drawings(source, PART, complete=False)
    if source.is_dir():
        left = source / name.removeprefix(f"{PART}/")
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"?")
    else:
        with zipfile.ZipFile(source, "a") as file:
            file.writestr(name, b"?")
    assert list_drawings(source, PART, complete=False) == wanted
