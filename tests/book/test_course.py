"""The course at a glance: what is told of chapters is read from them, and the map joins."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import claims
import pytest
import yaml

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import course

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
CORE = CONFIG["core_path"]


def book(folder, names=("one", "two", "three", "four"), **cells):
    """Write a small book into a folder."""
    (folder / "chapters").mkdir()
    parts = [{"caption": "Start", "chapters": [{"file": "using"}]}]
    parts += [{"caption": "Part", "chapters": [{"file": f"chapters/{name}"} for name in names]}]
    (folder / "_toc.yml").write_text(yaml.safe_dump({"root": "intro", "parts": parts}))
    for name in names:
        source = cells.get(name, [f"# Chapter {name}\n\n*Why\n{name}?*\n", "It runs in about 40"])
        texts = [*source, "seconds on two CPU cores." if name not in cells else ""]
        notebook = {"cells": [{"cell_type": "markdown", "source": "\n".join(texts)}]}
        (folder / "chapters" / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder


def test_title_question_and_time_of_a_chapter_are_read_from_it(tmp_path):
    one, two, *_ = course.chapters(book(tmp_path), ["two"])
    assert (one.title, one.question, one.part) == ("Chapter one", "Why one?", "Part")
    assert (one.number, one.seconds, one.core) == (1, 40, False)
    assert (two.number, two.core) == (2, True)


def test_a_chapter_that_does_not_exist_cannot_be_on_the_core_path(tmp_path):
    with pytest.raises(ValueError, match=r"names \['five'\]: expected some of \['one'"):
        course.chapters(book(tmp_path), ["one", "five"])


def test_a_chapter_without_a_question_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one\.ipynb: expected '# Title', below it"):
        course.chapters(book(tmp_path, one=["# One\n\nText."]), [])


def test_only_running_text_is_counted():
    blocks = [
        "```{exercise-start}\n:label: a\n```",
        "Not this.",
        "```{exercise-end}\n```",
        "$$\na + b\n$$ (label)",
        '<div class="question" role="group">\n<details>\n\nNot this.\n\n</details>\n\n</div>',
        "```{prf:algorithm} Not\nthis\n```",
        "<!-- holds: a above b -->",
    ]
    assert course.words("One two\n\n" + "\n\n".join(blocks) + "\n\nthree.") == 3


def test_every_chapter_is_counted_in_full():
    """The count agrees with the one that limits a chapter's length, but for the further reading."""
    for chapter in course.chapters(ROOT, CORE):
        limited = claims.prose(ROOT / "chapters" / f"{chapter.name}.ipynb")
        assert 0 <= chapter.words - len(re.sub("<!--.*?-->", "", limited).split()) < 300


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(1, "1 minute"), (90, "90 minutes"), (100, "1½ hours"), (196, "3½ hours"), (239, "4 hours")],
)
def test_a_duration_is_said_in_words(minutes, words):
    assert course.spoken(minutes) == words


def test_times_of_one_chapter_of_the_core_path_and_of_the_whole(tmp_path):
    found = course.chapters(book(tmp_path), ["one", "two"])
    total = sum(chapter.words for chapter in found)
    assert course.duration("read:whole", found, 1) == f"{total} minutes"
    assert course.duration("read:core", found, 1) == f"{total // 2} minutes"
    assert course.duration("run:one", found, 1) == "40 seconds"
    assert course.duration("run:whole", found, 1) == "3 minutes"
    assert course.duration("pace", found, 7) == "7 words a minute"


@pytest.mark.parametrize("key", ["read", "read:five", "walk:one", ""])
def test_a_time_that_does_not_exist_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="expected pace, or read: or run: with one of"):
        course.duration(key, course.chapters(book(tmp_path), []), 100)


@pytest.mark.parametrize(
    "core",
    [
        *([True], [False], [True, True], [True, False], [False, True]),
        *([True, False, True], [True, False, False, True], [True, False, False]),
    ],
)
def test_the_pieces_of_the_map_join(core):
    """Where one station's piece ends at the foot, the next one's begins at the head."""
    pieces = [course.tracks(core, at) for at in range(len(core))]
    for (line, side), (next_line, next_side) in pairwise(pieces):
        below = {x for x, y in re.findall(r"(\d+),(\d+)", line + side) if y == "100"}
        below |= {str(course.CORE)} if line.endswith("V100") or side.endswith("V100") else set()
        above = {x for x, y in re.findall(r"(\d+),(\d+)", next_line + next_side) if y == "0"}
        assert below == above and below
    assert "V100" not in "".join(pieces[-1]) and ",100" not in "".join(pieces[-1])


def test_a_station_tells_what_the_chapter_asks_and_whether_it_is_optional(tmp_path):
    found = course.chapters(book(tmp_path, names=("one", "two")), ["one"])
    html = course.drawn(found, ["a.html", "b&c.html"], 100)
    assert html.count("<li class=") == 2 and html.count("Optional.") == 1
    assert 'href="a.html">1. Chapter one</a>' in html and 'href="b&amp;c.html"' in html
    assert "Why two?" in html and "1 minute to read, 40 seconds to run" in html
    for tag in ("ol", "li", "p", "span", "svg"):
        assert len(re.findall(f"<{tag}[ >]", html)) == html.count(f"</{tag}>")


def test_the_result_on_the_first_page_is_borne_out_by_the_chapters():
    page = (ROOT / "intro.md").read_text(encoding="utf-8")
    found = claims.claims(page)
    assert len(found) == len(re.findall("^% ", page, re.M)) >= 5
    for _, claim in found:
        name, rest = claim.split(":", 1)
        assert claims.Chapter(ROOT / "chapters" / f"{name}.ipynb").holds(rest), claim


def test_no_measured_number_is_typed_on_the_first_page():
    page = (ROOT / "intro.md").read_text(encoding="utf-8")
    text = re.sub(
        r"^(?:% |:::|:\w).*$|\{\w+\}`[^`]*`|\(https:.*?\)|\[CC BY.*?\]", "", page, flags=re.M
    )
    assert set(re.findall(r"\d[\d.,]*\d|\d", text)) == {"20", "95"}  # guessing, and the interval
