"""What belongs together stays on a line."""

import sys
from pathlib import Path

import pytest
import test_pages
from docutils import nodes
from sphinx import addnodes
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.1 points, then (-3) and -12 %", "−0.1 points, then (−3) and −12 %"),
        ("1-5, GPT-4, 2-1, 1e-05, --2, -x", "1-5, GPT-4, 2-1, 1e-05, --2, -x"),
    ],
)
def test_a_negative_number_has_a_minus_sign_and_a_hyphen_stays_one(text, shown):
    assert kept(nodes.Text(text)).astext().replace(KEPT, " ") == shown
    glued = kept(nodes.Text("from "), nodes.inline("", "-0.1 ± 0.5"))
    assert marked(glued, "measured") == [f"−0.1 ±{KEPT}0.5"]


def test_code_keeps_its_hyphens_also_in_a_signature_and_in_a_script():
    default = addnodes.desc_signature("", "", nodes.inline("", "weight=-1, lr=(-2)"))
    assert kept(default).astext() == "weight=-1, lr=(-2)"
    assert kept(nodes.literal("", "-1")).astext() == "-1"
    script = "<p>-0.1 ± 0.5</p><script>x = [-1, -2.5]; told = '-0.1 \\u00b1 0.2'</script>"
    found = kept(nodes.raw("", script, format="html")).astext().replace(KEPT, " ")
    assert found == script.replace("-0.1", "−0.1")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("meta_train()", '<span class="pre">meta_<wbr>train()</span>'),
        ("__init__.py", '<span class="pre">__init__.py</span>'),
        ("a.b(c_d,", '<span class="pre">a.<wbr>b(<wbr>c_<wbr>d,</span>'),
        ("a(...)[k]", '<span class="pre">a(...)<wbr>[k]</span>'),
        ("a=&lt;b&gt;", '<span class="pre long">a=<wbr>&lt;b&gt;</span>'),
        (
            "metalearn_lite.judging.ledger.",
            '<span class="pre long">metalearn_<wbr>lite.<wbr>judging.<wbr>ledger.</span>',
        ),
    ],
)
def test_a_name_may_break_between_its_parts(name, shown):
    context = {"body": f'<p><code><span class="pre">{name}</span></code> a.b</p>'}
    unbroken.let_names_break(None, "page", "page.html", context, None)
    assert context["body"] == f"<p><code>{shown}</code> a.b</p>"
    unbroken.let_names_break(None, "search", "search.html", {}, None)  # has no text of its own


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


def test_a_new_line_before_a_formula_stays_a_space():
    found = kept(nodes.Text("its stake,\n"), formula("K"), nodes.Text(": none"))
    assert marked(found, "together") == ["K:"] and found.astext() == "its stake,\nK: none"


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
