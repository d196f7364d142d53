"""By value: every change of a model is named, and nothing else."""

import pytest
import torch
from torch import nn

from metalearn_lite.unchanged import changed, copies, equal, one_number


def model():
    layer = nn.Linear(2, 2)
    layer.register_buffer("seen", torch.tensor([torch.nan, 1.0]))
    return layer


def test_what_was_not_touched_is_not_named():
    layer = model()
    before = copies(layer)
    assert list(before) == ["weight", "bias", "seen"] and changed(before, layer) == []
    layer.bias.data = layer.bias.data.clone()  # other memory, the same values
    assert changed(before, layer) == []


def test_every_way_of_changing_is_named():
    for change, name in (
        (lambda m: m.weight.data.add_(1), "weight"),
        (lambda m: setattr(m, "bias", nn.Parameter(torch.full((2,), 9.0))), "bias"),
        (lambda m: m.seen.fill_(2.0), "seen"),
        (lambda m: setattr(m, "bias", None), "bias"),
        (lambda m: m.register_buffer("new", torch.ones(1)), "new"),
    ):
        layer = model()
        before = copies(layer)
        change(layer)
        assert changed(before, layer) == [name]


def test_what_is_no_module_has_no_tensors():
    assert copies(None) == {} and changed({}, lambda x: x) == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ([1.0, torch.nan], [1.0, torch.nan], True),
        ([1.0, 2.0], [1.0, torch.nan], False),
        ([1.0], [1.0, 1.0], False),
        ([], [], True),
        ([0.0], [-0.0], True),
    ],
)
def test_tensors_are_equal_in_every_number(a, b, same):
    assert equal(torch.tensor(a), torch.tensor(b)) == same
    assert not equal(torch.tensor([1.0]), torch.tensor([1]))


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), torch.tensor([[0.5]]), True])
def test_one_number_is_a_score(value):
    assert one_number(value, 0).shape == () and one_number(value, 0) == float(value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, torch.ones(2), "x", None])
def test_anything_else_is_none(value):
    with pytest.raises(ValueError, match="in episode 7: expected one finite number"):
        one_number(value, 7)
