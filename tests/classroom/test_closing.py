"""A closed function is closed wherever somebody holds it."""

import gc
from functools import partial
from types import FunctionType

import pytest
import torch

from metalearn_lite import evaluation, maml, transfer
from metalearn_lite.classroom.closing import close


@pytest.fixture
def closed():
    """Close functions until the end of a test."""
    opened = []
    yield lambda name: opened.append(close(name))
    for put_back in opened:
        put_back()


def found_by_the_collector():
    return [
        one
        for one in gc.get_objects()
        if type(one) is FunctionType
        and one.__name__ == "adapt"
        and one.__module__.startswith("metalearn_lite.maml")
    ]


@pytest.mark.parametrize(
    "held",
    [
        lambda: maml.adapt,
        lambda adapt=maml.adapt: adapt,
        lambda kept=[maml.adapt]: kept[0],
        lambda: partial(maml.adapt),
        lambda: found_by_the_collector()[-1],
    ],
    ids=["a name", "a default", "a list", "a partial function", "the garbage collector"],
)
def test_it_is_closed_wherever_it_is_held(held, closed):
    closed("maml.adapt")
    with pytest.raises(PermissionError, match=r"metalearn_lite\.maml\.adapt is closed here"):
        held()(None, {})


def test_every_function_of_the_name_is_closed(closed):
    closed("maml.adapt")
    functions = found_by_the_collector()
    assert len(functions) > 1  # plain and fast
    for function in functions:
        with pytest.raises(PermissionError):
            function(None, {})


def test_a_class_is_closed_with_its_methods(closed):
    closed("evaluation.Scores")
    for use in (lambda: evaluation.Scores(1.0, 0.1, None), lambda: evaluation.Scores.of([1.0])):
        with pytest.raises(PermissionError, match=r"evaluation\.Scores is closed"):
            use()


def test_what_stands_beside_it_stays_open(closed):
    closed("maml.adapt")
    assert maml.MetaSGD(torch.nn.Linear(1, 1), 0.1).inner_lr


def test_it_can_be_opened_again():
    before = evaluation.Scores.of([1.0, 2.0])
    put_back = close("evaluation.Scores")
    put_back()
    assert evaluation.Scores.of([1.0, 2.0]) == before


def test_a_function_with_a_closure_can_be_closed(closed):
    closed("transfer.fine_tune")
    with pytest.raises(PermissionError, match=r"transfer\.fine_tune is closed"):
        transfer.fine_tune()


def test_what_there_is_not_cannot_be_closed():
    with pytest.raises(ValueError, match=r"cannot close 'maml\.nothing': expected a function of"):
        close("maml.nothing")
