"""How the built pages look: figures in the dark, words that explain themselves, what is folded.

What each check finds is shown on a small page that is wrong.
"""

import base64
import colorsys
import io
import subprocess
import sys
from operator import sub
from pathlib import Path

import pytest
import test_pages
import yaml
from PIL import Image
from test_pages import CHAPTERS, ROOT, Visit, each_chapter, each_scheme, faint_text, overhang

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import course

book, reader = test_pages.book, test_pages.reader  # the fixtures
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]


# The order of a page

SEEN = """node => node.checkVisibility({opacityProperty: true, visibilityProperty: true})
    && !node.closest('details:not([open]), .toggle-hidden')"""
CODE = f"""() => {{ const seen = {SEEN}, article = document.querySelector('article');
    const height = node => node.getBoundingClientRect().height;
    const cells = [...article.querySelectorAll('.cell_input pre')].filter(seen);
    const rest = cells.filter(node => !node.closest('.tag_algorithm'));
    return {{ share: rest.reduce((sum, node) => sum + height(node), 0) / height(article),
        algorithms: cells.length - rest.length }}; }}"""
FIRST = """() => { const article = document.querySelector('article'), found = [];
    for (const node of article.querySelectorAll('p, img, svg, canvas, pre, details, h2')) {
        if (node.tagName === 'P' && node.textContent.split(' ').length > 12) found.push('words');
        else if (/IMG|SVG|CANVAS/i.test(node.tagName)) found.push('picture');
        else if (/PRE|DETAILS/.test(node.tagName)) found.push('code');
        if (found.at(-1) === 'picture') break;
    }
    return found; }"""


def code_of(page):
    """How much of a page is code that can be seen, the algorithm apart, nothing concealed."""
    unasked = page.locator(".prediction .quiet:visible")
    while unasked.count():
        unasked.first.click()
    return page.evaluate(CODE)


@each_chapter
def test_code_takes_at_most_a_quarter_of_a_page_and_the_algorithm_is_never_folded(reader, name):
    code = code_of(reader.sees(name).page)
    assert 0 < code["share"] <= 0.25
    assert code["algorithms"] >= 1


@each_chapter
def test_words_come_before_the_first_picture_and_no_code_before_either(reader, name):
    found = reader.sees(name).page.evaluate(FIRST)
    assert found[0] == "words" and "code" not in found and found[-1] == "picture"


def test_a_page_that_begins_with_code_is_noticed(browser, tmp_path):
    paragraph = f"<p>{'word ' * 20}</p>"
    cell = (
        '<div class="cell"><div class="cell_input"><pre style="height: 900px">x</pre></div></div>'
    )
    path = tmp_path / "page.html"
    path.write_text(f"<article><h1>A</h1>{cell}{paragraph}<canvas></canvas></article>")
    with Visit(browser, path) as visit:
        assert visit.page.evaluate(FIRST) == ["code", "words", "picture"]
        code = code_of(visit.page)
        assert code["share"] > 0.25 and code["algorithms"] == 0


# Figures


def picture_of(page):
    """What is seen of a page, or of an element, as an image."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def ground_of(page):
    """The colour of the page behind its text."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


KINDS = ("figure img", ".moving > img", ".cell_output > img", ".text_html > img")


def corners(image):
    """The colours just within the corners of a picture."""
    right, low = image.width - 4, image.height - 4
    return [image.getpixel(point) for point in ((3, 3), (right, 3), (3, low), (right, low))]


def bright_corners(page):
    """Of the first figure of each kind, corners that are not the ground of the page.

    A difference that no eye sees is none.
    """
    ground, found = ground_of(page), {}
    for kind in KINDS:
        figures = page.locator(f"article {kind}").all()
        if figure := next((figure for figure in figures if figure.is_visible()), None):
            seen = corners(picture_of(figure))
            found[kind] = [c for c in seen if max(map(abs, map(sub, c, ground))) > 3]
    return found


@each_chapter
def test_in_the_dark_a_figure_has_the_ground_of_its_page(reader, name):
    found = bright_corners(reader.sees(name, scheme="dark").page)
    assert found
    assert max(map(len, found.values())) < 3, found  # a line may run into one corner or two


@each_scheme
def test_a_sheet_to_draw_on_has_the_ground_of_its_page_and_ink_that_can_be_seen(reader, scheme):
    page = reader.opens("intro", scheme=scheme).page
    for canvas in (".pad", ".seen", ".tray canvas"):
        sheet = page.locator(f".drawing {canvas}").first
        sheet.scroll_into_view_if_needed()
        seen, ground = picture_of(sheet), ground_of(page)
        assert contrast(seen.getpixel((3, 3)), ground) < 1.2, canvas
        ink = max(
            contrast(colour, ground) for _, colour in seen.getcolors(seen.width * seen.height)
        )
        assert ink > 10, canvas


