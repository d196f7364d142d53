"""A guess before the result: what follows waits for it, and nobody is shut out."""

import re

import nbformat
import pytest
import test_pages
from test_pages import CHAPTERS, ROOT, Visit, each_chapter, faint_text, overhang

from metalearn_lite.widgets import prediction

book, reader = test_pages.book, test_pages.reader  # the fixtures

THEME = "<style>[hidden] { display: none !important; } :root { color-scheme: light dark; }</style>"
SLIDER = prediction(
    "How many of 100 drawings does nearest pixel answer correctly?",
    answer=41.86,
    scale=(0, 100, 5),
    unit="%",
    told="A pixel knows no shapes.",
).data
CHOICES = prediction(
    "Which of the two is ahead?",
    answer=1,
    choices=["the network", "nearest pixel"],
    told="By far.",
).data


def cell(content):
    return f'<div class="cell"><div class="cell_output">{content}</div></div>'


PAGE = f"""<!DOCTYPE html>{THEME}<main>
<p><a href="#inside" class="link">to the figure</a></p>
<section id="one"><h2>One</h2><p>before the question</p>{cell(SLIDER)}
<p class="first">It answers 41.9 %.</p><figure id="inside">the figure</figure>
{cell(CHOICES)}<p class="second">Nearest pixel is ahead.</p>
<section id="two"><h3>Two</h3><p class="third">another matter</p></section></section>
<section id="three"><p class="fourth">the next section</p></section></main>"""


@pytest.fixture
def opens(browser, tmp_path):
    """Open a page, of which every window is closed at the end."""
    visits = []

    def visit(html=PAGE, query="", **options):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        visits.append(Visit(browser, path, query=query, **options))
        return visits[-1].page

    yield visit
    assert [visit.problems for visit in visits if visit.problems] == []
    for one in visits:
        one.context.close()


SHOWN = """name => { const part = document.querySelector('.' + name);
    return part.getBoundingClientRect().height > 0 && !part.closest('[hidden]'); }"""


def shown(page):
    """Which of the results can be seen."""
    return [name for name in ("first", "second", "third", "fourth") if page.evaluate(SHOWN, name)]


def part(page, number, selector):
    return page.locator(".prediction").nth(number).locator(selector)


def test_what_follows_waits_and_what_is_not_of_the_section_does_not(opens):
    page = opens()
    assert shown(page) == ["third", "fourth"]
    assert page.locator("[hidden=until-found]").count() == 3
    assert part(page, 0, ".show").is_disabled() and part(page, 0, ".answer").inner_text() == ""
    assert page.locator("section#one > .after-guess").evaluate_all(
        "all => all.map(box => box.getBoundingClientRect().height)"
    ) == [0, 0, 0]


def test_a_guess_on_the_line_by_keyboard_alone(opens):
    page = opens()
    page.keyboard.press("Tab")  # the link
    page.keyboard.press("Tab")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert part(page, 0, "output").inner_text() == "60 %"
    assert part(page, 0, "input").get_attribute("aria-valuetext") == "60 %"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer = "You said 60 %; measured: 41.9 %. A pixel knows no shapes."
    assert part(page, 0, ".answer").inner_text() == answer
    assert page.evaluate("document.activeElement.textContent") == answer
    assert part(page, 0, ".answer").get_attribute("aria-live") == "polite"
    assert shown(page) == ["first", "third", "fourth"]


def test_both_values_are_marked_where_they_belong(opens):
    page = opens()
    part(page, 0, "input").fill("20")
    part(page, 0, ".show").click()
    axis = part(page, 0, ".axis").bounding_box()
    for name, value in {"you": 20, "measured": 41.86}.items():
        mark = part(page, 0, f".{name}.at").bounding_box()
        assert (mark["x"] - axis["x"]) / axis["width"] == pytest.approx(value / 100, abs=0.005)
    assert part(page, 0, ".you.text").inner_text() == "you: 20 %"
    assert part(page, 0, ".measured.text").inner_text() == "measured: 41.9 %"
    label = part(page, 0, ".marks").get_attribute("aria-label")
    assert label == "You said 20 %; measured: 41.9 %."


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["Space"], "You said: the network. The answer: nearest pixel. By far."),
        (["Space", "ArrowDown"], "Right: nearest pixel. By far."),
    ],
)
def test_a_choice_by_keyboard_alone(opens, keys, answer):
    page = opens()
    part(page, 0, ".quiet").focus()
    for key in ["Tab", *keys, "Enter"]:
        page.keyboard.press(key)
    assert part(page, 1, ".answer").inner_text() == answer
    assert part(page, 1, ".right").inner_text() == "nearest pixel"
    assert part(page, 1, ".wrong").count() == (len(keys) == 1)
    assert shown(page) == ["second", "third", "fourth"]
    assert part(page, 1, "input:enabled").count() == 0


