"""The decks of slides: what they take from the chapters, and how they look in a browser.

The tests build the decks themselves. Those that open them need Chromium, as in test_pages.
"""

import base64
import importlib.util
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from test_pages import Visit, bad_images, untypeset

ROOT = Path(__file__).resolve().parents[2]
SLIDES = ROOT / "slides"
DECKS = sorted(path.stem for path in SLIDES.glob("*.md") if path.stem != "index")
ROLE = re.compile(r"\{number\}`([^`]*)`")
PLACEHOLDER = re.compile(r"\{(?:number|chapter-\w+)\}[` ]*([\w]+):")

each_deck = pytest.mark.parametrize("deck", DECKS)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


parts = load(SLIDES / "chapter_parts.py")
build_slides = load(ROOT / "tools" / "build_slides.py")


def source(deck):
    return (SLIDES / f"{deck}.md").read_text(encoding="utf-8")


def slides_of(deck):
    """The slides of a deck as title and text, the title slide first."""
    blocks = re.split(r"^#{1,2} ", source(deck), flags=re.MULTILINE)[1:]
    return [(block.partition("\n")[0], block.partition("\n")[2]) for block in blocks]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    target = tmp_path_factory.mktemp("slides") / "slides"
    assert build_slides.build(SLIDES, target) == 0
    return target


# The decks as files


def test_there_is_a_deck_for_each_part_and_the_index_links_to_it():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    taught = [part["caption"] for part in toc["parts"] if part.get("numbered")]
    titles = [slides_of(deck)[0][0] for deck in DECKS]
    assert sorted(titles) == sorted(taught)
    assert re.findall(r"\]\((\w+)\.md\)", source("index")) == [
        DECKS[titles.index(caption)] for caption in taught
    ]


@each_deck
def test_a_deck_has_what_a_session_needs(deck):
    slides = slides_of(deck)
    titles = [title for title, _ in slides]
    assert 12 <= len(slides) <= 18
    assert sum(title.startswith("Predict") for title in titles) >= 2
    for kind in ("not show", "failure", "Exercise"):
        assert [title for title in titles if kind in title], kind
    assert titles[-1] == "Summary"
    text = source(deck)
    assert text.count("{chapter-figure}") >= 4
    assert "{chapter-equation}" in text and "{chapter-algorithm}" in text


@each_deck
def test_every_slide_has_notes_for_the_teacher(deck):
    for title, text in slides_of(deck):
        notes = re.findall(r"```\{revealjs-notes\}\n(.+?)\n```", text, flags=re.DOTALL)
        assert len(notes) == 1 and len(notes[0].split()) >= 20, title
        assert "$" not in notes[0], f"{title}: notes are not typeset"


def typed_numbers(text):
    """Numbers of a deck that stand in no role, directive, option or numbering of a list."""
    text = ROLE.sub("", text.partition("\n# ")[2])
    text = re.sub(r"^(```\{.*|:[\w-]+:.*)$|^\d+\. ", "", text, flags=re.MULTILINE)
    text = re.sub(r"(\d),(\d{3})\b", r"\1\2", text)
    return re.findall(r"\d+(?:[.,]\d+)?(?:\s*(?:%|per ?cent))?", text)


def settings(deck):
    """Whole numbers that stand in the text or the code of the chapters that a deck uses."""
    names = set(PLACEHOLDER.findall(source(deck)))
    notebooks = [nbformat.read(ROOT / "chapters" / f"{name}.ipynb", 4) for name in names]
    text = "\n".join(cell.source for notebook in notebooks for cell in notebook.cells)
    return set(re.findall(r"\d+", re.sub(r"(\d)[,_](\d{3})\b", r"\1\2", text)))


@each_deck
def test_no_result_is_typed_by_hand(deck):
    """Decimals and percentages come from roles; whole numbers are settings of the chapters."""
    typed = typed_numbers(source(deck))
    assert [number for number in typed if not number.isdigit()] == []
    assert set(typed) <= settings(deck)


def test_the_rule_for_numbers_finds_what_it_forbids():
    text = "\n# A deck\nIt has 31.4 points, 31 % or 31 per cent, in 5-way 1-shot.\n1. one\n"
    assert typed_numbers(text) == ["31.4", "31 %", "31 per cent", "5", "1"]
    roles = "\n# A deck\n{number}`maml:MAML-1` %\n```{chapter-figure} maml:a-2\n:frames: 1 2\n"
    assert typed_numbers(roles) == []


