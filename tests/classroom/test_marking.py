"""A check says what is missing, in words that help, and nothing else is harmed by it."""

import linecache
import os
import random
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from metalearn_lite import evaluation, maml
from metalearn_lite.classroom import NotYet, fresh_seeds, mark, marking


def complaint(check, **options):
    with pytest.raises(NotYet) as caught:
        mark(**options)(check)
    return str(caught.value)


def test_what_is_right_is_said_in_the_words_of_the_docstring(capsys):
    @mark()
    def doubles():
        """The function doubles.

        And more.
        """

    assert capsys.readouterr().out == "right: The function doubles\n"
    assert doubles is None


def test_the_words_of_an_assertion_are_what_is_shown():
    def doubles():
        """The function doubles."""
        raise AssertionError("3 became 5")

    assert complaint(doubles) == "The function doubles: 3 became 5"
    assert NotYet("x")._render_traceback_() == ["NotYet: x"]


def test_an_exercise_that_is_not_written_says_so():
    def empty():
        """It is there."""
        raise NotImplementedError

    assert "not written yet" in complaint(empty)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("odd"), "ValueError: odd"),
        (SystemExit(), "SystemExit"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_any_error_is_named(error, words):
    def fails():
        """It runs."""
        raise error

    assert complaint(fails) == f"It runs: {words}"


def test_an_assertion_in_the_answer_is_not_taken_for_one_of_the_check(monkeypatch):
    answer = {}
    code = "def f():\n    assert 1 == 2, 'mine'"
    exec(compile(code, "<ipython-input-1>", "exec"), answer)
    monkeypatch.setitem(
        linecache.cache, "<ipython-input-1>", (len(code), None, code.splitlines(True), "")
    )

    def runs():
        """It runs."""
        answer["f"]()

    assert "AssertionError: mine\n    in your line: assert 1 == 2, 'mine'" in complaint(runs)


def test_time_and_exit_are_told():
    def loops():
        """It ends."""
        while True:
            pass

    def leaves():
        """It stays."""
        os._exit(1)

    if torch.cuda.is_available() or sys.platform != "linux":
        pytest.skip("processes are not copied here")
    assert "did not end within 1 s. Look for a loop" in complaint(loops, seconds=1)
    assert "ended the process" in complaint(leaves)


def test_a_closed_function_is_closed_wherever_it_is_known_and_only_there():
    from metalearn_lite.maml import proto_maml  # knows adapt under its own name, if at all

    def calls(function):
        def check():
            """It is your own."""
            function()

        return check

    before = {key: value for key, value in vars(proto_maml).items()}
    assert "metalearn_lite.maml.adapt is closed" in complaint(
        calls(lambda: maml.adapt(1)), closed=("maml.adapt",)
    )
    assert maml.adapt.__name__ == "adapt"
    assert all(vars(proto_maml)[key] is value for key, value in before.items())


def test_a_closed_function_is_closed_in_the_notebook_too(monkeypatch):
    notebook = sys.modules["__main__"]
    monkeypatch.setattr(notebook, "adapt", maml.adapt, raising=False)

    def check():
        """It is your own."""
        notebook.adapt(1)

    assert "metalearn_lite.maml.adapt is closed" in complaint(check, closed=("maml.adapt",))


def test_what_belongs_to_somebody_else_is_not_touched(monkeypatch):
    other = ModuleType("other")
    other.adapt = maml.adapt
    monkeypatch.setitem(sys.modules, "other", other)
    put_back = marking._close("maml.adapt")
    held = other.adapt
    put_back()
    assert held is maml.adapt


def test_what_was_closed_in_this_process_is_opened_again():
    before = maml.adapt
    put_back = marking._close("maml.adapt")
    closed = maml.adapt
    put_back()
    assert closed is not before and maml.adapt is before
    seen = []
    words = marking._complaint(lambda: seen.append(maml.adapt), ("maml.adapt", "maml.MetaSGD"))
    assert words == "" and seen != [before] and maml.adapt is before
    assert isinstance(maml.MetaSGD, type)


def test_what_there_is_not_cannot_be_closed():
    with pytest.raises(ValueError, match=r"cannot close 'maml\.nothing': expected a function of"):
        marking._close("maml.nothing")


def test_a_class_is_closed_with_its_methods():
    from metalearn_lite.evaluation import Scores

    def summarises():
        """It is your own."""
        evaluation.Scores.of([1.0, 2.0])

    assert "evaluation.Scores is closed" in complaint(summarises, closed=("evaluation.Scores",))
    assert evaluation.Scores is Scores


def test_a_closed_function_does_not_close_what_stands_beside_it():
    @mark(closed=("maml.adapt",))
    def others():
        """Others work."""
        assert maml.MetaSGD(torch.nn.Linear(1, 1), 0.1).inner_lr


def test_seeds_are_fresh_unless_they_are_set(monkeypatch):
    monkeypatch.delenv(marking.SEED, raising=False)
    assert len({tuple(fresh_seeds(2)) for _ in range(5)}) == 5
    monkeypatch.setenv(marking.SEED, "7")
    first = fresh_seeds(3)
    assert first == fresh_seeds(3) and len(set(first)) == 3
    monkeypatch.setenv(marking.SEED, "8")
    assert first != fresh_seeds(3)
    assert 2**30 < max(fresh_seeds(100)) < 2**31


def test_the_random_state_of_a_check_follows_the_seed(monkeypatch):
    monkeypatch.setenv(marking.SEED, "7")

    def draws():
        """It draws."""
        raise ValueError(str([torch.rand(2).tolist(), np.random.rand(), random.random()]))

    def unlike(seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        return complaint(draws)

    assert unlike(0) == unlike(1)