def test_without_a_guess(opens):
    page = opens()
    part(page, 0, "input").fill("20")
    for number, answer in enumerate(("Measured: 41.9 %. A p", "The answer: nearest pixel. By")):
        part(page, number, ".quiet").click()
        assert part(page, number, ".answer").inner_text().startswith(answer)
    assert part(page, 0, ".you").count() == 0
    assert shown(page) == ["first", "second", "third", "fourth"]


def test_a_tap_on_the_middle_is_a_guess(opens):
    page = opens()
    part(page, 0, "input").click()
    assert part(page, 0, ".show").is_enabled()
    assert part(page, 0, "output").inner_text() == "50 %"


def test_paper_shows_all(opens):
    page = opens()
    page.emulate_media(media="print")
    heights = """() => [...document.querySelectorAll('.first, .second')]
        .map(part => part.getBoundingClientRect().height)"""
    assert min(page.evaluate(heights)) > 10
    page.emulate_media(media="screen")
    assert shown(page) == ["third", "fourth"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown(page) == ["first", "second", "third", "fourth"]
    assert part(page, 0, ".answer").inner_text().startswith("Measured: 41.9 %.")


def test_words_that_are_looked_for_are_found_where_they_wait(opens):
    page = opens(query="#:~:text=It%20answers")  # the browser's own search, from an address
    page.wait_for_function("document.querySelector('.answer').textContent")
    assert shown(page) == ["first", "third", "fourth"]
    assert part(page, 0, ".answer").inner_text().startswith("Measured: 41.9 %.")


def test_a_link_leads_to_what_waits(opens):
    page = opens()
    page.locator(".link").click()
    page.wait_for_function("document.querySelector('.answer').textContent")
    assert shown(page) == ["first", "third", "fourth"]
    page = opens(query="#inside")
    assert shown(page) == ["first", "third", "fourth"]


def test_without_javascript_nothing_waits(browser, tmp_path):
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    for name in ("first", "second", "third", "fourth"):
        assert page.locator(f".{name}").is_visible()
    assert page.get_by_role("button").count() == 0
    assert page.get_by_text("How many of 100 drawings").is_visible()
    context.close()


def test_in_a_notebook_nothing_waits(opens):
    page = opens(PAGE.replace("<section", "<div").replace("</section", "</div"))
    assert shown(page) == ["first", "second", "third", "fourth"]
    part(page, 0, ".quiet").click()
    assert part(page, 0, ".answer").inner_text().startswith("Measured: 41.9 %.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_can_be_read(opens, scheme):
    page = opens(width=390, scheme=scheme)
    page.add_style_tag(
        content="@media (prefers-color-scheme: dark) { body { background: #121212 } }"
    )
    for number in range(2):
        part(page, number, "input").first.click()
        assert faint_text(page, ".prediction *") == []
        part(page, number, ".show").click()
    assert faint_text(page, ".prediction *") == []
    assert overhang(page) <= 0
    for name in ("you", "measured"):
        box = part(page, 0, f".{name}.text").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_nothing_is_kept(opens):
    page = opens()
    part(page, 1, "input").first.check()
    part(page, 1, ".show").click()
    page.reload()
    assert shown(page) == ["third", "fourth"]
    assert (
        page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    )
    assert part(page, 1, "input:checked").count() == 0


def test_planted_faults_are_noticed(opens):
    """So that the tests above cannot pass because nothing is concealed, or nothing comes back."""
    never = PAGE.replace('setAttribute("hidden", "until-found")', "normalize()")
    assert shown(opens(never)) == ["first", "second", "third", "fourth"]
    page = opens(PAGE.replace("part.hidden = false;", ""))
    part(page, 0, ".quiet").click()
    assert shown(page) == ["third", "fourth"]


# The chapters


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_asks_two_to_four_times_in_cells_whose_code_is_folded(name):
    cells = nbformat.read(ROOT / "chapters" / f"{name}.ipynb", as_version=4).cells
    asked = [cell for cell in cells if re.search(r"^prediction\(", cell.source, re.M)]
    assert 2 <= len(asked) <= 4
    assert all("hide-input" in cell.metadata.get("tags", []) for cell in asked)


@each_chapter
def test_what_waits_on_a_page_comes_when_it_is_asked_for(reader, name):
    visit = reader.opens(name)
    page = visit.page
    asked, waits = page.locator(".prediction"), page.locator("[hidden=until-found]")
    before = waits.count()
    assert asked.count() >= 2 and before >= asked.count()
    for number in range(asked.count()):
        asked.nth(number).get_by_role("button", name="Show without a guess").click()
        assert asked.nth(number).locator(".answer").inner_text()
    assert waits.count() == 0 and visit.problems == []
