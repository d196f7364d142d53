"""Explorers on the page: pictures drawn beforehand, moved by slider, list, finger and key."""

import json
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
from test_pages import CHAPTERS, ROOT, Visit, bad_images, faint_text, overhang

from metalearn_lite.widgets import explorer


def draw(points, kind):
    fig, ax = plt.subplots(figsize=(4, 2))
    ax.plot(range(points + 1), "-" if kind == "line" else "o")
    return fig


HTML = explorer(
    draw,
    label="Points in a row",
    page={"points": [1, 4, 9], "kind": ["line", "dots"]},
    points=(0, 10, 1),
    kind=["line", "dots"],
)._repr_mimebundle_()["text/html"]


@pytest.fixture
def opens(browser, tmp_path):
    """Open a page, of which every window is closed at the end."""
    visits = []

    def visit(html=HTML, **options):
        path = tmp_path / "page.html"
        path.write_text(f"<!DOCTYPE html><meta charset=utf-8><main>{html}</main>", "utf-8")
        visits.append(Visit(browser, path, **options))
        return visits[-1].page

    yield visit
    assert [visit.problems for visit in visits if visit.problems] == []
    for one in visits:
        one.context.close()


def seen(page):
    """What the picture says of itself, and the picture."""
    image = page.locator(".picture-grid img")
    assert page.locator(".caption").inner_text() == image.get_attribute("alt")
    return image.get_attribute("alt").removeprefix("Points in a row: "), image.get_attribute("src")


def each_pair(page):
    """All pictures by what they say, moved by keyboard alone."""
    found = {}
    page.keyboard.press("Tab")
    for _ in range(2):
        page.keyboard.press("Home")
        for _ in range(3):
            name, picture = seen(page)
            found[name] = picture
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+Tab")
    return found


PAIRS = [f"points = {p}, kind = {k}" for k in ("line", "dots") for p in (1, 4, 9)]


def test_every_picture_can_be_reached_by_keyboard_alone(opens):
    page = opens()
    assert seen(page)[0] == "points = 4, kind = line"
    found = each_pair(page)
    assert list(found) == PAIRS and len(set(found.values())) == 6
    assert bad_images(page) == []


def test_what_changes_is_told_politely(opens):
    page = opens()
    slider = page.locator(".picture-grid input")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "9"
    assert page.locator(".picture-grid output").inner_text() == "9"
    assert page.locator(".caption").get_attribute("aria-live") == "polite"
    for name in ("points", "kind"):
        assert page.get_by_label(name, exact=True).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_can_be_read(opens, scheme):
    page = opens(width=390, scheme=scheme)
    page.add_style_tag(
        content="@media (prefers-color-scheme: dark) { body { background: #121212; color: #eee } }"
    )
    assert overhang(page) <= 0
    assert faint_text(page, ".picture-grid *") == []
    page.locator(".picture-grid input").click(position={"x": 3, "y": 8})
    page.locator(".picture-grid select").select_option("dots")
    assert seen(page)[0] == "points = 1, kind = dots"


def test_without_javascript_there_is_one_picture(browser, tmp_path):
    (tmp_path / "page.html").write_text(HTML, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("img").get_attribute("alt") == "Points in a row: points = 4, kind = line"
    assert page.locator("img").is_visible() and page.locator("input").count() == 0
    context.close()


def test_a_grid_that_is_laid_out_wrongly_is_noticed(opens):
    found = each_pair(opens())
    turned = HTML.replace("sum * grid.values[axis].length + index", "sum + index")
    assert turned != HTML and each_pair(opens(turned)) != found


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_chapter_explores_can_be_explored_on_its_page(name):
    notebook = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if re.search(r"^explorer\(", "".join(cell["source"]), re.M):
            (output,) = cell["outputs"]
            html = "".join(output["data"]["text/html"])
            grid = json.loads(re.search(r"const grid = (.*);\n", html)[1])
            assert len(html) < 400_000 and len(set(grid["pictures"])) >= 4
            assert "In Jupyter" not in html
