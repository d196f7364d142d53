"""What a prediction asks and what it answers, as the page is handed it."""

import json
import re

import numpy as np
import pytest
import torch

from metalearn_lite.widgets import prediction

LINE = (0, 100, 5)
TWO = ("this", "that")


def asked(html):
    """The data that the page's script works with."""
    return json.loads(re.search(r"const asked = (.*);\n", html.data)[1])


def test_a_line_has_its_ends_its_step_and_the_value_measured():
    html = prediction("How many?", answer=71.94, scale=LINE, unit="%", told="So many.")
    assert asked(html) == {
        "scale": [0, 100, 5],
        "answer": 71.94,
        "decimals": 0,
        "measured": "71.9 %",
        "unit": "%",
        "told": "So many.",
    }
    assert html.data.count("How many?") == 2  # to be seen, and as a name


def test_choices_and_the_number_of_the_right_one():
    found = asked(prediction("Which?", answer=np.int64(1), choices=TWO))
    assert found == {"choices": ["this", "that"], "answer": 1, "unit": "", "told": ""}


@pytest.mark.parametrize(
    ("answer", "scale", "measured"),
    [
        (7, (0, 10, 1), "7"),  # a count stays one
        (7.0, (0, 10, 1), "7.0"),
        (0.123, (0, 1, 0.1), "0.12"),
        (0.5, (0, 1, 0.05), "0.500"),
        (-2.25, (-10, 10, 0.5), "−2.25"),
        (np.float32(1.5), (0, 2, 1), "1.5"),
        (1234.5, (0, 5000, 250), "1234.5"),
    ],
)
def test_what_was_measured_has_one_decimal_more_than_the_step(answer, scale, measured):
    assert asked(prediction("How much?", answer=answer, scale=scale))["measured"] == measured


@pytest.mark.parametrize("answer", [0, 100])
def test_the_ends_of_a_line_can_be_the_answer(answer):
    assert asked(prediction("How many?", answer=answer, scale=LINE))["answer"] == answer


@pytest.mark.parametrize("question", ["", "  ", None, 3])
def test_there_is_a_question(question):
    with pytest.raises(ValueError, match=r"question is .*: expected text"):
        prediction(question, answer=0, choices=TWO)


def test_unit_and_told_are_text():
    with pytest.raises(ValueError, match="told is 3: expected text"):
        prediction("?", answer=0, choices=TWO, told=3)
    with pytest.raises(ValueError, match="unit is None: expected text"):
        prediction("?", answer=0, scale=LINE, unit=None)


@pytest.mark.parametrize("options", [{}, {"choices": TWO, "scale": LINE}, {"choices": []}])
def test_there_is_either_a_line_or_a_choice(options):
    with pytest.raises(ValueError, match="expected exactly one of them"):
        prediction("?", answer=0, **options)


@pytest.mark.parametrize("choices", [["one"], ["a", "a"], ["a", ""], ["a", 1], "ab"])
def test_a_choice_is_between_different_texts(choices):
    with pytest.raises(ValueError, match="expected two or more different texts"):
        prediction("?", answer=0, choices=choices)


@pytest.mark.parametrize("answer", [2, -1, 0.0, True, None, "this", torch.tensor(1)])
def test_the_answer_is_the_number_of_a_choice(answer):
    with pytest.raises(ValueError, match="expected the number of a choice, from 0 to 1"):
        prediction("?", answer=answer, choices=TWO)


@pytest.mark.parametrize(
    "scale", [(), (0, 1), (0, 1, None), (0, float("inf"), 1), "012", 3, (0, True, 1)]
)
def test_a_line_is_three_finite_numbers(scale):
    with pytest.raises(ValueError, match=r"expected three finite numbers, \(least, most, step\)"):
        prediction("?", answer=0, scale=scale)


@pytest.mark.parametrize("scale", [(0, 10, 0), (0, 10, -1), (10, 0, 1), (0, 10, 3), (0, 10, 20)])
def test_a_line_leads_from_one_end_to_the_other_in_steps(scale):
    with pytest.raises(ValueError, match="expected least below most, and a step that leads"):
        prediction("?", answer=0, scale=scale)


@pytest.mark.parametrize("answer", [-0.1, 100.1, float("nan"), None, "5", True, torch.tensor(5.0)])
def test_the_answer_lies_on_the_line(answer):
    with pytest.raises(ValueError, match=r"expected a number from 0 to 100; widen the scale"):
        prediction("?", answer=answer, scale=LINE)


def test_text_is_escaped_wherever_it_goes():
    html = prediction(
        '</script><b>"', answer=0, choices=["</script><i>", "[[data]]"], told="<!--<script>"
    ).data
    assert html.count("</script>") == 1 and "<b>" not in html and "<i>" not in html
    assert "<!--<script>" not in html


def test_the_same_question_gives_the_same_bytes_and_another_a_name_of_its_own():
    pages = [prediction(q, answer=0, choices=TWO).data for q in ("a", "a", "b")]
    names = [re.search(r'id="(prediction-\w+)"', page)[1] for page in pages]
    assert pages[0] == pages[1] and names[0] != names[2]


def test_nothing_is_stored_or_fetched():
    page = prediction("?", answer=0, choices=TWO).data
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|import\(|fetch\(|Storage|cookie", page)


def test_a_notebook_stores_no_address_of_an_object():
    assert repr(prediction("?", answer=0, choices=TWO)) == "<IPython.core.display.HTML object>"
