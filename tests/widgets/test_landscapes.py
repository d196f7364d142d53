"""Conflicting gradients, the valley and penalties: what they are given, and what they refuse."""

import json
import re

import pytest
import torch

from metalearn_lite.widgets import Valley, conflicts, directions, penalties
from metalearn_lite.widgets.landscapes import COMBINATIONS

LOOKS = dict.fromkeys(COMBINATIONS, "#D55E00")
ARROWS = {"gradients": torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), "colours": LOOKS, "label": "Who?"}
VALLEY = Valley((10.0, 1.0), (0.3, -0.3), bends=1.5, goal=4.0, pull=0.3, rounding=0.01)
DESCENT = {
    "valley": VALLEY,
    "start": [-3, 0.5],
    "lr": 0.05,
    "lrs": (0.01, 0.05),
    "steps": 20,
    "colours": LOOKS,
    "label": "Who?",
    "x": (-4, 5),
    "y": (-2, 2),
}
AXES = {"log penalty": (-7, 3), "log penalty of others": (-6, 2)}
EXAMPLES = [(torch.eye(3) + k, torch.arange(3.0)) for k in range(3)]
RIDGE = {
    "groups": (0, 1, 1),
    "axes": AXES,
    "start": [2, -5],
    "lr": 0.3,
    "steps": 9,
    "colour": "#D55E00",
    "label": "Where?",
}


def draw_ridge(*examples, **options):
    return penalties(*(examples or EXAMPLES), **options)


EACH = pytest.mark.parametrize(
    ("make", "options"), [(directions, ARROWS), (conflicts, DESCENT), (draw_ridge, RIDGE)]
)


def given(shown):
    at = shown.data.index("const given = ") + len("const given = ")
    return json.JSONDecoder().raw_decode(shown.data, at)[0]


def test_gradients_and_valley_are_handed_on_as_they_are():
    data = given(directions(**ARROWS))
    assert (data["gradients"], data["reach"]) == ([[2, 0], [-1, 1]], 2.5)
    data = given(conflicts(**DESCENT))
    assert data["valley"]["loudness"] == [10, 1] and data["valley"]["sides"] == [0.3, -0.3]
    assert (data["start"], data["rate"], data["rates"]) == ([-3, 0.5], 0.05, [0.01, 0.05])
    assert (data["steps"], data["x"], data["colours"]) == (20, [-4, 5], LOOKS)


def test_examples_are_handed_on_as_the_products_that_a_squared_error_needs():
    data = given(draw_ridge(**RIDGE))
    w = torch.tensor([0.5, -1.0, 2.0])
    for part, (x, y) in zip(data["parts"], EXAMPLES, strict=True):
        gram, moment = torch.tensor(part["gram"]), torch.tensor(part["moment"])
        error = w @ gram @ w - 2 * moment @ w + part["square"]
        torch.testing.assert_close(error, (x @ w - y).square().mean())
    assert (data["start"], data["rate"], data["steps"]) == ([2, -5], 0.3, 9)
    assert data["axes"] == {name: list(ends) for name, ends in AXES.items()}
    assert (data["groups"], data["colour"]) == ([0, 1, 1], "#D55E00")


@EACH
def test_the_same_problem_gives_the_same_bytes_and_text_stays_text(make, options):
    assert make(**options).data == make(**options).data
    strange = make(**{**options, "label": "</script><b>[[data]]"}).data
    assert "<b>" not in strange and strange.count("</script>") == 1
    assert not re.search(r"\[\[\w+\]\]", make(**options).data)


@EACH
def test_nothing_is_fetched_stored_or_left_in_the_page(make, options):
    page = make(**options).data.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|import\(|fetch\(|Storage|XMLHttp|sendBeacon|cookie", page)


@pytest.mark.parametrize(
    "gradients", [[[1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]], torch.ones(2, 3), torch.ones(3, 2)]
)
def test_other_than_two_gradients_in_the_plane_are_refused(gradients):
    with pytest.raises(ValueError, match="expected two rows of two numbers, neither zero"):
        directions(**{**ARROWS, "gradients": gradients})


def test_gradients_that_are_not_finite_and_strange_ways_are_refused():
    with pytest.raises(ValueError, match="all finite: False"):
        directions(**{**ARROWS, "gradients": [[1.0, float("inf")], [1.0, 1.0]]})
    for make, options in ((directions, ARROWS), (conflicts, DESCENT)):
        with pytest.raises(ValueError, match="of which strange"):
            make(**{**options, "colours": {"CAGrad": "#D55E00"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valley": {"loudness": (10, 1)}}, "valley is a dict"),
        ({"start": [9, 0]}, "start is"),
        ({"lr": 0.2}, "expected one of"),
        ({"lrs": (0.05, 0.01)}, "rising"),
        ({"lrs": (0.0, 0.05)}, "above 0"),
        ({"steps": 0}, "steps is 0"),
        ({"valley": Valley((1.0,), (0.3, 0.1), 1, 1, 1, 1)}, "got 1 loudnesses and 2 sides"),
        ({"valley": Valley((1.0, 2.0), (0.3, 0.1), 1, 1, 1, 0)}, "rounding is 0"),
        ({"valley": Valley((1.0, 2.0), (0.3, 0.1), 1, float("nan"), 1, 1)}, "goal"),
    ],
)
def test_what_is_no_descent_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        conflicts(**{**DESCENT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": (0, 0, 0)}, "expected 0 or 1 for each input"),
        ({"groups": (0, 1, 2)}, "expected 0 or 1 for each input"),
        ({"groups": (0, 1)}, "examples of .3, 3, 3. inputs"),
        ({"axes": {"one": (-1, 1)}}, "two axes"),
        ({"start": [2, -6.5]}, "start is"),
        ({"lr": 0.0}, "lr is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"colour": "red"}, "of which strange"),
    ],
)
def test_what_is_no_descent_over_penalties_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        draw_ridge(**{**RIDGE, **change})


def test_examples_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="examples for training, validation and test"):
        draw_ridge(*EXAMPLES[:2], **RIDGE)
    with pytest.raises(ValueError, match="3 inputs and 2 targets"):
        draw_ridge(*EXAMPLES[:2], (torch.eye(3), torch.ones(2)), **RIDGE)
    with pytest.raises(ValueError, match="all finite: False"):
        draw_ridge(*EXAMPLES[:2], (torch.eye(3) / 0, torch.ones(3)), **RIDGE)
