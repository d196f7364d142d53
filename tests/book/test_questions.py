"""The questions for checking oneself: as they stand in the chapters, and as a reader meets them.

In the built pages they must work without a kernel, a network or a script, by keyboard and for
a screen reader. What each check of the text finds is shown on a question that is wrong.
"""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import test_pages
from test_pages import each_chapter, each_scheme, faint_text, overhang, wait_for_equations

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NAMES = [path.stem for path in CHAPTERS]
OPTION = re.compile(r"<details>\n<summary>(.+?)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)
FORBIDDEN = r"<script|<iframe|<form|<input|\bhttps?:|\bsrc\s*=|\bhref\s*=|\bon\w+\s*="
RIGHT, WRONG = "**Right.** ", "**Not quite.** "

book, reader = test_pages.book, test_pages.reader  # the fixtures
each_notebook = pytest.mark.parametrize("path", CHAPTERS, ids=NAMES)


def questions(path):
    cells = nbformat.read(path, as_version=4).cells
    return [c.source for c in cells if c.source.startswith('<div class="question"')]


def verdicts(question):
    """For each option, whether its explanation calls it right."""
    return [why.startswith(RIGHT) for _, why in OPTION.findall(question)]


def faults(question):
    """What is wrong with the text of a question."""
    options, found = OPTION.findall(question), []
    if question.count("<details") != len(options) or not 3 <= len(options) <= 4:
        found.append("not three or four options, each with an explanation")
    if not all(why.startswith((RIGHT, WRONG)) and len(why.split()) > 8 for _, why in options):
        found.append("an explanation that does not say right or not, and why")
    if sum(verdicts(question)) != 1:
        found.append("not exactly one right option")
    if len({answer for answer, _ in options}) < len(options):
        found.append("an option twice")
    label = re.match(r'<div class="question" role="group" aria-labelledby="([\w-]+)">\n', question)
    if not label or f'<div id="{label[1]}">\n\n**Question ' not in question:
        found.append("a group without a label")
    if re.search(FORBIDDEN, question):
        found.append("something that runs, or an address")
    return found


# The chapters as files


@each_notebook
def test_a_chapter_asks_three_questions_or_more_before_its_exercises(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    start, end = prose.index("## Check yourself"), prose.index("\n## Exercises")
    asked = questions(path)
    assert len(asked) >= 3
    assert all(start < prose.index(question) < end for question in asked)


@each_notebook
def test_every_option_is_explained_and_one_is_right(path):
    assert {q: faults(q) for q in questions(path) if faults(q)} == {}


def test_every_question_has_a_name_of_its_own():
    names = [re.search(r'id="([\w-]+)"', q)[1] for path in CHAPTERS for q in questions(path)]
    assert len(set(names)) == len(names)


def test_neither_place_nor_length_gives_the_right_option_away():
    asked = [question for path in CHAPTERS for question in questions(path)]
    places = Counter(verdicts(question).index(True) for question in asked)
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) < 0.4 * len(asked)
    longest = 0
    for question in asked:
        lengths = [len(answer) for answer, _ in OPTION.findall(question)]
        longest += lengths[verdicts(question).index(True)] == max(lengths)
    assert longest < 0.45 * len(asked)


GOOD = f"""<div class="question" role="group" aria-labelledby="check-1">
<div id="check-1">

**Question 1.** What is three?

</div>

<details>
<summary>A number.</summary>

{RIGHT}It counts the options of this question, and so it is one.

</details>

<details>
<summary>A letter.</summary>

{WRONG}No alphabet that we know of has a letter of this name.

</details>

<details>
<summary>A word alone.</summary>

{WRONG}It is a word as well, but there is something that it names.

</details>

</div>"""
PLANTED = {
    "no explanation": (f"{WRONG}It is a word as well, but there is something that it names.\n", ""),
    "an explanation without a reason": ("It counts the options of this question, and so", "Yes,"),
    "a verdict left out": (f"{WRONG}It", "It"),
    "two right options": (f"{WRONG}No", f"{RIGHT}No"),
    "no right option": (RIGHT, WRONG),
    "an option twice": ("A letter.", "A number."),
    "a label of another group": ('id="check-1"', 'id="check-2"'),
    "a script": ("</div>\n\n<details>", "</div>\n\n<script>alert()</script>\n\n<details>"),
    "an address": ("No alphabet", '<img src="x.png"> No alphabet'),
    "a handler": ("<summary>A letter", '<summary onclick="send()">A letter'),
}


def test_a_good_question_has_no_fault():
    assert faults(GOOD) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name):
    bad = GOOD.replace(*PLANTED[name], 1)
    assert bad != GOOD and faults(bad) != []