# What is taken from the chapters


def test_numbers_are_those_of_the_stored_run():
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
        glued = [o for o in outputs if "scrapbook" in o.get("metadata", {})]
        for output in glued:
            stored = output.data[parts.GLUED].strip("'")
            shown = parts.number(f"{path.stem}:{output.metadata.scrapbook.name}")
            assert shown.replace("−", "-").replace("\N{NO-BREAK SPACE}", " ") == stored
    assert (
        parts.number("few_examples:spread-5:.1f")
        == f"{parts.numbers('few_examples')['spread-5']:.1f}"
    )


def test_a_figure_has_the_picture_caption_and_description_of_its_cell():
    cells = nbformat.read(ROOT / "chapters" / "maml.ipynb", 4).cells
    (cell,) = [c for c in cells if "sines-by-step" in json.dumps(c.metadata)]
    figure = parts.figure("maml:sines-by-step")
    assert figure.caption == cell.metadata.mystnb.figure.caption
    assert figure.alt == cell.metadata.mystnb.image.alt
    (lines,) = [o.data["image/svg+xml"] for o in cell.outputs if "image/png" in o.get("data", {})]
    assert figure.uri == "data:image/svg+xml;base64," + base64.b64encode(lines.encode()).decode()


def test_all_figures_are_drawn_in_lines_and_stay_sharp_on_a_wall():
    for chapter in (path.stem for path in (ROOT / "chapters").glob("*.ipynb")):
        for name, picture in parts.figures(chapter).items():
            assert picture.uri.startswith("data:image/svg+xml;base64,"), f"{chapter}:{name}"


def test_of_a_figure_that_is_stored_in_pixels_alone_these_are_shown():
    assert parts.uri({"image/png": "aGk=\n"}) == "data:image/png;base64,aGk="
    assert parts.uri({"text/plain": "hi"}) == ""


def test_frames_are_counted_as_the_page_counts_them():
    label = "The thirty waves closest to the points given so far"
    first, third = parts.frames(f"few_examples:{label}", "1 3")
    assert (first.caption, third.caption) == ("points given: 0", "points given: 2")
    assert first.uri != third.uri and first.uri.startswith("data:image/png;base64,")


WRONG = {
    "{number}`mamal:MAML-1`": "got the chapter 'mamal': expected one of conflicting_gradients,",
    "{number}`maml:MAML-100`": "got the number 'MAML-100' of the chapter 'maml': expected one of",
    "{number}`maml:lost:.1x`": "got the format '.1x' for lost",
    "{number}`maml`": "got 'maml': expected chapter:name, as in",
    "```{chapter-figure} maml:sines\n```": "got the figure 'sines' of the chapter 'maml'",
    "```{chapter-frames} maml: Where\n:frames: 1\n```": "got the stepper 'Where'",
    "```{chapter-frames} few_examples: The thirty waves closest to the points given so far\n"
    ":frames: 7\n```": "got the frames '7': expected numbers from 1 to 6",
    "```{chapter-equation} maml:sines\n```": "got the equation 'sines' of the chapter 'maml'",
    "```{chapter-algorithm} maml:sines\n```": "got the algorithm 'sines' of the chapter 'maml'",
}


def test_a_placeholder_that_means_nothing_stops_the_build(tmp_path, capfd):
    source = tmp_path / "source"
    source.mkdir()
    lines = "# Wrong\n\n" + "\n\n".join(WRONG) + "\n"
    (source / "index.md").write_text(lines)
    assert build_slides.build(source, tmp_path / "target") != 0
    said = capfd.readouterr().err.splitlines()
    for placeholder, complaint in WRONG.items():
        line = 1 + lines[: lines.index(placeholder)].count("\n")
        (found,) = [text for text in said if complaint in text]
        assert f"index.md:{line}: " in found


def test_without_all_its_parts_there_is_no_deck(tmp_path, monkeypatch):
    monkeypatch.setattr(build_slides, "ROOT", tmp_path)
    monkeypatch.setattr(
        build_slides, "build", lambda source, target: target.mkdir(parents=True) or 1
    )
    assert build_slides.main() == 1
    assert not (tmp_path / "_build" / "slides").exists()


# The decks in a browser


