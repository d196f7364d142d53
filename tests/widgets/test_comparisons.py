"""The order of two methods and the table of all: what they are given, and what they refuse."""

import base64
import json
import re

import pytest
import torch

from metalearn_lite.evaluation import Scores
from metalearn_lite.widgets import order_of_methods, results_table

ORDER = {
    "answers": {"A": torch.tensor([3, 1, 2]), "B": torch.tensor([0, 1, 4], dtype=torch.uint8)},
    "questions": 4,
    "pair": ("A", "B"),
    "counts": (1, 2),
    "count": 2,
    "colours": {"A": "#0072B2", "B": "#D55E00", "unused": "#000000"},
    "label": "Which?",
}
SCORES = {
    ("1 shot", "inductive"): {"A": Scores.of([0.5, 0.6]), "B": Scores.of([0.7, 0.8])},
    ("5 shots", "inductive"): {"B": Scores.of([0.9, 1.0]), "A": Scores.of([0.6, 0.6])},
}
COSTS = {"passes": {"A": "2", "B": "10"}}
BOTH = pytest.mark.parametrize(
    ("make", "options"),
    [(order_of_methods, ORDER), (results_table, {"scores": SCORES, "costs": COSTS, "label": "T"})],
)


def read(shown, name):
    at = shown.data.index(f"const {name} = ") + len(f"const {name} = ")
    return json.JSONDecoder().raw_decode(shown.data, at)[0]


def test_the_answers_are_handed_on_one_byte_a_task():
    data = read(order_of_methods(**ORDER), "given")
    assert {n: list(base64.b64decode(a)) for n, a in data["answers"].items()} == {
        "A": [3, 1, 2],
        "B": [0, 1, 4],
    }
    assert (data["questions"], data["pair"], data["counts"]) == (4, ["A", "B"], [1, 2])
    assert data["colours"] == {"A": "#0072B2", "B": "#D55E00"}


def test_the_table_can_be_read_without_a_script():
    page = results_table(SCORES, COSTS, label="T")
    table = page.data[page.data.index("<table") : page.data.index("</table>")]
    rows = re.findall(r'<tr data-method="(\w)">(.*?)</tr>', table)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    assert cells == {
        "A": ["55.0 ± 63.5", "60.0 ± 0.0", "2"],
        "B": ["75.0 ± 63.5", "95.0 ± 63.5", "10"],
    }
    heads = re.findall(r"<button[^>]*>(.*?)</button>", table)
    assert heads == ["method", "1 shot, inductive", "5 shots, inductive", "passes"]
    values = read(page, "{ columns, values }")["values"]
    assert values == [pytest.approx([0.55, 0.6, 2]), pytest.approx([0.75, 0.95, 10])]


@BOTH
def test_the_same_numbers_give_the_same_bytes_and_text_stays_text(make, options):
    assert make(**options).data == make(**options).data
    strange = make(**{**options, "label": "</script><b>[[data]]"}).data
    assert "<b>" not in strange and strange.count("</script>") == 1
    assert not re.search(r"\[\[\w+\]\]|<!-- rows", make(**options).data)


def test_the_caption_stands_above_the_table():
    page = results_table(SCORES, COSTS, label="T", caption="In per cent <b>.").data
    assert page.index("In per cent &lt;b&gt;.") < page.index("<table")


def test_the_name_of_a_method_is_text():
    name = '"><script>[[data]]<!-- rows -->'
    scores = {kind: {name: column["A"]} for kind, column in SCORES.items()}
    page = results_table(scores, {"<i>": {name: "1"}}, label="T").data
    assert page.count("<script>") == 1 and "<i>" not in page
    answers = {name: ORDER["answers"]["A"], "B": ORDER["answers"]["B"]}
    colours = {name: "#0072B2", "B": "#D55E00"}
    page = order_of_methods(
        **{**ORDER, "answers": answers, "pair": (name, "B"), "colours": colours}
    ).data
    assert page.count("<script>") == 1


@BOTH
def test_nothing_is_fetched_stored_or_left_in_the_page(make, options):
    page = make(**options).data.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|import\(|fetch\(|Storage|XMLHttp|sendBeacon|cookie", page)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"A": torch.tensor([1, 2])}}, "two methods or more"),
        ({"answers": {"A": torch.tensor([1]), "B": torch.tensor([1, 2])}}, "of the same tasks"),
        ({"answers": {n: torch.ones(2, 2).long() for n in "AB"}}, "of the same tasks"),
        ({"answers": {n: torch.ones(2) for n in "AB"}}, "whole numbers: False"),
        ({"answers": {n: torch.ones(0).long() for n in "AB"}}, "at least one"),
        ({"questions": 3}, "from 0 to 3"),
        ({"questions": 0}, "questions is 0"),
        ({"questions": 256}, "at most 255"),
        ({"pair": ("A", "A")}, "two different"),
        ({"pair": ("A", "C")}, "two different"),
        ({"counts": (2, 1)}, "rising, above 0"),
        ({"count": 3}, "rising, above 0"),
        ({"counts": (0, 2)}, "rising, above 0"),
        ({"counts": (1, 2, 2.5)}, "count 2.5 is 2.5"),
        ({"colours": {"A": "#0072B2"}}, "as '#0072B2'"),
        ({"trials": 0}, "trials is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        order_of_methods(**{**ORDER, **change})


@pytest.mark.parametrize(
    ("scores", "costs", "message"),
    [
        ({}, {}, "the same methods for each kind"),
        ({("1", "a"): {}}, {}, "the same methods for each kind"),
        ({**SCORES, ("9", "a"): {"A": Scores.of([1.0, 0.9])}}, {}, "the same methods"),
        ({("1", "a"): {"A": Scores.of([float("nan")] * 2)}}, {}, "expected finite"),
        (SCORES, {"passes": {"A": "2"}}, "expected one for"),
        (SCORES, {"passes": {"A": "2", "B": "many"}}, "as it is to be written"),
        (SCORES, {"passes": {"A": "2", "B": "nan"}}, "as it is to be written"),
    ],
)
def test_a_table_with_a_hole_is_refused(scores, costs, message):
    with pytest.raises(ValueError, match=message):
        results_table(scores, costs, label="T")
