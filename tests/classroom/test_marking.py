"""A check says what is missing, in words that help, and nothing else is harmed by it."""

import linecache
import os
import random
import re
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from metalearn_lite import maml
from metalearn_lite.classroom import NotYet, fresh_seeds, mark, marking


def complaint(check, **options):
    with pytest.raises(NotYet) as caught:
        mark(**options)(check)
    return str(caught.value)


def test_what_is_right_is_said_in_the_words_of_the_docstring(capsys):
    @mark()
    def doubles(ask):
        """The function doubles.

        And more.
        """

    assert capsys.readouterr().out == "right: The function doubles\n"
    assert doubles is None


def test_the_words_of_an_assertion_are_what_is_shown():
    def doubles(ask):
        """The function doubles."""
        raise AssertionError("3 became 5")

    assert complaint(doubles) == "The function doubles: 3 became 5"
    assert NotYet("x")._render_traceback_() == ["NotYet: x"]


@pytest.fixture
def write(monkeypatch):
    """Write an answer into the notebook."""

    def written(**answers):
        for name, answer in answers.items():
            monkeypatch.setattr(sys.modules["__main__"], name, answer, raising=False)

    return written


def doubled(double, *, x):
    return double(x)


def asks(ask):
    """It doubles."""
    found = ask(doubled, x=3)
    assert found == 6, f"3 became {found}"


def test_an_exercise_that_is_not_written_says_so(write):
    def double(x):
        raise NotImplementedError

    write(double=double)
    assert "not written yet" in complaint(asks)


def test_an_answer_is_asked_by_its_name_and_judged_by_what_it_returns(write, capsys):
    write(double=lambda x: x + x)
    mark()(asks)
    assert capsys.readouterr().out == "right: It doubles\n"
    write(double=lambda x: x)
    assert complaint(asks).startswith("It doubles: 3 became 3")


def test_a_name_that_nothing_has_defined_is_named():
    assert "double is missing: no cell above has defined it" in complaint(asks)


@pytest.mark.parametrize(("what", "kind"), [(lambda: 6, "function"), (6j, "complex"), ({6}, "set")])
def test_what_is_no_number_fails_and_is_named(write, what, kind):
    write(double=lambda x: what)
    assert f"the answer holds {kind}: expected numbers and tensors" in complaint(asks)


def test_what_a_question_is_given_are_copies(write):
    def spoils(x):
        x.zero_()
        return x

    def check(ask):
        """It stays."""
        x = torch.ones(2)
        assert not ask(doubled, x=x).any() and x.all()

    write(double=spoils)
    mark()(check)


def test_closed_functions_are_closed_to_the_answer_and_open_to_the_check(write):
    def check(ask):
        """It is your own."""
        assert maml.MetaSGD(torch.nn.Linear(1, 1), 0.1).inner_lr
        ask(doubled, x=1)

    write(double=lambda x, kept=[maml.adapt]: kept[0](x))
    assert "metalearn_lite.maml.adapt is closed here" in complaint(check, closed=("maml.adapt",))


@pytest.mark.parametrize("reply", [None, 3, {}, {"other": 1}, ["gave"]])
def test_a_reply_without_numbers_is_none(reply):
    with pytest.raises(marking.Raised, match="gave no numbers"):
        marking.heard(reply)


def test_checks_can_ask_elsewhere():
    class Elsewhere:
        hidden = ()

        @contextmanager
        def opened(self, *, closed, seconds, seed):
            yield lambda question, **numbers: 6

    with marking.asking(Elsewhere()):
        mark()(asks)
    assert "is missing" in complaint(asks)


def test_hidden_functions_of_python_are_put_back_for_the_check_and_named(write, capsys):
    names = vars(sys.modules["__main__"])
    write(sum=0, list=[1], max=torch.ones(2))
    write(double=eval("lambda x: sum([max(x, x), min(list((x, x)))])", names))
    mark()(asks)
    said = capsys.readouterr().out
    assert said.startswith("right: It doubles (your `list`, `max`, `sum` hide Python's own")
    assert (names["sum"], names["list"]) == (0, [1])  # they are the student's again


def test_a_function_that_has_a_name_of_pythons_is_left(write, capsys):
    names = vars(sys.modules["__main__"])
    write(sum=lambda x: 2 * x, double=eval("lambda x: sum(x)", names))
    mark()(asks)
    assert capsys.readouterr().out == "right: It doubles\n"
    write(double=eval("lambda x: sum(sum(x))", names), max=3)
    assert re.search("(?s)3 became 12.*`max` hides Python's own", complaint(asks))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("odd"), "ValueError: odd"),
        (SystemExit(), "SystemExit"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_any_error_is_named(error, words):
    def fails(ask):
        """It runs."""
        raise error

    assert complaint(fails) == f"It runs: {words}"


def test_an_assertion_in_the_answer_is_not_taken_for_one_of_the_check(monkeypatch, write):
    answer = {}
    code = "def f(x):\n    assert 1 == 2, 'mine'"
    exec(compile(code, "<ipython-input-1>", "exec"), answer)
    monkeypatch.setitem(
        linecache.cache, "<ipython-input-1>", (len(code), None, code.splitlines(True), "")
    )
    write(double=answer["f"])
    assert "AssertionError: mine\n    in your line: assert 1 == 2, 'mine'" in complaint(asks)


def test_time_and_exit_are_told():
    def loops(ask):
        """It ends."""
        while True:
            pass

    def leaves(ask):
        """It stays."""
        os._exit(1)

    if torch.cuda.is_available() or sys.platform != "linux":
        pytest.skip("processes are not copied here")
    assert "did not end within 1 s. Look for a loop" in complaint(loops, seconds=1)
    assert "ended the process" in complaint(leaves)


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

    def draws(ask):
        """It draws."""
        raise ValueError(str([torch.rand(2).tolist(), np.random.rand(), random.random()]))

    def unlike(seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        return complaint(draws)

    assert unlike(0) == unlike(1)
