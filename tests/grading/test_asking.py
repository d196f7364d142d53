"""The grader sees what cells say, in order, and which of them end the process."""

import sys

import pytest
import torch

from metalearn_grading.asking import LOSSES, Room

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="processes are not copied here"
)

GIVEN = "import torch"


def test_cells_show_what_they_say_in_order():
    cells = [
        "print('one')",
        "x = 2",
        "print(x)\n1 / 0",
        "x + 1",
        "import os\nos._exit(1)",
        "print(x)",
    ]
    with Room([GIVEN, "print('given')"], cells) as room:
        said, lost = room.show(list(range(len(cells))))
        assert room.said == ["", "given\n"]
    assert said[0][0]["text"] == "one\n" and said[2][0]["text"] == "2\n"
    assert said[2][-1]["error"].startswith("ZeroDivisionError")
    assert said[3][0]["text"].endswith("3\n") and said[5][0]["text"] == "2\n"
    assert list(lost) == [4] and "ended the process (exit status 1)" in lost[4]


def test_after_some_cells_that_end_it_no_further_ones_are_shown():
    cells = ["import os\nos._exit(1)"] * (LOSSES + 2)
    with Room([GIVEN], cells) as room:
        _, lost = room.show(list(range(len(cells))))
    assert list(lost) == list(range(LOSSES))


def test_a_given_cell_that_fails_is_told():
    with pytest.raises(RuntimeError, match="a cell that is given fails: ZeroDivisionError"):
        Room(["1 / 0"], [])
