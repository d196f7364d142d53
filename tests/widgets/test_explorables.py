"""Bowls and solution sets: what they are given, and what they refuse."""

import json
import re

import pytest
import torch

from metalearn_lite.widgets import bowls, solution_sets
from metalearn_lite.widgets.explorables import STARTS

LOOKS = dict.fromkeys(STARTS, "#0072B2")
LINES = {
    "slopes": torch.tensor([[2.0, 0.5], [-0.5, 1.0]]),
    "offsets": torch.tensor([1.0, 0.5]),
    "start": [1.0, -1.0],
    "inner_lr": 0.1,
    "inner_steps": 3,
    "meta_lr": 0.5,
    "rounds": 10,
    "colours": ("#0072B2", "#D55E00"),
    "label": "Where?",
    "x": (-2, 2),
    "y": (-2, 2),
}
BOWLS = {
    "optima": torch.tensor([-1.0, 1.0]),
    "steepness": torch.tensor([4.0, 1.0]),
    "inner_lr": 0.2,
    "colours": LOOKS,
    "label": "Which?",
}


def given(shown):
    """What the script of a widget works with."""
    at = shown.data.index("const given = ") + len("const given = ")
    return json.JSONDecoder().raw_decode(shown.data, at)[0]


def test_bowls_are_handed_on_as_they_are():
    data = given(bowls(**BOWLS))
    assert data["bowls"] == [{"c": -1, "h": 4}, {"c": 1, "h": 1}]
    assert (data["alpha"], data["colours"]) == (0.2, LOOKS)
    assert given(bowls(**{**BOWLS, "optima": [-1, 1], "steepness": (4, 1)})) == data


def test_solution_sets_are_handed_on_as_they_are():
    data = given(solution_sets(**LINES))
    assert [task["slope"] for task in data["tasks"]] == [[2, 0.5], [-0.5, 1]]
    assert [task["offset"] for task in data["tasks"]] == [1, 0.5]
    assert [task["colour"] for task in data["tasks"]] == list(LINES["colours"])
    assert (data["alpha"], data["steps"], data["rate"], data["rounds"]) == (0.1, 3, 0.5, 10)


@pytest.mark.parametrize(("make", "options"), [(bowls, BOWLS), (solution_sets, LINES)])
def test_the_same_problem_gives_the_same_bytes_and_text_stays_text(make, options):
    assert make(**options).data == make(**options).data
    strange = make(**{**options, "label": "</script><b>[[data]]"}).data
    assert "<b>" not in strange and strange.count("</script>") == 1
    assert "&lt;/script&gt;&lt;b&gt;[[data]]" in strange
    assert not re.search(r"\[\[\w+\]\]", make(**options).data)


@pytest.mark.parametrize(("make", "options"), [(bowls, BOWLS), (solution_sets, LINES)])
def test_nothing_is_fetched_stored_or_left_in_the_page(make, options):
    page = make(**options).data.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|import\(|fetch\(|Storage|XMLHttp|sendBeacon|cookie", page)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steepness": [4.0]}, "got 2 optima and 1 steepnesses"),
        ({"optima": [], "steepness": []}, "optima have shape"),
        ({"optima": [-1, float("nan")]}, "all finite: False"),
        ({"optima": "left"}, "expected numbers"),
        ({"optima": [-3.0, 1.0]}, "expected them from -2 to 2"),
        ({"steepness": [0.0, 1.0]}, r"from 0.2 to 8"),
        ({"inner_lr": -0.1}, "inner_lr is -0.1"),
        ({"inner_lr": 0.6}, "at most most=0.5"),
        ({"most": float("inf")}, "most is inf"),
        ({"colours": {"Reptile": "#009E73"}}, "strange"),
        ({"colours": {"MAML": "blue"}}, "as '#0072B2'"),
        ({"colours": {}}, "expected colours"),
    ],
)
def test_what_is_no_bowl_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bowls(**{**BOWLS, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slopes": torch.ones(2, 3)}, r"expected \(tasks, 2\)"),
        ({"slopes": torch.ones(2)}, "along 2 axes"),
        ({"offsets": [1.0]}, r"expected \(tasks, 2\)"),
        ({"colours": ("#0072B2",)}, "a colour for each task"),
        ({"colours": ("#0072B2", "red")}, "as '#0072B2'"),
        ({"slopes": [[1.0, 0.5], [-2.0, -1.0]]}, "not all parallel"),
        ({"start": [3.0, 0.0]}, "start is"),
        ({"start": [0.0]}, "expected two numbers"),
        ({"inner_lr": 0.5}, "expected below 0.471"),
        ({"inner_lr": 0.0}, "inner_lr is 0.0"),
        ({"meta_lr": 1.5}, "at most 1"),
        ({"inner_steps": 31}, "at most 30"),
        ({"inner_steps": 0}, "inner_steps is 0"),
        ({"rounds": 1.5}, "rounds is 1.5"),
    ],
)
def test_what_is_no_walk_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        solution_sets(**{**LINES, **change})