def html_with(picture, *, theme="dark"):
    """A page in the book's style with one figure."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    style = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")
    return (
        f"<html data-theme='{theme}'><style>{style} body {{ background: #121212 }}</style>"
        f"<body class='bd-content'><article class='bd-article'><figure><img alt='a' src='{uri}'>"
        "</figure></article></body></html>"
    )


def shown(browser, tmp_path, colours):
    """The colours that a figure of these colours is shown in, in the dark."""
    picture = Image.new("RGB", (60 * len(colours), 60), "white")
    for index, colour in enumerate(colours):
        picture.paste(Image.new("RGB", (40, 40), colour), (60 * index + 10, 10))
    (tmp_path / "dark.html").write_text(html_with(picture))
    with Visit(browser, tmp_path / "dark.html", scheme="dark") as visit:
        left, top, *_ = visit.page.evaluate(
            "Object.values(document.querySelector('img').getBoundingClientRect().toJSON())"
        )
        seen = picture_of(visit.page)
        points = [(int(left) + 60 * i + 30, int(top) + 30) for i in range(len(colours))]
        return [seen.getpixel(point) for point in points]


def hue(colour):
    return 360 * colorsys.rgb_to_hls(*(part / 255 for part in colour))[0]


def light(colour):
    """Relative luminance, as WCAG defines it."""
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, other):
    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def rgb(code):
    return tuple(bytes.fromhex(code.removeprefix("#")))


def test_in_the_dark_a_colour_keeps_its_name_and_its_contrast(browser, tmp_path):
    """Blue stays blue; what could be told from white can be told from the ground."""
    from metalearn_lite.plotting import COLOURS

    codes = {name: rgb(code) for name, code in COLOURS.items()}
    seen = dict(zip(codes, shown(browser, tmp_path, list(codes.values())), strict=True))
    for name, colour in codes.items():
        if max(colour) - min(colour) > 30:  # greys have no hue
            assert abs(hue(seen[name]) - hue(colour)) < 15, name
        before = contrast(colour, (255, 255, 255))
        assert contrast(seen[name], (18, 18, 18)) > min(before, 4.5), name


def test_in_the_dark_labels_can_be_read_and_white_is_gone(browser, tmp_path):
    """Black and the grey of labels have the contrast of text; white is the ground itself."""
    black, grey, white = shown(browser, tmp_path, [(0, 0, 0), (100, 100, 100), (255, 255, 255)])
    assert contrast(black, (18, 18, 18)) > 15 and contrast(grey, (18, 18, 18)) > 4.5
    assert white == (18, 18, 18)


def test_a_figure_that_stays_white_is_noticed(browser, tmp_path):
    page = html_with(Image.new("RGB", (200, 200), "white"), theme="light")
    (tmp_path / "wrong.html").write_text(page)
    with Visit(browser, tmp_path / "wrong.html") as visit:
        assert bright_corners(visit.page) == {"figure img": [(255, 255, 255)] * 4}


# Words that explain themselves


@pytest.fixture
def term(reader, name):
    """The first word of a chapter that explains itself, with its explanation."""
    page = reader.sees(name).page
    word = page.locator(".explained").first
    word.scroll_into_view_if_needed()
    page.mouse.move(0, 0)  # it may have been left where the word is now
    yield page, word.locator("a"), word.locator(".definition")
    page.mouse.move(0, 0)
    word.locator("a").blur()


@each_chapter
def test_a_word_is_explained_by_mouse_and_keyboard_and_escape_closes(term):
    page, word, definition = term
    assert not definition.is_visible()
    word.hover()
    assert definition.is_visible() and len(definition.inner_text()) > 20
    definition.hover()  # can be reached, to select or to enlarge
    assert definition.is_visible()
    page.keyboard.press("Escape")
    assert not definition.is_visible()
    page.mouse.move(0, 0)
    page.wait_for_timeout(50)
    word.focus()
    assert definition.is_visible()
    page.keyboard.press("Escape")
    assert not definition.is_visible()
    word.blur()
    page.wait_for_timeout(50)
    word.focus()
    assert definition.is_visible()


@each_chapter
def test_a_screen_reader_hears_the_definition(term):
    _, word, definition = term
    assert definition.get_attribute("role") == "tooltip"
    assert word.get_attribute("aria-describedby") == definition.get_attribute("id")


@each_scheme
@each_chapter
def test_all_explanations_fit_a_telephone_and_can_be_read(reader, name, scheme):
    page = reader.opens(name, width=390, scheme=scheme).page
    page.add_style_tag(content=".explained > .definition { display: block !important }")
    boxes = page.locator(".explained > .definition").evaluate_all(
        "nodes => nodes.map(n => n.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    assert len(boxes) >= 5
    assert min(boxes)[0] >= 0 and max(right for _, right in boxes) <= 390
    assert overhang(page) <= 0
    assert faint_text(page, ".explained, .explained *") == []


# What is folded


@each_scheme
@each_chapter
def test_an_opened_answer_shows_its_verdict_by_a_sign_a_line_and_a_colour(reader, name, scheme):
    page = reader.sees(name, scheme=scheme).page
    options = page.locator(".question details").evaluate_all(
        """nodes => nodes.map(node => {
            const sign = () => getComputedStyle(node.querySelector('summary'), '::after');
            const closed = sign().content, said = node.querySelector('p').textContent;
            node.open = true;
            const opened = sign(), {borderTopStyle, borderTopColor} = getComputedStyle(node);
            const look = [closed, opened.content, borderTopStyle, borderTopColor, opened.color];
            node.open = false;
            return [said.startsWith('Right.'), ...look];
        })"""
    )
    assert len(options) >= 9
    right = {tuple(look) for is_right, *look in options if is_right}
    wrong = {tuple(look) for is_right, *look in options if not is_right}
    ((closed, sign, line, colour, ink),), ((_, other_sign, other_line, other_colour, _),) = (
        right,
        wrong,
    )
    assert closed == "none" and sign == '"✓" / "right"' and other_sign == '"✗" / "not quite"'
    assert line != other_line and colour != other_colour
    assert all(contrast(rgb_of(c), ground_of(page)) >= 4.5 for c in (ink, other_colour))


def rgb_of(css):
    return tuple(int(part) for part in css.removeprefix("rgb(").removesuffix(")").split(","))


@each_chapter
def test_a_folded_exercise_shows_its_kind_and_opens_wherever_its_line_is_clicked(reader, name):
    page = reader.sees(name).page
    exercises = page.locator("article .exercise")
    kinds = exercises.locator(".kind")
    assert set(kinds.all_inner_texts()) == {"Predict", "Implement", "Investigate"}
    first = exercises.first
    assert "toggle-hidden" in first.get_attribute("class") and kinds.first.is_visible()
    first.scroll_into_view_if_needed()
    box = kinds.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "toggle-hidden" not in first.get_attribute("class")


# The first page


@pytest.fixture
def first_page(reader):
    return reader.opens("intro").page


def test_the_map_leads_to_every_chapter_and_shows_the_core_path(first_page, reader):
    stations = first_page.locator(".course-map .station a")
    names = [link.split("/")[-1] for link in stations.evaluate_all("all => all.map(a => a.href)")]
    assert len(names) == len(set(names)) and {name[:-5] for name in names} == set(CHAPTERS)
    core = first_page.locator(".course-map li.core .station a")
    links = [link.split("/")[-1][:-5] for link in core.evaluate_all("all => all.map(a => a.href)")]
    assert links == CONFIG["core_path"]
    using = (
        reader.opens("using")
        .page.locator("article ol a")
        .evaluate_all("all => all.map(a => a.href)")
    )
    assert [link.split("/")[-1][:-5] for link in using] == CONFIG["core_path"]


def test_the_times_on_the_first_page_are_those_of_the_chapters(first_page):
    chapters = course.chapters(ROOT, CONFIG["core_path"])
    text = " ".join(first_page.locator("article").inner_text().split())
    for key in ("read:core", "read:whole", "run:whole", "pace"):
        assert course.duration(key, chapters, CONFIG["words_a_minute"]) in text


def test_three_doors_stand_before_the_map_and_contents_are_listed_once(first_page):
    doors = first_page.locator(".doors .sd-card")
    assert doors.locator(".sd-card-title").all_inner_texts() == ["Read", "Run", "Teach"]
    assert doors.first.bounding_box()["y"] < first_page.locator(".course-map").bounding_box()["y"]
    assert first_page.locator("article .toctree-wrapper a").count() == 0


@each_scheme
def test_the_first_page_can_be_read_in_every_scheme(reader, scheme):
    page = reader.opens("intro", scheme=scheme).page
    assert faint_text(page, "article :not(.headerlink)") == []


def test_the_picture_in_the_readme_is_small():
    path = ROOT / "screenshot.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.size == (1200, 900)
    assert "](screenshot.png)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_without_a_built_page_the_camera_says_what_to_do():
    command = [sys.executable, ROOT / "tools" / "screenshot.py", "--page", "no-such-page"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "run `make book`, or name a page of _toc.yml" in done.stderr
