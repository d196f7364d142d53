"""An answer needs its own cell, and those that define what it reads."""

import pytest

from metalearn_grading.cells import names, needed


@pytest.mark.parametrize(
    ("source", "reads", "binds"),
    [
        ("x = y", {"y"}, {"x"}),
        ("def f(a):\n    b = a + c\n    return g(b)", {"c", "g"}, {"f"}),
        ("import torch.nn as nn\nfrom a import b", set(), {"nn", "b"}),
        ("class A(B):\n    def m(self):\n        return self.x + y", {"B", "y"}, {"A"}),
        ("def f():\n    global g\n    g = 1", set(), {"f", "g"}),
        ("x +=", set(), set()),
        ("\0", set(), set()),
    ],
)
def test_global_names_are_told_from_others(source, reads, binds):
    found = names(source)
    assert (found[0] - {"__name__"}, found[1] - {"__module__", "__qualname__"}) == (reads, binds)


def test_a_magic_does_not_hide_what_a_line_defines():
    assert names("%matplotlib inline\nx = 1")[1] == {"x"}


def test_helpers_of_helpers_are_found_and_nothing_else():
    sources = [
        "def half(x): return x / 2",
        "other = half(3)",
        "def quarter(x): return half(half(x))",
        "def answer(x): return quarter(x)",
    ]
    assert needed(sources, [3], {"answer"}) == [0, 2, 3]


def test_an_answer_that_was_written_into_another_cell_is_found():
    sources = ["raise NotImplementedError", "prediction = 0.5", "x = 1"]
    assert needed(sources, [0], {"prediction"}) == [0, 1]
    assert needed(["f = 1", "f = 2"], [0], {"f"}) == [0, 1]