def opened(visit):
    """Return the page of a deck once it is laid out and its equations are typeset."""
    visit.page.set_viewport_size({"width": 1280, "height": 720})
    visit.page.wait_for_function("window.Reveal && Reveal.isReady()")
    visit.page.evaluate("window.MathJax && MathJax.startup.promise.then(() => Reveal.layout())")
    return visit.page


def faults(page):
    """What does not fit, cannot be read or is too small on the slide that is shown."""
    script = """() => {
        const slide = Reveal.getCurrentSlide(), found = [];
        const room = slide.getBoundingClientRect();
        const note = (what, node) => found.push(what + ': ' + node.textContent.trim().slice(0, 40));
        if (slide.scrollHeight > slide.clientHeight || slide.scrollWidth > slide.clientWidth)
            note('overflow', slide);
        for (const node of slide.querySelectorAll('p, li, td, th, h1, h2, mjx-container, img')) {
            if (node.closest('aside')) continue;
            const box = node.getBoundingClientRect();
            if (box.right > room.right - 40 || box.bottom > room.bottom - 40) note('outside', node);
            if (parseFloat(getComputedStyle(node).fontSize) < 20) note('small', node);
        }
        for (const image of slide.querySelectorAll('img')) {
            const scale = Math.min(image.clientWidth / image.naturalWidth,
                image.clientHeight / image.naturalHeight);
            if (scale < 0.9) found.push('small figure: ' + scale.toFixed(2));
        }
        return found;
    }"""
    return page.evaluate(script)


RAW = re.compile(r"\{[\w:-]+\}`|```|:::|\\\(|\\\[|\$\$|\*\*")


def raw_markup(page):
    script = """() => { const copy = document.body.cloneNode(true);
        copy.querySelectorAll('script, style').forEach(node => node.remove());
        return copy.textContent; }"""
    return RAW.findall(page.evaluate(script))


@pytest.fixture(scope="module", params=DECKS)
def shown(browser, built, request):
    with Visit(browser, built / f"{request.param}.html") as visit:
        visit.deck = request.param
        opened(visit)
        yield visit


def test_a_deck_is_whole_without_a_network(shown):
    assert shown.problems == []
    assert untypeset(shown.page) == [] and shown.page.locator("mjx-container").count() > 0
    assert bad_images(shown.page) == [] and shown.page.locator("img").count() >= 4
    assert raw_markup(shown.page) == []


def test_the_right_arrow_shows_every_slide_and_each_fits(shown):
    page, seen, wrong = shown.page, [], []
    for _ in range(60):
        title = page.evaluate("Reveal.getCurrentSlide().querySelector('h1, h2').textContent")
        seen += [title] if title not in seen[-1:] else []
        wrong += [f"{title}: {fault}" for fault in faults(page)]
        page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.isLastSlide() && !Reveal.availableFragments().next")
    assert seen == [re.sub(r"[`*]", "", title) for title, _ in slides_of(shown.deck)]
    assert wrong == []
    assert shown.problems == []


def test_the_index_leads_to_every_deck(browser, built):
    with Visit(browser, built / "index.html") as visit:
        page = opened(visit)
        links = page.evaluate("[...document.querySelectorAll('.slides a')].map(a => a.href)")
        assert sorted(Path(link).stem for link in links) == DECKS
        assert all((built / Path(link).name).exists() for link in links)
        assert faults(page) == [] and visit.problems == []


def test_notes_are_for_the_teacher_alone(browser, built):
    with Visit(browser, built / f"{DECKS[0]}.html") as visit:
        page = opened(visit)
        assert page.locator("aside.notes").count() == len(slides_of(DECKS[0]))
        assert page.locator("aside.notes:visible").count() == 0
        assert page.evaluate("'RevealNotes' in window && Reveal.hasPlugin('notes')")


# The checks themselves


def test_the_checks_of_a_slide_find_what_they_look_for(browser, built):
    planted = """() => { const slide = Reveal.getCurrentSlide();
        slide.innerHTML += '<p style="font-size: 12px">tiny</p>'
            + '<p style="flex: none; height: 800px">tall {number}`maml:lost`</p>'; }"""
    with Visit(browser, built / "index.html") as visit:
        page = opened(visit)
        assert faults(page) == []
        page.evaluate(planted)
        found = " ".join(faults(page))
        assert "small: tiny" in found and "overflow" in found and "outside: tall" in found
        assert raw_markup(page) == ["{number}`"]
