"""On the page ideas come first: folded code at the foot of its section, no lines of checks."""

import sys
from pathlib import Path

import pytest
from docutils import nodes

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import plumbing


def cell(code, *printed, hidden):
    kind = {"hide_mode": "input"} if hidden else {}
    source = nodes.container("", nodes.literal_block(code, code), nb_element="cell_code_source")
    blocks = [nodes.literal_block(text, text) for text in printed]
    output = nodes.container("", *blocks, nb_element="cell_code_output")
    parts = [source, output] if printed else [source]
    return nodes.container("", *parts, nb_element="cell_code", **kind)


@pytest.fixture
def page():
    """A title, an opening with hidden code and a picture, and a section with code of both kinds."""
    document = nodes.document(None, None)
    section = nodes.section(
        "",
        nodes.paragraph("", "first words of a section"),
        cell("visible", "result\n", hidden=False),
        cell("draw", hidden=True),
    )
    opening = nodes.section(
        "",
        cell("import", hidden=True),
        cell("picture", "ahead: True\n", hidden=True),
        nodes.paragraph("", "the question, felt"),
        section,
    )
    document += opening
    return document, opening, section


def run(transform, document):
    made = object.__new__(transform)
    made.document = document
    made.run()


def test_folded_code_stands_at_the_end_of_its_section_and_results_stay(page):
    document, opening, section = page
    run(plumbing.PlumbingLast, document)
    assert [type(child) for child in opening.children] == [
        *(nodes.container, nodes.container, nodes.paragraph),
        *(nodes.container, nodes.section),
    ]
    assert [code.astext() for code in opening.children[3].findall(nodes.literal_block)] == [
        *("import", "picture"),
    ]
    assert opening.children[1].astext() == "ahead: True\n"
    assert section.children[-1].astext() == "draw" and section.children[1].astext()[:7] == "visible"
    (fold,) = section.children[-1].children
    assert fold["prompt_show"] == "Show the code behind this section"


def test_code_in_an_exercise_stays_there():
    document = nodes.document(None, None)
    exercise = nodes.admonition("", cell("hidden", hidden=True))
    document += nodes.section("", exercise)
    run(plumbing.PlumbingLast, document)
    assert exercise.astext() == "hidden"
