"""What belongs together stays on a line."""

import sys
from pathlib import Path

import pytest
import test_pages
from docutils import nodes
from test_pages import HEAD, ROOT, Visit, each_chapter

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import unbroken

book, reader = test_pages.book, test_pages.reader  # the fixtures
KEPT = "\N{NO-BREAK SPACE}"


def kept(*parts):
    """A paragraph of these parts after the transform."""
    document = nodes.document(None, None)
    document += nodes.paragraph("", "", *parts)
    transform = object.__new__(unbroken.Unbroken)
    transform.document = document
    transform.run()
    return document.children[0]


def marked(paragraph, mark):
    return [node.astext() for node in paragraph.findall(nodes.inline) if mark in node["classes"]]


def formula(text):
    return nodes.math(text, text)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("It has 76.7 ± 2.3 % of them.", ["76.7 ±~2.3"]),
        ("by +1,300 ± 20, or −0.5 ± 0.25.", ["+1,300 ±~20", "−0.5 ±~0.25"]),
        ("so ± is over runs, 5 of them", []),
        ("76.7 ± 2.3", ["76.7 ±~2.3"]),
    ],
)
def test_a_number_keeps_its_interval_and_its_unit(text, whole):
    found = kept(nodes.Text(text))
    assert marked(found, "measured") == [one.replace("~", KEPT) for one in whole]
    assert found.astext().replace(KEPT, " ") == text
    assert " %" not in found.astext()


def test_a_number_of_a_run_keeps_its_unit():
    glued = nodes.inline("", "76.7 ± 2.3", classes=["pasted-text"])
    found = kept(nodes.Text("to "), glued, nodes.Text(" % of those. 5 "), nodes.Text(" % "))
    assert marked(found, "measured") == [f"76.7 ±{KEPT}2.3"]
    assert f"2.3{KEPT}% of those" in found.astext()
    assert found.astext().endswith("5  % ")  # a space is no number


def test_code_is_left_as_it_is():
    found = kept(nodes.literal("", "1 ± 2 %"))
    assert found.astext() == "1 ± 2 %" and marked(found, "measured") == []


@pytest.mark.parametrize(
    "code, whole",
    [("make test", False), ("run.py --leave-out", True), ("run -x " + "y" * 30, False)],
)
def test_an_option_keeps_its_hyphens(code, whole):
    (command,) = kept(nodes.literal("", code)).findall(nodes.literal)
    assert ("whole-words" in command["classes"]) == whole


def test_what_moves_in_a_page_keeps_its_numbers_and_its_code():
    script = r"<p>7.7 ± 2.3</p><script>`${mean} ± ${half}`; told = '0.1 \u00b1 0.2'</script>"
    found = kept(nodes.raw("", script, format="html"))
    sign = rf"{KEPT}\u00b1{KEPT}"
    kept_whole = script.replace("7.7 ± 2.3", f"7.7{KEPT}±{KEPT}2.3").replace(r" \u00b1 ", sign)
    assert found.astext() == kept_whole != script
    assert kept(nodes.raw("", "1 ± 2", format="latex")).astext() == "1 ± 2"


def test_a_formula_keeps_the_punctuation_that_touches_it():
    parts = nodes.Text("(by"), nodes.Text(" K ("), formula("K"), nodes.Text("), or "), formula("N")
    found = kept(*parts, nodes.Text("-way. "), formula("M"), nodes.Text(" is"), formula("T"))
    assert marked(found, "together") == ["(K),", "N-"]
    assert found.astext() == "(by K (K), or N-way. M isT"
    assert len(list(found.findall(nodes.math))) == 4


BROKEN = r"""() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let text; (text = texts.nextNode());) {
        if (!text.parentElement.checkVisibility()) continue;
        for (const match of text.data.matchAll(/[-+−]?[\d.,]+\s±\s[\d.,]*\d/g)) {
            const range = document.createRange();
            range.setStart(text, match.index);
            range.setEnd(text, match.index + match[0].length);
            const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (lines.size > 1) found.push(match[0]);
        }
    }
    return found; }"""


@each_chapter
def test_no_line_of_a_chapter_breaks_a_number_from_its_interval(reader, name):
    page = reader.sees(name).page
    unasked = page.locator(".prediction .quiet:visible")
    while unasked.count():
        unasked.first.click()
    assert page.evaluate(BROKEN) == []


def test_a_number_that_is_broken_is_noticed(browser, tmp_path):
    style = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")
    narrow = "<p style='width: 4em'>Right: 76.7 ± 2.3 %</p>"
    whole = f"<p style='width: 4em'>Right: <span class='measured'>76.7 ±{KEPT}2.3</span></p>"
    (tmp_path / "page.html").write_text(
        f"{HEAD}<style>{style}</style><article class='bd-article'>{narrow}{whole}</article>"
    )
    with Visit(browser, tmp_path / "page.html") as visit:
        assert visit.page.evaluate(BROKEN) == ["76.7 ± 2.3"]
