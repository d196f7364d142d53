"""The bank of questions, read back: as XML, by a schema of our own, and beside the chapters."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import moodle_questions
import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"name", "questiontext", "defaultgrade", "penalty", "hidden", "single"}
PARTS |= {"shuffleanswers", "answernumbering"}
RAW = r"\*\*|\{[\w:]+\}`|\$|`|<img|<script|https?:|\bon\w+=|\N{OBJECT REPLACEMENT CHARACTER}"
OPEN_ENDED = {"br", "hr"}


class Tags(HTMLParser):
    """What is left open when a piece of HTML ends."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in OPEN_ENDED:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.wrong |= not self.open or self.open.pop() != tag


def is_whole(html):
    tags = Tags(html)
    return bool(html.strip()) and not tags.open and not tags.wrong


def texts(question):
    return [node.text or "" for node in question.iter("text")]


def faults(xml):
    """What Moodle would refuse or show wrongly."""
    try:
        quiz = ET.fromstring(xml)
    except ET.ParseError as error:
        return [f"no XML: {error}"]
    found = [] if quiz.tag == "quiz" else ["no quiz"]
    asked = [q for q in quiz if q.get("type") == "multichoice"]
    kinds = [q.get("type") for q in quiz]
    if set(kinds) - {"category", "multichoice"} or kinds[:1] != ["category"]:
        found.append("a kind of question that is not known, or one without a category")
    names = [q.findtext("name/text") for q in asked]
    found += [f"{name} twice" for name, times in Counter(names).items() if times > 1]
    for question in asked:
        name = question.findtext("name/text")
        answers = question.findall("answer")
        fractions = sorted(float(a.get("fraction", "nan")) for a in answers)
        if sorted(n.tag for n in question if n.tag != "answer") != sorted(PARTS):
            found.append(f"{name}: a part too many or too few")
        if fractions != [0.0] * (len(answers) - 1) + [100.0] or len(answers) < 3:
            found.append(f"{name}: fractions {fractions}")
        if question.findtext("single") != "true":
            found.append(f"{name}: several answers could be ticked")
        if len({a.findtext("text") for a in answers}) < len(answers):
            found.append(f"{name}: an answer twice")
        if not all((a.findtext("feedback/text") or "").strip() for a in answers):
            found.append(f"{name}: an answer without feedback")
        html = [question.find("questiontext"), *answers, *question.findall("answer/feedback")]
        if not all(n.get("format") == "html" and is_whole(n.findtext("text")) for n in html):
            found.append(f"{name}: HTML that is not whole")
        found += [f"{name}: raw {raw(text)}" for text in texts(question) if raw(text)]
        found += [f"{name}: a formula left open" for t in texts(question) if open_formula(t)]
    return found


def raw(text):
    """What is left of the Markdown, outside of code."""
    return re.findall(RAW, re.sub(r"<code>.*?</code>", "", text))


def open_formula(text):
    return text.count(r"\(") != text.count(r"\)")


@pytest.fixture(scope="module")
def bank():
    return moodle_questions.all_questions()


@pytest.fixture(scope="module")
def xml(bank):
    return moodle_questions.as_xml(bank)


def test_the_bank_has_no_fault_and_holds_every_question(bank, xml):
    assert faults(xml) == []
    stored = [path.read_text("utf-8") for path in (ROOT / "chapters").glob("*.ipynb")]
    in_chapters = sum(text.count(r"<div class=\"question\"") for text in stored)
    assert in_chapters >= 3 * 11
    asked = ET.fromstring(xml).findall("question[@type='multichoice']")
    assert len(asked) == in_chapters + 8
    assert list(bank)[:2] == ["Before the course", "Few examples"]
    assert len(bank) == 1 + len(stored)


def test_all_html_stands_in_cdata(xml):
    outside = re.sub(r"<!\[CDATA\[.*?\]\]>", "", xml, flags=re.DOTALL)
    assert not re.search(r"&lt;|<(p|em|strong|code)\b", outside)
    assert xml.startswith("<?xml")
    assert moodle_questions.cdata("a]]>b") == "<![CDATA[a]]]]><![CDATA[>b]]>"


def test_references_are_written_out_as_the_book_shows_them(bank):
    asked = {q.name: q for found in bank.values() for q in found}
    maml = next(q for name, q in asked.items() if name.startswith("maml ") and r"\nabla" in q.text)
    assert r"\nabla^2 L_i^{\mathcal S}(\theta)" in maml.text
    said = " ".join(o.feedback for o in asked["when_it_fails 1"].options)
    assert "“Check a gradient" in said or "gradient" in said.rpartition("“")[2]
    text = moodle_questions.as_html("$a < b$ and `$x$` and *so*", "maml")
    assert text == r"<p>\(a &lt; b\) and <code>$x$</code> and <em>so</em></p>"
    with pytest.raises(ValueError, match="write it out here"):
        moodle_questions.as_html("see {term}`task`", "maml")


def test_the_test_for_beforehand_agrees_with_the_page_for_teachers(bank):
    page = (ROOT / "teaching.md").read_text("utf-8").partition("### A test for beforehand")[2]
    answers = re.findall(
        r"^\*\*(\d)\.\*\* (.+?)\n\n```\{dropdown\} Answer\n(.+?)\n```", page, re.M | re.S
    )
    stored = moodle_questions.ENTRY_TEST.read_text("utf-8")
    asked = re.findall(r"\*\*Question (\d)\.\*\* (.+)", stored)
    assert [(n, " ".join(q.split())) for n, q, _ in answers] == asked
    for (_, _, answer), question in zip(answers, bank["Before the course"], strict=True):
        right = next(option for option in question.options if option.right)
        shown = right.text + right.feedback
        for number in re.findall(r"-?\d+(?:\.\d+)?", answer):
            assert number in shown, (number, shown)


def test_neither_place_nor_length_gives_the_right_answer_away(bank):
    found = bank["Before the course"]
    places = [[o.right for o in question.options].index(True) for question in found]
    assert set(Counter(places).values()) <= {1, 2, 3} and len(set(places)) == 4
    longest = sum(max(q.options, key=lambda o: len(o.text)).right for q in found)
    assert longest <= 4


PLANTED = {
    "no right answer": ('fraction="100"', 'fraction="0"'),
    "a fraction that is none": ('fraction="0"', 'fraction="50"'),
    "a name twice": ("<text>maml 2</text>", "<text>maml 1</text>"),
    "an answer without feedback": ("<feedback", "<comment"),
    "several to tick": ("<single>true", "<single>false"),
    "a tag left open": ("</p>]]>", "]]>"),
    "an image": ("<p>", '<p><img src="x.png"/>'),
    "a formula left open": (r"\)", ""),
    "no XML": ("</quiz>", ""),
    "raw Markdown": ("<strong>", "**"),
    "no category": ('type="category"', 'type="description"'),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(xml, name):
    old, new = PLANTED[name]
    assert old in xml
    assert faults(xml.replace(old, new, 1)) != []


def test_a_question_that_cannot_be_read_is_refused():
    good = moodle_questions.ENTRY_TEST.read_text("utf-8")
    with pytest.raises(ValueError, match="not written as the others"):
        list(moodle_questions.questions("entry_test", good.replace("**Question 1.**", "1.")))
    with pytest.raises(ValueError, match="question 1: expected one right answer"):
        list(moodle_questions.questions("entry_test", good.replace("**Right.**", "**Yes.**", 1)))
