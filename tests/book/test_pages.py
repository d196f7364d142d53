"""The built book as a reader without a network meets it: opened from disk in a browser.

Needs Chromium or Chrome (CHROMIUM names it if it is not on the path) and a built book;
without either the tests skip. What each check finds is shown on a page that is wrong.
"""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))


def all_pages():
    """Return the names of all pages, chapters first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    listed += [section for chapter in listed for section in chapter.get("sections", ())]
    found = [page["file"] for page in listed]
    others = [name for name in found if not name.startswith("chapters/")]
    assert sorted(set(found) - set(others)) == [f"chapters/{name}" for name in CHAPTERS]
    tools = ["search", "genindex", "py-modindex", "prf-prf"]
    return [*sorted(set(found) - set(others)), toc["root"], *others, *tools]


# of a page that holds nothing but what is tested
HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'


class Visit:
    """A window in which a page is open, with all that went wrong since it was opened."""

    def __init__(self, browser, path, *, width=1200, scheme="light", query="", **window):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **window
        )
        self.problems = []
        self.page = self.context.new_page()
        self.context.route(re.compile(r"^(?!file:|data:|blob:)"), self._refuse)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", lambda r: self.problems.append(f"failed: {r.url}"))
        self.open(path, query)

    def open(self, path, query=""):
        """Open a page, in the place of the one that is open."""
        self.problems.clear()
        self.page.goto(path.as_uri() + query, wait_until="load")
        self.path = path

    def _refuse(self, route):
        self.problems.append(f"network: {route.request.url}")
        route.abort()

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


class Reader:
    """Someone who reads page after page, with a window for each width and scheme of colours."""

    def __init__(self, browser):
        self.browser, self.windows = browser, {}

    def opens(self, name, *, width=1200, scheme="light"):
        """Open a page of the book anew."""
        path = HTML / f"{name}.html"
        if (width, scheme) in self.windows:
            self.windows[width, scheme].open(path)
        else:
            self.windows[width, scheme] = Visit(self.browser, path, width=width, scheme=scheme)
        return self.windows[width, scheme]

    def sees(self, name, *, width=1200, scheme="light"):
        """Return a page as an earlier test has left it, or open it."""
        visit = self.windows.get((width, scheme))
        if visit and visit.path == HTML / f"{name}.html":
            return visit
        return self.opens(name, width=width, scheme=scheme)


@pytest.fixture(scope="module")
def book():
    """The folder of the built book."""
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not built: run `make book`")
    return HTML


@pytest.fixture(scope="module")
def reader(browser, book):
    reader = Reader(browser)
    yield reader
    for visit in reader.windows.values():
        visit.context.close()


# tests of one page stand together, and most need not open it again
each_page = pytest.mark.parametrize("name", all_pages(), scope="module")
each_chapter = pytest.mark.parametrize(
    "name", [f"chapters/{name}" for name in CHAPTERS], scope="module", ids=CHAPTERS
)
STEPPED = [
    name
    for name in CHAPTERS
    if "stepper(" in (ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8")
]
each_stepped = pytest.mark.parametrize(
    "name", [f"chapters/{name}" for name in STEPPED], scope="module", ids=STEPPED
)
each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])


RAW = re.compile(r"\{(?:glue|numref|ref|doc|cite|eq|prf:ref|term|func|class)[^}]*\}`|\\\(|\$\$")


def raw_markup(page):
    """Markup that should have been turned into text; code may hold what it likes."""
    text = page.evaluate(
        """() => { const copy = document.querySelector('main, body').cloneNode(true);
        copy.querySelectorAll('pre, code, script, style').forEach(node => node.remove());
        return copy.textContent; }"""
    )
    return RAW.findall(text)


def untypeset(page):
    """Equations that MathJax did not turn into boxes."""
    script = """() => [...document.querySelectorAll('.math')]
        .filter(node => !node.querySelector('mjx-container')).map(node => node.textContent)"""
    return page.evaluate(script)


def bad_images(page):
    """Images that did not load or that say nothing to those who cannot see them."""
    script = """() => [...document.images].filter(image => image.getAttribute('src'))
        .filter(image => !image.naturalWidth || !(image.getAttribute('alt') || '').trim()
            || /^(\\.\\.\\/)*_images\\//.test(image.getAttribute('alt')))
        .map(image => image.src.slice(0, 80) + ' alt=' + image.getAttribute('alt'))"""
    return page.evaluate(script)


def overhang(page):
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


CUT = """() => {
    const folds = [...document.querySelectorAll('article details:not([open])')];
    folds.forEach(fold => { fold.open = true; });
    const wider = node => node.scrollWidth > node.clientWidth + 1;
    const found = kind => [...document.querySelectorAll(`article ${kind}`)].filter(wider)
        .map(node => node.closest('[id]')?.id + ': ' + node.textContent.trim().slice(0, 60));
    const cut = {code: found('pre'), table: found('table'),
                 equation: found('mjx-container[display="true"]')};
    folds.forEach(fold => { fold.open = false; });
    return cut;
}"""


def cut(page):
    """What does not stand whole in its box, by kind; of folded parts, what will not when opened."""
    wait_for_equations(page)
    return {kind: texts for kind, texts in page.evaluate(CUT).items() if texts}


SMALL = """least => [...document.querySelectorAll('article img')]
    .filter(image => image.naturalWidth > 200 && image.width)
    .filter(image => image.width / image.naturalWidth * 9 * 120 / 72 < least)
    .map(image => image.alt.slice(0, 60))"""


def small_letters(page):
    """Figures whose letters of 9 points, drawn at 120 dots an inch, are smaller than 7 pixels.

    What tells most, ticks and names, has 10 points or more, and is then nearly 8 pixels high.
    """
    return page.evaluate(SMALL, 7)


BROKEN_NAMES = """() => {
    const found = [];
    for (const name of document.querySelectorAll('article :is(.sig, code) .pre')) {
        for (const part of name.childNodes) {
            const range = document.createRange();
            range.selectNodeContents(part);
            const boxes = [...range.getClientRects()].filter(box => box.width > 1);
            const lines = new Set(boxes.map(box => Math.round(box.top)));
            if (part.nodeType === 3 && lines.size > 1) found.push(part.data);
        }
    }
    return found; }"""


def broken_names(page):
    """Names of code that break within a word; a path or an option may break at a hyphen."""
    return [name for name in page.evaluate(BROKEN_NAMES) if "-" not in name]


BESIDE = """() => [...document.querySelectorAll('article .eqno')].filter(number => {
    const equation = number.parentElement.querySelector('mjx-container');
    const [one, other] = [number, equation].map(node => node.getBoundingClientRect());
    const seen = number.checkVisibility({opacityProperty: true, visibilityProperty: true});
    return seen && other.height && other.bottom > one.top + 1;
}).map(number => number.textContent)"""


def numbers_beside_equations(page):
    """Numbers of equations that take from its width instead of standing below."""
    wait_for_equations(page)
    return page.evaluate(BESIDE)


def search_fields(page):
    """Fields and buttons to search with that can be seen."""
    fields = page.locator(".search-button__button, form.bd-search, #search-documentation")
    return [field for field in fields.all() if field.is_visible()]


def faint_text(page, within):
    """Texts whose contrast with the ground behind them is below 4.5 (WCAG AA)."""
    script = """within => {
        const parts = colour => (colour.match(/[0-9.]+/g) || []).map(Number);
        const light = rgb => rgb.slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = node => {
            const layers = [];
            for (let at = node; at; at = at.parentElement)
                layers.unshift(parts(getComputedStyle(at).backgroundColor));
            return layers.reduce((below, [r, g, b, a = 1]) =>
                [r, g, b].map((v, i) => v * a + below[i] * (1 - a)), [255, 255, 255]);
        };
        const contrast = node => {
            const pair = [light(parts(getComputedStyle(node).color)), light(ground(node))];
            return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        };
        const own = node => [...node.childNodes].some(c => c.nodeType === 3 && c.data.trim());
        return [...document.querySelectorAll(within)]
            .filter(n => own(n) && n.getClientRects().length && !n.closest('[disabled]'))
            .filter(n => contrast(n) < 4.5).map(n => n.textContent.trim());
    }"""
    return page.evaluate(script, within)


def wait_for_equations(page):
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise.then(() => true)")


# The pages


@each_page
def test_a_page_loads_whole_without_a_network(reader, name):
    visit = reader.opens(name)
    wait_for_equations(visit.page)
    visit.page.wait_for_timeout(200)
    assert visit.problems == []
    assert untypeset(visit.page) == []
    assert raw_markup(visit.page) == []
    assert bad_images(visit.page) == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (390, "dark"), (320, "light")], scope="module"
)
@each_page
def test_a_page_fits_a_telephone(reader, name, width, scheme):
    page = reader.sees(name, width=width, scheme=scheme).page
    wait_for_equations(page)
    assert overhang(page) <= 0
    assert page.evaluate("document.documentElement.dataset.theme") == scheme


@each_page
def test_on_a_wide_window_nothing_is_cut_and_there_is_one_search_field(reader, name):
    page = reader.sees(name).page
    assert cut(page) == {}
    assert len(search_fields(page)) == 1


@each_page
def test_on_a_telephone_only_code_scrolls(reader, name):
    page = reader.sees(name, width=390).page
    assert set(cut(page)) <= {"code"}
    assert len(search_fields(page)) == 1
    assert broken_names(page) == []
    assert numbers_beside_equations(page) == []


@each_chapter
def test_on_a_telephone_the_letters_in_a_figure_can_be_read(reader, name):
    assert small_letters(reader.sees(name, width=390).page) == []


@each_chapter
def test_on_paper_everything_is_open(reader, name):
    page = reader.sees(name).page
    hidden = """() => [...document.querySelectorAll('article details > :not(summary), '
        + 'article .toggle-hidden > :not(.admonition-title)')]
        .filter(part => part.matches(':not(style):not(button)'))
        .filter(part => part.getBoundingClientRect().height < 1
            || !part.checkVisibility({opacityProperty: true, visibilityProperty: true,
                                      contentVisibilityAuto: true}))
        .length"""
    assert page.evaluate(hidden) > 10
    page.emulate_media(media="print")
    on_paper = page.evaluate(hidden)
    page.emulate_media(media="screen")
    assert on_paper == 0


def test_the_notation_has_equations_to_typeset(reader):
    """So that the check above cannot pass because nothing was found to check."""
    page = reader.sees("notation").page
    wait_for_equations(page)
    assert page.locator("mjx-container").count() > 20


def test_every_internal_link_leads_somewhere(book):
    anchors, links = {}, []
    for path in book.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        anchors[path] = set(re.findall(r'\bid="([^"]+)"', text))
        links += [(path, link) for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text)]
    broken = []
    for path, link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (path.parent / target.partition("?")[0]).resolve() if target else path
        if not file.exists() or (anchor and file in anchors and anchor not in anchors[file]):
            broken.append(f"{path.name}: {link}")
    assert len(links) > 100
    assert broken == []


def test_search_finds_a_word_without_a_network(browser, book):
    with Visit(browser, book / "search.html", query="?q=episode") as visit:
        for title in ("Few examples", "Glossary"):  # one result comes in after the other
            visit.page.locator("#search-results", has_text=title).wait_for(timeout=10_000)
        assert visit.problems == []


# What moves


@pytest.fixture
def chapter(reader, name):
    visit = reader.sees(name)
    yield visit.page
    assert visit.problems == []


@pytest.fixture
def first_chapter(reader):
    visit = reader.opens("chapters/few_examples")
    yield visit.page
    assert visit.problems == []


@each_chapter
def test_every_chapter_has_something_to_move(chapter):
    assert chapter.locator("[id^=stepper-], .moving.explorable").count()


@each_stepped
def test_the_stepper_steps_by_button_slider_and_key(chapter):
    unasked = chapter.locator(".prediction .quiet:visible")
    while unasked.count():  # the stepper may stand behind a prediction
        unasked.first.click()
    stepper = chapter.locator("[id^=stepper-]").first
    image, caption = stepper.locator("img"), stepper.locator(".caption")
    slider = stepper.locator("input[type=range]")
    seen = [(image.get_attribute("src"), caption.inner_text())]
    stepper.get_by_role("button", name="Step on").click()
    seen.append((image.get_attribute("src"), caption.inner_text()))
    slider.focus()
    chapter.keyboard.press("ArrowRight")
    seen.append((image.get_attribute("src"), caption.inner_text()))
    assert len({src for src, _ in seen}) == len({text for _, text in seen}) == 3
    assert slider.get_attribute("aria-valuetext") == seen[2][1]
    chapter.keyboard.press("Home")
    assert (image.get_attribute("src"), caption.inner_text()) == seen[0]


def test_the_stepper_plays_and_pauses(first_chapter):
    stepper = first_chapter.locator("[id^=stepper-]").first
    caption = stepper.locator(".caption")
    before = caption.inner_text()
    stepper.get_by_role("button", name="Play").click()
    first_chapter.wait_for_timeout(1500)
    assert caption.inner_text() != before
    stepper.get_by_role("button", name="Pause").click()
    paused = caption.inner_text()
    first_chapter.wait_for_timeout(1500)
    assert caption.inner_text() == paused


def test_the_game_can_be_played_by_keyboard_to_the_end(first_chapter):
    game = first_chapter.locator("[id^=game-]").first
    rounds = int(game.locator(".round").inner_text().split()[-1])
    game.get_by_role("button", name="Character 1").focus()
    for _ in range(rounds):
        first_chapter.keyboard.press("3")
        assert "You have" in game.locator(".feedback").inner_text()
        last = game.locator(".feedback").inner_text()
        first_chapter.keyboard.press("Enter")
    assert "nearest pixel" in last and "guessing 20 %" in last
    assert game.locator(".round").inner_text() == f"Round 1 of {rounds}"


def test_the_game_knows_right_from_wrong(first_chapter):
    """Of the five choices in the first round exactly one is right."""
    game = first_chapter.locator("[id^=game-]").first
    verdicts = []
    for choice in range(5):
        first_chapter.reload()
        game.get_by_role("button", name=f"Character {choice + 1}").click()
        verdicts.append(game.locator(".feedback").inner_text().startswith("Right"))
    assert sum(verdicts) == 1


@each_scheme
@each_chapter
def test_what_moves_can_be_read_on_its_ground(reader, name, scheme):
    page = reader.sees(name, scheme=scheme).page
    assert page.locator(".moving").count() >= 1
    assert faint_text(page, ".moving *, .cell_output .text_html *") == []


def test_a_browser_shortcut_is_not_an_answer(first_chapter):
    game = first_chapter.locator("[id^=game-]").first
    game.get_by_role("button", name="Character 1").focus()
    first_chapter.keyboard.press("Control+3")
    assert game.locator(".feedback").inner_text() == ""


@each_chapter
def test_controls_have_names_for_a_screen_reader(chapter):
    nameless = chapter.evaluate(
        """() => [...document.querySelectorAll('.moving button, .moving input')]
        .filter(node => !(node.labels && node.labels.length))
        .filter(node => !(node.getAttribute('aria-label') || node.textContent).trim()).length"""
    )
    assert nameless == 0
    assert chapter.locator(".moving[role=group][aria-label]").count() >= 1


@each_chapter
def test_no_page_tells_of_sliders_that_are_not_there(chapter):
    assert chapter.get_by_text("In Jupyter there are sliders here").count() == 0


# The checks themselves


WRONG = {
    "a script from elsewhere": ("<script src='https://example.org/x.js'></script>", "network"),
    "a missing picture": ("<img src='none.png' alt='a picture'>", "failed"),
    "a script that throws": ("<script>throw Error('broken')</script>", "script"),
    "a script that complains": ("<script>console.error('oh no')</script>", "console"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_page_with_a_fault_is_noticed(browser, tmp_path, fault):
    body, kind = WRONG[fault]
    (tmp_path / "wrong.html").write_text(f"<main>{body}</main>")
    with Visit(browser, tmp_path / "wrong.html") as visit:
        visit.page.wait_for_timeout(100)
        assert any(problem.startswith(kind) for problem in visit.problems)


def test_the_checks_on_a_page_find_what_they_look_for(browser, tmp_path):
    (tmp_path / "wrong.html").write_text(
        "<main><span class='math'>\\(x\\)</span> {glue:text}`name`"
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=' alt=''>"
        "<div style='width: 900px'>wide</div><p style='color: #999'>faint</p></main>"
        "<article id='here'><details><summary>more</summary>"
        "<pre style='overflow: auto; width: 9em'>long lines of code</pre></details></article>"
    )
    with Visit(browser, tmp_path / "wrong.html", width=390) as visit:
        assert untypeset(visit.page) == ["\\(x\\)"]
        assert raw_markup(visit.page) == ["\\(", "{glue:text}`"]
        assert len(bad_images(visit.page)) == 1
        assert overhang(visit.page) > 0
        assert faint_text(visit.page, "p") == ["faint"]
        visit.page.evaluate("document.querySelector('.math').remove()")  # no MathJax to wait for
        assert cut(visit.page) == {"code": ["here: long lines of code"]}
        assert not visit.page.locator("details[open]").count()
        assert search_fields(visit.page) == []


PICTURE = "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='9'/>"


def test_what_cannot_be_read_on_a_telephone_is_noticed(browser, tmp_path):
    pictures = "".join(
        f'<img style="width: 300px" alt="{width}" src="data:image/svg+xml,{PICTURE.format(width)}">'
        for width in (500, 700)
    )
    (tmp_path / "wrong.html").write_text(
        f"{HEAD}<article>{pictures}<div style='width: 3em; overflow-wrap: anywhere'><code>"
        "<span class='pre'>a_<wbr>word</span> <span class='pre'>conflicting</span></code></div>"
        "<div style='display: flex'><mjx-container>x</mjx-container>"
        "<span class='eqno'>(1)</span></div>"
        "<div><mjx-container>x</mjx-container><p class='eqno'>(2)</p></div></article>"
    )
    with Visit(browser, tmp_path / "wrong.html", width=390) as visit:
        assert small_letters(visit.page) == ["700"]
        assert broken_names(visit.page) == ["conflicting"]
        assert numbers_beside_equations(visit.page) == ["(1)"]