# The built pages


@pytest.fixture
def visit(reader, name):
    """A chapter in which no option is open."""
    visit = reader.sees(name)
    visit.page.evaluate("document.querySelectorAll('.question details').forEach(d => d.open = 0)")
    yield visit
    assert visit.problems == []


def spoken(page, selector):
    """Role, name and states of an element as the browser hands them to a screen reader."""
    session = page.context.new_cdp_session(page)
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
    options = {"nodeId": node, "fetchRelatives": False}
    (found,) = session.send("Accessibility.getPartialAXTree", options)["nodes"]
    states = {p["name"]: p["value"].get("value") for p in found.get("properties", [])}
    return found["role"]["value"], found["name"]["value"], states


def tab_to_an_option(page):
    """Go on by keyboard from the heading of the section to the first option."""
    page.locator("#check-yourself h2").click()
    for _ in range(12):  # a link or an equation in the question may come first
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.question summary')"):
            return
    pytest.fail("Tab does not reach an option")


@each_chapter
def test_an_option_is_opened_and_closed_by_keyboard_and_nothing_is_sent(visit):
    page, requests = visit.page, []
    page.on("request", lambda request: requests.append(request.url))
    explanation = page.locator(".question details").first.locator("p").last
    assert not explanation.is_visible()
    tab_to_an_option(page)
    for key, seen in (("Enter", True), ("Enter", False), ("Space", True)):
        page.keyboard.press(key)
        assert explanation.is_visible() is seen
    assert re.match(r"(Right|Not quite)\. ", explanation.inner_text())
    page.wait_for_timeout(200)
    assert requests == []


@each_chapter
def test_the_option_in_focus_can_be_seen(visit):
    tab_to_an_option(visit.page)
    style, width = visit.page.evaluate(
        """() => { const style = getComputedStyle(document.activeElement);
        return [style.outlineStyle, parseFloat(style.outlineWidth)]; }"""
    )
    assert style != "none" and width >= 2


@each_chapter
def test_a_screen_reader_hears_the_question_the_option_and_its_state(visit):
    page = visit.page
    role, name, _ = spoken(page, ".question")
    assert role == "group" and name.startswith("Question 1.")
    option = page.locator(".question summary").first
    for expanded in (False, True):
        role, name, states = spoken(page, ".question summary")
        assert role == "DisclosureTriangle" and option.inner_text() in name
        assert states["expanded"] is expanded and states["focusable"]
        option.press("Enter")


@each_chapter
def test_each_built_question_has_one_right_option_and_no_raw_markup(visit):
    page = visit.page
    texts = page.locator(".question").evaluate_all(
        """nodes => nodes.map(node => [...node.querySelectorAll('details > p:last-of-type')]
        .map(p => p.textContent))"""
    )
    assert len(texts) >= 3
    assert [sum(text.startswith("Right. ") for text in one) for one in texts] == [1] * len(texts)
    assert not [text for one in texts for text in one if re.search(r"\*\*|<|\{glue|`", text)]


@each_scheme
@each_chapter
def test_all_open_the_questions_fit_a_telephone_and_can_be_read(reader, name, scheme):
    page = reader.sees(name, width=390, scheme=scheme).page
    wait_for_equations(page)
    page.evaluate("document.querySelectorAll('.question details').forEach(d => d.open = 1)")
    assert overhang(page) <= 0
    assert faint_text(page, ".question, .question *") == []
