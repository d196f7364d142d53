"""What is folded says what it is."""

import sys
from pathlib import Path

import pytest
from docutils import nodes

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import folded


def exercise(first, *title):
    """An exercise as sphinx-exercise leaves it, its title in parentheses."""
    parts = [nodes.Text(" ("), *title, nodes.Text(")")] if title else []
    body = nodes.paragraph("", "", nodes.strong("", first), nodes.Text(" Text."))
    return nodes.admonition("", nodes.title("", "", *parts), body, classes=["exercise"])


def titled(box):
    document = nodes.document(None, None)
    document += box
    transform = object.__new__(folded.ExerciseTitles)
    transform.document = document
    transform.run()
    return " ".join(box.children[0].astext().split())


@pytest.mark.parametrize(
    ("first", "title", "shown"),
    [
        ("Predict.", [], "Predict"),
        ("Implement", ["Many inner steps"], "Implement Many inner steps"),
        ("Predict.", ["Predict: many steps"], "Predict Many steps"),
        ("Note.", ["Many inner steps"], "Many inner steps"),
        ("Note.", [], ""),
    ],
)
def test_a_folded_exercise_shows_its_kind_and_its_title(first, title, shown):
    assert titled(exercise(first, *map(nodes.Text, title))) == shown


def test_a_title_keeps_its_markup():
    box = exercise(
        "Predict.", nodes.Text("With "), nodes.literal("", "k = 2"), nodes.Text(" steps")
    )
    assert titled(box) == "Predict With k = 2 steps"
    assert [type(child) for child in box.children[0].children] == [
        *(nodes.Text, nodes.inline, nodes.Text, nodes.Text, nodes.literal, nodes.Text),
    ]


def test_a_solution_shows_the_number_of_its_exercise_alone():
    link = nodes.reference("", "", nodes.Text(" Exercise 6.1"), nodes.Text(" (Many steps)"))
    title = nodes.title("", "", nodes.Text("Solution to"), link)
    assert titled(nodes.admonition("", title, classes=["solution"])) == "Solution to Exercise 6.1"


def test_another_box_keeps_its_title():
    box = nodes.admonition("", nodes.title("", "A note"), nodes.paragraph("", "Predict."))
    assert titled(box) == "A note"


def option(verdict):
    """The opening of an option and its explanation, as MyST leaves them."""
    words = [nodes.Text(""), nodes.strong("", verdict), nodes.Text(" Because.")]
    opening = nodes.raw("", "<details>\n<summary>An answer</summary>", format="html")
    return [opening, nodes.paragraph("", "", *words), nodes.raw("", "</details>", format="html")]


def test_an_option_is_marked_by_what_its_explanation_begins_with():
    document = nodes.document(None, None)
    document += [*option("Right."), *option("Not quite."), *option("Well.")]
    transform = object.__new__(folded.Verdicts)
    transform.document = document
    transform.run()
    openings = [raw.astext().split(">")[0] for raw in document.findall(nodes.raw)]
    assert openings[::2] == ['<details class="right"', '<details class="not-quite"', "<details"]
    assert set(openings[1::2]) == {"</details"}
