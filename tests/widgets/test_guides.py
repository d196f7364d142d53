"""The guide: every way leads to an end, and every end speaks of rows that there are."""

import json
import re

import pytest

from metalearn_lite.evaluation import Scores
from metalearn_lite.widgets import End, Question, guide

SCORES = {
    ("1 shot", kind): {"A": Scores.of([0.5, 0.6]), "B": Scores.of([0.7, 0.8])}
    for kind in ("transductive", "inductive")
}
QUESTIONS = {
    "batches": Question("In batches?", {"Yes": "new", "No": "new"}, {"No": "inductive"}),
    "new": Question("A new domain?", {"Yes": "compare", "No": "take A"}),
}
ENDS = {"compare": End("Compare <b>."), "take A": End("Take A.", ["A"])}


def read(shown):
    at = shown.data.index("const { questions, ends, columns, rows } = ")
    return json.JSONDecoder().raw_decode(shown.data, shown.data.index("{", at + 10))[0]


def made(questions=QUESTIONS, ends=ENDS):
    return guide(questions, ends, scores=SCORES, label="Which?")


def test_questions_ends_and_rows_are_handed_on():
    data = read(made())
    assert list(data["questions"]) == ["batches", "new"]
    assert data["questions"]["batches"]["statistics"] == {"No": "inductive"}
    assert data["ends"]["take A"] == {"advice": "Take A.", "rows": ["A"]}
    assert data["rows"]["A"] == ["55.0 ± 63.5"] * 2
    assert [column["name"] for column in data["columns"]] == [
        "1 shot, transductive",
        "1 shot, inductive",
    ]


def test_the_same_guide_gives_the_same_bytes_and_text_stays_text():
    assert made().data == made().data
    assert "<b>" not in made().data and made().data.count("</script>") == 1
    assert not re.search(r"\[\[\w+\]\]", made().data)


@pytest.mark.parametrize(
    ("questions", "ends", "message"),
    [
        ({}, ENDS, "expected a question"),
        ({**QUESTIONS, "new": Question("?", {"Yes": "lost"})}, ENDS, "from batches to new to 'lo"),
        ({**QUESTIONS, "new": Question("?", {"Yes": "batches"})}, ENDS, "not asked before"),
        (QUESTIONS, {**ENDS, "other": End("Never.")}, r"no answer leads to \['other'\]"),
        ({**QUESTIONS, "more": Question("?", {"Yes": "take A"})}, ENDS, r"leads to \['more'\]"),
        ({"batches": Question("?", {})}, {}, "a question has no answers"),
        (QUESTIONS, {**ENDS, "new": End("Both.")}, "expected a question"),
        (QUESTIONS, {**ENDS, "take A": End("Take C.", ["C"])}, r"no rows \['C'\]"),
        (
            {**QUESTIONS, "new": Question("?", QUESTIONS["new"].answers, {"No": "exact"})},
            ENDS,
            r"no statistics \['exact'\]",
        ),
        (
            {**QUESTIONS, "new": Question("?", QUESTIONS["new"].answers, {"Perhaps": "inductive"})},
            ENDS,
            "Perhaps",
        ),
        ({"batches": "In batches?"}, ENDS, "batches is a str"),
        (QUESTIONS, {**ENDS, "take A": "Take A."}, "take A is a str"),
    ],
)
def test_a_guide_that_leads_astray_is_refused(questions, ends, message):
    with pytest.raises(ValueError, match=message):
        made(questions, ends)
